//! Pure: which broker a call about a journal goes to, after what earlier answers have said of its route and of brokers that could
//! not be reached. It opens no connection, and is told what time it is: the time since the client was made.
//!
//! ```text
//!  an answer's header ─► learn ─► pick: the primary for an append, the best member for a read
//!  a failed call ──────► forget, avoid                  └─ nobody fits: the address that was dialled
//! ```
//!
//! Of the members of a route the best one is the first that was reached when it was last tried, then lies in the client's own zone.
//! What is learned is a shortcut and never an address for good: brokers pass on what is not theirs, so a call may always go to the
//! dialled address instead, and does so where a member's endpoint is of no use from here.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;

use crate::endpoint;

#[cfg(test)]
mod tests;

/// A route is believed for so long after it was last told.
const LIFE: Duration = Duration::from_secs(60);
/// Routes of each of two generations. What was not used since a generation was filled goes with the next one.
const GENERATION: usize = 4096;
/// An endpoint that could not be reached is avoided for so long, and twice as long with each further failure ...
const AVOID_FIRST: Duration = Duration::from_secs(5);
/// ... up to this.
const AVOID_LONGEST: Duration = Duration::from_secs(60);
/// Failures of so many endpoints are remembered.
const MOST_FAILURES: usize = 256;

/// What a call needs of a journal's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Primary,
    AnyMember,
}

/// Routes of journals, and endpoints to avoid.
#[derive(Debug)]
pub(crate) struct Routes {
    zone: String,
    /// The dialled address is one of this machine, so that endpoints of this machine may be meant.
    is_local: bool,
    /// Spreads clients that are equally near to several members.
    salt: u64,
    recent: HashMap<Box<str>, Known>,
    older: HashMap<Box<str>, Known>,
    failures: HashMap<Arc<str>, Failure>,
}

/// A route as it was last told.
#[derive(Clone, Debug)]
struct Known {
    told: Duration,
    /// Reads that found a member without what others have: each has the next one go to another member.
    lacked: u64,
    primary: Option<usize>,
    members: Box<[Member]>,
}

#[derive(Clone, Debug)]
struct Member {
    is_near: bool,
    /// None where it cannot be dialled from here.
    endpoint: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    in_a_row: u32,
    avoid_until: Duration,
}

impl Routes {
    /// Nothing is known. `zone` is the client's own, or empty; `is_local` says whether the address that was dialled is one of this machine.
    pub(crate) fn new(zone: String, is_local: bool, salt: u64) -> Self {
        Self { zone, is_local, salt, recent: HashMap::new(), older: HashMap::new(), failures: HashMap::new() }
    }

    /// The endpoint of the member that a call goes to; none for the dialled address.
    pub(crate) fn pick(&mut self, journal: &str, wants: Wants, now: Duration) -> Option<Arc<str>> {
        self.promote(journal);
        let known = self.recent.get(journal).filter(|known| now < known.told.saturating_add(LIFE))?;
        let is_avoided = |endpoint: &Arc<str>| {
            self.failures.get(endpoint).is_some_and(|failure| now < failure.avoid_until)
        };
        let usable = |member: &Member| member.endpoint.clone().filter(|endpoint| !is_avoided(endpoint));
        match wants {
            Wants::Primary => usable(known.members.get(known.primary?)?),
            Wants::AnyMember => {
                let count = known.members.len().max(1);
                let spread = self.spread(journal).wrapping_add(known.lacked);
                let first = usize::try_from(spread % count as u64).unwrap_or(0);
                let order = (0..known.members.len()).map(|step| &known.members[(first + step) % count]);
                // Who is near and lacks content is not asked for it again and again.
                let is_far = |member: &Member| !member.is_near && known.lacked == 0;
                let usable = order.filter_map(|member| Some((is_far(member), usable(member)?)));
                usable.min_by_key(|(is_far, _)| *is_far).map(|(_, endpoint)| endpoint)
            }
        }
    }

    /// Takes in the route that an answer told of a journal. One without members says that nothing is known.
    pub(crate) fn learn(&mut self, journal: &str, route: &wire::Route, now: Duration) {
        if route.members.is_empty() || route.endpoints.len() != route.members.len() {
            self.forget(journal);
            return;
        }
        self.promote(journal);
        let primary = usize::try_from(route.primary).ok().filter(|index| *index < route.members.len());
        if let Some(known) = self.recent.get_mut(journal)
            && known.primary == primary
            && known.members.len() == route.endpoints.len()
            && known.members.iter().zip(&route.endpoints).all(|(member, told)| member.is_at(told))
        {
            known.told = now;
            return;
        }
        let members = route.members.iter().zip(&route.endpoints).map(|(id, told)| Member {
            is_near: !self.zone.is_empty() && id.zone == self.zone,
            endpoint: self.usable(told).map(Arc::from),
        });
        let known = Known { told: now, lacked: 0, primary, members: members.collect() };
        self.keep(journal.into(), known);
    }

    /// Drops what is known of a journal's route.
    pub(crate) fn forget(&mut self, journal: &str) {
        self.recent.remove(journal);
        self.older.remove(journal);
    }

    /// A member has not what was asked for, although the journal has it: the next read goes to another one.
    pub(crate) fn lacked(&mut self, journal: &str) {
        self.promote(journal);
        if let Some(known) = self.recent.get_mut(journal) {
            known.lacked = known.lacked.wrapping_add(1);
        }
    }

    /// An endpoint could not be reached: it is left alone for a while.
    pub(crate) fn avoid(&mut self, endpoint: &Arc<str>, now: Duration) {
        if self.failures.len() >= MOST_FAILURES && !self.failures.contains_key(endpoint) {
            self.failures.retain(|_, failure| now < failure.avoid_until);
            if self.failures.len() >= MOST_FAILURES {
                // So many that are away at once are no brokers' endpoints; whichever is tried next is tried in vain.
                self.failures.clear();
            }
        }
        let failure = self
            .failures
            .entry(Arc::clone(endpoint))
            .or_insert(Failure { in_a_row: 0, avoid_until: Duration::ZERO });
        let wait = AVOID_FIRST.saturating_mul(1 << failure.in_a_row.min(16)).min(AVOID_LONGEST);
        failure.in_a_row = failure.in_a_row.saturating_add(1);
        failure.avoid_until = now.saturating_add(wait);
    }

    /// An endpoint answered.
    pub(crate) fn reached(&mut self, endpoint: &str) {
        if !self.failures.is_empty() {
            self.failures.remove(endpoint);
        }
    }

    /// Brings a route that is about to be used into the younger generation.
    fn promote(&mut self, journal: &str) {
        if !self.older.is_empty()
            && let Some((journal, known)) = self.older.remove_entry(journal)
        {
            self.keep(journal, known);
        }
    }

    fn keep(&mut self, journal: Box<str>, known: Known) {
        if self.recent.len() >= GENERATION && !self.recent.contains_key(&journal) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.older.remove(&journal);
        self.recent.insert(journal, known);
    }

    /// The address to dial for an endpoint, if it can be dialled and means the same machine here as where it was announced.
    fn usable<'a>(&self, told: &'a str) -> Option<&'a str> {
        let address = endpoint::normal(told);
        let dialled = endpoint::is_plain_http(address);
        (dialled && (self.is_local || !endpoint::is_loopback(address))).then_some(address)
    }

    fn spread(&self, journal: &str) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one((self.salt, journal))
    }
}

impl Member {
    /// Whether this is what an equal route would have been kept as. An endpoint that is of no use is looked at anew.
    fn is_at(&self, told: &str) -> bool {
        self.endpoint.as_deref() == Some(endpoint::normal(told))
    }
}
