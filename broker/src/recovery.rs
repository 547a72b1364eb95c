//! What an earlier process of this data folder left: found again, and judged by lineage before any of it is served or uploaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::disk::{Disk, Open};
use courant_fragment::spool::recover::{self, RecoveredJournal, Recovery};
use courant_fragment::spool::volume::{Layout, Volume};
use courant_fragment::spool::{ClusterId, SpoolId};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use etcd_client::Client;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::journal_space::Space;
use crate::lineage::judge::{self, Reason, Recovered, Verdict};
use crate::lineage::{self, Lineage};

/// How often files that nothing needs any more are removed.
const SWEEP: Duration = Duration::from_secs(1);

/// Where the number of this log is kept, beside its segments.
const LOG_NUMBER: &str = "number";

/// The number of this log, if it is whole: what it does not know was never committed here. A log that begins anew, or that had to
/// forget what counts for nothing, has another from then on.
pub(crate) fn log_number(
    disk: &dyn Disk,
    folder: &Path,
    found: &LogFound,
    seed: u64,
) -> Result<Option<u64>, Error> {
    let path = folder.join(LOG_NUMBER);
    let io = |source| courant_fragment::error::Error::Disk {
        doing: "keep the number of the log in",
        path: path.clone(),
        source,
    };
    let file = disk.open(&path, Open::Write).map_err(io)?;
    let mut bytes = [0; 8];
    let kept = file.read_at(&mut bytes, 0).map_err(io)? == bytes.len();
    let number = match u64::from_le_bytes(bytes) {
        number if kept && number != 0 && !found.begins_anew => number,
        _ => {
            // A folder that was emptied knows nothing of what was in it.
            let number = seed | 1;
            file.write_all_at(&number.to_le_bytes(), 0).and_then(|()| file.sync_data()).map_err(io)?;
            disk.sync_dir(folder).map_err(io)?;
            number
        }
    };
    Ok(found.is_whole.then_some(number))
}

/// What recovery says of a log as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFound {
    /// No record can be missing.
    is_whole: bool,
    /// There was none, or it is about to forget journals it knew.
    begins_anew: bool,
}

impl LogFound {
    pub(crate) fn of(recovery: &Recovery) -> Self {
        Self {
            is_whole: recovery.lost.is_empty() && recovery.torn.iter().all(|torn| torn.clean),
            begins_anew: recovery.volume.recovered_segments() == 0,
        }
    }

    pub(crate) fn forgetting(self, judged: &Judged) -> Self {
        Self { begins_anew: self.begins_anew || !judged.aside.is_empty(), ..self }
    }
}

/// A journal that may be taken up where an earlier process left it.
#[derive(Debug)]
pub(crate) struct Adoptable {
    pub(crate) journal: RecoveredJournal,
    /// Spools of which only a part counts, or nothing: what lies at the offset and behind it belongs to nobody.
    pub(crate) cuts: Vec<(SpoolId, Offset)>,
}

/// Everything that was recovered, as lineage judged it.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) adoptable: HashMap<JournalName, Adoptable>,
    /// What counts for nothing, and why. It is put aside.
    pub(crate) aside: Vec<(RecoveredJournal, String)>,
}

/// Reads the spools folder. What is odd about it is logged.
pub(crate) async fn recover(
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    cluster: ClusterId,
    layout: Layout,
) -> Result<Recovery, Error> {
    let recovery = tokio::task::spawn_blocking(move || recover::recover(disk, &folder, cluster, layout))
        .await
        .map_err(|panic| Error::Ended { part: "recovery of the spools", reason: panic.to_string() })??;
    for torn in &recovery.torn {
        tracing::info!(path = %torn.path.display(), bytes = torn.bytes, "cut off what was being written when the process before ended");
    }
    for lost in &recovery.lost {
        tracing::error!(path = %lost.path.display(), position = lost.position, "records of the log are missing here");
    }
    for path in &recovery.quarantined {
        tracing::warn!(path = %path.display(), "put aside a file that is not of this cluster, or that no record names");
    }
    for journal in &recovery.journals {
        for damage in &journal.damage {
            tracing::error!(
                journal = %journal.identity.journal, begin = %damage.begin, end = %damage.end,
                "content of a spool is missing or does not have the checksum it was committed with; it is not served"
            );
        }
    }
    Ok(recovery)
}

