//! Pure: labels and sets of them, in order and unique, with an algebra by name.
//!
//! A name may have several values; its values are kept, replaced and compared together. It does not know which
//! names mean something; that is the spec's part.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::invalid::{Context, Invalid};
use crate::token::{self, Symbols};
use crate::wire;

const MIN_NAME_LENGTH: usize = 2;
const MAX_NAME_LENGTH: usize = 64;
const MAX_VALUE_LENGTH: usize = 1024;

/// One name with one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    name: Box<str>,
    value: Box<str>,
}

impl Label {
    /// Checks a label.
    ///
    /// # Errors
    /// When the name is no token of 2 to 64 bytes, or the value has characters outside its alphabet or is longer
    /// than 1024 bytes.
    pub fn new(name: &str, value: &str) -> Result<Self, Invalid> {
        check_label(name, value)?;
        Ok(Self { name: name.into(), value: value.into() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value; may be empty.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// Labels in ascending (name, value) order, each once; an empty value stands alone under its name. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(Arc<[Label]>);

impl LabelSet {
    /// The set without labels.
    pub fn empty() -> Self {
        Self(Arc::new([]))
    }

    /// Sorts and checks pairs of name and value; a pair that is given twice counts once.
    ///
    /// # Errors
    /// When a label is refused, or an empty value stands beside another of its name.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, Invalid>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut labels: Vec<Label> = pairs
            .into_iter()
            .map(|(name, value)| Label { name: name.as_ref().into(), value: value.as_ref().into() })
            .collect();
        labels.sort();
        labels.dedup();
        check_labels(labels.iter().map(|label| (&*label.name, &*label.value, false)), false)?;
        Ok(Self(labels.into()))
    }

    /// The labels, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The labels of one name, in order of their values.
    pub fn of_name(&self, name: &str) -> &[Label] {
        let start = self.0.partition_point(|label| &*label.name < name);
        let end = start + self.0[start..].partition_point(|label| &*label.name == name);
        &self.0[start..end]
    }

    /// The values of one name, in order.
    pub fn values_of(&self, name: &str) -> impl ExactSizeIterator<Item = &str> {
        self.of_name(name).iter().map(Label::value)
    }

    /// The first value of a name, if it has any.
    pub fn value_of(&self, name: &str) -> Option<&str> {
        self.of_name(name).first().map(Label::value)
    }

    /// Every name of both sets; where both have one, with this set's values alone.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut labels: Vec<Label> = self.0.to_vec();
        labels.extend(other.iter().filter(|label| self.of_name(&label.name).is_empty()).cloned());
        labels.sort();
        Self(labels.into())
    }

    /// The names whose values are the same in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.keep(|group| other.of_name(&group[0].name) == group)
    }

    /// The names of this set, without those whose values are the same in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return self.clone();
        }
        self.keep(|group| other.of_name(&group[0].name) != group)
    }

    /// This set with all values of a name replaced by the one given.
    ///
    /// # Errors
    /// When the label is refused.
    pub fn with_value(&self, name: &str, value: &str) -> Result<Self, Invalid> {
        Ok(Self([Label::new(name, value)?].into()).union(self))
    }

    fn keep(&self, wanted: impl Fn(&[Label]) -> bool) -> Self {
        Self(
            self.0
                .chunk_by(|a, b| a.name == b.name)
                .filter(|group| wanted(group))
                .flatten()
                .cloned()
                .collect(),
        )
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            label.fmt(f)?;
        }
        Ok(())
    }
}

impl TryFrom<wire::LabelSet> for LabelSet {
    type Error = Invalid;

    fn try_from(set: wire::LabelSet) -> Result<Self, Invalid> {
        check_wire_set(&set, false)?;
        let label = |label: wire::Label| Label { name: label.name.into(), value: label.value.into() };
        Ok(Self(set.labels.into_iter().map(label).collect()))
    }
}

impl From<&LabelSet> for wire::LabelSet {
    fn from(set: &LabelSet) -> Self {
        let label = |label: &Label| wire::Label {
            name: label.name.to_string(),
            value: label.value.to_string(),
            prefix: false,
        };
        Self { labels: set.iter().map(label).collect() }
    }
}

/// Checks the labels of a set, or with `in_selector` those of one side of a selector.
pub(crate) fn check_wire_set(set: &wire::LabelSet, in_selector: bool) -> Result<(), Invalid> {
    check_labels(set.labels.iter().map(|label| (&*label.name, &*label.value, label.prefix)), in_selector)
}

fn check_label(name: &str, value: &str) -> Result<(), Invalid> {
    token::check_token(name, Symbols::Token, MIN_NAME_LENGTH, MAX_NAME_LENGTH).within("Name")?;
    token::check_token(value, Symbols::Path, 0, MAX_VALUE_LENGTH).within("Value")
}

/// Checks (name, value, prefix) one after the other: each by itself, then against the one before it.
pub(crate) fn check_labels<'a>(
    labels: impl Iterator<Item = (&'a str, &'a str, bool)>,
    in_selector: bool,
) -> Result<(), Invalid> {
    let mut last: Option<(&str, &str)> = None;
    for (index, (name, value, prefix)) in labels.enumerate() {
        check_label(name, value).at("Labels", index)?;
        if prefix && !in_selector {
            return Err(Invalid::new("Prefix may not be set outside of a LabelSelector").at("Labels", index));
        }
        if let Some((last_name, last_value)) = last {
            let refusal = if name < last_name {
                format!(
                    "Labels not in unique, sorted order (index {index}; label name {name} <= {last_name})"
                )
            } else if name == last_name && value <= last_value {
                format!(
                    "Labels not in unique, sorted order (index {index}; label {name} value {value} <= {last_value})"
                )
            } else if name == last_name && last_value.is_empty() {
                format!("Label has empty & non-empty values (index {index}; label {name} value {value})")
            } else {
                String::new()
            };
            if !refusal.is_empty() {
                return Err(Invalid::new(refusal));
            }
        }
        last = Some((name, value));
    }
    Ok(())
}
