//! Fragments over several pages, against a scripted broker.

use courant_proto::wire::{FragmentsRequest, FragmentsResponse, Status as S};
use futures::TryStreamExt as _;

use crate::Error;
use crate::fake::{Fake, header};

fn page(next_page_token: i64) -> FragmentsResponse {
    FragmentsResponse { header: Some(header(5)), next_page_token, ..Default::default() }
}

fn request() -> FragmentsRequest {
    FragmentsRequest { journal: "examples/foobar".into(), page_limit: 2, ..Default::default() }
}

#[tokio::test]
async fn pages_are_followed_to_the_last() {
    let fake = Fake::default();
    [200, 450, 0].into_iter().for_each(|token| fake.on_fragments(Ok(page(token))));
    let pages: Vec<_> = fake.client().fragment_pages(request()).try_collect().await.unwrap();
    assert_eq!(pages.len(), 3);
    let asked: Vec<_> = fake.fragments_requests().iter().map(|r| (r.next_page_token, r.page_limit)).collect();
    assert_eq!(asked, [(0, 2), (200, 2), (450, 2)]);
}

#[tokio::test]
async fn pages_that_do_not_advance_are_refused() {
    let fake = Fake::default();
    [200, 200].into_iter().for_each(|token| fake.on_fragments(Ok(page(token))));
    let error = fake.client().fragment_pages(request()).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_refused_page() {
    let fake = Fake::default();
    fake.on_fragments(Ok(FragmentsResponse { status: S::Suspended.into(), ..page(0) }));
    assert_eq!(fake.client().fragments(request()).await.unwrap_err().status(), Some(S::Suspended));
}
