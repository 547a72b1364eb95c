//! The allocator's leader is now of one kind, now of the other: who leads must not matter. A cluster at rest stays at
//! rest, and when a member leaves, nobody's replicas move but its own.

use anyhow::{Context as _, Result, ensure};
use courant_proto::wire::CompressionCodec as Codec;

use crate::cluster::{Cluster, Places};
use crate::processes::{Kind, World};
use crate::report::Report;
use crate::talk::spec;

const JOURNALS: usize = 40;

/// Four that lead in turn and hold next to nothing, and four that hold the journals.
pub(crate) async fn run(world: &World, report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::new(world, "/gazette/leaders");
    // The oldest member leads. None of them is in a zone that a journal wants.
    let leaders = [Kind::Gazette, Kind::Courant, Kind::Gazette, Kind::Courant];
    for (n, kind) in leaders.into_iter().enumerate() {
        cluster.add(kind, &format!("leader-{n}"), "zone-z", 0).await?;
    }
    for n in 0..4 {
        let kind = if n % 2 == 0 { Kind::Courant } else { Kind::Gazette };
        cluster.add(kind, &format!("holder-{n}"), &format!("zone-{}", n % 2), 1024).await?;
    }
    let specs = (0..JOURNALS)
        .map(|n| spec(&format!("leaders/journal-{n:03}"), 1 + (n % 3) as i32, Codec::None, 65_536));
    cluster.any()?.create(specs.collect()).await?;
    cluster.settled().await?;
    cluster.rested().await?;

    // Each leaves at once, and the next one leads: there is nothing to do for it.
    for (at, kind) in leaders.into_iter().enumerate() {
        let before = cluster.stamp().await?;
        cluster.brokers[at].kill().await?;
        let rested = async {
            tokio::time::sleep(std::time::Duration::from_secs(crate::processes::LEASE_SECONDS + 2)).await;
            cluster.rested().await?;
            let after = cluster.stamp().await?;
            ensure!(after == before, "assignments were written: {before:?}, then {after:?}");
            Ok(())
        };
        let next = leaders.get(at + 1).copied().unwrap_or(Kind::Courant);
        report.check(
            format!("leaders: from {} {at} to {}: nothing moves", kind.name(), next.name()),
            rested.await,
        );
    }

    // Now those that hold journals leave and come back, so that the leader is of either kind.
    for at in 4..6 {
        let kind = cluster.brokers[at].kind;
        let title = format!("leaders: a {} holder, which leads, is drained", kind.name());
        let moved = drain(&mut cluster, at).await;
        report.check(format!("{title}: only its own replicas move"), moved);
        cluster.brokers[at].start(world).await.context("it comes back")?;
        cluster.settled().await?;
        let rested = cluster.rested().await;
        report.check(format!("{title}: it comes back, and all comes to rest"), rested);
    }
    Ok(())
}

/// Drains a broker: others' replicas stay where they are.
async fn drain(cluster: &mut Cluster<'_>, at: usize) -> Result<()> {
    let before = cluster.places().await?;
    let id = cluster.brokers[at].id.clone();
    let code = cluster.brokers[at].drain().await?;
    ensure!(code == 0, "it ended with {code}");
    let after = cluster.settled().await?;
    cluster.rested().await?;
    let (lost, gained) = (held(&before, &id), moved(&before, &after));
    ensure!(lost > 0, "it held nothing");
    ensure!(gained * 10 <= lost * 12, "{gained} replicas moved, {lost} had to");
    Ok(())
}

/// How many replicas a member holds.
fn held(places: &Places, id: &str) -> usize {
    places.values().flat_map(|slots| slots.values()).filter(|member| *member == id).count()
}

/// How many replicas are where none of their journal was.
fn moved(before: &Places, after: &Places) -> usize {
    let new = |journal: &String, member: &String| {
        !before.get(journal).is_some_and(|slots| slots.values().any(|known| known == member))
    };
    after
        .iter()
        .flat_map(|(journal, slots)| slots.values().map(move |member| (journal, member)))
        .filter(|(journal, member)| new(journal, member))
        .count()
}
