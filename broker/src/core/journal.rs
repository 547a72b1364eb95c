//! The half of a replica that its core alone touches: the open spool, who else holds the journal, and what waits for its turn.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use courant_fragment::ahead;
use courant_fragment::index::LocalExtent;
use courant_fragment::spool::digest::Digest;
use courant_fragment::spool::log::SpoolLog;
use courant_fragment::spool::state::Proposal;
use courant_fragment::spool::{Spool, SpoolId};
use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::status::Status;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::command::{AppendJob, Outcome};
use super::line::Line;
use super::place::Place;
use super::storing::Storing;
use super::veil::Veil;
use crate::append::group::{Ask, Group, Known, Standing, Verdict};
use crate::append::receive::Content;
use crate::append::roll::OpenSpool;
use crate::background::Background;
use crate::listing::Standpoint;
use crate::replica::Replica;
use crate::replication::local::{Held, OpenHead, Taking};

/// Chunks below this are joined with their neighbours: a tailing reader gets one response for a group of small appends.
const SMALL: usize = 4096;

/// Joined chunks end at this length.
const JOINED: usize = 32 << 10;

/// A journal as its core holds it.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) replica: Arc<Replica>,
    pub(super) place: Place,
    /// None until the first epoch of the journal begins here, unless an earlier process left one.
    pub(super) spool: Option<SpoolId>,
    /// The epoch that this process has agreed on as primary.
    pub(super) epoch: Option<u64>,
    /// Those that it has agreed on it with, itself among them.
    pub(super) agreed_members: Option<Arc<[Held]>>,
    /// Another broker has become primary, and the mirror is about to show it.
    pub(super) is_fenced: bool,
    /// Since when agreements have been failing, in Unix seconds, and how many did.
    pub(super) failing_since: Option<i64>,
    pub(super) failures: u32,
    /// What appends are told at once while agreements fail for want of room.
    pub(super) full: Option<tonic::Status>,
    /// Whether nothing that was committed can lie behind the head of the spool.
    pub(super) certain: bool,
    pub(super) floor: Offset,
    /// Where content ends that somebody had under another registry, and that no store may have, as the journal's record tells.
    pub(super) lost_end: Offset,
    /// Complete spools that no store is known to hold yet, oldest first.
    pub(super) pending: Vec<SpoolId>,
    /// What is in the log and not shown yet.
    pub(super) veil: Veil,
    pub(super) line: Line,
    /// The spool that is encoded while it grows, and the length at which more of it is.
    pub(super) ahead: (SpoolId, u64),
    /// What waits for the store, if anything does.
    pub(super) storing: Option<Box<Storing>>,
    /// The sync that covers all that was written of it, where that has to be on the disk.
    pub(super) synced_by: u64,
    /// Of the streams that may change the journal.
    pub(super) generation: u64,
    /// What the stream of the primary wants done.
    pub(super) taken: VecDeque<Taking>,
    pub(super) queue: VecDeque<Waiting>,
    /// Listed among those that are looked at in this turn.
    pub(super) ready: bool,
    pub(super) refreshing: bool,
    /// The open spool is to be closed, by all members.
    pub(super) flush: bool,
    /// Used since its stores were listed last.
    pub(super) used: bool,
    /// When something was committed last, in Unix seconds.
    pub(super) committed_at: i64,
    pub(super) head: Option<Gauge>,
}

/// An append that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ask: Ask,
    pub(super) content: Content,
    pub(super) reply: oneshot::Sender<Outcome>,
}

impl From<AppendJob> for Waiting {
    fn from(job: AppendJob) -> Self {
        Self { ask: job.ask, content: job.content, reply: job.reply }
    }
}

impl Owned {
    pub(super) fn new(replica: Arc<Replica>, place: Place) -> Self {
        Self {
            replica,
            place,
            spool: None,
            epoch: None,
            agreed_members: None,
            is_fenced: false,
            failing_since: None,
            failures: 0,
            full: None,
            certain: true,
            floor: Offset::ZERO,
            lost_end: Offset::ZERO,
            pending: Vec::new(),
            veil: Veil::default(),
            line: Line::Idle,
            ahead: (SpoolId(0), 0),
            storing: None,
            synced_by: 0,
            generation: 0,
            taken: VecDeque::new(),
            queue: VecDeque::new(),
            ready: false,
            refreshing: false,
            flush: false,
            used: false,
            committed_at: 0,
            head: None,
        }
    }

    /// Whether it is this replica, and not one of the same journal before or after it.
    pub(super) fn is(&self, replica: &Arc<Replica>) -> bool {
        Arc::ptr_eq(&self.replica, replica)
    }

    /// The journal as the rules of a group see it, with its open spool.
    pub(super) fn standing(&self, spool: Option<&Spool>) -> Standing {
        Standing {
            spool: OpenSpool {
                begin: spool.map_or(Offset::ZERO, Spool::begin),
                end: spool.map_or(Offset::ZERO, Spool::end),
                first_append: spool.and_then(Spool::first_append),
            },
            registers: spool.map(|spool| spool.registers().clone()).unwrap_or_default(),
            agreed: self.line.is_open(),
            floor: self.floor.max(self.lost_end),
        }
    }

    /// The offset below which everything is in the journal's stores.
    pub(super) fn stored(&self, log: &SpoolLog) -> Option<Offset> {
        let first = self.pending.first().copied().or(self.spool);
        first.and_then(|spool| log.spool(spool)).map(Spool::begin)
    }

