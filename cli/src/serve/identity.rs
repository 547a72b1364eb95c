//! Who this process is: its id and the entropy it starts from, made once and kept in the data folder.

use anyhow::{Context, Result};
use courant_proto::id::ProcessId;

use super::data_dir::DataDir;

/// Entropy of the machine, from which everything random in the process grows.
#[expect(clippy::disallowed_methods, reason = "this is the seam that others get their randomness from")]
pub(crate) fn entropy() -> u64 {
    rand::random()
}

/// The broker's id: as given, or as kept, or made and kept. One that is given replaces the kept one.
pub(crate) fn id(data: &DataDir, zone: &str, given: Option<&str>, seed: u64) -> Result<ProcessId> {
    let kept = data.read("id")?;
    let suffix = match (given, &kept) {
        (Some(given), _) => given.to_owned(),
        (None, Some(kept)) => kept.clone(),
        (None, None) => format!("broker-{:08x}", seed >> 32),
    };
    let id = ProcessId::new(zone, &suffix)
        .with_context(|| format!("not a broker's id: {suffix:?} in zone {zone:?}"))?;
    if kept.as_ref() != Some(&suffix) {
        data.write("id", &suffix)?;
    }
    Ok(id)
}

/// The lease of the process before, if it left one.
pub(crate) fn previous_lease(data: &DataDir) -> Result<Option<i64>> {
    let text = data.read("lease")?;
    Ok(text.and_then(|text| i64::from_str_radix(&text, 16).ok()))
}

/// Keeps the lease of this process for the one after.
pub(crate) fn keep_lease(data: &DataDir, lease: i64) -> Result<()> {
    data.write("lease", &format!("{lease:x}"))
}
