//! Where a primary stands with the other members of its journal's route.

use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use tokio::task::AbortHandle;

use super::journal::Waiting;
use crate::append::group::Group;
use crate::background::Background;
use crate::replica::Replica;
use crate::replication::link::Link;
use crate::replication::messages::{self, Payload};
use crate::replication::rounds::Rounds;

/// Where it stands.
#[derive(Debug, Default)]
pub(super) enum Line {
    /// Nothing was agreed, or it was let go of. Whoever needs it begins an agreement.
    #[default]
    Idle,
    /// An agreement is under way; answers to any other count for nothing.
    Agreeing {
        attempt: u64,
        /// An operator gave the offset that it is to begin at.
        accepts_loss: bool,
        #[expect(dead_code, reason = "the work ends when this is dropped, and that is all it is for")]
        task: AbortOnDrop,
    },
    /// The last agreement has failed, and the next waits a little.
    Pausing { attempt: u64 },
    /// Rounds can be sent.
    Open(Box<Pipeline>),
}

/// Work that ends when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Streams to all other members, and the rounds on them. Where there are no others a round is committed at once.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) attempt: u64,
    pub(super) links: Vec<Link>,
    pub(super) rounds: Rounds<Round>,
    /// The watermark that the peers were told last.
    pub(super) told: Offset,
    /// Content is being sent that is not in memory; until then nothing else may be.
    pub(super) is_sending: bool,
    /// No more rounds: it ends when those on their way are answered.
    pub(super) is_closing: bool,
    /// The rounds that were committed when it was looked whether peers answer.
    pub(super) progress: u64,
}

/// A group that waits for the peers.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) group: Group,
    pub(super) waiting: Vec<Waiting>,
    pub(super) before: Registers,
    pub(super) codec: Codec,
    /// The journal's end with it.
    pub(super) end: Offset,
}

impl Round {
    /// The journal as all peers hold it, up to an offset.
    pub(super) fn of_peers(end: Offset, codec: Codec) -> Self {
        let group = Group {
            roll: None,
            verdicts: Vec::new(),
            begin: end,
            end,
            registers: None,
            registers_at: Vec::new(),
        };
        Self { group, waiting: Vec::new(), before: Registers::default(), codec, end }
    }
}

impl Line {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    pub(super) fn pipeline(&mut self) -> Option<&mut Pipeline> {
        match self {
            Self::Open(pipeline) => Some(pipeline),
            _ => None,
        }
    }
}

impl Pipeline {
    /// A pipeline without rounds. The disk of this broker is a peer like the others, and the last of them.
    pub(super) fn new(attempt: u64, links: Vec<Link>) -> Self {
        let rounds = Rounds::new(links.len() + 1);
        Self { attempt, links, rounds, told: Offset::ZERO, is_sending: false, is_closing: false, progress: 0 }
    }

    /// The disk of this broker answers for the next round.
    pub(super) fn disk_answered(&mut self) {
        // It is asked for each round once.
        let _ = self.rounds.answered(self.links.len(), 1);
    }

    /// A round that the peers need not be sent, as they have all that it consists of.
    pub(super) fn answered_by_peers(&mut self, round: Round) {
        self.rounds.sent(round, 0);
        for peer in 0..self.links.len() {
            let _ = self.rounds.answered(peer, 1);
        }
    }

    /// Whether another round may be decided.
    pub(super) fn has_room(&self) -> bool {
        !self.is_closing
            && !self.is_sending
            && self.rounds.has_room()
            && self.links.iter().all(Link::has_room)
    }
}

impl Pipeline {
    /// Sends a round to all peers. False: a stream takes no more, and has perhaps a part of it.
    pub(super) fn send(
        &mut self,
        background: &Background,
        replica: &Arc<Replica>,
        round: messages::Round<'_>,
    ) -> bool {
        let mut sent = true;
        let first = round.first();
        let last = round.last();
        match round.payload {
            Payload::Memory(chunks) => {
                let contents = messages::contents(&chunks);
                for link in &self.links {
                    let all = first.iter().chain(&contents).chain(std::iter::once(&last));
                    if all.cloned().any(|message| link.send(message).is_err()) {
                        tracing::debug!(peer = %link.peer, "a stream takes no more");
                        sent = false;
                    }
                }
            }
            Payload::File { file, length } => {
                self.is_sending = true;
                let senders = self.links.iter().map(Link::sender).collect();
                background.send_file(replica, self.attempt, senders, (first, last), (file, length));
            }
        }
        sent
    }
}
