//! Pure: the part of a journal spec that children inherit, and what two of them have in common.
//! It does not know names, or which of two nodes is the parent.

use crate::duration::GoDuration;
use crate::label::LabelSet;
use crate::wire::CompressionCodec;

/// What a node says of its journal, or of every journal beneath it. A field that is zero says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Number of brokers that hold the journal.
    pub replication: i32,
    /// Labels. A name is inherited or not with all of its values.
    pub labels: LabelSet,
    /// Target length of a fragment, in uncompressed bytes.
    pub length: i64,
    /// Codec of stored fragments; `INVALID` says nothing.
    pub compression_codec: CompressionCodec,
    /// Store URLs. An empty list is a statement too: these journals have no stores.
    pub stores: Option<Vec<String>>,
    /// Time between two looks at the stores.
    pub refresh_interval: GoDuration,
    /// Age at which tools may remove fragments; zero is never.
    pub retention: GoDuration,
    /// Time after which a fragment is closed though it is short.
    pub flush_interval: GoDuration,
    /// Template of the path between a journal's name and a fragment's.
    pub path_postfix_template: String,
    /// Number of the journal's flag.
    pub flags: u32,
    /// Bytes per second; zero is without limit.
    pub max_append_rate: i64,
}

impl Fields {
    /// What these fields say, and where they say nothing, what the other ones do.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.combine(other, &Or, LabelSet::union)
    }

    /// What both say.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.combine(other, &Common, LabelSet::intersect)
    }

    /// What these fields say and the other ones do not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, &Without, LabelSet::subtract)
    }

    fn combine<R: Rule>(&self, other: &Self, rule: &R, labels: fn(&LabelSet, &LabelSet) -> LabelSet) -> Self {
        // Without `..`, so that a field that is added here is asked for there.
        Self {
            replication: rule.pick(&self.replication, &other.replication),
            labels: labels(&self.labels, &other.labels),
            length: rule.pick(&self.length, &other.length),
            compression_codec: rule.pick(&self.compression_codec, &other.compression_codec),
            stores: rule.pick(&self.stores, &other.stores),
            refresh_interval: rule.pick(&self.refresh_interval, &other.refresh_interval),
            retention: rule.pick(&self.retention, &other.retention),
            flush_interval: rule.pick(&self.flush_interval, &other.flush_interval),
            path_postfix_template: rule.pick(&self.path_postfix_template, &other.path_postfix_template),
            flags: rule.pick(&self.flags, &other.flags),
            max_append_rate: rule.pick(&self.max_append_rate, &other.max_append_rate),
        }
    }
}

/// Which of two values of one field is taken, or neither.
trait Rule {
    fn pick<T: Clone + Default + PartialEq>(&self, mine: &T, theirs: &T) -> T;
}

struct Or;
struct Common;
struct Without;

impl Rule for Or {
    fn pick<T: Clone + Default + PartialEq>(&self, mine: &T, theirs: &T) -> T {
        if *mine == T::default() { theirs.clone() } else { mine.clone() }
    }
}

impl Rule for Common {
    fn pick<T: Clone + Default + PartialEq>(&self, mine: &T, theirs: &T) -> T {
        if mine == theirs { mine.clone() } else { T::default() }
    }
}

impl Rule for Without {
    fn pick<T: Clone + Default + PartialEq>(&self, mine: &T, theirs: &T) -> T {
        if mine == theirs { T::default() } else { mine.clone() }
    }
}
