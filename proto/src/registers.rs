//! Pure: the registers of a journal: a label set that changes only together with content, and that an append
//! can make its condition.

use std::fmt;

use crate::invalid::Invalid;
use crate::label::LabelSet;
use crate::selector::LabelSelector;
use crate::wire;

/// The registers of a journal. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registers(LabelSet);

impl Registers {
    /// Registers with these labels.
    pub fn new(labels: LabelSet) -> Self {
        Self(labels)
    }

    /// The labels.
    pub fn labels(&self) -> &LabelSet {
        &self.0
    }

    /// Whether there are none, as at a journal's beginning.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an append with this condition may go on. Empty registers satisfy every condition: they are what a
    /// journal has that lost all its replicas, and it must remain writable.
    pub fn check(&self, condition: &LabelSelector) -> bool {
        self.is_empty() || condition.matches(&self.0)
    }

    /// The registers after an append: first what it subtracts is taken away, then what it adds is put over it.
    #[must_use]
    pub fn apply(&self, union: &LabelSet, subtract: &LabelSet) -> Self {
        Self(union.union(&self.0.subtract(subtract)))
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<wire::LabelSet> for Registers {
    type Error = Invalid;

    fn try_from(set: wire::LabelSet) -> Result<Self, Invalid> {
        LabelSet::try_from(set).map(Self)
    }
}

impl From<&Registers> for wire::LabelSet {
    fn from(registers: &Registers) -> Self {
        Self::from(&registers.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(pairs: &[(&str, &str)]) -> Registers {
        Registers::new(set(pairs))
    }

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).expect("labels")
    }

    #[test]
    fn empty_registers_satisfy_every_condition() {
        let fence = LabelSelector::parse("fence=1").expect("selector");
        assert!(registers(&[]).check(&fence));
        assert!(registers(&[("fence", "1")]).check(&fence));
        assert!(!registers(&[("fence", "2")]).check(&fence));
        assert!(!registers(&[("other", "1")]).check(&fence));
    }

    #[test]
    fn subtracts_first_and_the_union_wins() {
        let before = registers(&[("fence", "1"), ("keep", "x"), ("many", "a"), ("many", "b")]);
        let check = |union: &[(&str, &str)], subtract: &[(&str, &str)], after: &[(&str, &str)]| {
            assert_eq!(before.apply(&set(union), &set(subtract)), registers(after));
        };
        check(&[], &[], &[("fence", "1"), ("keep", "x"), ("many", "a"), ("many", "b")]);
        check(&[("fence", "2")], &[], &[("fence", "2"), ("keep", "x"), ("many", "a"), ("many", "b")]);
        // Taken away only where all values of the name agree.
        check(
            &[],
            &[("many", "a"), ("fence", "9")],
            &[("fence", "1"), ("keep", "x"), ("many", "a"), ("many", "b")],
        );
        check(&[], &[("many", "a"), ("many", "b")], &[("fence", "1"), ("keep", "x")]);
        // What is taken away may come back with the union.
        check(
            &[("fence", "1")],
            &[("fence", "1")],
            &[("fence", "1"), ("keep", "x"), ("many", "a"), ("many", "b")],
        );
    }
}