    /// What the index amounts to.
    pub(super) fn known(&self) -> Known {
        let summary = self.replica.index.summary();
        Known {
            refreshed: self.replica.index.is_refreshed(),
            begin: summary.begin,
            end: summary.end,
            last_mod_time: summary.mod_time,
        }
    }

    /// What is known of the journal's end besides its stores. None where that is nothing certain: the log does not know the journal,
    /// or others may have gone on without it.
    pub(super) fn standpoint(&self, log: &SpoolLog) -> Option<Standpoint> {
        let spool = self.spool(log)?;
        let index = &self.replica.index;
        let is_member = self.line.is_open() || !self.place.is_primary;
        let is_furthest = is_member && index.is_refreshed() && index.summary().end <= spool.end();
        is_furthest.then(|| Standpoint { end: spool.end(), is_furthest })
    }

    /// The open spool.
    pub(super) fn spool<'a>(&self, log: &'a SpoolLog) -> Option<&'a Spool> {
        self.spool.and_then(|spool| log.spool(spool))
    }

    /// Whether something of the log is not known to be committed.
    pub(super) fn is_unsettled(&self, log: &SpoolLog) -> bool {
        self.spool(log).is_some_and(|spool| spool.end() > self.veil.replicated())
    }

    /// Answers everything that waits in the same way.
    pub(super) fn answer_all(&mut self, outcome: impl Fn(Content) -> Outcome) {
        for waiting in self.queue.drain(..) {
            // An asker that went away wants no answer.
            let _ = waiting.reply.send(outcome(waiting.content));
        }
    }

    /// Has the open spool encoded up to what is committed, once that has grown by so much that it is worth it.
    pub(super) fn encode_ahead(&mut self, open: &Spool, committed: Offset, background: &Background) {
        let length = committed.distance_from(open.begin()).unwrap_or(0);
        if length < ahead::LEAST || !self.place.is_primary {
            return;
        }
        let (spool, next) = self.ahead;
        if spool == open.id() && length < next {
            return;
        }
        self.ahead = (open.id(), length + ahead::LEAST);
        if let Some(task) = background.ahead.want(open.id(), open.content(), open.codec(), length) {
            background.encode_ahead(task);
        }
    }

    /// Answers all that waits with content, and tells how many that were. What asks for registers or suspension alone takes no room.
    pub(super) fn answer_content(&mut self, outcome: impl Fn() -> Outcome) -> u64 {
        let mut answered = 0;
        for waiting in mem::take(&mut self.queue) {
            if waiting.ask.length > 0 {
                let _ = waiting.reply.send(outcome());
                answered += 1;
            } else {
                self.queue.push_back(waiting);
            }
        }
        answered
    }
}

/// The open spool as other members are told of it.
pub(super) fn open_head(spool: &Spool) -> OpenHead {
    OpenHead {
        epoch: spool.identity().epoch,
        committed: proposal(spool),
        digest: spool.digest().cloned().unwrap_or_default(),
        registers: spool.registers().clone(),
    }
}

/// A spool as members propose it to each other.
pub(super) fn proposal(spool: &Spool) -> Proposal {
    Proposal { begin: spool.begin(), end: spool.end(), sum: spool.sum(), codec: spool.codec() }
}

/// A spool as an index lists it.
pub(super) fn extent(spool: &Spool) -> LocalExtent {
    let digest: Digest = spool.digest().cloned().unwrap_or_default();
    LocalExtent {
        spool: spool.id(),
        begin: spool.begin(),
        end: spool.end(),
        digest,
        codec: spool.codec(),
        first_append: spool.first_append(),
        content: Arc::clone(spool.content()),
    }
}

/// The content of a group, in order: the chunks of all appends that got a span. Small ones are joined.
pub(super) fn gather(group: &Group, waiting: &mut [Waiting]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut joined = BytesMut::new();
    for (verdict, waiting) in group.verdicts.iter().zip(waiting) {
        let Content::Memory { chunks: content, .. } = &mut waiting.content else { continue };
        if !matches!(verdict, Verdict::Span { begin, end } if end > begin) {
            continue;
        }
        for chunk in mem::take(content) {
            if chunk.len() >= SMALL {
                if !joined.is_empty() {
                    chunks.push(joined.split().freeze());
                }
                chunks.push(chunk);
                continue;
            }
            if joined.len() + chunk.len() > JOINED {
                chunks.push(joined.split().freeze());
            }
            joined.extend_from_slice(&chunk);
        }
    }
    if !joined.is_empty() {
        chunks.push(joined.freeze());
    }
    chunks
}

/// Tells every append of a committed group what came of it.
pub(super) fn answer(group: Group, waiting: Vec<Waiting>, before: &Registers, codec: Codec) {
    let Group { verdicts, registers_at, .. } = group;
    for ((verdict, registers), waiting) in verdicts.into_iter().zip(registers_at).zip(waiting) {
        let registers = registers.unwrap_or_else(|| before.clone());
        let outcome = match verdict {
            Verdict::Span { begin, end } => Outcome::Committed { begin, end, codec, registers },
            Verdict::Refused(status) => Outcome::Refused {
                status,
                registers: (status == Status::RegisterMismatch).then_some(registers),
                detail: None,
            },
            Verdict::Broken(text) => Outcome::Broken(text),
            Verdict::Resuspend { level, offset } => {
                Outcome::Resuspend { level, offset, content: waiting.content }
            }
        };
        // An asker that went away has its append committed all the same: the outcome was decided.
        let _ = waiting.reply.send(outcome);
    }
}