/// Asks lineage about each spool of each journal.
pub(crate) async fn judge(
    journals: Vec<RecoveredJournal>,
    cluster: ClusterId,
    space: &Space,
    etcd: &Client,
) -> Result<Judged, Error> {
    let names = journals.iter().map(|journal| journal.identity.journal.clone());
    let records = lineage::load(etcd, space.root(), names).await?;
    let mut judged = Judged::default();
    for journal in journals {
        let name = journal.identity.journal.clone();
        let item = space.item(&name).map(|item| item.create_revision);
        match judge_journal(&journal, cluster, item, records.get(&name)) {
            Ok(cuts) => {
                judged.adoptable.insert(name, Adoptable { journal, cuts });
            }
            Err(reason) => judged.aside.push((journal, reason.to_string())),
        }
    }
    Ok(judged)
}

/// What does not count of a journal that may be taken up; or why none of it counts.
fn judge_journal(
    journal: &RecoveredJournal,
    cluster: ClusterId,
    item: Option<i64>,
    record: Option<&Lineage>,
) -> Result<Vec<(SpoolId, Offset)>, Reason> {
    let mut cuts = Vec::new();
    for spool in journal.complete.iter().chain(&journal.open) {
        let recovered = Recovered {
            cluster: cluster.0,
            create_revision: spool.identity().create_revision,
            epoch: spool.identity().epoch,
            begin: spool.begin(),
            end: spool.end(),
        };
        match judge::judge(&recovered, cluster.0, item, record) {
            Verdict::Adopt => {}
            Verdict::CutAt(at) => cuts.push((spool.id(), at)),
            // Without its newest spool nothing of the journal can be contributed; an older one is put aside alone.
            Verdict::Quarantine(reason) if spool.is_complete() && item == Some(recovered.create_revision) => {
                tracing::warn!(journal = %recovered_name(journal), spool = %spool.id(), %reason, "a recovered spool counts for nothing");
                cuts.push((spool.id(), spool.begin()));
            }
            Verdict::Quarantine(reason) => return Err(reason),
        }
    }
    Ok(cuts)
}

fn recovered_name(journal: &RecoveredJournal) -> &JournalName {
    &journal.identity.journal
}

/// Removes files that nothing needs any more, until cancelled.
pub(crate) async fn sweep(volume: Arc<Volume>, cancel: CancellationToken) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = sleep(SWEEP) => {}
        }
        let volume = Arc::clone(&volume);
        let swept = tokio::task::spawn_blocking(move || volume.sweep()).await;
        if let Ok(Err(fault)) = swept {
            tracing::warn!(%fault, "cannot remove files that nothing needs any more; they are tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use courant_fragment::disk::MemoryDisk;

    use super::*;

    #[test]
    fn a_log_keeps_its_number_until_it_begins_anew_or_has_to_forget() {
        let disk = MemoryDisk::default();
        let folder = Path::new("spools");
        disk.create_dir_all(folder).expect("a folder");
        let number = |is_whole, begins_anew, seed| {
            log_number(&disk, folder, &LogFound { is_whole, begins_anew }, seed).expect("a number")
        };
        let first = number(true, true, 40);
        assert!(first.is_some());
        assert_eq!(number(true, false, 60), first, "kept by the next process");
        assert_eq!(
            number(false, false, 80),
            None,
            "where records may be missing, nothing is known not to have been there"
        );
        assert_eq!(number(true, false, 90), first);
        let second = number(true, true, 100);
        assert_ne!(second, first, "an emptied folder knows nothing of what was in it");
        let forgetting = LogFound { is_whole: true, begins_anew: false };
        let judged = Judged::default();
        assert!(!forgetting.forgetting(&judged).begins_anew, "nothing was put aside");
    }
}
