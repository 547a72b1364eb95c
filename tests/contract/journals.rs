//! `List`, `Apply`, `ListFragments` and `FragmentStoreHealth`.

use std::time::Duration;

use courant_proto::wire::{self, CompressionCodec as Codec, Status};
use courant_tests::journal::{create, delete, spec};
use courant_tests::process::Node;
use futures::StreamExt as _;
use tokio::time::timeout;

use crate::{append, commit, labels, selector};

async fn apply(node: &Node, changes: Vec<wire::apply_request::Change>) -> Result<Status, tonic::Status> {
    let response = node.grpc().await.apply(wire::ApplyRequest { changes }).await?.into_inner();
    assert!(response.header.is_some());
    Ok(response.status())
}

async fn list(
    node: &Node,
    selector: wire::LabelSelector,
) -> Result<Vec<wire::list_response::Journal>, tonic::Status> {
    let request = wire::ListRequest { selector: Some(selector), ..Default::default() };
    let mut stream = node.grpc().await.list(request).await?.into_inner();
    let mut journals = Vec::new();
    while let Some(message) = stream.next().await {
        journals.extend(message?.journals);
    }
    Ok(journals)
}

fn names(journals: &[wire::list_response::Journal]) -> Vec<&str> {
    journals.iter().filter_map(|journal| journal.spec.as_ref()).map(|spec| spec.name.as_str()).collect()
}

#[tokio::test]
async fn journals_are_listed_in_order_and_selected() {
    let node = Node::start(&[]).await;
    let labelled = |name, value| wire::JournalSpec {
        labels: Some(labels(&[("lb", value)])),
        ..spec(name, Codec::None, 1 << 20)
    };
    let specs = [labelled("journal/2/B", "b"), labelled("journal/1/C", "c"), labelled("journal/1/A", "a")];
    assert_eq!(apply(&node, specs.map(create).into()).await.expect("applied"), Status::Ok);
    commit(&node, append("journal/1/A"), "x").await;
    let all = ["journal/1/A", "journal/1/C", "journal/2/B"];
    let rows: [(wire::LabelSelector, &[&str]); 7] = [
        (wire::LabelSelector::default(), &all),
        (selector(&[("missing", "")], &[]), &[]),
        (selector(&[], &[("lb", "a")]), &all[1..]),
        (selector(&[("lb", "a"), ("lb", "b")], &[]), &[all[0], all[2]]),
        (selector(&[("name", "journal/1/C")], &[]), &all[1..2]),
        (selector(&[("prefix", "journal/1/")], &[]), &all[..2]),
        (selector(&[], &[("prefix", "journal/1/")]), &all[2..]),
    ];
    for (selector, expected) in rows {
        let listed = list(&node, selector.clone()).await.expect("a listing");
        assert_eq!(names(&listed), expected, "{selector:?}");
    }
    let listed = list(&node, wire::LabelSelector::default()).await.expect("a listing");
    for journal in &listed {
        assert!(journal.mod_revision >= journal.create_revision && journal.create_revision > 0);
    }
    let route = listed[0].route.as_ref().expect("a route");
    assert_eq!((route.members.len(), route.primary, &route.endpoints), (1, 0, &vec![node.url()]));
    let refused =
        list(&node, selector(&[("prefix", "journal/1")], &[])).await.expect_err("no slash at its end");
    assert!(refused.message().contains("expected trailing '/' (journal/1)"), "{refused:?}");
}

#[tokio::test]
async fn a_watch_tells_of_what_it_selects_and_of_nothing_else() {
    let node = Node::start(&[]).await;
    let specs = ["watched/one", "watched/two", "other/one"].map(|name| spec(name, Codec::None, 1 << 20));
    apply(&node, specs.map(create).into()).await.expect("applied");
    let request = wire::ListRequest {
        selector: Some(selector(&[("prefix", "watched/")], &[])),
        watch: true,
        ..Default::default()
    };
    let mut stream = node.grpc().await.list(request).await.expect("a stream").into_inner();
    // A snapshot may come in parts, and ends with an empty one unless it is empty itself.
    let snapshot = async |stream: &mut tonic::Streaming<wire::ListResponse>| {
        let mut journals = Vec::new();
        loop {
            let message = timeout(Duration::from_secs(30), stream.next()).await.expect("told in time");
            let message = message.expect("it goes on").expect("no failure");
            if message.journals.is_empty() {
                return journals;
            }
            journals.extend(message.journals);
        }
    };
    // The first assignment of each is a change of its own, so that several snapshots may tell of the same.
    let mut until = async |expected: &[&str]| loop {
        let journals = snapshot(&mut stream).await;
        if names(&journals) == expected {
            return;
        }
    };
    until(&["watched/one", "watched/two"]).await;
    apply(&node, vec![delete("other/one")]).await.expect("deleted");
    apply(&node, vec![delete("watched/one")]).await.expect("deleted");
    until(&["watched/two"]).await;
    apply(&node, vec![delete("watched/two")]).await.expect("deleted");
    until(&[]).await;
}

