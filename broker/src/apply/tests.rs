//! Apply against a registry: all of it or nothing, and with which status.

use std::sync::Arc;

use courant_proto::label::LabelSet;

use super::*;
use crate::journal_space::fixture::*;

fn upsert(spec: &JournalSpec, revision: i64) -> wire::apply_request::Change {
    wire::apply_request::Change {
        expect_mod_revision: revision,
        upsert: Some(spec.into()),
        delete: String::new(),
    }
}

fn delete(journal: &str, revision: i64) -> wire::apply_request::Change {
    wire::apply_request::Change { expect_mod_revision: revision, upsert: None, delete: journal.to_owned() }
}

async fn applied(
    cluster: &Cluster,
    changes: Vec<wire::apply_request::Change>,
) -> Result<(Status, i64), tonic::Status> {
    let request = wire::ApplyRequest { changes };
    let response = respond(&cluster.as_registry(), &cluster.mirror, &me(), &|_| true, request).await?;
    let revision = response.header.expect("a header").etcd.expect("a registry").revision;
    Ok((Status::from_wire(response.status).expect("a status"), revision))
}

use courant_proto::status::Status;

fn revision_of(cluster: &Cluster, journal: &str) -> Option<i64> {
    cluster.mirror.snapshot().item(&name(journal)).map(|item| item.mod_revision)
}

#[tokio::test]
async fn creates_updates_and_deletes() {
    let cluster = Cluster::start().await;
    let (a, b) = (spec("acme/one"), spec("acme/two"));
    let (status, created) = applied(&cluster, vec![upsert(&a, 0), upsert(&b, 0)]).await.expect("an answer");
    assert_eq!(status, Status::Ok);
    // Its own mirror shows what was done as soon as it answers.
    assert_eq!(revision_of(&cluster, "acme/one"), Some(created));
    assert_eq!(revision_of(&cluster, "acme/two"), Some(created));

    let changed =
        JournalSpec { labels: LabelSet::from_pairs([("key", "value")]).expect("labels"), ..a.clone() };
    let (status, updated) = applied(&cluster, vec![upsert(&changed, created)]).await.expect("an answer");
    assert_eq!((status, revision_of(&cluster, "acme/one")), (Status::Ok, Some(updated)));
    let item = cluster.mirror.snapshot().item(&name("acme/one")).expect("a journal");
    assert_eq!((&*item.spec, item.create_revision), (&changed, created));

    let (status, _) = applied(&cluster, vec![delete("acme/one", updated), delete("acme/two", created)])
        .await
        .expect("an answer");
    assert_eq!(status, Status::Ok);
    assert_eq!(cluster.mirror.snapshot().items().count(), 0);
    cluster.stop().await;
}

#[tokio::test]
async fn another_revision_than_expected_fails_everything() {
    let cluster = Cluster::start().await;
    let (one, two) = (spec("acme/one"), spec("acme/two"));
    let (_, created) = applied(&cluster, vec![upsert(&one, 0)]).await.expect("an answer");
    for change in [upsert(&one, 0), upsert(&one, created + 1), delete("acme/one", created + 1)] {
        let (status, revision) = applied(&cluster, vec![upsert(&two, 0), change]).await.expect("an answer");
        assert_eq!((status, revision), (Status::EtcdTransactionFailed, created));
        assert_eq!(revision_of(&cluster, "acme/two"), None, "nothing is half done");
    }
    let (status, _) = applied(&cluster, vec![upsert(&two, created)]).await.expect("an answer");
    assert_eq!(status, Status::EtcdTransactionFailed, "an update of what is not there");
    cluster.stop().await;
}

