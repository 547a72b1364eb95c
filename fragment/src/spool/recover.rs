//! Finding again what earlier processes left in a folder of spools.
//!
//! Segments are read in order and in pieces, every byte of content is held against its checksum, and what is found
//! is given to the [rules of records](super::replay). What cannot be ours is put aside and reported, and nothing
//! with content in it is deleted unless a record released it.
//!
//! Which of the recovered bytes count is not known here: that is lineage's to say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::time::Timestamp;

use super::content::{self, BLOCK_LENGTH, Blocks, Content};
use super::digest::Digest;
use super::frame;
use super::log::Opening;
use super::replay::{At, Replay, Replayed};
use super::volume::{Layout, Name, QUARANTINE, Segment, Volume};
use super::{ClusterId, Identity, Phase, Spool, SpoolId, State};
use crate::disk::{Disk, Entry, Open};
use crate::error::Error;

mod scan;

use scan::{Found, Scan};

/// Bytes of a content file read at a time.
const READ_LENGTH: u64 = 16 * BLOCK_LENGTH;

/// What was found.
#[derive(Debug)]
pub struct Recovery {
    /// The folder, for the logs of all cores.
    pub volume: Arc<Volume>,
    /// The journals of this cluster, each once per revision that created it.
    pub journals: Vec<RecoveredJournal>,
    /// Turns that a process did not live to finish, and that were cut off. Nobody was told that they are true.
    pub torn: Vec<Torn>,
    /// Places where records are missing, and it is not known whose.
    pub lost: Vec<Lost>,
    /// Files that were put aside: of another cluster, unreadable, or named by no record.
    pub quarantined: Vec<PathBuf>,
}

/// A journal that was found.
#[derive(Debug)]
pub struct RecoveredJournal {
    /// Which it is, and the epoch of its newest spool.
    pub identity: Identity,
    /// The highest offset that it has committed.
    pub head: Offset,
    /// Whether nothing can be behind the head that was lost.
    pub certain: bool,
    /// Its registers at the head.
    pub registers: Registers,
    /// The spool that may grow, at the head; none if the journal was forgotten and only has spools to persist.
    pub open: Option<Spool>,
    /// Spools that wait to be persisted, oldest first.
    pub complete: Vec<Spool>,
    /// Content that is missing or does not check.
    pub damage: Vec<Damage>,
}

/// Content of a spool that cannot be had here any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The spool, which ends before it now.
    pub spool: SpoolId,
    /// The first offset.
    pub begin: Offset,
    /// The offset behind the last.
    pub end: Offset,
}

/// The end of a segment that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Its length now.
    pub at: u64,
    /// Bytes that were cut off.
    pub bytes: u64,
}

/// A place in a segment where records are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The segment, which is kept as evidence when it is done with.
    pub path: PathBuf,
    /// The position from which on they are missing.
    pub position: u64,
}

/// Finds what is in a folder of spools, which is made if it is missing. It blocks, and reads all that is there.
///
/// The caller sees to it that no other process uses the folder.
///
/// # Errors
/// When a file cannot be read, cut, or put aside, or was written by a later version of this program.
pub fn recover(
    disk: Arc<dyn Disk>,
    folder: &Path,
    cluster: ClusterId,
    layout: Layout,
) -> Result<Recovery, Error> {
    disk.create_dir_all(folder).map_err(Error::disk("create", folder))?;
    let files = Files::list(&*disk, folder)?;
    let mut finder = Finder {
        disk: &*disk,
        folder,
        cluster,
        replay: Replay::default(),
        segments: Vec::new(),
        torn: Vec::new(),
        foreign: Vec::new(),
    };
    finder.scan(&files)?;
    let Finder { mut replay, segments, torn, foreign, .. } = finder;
    replay.finish();

    let next_spool = files.highest_spool.max(replay.highest) + 1;
    let volume = Volume::new(
        Arc::clone(&disk),
        folder.to_owned(),
        cluster,
        layout,
        files.highest_segment + 1,
        next_spool,
    );
    for torn in &torn {
        let cut = disk.open(&torn.path, Open::Write).and_then(|file| file.truncate(torn.at));
        cut.map_err(Error::disk("cut the torn end of", &torn.path))?;
    }
    let mut quarantined = Vec::new();
    for sequence in foreign {
        volume.set_aside(Name::Segment(sequence))?;
        quarantined.push(volume.quarantine().join(Name::Segment(sequence).text()));
    }
    let lost: Vec<_> = replay.lost.iter().filter_map(|at| lost_in(&volume, &segments, *at)).collect();
    for at in &replay.lost {
        if let Some(segment) = segments.get(at.segment) {
            segment.mark_damaged();
        }
    }
    let journals = Builder { volume: &volume, segments: &segments }.journals(&mut replay)?;
    volume.recover(segments);
    quarantined.extend(set_aside_leftovers(&volume, &files, &replay)?);
    Ok(Recovery { volume, journals, torn, lost, quarantined })
}

