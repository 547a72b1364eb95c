//! Pure: which partition a key goes to. Gazette's hashes and rules, so that both map alike.

/// FNV-1a with 32 bits.
pub fn hash(key: &[u8]) -> u32 {
    const BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    key.iter().fold(BASIS, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// The partitions of a topic, in ascending order of their names. Made anew when they change; mapping a key costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Of each name.
    hashes: Vec<u32>,
}

impl Partitions {
    /// Partitions with these names, in the order in which they are listed.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { hashes: names.into_iter().map(|name| hash(name.as_ref().as_bytes())).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none. Then no key has a partition.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// A partition, each as likely as the other, by a random number.
    pub fn random(&self, draw: u32) -> Option<usize> {
        let scaled = (u64::from(draw) * self.len() as u64) >> u32::BITS;
        usize::try_from(scaled).ok().filter(|_| !self.is_empty())
    }

    /// The partition of a key, by its hash modulo their number. Nearly all keys move when that changes.
    pub fn modulo(&self, key: &[u8]) -> Option<usize> {
        (hash(key) as usize).checked_rem(self.len())
    }

    /// The partition of a key, by the highest weight of both hashes. When a partition comes or goes, only its keys move.
    pub fn rendezvous(&self, key: &[u8]) -> Option<usize> {
        let key = hash(key);
        let weights = self.hashes.iter().map(|name| key ^ name).enumerate();
        // Of equal weights the first counts.
        weights.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partitions(count: usize) -> Partitions {
        Partitions::new((0..count).map(|number| format!("a/topic/part-{number:03}")))
    }

    #[test]
    fn gazettes_fixtures() {
        let (modulo, fewer, more) = (partitions(443), partitions(400), partitions(500));
        for (key, by_modulo, by_rendezvous) in [
            ("It always", 119, 21),
            ("seems", 54, 179),
            ("impossible", 308, 50),
            ("until", 97, 13),
            ("it is done.", 179, 337),
            ("- Nelson Mandela", 437, 29),
            ("Shall I compare", 84, 110),
            ("thee to", 300, 395),
            ("a summer's day?", 214, 192),
            ("Thou art more", 135, 394),
            ("lovely and more", 118, 344),
            ("temperate - Shakespeare", 228, 75),
        ] {
            assert_eq!(modulo.modulo(key.as_bytes()), Some(by_modulo), "{key}");
            assert_eq!(fewer.rendezvous(key.as_bytes()), Some(by_rendezvous), "{key}");
            assert_eq!(more.rendezvous(key.as_bytes()), Some(by_rendezvous), "{key}");
        }
    }

    #[test]
    fn none_of_nothing() {
        let none = Partitions::default();
        assert_eq!((none.modulo(b"a"), none.rendezvous(b"a"), none.random(7)), (None, None, None));
        assert!(none.is_empty() && partitions(3).len() == 3);
        assert_eq!((partitions(3).random(0), partitions(3).random(u32::MAX)), (Some(0), Some(2)));
        assert_eq!(hash(b""), 0x811c_9dc5);
    }

    proptest! {
        #[test]
        fn only_keys_of_what_comes_move(key: Vec<u8>, count in 1_usize..50, removed: proptest::sample::Index) {
            let names: Vec<String> = (0..=count).map(|number| format!("part-{number}")).collect();
            let removed = removed.index(names.len());
            let after: Vec<&String> = names.iter().enumerate().filter(|(n, _)| *n != removed).map(|(_, n)| n).collect();
            let before = Partitions::new(&names).rendezvous(&key).unwrap();
            let now = Partitions::new(&after).rendezvous(&key).unwrap();
            prop_assert!(before == removed || after[now] == &names[before]);
        }

        #[test]
        fn any_key_has_a_partition(key: Vec<u8>, draw: u32, count in 1_usize..50) {
            let partitions = partitions(count);
            for index in [partitions.modulo(&key), partitions.rendezvous(&key), partitions.random(draw)] {
                prop_assert!(index.is_some_and(|index| index < count));
            }
        }
    }
}