#[tokio::test]
async fn minus_one_expects_nothing() {
    let cluster = Cluster::start().await;
    let one = spec("acme/one");
    assert_eq!(applied(&cluster, vec![upsert(&one, -1)]).await.expect("an answer").0, Status::Ok);
    assert_eq!(applied(&cluster, vec![upsert(&one, -1)]).await.expect("an answer").0, Status::Ok);
    assert_eq!(applied(&cluster, vec![delete("acme/one", -1)]).await.expect("an answer").0, Status::Ok);
    // Nothing changes, and the answer comes all the same; also when nothing else ever happens.
    let nothing =
        tokio::time::timeout(Duration::from_secs(20), applied(&cluster, vec![delete("acme/one", -1)]));
    assert_eq!(nothing.await.expect("no wait").expect("an answer").0, Status::Ok);
    assert_eq!(applied(&cluster, Vec::new()).await.expect("an answer").0, Status::Ok);
    cluster.stop().await;
}

#[tokio::test]
async fn refuses_what_breaks_a_rule() {
    let cluster = Cluster::start().await;
    let (_, created) = applied(&cluster, vec![upsert(&spec("acme/one"), 0)]).await.expect("an answer");
    let mut many = spec("acme/two");
    many.replication = 6;
    let table = [
        (vec![delete("acme/one;meta", created)], "Changes[0]: Delete cannot have a metadata path segment"),
        (vec![delete("no", 1)], "Changes[0].Delete: invalid length"),
        (vec![delete("acme/one", 0)], "Changes[0]: invalid ExpectModRevision (0; expected > 0 or -1)"),
        (vec![upsert(&many, 0)], "Changes[0].Upsert: invalid Replication (6;"),
        (
            vec![upsert(&spec("acme/new"), 0), upsert(&spec("acme/one/inner"), 0)],
            "Changes[1].Upsert: journal acme/one/inner cannot be created beside acme/one: acme/one is a path prefix",
        ),
        (
            vec![upsert(&spec("acme/one"), created), delete("acme/one", created)],
            "Changes[1]: journal acme/one is changed by Changes[0] already",
        ),
    ];
    for (changes, expected) in table {
        let refusal = applied(&cluster, changes).await.expect_err(expected);
        assert!(refusal.message().starts_with(expected), "{} <> {expected}", refusal.message());
    }
    assert_eq!(cluster.registry.revision(), created, "nothing was written");
    cluster.stop().await;
}

#[tokio::test]
async fn a_refusal_does_not_rest_on_what_the_mirror_missed() {
    let cluster = Cluster::start().await;
    applied(&cluster, vec![upsert(&spec("acme/one"), 0)]).await.expect("an answer");
    // Deleted behind the mirror's back, which learns of it only a little later.
    cluster.etcd().kv_client().delete(root().item(&name("acme/one")), None).await.expect("a delete");
    let (status, _) = applied(&cluster, vec![upsert(&spec("acme/one/inner"), 0)]).await.expect("an answer");
    assert_eq!(status, Status::Ok);
    cluster.stop().await;
}

