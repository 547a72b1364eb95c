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
use super::segment::Segment;
use super::volume::{Name, Volume};
use super::{Identity, Phase, Spool, SpoolId, SpoolMap, State, content};
use crate::disk::{DiskFile, Open};
use crate::error::Error;

mod apply;
mod carry;
mod cut;
mod files;
mod stage;
mod turn;

pub use cut::Quarantined;
pub use turn::{Commit, Grown, Rolled, Source, Turn, Written};

use apply::{Change, Extent, FileChange, Undo};
use stage::Staging;

/// One core's log.
pub struct SpoolLog {
    volume: Arc<Volume>,
    core: u32,
    /// Boxed: a map has room for twice what it holds, and for more after many were there at once.
    spools: SpoolMap<Box<Spool>>,
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
    /// Bytes of content in all its spools, as turns have written them.
    held_bytes: u64,
    staging: Staging,
    changes: Vec<(SpoolId, Change)>,
    undo: Vec<(SpoolId, Undo)>,
    /// Spools that turns had begun which were not written, with content files that are to go.
    refused: Vec<(SpoolId, Arc<Content>)>,
    /// What the current turn took out of the lists of spools to carry.
    carried: Vec<(u64, SpoolId)>,
    last_turn_bytes: u64,
    /// What the current turn commits durably.
    durable: Vec<SpoolId>,
    /// Content files and segments that durable commits rest on.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Why not all of them are there.
    unsyncable: Option<Error>,
    /// Whether the segments of earlier processes were collected for it.
    rests_on_recovered: bool,
    /// Whether durable commits were written since they were last asked for.
    wants_sync: bool,
    /// Whether files were made since they were last synced.
    unsynced_names: bool,
    scratch: Vec<u8>,
}

/// What turns have written, until it is synced.
#[derive(Debug)]
#[must_use = "turns are durable once this was synced"]
pub struct Unsynced {
    /// Content files before the segment that names what is in them.
    files: Vec<Arc<dyn DiskFile>>,
    /// A file could not be opened for it.
    fault: Option<Error>,
    names: bool,
    volume: Arc<Volume>,
}

impl Unsynced {
    /// Whether no durable commit was written since the last one was taken: there is nothing to sync.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.fault.is_none()
    }

    /// Makes it durable. It blocks.
    ///
    /// # Errors
    /// When the disk refuses. Then nobody knows what of it is durable, and a later sync does not tell either: the
    /// spools concerned are not to be acknowledged any more.
    pub fn sync(self) -> Result<(), Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let folder = self.volume.folder();
        for file in &self.files {
            file.sync_data().map_err(Error::disk("sync a file of", folder))?;
        }
        if self.names {
            self.volume.disk().sync_dir(folder).map_err(Error::disk("sync", folder))?;
        }
        Ok(())
    }
}

struct OwnSegment {
    segment: Arc<Segment>,
    /// Spools whose newest `open` may lie here.
    opened: Vec<SpoolId>,
    /// Whether all that was written to it was handed to [`SpoolLog::take_unsynced`].
    synced: bool,
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
            held_bytes: 0,
            staging: Staging::default(),
            changes: Vec::new(),
            undo: Vec::new(),
            refused: Vec::new(),
            carried: Vec::new(),
            last_turn_bytes: 0,
            durable: Vec::new(),
            unsynced: Vec::new(),
            unsyncable: None,
            rests_on_recovered: false,
            wants_sync: false,
            unsynced_names: false,
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

    fn adopt_spool(&mut self, mut spool: Spool) {
        spool.counted = spool.length();
        self.held_bytes += spool.counted;
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
        self.spools.insert(spool.id, Box::new(spool));
    }

    /// A spool of this log.
    pub fn spool(&self, spool: SpoolId) -> Option<&Spool> {
        self.spools.get(&spool).map(|spool| &**spool)
    }

    /// The spools of this log, in no order.
    pub fn spools(&self) -> impl Iterator<Item = &Spool> {
        self.spools.values().map(|spool| &**spool)
    }

    /// Bytes of content in all spools of this log: what no store is known to have.
    pub const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How many segments there are, of this log and of earlier processes.
    pub fn segments(&self) -> usize {
        self.segments.len() + self.volume.recovered_segments()
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

    /// What the [durable](Commit::durable) commits rest on that turns have written since the last call, to be synced on
    /// any thread that may block: the content files of their spools, segments, and names of files. It may be
    /// [empty](Unsynced::is_empty).
    pub fn take_unsynced(&mut self) -> Unsynced {
        let volume = Arc::clone(&self.volume);
        let mut taken = Unsynced { files: Vec::new(), fault: None, names: false, volume };
        if std::mem::take(&mut self.wants_sync) {
            taken.files = std::mem::take(&mut self.unsynced);
            taken.fault = self.unsyncable.take();
            taken.names = std::mem::take(&mut self.unsynced_names);
            if let (Some(current), Some(own)) = (&self.current, self.segments.back_mut()) {
                own.synced = true;
                taken.files.push(Arc::clone(&current.file));
            }
        }
        taken
    }

    /// Asks of what a spool holds by now what a durable commit asks of it, though no commit said so.
    pub fn rest_on(&mut self, spool: SpoolId) {
        if self.spools.contains_key(&spool) {
            self.durable.push(spool);
            self.keep_unsynced();
        }
    }

    /// The turn was written: collects what its durable commits rest on. That is all of their spools, also what was
    /// committed to them by turns that asked for nothing.
    fn keep_unsynced(&mut self) {
        for id in self.durable.drain(..) {
            self.wants_sync = true;
            let Some(spool) = self.spools.get_mut(&id).filter(|spool| spool.unsynced) else { continue };
            match spool.content.file_for_writing() {
                Ok(file) => {
                    spool.unsynced = false;
                    self.unsynced.push(file);
                }
                Err(error) => self.unsyncable = Some(error),
            }
        }
        if !self.wants_sync {
            return;
        }
        if !std::mem::replace(&mut self.rests_on_recovered, true) {
            self.volume.has_durable();
            self.unsynced_names = true;
            for segment in self.volume.recovered() {
                match segment.file(&self.volume) {
                    Ok(file) => self.unsynced.push(file),
                    Err(error) => self.unsyncable = Some(error),
                }
            }
        }
        let behind = self.segments.len().saturating_sub(1);
        for own in self.segments.iter_mut().take(behind).filter(|own| !own.synced) {
            match own.segment.file(&self.volume) {
                Ok(file) => {
                    own.synced = true;
                    self.unsynced.push(file);
                }
                Err(error) => self.unsyncable = Some(error),
            }
        }
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
            self.discard_refused();
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
        self.segments.push_back(OwnSegment { segment, opened: Vec::new(), synced: false });
        self.unsynced_names = true;
        let salt = Salt(mix(self.volume.layout().seed ^ mix(sequence)));
        self.current = Some(Current { file, salt, length: 0, torn: false });
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
        self.spools.insert(id, Box::new(Spool { turn: self.turn, ..spool }));
        self.undo.push((id, Undo::Created));
        id
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
            unsynced: false,
            counted: 0,
        }
    }

    /// The head of a journal as recovery found it, to be written by the log that adopts it.
    pub(crate) fn head(volume: &Arc<Volume>, opening: Opening) -> Self {
        Self::new(volume, volume.next_spool(), opening)
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
