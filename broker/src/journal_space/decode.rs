//! What the keys and values of a cluster mean. What was decoded before changes nothing of that: it is kept so that equal parts are
//! one in memory.
//!
//! The refusals are in Gazette's words; operators of both read them in the same logs.

use std::sync::Arc;

use courant_keyspace::Decoder;
use courant_proto::id::ProcessId;
use courant_proto::label::LabelSet;
use courant_proto::name::JournalName;
use courant_proto::route::Route;
use courant_proto::spec::{BrokerSpec, JournalSpec};
use courant_proto::store::StoreUrl;

use super::key::{Root, SEPARATOR};
use super::recent::Recent;

/// What a key of the cluster holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Item(Arc<JournalSpec>),
    Member(Arc<BrokerSpec>),
    Assignment(Assignment),
}

impl Value {
    /// The journal that it is about, if it is about one.
    pub(crate) fn journal(&self) -> Option<&JournalName> {
        match self {
            Self::Item(spec) => Some(&spec.name),
            Self::Assignment(assignment) => Some(&assignment.journal),
            Self::Member(_) => None,
        }
    }
}

/// That a member holds a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) journal: JournalName,
    pub(crate) member: ProcessId,
    /// Zero is the primary's.
    pub(crate) slot: u32,
    /// The route that its members were last synchronised in, if they ever were.
    pub(crate) route: Option<Arc<Route>>,
}

impl Assignment {
    /// Whether this is the route that its members were last synchronised in.
    pub(crate) fn knows(&self, route: &Route) -> bool {
        self.route.as_ref().is_some_and(|known| known.equivalent(route))
    }
}

/// Reads the keys and values under a root.
#[derive(Clone, Debug)]
pub(crate) struct SpaceDecoder {
    root: Arc<Root>,
    parts: Parts,
}

/// Parts that many journals have alike.
#[derive(Clone, Debug, Default)]
struct Parts {
    labels: Recent<LabelSet>,
    members: Recent<ProcessId>,
    routes: Recent<Arc<Route>>,
    stores: Recent<StoreUrl>,
}

impl SpaceDecoder {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self { root, parts: Parts::default() }
    }
}

impl Decoder for SpaceDecoder {
    type Value = Value;

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<Value, String> {
        let text = |part| std::str::from_utf8(part).map_err(|error| format!("the key is not UTF-8: {error}"));
        if let Some(rest) = key.strip_prefix(self.root.items()) {
            item(text(rest)?, value, &self.parts)
        } else if let Some(rest) = key.strip_prefix(self.root.all_assignments()) {
            assignment(text(rest)?, value, &self.parts)
        } else if let Some(rest) = key.strip_prefix(self.root.members()) {
            member(text(rest)?, value)
        } else {
            Err("unexpected key prefix".to_owned())
        }
    }
}

fn item(id: &str, value: &[u8], parts: &Parts) -> Result<Value, String> {
    if id.as_bytes().contains(&SEPARATOR) {
        return Err("expected (id) in item key".to_owned());
    }
    let mut spec = JournalSpec::decode(value).map_err(|error| error.to_string())?;
    if spec.name.as_str() != id {
        return Err(format!("JournalSpec Name doesn't match Item ID ({} vs {id})", spec.name));
    }
    spec.labels = parts.labels.share(spec.labels);
    spec.fragment.stores = spec.fragment.stores.into_iter().map(|store| parts.stores.share(store)).collect();
    spec.fragment.stores.shrink_to_fit();
    Ok(Value::Item(Arc::new(spec)))
}

fn member(rest: &str, value: &[u8]) -> Result<Value, String> {
    let [zone, suffix] = split(rest).ok_or("expected (zone, suffix) in member key")?;
    let spec = BrokerSpec::decode(value).map_err(|error| error.to_string())?;
    if spec.id.zone() != zone {
        return Err(format!("BrokerSpec Zone doesn't match Member Zone ({} vs {zone})", spec.id.zone()));
    }
    if spec.id.suffix() != suffix {
        return Err(format!(
            "BrokerSpec Suffix doesn't match Member Suffix ({} vs {suffix})",
            spec.id.suffix()
        ));
    }
    Ok(Value::Member(Arc::new(spec)))
}

fn assignment(rest: &str, value: &[u8], parts: &Parts) -> Result<Value, String> {
    let [journal, zone, suffix, slot] =
        split(rest).ok_or("expected (item-id, member-zone, member-suffix, slot) in assignment key")?;
    let slot = Some(slot)
        .filter(|slot| slot.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|slot| slot.parse().ok())
        .ok_or_else(|| format!("parsing slot {slot:?}: invalid syntax; expected a decimal number"))?;
    let route = if value.is_empty() {
        None
    } else {
        let route = Route::decode(value).map_err(|error| error.to_string())?;
        Some(parts.routes.share(Arc::new(route)))
    };
    Ok(Value::Assignment(Assignment {
        journal: JournalName::parse(journal).map_err(|error| error.to_string())?,
        member: parts.members.share(ProcessId::new(zone, suffix).map_err(|error| error.to_string())?),
        slot,
        route,
    }))
}

/// The parts of a key, if it has just as many.
fn split<const N: usize>(rest: &str) -> Option<[&str; N]> {
    let mut parts = rest.split(char::from(SEPARATOR));
    let mut found = [""; N];
    for part in &mut found {
        *part = parts.next()?;
    }
    parts.next().is_none().then_some(found)
}
