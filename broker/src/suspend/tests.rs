//! When a journal is suspended and what is written of it.

use courant_proto::offset::Offset;
use courant_proto::spec::SuspendLevel;

use super::*;
use crate::journal_space::fixture::*;

const TO: Suspend = Suspend { level: SuspendLevel::Full, offset: Offset::ZERO };

#[test]
fn guards_the_spec_and_all_assignments() {
    let mut keys = Keys::with_members(&["zone-a/self"]);
    keys.item(&labelled("acme/one", &[("key", "value")]));
    keys.assign("acme/one", "zone-a/self", 0, None).assign("acme/one", "zone-b/peer", 1, None);
    let transaction = plan(&keys.space(), &name("acme/one"), TO).expect("a change");
    let unchanged = |key, mod_revision| Guard::Unchanged { key, mod_revision };
    assert_eq!(
        transaction.guards,
        [
            unchanged(root().item(&name("acme/one")), 3),
            unchanged(root().assignment(&name("acme/one"), &me(), 0), 4),
            unchanged(root().assignment(&name("acme/one"), &id("zone-b/peer"), 1), 5),
        ]
    );
    let value = JournalSpec { suspend: Some(TO), ..labelled("acme/one", &[("key", "value")]) }.encode();
    let key = root().item(&name("acme/one"));
    assert_eq!(transaction.writes, [Write::Put { key, value, lease: PutLease::None }]);
}

#[test]
fn there_may_be_nothing_to_change() {
    let mut keys = Keys::new();
    keys.item(&suspended("acme/one", SuspendLevel::Full));
    assert_eq!(plan(&keys.space(), &name("acme/one"), TO), None);
    assert_eq!(plan(&keys.space(), &name("acme/none"), TO), None);
}

#[tokio::test]
async fn won_or_lost_the_revision_shows_what_holds() {
    let cluster = Cluster::start().await;
    cluster.put_item(&spec("acme/one")).await;
    let before = cluster.mirror.snapshot();
    let level = async |revision| {
        let space = cluster.mirror.at_least(revision).await.expect("a running mirror");
        space.item(&name("acme/one")).expect("a journal").spec.suspend_level()
    };
    let won = update(&cluster.as_registry(), &before, &name("acme/one"), TO).await.expect("an answer");
    assert_eq!(level(won).await, SuspendLevel::Full);
    // Somebody who has not seen that asks for less, and loses.
    let partial = Suspend { level: SuspendLevel::Partial, ..TO };
    let lost = update(&cluster.as_registry(), &before, &name("acme/one"), partial).await.expect("an answer");
    assert_eq!(level(lost).await, SuspendLevel::Full);
    cluster.stop().await;
}
