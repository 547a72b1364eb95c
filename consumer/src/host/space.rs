//! Pure: the keys of members and shards, as one member sees them at one revision.
//!
//! ```text
//!  <root>/assign/<shard>#<zone>#<suffix>#<slot>   who holds a shard, and how it stands with it; slot 0 is its primary
//!  <root>/items/<shard>                           what is wanted of a shard
//!  <root>/members/<zone>#<suffix>                 who can hold shards
//! ```
//!
//! Keys and values are those of Gazette's consumers.

use std::collections::BTreeMap;
use std::sync::Arc;

use courant_allocator::{Fact, MemberSpec, Reader, Suspicion};
use courant_keyspace::{Decoder, Entry, Snapshot};
use courant_proto::{ProcessId, wire};
use prost::Message as _;
use wire::consumer::replica_status::Code;
use wire::consumer::{ConsumerSpec, ReplicaStatus};

use super::spec::ShardSpec;

/// What a key and its value mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Shard(Arc<ShardSpec>),
    Member { id: ProcessId, spec: ConsumerSpec },
    Assignment { shard: String, member: ProcessId, slot: u32, status: ReplicaStatus },
}

/// Decodes what lies under a root.
#[derive(Clone, Debug)]
pub(crate) struct SpaceDecoder {
    folder: String,
}

/// A shard that is assigned to a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assigned {
    pub(crate) spec: Arc<ShardSpec>,
    /// Of the spec: another one is another spec.
    pub(crate) spec_revision: i64,
    pub(crate) is_primary: bool,
}

impl SpaceDecoder {
    pub(crate) fn new(root: &str) -> Self {
        Self { folder: format!("{root}/") }
    }
}

impl Decoder for SpaceDecoder {
    type Value = Value;

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<Value, String> {
        let key = std::str::from_utf8(key).map_err(|_| "the key is no UTF-8".to_owned())?;
        let key = key.strip_prefix(&self.folder).ok_or("the key lies elsewhere")?;
        let (family, name) = key.split_once('/').ok_or("expected items/, members/ or assign/")?;
        match family {
            "items" => {
                let spec = ShardSpec::decode(value).map_err(|invalid| invalid.to_string())?;
                if spec.id != name {
                    return Err(format!("the spec is of {} (expected {name}, as in the key)", spec.id));
                }
                Ok(Value::Shard(Arc::new(spec)))
            }
            "members" => {
                let id = process_id(name)?;
                let spec = ConsumerSpec::decode(value).map_err(|error| error.to_string())?;
                let told = spec.process_spec.as_ref().and_then(|process| process.id.as_ref());
                if told.is_none_or(|told| (&*told.zone, &*told.suffix) != (id.zone(), id.suffix())) {
                    return Err(format!("the spec is of another member (expected {name}, as in the key)"));
                }
                Ok(Value::Member { id, spec })
            }
            "assign" => {
                let parts = || "expected SHARD#ZONE#SUFFIX#SLOT".to_owned();
                let (shard, rest) = name.split_once('#').ok_or_else(parts)?;
                let (member, slot) = rest.rsplit_once('#').ok_or_else(parts)?;
                let slot = slot.parse().map_err(|_| parts())?;
                let status = ReplicaStatus::decode(value).map_err(|error| error.to_string())?;
                Ok(Value::Assignment { shard: shard.to_owned(), member: process_id(member)?, slot, status })
            }
            _ => Err("expected items/, members/ or assign/".to_owned()),
        }
    }
}

fn process_id(text: &str) -> Result<ProcessId, String> {
    let (zone, suffix) = text.split_once('#').ok_or("expected ZONE#SUFFIX")?;
    ProcessId::new(zone, suffix).map_err(|invalid| invalid.to_string())
}

/// The shards that are assigned to a member.
pub(crate) fn assigned(snapshot: &Snapshot<Value>, root: &str, me: &ProcessId) -> BTreeMap<String, Assigned> {
    let mut found = BTreeMap::new();
    for entry in snapshot.prefix(format!("{root}/assign/")).iter() {
        let Value::Assignment { shard, member, slot, .. } = &entry.value else { continue };
        if member != me {
            continue;
        }
        let item = snapshot.get(format!("{root}/items/{shard}"));
        let Some(Entry { value: Value::Shard(spec), mod_revision, .. }) = item else { continue };
        let is_primary = *slot == 0;
        let assigned = found.entry(shard.clone()).or_insert_with(|| Assigned {
            spec: spec.clone(),
            spec_revision: mod_revision.get(),
            is_primary,
        });
        // While it moves from one slot to another, a member has both.
        assigned.is_primary |= is_primary;
    }
    found
}