/// A mirror that stands still plans as if the others' journals were not there; the registry knows better.
#[tokio::test]
async fn names_do_not_nest_however_stale_the_plan_is() {
    for (existing, new) in [("acme/one", "acme/one/inner"), ("acme/one/inner", "acme/one")] {
        for expect in [Expect::Absent, Expect::Any] {
            for most_guards in [MOST_OPERATIONS, 1] {
                let cluster = Cluster::start().await;
                let stale = cluster.mirror.snapshot();
                cluster.put_item(&spec(existing)).await;
                let change = Change { expect, to: Target::Upsert(Box::new(spec(new))) };
                let transaction = plan(&stale, &[change], most_guards).expect("a plan on what was");
                let outcome =
                    commit(&cluster.as_registry(), transaction, String::new).await.expect("an answer");
                assert!(!outcome.succeeded, "{existing} before {new}, {expect:?}, {most_guards} guards");
                cluster.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn of_racing_requests_that_nest_one_wins() {
    let cluster = Arc::new(Cluster::start().await);
    let depths = ["race/a", "race/a/b", "race/a/b/c", "race/a/b/c/d"];
    let requests = depths.iter().cycle().take(40).map(|journal| {
        let cluster = Arc::clone(&cluster);
        async move { applied(&cluster, vec![upsert(&spec(journal), 0)]).await }
    });
    let outcomes = futures::future::join_all(requests).await;
    let created = outcomes.iter().filter(|outcome| matches!(outcome, Ok((Status::Ok, _)))).count();
    assert_eq!(created, 1, "{outcomes:?}");
    assert_eq!(cluster.mirror.snapshot().items().count(), 1);
    Arc::into_inner(cluster).expect("nobody else").stop().await;
}

#[tokio::test]
async fn journals_created_nearby_do_not_fail_a_large_request() {
    let cluster = Arc::new(Cluster::start().await);
    let large: Vec<_> = (0..128).map(|n| upsert(&spec(&format!("acme/large/{n:04}")), 0)).collect();
    let others = (0..20).map(|n| {
        let cluster = Arc::clone(&cluster);
        async move { applied(&cluster, vec![upsert(&spec(&format!("acme/small/{n:04}")), 0)]).await }
    });
    let (large, others) = futures::join!(applied(&cluster, large), futures::future::join_all(others));
    assert_eq!(large.expect("an answer").0, Status::Ok);
    assert!(others.iter().all(|outcome| matches!(outcome, Ok((Status::Ok, _)))));
    assert_eq!(cluster.mirror.snapshot().items().count(), 148);
    Arc::into_inner(cluster).expect("nobody else").stop().await;
}

#[tokio::test]
async fn more_changes_than_a_transaction_takes_are_the_registrys_to_refuse() {
    let cluster = Cluster::start().await;
    let changes = (0..129).map(|n| upsert(&spec(&format!("acme/{n:04}")), 0)).collect();
    let fault = applied(&cluster, changes).await.expect_err("too many");
    assert!(fault.message().contains("too many operations"), "{fault}");
    assert_eq!(cluster.mirror.snapshot().items().count(), 0);
    cluster.stop().await;
}

#[tokio::test]
async fn a_default_journal_is_created_once() {
    let cluster = Arc::new(Cluster::start().await);
    let default = labelled("ignored/name", &[("from", "default")]);
    let registry = cluster.as_registry();
    let creations =
        (0..8).map(|_| create(&registry, &cluster.mirror, &|_| true, &default, &JOURNAL)).collect::<Vec<_>>();
    static JOURNAL: std::sync::LazyLock<JournalName> = std::sync::LazyLock::new(|| name("acme/new"));
    for revision in futures::future::join_all(creations).await {
        let revision = revision.expect("a revision");
        let space = cluster.mirror.at_least(revision).await.expect("a running mirror");
        let item = space.item(&JOURNAL).expect("the journal");
        assert_eq!(
            (item.spec.labels.value_of("from"), item.create_revision),
            (Some("default"), item.mod_revision)
        );
    }
    let nested =
        create(&cluster.as_registry(), &cluster.mirror, &|_| true, &default, &name("acme/new/inner")).await;
    let text = nested.expect_err("it nests").message().to_owned();
    assert!(text.starts_with("journal acme/new/inner cannot be created beside acme/new:"), "{text}");
    Arc::into_inner(cluster).expect("nobody else").stop().await;
}

#[tokio::test]
async fn the_header_names_this_broker_while_it_is_a_member() {
    let cluster = Cluster::start().await;
    let process = async |cluster: &Cluster| {
        let request = wire::ApplyRequest::default();
        let response = respond(&cluster.as_registry(), &cluster.mirror, &me(), &|_| true, request)
            .await
            .expect("an answer");
        response.header.expect("a header").process_id.expect("an id").suffix
    };
    assert_eq!(process(&cluster).await, "");
    cluster.put_member(&broker(&me())).await;
    assert_eq!(process(&cluster).await, "self");
    cluster.stop().await;
}
