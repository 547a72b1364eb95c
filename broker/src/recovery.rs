//! What an earlier process of this data folder left: found again, and judged by lineage before any of it is served or uploaded.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use courant_fragment::ahead::Ahead;
use courant_fragment::disk::{Disk, Open};
use courant_fragment::spool::recover::{self, RecoveredJournal, Recovery};
use courant_fragment::spool::volume::{Layout, Volume};
use courant_fragment::spool::{ClusterId, SpoolId};
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::journal_space::Space;
use crate::lineage::judge::{self, Reason, Recovered, Verdict};
use crate::lineage::{self, Lineage, Loss, log_number};
use crate::transaction::commit::Registry;

/// How often files that nothing needs any more are removed.
const SWEEP: Duration = Duration::from_secs(1);

/// Where the number of this log is kept, beside its segments.
const LOG_NUMBER: &str = "number";

/// The number of this log, by which the lineage of journals knows it again. A log that begins anew has another from then on; one that
/// may have lost records, or that had to put aside what it knew, tells so by it.
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
    let is_kept = file.read_at(&mut bytes, 0).map_err(io)? == bytes.len();
    let kept = Some(u64::from_le_bytes(bytes)).filter(|number| is_kept && *number != 0);
    let mut number = match kept {
        // A folder that was emptied knows nothing of what was in it.
        _ if found.begins_anew => log_number::drawn(seed),
        Some(number) => number,
        // The segments are there, and only their number is gone: what they know is believed.
        None => log_number::drawn(0),
    };
    if !found.is_whole {
        number = log_number::after_loss(number);
    }
    if found.forgets {
        number = log_number::after_forgetting(number);
    }
    if kept != Some(number) {
        file.write_all_at(&number.to_le_bytes(), 0).and_then(|()| file.sync_data()).map_err(io)?;
        disk.sync_dir(folder).map_err(io)?;
    }
    Ok(Some(number))
}

/// What recovery says of a log as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFound {
    /// No record can be missing.
    is_whole: bool,
    /// There was none.
    begins_anew: bool,
    /// It is about to forget journals it knew.
    forgets: bool,
}

impl LogFound {
    pub(crate) fn of(recovery: &Recovery) -> Self {
        Self {
            is_whole: recovery.lost.is_empty() && recovery.torn.iter().all(|torn| torn.clean),
            begins_anew: recovery.volume.recovered_segments() == 0,
            forgets: false,
        }
    }

    pub(crate) fn forgetting(self, judged: &Judged) -> Self {
        Self { forgets: !judged.aside.is_empty(), ..self }
    }
}

/// A journal that may be taken up where an earlier process left it.
#[derive(Debug)]
pub(crate) struct Adoptable {
    pub(crate) journal: RecoveredJournal,
    /// Spools of which only a part counts, or nothing: what lies at the offset and behind it belongs to nobody.
    pub(crate) cuts: Vec<(SpoolId, Offset)>,
    /// Everything below counts. What lies above waits for an agreement of the journal's members, or for the lineage to tell.
    pub(crate) committed: Offset,
}

/// What counts of content that waited.
#[derive(Debug)]
pub(crate) struct Rejudged {
    /// What lies at these offsets and behind them belongs to nobody.
    pub(crate) cuts: Vec<(SpoolId, Offset)>,
    /// Everything below counts.
    pub(crate) committed: Offset,
}

/// Everything that was recovered, as lineage judged it.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) adoptable: HashMap<JournalName, Adoptable>,
    /// What counts for nothing, and why. It is put aside.
    pub(crate) aside: Vec<(RecoveredJournal, String)>,
    /// Where content of it ends that the registry has never heard of: it was restored from a copy.
    pub(crate) unheard: BTreeMap<JournalName, Loss>,
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
    registry: &Registry,
    me: &ProcessId,
) -> Result<Judged, Error> {
    let names = journals.iter().map(|journal| journal.identity.journal.clone());
    let records = lineage::load(registry, space.root(), names).await?;
    let mut judged = Judged::default();
    for journal in journals {
        let name = journal.identity.journal.clone();
        let item = space.item(&name).map(|item| item.create_revision);
        match judge_journal(&journal, cluster, item, records.get(&name)) {
            Ok(cuts) => {
                let committed = judge::committed(
                    records.get(&name).filter(|record| Some(record.create_revision) == item),
                    me,
                );
                judged.adoptable.insert(name, Adoptable { journal, cuts, committed });
            }
            Err(reason) => {
                if matches!(reason, Reason::UnknownEpoch { .. } | Reason::NoLineage)
                    && journal.complete.iter().chain(&journal.open).any(|spool| spool.length() > 0)
                {
                    judged.unheard.insert(name, Loss::up_to(journal.head, journal.identity.epoch));
                }
                judged.aside.push((journal, reason.to_string()));
            }
        }
    }
    Ok(judged)
}

/// Asks lineage again about spools of a journal whose commitment was not known.
pub(crate) async fn rejudge(
    journal: &JournalName,
    spools: Vec<(SpoolId, Recovered)>,
    cluster: ClusterId,
    space: &Space,
    registry: &Registry,
    me: &ProcessId,
) -> Result<Rejudged, Error> {
    let records = lineage::load(registry, space.root(), [journal.clone()]).await?;
    let record = records.get(journal);
    let item = space.item(journal).map(|item| item.create_revision);
    let record = record.filter(|record| Some(record.create_revision) == item);
    Ok(rejudge_spools(journal, spools, cluster, item, record, me))
}