/// The assignments of a shard to a member.
pub(crate) fn assignments<'a>(
    snapshot: &'a Snapshot<Value>,
    root: &str,
    shard: &str,
    me: &ProcessId,
) -> Vec<(&'a Entry<Value>, &'a ReplicaStatus)> {
    let prefix = format!("{root}/assign/{shard}#{}#{}#", me.zone(), me.suffix());
    let run = snapshot.prefix(prefix);
    let found = run.iter().filter_map(|entry| match &entry.value {
        Value::Assignment { status, .. } => Some((entry.as_ref(), status)),
        _ => None,
    });
    found.collect()
}

/// Reads shards as items, consumers as members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardReader {
    /// Whatever specs say, a shard has no more.
    pub(crate) most_standbys: u32,
}

impl Reader for ShardReader {
    type Value = Value;
    type Reports = ();

    fn fact<'a>(&self, entry: &'a Entry<Value>) -> Option<Fact<'a>> {
        Some(match &entry.value {
            Value::Shard(spec) => {
                let standbys = spec.hot_standbys.min(self.most_standbys);
                Fact::Item { id: &spec.id, replication: if spec.disable { 0 } else { 1 + standbys } }
            }
            Value::Member { id, spec } => Fact::Member {
                zone: id.zone(),
                suffix: id.suffix(),
                spec: MemberSpec { limit: spec.shard_limit, exiting: spec.exiting },
            },
            Value::Assignment { shard, member, slot, .. } => {
                Fact::Assignment { item: shard, zone: member.zone(), suffix: member.suffix(), slot: *slot }
            }
        })
    }

    /// One that failed holds up nothing if its primary failed as well: it would fail elsewhere, too.
    fn is_consistent(&self, entry: &Entry<Value>, all: &[&Entry<Value>]) -> bool {
        let has_failed_primary = all.iter().any(|entry| {
            matches!(&entry.value, Value::Assignment { slot: 0, status, .. } if status.code() == Code::Failed)
        });
        match &entry.value {
            Value::Assignment { status, .. } => match status.code() {
                Code::Standby | Code::Primary => true,
                Code::Failed => has_failed_primary,
                Code::Idle | Code::Backfill => false,
            },
            _ => false,
        }
    }

    fn value(&self, entry: &Entry<Value>) -> Vec<u8> {
        match &entry.value {
            Value::Assignment { status, .. } => status.encode_to_vec(),
            _ => Vec::new(),
        }
    }

    fn suspicions(&self, (): &()) -> Vec<Suspicion> {
        Vec::new()
    }

    fn alone(&self, _: &str, _: &str) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_gazettes_mean() {
        let decoder = SpaceDecoder::new("/root");
        let status = ReplicaStatus { code: Code::Failed.into(), errors: vec!["why".to_owned()] };
        let found = decoder.decode(b"/root/assign/a/shard#zone#suffix#2", &status.encode_to_vec());
        let member = ProcessId::new("zone", "suffix").unwrap();
        assert_eq!(found, Ok(Value::Assignment { shard: "a/shard".to_owned(), member, slot: 2, status }));
        let id = wire::process_spec::Id { zone: "zone".to_owned(), suffix: "suffix".to_owned() };
        let process = wire::ProcessSpec { id: Some(id), endpoint: "http://host".to_owned() };
        let spec = ConsumerSpec { process_spec: Some(process), shard_limit: 7, exiting: false };
        let bytes = spec.encode_to_vec();
        assert!(matches!(decoder.decode(b"/root/members/zone#suffix", &bytes), Ok(Value::Member { .. })));
        for (key, value, what) in [
            ("/root/members/zone#other", &bytes[..], "the spec is of another member"),
            ("/root/members/zone", &bytes, "expected ZONE#SUFFIX"),
            ("/root/assign/a/shard#zone#suffix", &[], "expected SHARD#ZONE#SUFFIX#SLOT"),
            ("/root/assign/a/shard#zone#suffix#x", &[], "expected SHARD#ZONE#SUFFIX#SLOT"),
            ("/root/other/a", &[], "expected items/, members/ or assign/"),
            ("/elsewhere/items/a", &[], "the key lies elsewhere"),
            ("/root/items/a", b"\xff", ""),
        ] {
            let error = decoder.decode(key.as_bytes(), value).unwrap_err();
            assert!(error.contains(what), "{key}: {error}");
        }
    }
}
