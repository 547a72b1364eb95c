//! All that the holders of a journal kept is gone: it refuses appends until an operator accepts the loss, and goes on behind
//! all that is stored.

use std::time::Duration;

use courant_proto::wire;
use courant_tests::access::Access;
use courant_tests::cluster::{Cluster, Plan};
use courant_tests::history::Outcome;
use courant_tests::{journal, payload, store};
use tokio::time::{Instant, sleep};

use crate::alone;

const NAME: &str = "loss/one";

/// What is waited for here takes some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn piece(number: u32) -> Vec<u8> {
    payload::piece_of(payload::Id { writer: 1, sequence: number, attempt: 0 }, number, 4)
}

async fn append(cluster: &Cluster, number: u32) -> courant_tests::access::Attempt {
    let request = wire::AppendRequest { journal: NAME.to_owned(), ..Default::default() };
    Access::new(cluster.addresses(), number.into(), PATIENCE).append(request, &piece(number)).await
}

#[tokio::test]
async fn a_journal_whose_holders_have_lost_everything_waits_for_an_operator() {
    let _alone = alone().await;
    let plan = Plan { brokers: 3, zones: 3, ..Plan::default() };
    let Some(mut cluster) = Cluster::start(plan).await else { return };
    let spec =
        wire::JournalSpec { replication: 3, ..journal::spec(NAME, wire::CompressionCodec::None, 1 << 10) };
    journal::apply(&cluster.client(), [spec]).await;
    cluster.converged(&[NAME.to_owned()], 3, PATIENCE).await.expect("replicas");
    let mut acknowledged = 0;
    for number in 0..20 {
        let Outcome::Done { end, .. } = append(&cluster, number).await.outcome else { panic!("no append") };
        acknowledged = end;
    }
    // Something of it is stored.
    let deadline = Instant::now() + PATIENCE;
    while store::fragments(cluster.store(), NAME).len() < 3 {
        assert!(Instant::now() < deadline, "nothing is stored");
        sleep(Duration::from_millis(50)).await;
    }

    let all = cluster.all();
    cluster.kill(&all);
    all.iter().for_each(|index| cluster.forget(*index));
    let stored = store::assembled(cluster.store(), NAME).expect("sound fragments");
    assert!(i64::try_from(stored.len()).expect("short") <= acknowledged);
    cluster.restart(&all).await;

    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = append(&cluster, 100).await;
        assert!(!matches!(attempt.outcome, Outcome::Done { .. }), "it goes on as if nothing was lost");
        if attempt.status == Some(wire::Status::IndexHasGreaterOffset) {
            break;
        }
        assert!(Instant::now() < deadline, "it is refused, but with {attempt:?}");
        sleep(Duration::from_millis(100)).await;
    }
    let ran = cluster.node(0).verb(&["journals", "reset-head", "-l", "name=loss/one"], b"").await;
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let attempt = append(&cluster, 101).await;
    let Outcome::Done { begin, .. } = attempt.outcome else { panic!("{attempt:?}") };
    assert!(begin >= i64::try_from(stored.len()).expect("short"), "offset {begin} is stored already");
    let answer = cluster.node(1).http("GET", &format!("/{NAME}"), b"").await;
    assert!(answer.body.starts_with(&stored), "what was stored is not read back");
}
