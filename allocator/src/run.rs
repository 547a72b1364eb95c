//! The loop that every member runs: while it leads, it carries out what the plan says, and waits for news.
//!
//! There is no election. Whoever's key is the oldest leads, and every transaction is guarded by that key: who wrongly
//! thinks that he leads can do nothing.

use std::sync::Arc;
use std::time::Duration;

use courant_keyspace::{Error, Mirror, Snapshot};
use etcd_client::{Client, Compare as EtcdCompare, CompareOp, PutOptions, Txn, TxnOp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::keys::Keys;
use crate::plan::Policy;
use crate::reader::{Follower, Reader, Suspicion, ValuesOf};
use crate::solve::Outcome;
use crate::transaction::{Compare, Transaction, Write};

/// No answer within this time is a failure; what was sent may still be carried out.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// The pause after a first failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Keys from which on thinking is done where it holds up nobody.
const MANY_KEYS: usize = 4_000;

/// Allocates the items of a cluster, while this member leads it.
pub struct Allocator<R: Reader> {
    etcd: Client,
    mirror: Mirror<R::Value>,
    keys: Keys,
    reader: Arc<R>,
    me: (Box<str>, Box<str>),
    policy: Policy,
    reports: Option<watch::Receiver<R::Reports>>,
    guard: Option<EtcdCompare>,
    rng: StdRng,
    mind: Option<Mind<R::Value>>,
    told: Option<Outcome>,
    led: bool,
}

/// What thinking takes, in one piece that can be moved to where it is done.
struct Mind<V> {
    follower: Follower<V>,
}

/// What thinking came to.
struct Thought {
    /// Whether this member leads.
    leads: bool,
    transactions: Vec<Transaction>,
    outcome: Outcome,
}

/// How a pass ended.
enum Pass {
    /// Nothing was to be done.
    Idle,
    /// Something was done, which is to be seen before the next pass.
    Done { revision: i64 },
    /// A key is not as the mirror had it.
    Overtaken,
}

impl<R: Reader> std::fmt::Debug for Allocator<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allocator").field("me", &self.me).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<R: Reader> Allocator<R> {
    /// An allocator for the member `(zone, suffix)` of the cluster whose keys `mirror` shows.
    pub fn new(
        etcd: Client,
        mirror: Mirror<R::Value>,
        keys: Keys,
        reader: R,
        (zone, suffix): (&str, &str),
        seed: u64,
    ) -> Self {
        Self {
            etcd,
            mirror,
            keys,
            reader: Arc::new(reader),
            me: (zone.into(), suffix.into()),
            policy: Policy::default(),
            reports: None,
            guard: None,
            rng: StdRng::seed_from_u64(seed),
            mind: Some(Mind { follower: Follower::default() }),
            told: None,
            led: false,
        }
    }

    /// The same, which heeds reports of members that do not answer.
    #[must_use]
    pub fn with_reports(self, reports: watch::Receiver<R::Reports>) -> Self {
        Self { reports: Some(reports), ..self }
    }

    /// The same, which changes nothing where this does not hold as well.
    #[must_use]
    pub fn with_guard(self, guard: EtcdCompare) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Follows the mirror until cancelled, or until it ends.
    pub async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(Box::pin(self.follow())).await;
    }

    async fn follow(&mut self) {
        let mut news = self.mirror.subscribe();
        let mut failures = 0;
        loop {
            let snapshot = Arc::clone(&news.borrow_and_update());
            let reports = match &mut self.reports {
                Some(reports) => self.reader.suspicions(&reports.borrow_and_update()),
                None => Vec::new(),
            };
            match self.pass(snapshot, reports).await {
                Ok(Pass::Done { revision }) => {
                    failures = 0;
                    // Until then the mirror shows what was before this pass, and the next would do it all again.
                    if self.mirror.at_least(revision).await.is_err() {
                        return;
                    }
                }
                Ok(Pass::Idle) => {
                    failures = 0;
                    if self.has_news(&mut news).await.is_err() {
                        return;
                    }
                }
                Ok(Pass::Overtaken) => {
                    // What overtook it may lie outside of the mirror, so that there may be no news of it.
                    failures += 1;
                    let pause = self.pause(failures);
                    if let Ok(Err(_)) = timeout(pause, self.has_news(&mut news)).await {
                        return;
                    }
                }
                Err(error) => {
                    // There is no end to this but the member's own: nobody else does it while this one leads.
                    failures += 1;
                    tracing::warn!(%error, "could not assign items");
                    sleep(self.pause(failures)).await;
                }
            }
        }
    }

    async fn has_news(
        &mut self,
        news: &mut watch::Receiver<Arc<Snapshot<R::Value>>>,
    ) -> Result<(), watch::error::RecvError> {
        let Some(reports) = &mut self.reports else { return news.changed().await };
        tokio::select! {
            changed = news.changed() => changed,
            // Where nobody reports any more, only the mirror has news.
            Ok(()) = reports.changed() => Ok(()),
        }
    }

    fn pause(&mut self, failures: u32) -> Duration {
        let (first, longest) = PAUSES;
        let pause = first.saturating_mul(1 << failures.clamp(1, 10).saturating_sub(1)).min(longest);
        pause.mul_f64(0.5 + 0.5 * self.rng.random::<f64>())
    }

    async fn pass(
        &mut self,
        snapshot: Arc<Snapshot<R::Value>>,
        reports: Vec<Suspicion>,
    ) -> Result<Pass, Error> {
        let Thought { leads, transactions, outcome } = self.think(snapshot, reports).await;
        self.tell(leads, outcome);
        let mut revision = None;
        for transaction in transactions {
            match commit(&self.etcd, self.guard.as_ref(), transaction).await? {
                Ok(committed) => revision = Some(committed),
                Err(()) => return Ok(Pass::Overtaken),
            }
        }
        Ok(revision.map_or(Pass::Idle, |revision| Pass::Done { revision }))
    }

    async fn think(&mut self, snapshot: Arc<Snapshot<R::Value>>, reports: Vec<Suspicion>) -> Thought {
        // It is missing only if thinking was cancelled, and then begins anew.
        let mut mind = self.mind.take().unwrap_or_else(|| Mind { follower: Follower::default() });
        let (keys, reader, me) = (self.keys.clone(), Arc::clone(&self.reader), self.me.clone());
        let policy = self.policy;
        let is_much = snapshot.len() > MANY_KEYS;
        let think = move || {
            let thought = mind.think(&snapshot, &reports, (&me.0, &me.1), &keys, &*reader, policy);
            (mind, thought)
        };
        let (mind, thought) = if is_much {
            match tokio::task::spawn_blocking(think).await {
                Ok(thought) => thought,
                Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
                // The runtime is being shut down, and this task with it.
                Err(_) => std::future::pending().await,
            }
        } else {
            think()
        };
        self.mind = Some(mind);
        thought
    }

    /// Says what an operator wants to know, once.
    fn tell(&mut self, leads: bool, outcome: Outcome) {
        if std::mem::replace(&mut self.led, leads) != leads {
            tracing::info!(leads, "the leader of the allocation");
        }
        let short = |outcome: Outcome| outcome.wanted.saturating_sub(outcome.placed);
        let told = self.told.replace(outcome).map_or(0, short);
        if leads && short(outcome) > 0 && told == 0 {
            let Outcome { wanted, placed, .. } = outcome;
            tracing::warn!(wanted, placed, "cannot reach desired replication for all items");
        }
    }
}

