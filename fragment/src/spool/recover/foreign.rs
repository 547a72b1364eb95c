//! What a folder holds of clusters that are not there any more: how far their journals went, before all of it is put aside.

use std::collections::BTreeMap;
use std::path::Path;

use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use super::scan::{Found, Scan};
use super::{At, Files, Name, Replay};
use crate::disk::{Disk, Open};
use crate::error::Error;
use crate::spool::{ClusterId, frame};

/// Where content ends that lies here, was never released to a store, and is of another cluster than this one, with the newest epoch of such
/// content; by journal. It changes nothing: [`super::recover`] puts the same content aside. It blocks.
///
/// # Errors
/// When a file cannot be read, or was written by a later version of this program.
pub fn ends_elsewhere(
    disk: &dyn Disk,
    folder: &Path,
    cluster: ClusterId,
) -> Result<BTreeMap<JournalName, (Offset, u64)>, Error> {
    disk.create_dir_all(folder).map_err(Error::disk("create", folder))?;
    let mut replays: BTreeMap<u64, Replay> = BTreeMap::new();
    for (segment, (sequence, length)) in Files::list(disk, folder)?.segments.iter().enumerate() {
        let path = folder.join(Name::Segment(*sequence).text());
        let file = disk.open(&path, Open::Read).map_err(Error::disk("open", &path))?;
        let Some((head, scan)) = Scan::begin(&*file, &path, *length, *sequence)? else { continue };
        if head.version != frame::VERSION {
            return Err(Error::Format { path, version: head.version, expected: frame::VERSION });
        }
        if ClusterId(head.cluster) == cluster {
            continue;
        }
        let replay = replays.entry(head.cluster).or_default();
        scan.run(&mut |found| match found {
            Found::Frame { position, frame, content_at, checks } => {
                replay.apply(At { segment, position }, &frame, content_at, checks);
            }
            Found::Lost { position } => replay.lose(At { segment, position }),
        })?;
    }
    let mut ends = BTreeMap::new();
    for replay in replays.values() {
        for spool in replay.spools.values() {
            // What does not check was acknowledged all the same.
            let (journal, end) = (&replay.journals[spool.journal], spool.named_end.max(spool.end));
            let Some(end) = Offset::new(i64::try_from(end).unwrap_or(i64::MAX)) else { continue };
            if end.get().unsigned_abs() > spool.begin {
                let known = ends.entry(journal.name.clone()).or_insert((end, spool.epoch));
                *known = (end.max(known.0), spool.epoch.max(known.1));
            }
        }
    }
    Ok(ends)
}
