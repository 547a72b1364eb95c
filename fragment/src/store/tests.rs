//! Stores over real folders, and over ones in memory that fail.

#![expect(clippy::disallowed_methods, reason = "the tests look at, and damage, what lies in the folders")]

//! The suite that every store passes, and what only some are put to.

pub(crate) mod faults;
mod files;
mod fragments;
mod registry;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::store::StoreUrl;
use courant_proto::time::{ManualClock, Timestamp};
use rand::SeedableRng;
use tempfile::TempDir;

use super::*;
use crate::spool::digest::Digest;

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Stores below a temporary folder.
pub(super) struct Fixture {
    pub(super) root: TempDir,
    pub(super) stores: Arc<Stores>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let root = TempDir::new().expect("a folder");
        let config = Config { file_root: Some(root.path().to_owned()), ..Config::default() };
        let stores = Arc::new(Stores::new(config, clock(), StdRng::seed_from_u64(7)));
        Self { root, stores }
    }

    pub(super) fn get(&self, text: &str) -> Arc<Store> {
        self.stores.get(&url(text)).expect("a store")
    }

    /// Every file below the root, with its path from there.
    pub(super) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(self.root.path(), self.root.path(), &mut files);
        files.sort();
        files
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).expect("below the root").display().to_string());
        }
    }
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

pub(super) fn url(text: &str) -> StoreUrl {
    StoreUrl::parse(text).expect("a store's URL")
}

pub(super) fn name(text: &str) -> JournalName {
    JournalName::parse(text).expect("a journal's name")
}

pub(super) fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {n} of a log\n").into_bytes()).take(length).collect()
}

/// The fragment that holds `content` from `begin` on, not stored yet.
pub(super) fn fragment(journal: &str, begin: i64, codec: Codec, content: &[u8]) -> Fragment {
    let begin = Offset::new(begin).expect("not negative");
    let mut digest = Digest::new();
    digest.update(content);
    Fragment {
        end: begin.plus(content.len() as u64).expect("an offset"),
        sum: digest.sum(),
        ..Fragment::empty_at(name(journal), begin, codec)
    }
}

/// Reads content as a spool does, a few bytes less than asked for.
pub(super) fn reader(
    content: Vec<u8>,
) -> impl FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static {
    move |position, buffer| {
        let rest = &content[position as usize..];
        let count = rest.len().min(buffer.len().max(2) - 1);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

pub(super) async fn put(store: &Arc<Store>, fragment: &Fragment, content: &[u8]) -> PutOutcome {
    store.put(fragment, reader(content.to_vec())).await.expect("stored")
}

/// All content from an offset on.
pub(super) async fn read(store: &Arc<Store>, fragment: &Fragment, from: i64) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.open(fragment, Offset::new(from).expect("an offset")).await?;
    let mut content = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty());
        content.extend_from_slice(&piece);
    }
    assert_eq!(reader.next().await.expect("the end stays the end"), None::<Bytes>);
    Ok(content)
}
