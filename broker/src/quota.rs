//! How much content may lie in this broker's spools that no store has yet, and what is refused when that is used up.
//!
//! Appends are acknowledged without a store: spools keep them until it takes them. So a store that is away costs nothing at first, and in the
//! end the disk. Before that, appends are refused with a clear word: those of journals whose store does not work when the quota is nearly
//! used up, all others when it is. Whatever was acknowledged stays, and as soon as stores have caught up appends go on by themselves.
//!
//! Cores tell what they hold after every turn. It knows nothing of disks, and counts content alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use courant_fragment::disk::Disk;
use courant_fragment::error::Error;
use courant_fragment::store::Stores;
use courant_proto::id::ProcessId;
use courant_proto::route::Route;
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status as Refusal;
use courant_proto::time::Timestamp;
use parking_lot::Mutex;
use tonic::Status;

use crate::core::command::Outcome;
use crate::peers::Peers;

/// The part of the quota that is kept for journals whose stores work: one in so many.
const KEPT: u64 = 8;

/// Peers are told that there is room again when so much of it is free: one in so many.
const ROOM: u64 = 16;

/// How far the quota is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// There is room for everybody.
    Free,
    /// What is left is kept for journals whose stores work.
    Nearly,
    /// Nothing more is taken.
    Spent,
}

/// How far `held` bytes use up a quota; one of zero has no end.
pub(crate) fn used(held: u64, limit: u64) -> Use {
    match limit {
        0 => Use::Free,
        limit if held >= limit => Use::Spent,
        limit if held >= limit - limit / KEPT => Use::Nearly,
        _ => Use::Free,
    }
}

/// Three quarters of what the spools may take of their file system, with what they take by now.
pub(crate) fn default_limit(disk: &dyn Disk, folder: &Path) -> Result<u64, Error> {
    let io = |source| Error::Disk { doing: "tell the free space of", path: folder.to_owned(), source };
    let files: u64 = disk.list(folder).map_err(io)?.iter().map(|entry| entry.length).sum();
    let all = disk.free_space(folder).map_err(io)?.saturating_add(files);
    // Zero would be no quota.
    Ok((all - all / 4).max(1))
}

/// What this broker's spools hold, and may hold. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: ProcessId,
    limit: u64,
    cores: Box<[Held]>,
    /// Peers were told that it is spent.
    is_told: AtomicBool,
    /// Who tells them: one at a time, so that the last word is the last one said.
    telling: Mutex<()>,
    refused: AtomicU64,
}

/// What one core holds.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicU64,
    /// When the oldest of it was appended, in Unix seconds; zero while there is none.
    oldest: AtomicI64,
}

impl Quota {
    /// A quota of so many bytes, zero for none, shared by so many cores.
    pub(crate) fn new(me: ProcessId, limit: u64, cores: usize) -> Self {
        Self(Arc::new(Inner {
            me,
            limit,
            cores: (0..cores).map(|_| Held::default()).collect(),
            is_told: AtomicBool::new(false),
            telling: Mutex::new(()),
            refused: AtomicU64::new(0),
        }))
    }

    /// Its bytes; zero is no quota.
    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes that no store is known to have.
    pub(crate) fn held(&self) -> u64 {
        self.0.cores.iter().map(|core| core.bytes.load(Ordering::SeqCst)).sum()
    }

    /// How far it is used.
    pub(crate) fn used(&self) -> Use {
        used(self.held(), self.0.limit)
    }

    /// For how long the oldest of them is here, in seconds.
    pub(crate) fn oldest_seconds(&self, now: Timestamp) -> u64 {
        let oldest = self.0.cores.iter().map(|core| core.oldest.load(Ordering::Relaxed));
        let oldest = oldest.filter(|at| *at > 0).min();
        oldest.map_or(0, |at| u64::try_from(now.secs().saturating_sub(at)).unwrap_or(0))
    }

    /// Appends that were refused for it.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// So many appends were refused.
    pub(crate) fn count_refused(&self, appends: u64) {
        self.0.refused.fetch_add(appends, Ordering::Relaxed);
    }

