//! One core's log: its spools, the segment they are written to, and turns that change them all or none.
//!
//! ```text
//!  turn() ── carries a little forward
//!    │ open, commit, roll, release, forget, cut      staged: in memory, or in a content file past what counts
//!    ▼
//!  write() ── one vectored write ──┬─► all of it counts, readers see it
//!                                  └─► the segment is cut back, the spools are what they were
//! ```
//!
//! The log is plain data of one thread. Writes go to the page cache and block no longer than that takes; what may
//! take longer, removing files and syncing them, is left to [`Volume::sweep`] and [`SpoolLog::take_unsynced`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

use super::content::Content;
use super::digest::Digest;
use super::frame::{self, Salt};
use super::recover::RecoveredJournal;
use super::volume::{Name, Segment, Volume};
use super::{Identity, Phase, Spool, SpoolId, SpoolMap, State, content};
use crate::disk::{DiskFile, Open};
use crate::error::Error;

mod carry;
mod cut;
mod stage;
mod turn;

pub use cut::Quarantined;
pub use turn::{Commit, Grown, Rolled, Source, Turn, Written};

use stage::Staging;

/// One core's log.
pub struct SpoolLog {
    volume: Arc<Volume>,
    core: u32,
    spools: SpoolMap<Spool>,
    /// Segments of this log, oldest first; the last one may be current.
    segments: VecDeque<OwnSegment>,
    current: Option<Current>,
    /// Spools of this log whose newest `open` lies in a segment of an earlier process, by segment, oldest first.
    recovered: VecDeque<(u64, Vec<SpoolId>)>,
    /// Spools without an `open` on disk, which the next turn writes.
    unwritten: Vec<SpoolId>,
    /// What the current turn took out of these.
    heads: Vec<SpoolId>,
    turn: u64,
    staging: Staging,
    changes: Vec<(SpoolId, Change)>,
    undo: Vec<(SpoolId, Undo)>,
    /// What the current turn took out of the lists of spools to carry.
    carried: Vec<(u64, SpoolId)>,
    last_turn_bytes: u64,
    unsynced: Vec<Arc<dyn DiskFile>>,
    scratch: Vec<u8>,
}

struct OwnSegment {
    segment: Arc<Segment>,
    /// Spools whose newest `open` may lie here.
    opened: Vec<SpoolId>,
}

/// The segment that is written to.
struct Current {
    file: Arc<dyn DiskFile>,
    salt: Salt,
    /// Bytes of turns that were written whole.
    length: u64,
    /// Whether there may be more, of a turn that was not.
    torn: bool,
}

/// What becomes of a spool when its turn was written.
enum Change {
    /// Its newest `open` lies in this turn.
    Pinned,
    /// It grew by content in the segment.
    Extent(Extent),
    /// Its content file holds more.
    File(FileChange),
    /// It was written anew: its content file holds more perhaps, and the rest of its content lies here.
    Carried { file: Option<FileChange>, extent: Option<Extent> },
    /// It lost content: all that is left lies in its content file, with these checks of its blocks.
    Cut { in_file: u64, checks: Vec<u32> },
    /// Nothing needs it any more.
    Gone,
}

#[derive(Clone, Copy)]
struct Extent {
    at: u32,
    check: u32,
    length: u64,
}

struct FileChange {
    in_file: u64,
    /// The first block that is new, or that grew.
    first: usize,
    checks: Vec<u32>,
}

/// How a turn that failed is taken back.
enum Undo {
    Created,
    Changed(State),
}

/// The spools of a journal that a log took over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The spool that holds the journal's head, and may grow.
    pub open: Option<SpoolId>,
    /// Spools that wait to be persisted, oldest first.
    pub complete: Vec<SpoolId>,
}

/// A spool that begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose bytes it will hold.
    pub identity: Identity,
    /// The offset of its first byte.
    pub begin: Offset,
    /// The codec that it is to be persisted with.
    pub codec: Codec,
    /// The journal's registers at its begin.
    pub registers: Registers,
}