impl<V: Send + Sync + 'static> Mind<V> {
    fn think<R: Reader<Value = V>>(
        &mut self,
        snapshot: &Arc<Snapshot<V>>,
        reports: &[Suspicion],
        me: (&str, &str),
        keys: &Keys,
        reader: &R,
        policy: Policy,
    ) -> Thought {
        let follower = &mut self.follower;
        follower.follow(snapshot, keys, reader);
        let state = &mut follower.state;
        let id = |(zone, suffix): &(Box<str>, Box<str>)| (zone.to_string(), suffix.to_string());
        let reports: Vec<_> =
            reports.iter().map(|report| (id(&report.member), id(&report.by), report.shows_life)).collect();
        let leads = state.is_leader(me.0, me.1);
        if !leads {
            return Thought { leads, transactions: Vec::new(), outcome: Outcome::default() };
        }
        state.set_reports(reports.iter().map(|((az, a), (bz, b), shows_life)| {
            ((az.as_str(), a.as_str()), (bz.as_str(), b.as_str()), *shows_life)
        }));
        let values = ValuesOf { snapshot, reader };
        let plan = state.plan(me, policy, keys, &values);
        Thought { leads, transactions: plan.transactions, outcome: state.solve() }
    }
}

/// Carries out a transaction. The revision of its writes, or that it was not carried out.
async fn commit(
    etcd: &Client,
    guard: Option<&EtcdCompare>,
    transaction: Transaction,
) -> Result<Result<i64, ()>, Error> {
    let action = || "assigning items".to_owned();
    let Transaction { compares, writes } = transaction;
    let compares = compares.into_iter().map(compare).chain(guard.cloned());
    let compares: Vec<EtcdCompare> = compares.collect();
    let writes: Vec<TxnOp> = writes.into_iter().map(write).collect();
    let txn = Txn::new().when(compares).and_then(writes);
    let answer = timeout(ANSWERED_WITHIN, etcd.kv_client().txn(txn))
        .await
        .map_err(|_| Error::TimedOut { action: action(), waited: ANSWERED_WITHIN })?
        .map_err(|source| Error::Etcd { action: action(), source })?;
    let header = answer.header().ok_or_else(|| Error::Malformed { action: action(), missing: "header" })?;
    if answer.succeeded() {
        return Ok(Ok(header.revision()));
    }
    tracing::debug!("transaction checks did not succeed");
    Ok(Err(()))
}

fn compare(compare: Compare) -> EtcdCompare {
    match compare {
        Compare::Unchanged { key, mod_revision } => {
            EtcdCompare::mod_revision(key, CompareOp::Equal, mod_revision)
        }
        Compare::Absent { key } => EtcdCompare::create_revision(key, CompareOp::Equal, 0),
    }
}

fn write(write: Write) -> TxnOp {
    match write {
        Write::Delete { key } => TxnOp::delete(key, None),
        Write::Put { key, value, lease: 0 } => TxnOp::put(key, value, None),
        Write::Put { key, value, lease } => TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease))),
    }
}
