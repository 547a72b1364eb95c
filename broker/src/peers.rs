//! The brokers of a cluster that are of this kind, and those that somebody cannot reach.
//!
//! Promises that need every replica of a journal to be one of us ask [`Peers::is_courant`]. Members that the registry holds for alive and
//! that do not answer are reported: those that answer nothing, as the [`Scout`] finds, and those that a primary has failed to agree with
//! ([`Peers::suspect`]). The allocator's leader reads [`Peers::settled`], and judges whom of them to do without.
//!
//! ```text
//!  Scout ── asks all, in turn ──► lookout (pure) ── silent ──┐
//!  a primary's agreement fails ── a complaint, if most answer ┴─► Keeper ─► our keys ─► everybody's view ─► settled ─► the leader
//! ```
//!
//! What shall be in the registry is compared with what is there, and mended, whenever either changes: a lost reply, a new lease or
//! a removal by hand are all the same.

mod keep;
pub(crate) mod lookout;
pub(crate) mod record;
mod scout;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_keyspace::{Config, Error as KeyspaceError, Feed, Mirror, Witness};
use courant_proto::id::ProcessId;
use etcd_client::Client;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal_space::{Root, SpaceMirror};
use crate::member::{Member, MemberError};
use keep::Keeper;
use lookout::Pace;
use record::{Keys, Presence, PresenceDecoder, Suspicion, SuspicionDecoder};
pub(crate) use scout::Scout;

/// A complaint that nobody repeats is dropped after this: whoever still cannot reach the peer soon says so again.
const LASTS: Duration = Duration::from_secs(60);

/// What is known of the members at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Members that are brokers of this kind, with the versions that they tell.
    pub(crate) courant: BTreeMap<ProcessId, String>,
    /// Who cannot be reached, and by whom.
    pub(crate) suspected: BTreeSet<Suspicion>,
    /// Those of them that the member itself has read since: it lives.
    pub(crate) read: BTreeSet<Suspicion>,
    /// Members whose spools hold as much as they may.
    pub(crate) without_room: BTreeSet<ProcessId>,
}

impl View {
    /// What is reported, and whether the member has shown life since.
    fn told(&self) -> BTreeMap<Suspicion, bool> {
        self.suspected.iter().map(|told| (told.clone(), self.read.contains(told))).collect()
    }
}

/// A handle on what is known of the other brokers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: ProcessId,
    view: watch::Sender<Arc<View>>,
    /// Who cannot be reached, by whom, as it has been for a while.
    settled: watch::Sender<Arc<BTreeMap<Suspicion, bool>>>,
    /// Members that this process could not agree with.
    complaints: Mutex<BTreeMap<ProcessId, Complaint>>,
    /// What the scout has found.
    found: Mutex<Found>,
    /// What is to be reported has changed.
    reported: Notify,
    /// Our own spools hold as much as they may.
    is_without_room: AtomicBool,
    /// Somebody complains: the scout is to look around before that is told.
    complained: Notify,
}

/// A member that could not be agreed with.
#[derive(Clone, Copy, Debug)]
struct Complaint {
    raised: Instant,
    /// Until when it is told.
    until: Instant,
    /// The lease that the member had: under another one it is not the one that was complained of.
    lease: Option<i64>,
}

/// What the scout has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Who answers nothing.
    silent: BTreeSet<ProcessId>,
    /// Complaints from before may be told: when all members were asked again, enough of them answered. None: it is we who hear nobody.
    trusted: Option<Instant>,
}

/// What the peers of a broker are known by.
pub(crate) struct Introduction {
    pub(crate) etcd: Client,
    pub(crate) root: Arc<Root>,
    pub(crate) me: ProcessId,
    pub(crate) member: Member,
    pub(crate) space: SpaceMirror,
    pub(crate) pace: Pace,
    /// The registry that is followed.
    pub(crate) witness: Witness,
    pub(crate) seed: u64,
}

/// Keeps our keys in the registry as they shall be, and the handle's view current.
pub(crate) struct PeersTask {
    members: Feed<PresenceDecoder>,
    suspects: Feed<SuspicionDecoder>,
    keeper: Keeper,
    pace: Pace,
}

impl std::fmt::Debug for PeersTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersTask").field("peers", &self.keeper.peers).finish_non_exhaustive()
    }
}