impl SpoolLog {
    /// An empty log of a core.
    pub fn new(volume: Arc<Volume>, core: u32) -> Self {
        Self {
            volume,
            core,
            spools: SpoolMap::default(),
            segments: VecDeque::new(),
            current: None,
            recovered: VecDeque::new(),
            unwritten: Vec::new(),
            heads: Vec::new(),
            turn: 0,
            staging: Staging::default(),
            changes: Vec::new(),
            undo: Vec::new(),
            carried: Vec::new(),
            last_turn_bytes: 0,
            unsynced: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes over the spools of a journal that recovery found. They stay where they are on disk, until they are
    /// carried forward into this log.
    pub fn adopt(&mut self, journal: RecoveredJournal) -> Adopted {
        let mut adopted = Adopted::default();
        for spool in journal.complete {
            adopted.complete.push(spool.id);
            self.adopt_spool(spool);
        }
        if let Some(spool) = journal.open {
            adopted.open = Some(spool.id);
            self.adopt_spool(spool);
        }
        adopted
    }

    fn adopt_spool(&mut self, spool: Spool) {
        match &spool.pin {
            None => self.unwritten.push(spool.id),
            Some(segment) => {
                let sequence = segment.sequence;
                match self.recovered.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
                    Ok(index) => self.recovered[index].1.push(spool.id),
                    Err(index) => self.recovered.insert(index, (sequence, vec![spool.id])),
                }
            }
        }
        self.spools.insert(spool.id, spool);
    }

    /// A spool of this log.
    pub fn spool(&self, spool: SpoolId) -> Option<&Spool> {
        self.spools.get(&spool)
    }

    /// The spools of this log, in no order.
    pub fn spools(&self) -> impl Iterator<Item = &Spool> {
        self.spools.values()
    }

    /// How many segments this log has, those of earlier processes included that it has spools in.
    pub fn segments(&self) -> usize {
        self.segments.len() + self.recovered.len()
    }

    /// Spools that could not be carried forward, as their bytes do not check. Their segment stays until they are
    /// released.
    pub fn damaged(&self) -> impl Iterator<Item = SpoolId> {
        self.spools.values().filter(|spool| spool.stuck).map(|spool| spool.id)
    }

    /// The volume it lies on.
    pub const fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Begins a turn. What is staged in it counts when it is written; dropped, it never was.
    pub fn turn(&mut self) -> Turn<'_> {
        self.turn += 1;
        self.staging.clear();
        self.write_heads();
        self.carry_some();
        Turn::new(self)
    }

    /// Whether a turn has something to do on its own account: heads to write, or spools to carry forward. A core
    /// that has no appends looks here now and then: what it does not carry holds up the segments of the others.
    pub fn wants_turn(&self) -> bool {
        !self.unwritten.is_empty() || self.carry_target().is_some()
    }

    /// The files that turns have written since the last call, content before the segment that names it: syncing
    /// them in this order, on any thread, makes these turns durable. Kept only by a [`durable`] layout.
    ///
    /// [`durable`]: super::volume::Layout::durable
    pub fn take_unsynced(&mut self) -> Vec<Arc<dyn DiskFile>> {
        let mut files = std::mem::take(&mut self.unsynced);
        if let Some(current) = self.current.as_ref().filter(|_| self.volume.layout().durable) {
            files.push(Arc::clone(&current.file));
        }
        files
    }

