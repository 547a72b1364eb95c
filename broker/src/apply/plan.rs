//! Pure: the one transaction of an `Apply` request, given what the cluster's keys are.
//!
//! A name must not be a path prefix of another's. The mirror tells whether one would be; that it still is so when the
//! transaction is carried out, guards tell: no journal was created since in the folder of a new one, nor one that the new one
//! would lie in. Where that would take more guards than a transaction has, one guard stands for all of them, over all journals.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Bound;

use courant_proto::id::ProcessId;
use courant_proto::invalid::Invalid;
use courant_proto::name::JournalName;
use courant_proto::nesting::{NestingConflict, nesting_conflict_by};
use courant_proto::spec::JournalSpec;
use courant_proto::wire;

use crate::durability::{self, LABEL, Level, Unfit};
use crate::journal_space::Space;
use crate::retention;
use crate::transaction::{Guard, PutLease, Transaction, Write};

/// One change of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) expect: Expect,
    pub(crate) to: Target,
}

/// What a change makes of its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// It is created, or its spec replaced.
    Upsert(Box<JournalSpec>),
    Delete(JournalName),
}

/// What a change expects of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Nothing.
    Any,
    /// That it is not there.
    Absent,
    /// That it was last changed at this revision.
    At(i64),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Two changes of one journal: which of the changes, and which earlier one.
    ChangedTwice { index: usize, first: usize, journal: JournalName },
    /// A journal that would be nested with another.
    Nested { index: usize, conflict: NestingConflict },
    /// A durability that does not exist, or that the spec leaves no way to.
    Unfit { index: usize, unfit: Unfit },
    /// A retention that is none.
    Unlimited { index: usize, unfit: retention::Unfit },
    /// A durability that a member of another make knows nothing of.
    Stranger { index: usize, member: ProcessId },
}

impl Change {
    /// Reads a change of a request that was validated.
    pub(crate) fn from_wire(change: wire::apply_request::Change) -> Result<Self, Invalid> {
        let expect = match change.expect_mod_revision {
            -1 => Expect::Any,
            0 => Expect::Absent,
            revision => Expect::At(revision),
        };
        let to = match change.upsert {
            Some(spec) => Target::Upsert(Box::new(JournalSpec::try_from(spec)?)),
            None => Target::Delete(JournalName::parse(&change.delete)?),
        };
        Ok(Self { expect, to })
    }

    /// The journal that is changed.
    pub(crate) fn journal(&self) -> &JournalName {
        match &self.to {
            Target::Upsert(spec) => &spec.name,
            Target::Delete(journal) => journal,
        }
    }
}

impl Expect {
    /// Whether a journal that was last changed at this revision, or is not there (zero), is as expected.
    pub(crate) fn holds(self, mod_revision: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => mod_revision == 0,
            Self::At(revision) => mod_revision == revision,
        }
    }
}

/// Checks what changes ask of retention.
pub(crate) fn check_retention(changes: &[Change]) -> Result<(), Refusal> {
    for (index, change) in changes.iter().enumerate() {
        if let Target::Upsert(spec) = &change.to {
            retention::check(spec).map_err(|unfit| Refusal::Unlimited { index, unfit })?;
        }
    }
    Ok(())
}

/// Checks what changes ask of durability. A journal that has a level already keeps it, whoever is a member by now.
pub(crate) fn check_durability(
    space: &Space,
    changes: &[Change],
    is_courant: &dyn Fn(&ProcessId) -> bool,
) -> Result<(), Refusal> {
    let mut stranger = None;
    for (index, change) in changes.iter().enumerate() {
        let Target::Upsert(spec) = &change.to else { continue };
        let level = durability::check(spec).map_err(|unfit| Refusal::Unfit { index, unfit })?;
        let before = space.item(&spec.name).map(|item| Level::of(&item.spec)).unwrap_or_default();
        if level.is_own() && !level.is_like(before) {
            let stranger = stranger.get_or_insert_with(|| {
                space.members().map(|(_, member)| member.id.clone()).find(|id| !is_courant(id))
            });
            if let Some(member) = stranger.clone() {
                return Err(Refusal::Stranger { index, member });
            }
        }
    }
    Ok(())
}

/// Plans the transaction of a request. It reads the journals concerned if a guard does not hold, in the order of the changes.
pub(crate) fn plan(space: &Space, changes: &[Change], most_guards: usize) -> Result<Transaction, Refusal> {
    check_unique(changes)?;
    check_nesting(space, changes)?;
    let plan = assemble(space, changes, guard_new_journal);
    if plan.guards.len() <= most_guards {
        return Ok(plan);
    }
    let mut plan = assemble(space, changes, |_, _, _| Vec::new());
    plan.guards.push(Guard::NotCreatedAfter {
        key: space.root().items().to_vec(),
        end: Some(space.root().items_end()),
        revision: space.read_through(),
    });
    Ok(plan)
}

