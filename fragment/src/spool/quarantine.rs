//! Bytes that count for nothing and are not ours to delete: they are put aside under names of their own, with a
//! note for whoever looks.

use std::path::PathBuf;
use std::sync::Arc;

use courant_proto::offset::Offset;

use super::content::Content;
use super::volume::Volume;
use super::{Identity, SpoolId};
use crate::disk::Open;
use crate::error::Error;

/// Bytes copied at a time.
const COPY_LENGTH: u64 = 1 << 20;

/// Copies the content of a spool from one offset to another aside, makes the copy durable, and tells where it is.
pub(super) fn copy_aside(
    volume: &Volume,
    spool: SpoolId,
    identity: &Identity,
    content: &Arc<Content>,
    from: Offset,
    to: Offset,
    reason: &str,
) -> Result<PathBuf, Error> {
    let folder = volume.quarantine();
    volume.disk().create_dir_all(&folder).map_err(Error::disk("create", &folder))?;
    let stem = format!("{spool}-{:016x}-{:016x}", from.get(), to.get());
    let path = folder.join(format!("{stem}.content"));
    let file = volume.disk().open(&path, Open::Write).map_err(Error::disk("create", &path))?;
    let base = content.begin();
    let (mut position, end) = (from.distance_from(base).unwrap_or(0), to.distance_from(base).unwrap_or(0));
    let mut written = 0;
    let mut buffer = Vec::new();
    while position < end {
        buffer.resize((end - position).min(COPY_LENGTH) as usize, 0);
        let read = content.read_at(position, &mut buffer)?;
        if read == 0 {
            return Err(Error::ShortContent { have: position, expected: end });
        }
        file.write_all_at(&buffer[..read], written).map_err(Error::disk("write", &path))?;
        position += read as u64;
        written += read as u64;
    }
    file.truncate(written).and_then(|()| file.sync_data()).map_err(Error::disk("sync", &path))?;

    let note_path = folder.join(format!("{stem}.about"));
    let note = format!(
        "journal: {}\ncreate revision: {}\nepoch: {}\ncluster: {}\nbegin: {from}\nend: {to}\nreason: {reason}\n",
        identity.journal,
        identity.create_revision,
        identity.epoch,
        volume.cluster(),
    );
    let file = volume.disk().open(&note_path, Open::Write).map_err(Error::disk("create", &note_path))?;
    file.write_all_at(note.as_bytes(), 0)
        .and_then(|()| file.truncate(note.len() as u64))
        .and_then(|()| file.sync_data())
        .map_err(Error::disk("write", &note_path))?;
    volume.disk().sync_dir(&folder).map_err(Error::disk("sync", &folder))?;
    Ok(path)
}
