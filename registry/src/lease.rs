//! Pure: leases, their deadlines and the keys attached to them, by explicit time.
//!
//! Time is the span since the registry was opened. Deadlines are kept on the *lease clock*, which stands still
//! while the process does: if nobody looked at the leases although the expiry loop had promised to, all of them
//! gain the time that was missed. Nothing here writes keys or reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{MAX_LEASE_TTL, MIN_LEASE_TTL};
use crate::refusal::Refusal;

#[derive(Debug)]
struct Lease {
    /// Seconds.
    ttl: i64,
    /// On the lease clock.
    deadline: Duration,
    keys: BTreeSet<Bytes>,
}

/// Every lease of the registry.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    /// The deadline heap: an ordered set, so that a renewal moves its deadline instead of leaving a stale one.
    deadlines: BTreeSet<(Duration, i64)>,
    /// How long the lease clock stood still so far.
    stalled: Duration,
    /// When the expiry loop will look next; `None` while it does not run or waits without a deadline.
    promised: Option<Duration>,
    /// How late a look may be before it counts as a stall.
    threshold: Duration,
}

/// What `LeaseTimeToLive` tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TimeToLive {
    /// Whole seconds left.
    pub(crate) left: i64,
    /// Seconds granted.
    pub(crate) ttl: i64,
    pub(crate) keys: Vec<Bytes>,
}

impl Leases {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self { threshold, ..Self::default() }
    }

    /// Notices a stall: to be called before anything else is done at `now`.
    pub(crate) fn observe(&mut self, now: Duration) {
        let Some(promised) = self.promised else { return };
        let late = now.saturating_sub(promised);
        if late > self.threshold {
            self.stalled = self.stalled.saturating_add(late);
            self.promised = Some(now);
        }
    }

    /// Records when the expiry loop will look next.
    pub(crate) const fn promise(&mut self, at: Option<Duration>) {
        self.promised = at;
    }

    /// Gives every lease its full time from `now` on, as after a restart.
    pub(crate) fn renew_all(&mut self, now: Duration) {
        let ids: Vec<i64> = self.by_id.keys().copied().collect();
        for id in ids {
            self.renew(id, now);
        }
    }

    fn clock(&self, now: Duration) -> Duration {
        now.saturating_sub(self.stalled)
    }

    pub(crate) fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The seconds that a request for `ttl` gets for a lease named `id`.
    pub(crate) fn grantable(&self, id: i64, ttl: i64) -> Result<i64, Refusal> {
        if ttl > MAX_LEASE_TTL {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(Refusal::LeaseExists);
        }
        Ok(ttl.max(MIN_LEASE_TTL))
    }

    /// Adds a lease that was found grantable.
    pub(crate) fn grant(&mut self, id: i64, ttl: i64, now: Duration) {
        let deadline = self.clock(now).saturating_add(seconds(ttl));
        self.by_id.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, id));
    }

    /// Renews a lease and tells its seconds; nothing if there is no such lease.
    pub(crate) fn renew(&mut self, id: i64, now: Duration) -> Option<i64> {
        let clock = self.clock(now);
        let lease = self.by_id.get_mut(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = clock.saturating_add(seconds(lease.ttl));
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl)
    }

    /// Removes a lease and tells its keys, sorted; nothing if there is no such lease.
    pub(crate) fn remove(&mut self, id: i64) -> Option<BTreeSet<Bytes>> {
        let lease = self.by_id.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.keys)
    }

    pub(crate) fn time_to_live(&self, id: i64, now: Duration) -> Option<TimeToLive> {
        let lease = self.by_id.get(&id)?;
        let left = lease.deadline.saturating_sub(self.clock(now)).as_secs();
        Some(TimeToLive {
            left: i64::try_from(left).unwrap_or(i64::MAX),
            ttl: lease.ttl,
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    /// Names of all leases, the one that ends first in front.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.deadlines.iter().map(|&(_, id)| id)
    }

    /// Names and seconds of all leases by name, for a snapshot.
    pub(crate) fn granted(&self) -> impl Iterator<Item = (i64, i64)> {
        self.by_id.iter().map(|(&id, lease)| (id, lease.ttl))
    }

    /// A lease that has ended by `now`, the longest overdue in front.
    pub(crate) fn ended(&self, now: Duration) -> Option<i64> {
        let &(deadline, id) = self.deadlines.first()?;
        (deadline <= self.clock(now)).then_some(id)
    }

    /// How long after `now` the next lease ends.
    pub(crate) fn next_end(&self, now: Duration) -> Option<Duration> {
        let &(deadline, _) = self.deadlines.first()?;
        Some(deadline.saturating_sub(self.clock(now)))
    }

    /// Moves a key from one lease to another; zero is none. A lease that is no more is passed over.
    pub(crate) fn attach(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&to) {
            lease.keys.insert(key.clone());
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}

#[cfg(test)]
mod tests;
