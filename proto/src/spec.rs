//! Pure: specs: what is wanted of a journal, and what a broker offers, as the registry keeps them.
//!
//! A spec is right when it was made from the wire. Its fields are open, so that it can be altered; what was
//! altered is checked again by [`JournalSpec::check`]. It does not know how specs are stored or compared.

mod broker;
mod check;
mod constraints;
mod fragment;
#[cfg(test)]
mod tests;

use prost::Message;

pub use broker::{BrokerSpec, MAX_JOURNAL_LIMIT};
pub(crate) use check::{check_wire_broker, check_wire_journal};
pub use constraints::{
    CONTENT_TYPE, INSTANCE, MANAGED_BY, MESSAGE_SUBTYPE, MESSAGE_TYPE, REGION, check_label_constraints,
};
pub use fragment::FragmentSpec;

use crate::invalid::{Context, Invalid};
use crate::label::LabelSet;
use crate::name::JournalName;
use crate::offset::Offset;
use crate::wire;

/// Most replicas a spec may ask for.
pub const MAX_REPLICATION: i32 = 5;

/// What is wanted of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSpec {
    /// Its name.
    pub name: JournalName,
    /// How many brokers replicate it, 1 to 5.
    pub replication: i32,
    /// Its labels: neither `name` nor `prefix`.
    pub labels: LabelSet,
    /// How its content is cut, compressed and stored.
    pub fragment: FragmentSpec,
    /// Whether it may be read and written.
    pub flags: Flags,
    /// Bytes per second that may be appended; none is without a limit of its own.
    pub max_append_rate: Option<u64>,
    /// Kept by the brokers. Absent and present with level [`SuspendLevel::None`] are told apart only on the wire.
    pub suspend: Option<Suspend>,
}

impl JournalSpec {
    /// Reads the registry's value.
    ///
    /// # Errors
    /// When the bytes are no such message, or the spec is refused.
    pub fn decode(value: &[u8]) -> Result<Self, Invalid> {
        let spec = wire::JournalSpec::decode(value).map_err(|error| Invalid::new(error.to_string()))?;
        Self::try_from(spec)
    }

    /// The registry's value.
    pub fn encode(&self) -> Vec<u8> {
        wire::JournalSpec::from(self).encode_to_vec()
    }

    /// Checks a spec that was put together or altered in place.
    ///
    /// # Errors
    /// When a rule of the protocol is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        check_wire_journal(&wire::JournalSpec::from(self))
    }

    /// How far it is suspended.
    pub fn suspend_level(&self) -> SuspendLevel {
        self.suspend.map_or(SuspendLevel::None, |suspend| suspend.level)
    }

    /// How many replicas it has as things are: all when it is not suspended, one when partially, none when fully.
    pub fn effective_replication(&self) -> i32 {
        match self.suspend_level() {
            SuspendLevel::None => self.replication,
            SuspendLevel::Partial => self.replication.min(1),
            SuspendLevel::Full => 0,
        }
    }
}

/// Whether a journal may be read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// Not specified, which acts as read-write.
    pub const NOT_SPECIFIED: Self = Self(wire::journal_spec::Flag::NotSpecified as u32);
    /// Read-only.
    pub const READ_ONLY: Self = Self(wire::journal_spec::Flag::ORdonly as u32);
    /// Write-only.
    pub const WRITE_ONLY: Self = Self(wire::journal_spec::Flag::OWronly as u32);
    /// Read-write.
    pub const READ_WRITE: Self = Self(wire::journal_spec::Flag::ORdwr as u32);

    /// The flags of a number.
    ///
    /// # Errors
    /// When it is none of the four.
    pub fn from_raw(raw: u32) -> Result<Self, Invalid> {
        let flags = Self(raw);
        match flags {
            Self::NOT_SPECIFIED | Self::READ_ONLY | Self::WRITE_ONLY | Self::READ_WRITE => Ok(flags),
            _ => Err(Invalid::new(format!("invalid combination ({raw})"))),
        }
    }

    /// The number.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Whether reads are allowed.
    pub fn may_read(self) -> bool {
        self != Self::WRITE_ONLY
    }

    /// Whether appends are allowed.
    pub fn may_write(self) -> bool {
        self != Self::READ_ONLY
    }
}

/// A journal at rest: who wakes it must not begin before an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Suspend {
    /// How far.
    pub level: SuspendLevel,
    /// The next append begins here or above.
    pub offset: Offset,
}

/// How far a journal is suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SuspendLevel {
    /// Not at all.
    #[default]
    None,
    /// One replica is left and serves reads; an append resumes it.
    Partial,
    /// None is left; only an append that resumes it is served.
    Full,
}

impl SuspendLevel {
    /// The enumerator on the wire.
    pub const fn to_wire(self) -> wire::journal_spec::suspend::Level {
        match self {
            Self::None => wire::journal_spec::suspend::Level::None,
            Self::Partial => wire::journal_spec::suspend::Level::Partial,
            Self::Full => wire::journal_spec::suspend::Level::Full,
        }
    }

    /// The level of a number on the wire.
    ///
    /// # Errors
    /// When the number is unknown.
    pub fn from_wire(number: i32) -> Result<Self, Invalid> {
        match wire::journal_spec::suspend::Level::try_from(number) {
            Ok(wire::journal_spec::suspend::Level::None) => Ok(Self::None),
            Ok(wire::journal_spec::suspend::Level::Partial) => Ok(Self::Partial),
            Ok(wire::journal_spec::suspend::Level::Full) => Ok(Self::Full),
            Err(_) => Err(Invalid::new(format!("invalid Level variant ({number})"))),
        }
    }
}

impl TryFrom<wire::JournalSpec> for JournalSpec {
    type Error = Invalid;

    fn try_from(spec: wire::JournalSpec) -> Result<Self, Invalid> {
        check_wire_journal(&spec)?;
        let suspend = match spec.suspend {
            Some(suspend) => Some(Suspend {
                level: SuspendLevel::from_wire(suspend.level).within("Level").within("Suspend")?,
                offset: Offset::try_from(suspend.offset).within("Offset").within("Suspend")?,
            }),
            None => None,
        };
        Ok(Self {
            name: JournalName::parse(&spec.name).within("Name")?,
            replication: spec.replication,
            labels: LabelSet::try_from(spec.labels.unwrap_or_default()).within("Labels")?,
            fragment: FragmentSpec::from_checked(spec.fragment.unwrap_or_default()).within("Fragment")?,
            flags: Flags::from_raw(spec.flags).within("Flags")?,
            max_append_rate: u64::try_from(spec.max_append_rate).ok().filter(|rate| *rate > 0),
            suspend,
        })
    }
}

impl From<&JournalSpec> for wire::JournalSpec {
    fn from(spec: &JournalSpec) -> Self {
        let suspend = |suspend: Suspend| wire::journal_spec::Suspend {
            level: suspend.level.to_wire().into(),
            offset: suspend.offset.get(),
        };
        Self {
            name: spec.name.to_string(),
            replication: spec.replication,
            labels: Some((&spec.labels).into()),
            fragment: Some((&spec.fragment).into()),
            flags: spec.flags.raw(),
            max_append_rate: spec.max_append_rate.map_or(0, |rate| i64::try_from(rate).unwrap_or(i64::MAX)),
            suspend: spec.suspend.map(suspend),
        }
    }
}
