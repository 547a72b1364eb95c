//! The brokers of a cluster that are of this kind, and those that somebody cannot reach.
//!
//! Promises that need every replica of a journal to be one of us ask [`Peers::is_courant`]. A primary that cannot reach a replica which
//! the registry holds for alive reports it by [`Peers::suspect`]; the allocator's leader reads [`Peers::view`], and treats the
//! replica as failed for the journals of that primary if another synchronised one remains.
//!
//! What shall be in the registry is compared with what is there, and mended, whenever either changes: a lost reply, a new lease or
//! a removal by hand are all the same. It does not know how a peer is found to be out of reach.

mod keep;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use courant_keyspace::{Config, Error as KeyspaceError, Feed, Mirror};
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
use record::{Keys, Presence, PresenceDecoder, Suspicion, SuspicionDecoder};

/// A suspicion that nobody repeats is dropped after this: whoever still cannot reach the peer soon says so again.
const LASTS: Duration = Duration::from_secs(60);

/// What is known of the members at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Members that are brokers of this kind, with the versions that they tell.
    pub(crate) courant: BTreeMap<ProcessId, String>,
    /// Who cannot be reached, and by whom.
    pub(crate) suspected: BTreeSet<Suspicion>,
    /// Members whose spools hold as much as they may.
    pub(crate) without_room: BTreeSet<ProcessId>,
}

/// A handle on what is known of the other brokers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: ProcessId,
    view: watch::Sender<Arc<View>>,
    /// Whom this process cannot reach, and until when that is said.
    reports: Mutex<BTreeMap<ProcessId, Instant>>,
    reported: Notify,
    /// Our own spools hold as much as they may.
    is_without_room: AtomicBool,
}

/// What the peers of a broker are known by.
pub(crate) struct Introduction {
    pub(crate) etcd: Client,
    pub(crate) root: Arc<Root>,
    pub(crate) me: ProcessId,
    pub(crate) member: Member,
    pub(crate) space: SpaceMirror,
    pub(crate) seed: u64,
}

/// Keeps our keys in the registry as they shall be, and the handle's view current.
pub(crate) struct PeersTask {
    members: Feed<PresenceDecoder>,
    suspects: Feed<SuspicionDecoder>,
    keeper: Keeper,
}

impl std::fmt::Debug for PeersTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersTask").field("peers", &self.keeper.peers).finish_non_exhaustive()
    }
}

impl Peers {
    /// Reads what there is. The task must run to make us known, and to follow the others.
    pub(crate) async fn load(introduction: Introduction) -> Result<(Self, PeersTask), KeyspaceError> {
        let Introduction { etcd, root, me, member, space, seed } = introduction;
        let keys = Keys::of(&root);
        let mut rng = StdRng::seed_from_u64(seed);
        let instance = rng.random();
        let config = Config { seed, ..Config::default() };
        let decoder = PresenceDecoder { keys: keys.clone() };
        let (members, members_feed) =
            Mirror::load(etcd.clone(), keys.members.as_bytes(), decoder, config.clone()).await?;
        let decoder = SuspicionDecoder { keys: keys.clone() };
        let (suspects, suspects_feed) =
            Mirror::load(etcd.clone(), keys.suspects.as_bytes(), decoder, config).await?;
        let peers = Self(Arc::new(Inner {
            me,
            view: watch::Sender::default(),
            reports: Mutex::default(),
            reported: Notify::new(),
            is_without_room: AtomicBool::new(false),
        }));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let presence = Presence { version, instance, is_without_room: false };
        let keeper = Keeper {
            peers: peers.clone(),
            etcd,
            keys,
            presence,
            member,
            space,
            members,
            suspects,
            rng,
            put: None,
            leases: BTreeMap::new(),
        };
        keeper.publish();
        Ok((peers, PeersTask { members: members_feed, suspects: suspects_feed, keeper }))
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

    /// Reports that this broker cannot reach a member, for a while; repeating it lengthens that. From any thread.
    pub(crate) fn suspect(&self, id: &ProcessId) {
        if *id == self.0.me {
            return;
        }
        let earlier = self.0.reports.lock().insert(id.clone(), Instant::now() + LASTS);
        if earlier.is_none() {
            tracing::warn!(peer = %id, "reporting a member that cannot be reached");
            self.0.reported.notify_one();
        }
    }

    /// Takes the report back: the member has been reached. From any thread; costs little where there was none.
    pub(crate) fn clear(&self, id: &ProcessId) {
        if self.0.reports.lock().remove(id).is_some() {
            tracing::info!(peer = %id, "a member that was reported is reached again");
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
        let Self { members, suspects, keeper } = self;
        let stop = cancel.child_token();
        let mut feeds = JoinSet::new();
        feeds.spawn(members.run(stop.clone()));
        feeds.spawn(suspects.run(stop));
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            Some(Ok(ended)) = feeds.join_next() => Ok(ended?),
            kept = Box::pin(keeper.keep()) => kept,
        }
    }
}
