//! What cores hand to other threads: listing stores, beginning epochs, persisting spools. Results come back as commands.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use courant_fragment::ahead::{self, Ahead};
use courant_fragment::disk::DiskFile;
use courant_fragment::persister::{PersisterHandle, Report};
use courant_fragment::spool::log::Unsynced;
use courant_fragment::spool::{ClusterId, SpoolId};
use courant_fragment::store::Stores;
use courant_proto::fragment::Fragment;
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;
use courant_proto::wire;
use futures::FutureExt;
use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::core::Cores;
use crate::core::command::{Agreed, Command, Unhealthy};
use crate::core::place::Place;
use crate::journal_space::decode::Value;
use crate::journal_space::{Space, SpaceMirror};
use crate::lineage::LineageKeeper;
use crate::lineage::judge::Recovered;
use crate::member::Member;
use crate::peer::client::PeerClient;
use crate::peers::Peers;
use crate::quota::Quota;
use crate::recovery;
use crate::replica::Replica;
use crate::replication::messages;
use crate::replication::notes::RouteNotes;
use crate::replication::sync::{self, Agreement};
use crate::retention::{self, Listing};
use crate::transaction::commit::Registry;

/// Where a core sends work that may wait. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Background {
    pub(crate) me: ProcessId,
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
    /// The number of this process's log, if all of it was recovered.
    pub(crate) log_number: Option<u64>,
    pub(crate) mirror: SpaceMirror,
    pub(crate) stores: Arc<Stores>,
    pub(crate) lineage: LineageKeeper,
    pub(crate) persister: PersisterHandle,
    /// Where the persister reports to: the core that has this value.
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) cores: Cores,
    /// The runtime of the core that has this value; none before the core runs.
    pub(crate) here: Option<Handle>,
    pub(crate) cluster: ClusterId,
    pub(crate) registry: Registry,
    /// Our place among the members.
    pub(crate) place: Member,
    /// Other brokers.
    pub(crate) peers: PeerClient,
    pub(crate) presence: Peers,
    pub(crate) notes: RouteNotes,
    /// Drawn for this process: numbers that it gives out are not those of the process before.
    pub(crate) seed: u64,
    /// Open spools that are encoded while they grow.
    pub(crate) ahead: Ahead,
    /// How much may lie here that no store has yet.
    pub(crate) quota: Quota,
    /// Bounds how many agreements are under way at once.
    pub(crate) agreements: Arc<Semaphore>,
}

/// Agreements of one broker that are under way at once.
pub(crate) const MOST_AGREEMENTS: usize = 256;

/// A primary has so long to answer an append of nothing.
const ASKED: Duration = Duration::from_secs(10);

