//! What this machine allows one thread: hashing, and copying bytes into a file. Measured beside what is compared with it.

use anyhow::Result;
use serde::Serialize;
use sha1::{Digest as _, Sha1};
use tokio::time::Instant;

use crate::files;
use crate::setup::Home;

const BLOCK: usize = 1 << 20;
/// More than caches hold.
const SOURCE: usize = 64 << 20;
const HASHED: usize = 256 << 20;
const WRITTEN: usize = 512 << 20;

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Limits {
    /// SHA-1 of one thread, in GB/s.
    pub(crate) sha1_gb_per_s: f64,
    /// A copy in memory, and a write to a file of the data folder, in GB/s.
    pub(crate) copy_and_write_gb_per_s: f64,
}

/// Measures both. Blocks the thread meanwhile.
pub(crate) fn measure(home: &Home) -> Result<Limits> {
    let source = vec![0x5a_u8; SOURCE];
    let gb_per_s = |bytes: u64, began: Instant| bytes as f64 / 1e9 / began.elapsed().as_secs_f64().max(1e-9);

    let began = Instant::now();
    let mut hash = Sha1::new();
    for block in source.chunks_exact(BLOCK).cycle().take(HASHED / BLOCK) {
        hash.update(block);
    }
    // Looked at, so that it is not left out.
    std::hint::black_box(hash.finalize());
    let sha1_gb_per_s = gb_per_s(u64::try_from(HASHED)?, began);

    let path = home.file("limit");
    // The first pass pays for memory that was never touched.
    files::copy_and_write(&path, &source, BLOCK, WRITTEN / BLOCK / 4)?;
    let began = Instant::now();
    let written = files::copy_and_write(&path, &source, BLOCK, WRITTEN / BLOCK)?;
    Ok(Limits { sha1_gb_per_s, copy_and_write_gb_per_s: gb_per_s(written, began) })
}
