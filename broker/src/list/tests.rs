//! Listings by selector, once and followed.

use std::time::Duration;

use courant_proto::header::Header;
use courant_proto::status::Status;
use tokio::time::timeout;

use super::*;
use crate::journal_space::fixture::*;

fn request(selector: &str) -> wire::ListRequest {
    let selector = LabelSelector::parse(selector).expect("a selector");
    wire::ListRequest { selector: Some((&selector).into()), ..Default::default() }
}

fn started(mirror: &SpaceMirror, request: wire::ListRequest) -> BoxStream<'static, Response> {
    respond(mirror.clone(), me(), CancellationToken::new(), request)
}

/// The journals of one snapshot. With `watch`, up to the message that marks its end.
async fn snapshot(stream: &mut BoxStream<'static, Response>) -> Vec<wire::list_response::Journal> {
    let mut journals = Vec::new();
    let mut first = true;
    loop {
        let next = timeout(Duration::from_secs(20), stream.next()).await.expect("a message in time");
        let Some(message) = next else { return journals };
        let message = message.expect("no fault");
        if message == wire::ListResponse::default() {
            return journals;
        }
        assert_eq!(message.status, Status::Ok as i32);
        assert_eq!(
            message.header.is_some(),
            first,
            "the first message of a snapshot has the header, and no other"
        );
        assert!(message.journals.len() <= 25);
        first = false;
        journals.extend(message.journals);
    }
}

fn names(journals: &[wire::list_response::Journal]) -> Vec<&str> {
    journals.iter().filter_map(|journal| Some(&*journal.spec.as_ref()?.name)).collect()
}

async fn listed(mirror: &SpaceMirror, selector: &str) -> Vec<String> {
    let journals = snapshot(&mut started(mirror, request(selector))).await;
    names(&journals).into_iter().map(str::to_owned).collect()
}

fn keys() -> Keys {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    keys.item(&labelled("journal/2/B", &[("bar", "")]));
    keys.item(&labelled("journal/1/A", &[("foo", "")]));
    keys.item(&labelled("journal/1/C", &[]));
    keys.assign("journal/1/A", "zone-a/self", 0, None).assign("journal/1/A", "zone-b/gone", 1, None);
    keys
}

#[tokio::test]
async fn lists_in_order_of_names_with_routes_and_revisions() {
    let mirror = SpaceMirror::fixed(keys().space());
    let mut stream = started(&mirror, request(""));
    let first = stream.next().await.expect("a message").expect("no fault");
    let header = Header::try_from(first.header.expect("a header")).expect("a valid header");
    assert_eq!((header.process_id, header.etcd.revision), (Some(me()), 7));
    assert!(header.route.members().is_empty() && header.route.primary().is_none());
    assert_eq!(names(&first.journals), ["journal/1/A", "journal/1/C", "journal/2/B"]);
    let a = &first.journals[0];
    assert_eq!((a.create_revision, a.mod_revision), (4, 4));
    let route = a.route.as_ref().expect("a route");
    assert_eq!(
        (route.primary, &route.endpoints[..]),
        (0, &["http://self:8080".to_owned(), String::new()][..])
    );
    assert!(stream.next().await.is_none(), "without watch it ends");
}

#[tokio::test]
async fn selects_by_labels_and_names() {
    let mirror = SpaceMirror::fixed(keys().space());
    let table: &[(&str, &[&str])] = &[
        ("foo", &["journal/1/A"]),
        ("missing", &[]),
        ("!foo", &["journal/1/C", "journal/2/B"]),
        ("name=journal/1/A", &["journal/1/A"]),
        ("name=journal/1", &[]),
        ("name in (journal/1/A, journal/2/B)", &["journal/1/A", "journal/2/B"]),
        ("name:prefix=journal/1", &["journal/1/A", "journal/1/C"]),
        ("name:prefix=journal/1/,foo", &["journal/1/A"]),
        ("name", &["journal/1/A", "journal/1/C", "journal/2/B"]),
        ("prefix=journal/1/", &["journal/1/A", "journal/1/C"]),
        ("prefix!=journal/1/", &["journal/2/B"]),
        ("prefix=journal/1/,name=journal/2/B", &["journal/1/A", "journal/1/C", "journal/2/B"]),
    ];
    for (selector, expected) in table {
        assert_eq!(listed(&mirror, selector).await, *expected, "{selector}");
    }
}