/// The files of a folder.
struct Files {
    /// Segments by sequence, with their lengths.
    segments: Vec<(u64, u64)>,
    contents: Vec<(SpoolId, u64)>,
    highest_segment: u64,
    highest_spool: u64,
}

impl Files {
    fn list(disk: &dyn Disk, folder: &Path) -> Result<Self, Error> {
        let mut files =
            Self { segments: Vec::new(), contents: Vec::new(), highest_segment: 0, highest_spool: 0 };
        for Entry { name, length } in disk.list(folder).map_err(Error::disk("list", folder))? {
            match Name::parse(&name) {
                Some(Name::Segment(sequence)) => files.segments.push((sequence, length)),
                Some(Name::Content(spool)) => files.contents.push((spool, length)),
                None => {}
            }
        }
        files.segments.sort_unstable();
        files.highest_segment = files.segments.last().map_or(0, |(sequence, _)| *sequence);
        files.highest_spool = files.contents.iter().map(|(spool, _)| spool.0).max().unwrap_or(0);
        // Numbers of what was put aside are not given out again either, or its successors would replace it there.
        let aside = match disk.list(&folder.join(QUARANTINE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(Error::disk("list", folder.join(QUARANTINE)))?,
        };
        for Entry { name, .. } in aside {
            let number = name.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
            if name.ends_with(".log") {
                files.highest_segment = files.highest_segment.max(number);
            } else {
                files.highest_spool = files.highest_spool.max(number);
            }
        }
        Ok(files)
    }
}

/// Reads segments into a replay.
struct Finder<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    cluster: ClusterId,
    replay: Replay,
    segments: Vec<Arc<Segment>>,
    torn: Vec<Torn>,
    /// Segments that are not ours to read.
    foreign: Vec<u64>,
}

impl Finder<'_> {
    fn scan(&mut self, files: &Files) -> Result<(), Error> {
        // The end of a core's newest segment may be torn. No other's can: its writer went on to the next.
        let mut ends: Vec<(u32, At, scan::End)> = Vec::new();
        for (sequence, length) in &files.segments {
            let path = self.folder.join(Name::Segment(*sequence).text());
            let file = self.disk.open(&path, Open::Read).map_err(Error::disk("open", &path))?;
            let index = self.segments.len();
            let start = At { segment: index, position: 0 };
            let Some((head, scan)) = Scan::begin(&*file, &path, *length, *sequence)? else {
                // A process that died while it began a segment left less than its two heads: no record was in it.
                if *length > scan::HEADS_LENGTH {
                    self.foreign.push(*sequence);
                    self.replay.lose(start);
                } else {
                    self.segments.push(Arc::new(Segment::new(*sequence)));
                }
                continue;
            };
            if head.version != frame::VERSION {
                return Err(Error::Format { path, version: head.version, expected: frame::VERSION });
            }
            if ClusterId(head.cluster) != self.cluster {
                self.foreign.push(*sequence);
                continue;
            }
            let replay = &mut self.replay;
            let end = scan.run(&mut |found| match found {
                Found::Frame { position, frame, content_at, checks } => {
                    replay.apply(At { segment: index, position }, &frame, content_at, checks);
                }
                Found::Lost { position } => replay.lose(At { segment: index, position }),
            })?;
            self.segments.push(Arc::new(Segment::new(*sequence)));
            ends.push((head.core, At { segment: index, position: end.length }, end));
        }
        for (place, (core, at, end)) in ends.iter().enumerate() {
            if end.torn == 0 {
                continue;
            }
            if ends[place + 1..].iter().any(|(later, ..)| later == core) {
                self.replay.lose(*at);
                continue;
            }
            let sequence = self.segments[at.segment].sequence;
            let path = self.folder.join(Name::Segment(sequence).text());
            self.torn.push(Torn { path, at: end.length, bytes: end.torn });
        }
        Ok(())
    }
}

fn lost_in(volume: &Volume, segments: &[Arc<Segment>], at: At) -> Option<Lost> {
    let segment = segments.get(at.segment)?;
    Some(Lost { path: volume.path(Name::Segment(segment.sequence)), position: at.position })
}

