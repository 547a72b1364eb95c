//! Pure: which members have been silent for too long, and since when those that were silent answer again.
//!
//! ```text
//!  heard ──── no answer for `silence` ────► silent: reported, together with all that fell silent about then
//!    ▲                                         │
//!    └── answers without a gap for `calm` ◄────┘     each time a member falls silent again, its calm is twice as long
//! ```
//!
//! Whoever is cut off loses everybody at once, and has to say so at once: one name after the other would look as if each of them had
//! failed by itself. It does not know what is asked of members, nor who is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use courant_proto::id::ProcessId;

/// How quickly a silent member is noticed, and believed in again. All of it follows from the life of a lease: a member that is cut off
/// has to be replaced before it would be if it were dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Each member is asked so often.
    pub(crate) every: Duration,
    /// And has so long to answer.
    pub(crate) answer: Duration,
    /// Without an answer for so long it is silent.
    pub(crate) silence: Duration,
    /// So long it has to answer before it is believed in again: at first, and at most.
    pub(crate) calm: (Duration, Duration),
    /// What is reported has to stay the same for so long before it is acted upon…
    pub(crate) settle: Duration,
    /// …but is acted upon after this, whatever still changes.
    pub(crate) settle_most: Duration,
}

/// Links that come and go are believed in at last after they were well for so long: each time costs moves of journals.
const CALM_MOST: Duration = Duration::from_secs(120);

/// A member that has answered for so long after its last silence is like one that never fell silent.
const FORGOTTEN: Duration = Duration::from_secs(240);

impl Pace {
    /// The pace for leases of this life.
    pub(crate) fn of(lease_ttl: Duration) -> Self {
        let ms = Duration::from_millis;
        let every = (lease_ttl / 10).clamp(ms(200), ms(1_000));
        let silence = lease_ttl.mul_f64(0.4).clamp(ms(2_000), ms(6_000));
        Self {
            every,
            answer: silence / 2,
            silence,
            calm: (every, CALM_MOST),
            settle: every,
            settle_most: every * 2,
        }
    }

    /// How often it is looked whether anything is due.
    pub(crate) fn tick(&self) -> Duration {
        self.every / 4
    }
}

/// What is known of one member.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When it answered last, or was seen first.
    heard: Duration,
    /// When it was asked last, and whether the answer is yet to come.
    asked: Option<Duration>,
    pending: bool,
    /// What came of the last question that is settled: when it was asked, and whether it was answered.
    last: Option<(Duration, bool)>,
    /// It has answered everything since.
    well_since: Option<Duration>,
    /// It is silent since.
    silent_since: Option<Duration>,
    /// How long it has to answer to be believed in again.
    calm: Duration,
}

/// Keeps an eye on the members. Time is told by whoever asks, since any moment before.
#[derive(Clone, Debug)]
pub(crate) struct Lookout {
    pace: Pace,
    looked: Option<Duration>,
    known: BTreeMap<ProcessId, Known>,
}

impl Lookout {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, looked: None, known: BTreeMap::new() }
    }

    /// Looks around: `members` are those there are. Those that are to be asked now count as asked.
    pub(crate) fn look(&mut self, now: Duration, members: &BTreeSet<ProcessId>) -> Vec<ProcessId> {
        self.forgive_own_absence(now);
        self.known.retain(|id, _| members.contains(id));
        for id in members {
            self.known.entry(id.clone()).or_insert(Known {
                heard: now,
                asked: None,
                pending: false,
                last: None,
                well_since: None,
                silent_since: None,
                calm: self.pace.calm.0,
            });
        }
        self.judge(now);
        let every = self.pace.every;
        let is_due = |known: &&mut Known| {
            !known.pending && known.asked.is_none_or(|asked| now.saturating_sub(asked) >= every)
        };
        let mut due = Vec::new();
        for (id, known) in &mut self.known {
            if is_due(&known) {
                (known.asked, known.pending) = (Some(now), true);
                due.push(id.clone());
            }
        }
        due
    }

    /// Everybody is asked again as soon as may be.
    pub(crate) fn hurry(&mut self) {
        self.known.values_mut().for_each(|known| known.asked = known.asked.filter(|_| known.pending));
    }

    /// What came of a question that [`Lookout::look`] asked for.
    pub(crate) fn settled(&mut self, now: Duration, id: &ProcessId, answered: bool) {
        let Some(known) = self.known.get_mut(id) else { return };
        known.pending = false;
        known.last = known.asked.map(|asked| (asked, answered));
        if answered {
            known.heard = now;
            known.well_since.get_or_insert(now);
        } else {
            known.well_since = None;
        }
        self.judge(now);
    }

    /// Those that are silent.
    pub(crate) fn silent(&self) -> BTreeSet<ProcessId> {
        let silent = self.known.iter().filter(|(_, known)| known.silent_since.is_some());
        silent.map(|(id, _)| id.clone()).collect()
    }

    /// A complaint about a single member that was raised before this may be made. None if, of `live` members that there are in all, more
    /// than half did not answer when they were asked last: then it is rather this one that is cut off, which is told as such.
    pub(crate) fn may_complain(&self, now: Duration, live: usize) -> Option<Duration> {
        let unanswered =
            self.known.values().filter(|known| known.last.is_some_and(|(_, answered)| !answered)).count();
        let all_asked = self.known.values().map(|known| known.last.map(|(asked, _)| asked)).min();
        (unanswered * 2 <= live).then(|| all_asked.unwrap_or(Some(now))).flatten()
    }

    /// Time in which this process stood still is nobody's silence.
    fn forgive_own_absence(&mut self, now: Duration) {
        let absence = now.saturating_sub(self.looked.replace(now).unwrap_or(now));
        if absence > self.pace.every {
            self.known.values_mut().for_each(|known| known.heard = (known.heard + absence).min(now));
        }
    }

    fn judge(&mut self, now: Duration) {
        let Pace { every, silence, calm: (_, calm_most), .. } = self.pace;
        let quiet = |known: &Known| now.saturating_sub(known.heard);
        let is_new = |known: &Known| known.silent_since.is_none();
        if self.known.values().any(|known| is_new(known) && quiet(known) >= silence) {
            // They were asked at different times within a round, and some answers come late.
            let together = silence.saturating_sub(every + every / 2);
            for known in self.known.values_mut().filter(|known| is_new(known) && quiet(known) >= together) {
                known.silent_since = Some(now);
                known.well_since = None;
            }
        }
        for known in self.known.values_mut() {
            let well_for = known.well_since.map(|since| now.saturating_sub(since));
            if known.silent_since.is_some() && well_for.is_some_and(|well_for| well_for >= known.calm) {
                known.silent_since = None;
                known.calm = (known.calm * 2).min(calm_most);
            } else if well_for.is_some_and(|well_for| well_for >= FORGOTTEN) {
                known.calm = self.pace.calm.0;
            }
        }
    }
}

#[cfg(test)]
mod tests;
