//! The verbs that are one call, against a scripted broker.

use courant_proto::wire::{self, Status as S};

use crate::Error;
use crate::fake::{Fake, header};

#[tokio::test]
async fn a_lost_transaction_is_a_refusal() {
    let fake = Fake::default();
    let lost = wire::ApplyResponse { status: S::EtcdTransactionFailed.into(), header: Some(header(9)) };
    fake.on_apply(Ok(lost));
    let error = fake.client().apply(wire::ApplyRequest::default()).await.unwrap_err();
    assert_eq!(error.status(), Some(S::EtcdTransactionFailed));

    fake.on_apply(Ok(wire::ApplyResponse { status: 0, header: Some(header(9)) }));
    let applied = fake.client().apply(wire::ApplyRequest::default()).await.unwrap();
    assert_eq!(applied.header, Some(header(9)));
}

#[tokio::test]
async fn an_unhealthy_store_is_an_answer() {
    let fake = Fake::default();
    fake.on_health(Ok(wire::FragmentStoreHealthResponse {
        status: S::FragmentStoreUnhealthy.into(),
        header: Some(header(9)),
        store_health_error: "no such bucket".into(),
    }));
    let health = fake.client().store_health(wire::FragmentStoreHealthRequest::default()).await.unwrap();
    assert_eq!(health.store_health_error, "no such bucket");
}

#[tokio::test(start_paused = true)]
async fn calls_are_not_waited_for_without_end() {
    let error = Fake::default().client().apply(wire::ApplyRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { call: "Apply", .. }), "{error}");
}