fn check_unique(changes: &[Change]) -> Result<(), Refusal> {
    let mut seen = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        if let Some(first) = seen.insert(change.journal(), index) {
            return Err(Refusal::ChangedTwice { index, first, journal: change.journal().clone() });
        }
    }
    Ok(())
}

/// Looks for names that would nest, among the journals as the request leaves them.
fn check_nesting(space: &Space, changes: &[Change]) -> Result<(), Refusal> {
    let is_new = |name: &str| !space.has_item(name);
    let deleted: BTreeSet<&str> = changes
        .iter()
        .filter(|change| matches!(change.to, Target::Delete(_)))
        .map(|change| change.journal().as_str())
        .collect();
    let new: BTreeMap<&str, usize> = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| matches!(change.to, Target::Upsert(_)) && is_new(change.journal().as_str()))
        .map(|(index, change)| (change.journal().as_str(), index))
        .collect();
    for (name, index) in &new {
        let conflict = nesting_conflict_by(
            name,
            |other| new.contains_key(other) || (space.has_item(other) && !deleted.contains(other)),
            |bound| {
                let from = (Bound::Included(bound), Bound::Unbounded);
                let beside = new.range::<str, _>(from).next().map(|(name, _)| *name);
                let existing = first_kept_from(space, bound, &deleted);
                beside.into_iter().chain(existing).min()
            },
        );
        if let Some(conflict) = conflict {
            return Err(Refusal::Nested { index: *index, conflict });
        }
    }
    Ok(())
}

/// The first journal at or after a bound that is not deleted.
fn first_kept_from<'a>(space: &'a Space, bound: &str, deleted: &BTreeSet<&str>) -> Option<&'a str> {
    let mut found = space.first_item_from(bound)?;
    while deleted.contains(found) {
        found = space.first_item_from(&format!("{found}\0"))?;
    }
    Some(found)
}

fn assemble(
    space: &Space,
    changes: &[Change],
    guard_new: impl Fn(&Space, &Change, &mut BTreeSet<String>) -> Vec<Guard>,
) -> Transaction {
    let mut transaction = Transaction::default();
    let mut guarded = BTreeSet::new();
    for change in changes {
        let key = space.root().item(change.journal());
        let existing = space.item(change.journal());
        let guards = match (&change.to, change.expect, existing) {
            (_, Expect::At(mod_revision), _) => vec![Guard::Unchanged { key: key.clone(), mod_revision }],
            (Target::Delete(_), _, _) => Vec::new(),
            // One that is there may be nested already, and changing it makes nothing worse, as long as it is that one.
            (Target::Upsert(_), Expect::Any, Some(item)) => {
                vec![Guard::SameLife { key: key.clone(), create_revision: item.create_revision }]
            }
            // It is there, so this fails; the registry says so.
            (Target::Upsert(_), Expect::Absent, Some(_)) => {
                vec![Guard::Unchanged { key: key.clone(), mod_revision: 0 }]
            }
            (Target::Upsert(_), Expect::Any | Expect::Absent, None) => guard_new(space, change, &mut guarded),
        };
        transaction.guards.extend(guards);
        transaction.otherwise.push(key.clone());
        transaction.writes.push(match &change.to {
            Target::Upsert(spec) => Write::Put { key, value: spec.encode(), lease: PutLease::None },
            Target::Delete(_) => Write::Delete { key },
        });
    }
    transaction
}

/// Guards one new journal: its name is free, its folder is empty, and it lies in no other journal.
fn guard_new_journal(space: &Space, change: &Change, guarded: &mut BTreeSet<String>) -> Vec<Guard> {
    let journal = change.journal();
    let revision = space.read_through();
    let (from, to) = space.root().nested_items(journal);
    let mut guards = vec![Guard::NotCreatedAfter { key: from, end: Some(to), revision }];
    if change.expect == Expect::Absent {
        guards.push(Guard::Unchanged { key: space.root().item(journal), mod_revision: 0 });
    }
    for (end, _) in journal.as_str().match_indices('/') {
        let outer = &journal.as_str()[..end];
        if outer.len() >= courant_proto::name::MIN_NAME_LENGTH && guarded.insert(outer.to_owned()) {
            guards.push(Guard::NotCreatedAfter { key: space.root().item_of(outer), end: None, revision });
        }
    }
    guards
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedTwice { index, first, journal } => write!(
                f,
                "Changes[{index}]: journal {journal} is changed by Changes[{first}] already (expected one change of \
                 each journal); join them, or send one after the other"
            ),
            Self::Nested { index, conflict } => write!(f, "Changes[{index}].Upsert: {conflict}"),
            Self::Unlimited { index, unfit } => write!(f, "Changes[{index}].Upsert.Labels: {unfit}"),
            Self::Unfit { index, unfit } => write!(f, "Changes[{index}].Upsert.Labels: {unfit}"),
            Self::Stranger { index, member } => write!(
                f,
                "Changes[{index}].Upsert.Labels: {LABEL} asks for what broker {member} does not know of (expected Courant's brokers alone \
                 in the cluster); take that broker out first, or wait a moment if it has just begun"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
