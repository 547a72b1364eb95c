//! A log against a model of it, on a disk in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::label::LabelSet;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::time::Timestamp;
use sha1::Digest as _;

use super::content::Content;
use super::log::{Commit, Opening, Source, SpoolLog};
use super::recover::{Recovery, ends_elsewhere, recover};
use super::volume::Layout;
use super::{ClusterId, Identity, Spool, SpoolId};
use crate::disk::MemoryDisk;
use crate::error::Error;

mod damage;
mod follow;
mod model;
mod turns;

const CLUSTER: ClusterId = ClusterId(0xc0);

pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/data/spools")
}

/// Everything small, so that a few kilobytes walk through all of it.
pub(crate) fn small() -> Layout {
    Layout {
        segment_bytes: 6 << 10,
        segments: 2,
        inline_bytes: 3 << 10,
        inline_commits: 6,
        large_commit: 2 << 10,
        seed: 7,
        durable: false,
    }
}

pub(crate) fn find(disk: &MemoryDisk, layout: Layout) -> Recovery {
    recover(Arc::new(disk.clone()), &folder(), CLUSTER, layout).expect("recovery")
}

fn name(journal: usize) -> JournalName {
    JournalName::parse(&format!("test/journal-{journal}")).expect("a name")
}

fn at(offset: u64) -> Offset {
    Offset::new(offset.cast_signed()).expect("an offset")
}

pub(crate) fn registers(value: u64) -> Registers {
    Registers::new(LabelSet::from_pairs([("fence", value.to_string())]).expect("labels"))
}

pub(crate) fn opening(journal: usize, epoch: u64, begin: u64, registers: Registers) -> Opening {
    let identity = Identity { journal: name(journal), create_revision: 5, epoch };
    Opening { identity, begin: at(begin), codec: Codec::Gzip, registers }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(1_000)
}

/// Content that differs at each offset, journal and turn.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A spool's bytes, read whole and in pieces.
fn read(spool_content: &Arc<Content>) -> Result<Vec<u8>, Error> {
    let mut whole = vec![0; spool_content.length() as usize + 10];
    let length = spool_content.read_at(0, &mut whole)?;
    whole.truncate(length);
    let mut pieces = Vec::new();
    let mut piece = [0; 777];
    loop {
        let read = spool_content.read_at(pieces.len() as u64, &mut piece)?;
        if read == 0 {
            break;
        }
        pieces.extend_from_slice(&piece[..read]);
    }
    assert!(pieces == whole, "pieces are the whole");
    Ok(whole)
}

pub(crate) fn sum(bytes: &[u8]) -> [u8; 20] {
    if bytes.is_empty() { [0; 20] } else { sha1::Sha1::digest(bytes).into() }
}

pub(crate) fn commit(log: &mut SpoolLog, spool: SpoolId, bytes: &[u8]) {
    let mut turn = log.turn();
    stage(&mut turn, spool, bytes).expect("staged");
    turn.write().expect("written");
}

fn stage(turn: &mut super::log::Turn<'_>, spool: SpoolId, bytes: &[u8]) -> Result<super::log::Grown, Error> {
    let chunks: Vec<Bytes> = bytes.chunks(5000).map(Bytes::copy_from_slice).collect();
    turn.commit(spool, Commit::new(Source::Memory(&chunks), now()))
}
