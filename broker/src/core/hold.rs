//! How a core takes journals over and lets them go: what an earlier process left, what is assigned, and what is kept of journals that are
//! assigned no more.
//!
//! ```text
//!  recovered ──► adopt ──► rested ──► start ──► owned ──► stop ──┬─► rested: its head stays in the log
//!            └─► set aside                                       └─► forgotten, if the journal was deleted
//! ```
//!
//! A head outlives its journal's stay. A journal that comes back, after it was suspended or its member lost its place for a while, is
//! contributed to by the log that knows it, and needs no operator. What is not known to be committed is kept as it is, and neither served nor
//! uploaded, until an agreement or the lineage says how much of it counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use courant_fragment::error::Error;
use courant_fragment::spool::log::{Adopted, Opening, SpoolLog};
use courant_fragment::spool::recover::RecoveredJournal;
use courant_fragment::spool::{Spool, SpoolId};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;

use super::command::Outcome;
use super::durable::Owed;
use super::journal::{Owned, extent};
use super::place::Place;
use super::run::Core;
use super::veil::Veiled;
use super::wheel::Due;
use crate::lineage::Loss;
use crate::lineage::judge::Recovered;
use crate::recovery::{Adoptable, Rejudged};
use crate::replica::Replica;

/// How long what an earlier process left waits for its journal to be assigned, in seconds, before it is persisted all the same: the persister
/// does not hurry with journals that are another's.
const UNASSIGNED: i64 = 10;

/// How often the lineage is asked about content whose commitment is not known, in seconds.
const REJUDGED: i64 = 30;

/// Turns in which a cut is tried: one may carry the spool forward, and then the next can cut it.
const CUT_TRIES: usize = 3;

/// What is here of a journal that the core does not serve.
#[derive(Debug)]
pub(super) struct Rested {
    pub(super) create_revision: i64,
    /// The spool at its head.
    pub(super) spool: Option<SpoolId>,
    /// Complete spools that no store is known to hold yet, oldest first.
    pub(super) pending: Vec<SpoolId>,
    /// Those of them that the persister has.
    offered: Vec<SpoolId>,
    pub(super) certain: bool,
    floor: Offset,
    /// Everything below counts.
    committed: Offset,
    /// Of the streams that may change it.
    pub(super) generation: u64,
    /// An earlier process left it, and the lineage was not asked since that process ended.
    is_old: bool,
}

impl Core {
    /// Takes over what an earlier process left of a journal, as far as lineage lets it count.
    pub(super) fn adopt(&mut self, Adoptable { journal: recovered, cuts, committed }: Adoptable) {
        let (journal, create_revision) =
            (recovered.identity.journal.clone(), recovered.identity.create_revision);
        // A head that may not be the last is not contributed to the next epoch, and nothing begins below it.
        let (head, certain) = (recovered.head, recovered.certain);
        let Adopted { open, complete } = self.log.adopt(recovered);
        // What was cut off belongs to nobody, and its offsets to the epoch that came after it.
        let cut_at = cuts.iter().find(|(spool, _)| Some(*spool) == open).map(|(_, at)| *at);
        let floor = cut_at.map_or(head, |at| at.min(head));
        let mut rested = Rested {
            create_revision,
            spool: None,
            pending: Vec::new(),
            offered: Vec::new(),
            certain: false,
            floor,
            committed,
            generation: 0,
            is_old: true,
        };
        if self.cut(cuts) {
            rested.spool = open;
            rested.certain = certain;
            rested.pending = complete.into_iter().filter(|spool| self.log.spool(*spool).is_some()).collect();
            self.state.wheel.set(&journal, Due::Flush, self.clock.now().secs().saturating_add(UNASSIGNED));
        } else {
            // With bytes in it that belong to nobody nothing of it is served or uploaded; the next start tries again.
            tracing::error!(%journal, "what an earlier process left of the journal is not taken up");
        }
        self.state.rested.insert(journal, rested);
    }

