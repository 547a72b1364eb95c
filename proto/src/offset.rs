//! Pure: positions in a journal.
//!
//! An offset is never negative and never wraps; the wire's `-1` is [`ReadFrom::WriteHead`] here.

use std::fmt;

use crate::invalid::Invalid;

/// A byte position in a journal, from zero to `i64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// The first byte of a journal.
    pub const ZERO: Self = Self(0);
    /// The last position there is.
    pub const MAX: Self = Self(i64::MAX);

    /// The offset, unless the number is negative.
    pub const fn new(offset: i64) -> Option<Self> {
        if offset < 0 { None } else { Some(Self(offset)) }
    }

    /// The number, as the wire has it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `length` bytes on, unless there is none.
    pub const fn plus(self, length: u64) -> Option<Self> {
        match self.0.checked_add_unsigned(length) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The offset `length` bytes back, unless that is before the journal.
    pub const fn minus(self, length: u64) -> Option<Self> {
        match self.0.checked_sub_unsigned(length) {
            Some(difference) => Self::new(difference),
            None => None,
        }
    }

    /// The number of bytes from an earlier offset to this one, unless that one is later.
    pub const fn distance_from(self, earlier: Self) -> Option<u64> {
        // Neither is negative, so the difference cannot overflow.
        let distance = self.0 - earlier.0;
        if distance < 0 { None } else { Some(distance.unsigned_abs()) }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Offset> for i64 {
    fn from(offset: Offset) -> Self {
        offset.0
    }
}

impl TryFrom<i64> for Offset {
    type Error = Invalid;

    fn try_from(offset: i64) -> Result<Self, Invalid> {
        Self::new(offset).ok_or_else(|| Invalid::new(format!("invalid Offset ({offset}; expected >= 0)")))
    }
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadFrom {
    /// At an offset.
    At(Offset),
    /// At the end of what is written when the read is served: `-1` on the wire.
    WriteHead,
}

impl ReadFrom {
    /// The number on the wire.
    pub const fn to_wire(self) -> i64 {
        match self {
            Self::At(offset) => offset.0,
            Self::WriteHead => -1,
        }
    }
}

impl TryFrom<i64> for ReadFrom {
    type Error = Invalid;

    fn try_from(offset: i64) -> Result<Self, Invalid> {
        match (offset, Offset::new(offset)) {
            (-1, _) => Ok(Self::WriteHead),
            (_, Some(offset)) => Ok(Self::At(offset)),
            (_, None) => {
                Err(Invalid::new(format!("invalid Offset ({offset}; expected -1 <= Offset <= MaxInt64)")))
            }
        }
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_wire().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_both_ends() {
        let at = |n| Offset::new(n).expect("not negative");
        assert_eq!(Offset::new(-1), None);
        assert_eq!(at(5).plus(7), Some(at(12)));
        assert_eq!(Offset::MAX.plus(1), None);
        assert_eq!(Offset::ZERO.plus(u64::MAX), None);
        assert_eq!(Offset::ZERO.plus(i64::MAX as u64), Some(Offset::MAX));
        assert_eq!(at(5).minus(5), Some(Offset::ZERO));
        assert_eq!(at(5).minus(6), None);
        assert_eq!(at(5).minus(u64::MAX), None);
        assert_eq!(at(12).distance_from(at(5)), Some(7));
        assert_eq!(at(5).distance_from(at(12)), None);
        assert_eq!(Offset::MAX.distance_from(Offset::ZERO), Some(i64::MAX as u64));
    }

    #[test]
    fn minus_one_is_the_write_head() {
        assert_eq!(ReadFrom::try_from(-1), Ok(ReadFrom::WriteHead));
        assert_eq!(ReadFrom::try_from(0), Ok(ReadFrom::At(Offset::ZERO)));
        assert_eq!(ReadFrom::WriteHead.to_wire(), -1);
        assert_eq!(
            ReadFrom::try_from(-2).map_err(|e| e.to_string()),
            Err("invalid Offset (-2; expected -1 <= Offset <= MaxInt64)".to_owned())
        );
    }
}
