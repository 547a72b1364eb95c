//! Makes journals and spools of replayed records, once their content files were held against their checks.

use std::sync::Arc;

use courant_proto::codec::Codec;
use courant_proto::fragment::ContentSum;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

use super::{Damage, RecoveredJournal};
use crate::disk::Open;
use crate::error::Error;
use crate::spool::content::{self, BLOCK_LENGTH, Blocks, Content};
use crate::spool::digest::Digest;
use crate::spool::log::Opening;
use crate::spool::replay::{Replay, Replayed};
use crate::spool::segment::Segment;
use crate::spool::volume::{Name, Volume};
use crate::spool::{Identity, Phase, Spool, SpoolId, State};

/// Bytes of a content file read at a time.
const READ_LENGTH: u64 = 16 * BLOCK_LENGTH;

/// Makes spools of what was replayed.
pub(super) struct Builder<'a> {
    pub(super) volume: &'a Arc<Volume>,
    pub(super) segments: &'a [Arc<Segment>],
}

impl Builder<'_> {
    pub(super) fn journals(&self, replay: &mut Replay) -> Result<Vec<RecoveredJournal>, Error> {
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
                self.keep_evidence(replayed);
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

    /// Segments with records of a spool that is damaged are put aside when they are done with.
    fn keep_evidence(&self, replayed: &Replayed) {
        let extents = replayed.extents.iter().map(|extent| extent.segment);
        for segment in extents.chain([replayed.pin]).filter_map(|index| self.segments.get(index)) {
            segment.mark_damaged();
        }
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
            // Of an earlier process nobody knows.
            unsynced: replayed.in_file > 0,
            counted: 0,
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