    /// Takes over a journal, with what is here of it.
    pub(super) fn start(&mut self, replica: Arc<Replica>, place: Place) {
        let journal = replica.journal.clone();
        let mut owned = Owned::new(replica, place);
        owned.generation = self.state.tokens.remove(&journal).unwrap_or(0);
        self.state.wheel.forget(&journal);
        let mut offered = Vec::new();
        let mut committed = Offset::ZERO;
        match self.state.rested.remove(&journal) {
            Some(rested) if rested.create_revision == owned.replica.create_revision => {
                owned.spool = rested.spool;
                owned.pending = rested.pending;
                owned.certain = rested.certain;
                owned.floor = rested.floor;
                owned.generation = rested.generation;
                offered = rested.offered;
                committed = rested.committed;
            }
            Some(Rested { spool: Some(open), .. }) => self.forget(&journal, open, true),
            _ => {}
        }
        for spool in &owned.pending {
            if let Some(complete) = self.log.spool(*spool) {
                owned.veil.hide(Veiled::Grown { extent: extent(complete), tail: Vec::new() });
                if !offered.contains(spool) {
                    let (end, sum) = (complete.end(), complete.sum());
                    owned.veil.hide(Veiled::Completed { spool: *spool, end, sum, is_offered: false });
                }
            }
        }
        if let Some(spool) = owned.spool(&self.log) {
            committed = committed.min(spool.end());
            if spool.length() > 0 {
                owned.veil.hide(Veiled::Grown { extent: extent(spool), tail: Vec::new() });
            }
        }
        if owned.place.has_peers() && !owned.place.is_primary && owned.is_unsettled(&self.log) {
            // The primary tells when it agrees with us; where nothing is appended it has to be asked to.
            self.state.wheel.set(&journal, Due::Told, self.clock.now().secs().saturating_add(1));
        }
        let is_here = owned.spool.is_some();
        let replica = Arc::clone(&owned.replica);
        self.state.journals.insert(journal.clone(), Box::new(owned));
        // What nobody synced is shown to nobody, in a journal whose readers rely on that.
        let synced_by = if is_here { self.keep(&journal) } else { 0 };
        self.owe(synced_by, Owed::Shown { replica, committed });
        self.agree_if_wanted(&journal);
    }

    /// Hands what a journal has waiting to the persister, as far as that counts; about the rest the lineage is asked.
    pub(super) fn offer_rested(&mut self, journal: &JournalName) {
        let Some(rested) = self.state.rested.get_mut(journal) else { return };
        let mut unknown = Vec::new();
        let mut offers = Vec::new();
        for spool in rested.pending.iter().copied().chain(rested.spool) {
            let Some(held) = self.log.spool(spool).filter(|held| held.length() > 0) else { continue };
            if held.end() > rested.committed || rested.is_old {
                unknown.push((spool, recovered(held, self.log.volume().cluster().0)));
            } else if held.is_complete() && !rested.offered.contains(&spool) {
                rested.offered.push(spool);
                offers.push(spool);
            }
        }
        let create_revision = rested.create_revision;
        for spool in offers {
            self.persist(spool);
        }
        if unknown.is_empty() {
            self.close_rested(journal);
        } else {
            self.background.rejudge(journal, create_revision, unknown);
            let again = self.clock.now().secs().saturating_add(REJUDGED);
            self.state.wheel.set(journal, Due::Flush, again);
        }
    }

    /// What the lineage says of content whose commitment was not known.
    pub(super) fn rejudged(&mut self, journal: &JournalName, create_revision: i64, rejudged: Rejudged) {
        let is_ours = |rested: &&mut Rested| rested.create_revision == create_revision;
        let Some(rested) = self.state.rested.get_mut(journal).filter(is_ours) else { return };
        let Rejudged { cuts, committed } = rejudged;
        let before = rested.committed;
        let cut_at = cuts.iter().map(|(_, at)| *at).min();
        if !cuts.is_empty() && !self.cut(cuts) {
            return;
        }
        let Some(rested) = self.state.rested.get_mut(journal) else { return };
        if let Some(cut_at) = cut_at {
            rested.floor = rested.floor.min(cut_at);
        }
        rested.committed = rested.committed.max(committed);
        rested.pending.retain(|spool| self.log.spool(*spool).is_some());
        if std::mem::take(&mut rested.is_old) || committed > before {
            self.offer_rested(journal);
        }
    }

    /// Lets a journal go. Its content is persisted by us all the same and its head kept, unless the journal was deleted.
    pub(super) fn stop(&mut self, journal: &JournalName, create_revision: i64, deleted: bool) {
        let ours = self.state.journals.get(journal);
        if ours.is_none_or(|owned| owned.replica.create_revision != create_revision) {
            return;
        }
        self.break_line(journal, "the journal has moved to another broker");
        if !deleted {
            // Whoever comes after us needs nothing of ours, if all of it is stored.
            self.seal_one(journal);
        }
        let Some(mut owned) = self.state.journals.remove(journal) else { return };
        owned.give_up_storing(Offset::ZERO, "the journal has moved to another broker");
        self.state.ready.retain(|ready| ready != journal);
        self.state.wheel.forget(journal);
        self.metrics.forget(journal);
        owned.replica.index.close();
        owned.answer_all(|content| Outcome::Moved { content });
        if deleted {
            self.background.lineage.forget(journal.clone(), create_revision);
        }
        match owned.spool {
            Some(open) if deleted => self.forget(journal, open, true),
            Some(open) => self.rest_at(journal, *owned, open),
            None => {}
        }
    }

