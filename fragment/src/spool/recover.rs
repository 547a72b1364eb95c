//! Finding again what earlier processes left in a folder of spools.
//!
//! Segments are read in order and in pieces, every byte of content is held against its checksum, and what is found
//! is given to the rules of records, which look at no file. What cannot be ours is put aside and reported, and nothing
//! with content in it is deleted unless a record released it.
//!
//! Which of the recovered bytes count is not known here: that is lineage's to say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use courant_proto::offset::Offset;
use courant_proto::registers::Registers;

use super::frame;
use super::replay::{At, Replay};
use super::segment::Segment;
use super::volume::{Layout, Name, QUARANTINE, Volume};
use super::{ClusterId, Identity, Spool, SpoolId};
use crate::disk::{Disk, Entry, Open};
use crate::error::Error;

mod build;
mod foreign;
mod scan;

use build::Builder;
pub use foreign::ends_elsewhere;
use scan::{Found, Scan};

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
    /// Whether they are the beginning of what was to be written, as the death of a process leaves it. Anything else
    /// is the work of a power loss, or of a bad disk, and may have been acknowledged unless turns are durable.
    pub clean: bool,
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
        unreadable: Vec::new(),
    };
    finder.scan(&files)?;
    let Finder { mut replay, segments, torn, foreign, unreadable, .. } = finder;
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
    let aside = |sequence: u64| volume.quarantine().join(Name::Segment(sequence).text());
    let mut lost: Vec<_> =
        unreadable.into_iter().map(|sequence| Lost { path: aside(sequence), position: 0 }).collect();
    // A place before the first record stands for a segment that is not among these.
    for at in replay.lost.iter().filter(|at| at.position > 0) {
        if let Some(segment) = segments.get(at.segment) {
            segment.mark_damaged();
            lost.push(Lost { path: volume.path(Name::Segment(segment.sequence)), position: at.position });
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
    /// Those of them that nobody can.
    unreadable: Vec<u64>,
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
                    tracing::error!(path = %path.display(), "both heads of a segment are damaged");
                    self.foreign.push(*sequence);
                    self.unreadable.push(*sequence);
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
            self.torn.push(Torn { path, at: end.length, bytes: end.torn, clean: end.clean });
        }
        Ok(())
    }
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
