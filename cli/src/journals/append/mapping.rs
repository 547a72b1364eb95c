//! Pure: from a record's key to one of the journals, as other producers of the same journals map it.
//! It does not know where keys come from.

/// The journals that records may go to, in the order of their names.
pub(super) struct Journals {
    names: Vec<(String, u32)>,
}

/// What decides.
pub(super) enum Pick<'a> {
    /// A random number.
    Random(u32),
    /// The hash of a key; the number of journals divides it.
    Modulo(u32),
    /// The hash of a key; the journal whose own hash goes best with it takes it.
    Rendezvous(u32),
    /// The name itself.
    Direct(&'a str),
}

impl Journals {
    pub(super) fn new(mut names: Vec<String>) -> Self {
        names.sort();
        Self {
            names: names
                .into_iter()
                .map(|name| {
                    let hash = fnv1a(name.as_bytes());
                    (name, hash)
                })
                .collect(),
        }
    }

    /// The journal that is picked. None of no journals, or by a name that is not among them.
    pub(super) fn pick(&self, pick: &Pick<'_>) -> Option<&str> {
        let index = match pick {
            Pick::Random(number) | Pick::Modulo(number) => {
                usize::try_from(*number).ok()?.checked_rem(self.names.len())?
            }
            Pick::Rendezvous(key) => {
                // The first of several maxima, though they are all but impossible.
                self.names.iter().enumerate().rev().max_by_key(|(_, (_, hash))| hash ^ key)?.0
            }
            Pick::Direct(name) => self.names.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?,
        };
        self.names.get(index).map(|(name, _)| name.as_str())
    }
}

/// The 32-bit FNV-1a hash.
pub(super) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(number: usize) -> Journals {
        Journals::new((0..number).map(|part| format!("a/topic/part-{part:03}")).collect())
    }

    #[test]
    fn keys_go_where_other_producers_send_them() {
        for (key, modulo, rendezvous) in [
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
            let hash = fnv1a(key.as_bytes());
            let name = |part: i32| Some(format!("a/topic/part-{part:03}"));
            let pick = |number, pick| partitions(number).pick(&pick).map(str::to_owned);
            assert_eq!(pick(443, Pick::Modulo(hash)), name(modulo), "{key}");
            assert_eq!(pick(400, Pick::Rendezvous(hash)), name(rendezvous), "{key}");
            assert_eq!(pick(500, Pick::Rendezvous(hash)), name(rendezvous), "{key}");
        }
    }

    #[test]
    fn names_are_found_among_many() {
        let journals = Journals::new(["b/x", "a/x", "c/x"].map(str::to_owned).to_vec());
        for name in ["a/x", "b/x", "c/x"] {
            assert_eq!(journals.pick(&Pick::Direct(name)), Some(name));
        }
        assert_eq!(journals.pick(&Pick::Direct("b")), None);
        assert_eq!(journals.pick(&Pick::Random(4)), Some("b/x"));
        let none = Journals::new(Vec::new());
        for pick in [Pick::Random(1), Pick::Modulo(1), Pick::Rendezvous(1), Pick::Direct("a")] {
            assert_eq!(none.pick(&pick), None);
        }
    }
}