/// Bytes of a file that are sent to peers at a time.
const FILE_PIECE: usize = 256 << 10;

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Background").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Background {
    /// Lists the stores of a journal from `listed_at` on, which is now; its core is told.
    pub(crate) fn list_stores(&self, replica: Arc<Replica>, listed_at: Timestamp) {
        let (stores, cores) = (Arc::clone(&self.stores), self.cores.clone());
        let space = self.mirror.snapshot();
        self.tasks.spawn_on(
            async move {
                let journal = replica.journal.clone();
                let outcome =
                    AssertUnwindSafe(list(&stores, &space, &journal, &replica.spec())).catch_unwind().await;
                let outcome =
                    outcome.unwrap_or_else(|_| Err(Unhealthy("listing the stores panicked".to_owned())));
                // A core that has stopped needs no listing.
                let _ = cores.send(&journal, Command::Refreshed { replica, listed_at, outcome }).await;
            },
            &self.runtime,
        );
    }

    /// Removes what has outlived a journal's retention, if brokers are to enforce that and nobody is at it; then its stores are listed again.
    pub(crate) fn enforce_retention(&self, replica: &Arc<Replica>, listing: impl FnOnce() -> Listing) {
        if retention::enforced(&replica.spec()).is_none() {
            return;
        }
        let Some(removing) = replica.begin_removing() else { return };
        let (listing, background, replica) = (listing(), self.clone(), Arc::clone(replica));
        self.tasks.spawn_on(
            async move {
                let journal = &replica.journal;
                let limit = || background.retention_of(&replica);
                let removed = retention::enforce(&background.stores, journal, &listing, limit).await;
                drop(removing);
                if removed > 0 {
                    // A core that has stopped needs no listing.
                    let refresh = Command::Refresh { journal: journal.clone() };
                    let _ = background.cores.send(journal, refresh).await;
                }
            },
            &self.runtime,
        );
    }

    /// The retention that this broker is to enforce at this moment, if it is: as the primary of this very journal.
    fn retention_of(&self, replica: &Replica) -> Option<Duration> {
        let is_served = !replica.index.is_closed() && self.place.is_held();
        let space = self.mirror.snapshot();
        let is_primary = space.bare_route(&replica.journal).primary_member() == Some(&self.me);
        let item = space.item(&replica.journal)?;
        (is_served && is_primary && item.create_revision == replica.create_revision)
            .then(|| retention::enforced(&item.spec))
            .flatten()
    }

    /// Tells of objects that contradict what this broker knows of a journal, and that nobody reads therefore.
    pub(crate) fn tell_of_contradictions(&self, replica: &Replica, aside: &[Fragment]) {
        for fragment in aside {
            if let Some(Ok(store)) = fragment.store.as_ref().map(|url| self.stores.get(url)) {
                store.set_aside(fragment, replica.index.write_head());
            }
        }
    }

    /// Runs something on the thread of the core that asks.
    pub(crate) fn spawn_here(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, self.here.as_ref().unwrap_or(&self.runtime));
    }

    /// Sends a command after a while. A core that has stopped needs none.
    fn send_after(&self, journal: &JournalName, pause: Duration, command: Command) {
        let (cores, journal) = (self.cores.clone(), journal.clone());
        self.spawn_here(async move {
            sleep(pause).await;
            let _ = cores.send(&journal, command).await;
        });
    }

    /// Looks at a journal again after a while, whose last agreement has failed.
    pub(crate) fn resume_after(&self, replica: &Arc<Replica>, attempt: u64, pause: Duration) {
        let command = Command::Resume { replica: Arc::clone(replica), attempt };
        self.send_after(&replica.journal, pause, command);
    }

    /// Asks the primary of a journal for a round, by an append of nothing: with it goes how far the journal is committed.
    pub(crate) fn ask_for_a_round(&self, journal: &JournalName) {
        let space = self.mirror.snapshot();
        let route = space.route(journal);
        let (Some(primary), Some(endpoint)) = (route.primary_member(), route.primary_endpoint().cloned())
        else {
            return;
        };
        let header = Header { process_id: Some(primary.clone()), route: route.clone(), etcd: space.etcd() };
        let first = wire::AppendRequest {
            header: Some((&header).into()),
            journal: journal.as_str().to_owned(),
            do_not_proxy: true,
            suspend: wire::append_request::Suspend::NoResume as i32,
            ..Default::default()
        };
        let requests = futures::stream::iter([first, wire::AppendRequest::default()]);
        let (peers, journal) = (self.peers.clone(), journal.clone());
        self.spawn_here(async move {
            let asked = timeout(ASKED, peers.append(&endpoint, requests)).await;
            tracing::debug!(%journal, ?asked, "asked how far a journal is committed");
        });
    }

    /// Closes the open spool of a journal after a while.
    pub(crate) fn roll_after(&self, journal: &JournalName, pause: Duration) {
        self.send_after(journal, pause, Command::Roll { journal: journal.clone() });
    }

    /// Ends a pipeline after a while, if it has not ended by then.
    pub(crate) fn close_after(&self, replica: &Arc<Replica>, attempt: u64, pause: Duration) {
        let command = Command::Close { replica: Arc::clone(replica), attempt };
        self.send_after(&replica.journal, pause, command);
    }

    /// Begins an agreement of the members of a journal; its core is told what came of it.
    pub(crate) fn begin_agreement(&self, agreement: Agreement) -> AbortHandle {
        let background = self.clone();
        let reaching = async move {
            let permit = background.agreements.clone().acquire_owned().await;
            let (replica, attempt) = (Arc::clone(&agreement.replica), agreement.attempt);
            let reached = AssertUnwindSafe(sync::reach(background.clone(), agreement)).catch_unwind().await;
            // The journal's appends wait for this answer, so a bug must not keep it from them.
            let outcome =
                reached.unwrap_or_else(|_| Agreed::Unavailable("the agreement panicked".to_owned()));
            drop(permit);
            let journal = replica.journal.clone();
            let _ = background.cores.send(&journal, Command::Agreed { replica, attempt, outcome }).await;
        };
        self.tasks.spawn_on(reaching, self.here.as_ref().unwrap_or(&self.runtime)).abort_handle()
    }

    /// Writes into the assignments of a journal that its members are synchronised.
    pub(crate) fn note_route(&self, replica: &Replica, place: &Place) {
        self.notes.note(&replica.journal, &place.route);
    }

    /// Asks the lineage what counts of content that was written before its commitment was known; the journal's core is told.
    pub(crate) fn rejudge(
        &self,
        journal: &JournalName,
        create_revision: i64,
        spools: Vec<(SpoolId, Recovered)>,
    ) {
        let (background, journal) = (self.clone(), journal.clone());
        self.tasks.spawn_on(
            async move {
                let space = background.mirror.snapshot();
                let rejudged = recovery::rejudge(
                    &journal,
                    spools,
                    background.cluster,
                    &space,
                    &background.registry,
                    &background.me,
                )
                .await;
                match rejudged {
                    Ok(rejudged) => {
                        let command =
                            Command::Rejudged { journal: journal.clone(), create_revision, rejudged };
                        let _ = background.cores.send(&journal, command).await;
                    }
                    Err(error) => {
                        tracing::warn!(%journal, %error, "cannot ask the lineage; it is asked again")
                    }
                }
            },
            &self.runtime,
        );
    }

    /// Sends a round whose content lies in a file; the journal's core is told when the connections have it.
    pub(crate) fn send_file(
        &self,
        replica: &Arc<Replica>,
        attempt: u64,
        senders: Vec<mpsc::Sender<wire::ReplicateRequest>>,
        (first, last): (Option<wire::ReplicateRequest>, wire::ReplicateRequest),
        (file, length): (Arc<dyn DiskFile>, u64),
    ) {
        let (cores, replica) = (self.cores.clone(), Arc::clone(replica));
        self.spawn_here(async move {
            let mut at = 0;
            let mut next = first;
            loop {
                if let Some(message) = next.take() {
                    // A stream that has ended says so by itself; the others go on.
                    join_all(senders.iter().map(|sender| sender.send(message.clone()))).await;
                }
                if at >= length {
                    break;
                }
                let file = Arc::clone(&file);
                let piece = usize::try_from(length - at).unwrap_or(usize::MAX).min(FILE_PIECE);
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = BytesMut::zeroed(piece);
                    file.read_exact_at(&mut buffer, at).map(|()| buffer.freeze())
                });
                match read.await {
                    Ok(Ok(content)) => {
                        next = Some(messages::content(content, at));
                        at += piece as u64;
                    }
                    failed => {
                        // Without its content the round cannot be answered: dropping the senders ends the streams.
                        tracing::error!(journal = %replica.journal, ?failed, "cannot read what an append left in a file");
                        let failure = Some("content of an append cannot be read again".to_owned());
                        let journal = replica.journal.clone();
                        let command = Command::Answered { replica, attempt, peer: 0, answered: 0, failure };
                        let _ = cores.send(&journal, command).await;
                        return;
                    }
                }
            }
            join_all(senders.iter().map(|sender| sender.send(last.clone()))).await;
            let journal = replica.journal.clone();
            let _ = cores.send(&journal, Command::Sent { replica, attempt }).await;
        });
    }

    /// Makes durable what turns have written; the core is told when that is done, or failed.
    pub(crate) fn sync(&self, core: usize, unsynced: Unsynced) {
        let cores = self.cores.clone();
        self.tasks.spawn_on(
            async move {
                let synced = tokio::task::spawn_blocking(move || unsynced.sync()).await;
                let outcome = match synced {
                    Ok(synced) => synced.map_err(|fault| fault.to_string()),
                    Err(panic) => Err(panic.to_string()),
                };
                // A core that has stopped has told everybody that nothing is known.
                let _ = cores.send_to(core, Command::Synced { outcome }).await;
            },
            &self.runtime,
        );
    }

    /// Encodes what a spool has grown by, between the uploads that want the processors too.
    pub(crate) fn encode_ahead(&self, task: ahead::Task) {
        let stores = Arc::clone(&self.stores);
        self.tasks.spawn_on(
            async move {
                let mut next = Some(task);
                while let Some(task) = next {
                    let permit = stores.encode_permit().await;
                    // One that panicked has given its place back, and is encoded when it is uploaded.
                    next = tokio::task::spawn_blocking(move || {
                        let _permit = permit;
                        task.run()
                    })
                    .await
                    .unwrap_or_default();
                }
            },
            &self.runtime,
        );
    }

    /// Whether a member understands what Courant adds to the protocol.
    pub(crate) fn is_courant(&self, id: &ProcessId) -> bool {
        self.presence.is_courant(id)
    }

    /// A member could not be reached.
    pub(crate) fn unreachable(&self, id: &ProcessId) {
        self.presence.suspect(id);
    }

    /// A member was reached.
    pub(crate) fn reached(&self, id: &ProcessId) {
        self.presence.clear(id);
    }
}

/// The fragments of all stores of a journal. Any store's failure is the failure of the listing; where the first one has never worked,
/// that is said.
async fn list(
    stores: &Stores,
    space: &Space,
    journal: &JournalName,
    spec: &JournalSpec,
) -> Result<Vec<Fragment>, Unhealthy> {
    // Journals of another cluster's making may be nested; no broker of ours creates such names.
    let nested: Vec<JournalName> = space
        .item_entries_with_prefix(&format!("{journal}/"))
        .into_iter()
        .filter_map(|entry| match &entry.value {
            Value::Item(spec) => Some(spec.name.clone()),
            Value::Member(_) | Value::Assignment(_) => None,
        })
        .collect();
    let mut fragments = Vec::new();
    for (number, url) in spec.fragment.stores.iter().enumerate() {
        let unhealthy =
            |error: &dyn std::fmt::Display| Unhealthy(format!("fragment store {url} unhealthy: {error}"));
        let store = stores.get(url).map_err(|error| unhealthy(&error))?;
        if number == 0
            && let Some(reason) = store.checked().await.gate()
        {
            return Err(unhealthy(&reason));
        }
        fragments.extend(store.list(journal, &nested).await.map_err(|error| unhealthy(&error))?);
    }
    Ok(fragments)
}