impl Peers {
    /// Reads what there is. The task must run to make us known, and to follow the others.
    pub(crate) async fn load(introduction: Introduction) -> Result<(Self, PeersTask), KeyspaceError> {
        let Introduction { etcd, root, me, member, space, pace, witness, seed } = introduction;
        let keys = Keys::of(&root);
        let mut rng = StdRng::seed_from_u64(seed);
        let instance = rng.random();
        let config = Config { seed, witness: Some(witness.clone()), ..Config::default() };
        let decoder = PresenceDecoder { keys: keys.clone() };
        let (members, members_feed) =
            Mirror::load(etcd.clone(), keys.members.as_bytes(), decoder, config.clone()).await?;
        let decoder = SuspicionDecoder { keys: keys.clone() };
        let (suspects, suspects_feed) =
            Mirror::load(etcd.clone(), keys.suspects.as_bytes(), decoder, config).await?;
        let peers = Self(Arc::new(Inner {
            me,
            view: watch::Sender::default(),
            settled: watch::Sender::default(),
            complaints: Mutex::default(),
            found: Mutex::default(),
            reported: Notify::new(),
            is_without_room: AtomicBool::new(false),
            complained: Notify::new(),
        }));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let presence = Presence { version, instance, ..Presence::default() };
        let keeper = Keeper {
            peers: peers.clone(),
            etcd,
            witness,
            keys,
            presence,
            member,
            space,
            members,
            suspects,
            rng,
            put: None,
        };
        keeper.publish();
        Ok((peers, PeersTask { members: members_feed, suspects: suspects_feed, keeper, pace }))
    }

    /// Whether a member is a broker of this kind. Of one that has just come this may not be known yet.
    pub(crate) fn is_courant(&self, id: &ProcessId) -> bool {
        *id == self.0.me || self.0.view.borrow().courant.contains_key(id)
    }

    /// Tells the others whether our spools have room. From any thread.
    pub(crate) fn tell_room(&self, has_room: bool) {
        self.0.is_without_room.store(!has_room, Ordering::Relaxed);
        self.0.reported.notify_one();
    }

    /// Whether any member has told that its spools have no room.
    pub(crate) fn any_without_room(&self) -> bool {
        !self.0.view.borrow().without_room.is_empty()
    }

    /// Whether a member has told so.
    pub(crate) fn is_without_room(&self, id: &ProcessId) -> bool {
        self.0.view.borrow().without_room.contains(id)
    }

    /// What is known now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.borrow())
    }

    /// News of what is known. It never closes while a handle lives.
    pub(crate) fn changed(&self) -> watch::Receiver<Arc<View>> {
        self.0.view.subscribe()
    }

    /// Who cannot be reached by whom, once that has stayed the same for a while: reports of one fault come one after the other. With each
    /// comes whether the member has shown life since.
    pub(crate) fn settled(&self) -> watch::Receiver<Arc<BTreeMap<Suspicion, bool>>> {
        self.0.settled.subscribe()
    }

    /// Whether a member answers nothing that this broker asks it. What has to go to it need not be tried.
    pub(crate) fn is_silent(&self, id: &ProcessId) -> bool {
        self.0.found.lock().silent.contains(id)
    }

    /// Complains that this broker cannot agree with a member, for a while; repeating it lengthens that. From any thread. It is told
    /// once all members were asked, and most have answered.
    pub(crate) fn suspect(&self, id: &ProcessId) {
        if *id == self.0.me {
            return;
        }
        let (now, until) = (Instant::now(), Instant::now() + LASTS);
        let mut complaints = self.0.complaints.lock();
        let complaint = complaints.entry(id.clone());
        let complaint = complaint.and_modify(|complaint| complaint.until = until).or_insert_with(|| {
            tracing::warn!(peer = %id, "a member cannot be agreed with");
            Complaint { raised: now, until, lease: None }
        });
        if complaint.raised == now {
            self.0.complained.notify_one();
            self.0.reported.notify_one();
        }
    }

    /// Takes the complaint back: the member was agreed with. From any thread; costs little where there was none.
    pub(crate) fn clear(&self, id: &ProcessId) {
        if self.0.complaints.lock().remove(id).is_some() {
            tracing::info!(peer = %id, "a member is agreed with again");
            self.0.reported.notify_one();
        }
    }

    /// Takes over what was found out of the members.
    fn found(&self, found: Found) {
        let before = std::mem::replace(&mut *self.0.found.lock(), found.clone());
        for id in found.silent.difference(&before.silent) {
            tracing::warn!(peer = %id, "reporting a member that answers nothing");
        }
        for id in before.silent.difference(&found.silent) {
            tracing::info!(peer = %id, "a member that was reported answers again, or is gone");
            // It could not be agreed with as it answered nothing. If that was not all, somebody soon complains again.
            self.0.complaints.lock().remove(id);
        }
        let has_waiting = before.trusted != found.trusted && !self.0.complaints.lock().is_empty();
        if before.silent != found.silent || has_waiting {
            self.0.reported.notify_one();
        }
    }
}

impl PeersTask {
    /// Follows, and keeps our keys, until cancelled.
    ///
    /// # Errors
    /// When another process lives under our id and our lease, or the registry was exchanged for another.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), MemberError> {
        let Self { members, suspects, keeper, pace } = self;
        let stop = cancel.child_token();
        let settling = settle::settle(keeper.peers.changed(), keeper.peers.0.settled.clone(), pace);
        let mut feeds = JoinSet::new();
        feeds.spawn(members.run(stop.clone()));
        feeds.spawn(suspects.run(stop));
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            Some(Ok(ended)) = feeds.join_next() => Ok(ended?),
            () = settling => Ok(()),
            kept = Box::pin(keeper.keep()) => kept,
        }
    }
}
