//! The store is away for a while: appends go on as long as there is room, and all of it is stored in the end.

use std::time::Duration;

use courant_tests::cluster::{Cluster, Plan};
use courant_tests::drought;

use crate::alone;

#[expect(clippy::print_stderr, reason = "figures are for whoever reads the log")]
async fn tried(spool_quota: Option<u64>) -> Option<drought::Drought> {
    let _alone = alone().await;
    let cluster = Cluster::start(Plan { brokers: 3, spool_quota, ..Plan::default() }).await?;
    let plan = drought::Plan {
        journals: 12,
        replicas: 3,
        rate: 40,
        size: 16 << 10,
        calm: Duration::from_secs(8),
        down: Duration::from_secs(15),
        within: Duration::from_secs(120),
    };
    let came = drought::run(&cluster, plan).await.expect("the journals get their replicas");
    eprintln!("{came}");
    assert_eq!(came.problems, Vec::<String>::new());
    Some(came)
}

#[tokio::test]
async fn a_store_that_is_away_costs_nobody_an_append() {
    let Some(came) = tried(None).await else { return };
    assert_eq!(came.refused, 0);
    assert!(came.acknowledged_dry > 100, "{} appends are no load", came.acknowledged_dry);
}

#[tokio::test]
async fn a_quota_that_is_used_up_refuses_clearly_until_the_store_is_back() {
    // Each broker holds everything: some six seconds' worth.
    let Some(came) = tried(Some(8 << 20)).await else { return };
    assert!(came.refused > 20, "{} refusals", came.refused);
    assert!(came.acknowledged_dry > 20, "{} appends were taken before", came.acknowledged_dry);
    let (_, why) = came.first_refusal.expect("some were refused");
    assert!(
        why.starts_with("FRAGMENT_STORE_UNHEALTHY: fragment store file:/// unhealthy: health check"),
        "{why}"
    );
    // Before the quota is spent whole: the rest is for journals whose stores work.
    assert!(came.most_unpersisted < 3 * (8 << 20), "{}", came.most_unpersisted);
}
