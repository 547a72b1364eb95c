//! Who holds which journal: what the allocator has to know of journals and brokers, which it has never heard of.

use std::collections::BTreeMap;
use std::sync::Arc;

use courant_allocator::{Allocator, Fact, Keys, MemberSpec, Reader, Suspicion};
use courant_keyspace::Entry;
use courant_proto::id::ProcessId;
use courant_proto::route::Route;
use etcd_client::Client;
use tokio::sync::watch;

use crate::journal_space::decode::{Assignment, Value};
use crate::journal_space::{SpaceMirror, effective_replication, route_of};
use crate::peers::record::Suspicion as Reported;

/// Most replicas of a journal, as Gazette has it.
const MOST_REPLICATION: usize = 9;

/// Assigns journals to brokers, while this one leads.
pub(crate) type Assigner = Allocator<JournalReader>;

/// An assigner for the broker `me`, which heeds what brokers report of each other.
pub(crate) fn assigner(
    etcd: Client,
    mirror: &SpaceMirror,
    reports: watch::Receiver<Arc<BTreeMap<Reported, bool>>>,
    me: &ProcessId,
    seed: u64,
) -> Assigner {
    let (keys, id) = (Keys::new(mirror.root().to_string()), (me.zone(), me.suffix()));
    Allocator::new(etcd, mirror.keys().clone(), keys, JournalReader, id, seed).with_reports(reports)
}

/// Reads journals as items, brokers as members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalReader;

impl Reader for JournalReader {
    type Value = Value;
    type Reports = Arc<BTreeMap<Reported, bool>>;

    fn fact<'a>(&self, entry: &'a Entry<Value>) -> Option<Fact<'a>> {
        Some(match &entry.value {
            Value::Item(spec) => {
                let replication = effective_replication(spec, MOST_REPLICATION);
                Fact::Item { id: spec.name.as_str(), replication: u32::try_from(replication).unwrap_or(0) }
            }
            Value::Member(spec) => Fact::Member {
                zone: spec.id.zone(),
                suffix: spec.id.suffix(),
                spec: MemberSpec { limit: spec.journal_limit, exiting: spec.exiting },
            },
            Value::Assignment(Assignment { journal, member, slot, .. }) => Fact::Assignment {
                item: journal.as_str(),
                zone: member.zone(),
                suffix: member.suffix(),
                slot: *slot,
            },
        })
    }

    /// All of a journal's assignments are consistent, or none: each has to know the route that they make.
    fn is_consistent(&self, _: &Entry<Value>, all: &[&Entry<Value>]) -> bool {
        let assignments = || all.iter().filter_map(|entry| assignment(entry));
        let route = route_of(assignments());
        assignments().all(|assignment| assignment.knows(&route))
    }

    fn value(&self, entry: &Entry<Value>) -> Vec<u8> {
        let route = assignment(entry).and_then(|assignment| assignment.route.as_ref());
        route.map(|route| route.encode()).unwrap_or_default()
    }

    fn suspicions(&self, reports: &Self::Reports) -> Vec<Suspicion> {
        let id = |id: &ProcessId| (id.zone().into(), id.suffix().into());
        let suspicion = |(report, shows_life): (&Reported, &bool)| Suspicion {
            member: id(&report.suspect),
            by: id(&report.by),
            shows_life: *shows_life,
        };
        reports.iter().map(suspicion).collect()
    }

    /// A set of one is synchronised by itself: it can be told so at once.
    fn alone(&self, zone: &str, suffix: &str) -> Vec<u8> {
        let member = ProcessId::new(zone, suffix).ok();
        let route = member.and_then(|member| Route::new(vec![member], Some(0)).ok());
        route.map(|route| route.encode()).unwrap_or_default()
    }
}

fn assignment(entry: &Entry<Value>) -> Option<&Assignment> {
    match &entry.value {
        Value::Assignment(assignment) => Some(assignment),
        Value::Item(_) | Value::Member(_) => None,
    }
}

#[cfg(test)]
mod tests;
