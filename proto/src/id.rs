//! Pure: who a process is: its zone and its suffix.

use std::fmt;
use std::sync::Arc;

use crate::invalid::{Context, Invalid};
use crate::token::{self, Symbols};
use crate::wire;

const MAX_ZONE_LENGTH: usize = 32;
const MIN_SUFFIX_LENGTH: usize = 4;
const MAX_SUFFIX_LENGTH: usize = 128;

/// The identity of a member. Ordered by zone, then suffix, as bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    zone: Arc<str>,
    suffix: Arc<str>,
}

impl ProcessId {
    /// Checks an identity.
    ///
    /// # Errors
    /// When the zone is no token of 1 to 32 bytes, or the suffix none of 4 to 128.
    pub fn new(zone: &str, suffix: &str) -> Result<Self, Invalid> {
        check_process_id(zone, suffix)?;
        Ok(Self { zone: zone.into(), suffix: suffix.into() })
    }

    /// The failure domain.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// What tells it from the others of its zone.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }
}

/// `zone#suffix`, as in the registry's keys: neither part can hold a `#`.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.zone, self.suffix)
    }
}

impl TryFrom<&wire::process_spec::Id> for ProcessId {
    type Error = Invalid;

    fn try_from(id: &wire::process_spec::Id) -> Result<Self, Invalid> {
        Self::new(&id.zone, &id.suffix)
    }
}

impl From<&ProcessId> for wire::process_spec::Id {
    fn from(id: &ProcessId) -> Self {
        Self { zone: id.zone.to_string(), suffix: id.suffix.to_string() }
    }
}

pub(crate) fn check_process_id(zone: &str, suffix: &str) -> Result<(), Invalid> {
    token::check_token(zone, Symbols::Token, 1, MAX_ZONE_LENGTH).within("Zone")?;
    token::check_token(suffix, Symbols::Token, MIN_SUFFIX_LENGTH, MAX_SUFFIX_LENGTH).within("Suffix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_zone_then_suffix() {
        let check = |zone: &str, suffix: &str, expected: Result<&str, &str>| {
            let got = ProcessId::new(zone, suffix).map(|id| id.to_string()).map_err(|e| e.to_string());
            assert_eq!(got.as_deref().map_err(|e| e.as_str()), expected);
        };
        check("us-a", "brk1", Ok("us-a#brk1"));
        check("", "brk1", Err("Zone: invalid length (0; expected 1 <= length <= 32)"));
        check(&"z".repeat(33), "x", Err("Zone: invalid length (33; expected 1 <= length <= 32)"));
        check("xxx xxx", "brk1", Err("Zone: not a valid token (xxx xxx)"));
        check("us-a", "brk", Err("Suffix: invalid length (3; expected 4 <= length <= 128)"));
        check("us-a", "brk#1", Err("Suffix: not a valid token (brk#1)"));
    }

    #[test]
    fn orders_by_zone_then_suffix() {
        let id = |zone, suffix| ProcessId::new(zone, suffix).expect("id");
        assert!(id("a", "zzzz") < id("b", "aaaa"));
        assert!(id("a", "aaaa") < id("a", "aaab"));
        // A shorter zone comes first whatever its suffix is.
        assert!(id("a", "zzzz") < id("a-b", "aaaa"));
    }
}
