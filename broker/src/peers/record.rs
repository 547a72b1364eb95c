//! Pure: the keys and values by which brokers of this kind know each other, beside the cluster's own.
//!
//! ```text
//!  /courant-x<root>/members/<zone>#<suffix>                          a member that is one of us
//!  /courant-x<root>/suspects/<zone>#<suffix>#<by zone>#<by suffix>   a member that another one cannot reach
//! ```
//!
//! Each key is under the lease of the member that wrote it, and goes when that member goes. Other kinds of brokers never see them.

use courant_keyspace::Decoder;
use courant_proto::id::ProcessId;
use prost::Message;

use crate::journal_space::Root;

/// What a member says of itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Presence {
    /// Of the program.
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    /// Drawn once by each process, so that two processes of one id can be told apart.
    #[prost(fixed64, tag = "2")]
    pub(crate) instance: u64,
    /// Its spools hold as much as they may that no store has yet: primaries send it nothing more for now.
    #[prost(bool, tag = "3")]
    pub(crate) is_without_room: bool,
    /// The revision of the newest report of it that it has read: who is dead reads none.
    #[prost(int64, tag = "4")]
    pub(crate) read_report: i64,
}

/// What a member says of another.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Report {
    /// The lease that the other had when it was reported. A report about another one is old.
    #[prost(int64, tag = "1")]
    pub(crate) lease: i64,
}

/// Who cannot be reached by whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Suspicion {
    pub(crate) suspect: ProcessId,
    pub(crate) by: ProcessId,
}

/// Where the keys lie.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) members: String,
    pub(crate) suspects: String,
}

impl Keys {
    pub(crate) fn of(root: &Root) -> Self {
        Self { members: root.ours("members"), suspects: root.ours("suspects") }
    }

    pub(crate) fn member(&self, id: &ProcessId) -> String {
        format!("{}{id}", self.members)
    }

    pub(crate) fn suspicion(&self, suspicion: &Suspicion) -> String {
        format!("{}{}#{}", self.suspects, suspicion.suspect, suspicion.by)
    }
}

/// Reads the members' keys.
#[derive(Clone, Debug)]
pub(crate) struct PresenceDecoder {
    pub(crate) keys: Keys,
}

/// A member of our kind, as a mirror keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Present {
    pub(crate) id: ProcessId,
    pub(crate) presence: Presence,
}

impl Decoder for PresenceDecoder {
    type Value = Present;

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<Present, String> {
        let [zone, suffix] = parts(key, &self.keys.members)?;
        let id = ProcessId::new(zone, suffix).map_err(|invalid| invalid.to_string())?;
        let presence = Presence::decode(value).map_err(|error| error.to_string())?;
        Ok(Present { id, presence })
    }
}

/// Reads the suspects' keys.
#[derive(Clone, Debug)]
pub(crate) struct SuspicionDecoder {
    pub(crate) keys: Keys,
}

/// A report, as a mirror keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reported {
    pub(crate) suspicion: Suspicion,
    pub(crate) report: Report,
}

impl Decoder for SuspicionDecoder {
    type Value = Reported;

    fn decode(&self, key: &[u8], value: &[u8]) -> Result<Reported, String> {
        let [zone, suffix, by_zone, by_suffix] = parts(key, &self.keys.suspects)?;
        let id = |zone, suffix| ProcessId::new(zone, suffix).map_err(|invalid| invalid.to_string());
        let suspicion = Suspicion { suspect: id(zone, suffix)?, by: id(by_zone, by_suffix)? };
        let report = Report::decode(value).map_err(|error| error.to_string())?;
        Ok(Reported { suspicion, report })
    }
}

/// What stands behind the folder, at its separators.
fn parts<'a, const N: usize>(key: &'a [u8], folder: &str) -> Result<[&'a str; N], String> {
    let expected = || format!("expected {N} parts with # between them");
    let key = std::str::from_utf8(key).map_err(|error| error.to_string())?;
    let key = key.strip_prefix(folder).ok_or_else(expected)?;
    let parts: Vec<&str> = key.split('#').collect();
    parts.try_into().map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::of(&Root::parse("/courant/cluster").expect("a root"))
    }

    #[test]
    fn keys_lie_beside_the_clusters_and_are_read_as_they_were_written() {
        // A slash is a character like others in zones and suffixes.
        let id = ProcessId::new("eu/west", "b/one").expect("an id");
        let by = ProcessId::new("eu", "west/two").expect("an id");
        let key = keys().member(&id);
        assert_eq!(key, "/courant-x/courant/cluster/members/eu/west#b/one");
        let presence =
            Presence { version: "1.2.3".to_owned(), instance: 7, is_without_room: true, read_report: 9 };
        let decoded = PresenceDecoder { keys: keys() }.decode(key.as_bytes(), &presence.encode_to_vec());
        assert_eq!(decoded, Ok(Present { id: id.clone(), presence }));

        let suspicion = Suspicion { suspect: id, by };
        let key = keys().suspicion(&suspicion);
        assert_eq!(key, "/courant-x/courant/cluster/suspects/eu/west#b/one#eu#west/two");
        let report = Report { lease: -5 };
        let decoded = SuspicionDecoder { keys: keys() }.decode(key.as_bytes(), &report.encode_to_vec());
        assert_eq!(decoded, Ok(Reported { suspicion, report }));
    }

    #[test]
    fn what_is_no_such_key_is_refused() {
        let check = |key: &str, value: &[u8], expected: &str| {
            let refused = PresenceDecoder { keys: keys() }.decode(key.as_bytes(), value).expect_err(key);
            assert!(refused.contains(expected), "{refused}");
        };
        check("/courant-x/courant/cluster/members/a", b"", "expected 2 parts");
        check("/courant-x/courant/cluster/members/a#b#c", b"", "expected 2 parts");
        check("/elsewhere/a#suffix", b"", "expected 2 parts");
        check("/courant-x/courant/cluster/members/a#b", b"", "Suffix");
        check("/courant-x/courant/cluster/members/a#brk1", b"\x08", "wire type");
    }
}
