//! What an earlier process of this data folder left: found again, and judged by lineage before any of it is served or uploaded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::disk::Disk;
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