/// Puts aside content files that no record names. Those that are empty, or were released, are removed.
fn set_aside_leftovers(volume: &Volume, files: &Files, replay: &Replay) -> Result<Vec<PathBuf>, Error> {
    let mut quarantined = Vec::new();
    for (spool, length) in &files.contents {
        if replay.spools.contains_key(spool) {
            continue;
        }
        let name = Name::Content(*spool);
        if *length == 0 || replay.released.contains(spool) {
            let path = volume.path(name);
            volume.disk().remove(&path).map_err(Error::disk("remove", path))?;
        } else {
            volume.set_aside(name)?;
            quarantined.push(volume.quarantine().join(name.text()));
        }
    }
    Ok(quarantined)
}

/// Makes spools of what was replayed.
struct Builder<'a> {
    volume: &'a Arc<Volume>,
    segments: &'a [Arc<Segment>],
}

impl Builder<'_> {
    fn journals(&self, replay: &mut Replay) -> Result<Vec<RecoveredJournal>, Error> {
        let mut of_journal: Vec<Vec<SpoolId>> = vec![Vec::new(); replay.journals.len()];
        for (id, spool) in &replay.spools {
            of_journal[spool.journal].push(*id);
        }
        let mut journals = Vec::new();
        for (index, mut ids) in of_journal.into_iter().enumerate() {
            ids.sort_unstable();
            if let Some(journal) = self.journal(replay, index, ids)? {
                journals.push(journal);
            }
        }
        Ok(journals)
    }

    fn journal(
        &self,
        replay: &mut Replay,
        index: usize,
        ids: Vec<SpoolId>,
    ) -> Result<Option<RecoveredJournal>, Error> {
        let journal = replay.journals[index].clone();
        let certain = replay.is_certain(&journal);
        let (mut open, mut complete, mut damage) = (None, Vec::new(), Vec::new());
        let mut codec = Codec::None;
        for id in ids {
            let Some(replayed) = replay.spools.get_mut(&id) else { continue };
            let is_head = journal.newest == Some(id);
            let (blocks, checks) = check_file(self.volume, id, replayed)?;
            if let Some(begin) = replayed.damage {
                let end = replayed.named_end.max(begin);
                damage.push(Damage { spool: id, begin: offset(begin), end: offset(end) });
                tracing::error!(journal = %journal.name, spool = %id, begin, end, "content of a spool is damaged");
            }
            let replayed = &*replayed;
            let growing = is_head && replayed.complete.is_none() && replayed.damage.is_none();
            if is_head {
                codec = codec_of(replayed.codec);
            }
            if replayed.length() == 0 && !growing {
                // Damage may have left nothing of it: its evidence is kept, but there is nothing to persist.
                continue;
            }
            let identity = Identity {
                journal: journal.name.clone(),
                create_revision: journal.create_revision,
                epoch: replayed.epoch,
            };
            let spool = self.build(id, identity, replayed, growing, (blocks, checks))?;
            if growing {
                open = Some(spool);
            } else {
                complete.push(spool);
            }
        }
        let identity = Identity {
            journal: journal.name,
            create_revision: journal.create_revision,
            epoch: journal.epoch,
        };
        if journal.newest.is_none() && complete.is_empty() {
            return Ok(None);
        }
        let head = complete.iter().map(Spool::end).max().unwrap_or_default();
        let head = if journal.newest.is_some() { offset(journal.head) } else { head };
        if journal.newest.is_some() && open.is_none() {
            // The process died between two records of one turn, or the head is damaged: the next spool begins here.
            open = Some(Spool::head(
                self.volume,
                Opening {
                    identity: identity.clone(),
                    begin: head,
                    codec,
                    registers: journal.registers.clone(),
                },
            ));
        }
        let registers = journal.registers;
        Ok(Some(RecoveredJournal { identity, head, certain, registers, open, complete, damage }))
    }

    fn build(
        &self,
        id: SpoolId,
        identity: Identity,
        replayed: &Replayed,
        growing: bool,
        (file, checks): (Blocks, Vec<u32>),
    ) -> Result<Spool, Error> {
        let mut layout = content::Layout::default();
        layout.set_file(replayed.in_file, 0, &checks);
        for extent in &replayed.extents {
            if let (Some(segment), Ok(at)) = (self.segments.get(extent.segment), u32::try_from(extent.at)) {
                layout.push_extent(segment, at, extent.check, extent.length);
            }
        }
        let begin = offset(replayed.begin);
        let content = Content::new(Arc::clone(self.volume), id, identity.journal.clone(), begin, layout);
        let length = replayed.length();
        let phase = if growing {
            let mut tail = vec![0; Digest::tail_length(length)];
            let read = content.read_at(length - tail.len() as u64, &mut tail)?;
            let digest = Digest::resume(&replayed.state, length, &tail[..read]);
            let expected = length;
            Phase::Open(
                digest.ok_or(Error::ShortContent { have: length - (tail.len() - read) as u64, expected })?,
            )
        } else {
            match replayed.complete {
                Some(sum) if replayed.damage.is_none() => Phase::Complete(ContentSum(sum)),
                _ => Phase::Complete(sum_of(&content)?),
            }
        };
        if replayed.damage.is_some() {
            content.mark_damaged();
            let segments = content.layout().segments().map(Arc::clone).collect::<Vec<_>>();
            for segment in segments.iter().chain(self.segments.get(replayed.pin)) {
                segment.mark_damaged();
            }
        }
        let pin = self.segments.get(replayed.pin).map(Arc::clone);
        if let Some(segment) = &pin {
            segment.pin();
        }
        Ok(Spool {
            id,
            identity,
            begin,
            codec: codec_of(replayed.codec),
            content,
            state: State {
                end: offset(replayed.end),
                registers: replayed.registers.clone(),
                first_append: replayed.first_append.map(Timestamp::from_nanos),
                file,
                phase,
            },
            pin,
            turn: 0,
            stuck: false,
        })
    }
}

