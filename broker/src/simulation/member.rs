//! A broker: what its log holds, what it shows, and what it believes of the registry.

use courant_fragment::spool::digest::Digest;
use courant_fragment::spool::state::Proposal;
use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

use super::agreement::Agreeing;
use super::primary::Leading;
use crate::lineage::agree::{Contributor, Known};
use crate::replication::local::OpenHead;

pub(super) fn offset(at: usize) -> Offset {
    Offset::new(i64::try_from(at).expect("short journals")).expect("an offset")
}

pub(super) fn place(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("short journals")
}

/// Who holds the journal, at a revision of the registry. The first is its primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) revision: i64,
    pub(super) members: Vec<usize>,
}

/// One broker.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ProcessId,
    pub(super) runs: bool,
    pub(super) frozen: bool,
    /// What it knows of the registry.
    pub(super) view: Route,
    /// Until when it believes that it has its place.
    pub(super) lease_until: u64,
    pub(super) log: Log,
    /// Streams and agreements of an earlier one are not taken.
    pub(super) generation: u64,
    /// Everything below it is on all members, as far as it knows.
    pub(super) shown: usize,
    /// Appends that wait.
    pub(super) queue: Vec<usize>,
    pub(super) leading: Option<Leading>,
    pub(super) agreeing: Option<Agreeing>,
}

/// What survives a broker's process.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) number: u64,
    /// Of the first byte that it has.
    pub(super) from: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) open: Option<OpenHead>,
}

impl Log {
    pub(super) fn new(number: u64) -> Self {
        Self { number, from: 0, bytes: Vec::new(), open: None }
    }

    pub(super) fn end(&self) -> usize {
        self.from + self.bytes.len()
    }

    /// What it has of a span.
    pub(super) fn slice(&self, begin: usize, end: usize) -> &[u8] {
        let (begin, end) = (begin.clamp(self.from, self.end()), end.clamp(self.from, self.end()));
        self.bytes.get(begin - self.from..end.max(begin) - self.from).unwrap_or_default()
    }

    /// Extends the open spool.
    pub(super) fn commit(&mut self, content: &[u8], registers: Option<Registers>) {
        let open = self.open.as_mut().expect("a spool is open");
        self.bytes.extend_from_slice(content);
        open.digest.update(content);
        let end = open.committed.end.plus(content.len() as u64).expect("short journals");
        open.committed = Proposal { end, sum: open.digest.sum(), ..open.committed };
        if let Some(registers) = registers {
            open.registers = registers;
        }
    }

    /// Completes the open spool, and begins the next.
    pub(super) fn roll(&mut self, begin: Offset, registers: Registers, epoch: u64) {
        let at = place(begin);
        if at > self.end() {
            // What lies between it never had.
            (self.from, self.bytes) = (at, Vec::new());
        }
        self.open = Some(OpenHead {
            epoch,
            committed: Proposal::empty_at(begin, Codec::None),
            digest: Digest::new(),
            registers,
        });
    }

    /// Cuts off what lies here and above.
    pub(super) fn cut(&mut self, at: usize) {
        self.bytes.truncate(at.saturating_sub(self.from));
    }

    /// Loses the last bytes of its open spool, and the knowledge of them.
    pub(super) fn lose_tail(&mut self, length: usize) {
        let Some(open) = &mut self.open else { return };
        let begin = place(open.committed.begin);
        let end = place(open.committed.end).saturating_sub(length).max(begin);
        let left = self.bytes.get(begin.saturating_sub(self.from)..end.saturating_sub(self.from));
        let left = left.unwrap_or_default().to_vec();
        let mut digest = Digest::new();
        digest.update(&left);
        let sum = if left.is_empty() { ContentSum::ZERO } else { digest.sum() };
        open.committed = Proposal { end: offset(end), sum, ..open.committed };
        open.digest = digest;
        self.cut(end);
    }
}

impl Member {
    pub(super) fn new(index: usize, view: Route) -> Self {
        let number = (index as u64 + 1) << 24 | 1;
        Self {
            id: ProcessId::new("zone", &format!("member-{index}")).expect("an id"),
            runs: true,
            frozen: false,
            view,
            lease_until: 0,
            log: Log::new(number),
            generation: 0,
            shown: 0,
            queue: Vec::new(),
            leading: None,
            agreeing: None,
        }
    }

    /// Whether it does anything at all.
    pub(super) fn acts(&self) -> bool {
        self.runs && !self.frozen
    }

    /// What it tells of its log.
    pub(super) fn contributor(&self) -> Contributor {
        let head = self.log.open.as_ref().map(|open| Known {
            epoch: open.epoch,
            end: open.committed.end,
            registers: open.registers.clone(),
        });
        Contributor { id: self.id.clone(), log: Some(self.log.number), certain: true, head }
    }
}