fn rejudge_spools(
    journal: &JournalName,
    spools: Vec<(SpoolId, Recovered)>,
    cluster: ClusterId,
    item: Option<i64>,
    record: Option<&Lineage>,
    me: &ProcessId,
) -> Rejudged {
    let mut cuts = Vec::new();
    for (id, spool) in spools {
        match judge::judge(&spool, cluster.0, item, record) {
            // A record that cannot be read, or is gone, takes nothing from who lived on; the content waits for it.
            Verdict::Adopt | Verdict::Quarantine(Reason::NoLineage | Reason::UnknownEpoch { .. }) => {}
            Verdict::CutAt(at) => cuts.push((id, at)),
            Verdict::Quarantine(reason) => {
                tracing::warn!(%journal, spool = %id, %reason, "a spool counts for nothing");
                cuts.push((id, spool.begin));
            }
        }
    }
    Rejudged { cuts, committed: judge::committed(record, me) }
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
pub(crate) async fn sweep(volume: Arc<Volume>, ahead: Ahead, cancel: CancellationToken) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = sleep(SWEEP) => {}
        }
        let (volume, ahead) = (Arc::clone(&volume), ahead.clone());
        let swept = tokio::task::spawn_blocking(move || {
            ahead.sweep();
            volume.sweep()
        })
        .await;
        if let Ok(Err(fault)) = swept {
            tracing::warn!(%fault, "cannot remove files that nothing needs any more; they are tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use courant_fragment::disk::MemoryDisk;

    use super::*;
    use crate::lineage::record::Epoch;

    #[test]
    fn a_log_keeps_its_number_until_it_begins_anew_or_has_to_forget() {
        let disk = MemoryDisk::default();
        let folder = Path::new("spools");
        disk.create_dir_all(folder).expect("a folder");
        let number = |found: LogFound, seed: u64| {
            let told = log_number(&disk, folder, &found, seed << 32).expect("a number");
            told.expect("told")
        };
        let whole = LogFound { is_whole: true, begins_anew: false, forgets: false };
        let first = number(LogFound { begins_anew: true, ..whole }, 4);
        assert_eq!(number(whole, 6), first, "kept by the next process");
        let lost = number(LogFound { is_whole: false, ..whole }, 8);
        assert!(log_number::may_have_lost(first, lost) && log_number::may_be_one(first, lost));
        assert_eq!(number(whole, 9), lost, "what was lost then stays lost");
        let forgot = number(LogFound { forgets: true, ..whole }, 10);
        assert!(forgot != lost && !log_number::may_have_lost(lost, forgot));
        let anew = number(LogFound { begins_anew: true, ..whole }, 12);
        assert!(!log_number::may_be_one(first, anew), "an emptied folder knows nothing of what was in it");
        assert!(!whole.forgetting(&Judged::default()).forgets, "nothing was put aside");
    }

    #[test]
    fn content_that_waited_counts_as_far_as_a_later_epoch_says() {
        let id = |name| ProcessId::new("zone", name).expect("an id");
        let (me, peer) = (id("self"), id("peer"));
        let epoch = |number, begin, members: &[&ProcessId]| Epoch {
            number,
            begin,
            members: members.iter().map(|member| (*member).into()).collect(),
            ..Epoch::default()
        };
        let journal = JournalName::parse("the/one").expect("a name");
        let at = |offset| Offset::new(offset).expect("not negative");
        let check = |epochs: Option<Vec<Epoch>>, item, cut: Option<i64>, committed: Offset| {
            let record = epochs.map(|epochs| Lineage { create_revision: 5, epochs, ..Lineage::default() });
            let spool = Recovered { cluster: 9, create_revision: 5, epoch: 2, begin: at(100), end: at(160) };
            let spools = vec![(SpoolId(7), spool)];
            let rejudged = rejudge_spools(&journal, spools, ClusterId(9), item, record.as_ref(), &me);
            assert_eq!(rejudged.cuts, Vec::from_iter(cut.map(|cut| (SpoolId(7), at(cut)))));
            assert_eq!(rejudged.committed, committed);
        };
        let both = [&me, &peer];
        // Nobody has gone on: it waits, unless nobody else could.
        check(Some(vec![epoch(2, 100, &both)]), Some(5), None, at(100));
        check(Some(vec![epoch(2, 100, &[&me])]), Some(5), None, Offset::MAX);
        check(Some(vec![epoch(2, 100, &[&peer])]), Some(5), None, at(100));
        // Others went on, above it, inside it, or below it.
        check(Some(vec![epoch(2, 100, &both), epoch(3, 160, &both)]), Some(5), None, at(160));
        check(Some(vec![epoch(2, 100, &both), epoch(3, 130, &[&peer])]), Some(5), Some(130), at(130));
        check(Some(vec![epoch(2, 100, &both), epoch(3, 100, &both)]), Some(5), Some(100), at(100));
        let sealed = Epoch { sealed: Some(Default::default()), ..epoch(2, 100, &both) };
        check(Some(vec![sealed]), Some(5), None, Offset::MAX);
        // The journal is gone; and what cannot be read says nothing.
        check(None, None, Some(100), Offset::ZERO);
        check(None, Some(5), None, Offset::ZERO);
    }
}