/// Holds a content file against its checks, and cuts the spool where they fail. The checks of its blocks.
fn check_file(volume: &Volume, id: SpoolId, spool: &mut Replayed) -> Result<(Blocks, Vec<u32>), Error> {
    let (mut blocks, mut checks) = (Blocks::default(), Vec::new());
    if spool.in_file == 0 {
        return Ok((blocks, checks));
    }
    let path = volume.path(Name::Content(id));
    let file = match volume.disk().open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            spool.cut(spool.begin);
            return Ok((blocks, checks));
        }
        Err(error) => return Err(Error::disk("open", path)(error)),
    };
    // What the last `open` found in the file comes first, block by block; then what was added, range by range.
    let opened_blocks = spool.blocks.len() as u64;
    let opened = spool.opened_in_file;
    let mut good = 0;
    let mut stretches = Vec::new();
    for (index, check) in spool.blocks.iter().enumerate() {
        stretches.push((((index as u64 + 1) * BLOCK_LENGTH).min(opened), *check));
    }
    if opened_blocks != opened.div_ceil(BLOCK_LENGTH) {
        spool.cut(spool.begin);
        return Ok((blocks, checks));
    }
    stretches.extend(spool.ranges.iter().map(|range| (range.to, range.check)));
    let mut buffer = Vec::new();
    'stretches: for (to, expected) in stretches {
        let (mut check, before) = (0, (blocks, checks.len(), checks.last().copied()));
        while blocks.length < to {
            buffer.resize((to - blocks.length).min(READ_LENGTH) as usize, 0);
            let read = file.read_at(&mut buffer, blocks.length).map_err(Error::disk("read", &path))?;
            check = crc32c::crc32c_append(check, &buffer[..read]);
            blocks.push(&buffer[..read], &mut checks);
            if read < buffer.len() {
                (blocks, checks) = undo(before, checks);
                break 'stretches;
            }
        }
        if check != expected {
            (blocks, checks) = undo(before, checks);
            break;
        }
        good = to;
    }
    if good < spool.in_file {
        spool.cut(spool.begin + good);
    }
    Ok((blocks, checks))
}

type Before = (Blocks, usize, Option<u32>);

/// Takes back the blocks of a stretch that does not check.
fn undo((blocks, length, last): Before, mut checks: Vec<u32>) -> (Blocks, Vec<u32>) {
    checks.truncate(length);
    if let (Some(to), Some(last)) = (checks.last_mut(), last) {
        *to = last;
    }
    (blocks, checks)
}

/// The sum of what is left of a spool, read from its files.
fn sum_of(content: &Arc<Content>) -> Result<ContentSum, Error> {
    let mut digest = Digest::new();
    let mut buffer = vec![0; READ_LENGTH as usize];
    loop {
        let read = content.read_at(digest.length(), &mut buffer)?;
        if read == 0 {
            return Ok(digest.sum());
        }
        digest.update(&buffer[..read]);
    }
}

fn codec_of(number: u8) -> Codec {
    Codec::from_wire(i32::from(number)).unwrap_or(Codec::None)
}

/// Records with offsets beyond the last one are read as none.
fn offset(offset: u64) -> Offset {
    i64::try_from(offset).ok().and_then(Offset::new).unwrap_or(Offset::MAX)
}