#[tokio::test]
async fn changes_are_made_at_their_revisions_all_or_none() {
    let node = Node::start(&[]).await;
    let plain = |name| spec(name, Codec::None, 1 << 20);
    assert_eq!(
        apply(&node, vec![create(plain("a/one")), create(plain("a/two"))]).await.expect("applied"),
        Status::Ok
    );
    let listed = list(&node, wire::LabelSelector::default()).await.expect("a listing");
    let revision = listed[0].mod_revision;
    let update = |name, expect_mod_revision, replication| wire::apply_request::Change {
        expect_mod_revision,
        upsert: Some(wire::JournalSpec { max_append_rate: replication, ..plain(name) }),
        ..Default::default()
    };
    let gone = |expect_mod_revision| wire::apply_request::Change { expect_mod_revision, ..delete("a/one") };
    let rows = [
        (vec![create(plain("a/one"))], Status::EtcdTransactionFailed),
        (vec![update("a/one", revision + 1, 10)], Status::EtcdTransactionFailed),
        (vec![update("a/two", -1, 10), gone(revision + 1)], Status::EtcdTransactionFailed),
        (vec![update("a/one", revision, 10)], Status::Ok),
        (vec![gone(revision)], Status::EtcdTransactionFailed),
        (vec![update("a/one", -1, 20)], Status::Ok),
        (vec![delete("a/one")], Status::Ok),
    ];
    for (number, (changes, expected)) in rows.into_iter().enumerate() {
        assert_eq!(apply(&node, changes).await.expect("an answer"), expected, "row {number}");
    }
    let listed = list(&node, wire::LabelSelector::default()).await.expect("a listing");
    assert_eq!(names(&listed), ["a/two"]);
    assert_eq!(
        listed[0].spec.as_ref().map(|spec| spec.max_append_rate),
        Some(0),
        "no half of a request was made"
    );
}

#[tokio::test]
async fn fragments_are_listed_in_pages_and_by_time() {
    let node = Node::start(&[]).await;
    apply(&node, vec![create(spec("a/journal", Codec::None, 1024))]).await.expect("applied");
    let content: &'static str = Box::leak("x".repeat(1500).into_boxed_str());
    for _ in 0..7 {
        assert_eq!(commit(&node, append("a/journal"), content).await.status(), Status::Ok);
    }
    let ask = async |request: wire::FragmentsRequest| {
        let request = wire::FragmentsRequest { journal: "a/journal".to_owned(), ..request };
        node.grpc().await.list_fragments(request).await.map(tonic::Response::into_inner)
    };
    let begins = |response: &wire::FragmentsResponse| {
        let specs = response.fragments.iter().filter_map(|fragment| fragment.spec.as_ref());
        specs.map(|spec| spec.begin / 1500).collect::<Vec<_>>()
    };
    let (mut token, mut all) = (0, Vec::new());
    loop {
        let page = wire::FragmentsRequest { next_page_token: token, page_limit: 3, ..Default::default() };
        let page = ask(page).await.expect("a page");
        assert!(page.fragments.len() <= 3);
        all.extend(begins(&page));
        token = page.next_page_token;
        if token == 0 {
            break;
        }
        assert_eq!(token, 1500 * i64::try_from(all.len()).expect("a count"), "the token is the next begin");
    }
    assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    let between = wire::FragmentsRequest { next_page_token: 1501, ..Default::default() };
    assert_eq!(begins(&ask(between).await.expect("a page"))[0], 2);
    let past = wire::FragmentsRequest { next_page_token: 1 << 40, ..Default::default() };
    assert_eq!(begins(&ask(past).await.expect("a page")), Vec::<i64>::new());
    // What is not persisted has no time, and is outside every range that ends.
    let ended = wire::FragmentsRequest { begin_mod_time: 1, end_mod_time: 1 << 40, ..Default::default() };
    assert!(!begins(&ask(ended).await.expect("a page")).contains(&6));
    let open = wire::FragmentsRequest { begin_mod_time: 1, ..Default::default() };
    assert!(begins(&ask(open).await.expect("a page")).contains(&6));
    let turned = wire::FragmentsRequest { begin_mod_time: 50, end_mod_time: 40, ..Default::default() };
    let refused = ask(turned).await.expect_err("it ends before it begins");
    assert!(refused.message().contains("invalid EndModTime (40 must be after 50)"), "{refused:?}");
    // URLs are for those who ask, and for what a store holds.
    let signed = wire::FragmentsRequest {
        signature_ttl: Some(courant_tests::journal::seconds(60)),
        ..Default::default()
    };
    for fragment in ask(signed).await.expect("a page").fragments {
        let stored = fragment.spec.as_ref().is_some_and(|spec| !spec.backing_store.is_empty());
        assert_eq!(!fragment.signed_url.is_empty(), stored, "{fragment:?}");
    }
    let missing = wire::FragmentsRequest { journal: "not/there".to_owned(), ..Default::default() };
    let missing = node.grpc().await.list_fragments(missing).await.expect("an answer").into_inner();
    assert_eq!(missing.status(), Status::JournalNotFound);
}

#[tokio::test]
async fn stores_are_probed() {
    let node = Node::start(&[]).await;
    node.file("data/fragments/broken", b"a file where a folder should be");
    let rows = [
        ("file:///", Status::Ok, ""),
        ("file:///broken/", Status::FragmentStoreUnhealthy, "broken is a link, or not a folder"),
    ];
    for (store, expected, text) in rows {
        for check_delete in [false, true] {
            let request = wire::FragmentStoreHealthRequest {
                fragment_store: store.to_owned(),
                check_delete,
                ..Default::default()
            };
            let response =
                node.grpc().await.fragment_store_health(request).await.expect("an answer").into_inner();
            assert_eq!(response.status(), expected, "{store} {response:?}");
            assert!(response.store_health_error.contains(text), "{store} {response:?}");
            assert!(response.header.is_some());
        }
    }
}
