//! Pure: what a transaction leaves behind for whoever goes on after it. Only an engine makes one, so that no store can commit without it, nor with
//! another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use courant_message::sequencer::{JournalState, ProducerState};
use courant_message::{AckIntent, Clock, Producer, sequencer};
use courant_proto::{Offset, wire};
use prost::Message as _;
use wire::consumer::checkpoint::Source;
use wire::consumer::checkpoint::source::ProducerEntry;

use super::Journal;

/// How far the sources were read, what is known of their producers, and which acknowledgements are to be appended. A store commits it together
/// with what the transaction changed, or neither.
#[derive(Debug)]
pub struct Checkpoint {
    sources: sequencer::Checkpoint<Journal>,
    intents: Vec<AckIntent<Journal>>,
}

impl Checkpoint {
    pub(super) fn new(sources: sequencer::Checkpoint<Journal>, intents: Vec<AckIntent<Journal>>) -> Self {
        Self { sources, intents }
    }

    /// The bytes to be kept: a `consumer.Checkpoint` of Gazette's. They are what [`Engine::restore`](super::Engine::restore) takes.
    pub fn encode(&self) -> Bytes {
        let sources = self.sources.journals.iter().map(|(name, state)| (name.to_string(), source(state)));
        let intents = self.intents.iter().map(|intent| (intent.journal.to_string(), intent.bytes.clone()));
        let wire = wire::consumer::Checkpoint { sources: sources.collect(), ack_intents: intents.collect() };
        wire.encode_to_vec().into()
    }

    /// What an earlier engine left.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, InvalidCheckpoint> {
        let wire = wire::consumer::Checkpoint::decode(bytes)
            .map_err(|error| InvalidCheckpoint(error.to_string()))?;
        let mut journals = BTreeMap::new();
        for (name, source) in wire.sources {
            let state = state(&source).map_err(|what| InvalidCheckpoint(format!("source {name}: {what}")))?;
            journals.insert(Arc::from(name), state);
        }
        let intents = wire.ack_intents.into_iter();
        let intents = intents.map(|(journal, bytes)| AckIntent { journal: Journal::from(journal), bytes });
        let mut intents: Vec<_> = intents.collect();
        intents.sort_by(|a, b| a.journal.cmp(&b.journal));
        Ok(Self { sources: sequencer::Checkpoint { journals }, intents })
    }

    /// How far a source was read by the transactions up to this one.
    pub fn read_through(&self, source: &str) -> Option<Offset> {
        self.sources.journals.get(source).map(|state| state.read_through)
    }

    pub(super) fn into_parts(self) -> (sequencer::Checkpoint<Journal>, Vec<AckIntent<Journal>>) {
        (self.sources, self.intents)
    }

    pub(super) fn intents(&self) -> &[AckIntent<Journal>] {
        &self.intents
    }
}

fn source(state: &JournalState) -> Source {
    let producers = state.producers.iter().map(|(producer, state)| ProducerEntry {
        id: Bytes::copy_from_slice(producer.as_bytes()),
        state: Some(wire::consumer::ProducerState {
            last_ack: state.last_ack.get(),
            begin: state.begin.map_or(-1, Offset::get),
        }),
    });
    Source { read_through: state.read_through.get(), producers: producers.collect() }
}

fn state(source: &Source) -> Result<JournalState, String> {
    let read_through = source.read_through;
    let read_through = Offset::new(read_through)
        .ok_or_else(|| format!("read through {read_through} (expected no negative offset)"))?;
    let mut producers = BTreeMap::new();
    for entry in &source.producers {
        let id = <[u8; 6]>::try_from(&entry.id[..])
            .map_err(|_| format!("a producer of {} bytes (expected 6)", entry.id.len()))?;
        let state = entry.state.unwrap_or_default();
        let begin = match state.begin {
            -1 => None,
            begin => Some(Offset::new(begin).ok_or_else(|| format!("begin {begin} (expected -1 or more)"))?),
        };
        producers.insert(
            Producer::from_bytes(id),
            ProducerState { last_ack: Clock::from_u64(state.last_ack), begin },
        );
    }
    Ok(JournalState { read_through, producers })
}

/// A checkpoint that cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint is damaged: {0} (expected what an earlier primary of the shard has committed)")]
pub struct InvalidCheckpoint(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let producer = Producer::from_bytes([1, 2, 3, 4, 5, 6]);
        let state = |begin| ProducerState { last_ack: Clock::from_u64(17), begin };
        let journal = |read_through, producers| JournalState {
            read_through: Offset::new(read_through).unwrap(),
            producers: BTreeMap::from_iter(producers),
        };
        let journals = BTreeMap::from([
            (Arc::from("a/source"), journal(300, vec![(producer, state(Offset::new(200)))])),
            (Arc::from("another;meta"), journal(0, vec![(producer, state(None))])),
        ]);
        let intent = |journal: &str| AckIntent { journal: Arc::from(journal), bytes: "ack\n".into() };
        Checkpoint::new(sequencer::Checkpoint { journals }, vec![intent("b/out"), intent("c/out")])
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let (sources, intents) = checkpoint().into_parts();
        let (found, acks) = Checkpoint::decode(&checkpoint().encode()).unwrap().into_parts();
        assert_eq!((found, acks), (sources, intents));
        assert_eq!(checkpoint().read_through("a/source"), Offset::new(300));
        assert_eq!(checkpoint().read_through("elsewhere"), None);
    }

    #[test]
    fn damage_is_told() {
        let check = |source: Source, what: &str| {
            let sources = std::collections::HashMap::from([("a".to_owned(), source)]);
            let wire = wire::consumer::Checkpoint { sources, ..Default::default() };
            let error = Checkpoint::decode(&wire.encode_to_vec()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(Source { read_through: -1, ..Default::default() }, "source a: read through -1");
        let entry = |id: &'static [u8], begin| ProducerEntry {
            id: Bytes::from_static(id),
            state: Some(wire::consumer::ProducerState { last_ack: 1, begin }),
        };
        check(Source { producers: vec![entry(b"123", 0)], ..Default::default() }, "3 bytes (expected 6)");
        check(Source { producers: vec![entry(b"123456", -2)], ..Default::default() }, "begin -2");
        assert!(Checkpoint::decode(b"\xff\xff").is_err());
    }
}
