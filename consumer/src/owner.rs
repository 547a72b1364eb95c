//! Pure: who is a shard's primary, as a register of its journal says it.

use std::fmt;

use courant_message::Producer;
use courant_proto::wire;

/// The register that names the owner. Each of its appends has it as a condition.
pub(crate) const FENCE: &str = "courant.dev/shard-fence";
/// The register that says where the records of the last snapshot begin.
pub(crate) const SNAPSHOT: &str = "courant.dev/shard-snapshot";

/// One primary of a shard, told from all others. Later ones have a greater epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Greater than that of all before it.
    pub epoch: u64,
    /// By which it publishes.
    pub producer: Producer,
}

impl Owner {
    /// The owner that registers name. None if they name none, or nothing that is one.
    pub(crate) fn of_registers(registers: &wire::LabelSet) -> Option<Self> {
        let (epoch, producer) = value_of(registers, FENCE)?.split_once('-')?;
        let epoch = u64::from_str_radix(epoch, 16).ok()?;
        if producer.len() != 12 || !producer.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let digits = u64::from_str_radix(producer, 16).ok()?.to_be_bytes();
        let [_, _, id @ ..] = digits;
        Some(Self { epoch, producer: Producer::from_bytes(id) })
    }

    /// The label of the register.
    pub(crate) fn register(self) -> wire::Label {
        label(FENCE, &self.to_string())
    }

    /// What an append of this owner has as its condition.
    pub(crate) fn condition(self) -> wire::LabelSelector {
        let include = Some(wire::LabelSet { labels: vec![self.register()] });
        wire::LabelSelector { include, exclude: None }
    }

    pub(crate) fn of_wire(owner: Option<&wire::courant::ShardOwner>) -> Option<Self> {
        let owner = owner?;
        let producer = <[u8; 6]>::try_from(&owner.producer[..]).ok()?;
        Some(Self { epoch: owner.epoch, producer: Producer::from_bytes(producer) })
    }

    pub(crate) fn to_wire(self) -> wire::courant::ShardOwner {
        let producer = bytes::Bytes::copy_from_slice(self.producer.as_bytes());
        wire::courant::ShardOwner { epoch: self.epoch, producer }
    }
}

/// As in the register: 16 hexadecimal digits of the epoch, so that they sort, and the producer.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.producer)
    }
}

pub(crate) fn label(name: &str, value: &str) -> wire::Label {
    wire::Label { name: name.to_owned(), value: value.to_owned(), prefix: false }
}

/// The value of a register.
pub(crate) fn value_of<'a>(registers: &'a wire::LabelSet, name: &str) -> Option<&'a str> {
    registers.labels.iter().find(|label| label.name == name).map(|label| &*label.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_name_owners() {
        let owner = Owner { epoch: 17, producer: Producer::from_bytes([1, 2, 3, 0xa, 0xb, 0xff]) };
        assert_eq!(owner.to_string(), "0000000000000011-0102030a0bff");
        let registers = |labels| wire::LabelSet { labels };
        let other = label("other", "1");
        assert_eq!(Owner::of_registers(&registers(vec![other.clone(), owner.register()])), Some(owner));
        assert_eq!(Owner::of_registers(&registers(vec![other])), None);
        for value in ["", "11", "x-0102030a0bff", "11-0102", "11-0102030a0bf+", "11-+102030a0bff"] {
            assert_eq!(Owner::of_registers(&registers(vec![label(FENCE, value)])), None, "{value}");
        }
        assert_eq!(Owner::of_wire(Some(&owner.to_wire())), Some(owner));
    }
}