    /// The segment that the turn goes to, begun if need be.
    fn segment(&mut self) -> Result<(), Error> {
        if !self.staging.is_empty() {
            return Ok(());
        }
        let path = |this: &Self| {
            let sequence = this.segments.back().map_or(0, |own| own.segment.sequence);
            this.volume.path(Name::Segment(sequence))
        };
        if let Some(current) = &mut self.current
            && current.torn
        {
            // Frames of a turn that was refused must not be found behind those that follow.
            if let Err(error) = current.file.truncate(current.length) {
                return Err(Error::disk("cut back", path(self))(error));
            }
            current.torn = false;
        }
        let full = self.current.as_ref().is_none_or(|own| own.length >= self.volume.layout().segment_bytes);
        if full {
            self.begin_segment()?;
        }
        let Some(current) = &self.current else { return Ok(()) };
        self.staging.begin(current.length, current.salt);
        if current.length == 0 {
            let sequence = self.segments.back().map_or(0, |own| own.segment.sequence);
            self.staging.header(frame::Segment {
                version: frame::VERSION,
                core: self.core,
                cluster: self.volume.cluster().0,
                sequence,
                salt: current.salt,
            });
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), Error> {
        let sequence = self.volume.next_segment();
        let path = self.volume.path(Name::Segment(sequence));
        let file = self.volume.disk().open(&path, Open::Create).map_err(Error::disk("create", path))?;
        if let Some(own) = self.segments.back() {
            own.segment.let_rest(&self.volume);
        }
        let segment = Arc::new(Segment::with_file(sequence, Arc::clone(&file)));
        self.segments.push_back(OwnSegment { segment, opened: Vec::new() });
        let salt = Salt(mix(self.volume.layout().seed ^ mix(sequence)));
        // The one before is left to the sync of who asks for durability.
        if let Some(before) = self.current.replace(Current { file, salt, length: 0, torn: false })
            && self.volume.layout().durable
        {
            self.unsynced.push(before.file);
        }
        Ok(())
    }

    /// A spool that the turn is about to change; what it was is kept once per turn.
    fn touch(&mut self, id: SpoolId) -> Result<&mut Spool, Error> {
        let spool = self.spools.get_mut(&id).ok_or(Error::UnknownSpool(id))?;
        if spool.turn != self.turn {
            spool.turn = self.turn;
            self.undo.push((id, Undo::Changed(spool.state.clone())));
        }
        Ok(spool)
    }

    /// A new spool without content, unknown to the disk.
    fn create(&mut self, opening: Opening) -> SpoolId {
        let id = self.volume.next_spool();
        let spool = Spool::new(&self.volume, id, opening);
        self.spools.insert(id, Spool { turn: self.turn, ..spool });
        self.undo.push((id, Undo::Created));
        id
    }

    /// The turn was written: what it changed counts.
    fn apply(&mut self) {
        let Some(own) = self.segments.back_mut() else { return };
        let mut unpinned = false;
        for (id, change) in self.changes.drain(..) {
            if matches!(change, Change::Gone) {
                if let Some(spool) = self.spools.remove(&id) {
                    if let Some(segment) = &spool.pin {
                        segment.unpin();
                        unpinned = true;
                    }
                    if spool.content.has_file() {
                        self.volume.discard_content(id, spool.content);
                    }
                }
                continue;
            }
            let Some(spool) = self.spools.get_mut(&id) else { continue };
            let pins = matches!(change, Change::Pinned | Change::Carried { .. } | Change::Cut { .. });
            let segment = &own.segment;
            match change {
                Change::Extent(extent) => spool.content.publish(|layout| extent.publish(layout, segment)),
                Change::File(file) => spool.content.publish(|layout| file.publish(layout)),
                Change::Carried { file, extent } => spool.content.publish(|layout| {
                    match file {
                        Some(file) => file.publish(layout),
                        None => layout.clear_extents(),
                    }
                    if let Some(extent) = extent {
                        extent.publish(layout, segment);
                    }
                }),
                Change::Cut { in_file, checks } => spool.content.publish(|layout| {
                    layout.set_file(in_file, 0, &checks);
                    layout.clear_extents();
                }),
                Change::Pinned | Change::Gone => {}
            }
            if pins {
                segment.pin();
                own.opened.push(id);
                if let Some(before) = spool.pin.replace(Arc::clone(segment)) {
                    before.unpin();
                    unpinned = true;
                }
            }
        }
        self.undo.clear();
        self.carried.clear();
        self.heads.clear();
        while self.recovered.front().is_some_and(|(_, spools)| spools.is_empty()) {
            self.recovered.pop_front();
        }
        if unpinned {
            self.give_up_segments();
        }
    }

    /// The turn was not written: nothing happened.
    fn revert(&mut self) {
        self.changes.clear();
        while let Some((id, undo)) = self.undo.pop() {
            match undo {
                Undo::Created => {
                    self.spools.remove(&id);
                }
                Undo::Changed(state) => {
                    if let Some(spool) = self.spools.get_mut(&id) {
                        spool.state = state;
                        spool.turn = 0;
                    }
                }
            }
        }
        self.requeue();
        self.staging.clear();
    }

    /// Gives up the oldest segments that nothing pins.
    fn give_up_segments(&mut self) {
        // Those of earlier processes are older than all of ours.
        if !self.volume.drain_recovered() {
            if self.segments.len() > self.volume.layout().segments {
                self.volume.empty_recovered();
            }
            return;
        }
        while self.segments.len() > 1 && self.segments.front().is_some_and(|own| !own.segment.is_pinned()) {
            if let Some(own) = self.segments.pop_front() {
                self.volume.discard_segment(own.segment);
            }
        }
    }
}

impl Spool {
    fn new(volume: &Arc<Volume>, id: SpoolId, opening: Opening) -> Self {
        let journal = opening.identity.journal.clone();
        Self {
            id,
            identity: opening.identity,
            begin: opening.begin,
            codec: opening.codec,
            content: Content::new(Arc::clone(volume), id, journal, opening.begin, content::Layout::default()),
            state: State {
                end: opening.begin,
                registers: opening.registers,
                first_append: None,
                file: content::Blocks::default(),
                phase: Phase::Open(Digest::new()),
            },
            pin: None,
            turn: 0,
            stuck: false,
        }
    }

    /// The head of a journal as recovery found it, to be written by the log that adopts it.
    pub(crate) fn head(volume: &Arc<Volume>, opening: Opening) -> Self {
        Self::new(volume, volume.next_spool(), opening)
    }
}

impl Extent {
    fn publish(self, layout: &mut content::Layout, segment: &Arc<Segment>) {
        if self.length > 0 {
            layout.push_extent(segment, self.at, self.check, self.length);
        }
    }
}

impl FileChange {
    fn publish(self, layout: &mut content::Layout) {
        layout.set_file(self.in_file, self.first, &self.checks);
    }
}

impl fmt::Debug for SpoolLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolLog")
            .field("core", &self.core)
            .field("spools", &self.spools.len())
            .field("segments", &self.segments())
            .finish_non_exhaustive()
    }
}

/// Spreads a number over all bits (the finaliser of SplitMix64).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
