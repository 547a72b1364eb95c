//! Pure: label selectors: which label sets, and so which journals or registers, are meant.
//!
//! A selector excludes first and includes then, by groups of one name: a group matches when one of its values
//! matches one of the set's. Reading the text form that was printed gives the same selector. It does not know
//! where the sets come from.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::invalid::{Context, Invalid};
use crate::label::{self, LabelSet};
use crate::name::JournalName;
use crate::wire;

/// The label that every journal matches with its name, without carrying it.
pub const NAME_LABEL: &str = "name";
/// The label that, in a listing, selects journals by a prefix of their name that ends in `/`.
pub const PREFIX_LABEL: &str = "prefix";
/// What marks a name in the text form whose value is a prefix.
const PREFIX_SUFFIX: &str = ":prefix";

/// One label of a selector. Ordered by name, value, and whether the value is a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    name: Box<str>,
    value: Box<str>,
    prefix: bool,
}

impl Term {
    /// The name of the labels that are looked at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value they must have; empty for any.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether the value need only be how theirs begins.
    pub fn is_prefix(&self) -> bool {
        self.prefix
    }

    fn matches(&self, value: &str) -> bool {
        self.value.is_empty() || *self.value == *value || (self.prefix && value.starts_with(&*self.value))
    }
}

/// Which label sets are meant. The default selects every set.
///
/// ```
/// use courant_proto::{JournalName, LabelSelector, LabelSet};
///
/// let selector = LabelSelector::parse("name:prefix = logs/, env in (prod, staging), !draft")?;
/// let labels = LabelSet::from_pairs([("env", "prod")])?;
/// assert!(selector.matches_journal(&labels, &JournalName::parse("logs/access")?));
/// assert_eq!(selector.to_string(), "env in (prod,staging),name:prefix=logs/,!draft");
/// # Ok::<(), courant_proto::Invalid>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    // Each sorted, and checked as a label set but for the prefix flag.
    include: Vec<Term>,
    exclude: Vec<Term>,
}

impl LabelSelector {
    /// Reads the text form; empty text selects everything.
    ///
    /// # Errors
    /// When the text is no selector, or a label in it is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse::parse(text)
    }

    /// Selects the one journal of a name.
    pub fn of_name(name: &JournalName) -> Self {
        let term = Term { name: NAME_LABEL.into(), value: name.as_str().into(), prefix: false };
        Self { include: vec![term], exclude: Vec::new() }
    }

    /// What a set must have, in order.
    pub fn include(&self) -> &[Term] {
        &self.include
    }

    /// What a set must not have, in order.
    pub fn exclude(&self) -> &[Term] {
        &self.exclude
    }

    /// Whether every set is selected.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether a set is selected.
    pub fn matches(&self, set: &LabelSet) -> bool {
        self.matches_with(set, None)
    }

    /// Whether a journal is selected, by its labels and by its name as the label `name`.
    pub fn matches_journal(&self, labels: &LabelSet, name: &JournalName) -> bool {
        self.matches_with(labels, Some(name.as_str()))
    }

    /// The selector as a listing reads it: `prefix` is another way to write `name:prefix`.
    #[must_use]
    pub fn for_listing(&self) -> Self {
        let rewrite = |terms: &[Term]| {
            let mut terms = terms.to_vec();
            for term in terms.iter_mut().filter(|term| &*term.name == PREFIX_LABEL) {
                term.name = NAME_LABEL.into();
                term.prefix = true;
            }
            terms.sort();
            terms.dedup();
            terms
        };
        Self { include: rewrite(&self.include), exclude: rewrite(&self.exclude) }
    }

    fn matches_with(&self, set: &LabelSet, journal: Option<&str>) -> bool {
        let group_matches = |group: &[Term]| {
            let name = &*group[0].name;
            let journal = journal.filter(|_| name == NAME_LABEL);
            set.values_of(name).chain(journal).any(|value| group.iter().any(|term| term.matches(value)))
        };
        !groups(&self.exclude).any(group_matches) && groups(&self.include).all(group_matches)
    }

    /// Sorts and checks what was gathered; the same term twice counts once.
    fn from_terms(mut include: Vec<Term>, mut exclude: Vec<Term>) -> Result<Self, Invalid> {
        for (terms, side) in [(&mut include, "Include"), (&mut exclude, "Exclude")] {
            terms.sort();
            terms.dedup();
            let labels = terms.iter().map(|term| (&*term.name, &*term.value, term.prefix));
            label::check_labels(labels, true).within(side)?;
        }
        Ok(Self { include, exclude })
    }
}

/// Runs of terms that share a name.
fn groups(terms: &[Term]) -> impl Iterator<Item = &[Term]> {
    terms.chunk_by(|a, b| a.name == b.name)
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (terms, excludes) in [(&self.include, false), (&self.exclude, true)] {
            let mut named: Vec<(String, &str)> =
                terms.iter().map(|term| (printed_name(term), &*term.value)).collect();
            named.sort();
            for group in named.chunk_by(|a, b| a.0 == b.0) {
                if !std::mem::take(&mut first) {
                    f.write_str(",")?;
                }
                fmt_group(f, &group[0].0, group, excludes)?;
            }
        }
        Ok(())
    }
}

fn printed_name(term: &Term) -> String {
    format!("{}{}", term.name, if term.prefix { PREFIX_SUFFIX } else { "" })
}

fn fmt_group(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    group: &[(String, &str)],
    excludes: bool,
) -> fmt::Result {
    if let [(_, value)] = group {
        return match (value.is_empty(), excludes) {
            (true, false) => f.write_str(name),
            (true, true) => write!(f, "!{name}"),
            (false, true) => write!(f, "{name}!={value}"),
            // `a==b` reads as `a=b`, so a value that begins with `=` needs the longer sign.
            (false, false) if value.starts_with('=') => write!(f, "{name}=={value}"),
            (false, false) => write!(f, "{name}={value}"),
        };
    }
    let values: Vec<&str> = group.iter().map(|(_, value)| *value).collect();
    write!(f, "{name} {} ({})", if excludes { "notin" } else { "in" }, values.join(","))
}

impl FromStr for LabelSelector {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl TryFrom<wire::LabelSelector> for LabelSelector {
    type Error = Invalid;

    fn try_from(selector: wire::LabelSelector) -> Result<Self, Invalid> {
        check_wire_selector(&selector)?;
        let term = |label: wire::Label| Term {
            name: label.name.into(),
            value: label.value.into(),
            prefix: label.prefix,
        };
        let terms =
            |set: Option<wire::LabelSet>| set.unwrap_or_default().labels.into_iter().map(term).collect();
        Ok(Self { include: terms(selector.include), exclude: terms(selector.exclude) })
    }
}

impl From<&LabelSelector> for wire::LabelSelector {
    fn from(selector: &LabelSelector) -> Self {
        let set = |terms: &[Term]| {
            let label = |term: &Term| wire::Label {
                name: term.name.to_string(),
                value: term.value.to_string(),
                prefix: term.prefix,
            };
            Some(wire::LabelSet { labels: terms.iter().map(label).collect() })
        };
        Self { include: set(&selector.include), exclude: set(&selector.exclude) }
    }
}

/// Checks both sides of a selector.
pub(crate) fn check_wire_selector(selector: &wire::LabelSelector) -> Result<(), Invalid> {
    for (set, side) in [(&selector.include, "Include"), (&selector.exclude, "Exclude")] {
        if let Some(set) = set {
            label::check_wire_set(set, true).within(side)?;
        }
    }
    Ok(())
}