    /// Keeps the head of a journal that goes, and closes what it has open as far as it counts.
    fn rest_at(&mut self, journal: &JournalName, mut owned: Owned, open: SpoolId) {
        // What a store has is needed here no more, whatever was shown of it.
        let stored = owned.take_stored_ahead();
        owned.pending.retain(|pending| !stored.contains(pending));
        self.state.released.extend(stored);
        let hidden: Vec<SpoolId> = owned.veil.completed().collect();
        let offered = owned.pending.iter().copied().filter(|spool| !hidden.contains(spool)).collect();
        let rested = Rested {
            create_revision: owned.replica.create_revision,
            spool: Some(open),
            pending: owned.pending,
            offered,
            certain: owned.certain,
            floor: owned.floor,
            committed: owned.veil.replicated(),
            // What a stream brings that is still open follows on a spool that may be closed by then.
            generation: self.state.next_number(),
            is_old: false,
        };
        self.state.rested.insert(journal.clone(), rested);
        self.offer_rested(journal);
    }

    /// Tells what a broker that stops keeps without having handed it to the persister: nobody has told whether it counts.
    pub(super) fn tell_unsettled(&self) {
        let owned = self.state.journals.iter().map(|(journal, owned)| {
            (journal, owned.veil.completed().chain(owned.spool).collect::<Vec<SpoolId>>())
        });
        let rested = self.state.rested.iter().map(|(journal, rested)| {
            let unoffered = rested.pending.iter().filter(|spool| !rested.offered.contains(spool));
            (journal, unoffered.copied().chain(rested.spool).collect())
        });
        for (journal, spools) in owned.chain(rested) {
            let held = spools.into_iter().filter_map(|spool| self.log.spool(spool));
            let held: Vec<&Spool> = held.filter(|spool| spool.length() > 0).collect();
            let (Some(first), Some(last)) = (held.first(), held.last()) else { continue };
            tracing::warn!(
                %journal, begin = %first.begin(), end = %last.end(),
                "kept in the spools for the next start, and not persisted: neither the journal's members nor its lineage have told whether it counts"
            );
        }
    }

    /// Where content ends that is held here, be it about to be stored or not: who is primary in another registry by then may list the store
    /// before that.
    pub(super) fn held_ends(&self) -> BTreeMap<JournalName, Loss> {
        let mut ends = BTreeMap::new();
        let owned = self.state.journals.iter().map(|(journal, owned)| {
            (journal, owned.pending.iter().chain(&owned.spool), owned.veil.replicated())
        });
        let rested = self.state.rested.iter().map(|(journal, rested)| {
            let committed = if rested.is_old { Offset::ZERO } else { rested.committed };
            (journal, rested.pending.iter().chain(&rested.spool), committed)
        });
        for (journal, spools, committed) in owned.chain(rested) {
            let held = spools.filter_map(|spool| self.log.spool(*spool)).filter(|spool| spool.length() > 0);
            let Some((epoch, end)) = held.map(|spool| (spool.identity().epoch, spool.end())).max() else {
                continue;
            };
            if end > committed {
                tracing::warn!(
                    %journal, from = %committed, %end,
                    "nobody has told whether all that is held of the journal counts; the rest is kept aside"
                );
            }
            let loss = self.acknowledged(journal).unwrap_or_else(|| Loss::up_to(end, epoch));
            ends.insert(journal.clone(), loss);
        }
        ends
    }

    /// What this broker, as the primary of an epoch, has acknowledged nothing above. What it has entered begins above all that others had.
    fn acknowledged(&self, journal: &JournalName) -> Option<Loss> {
        let owned =
            self.state.journals.get(journal).filter(|owned| owned.place.is_primary && !owned.is_fenced)?;
        let open = owned.spool(&self.log)?;
        let epoch = owned.epoch.filter(|epoch| *epoch == open.identity().epoch)?;
        Some(Loss::settled(owned.veil.replicated().max(open.begin()), epoch))
    }

