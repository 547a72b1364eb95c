//! Pure: a round as messages of the `Replicate` stream.
//!
//! ```text
//!  [ empty proposal where the next spool begins ]  [ content, content, … ]  the proposal that extends the spool by it, to be answered
//! ```

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use courant_fragment::disk::DiskFile;
use courant_fragment::spool::state::Proposal;
use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::wire;

/// Chunks below this are joined, with one copy for all peers: a message costs more than copying so much.
const SMALL: usize = 64 << 10;

/// Joined chunks end at this length.
const JOINED: usize = 256 << 10;

/// Content of one message at most: a broker of another make takes messages of 4 MiB.
const LARGEST: usize = 1 << 20;

/// A spool that begins with a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rolling {
    pub(crate) begin: Offset,
    pub(crate) codec: Codec,
}

/// The content of a round.
#[derive(Clone)]
pub(crate) enum Payload {
    Memory(Vec<Bytes>),
    /// The first bytes of a file.
    File {
        file: Arc<dyn DiskFile>,
        length: u64,
    },
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(chunks) => f.debug_tuple("Memory").field(&chunks.len()).finish(),
            Self::File { length, .. } => {
                f.debug_struct("File").field("length", length).finish_non_exhaustive()
            }
        }
    }
}

/// A round to be sent.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) journal: &'a JournalName,
    /// The spool that it begins, with the registers before the round.
    pub(crate) rolled: Option<(Rolling, &'a Registers)>,
    pub(crate) payload: Payload,
    /// The spool with all of it.
    pub(crate) proposal: Proposal,
    pub(crate) registers: &'a Registers,
    /// Everything below is on all members.
    pub(crate) committed: Offset,
}

impl Round<'_> {
    /// The message that begins a spool, if the round begins one.
    pub(crate) fn first(&self) -> Option<wire::ReplicateRequest> {
        let (rolling, registers) = self.rolled?;
        let proposal = Proposal::empty_at(rolling.begin, rolling.codec);
        Some(propose(self.journal, &proposal, registers, false))
    }

    /// The message that the peer answers.
    pub(crate) fn last(&self) -> wire::ReplicateRequest {
        let proposal = propose(self.journal, &self.proposal, self.registers, true);
        wire::ReplicateRequest { committed: self.committed.get(), ..proposal }
    }
}

/// A proposal of a spool.
pub(crate) fn propose(
    journal: &JournalName,
    proposal: &Proposal,
    registers: &Registers,
    acknowledge: bool,
) -> wire::ReplicateRequest {
    wire::ReplicateRequest {
        proposal: Some(fragment(journal, proposal)),
        registers: Some(registers.labels().into()),
        acknowledge,
        ..Default::default()
    }
}

/// A spool as the wire has it.
pub(crate) fn fragment(journal: &JournalName, proposal: &Proposal) -> wire::Fragment {
    wire::Fragment {
        journal: journal.as_str().to_owned(),
        begin: proposal.begin.get(),
        end: proposal.end.get(),
        sum: Some(if proposal.is_empty() { ContentSum::ZERO } else { proposal.sum }.into()),
        compression_codec: proposal.codec.to_wire() as i32,
        ..Default::default()
    }
}

/// Content that begins `delta` bytes behind what is committed.
pub(crate) fn content(content: Bytes, delta: u64) -> wire::ReplicateRequest {
    let content_delta = i64::try_from(delta).unwrap_or(i64::MAX);
    wire::ReplicateRequest { content, content_delta, ..Default::default() }
}

/// The watermark alone, for a peer that is Courant's.
pub(crate) fn watermark(committed: Offset) -> wire::ReplicateRequest {
    wire::ReplicateRequest { committed: committed.get(), ..Default::default() }
}

/// Content in memory as messages, small chunks joined.
pub(crate) fn contents(chunks: &[Bytes]) -> Vec<wire::ReplicateRequest> {
    let mut messages = Vec::new();
    let mut delta = 0;
    let mut push = |mut chunk: Bytes| {
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(LARGEST));
            let length = part.len() as u64;
            messages.push(content(part, delta));
            delta += length;
        }
    };
    if let [only] = chunks {
        push(only.clone());
        return messages;
    }
    let mut joined = BytesMut::new();
    for chunk in chunks {
        if chunk.len() >= SMALL {
            if !joined.is_empty() {
                push(joined.split().freeze());
            }
            push(chunk.clone());
            continue;
        }
        if joined.len() + chunk.len() > JOINED {
            push(joined.split().freeze());
        }
        joined.extend_from_slice(chunk);
    }
    if !joined.is_empty() {
        push(joined.freeze());
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_itself_whatever_the_chunks() {
        let chunks: Vec<Bytes> = [3, 70_000, 5, 60_000, 250_000, 1, 1, 100, 3 << 20]
            .iter()
            .enumerate()
            .map(|(number, length)| Bytes::from(vec![number as u8; *length]))
            .collect();
        let messages = contents(&chunks);
        let mut all = Vec::new();
        for message in &messages {
            assert_eq!(message.content_delta, all.len() as i64);
            assert!(message.content.len() <= LARGEST);
            all.extend_from_slice(&message.content);
        }
        assert_eq!(all, chunks.concat());
        assert!(contents(&[]).is_empty());
    }
}
