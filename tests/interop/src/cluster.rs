//! Some brokers on one prefix, and what etcd says of them. Knows no scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use courant_proto::wire;
use etcd_client::GetOptions;
use prost::Message as _;

use crate::processes::{Broker, Kind, World, until};
use crate::talk::Talk;

/// How long a cluster may take to settle: a lease, the allocator, the first listings of the stores.
const SETTLING: Duration = Duration::from_secs(40);

/// Brokers of either kind that share everything.
#[derive(Debug)]
pub(crate) struct Cluster<'a> {
    pub(crate) world: &'a World,
    prefix: String,
    pub(crate) brokers: Vec<Broker>,
}

/// Where the replicas of each journal are: by journal, the member of each slot.
pub(crate) type Places = BTreeMap<String, BTreeMap<u32, String>>;

/// One assignment, as it lies in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assignment {
    journal: String,
    member: String,
    slot: u32,
    /// The members that its value names; none if it is not synchronised yet.
    route: Vec<String>,
    revision: i64,
}

impl<'a> Cluster<'a> {
    pub(crate) fn new(world: &'a World, prefix: &str) -> Self {
        Self { world, prefix: prefix.to_owned(), brokers: Vec::new() }
    }

    /// Starts one more broker: its place in the list.
    pub(crate) async fn add(&mut self, kind: Kind, id: &str, zone: &str, limit: u32) -> Result<usize> {
        let mut broker = Broker::new(self.world, kind, id, zone, &self.prefix)?.with_limit(limit);
        broker.start(self.world).await?;
        self.brokers.push(broker);
        Ok(self.brokers.len() - 1)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.runs())
    }

    pub(crate) fn kind_of(&self, id: &str) -> Result<Kind> {
        self.brokers
            .iter()
            .find(|broker| broker.id == id)
            .map(|broker| broker.kind)
            .with_context(|| format!("nobody is called {id}"))
    }

    /// The first broker that runs.
    pub(crate) fn any(&self) -> Result<Talk> {
        Talk::to(&self.running().next().context("no broker runs")?.url())
    }

    async fn assignments(&self) -> Result<Vec<Assignment>> {
        let mut etcd = self.world.etcd().await?;
        let prefix = format!("{}/assign/", self.prefix);
        let answer =
            etcd.get(prefix.as_str(), Some(GetOptions::new().with_prefix())).await.context("etcd")?;
        let read = |kv: &etcd_client::KeyValue| {
            let key = kv.key_str().context("a key that is text")?;
            let parts: Vec<&str> =
                key.strip_prefix(&prefix).context("a key below the prefix")?.split('#').collect();
            let [journal, _zone, member, slot] = parts[..] else { anyhow::bail!("assignment {key}") };
            let route = wire::Route::decode(kv.value()).with_context(|| format!("the value of {key}"))?;
            Ok(Assignment {
                journal: journal.to_owned(),
                member: member.to_owned(),
                slot: slot.parse().context("a slot")?,
                route: route.members.into_iter().map(|id| id.suffix).collect(),
                revision: kv.mod_revision(),
            })
        };
        answer.kvs().iter().map(read).collect()
    }

    /// Where the replicas are.
    pub(crate) async fn places(&self) -> Result<Places> {
        let mut places = Places::new();
        for assignment in self.assignments().await? {
            places.entry(assignment.journal).or_default().insert(assignment.slot, assignment.member);
        }
        Ok(places)
    }

    /// The newest revision of any assignment, and how many there are: equal as long as nothing changed.
    pub(crate) async fn stamp(&self) -> Result<(i64, usize)> {
        let assignments = self.assignments().await?;
        Ok((assignments.iter().map(|a| a.revision).max().unwrap_or(0), assignments.len()))
    }

    /// Waits until each journal has all of its replicas, all on members that run, and all of one mind.
    pub(crate) async fn settled(&self) -> Result<Places> {
        let running: BTreeSet<String> = self.running().map(|broker| broker.id.clone()).collect();
        let prefix = &self.prefix;
        until(&format!("{prefix} settles on {running:?}"), SETTLING, || async {
            let wanted = self.any()?.journals().await?;
            let assignments = self.assignments().await?;
            for journal in &wanted {
                let spec = journal.spec.as_ref().context("a listing with specs")?;
                let suspended = spec.suspend.as_ref().map_or(0, |suspend| suspend.level);
                let replicas = [spec.replication, 1.min(spec.replication), 0];
                let replicas = replicas.get(suspended as usize).copied().unwrap_or(0) as usize;
                let held: Vec<_> = assignments.iter().filter(|a| a.journal == spec.name).collect();
                let members: Vec<&str> = held.iter().map(|a| a.member.as_str()).collect();
                let agreed = held.iter().all(|a| a.route == members && running.contains(&a.member));
                let packed = (0..replicas as u32).all(|slot| held.iter().any(|a| a.slot == slot));
                if held.len() == replicas && agreed && packed {
                    continue;
                }
                let primary = held.iter().find(|a| a.slot == 0);
                if let Some(primary) =
                    primary.filter(|a| self.kind_of(&a.member).is_ok_and(|k| k == Kind::Gazette))
                {
                    self.nudge(&spec.name, &primary.member).await;
                }
                anyhow::bail!("{} wants {replicas} replicas and has {held:?}", spec.name);
            }
            Ok(Some(()))
        })
        .await?;
        self.places().await
    }

    /// Does what a client would. A Gazette primary that could not reach a member which has just come back tries again at the
    /// next append, or a minute later.
    async fn nudge(&self, journal: &str, primary: &str) {
        let Some(broker) = self.running().find(|broker| broker.id == primary) else { return };
        let request = wire::AppendRequest {
            journal: journal.to_owned(),
            suspend: wire::append_request::Suspend::NoResume.into(),
            ..Default::default()
        };
        if let Ok(talk) = Talk::to(&broker.url()) {
            // Whether it helped is seen in the assignments.
            let _ = talk.append(request, b"").await;
        }
    }

    /// Waits until nothing has changed for a while.
    pub(crate) async fn rested(&self) -> Result<()> {
        let mut last = self.stamp().await?;
        let mut quiet = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.stamp().await?;
            quiet = if now == last { quiet + 1 } else { 0 };
            if quiet == 5 {
                return Ok(());
            }
            last = now;
        }
        anyhow::bail!("assignments change without end: now {last:?}")
    }
}
