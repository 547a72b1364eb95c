//! Pure: registers as bytes in a record, and back.
//!
//! Each label is the length of its name and of its value, 16 bits each, and then both.

use courant_proto::label::LabelSet;
use courant_proto::registers::Registers;

/// Appends registers to a record.
pub(crate) fn encode(registers: &Registers, out: &mut Vec<u8>) {
    for label in registers.labels().iter() {
        for part in [label.name(), label.value()] {
            // Labels are at most 1024 bytes long.
            out.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
        out.extend_from_slice(label.name().as_bytes());
        out.extend_from_slice(label.value().as_bytes());
    }
}

/// Reads registers. None if these bytes are not what [`encode`] writes.
pub(crate) fn decode(bytes: &[u8]) -> Option<Registers> {
    let mut rest = bytes;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (&[name_low, name_high, value_low, value_high], behind) = rest.split_first_chunk::<4>()?;
        let (name, behind) =
            behind.split_at_checked(usize::from(u16::from_le_bytes([name_low, name_high])))?;
        let (value, behind) =
            behind.split_at_checked(usize::from(u16::from_le_bytes([value_low, value_high])))?;
        pairs.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
        rest = behind;
    }
    LabelSet::from_pairs(pairs).ok().map(Registers::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) {
        let registers = Registers::new(LabelSet::from_pairs(pairs.iter().copied()).expect("labels"));
        let mut bytes = Vec::new();
        encode(&registers, &mut bytes);
        assert_eq!(decode(&bytes), Some(registers));
        for cut in 1..bytes.len() {
            // A cut between labels leaves fewer of them; anywhere else it is noticed.
            if let Some(fewer) = decode(&bytes[..cut]) {
                assert!(fewer.labels().len() < pairs.len(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn registers_come_back() {
        check(&[]);
        check(&[("fence", "1")]);
        check(&[("author", "a/b"), ("author", "c"), ("empty", ""), ("fence", "1")]);
    }
}