#[tokio::test]
async fn an_empty_result_is_one_message_with_a_header() {
    let mirror = SpaceMirror::fixed(Keys::new().space());
    let messages: Vec<_> = started(&mirror, request("")).collect().await;
    let [Ok(only)] = &messages[..] else { panic!("{messages:?}") };
    assert!(only.header.is_some() && only.journals.is_empty());
}

#[tokio::test]
async fn long_lists_come_in_messages_of_25() {
    let mut keys = Keys::new();
    for n in 0..60 {
        keys.item(&spec(&format!("journal/{n:03}")));
    }
    let mirror = SpaceMirror::fixed(keys.space());
    let messages: Vec<_> =
        started(&mirror, request("")).map(|message| message.expect("no fault")).collect().await;
    let lengths: Vec<usize> = messages.iter().map(|message| message.journals.len()).collect();
    assert_eq!(lengths, [25, 25, 10]);
    assert_eq!(listed(&mirror, "").await.len(), 60);
}

#[tokio::test]
async fn a_prefix_without_a_slash_is_an_error() {
    let mirror = SpaceMirror::fixed(Keys::new().space());
    let message = started(&mirror, request("prefix=journal")).next().await.expect("a message");
    let text = message.expect_err("it is refused").message().to_owned();
    assert_eq!(text, r#"Selector.Include.Labels["prefix"]: expected trailing '/' (journal)"#);
}

#[tokio::test]
async fn a_watch_tells_of_each_change_of_what_it_selects() {
    let cluster = Cluster::start().await;
    cluster.put_item(&labelled("journal/one", &[("key", "one")])).await;
    cluster.put_item(&spec("other/two")).await;
    let watch = wire::ListRequest { watch: true, ..request("prefix=journal/") };
    let mut stream = started(&cluster.mirror, watch);
    assert_eq!(names(&snapshot(&mut stream).await), ["journal/one"]);

    // None of these concerns it: the next snapshot is about what comes after them.
    cluster.delete(root().item(&name("other/two"))).await;
    cluster.put_member(&broker(&me())).await;
    cluster.put(root().assignment(&name("journal/one"), &me(), 0), Vec::new()).await;
    let quiet = timeout(Duration::from_millis(100), stream.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    cluster.put_item(&labelled("journal/one", &[("key", "changed")])).await;
    let journals = snapshot(&mut stream).await;
    assert_eq!(names(&journals), ["journal/one"]);
    assert_eq!(journals[0].route.as_ref().map(|route| route.members.len()), Some(1));
    cluster.put_item(&spec("journal/two")).await;
    assert_eq!(names(&snapshot(&mut stream).await), ["journal/one", "journal/two"]);
    cluster.delete(root().item(&name("journal/two"))).await;
    assert_eq!(names(&snapshot(&mut stream).await), ["journal/one"]);
    cluster.delete(root().item(&name("journal/one"))).await;
    assert_eq!(names(&snapshot(&mut stream).await), Vec::<&str>::new());
    cluster.stop().await;
}

#[tokio::test]
async fn a_resumed_watch_is_silent_until_something_changes() {
    let cluster = Cluster::start().await;
    let revision = cluster.put_item(&spec("journal/one")).await;
    let etcd = wire::header::Etcd { cluster_id: 1, member_id: 1, revision, raft_term: 1 };
    let resume = wire::Header { etcd: Some(etcd), ..Default::default() };
    let watch = wire::ListRequest { watch: true, watch_resume: Some(resume), ..request("prefix=journal/") };
    let mut stream = started(&cluster.mirror, watch);
    let quiet = timeout(Duration::from_millis(100), stream.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // Anything under the root will do.
    cluster.put_member(&broker(&me())).await;
    assert_eq!(names(&snapshot(&mut stream).await), ["journal/one"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_watch_ends_when_the_broker_does() {
    let closing = CancellationToken::new();
    let mirror = SpaceMirror::fixed(keys().space());
    let watch = wire::ListRequest { watch: true, ..request("") };
    let mut stream = respond(mirror, me(), closing.clone(), watch);
    assert_eq!(snapshot(&mut stream).await.len(), 3);
    closing.cancel();
    assert!(stream.next().await.is_none());
}
