//! Pure: the journals of a picture that a selector means, and whether two pictures may differ in them.

use std::sync::Arc;

use courant_keyspace::{Change, Entry, Run};
use courant_proto::selector::{LabelSelector, NAME_LABEL, Term};
use courant_proto::wire;

use crate::journal_space::decode::Value;
use crate::journal_space::{Item, Space, to_item};

/// A selector as a listing reads it, with the part of the names that it is confined to.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    selector: LabelSelector,
    scope: Scope,
}

/// Where in the names a selector looks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Prefix(Box<str>),
    Exactly(Box<str>),
}

/// The journals that were selected, by name.
#[derive(Clone, Debug)]
pub(crate) struct Selected(Vec<Arc<Entry<Value>>>);

/// What tells that a watched selection has changed: how many journals there are, and when one of them was last changed. Routes
/// are not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    count: usize,
    newest: i64,
}

impl Selection {
    pub(crate) fn new(selector: &LabelSelector) -> Self {
        let selector = selector.for_listing();
        let mut names = selector.include().iter().filter(|term| term.name() == NAME_LABEL);
        let scope = match (names.next(), names.next()) {
            (Some(term), None) if !term.value().is_empty() => scope_of(term),
            _ => Scope::All,
        };
        Self { selector, scope }
    }

    /// The journals that are meant.
    pub(crate) fn select(&self, space: &Space) -> Selected {
        let run = self.run(space);
        let meant = run.iter().filter(|entry| match &entry.value {
            Value::Item(spec) => self.selector.matches_journal(&spec.labels, &spec.name),
            _ => false,
        });
        Selected(meant.map(Arc::clone).collect())
    }

    /// Whether a selection of `newer` may be another than one of `older`: whether a journal that it looks at has changed.
    pub(crate) fn may_differ(&self, older: &Space, newer: &Space) -> bool {
        let begin = match &self.scope {
            Scope::All => newer.root().items().to_vec(),
            Scope::Prefix(name) | Scope::Exactly(name) => newer.root().item_of(name),
        };
        newer
            .snapshot()
            .changes_since(older.snapshot())
            .iter()
            .any(|change| Change::key(change).starts_with(&begin))
    }

    fn run<'a>(&self, space: &'a Space) -> Run<'a, Value> {
        match &self.scope {
            Scope::All => space.item_entries(),
            // What only begins with an exact name is sorted out by the selector itself.
            Scope::Prefix(name) | Scope::Exactly(name) => space.item_entries_with_prefix(name),
        }
    }
}

fn scope_of(term: &Term) -> Scope {
    if term.is_prefix() { Scope::Prefix(term.value().into()) } else { Scope::Exactly(term.value().into()) }
}

impl Selected {
    /// The entries of the journals, by name.
    pub(crate) fn entries(&self) -> &[Arc<Entry<Value>>] {
        &self.0
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let newest = self.0.iter().map(|entry| entry.mod_revision.get()).max().unwrap_or(0);
        Fingerprint { count: self.0.len(), newest }
    }
}

/// A journal as a listing tells of it.
pub(crate) fn describe(space: &Space, entry: &Entry<Value>) -> Option<wire::list_response::Journal> {
    let Item { spec, create_revision, mod_revision } = to_item(entry)?;
    let route = space.route(&spec.name);
    Some(wire::list_response::Journal {
        spec: Some((&*spec).into()),
        mod_revision,
        route: Some((&route).into()),
        create_revision,
    })
}