    /// Puts aside what nobody has told to count, in spools whose begin does: nobody will tell any more, and what counts is to be stored.
    /// The rest stays as it is.
    pub(super) fn leave_unsettled(&mut self) {
        let is_split = |log: &SpoolLog, spool: SpoolId, at: Offset| {
            log.spool(spool).is_some_and(|spool| spool.begin() < at && spool.end() > at)
        };
        let owned = self.state.journals.iter().filter_map(|(journal, owned)| {
            let mut spools = owned.pending.iter().copied().chain(owned.spool);
            let at = owned.veil.replicated();
            spools.any(|spool| is_split(&self.log, spool, at)).then(|| (journal.clone(), at))
        });
        let owned: Vec<(JournalName, Offset)> = owned.collect();
        for (journal, at) in owned {
            self.break_line(&journal, "the registry was exchanged");
            self.cut_above(&journal, at);
            self.show(&journal);
        }
        let rested: Vec<JournalName> = self.state.rested.keys().cloned().collect();
        for journal in rested {
            let Some(rested) = self.state.rested.get(&journal) else { continue };
            let at = rested.committed;
            let all: Vec<SpoolId> = rested.pending.iter().copied().chain(rested.spool).collect();
            if rested.is_old || !all.iter().any(|spool| is_split(&self.log, *spool, at)) {
                continue;
            }
            self.cut(all.into_iter().map(|spool| (spool, at)).collect());
            if let Some(rested) = self.state.rested.get_mut(&journal) {
                rested.pending.retain(|spool| self.log.spool(*spool).is_some());
            }
        }
    }

    /// Closes the open spool of a journal that rests, where all of it counts.
    fn close_rested(&mut self, journal: &JournalName) {
        let Some(rested) = self.state.rested.get_mut(journal) else { return };
        let Some(open) = rested.spool else { return };
        let Some(content) = self.log.spool(open).filter(|spool| spool.length() > 0) else { return };
        let next = Opening {
            identity: content.identity().clone(),
            begin: content.end(),
            codec: content.codec(),
            registers: content.registers().clone(),
        };
        let mut turn = self.log.turn();
        match turn.roll(open, next).and_then(|rolled| turn.write().map(|_| rolled)) {
            Ok(rolled) => {
                rested.spool = Some(rolled.opened);
                if let Some(completed) = rolled.completed {
                    rested.pending.push(completed);
                    rested.offered.push(completed);
                    self.metrics.spool_completed();
                    self.persist(completed);
                }
            }
            Err(fault) => {
                tracing::error!(%journal, %fault, "cannot close the spool of a journal that goes; it stays in the log");
            }
        }
    }

    /// Puts aside all that was recovered of a journal.
    pub(super) fn set_aside(&mut self, journal: RecoveredJournal, reason: &str) {
        let name = journal.identity.journal.clone();
        tracing::warn!(journal = %name, reason, "what an earlier process left of the journal counts for nothing");
        let Adopted { open, complete } = self.log.adopt(journal);
        let cut = self.cut(open.iter().chain(&complete).map(|spool| (*spool, Offset::ZERO)).collect());
        if let Some(open) = open.filter(|_| cut) {
            self.forget(&name, open, false);
        }
    }

    /// Drops the head of a journal; and what was open with content, if it belongs to nobody any more.
    fn forget(&mut self, journal: &JournalName, open: SpoolId, release: bool) {
        let mut turn = self.log.turn();
        match turn.forget(open).and_then(|completed| turn.write().map(|_| completed)) {
            Ok(completed) => self.state.released.extend(completed.filter(|_| release)),
            Err(fault) => {
                tracing::error!(%journal, %fault, "cannot forget a journal; its spool stays in the log");
            }
        }
    }

    /// Takes from spools what lies at offsets and behind them. False: something of it is still there.
    pub(super) fn cut(&mut self, cuts: Vec<(SpoolId, Offset)>) -> bool {
        let mut done = true;
        for (spool, at) in cuts {
            if let Err(fault) = self.cut_one(spool, at) {
                tracing::error!(%spool, %fault, "cannot put aside what belongs to nobody");
                done = false;
            }
        }
        done
    }

    fn cut_one(&mut self, spool: SpoolId, at: Offset) -> Result<(), Error> {
        self.background.ahead.forget(spool);
        for _ in 0..CUT_TRIES {
            let mut turn = self.log.turn();
            let cut = turn.cut(spool, at);
            // Also where it was not cut: the turn may carry it forward, so that the next one can.
            let written = turn.write();
            match cut {
                Err(Error::Staged(_)) => {
                    written?;
                }
                Ok(None) => return Ok(()),
                Ok(Some(aside)) => {
                    written?;
                    tracing::warn!(
                        journal = %aside.identity.journal, begin = %aside.begin, end = %aside.end, path = %aside.path.display(),
                        "put aside bytes that lineage says belong to nobody"
                    );
                    return Ok(());
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Error::Staged(spool))
    }
}

/// A spool as lineage judges it.
fn recovered(spool: &Spool, cluster: u64) -> Recovered {
    Recovered {
        cluster,
        create_revision: spool.identity().create_revision,
        epoch: spool.identity().epoch,
        begin: spool.begin(),
        end: spool.end(),
    }
}