    /// A core holds so much by now. Peers are told when there is no room any more, and when there is again.
    pub(crate) fn hold(&self, core: usize, bytes: u64, peers: &Peers) {
        self.hold_and_tell(core, bytes, |has_room| peers.tell_room(has_room));
    }

    /// The same; `tell` says whether there is room.
    fn hold_and_tell(&self, core: usize, bytes: u64, tell: impl Fn(bool)) {
        // Cores do so at the same time. What they hold and what peers were told are written before the other is read, in one order for all: of
        // two cores that change it, the later one sees both changes; and one that tells looks again after it noted what it tells.
        let before = self.0.cores[core].bytes.swap(bytes, Ordering::SeqCst);
        if before == bytes || self.0.limit == 0 || self.to_tell().is_none() {
            return;
        }
        let _one_at_a_time = self.0.telling.lock();
        while let Some(is_spent) = self.to_tell() {
            self.0.is_told.store(is_spent, Ordering::SeqCst);
            let (held, limit) = (self.held(), self.0.limit);
            let quota = if is_spent { "is used up" } else { "has room again" };
            tracing::warn!(held, limit, "the quota of this broker's spools {quota}");
            tell(!is_spent);
        }
    }

    /// Whether it is spent, if peers were told otherwise.
    fn to_tell(&self) -> Option<bool> {
        let (held, limit) = (self.held(), self.0.limit);
        let is_told = self.0.is_told.load(Ordering::SeqCst);
        let is_spent = match used(held, limit) {
            Use::Spent => true,
            // Not at the first byte that is free: each change is a write to the registry.
            Use::Free | Use::Nearly => is_told && held > limit - limit / ROOM,
        };
        (is_spent != is_told).then_some(is_spent)
    }

    /// When the oldest content of a core was appended.
    pub(crate) fn observe_oldest(&self, core: usize, at: Option<Timestamp>) {
        self.0.cores[core].oldest.store(at.map_or(0, |at| at.secs().max(1)), Ordering::Relaxed);
    }

    /// Whether appends of content may have to be refused: looked at once a turn, so that a broker with room pays no more than that.
    pub(crate) fn is_tight(&self, peers: &Peers) -> bool {
        self.used() > Use::Free || peers.any_without_room()
    }

    /// Why a journal takes no content at present, if it does not.
    pub(crate) fn refusal(
        &self,
        spec: &JournalSpec,
        route: &Route,
        peers: &Peers,
        stores: &Stores,
    ) -> Option<Refused> {
        let (held, limit) = (self.held(), self.0.limit);
        let here = used(held, limit);
        let full =
            route.members().iter().find(|member| **member != self.0.me && peers.is_without_room(member));
        if here == Use::Free && full.is_none() {
            return None;
        }
        let first = spec.fragment.stores.first();
        let unhealthy = first.and_then(|url| {
            let health = stores.known_health(url)?;
            let why = health.failed()?;
            Some(format!("fragment store {} unhealthy: {why}", url))
        });
        let what = match (here, full) {
            (Use::Free | Use::Nearly, Some(member)) => {
                format!("the spools of broker {member} hold as much as they may that no store has yet")
            }
            (Use::Nearly, None) if unhealthy.is_none() => return None,
            _ => format!(
                "the spools of broker {} hold {held} bytes that no store has yet, of a quota of {limit}",
                self.0.me
            ),
        };
        Some(Refused { unhealthy, what })
    }
}

/// Why content is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What the journal's store says, if that is the reason.
    unhealthy: Option<String>,
    what: String,
}

impl Refused {
    /// As the answer to an append.
    pub(crate) fn outcome(&self) -> Outcome {
        let what = &self.what;
        match &self.unhealthy {
            Some(why) => Outcome::Refused {
                status: Refusal::FragmentStoreUnhealthy,
                registers: None,
                detail: Some(format!("{why}; {what}")),
            },
            None => Outcome::Fault(Status::resource_exhausted(format!(
                "{what} (--spool-quota); nothing was committed, try again when stores have caught up"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
