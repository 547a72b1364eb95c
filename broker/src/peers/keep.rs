//! Keeps this broker's own keys among its peers: compares what shall be there with what is, and mends the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use courant_keyspace::{Entry, Error as KeyspaceError, Mirror, Revision, Witness};
use courant_proto::id::ProcessId;
use etcd_client::{Client, PutOptions, Txn, TxnOp};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::record::{Keys, Presence, Present, Report, Reported, Suspicion};
use super::{Complaint, Found, LASTS, Peers, View};
use crate::journal_space::SpaceMirror;
use crate::member::{Member, MemberError, Standing};

/// No answer of the registry within this time is a failure.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits after failures grow from here…
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// …to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Changes that one transaction makes; etcd takes 128 by default.
const CHANGES: usize = 100;

/// What keeping our keys needs to know.
pub(super) struct Keeper {
    pub(super) peers: Peers,
    pub(super) etcd: Client,
    pub(super) witness: Witness,
    pub(super) keys: Keys,
    pub(super) presence: Presence,
    pub(super) member: Member,
    pub(super) space: SpaceMirror,
    pub(super) members: Mirror<Present>,
    pub(super) suspects: Mirror<Reported>,
    pub(super) rng: StdRng,
    /// When we put our presence last, and under which lease.
    pub(super) put: Option<(Revision, i64)>,
}

impl Keeper {
    /// Tells the handle what the mirrors show.
    pub(super) fn publish(&self) {
        let members = self.members.snapshot();
        let (mut courant, mut without_room) = (BTreeMap::new(), BTreeSet::new());
        let mut read_reports = BTreeMap::new();
        for entry in members.all() {
            let Present { id, presence } = &entry.value;
            courant.insert(id.clone(), presence.version.clone());
            read_reports.insert(id, presence.read_report);
            if presence.is_without_room {
                without_room.insert(id.clone());
            }
        }
        let suspects = self.suspects.snapshot();
        let (mut suspected, mut read) = (BTreeSet::new(), BTreeSet::new());
        for entry in suspects.all() {
            let suspicion = &entry.value.suspicion;
            suspected.insert(suspicion.clone());
            if read_reports.get(&suspicion.suspect).is_some_and(|read| *read >= entry.mod_revision.get()) {
                read.insert(suspicion.clone());
            }
        }
        let view = View { courant, suspected, read, without_room };
        self.peers.0.view.send_if_modified(|known| {
            let is_news = **known != view;
            if is_news {
                *known = Arc::new(view);
            }
            is_news
        });
    }

    /// Goes on until somebody else turns out to live under our id.
    pub(super) async fn keep(mut self) -> Result<(), MemberError> {
        let mut standing = self.member.standing();
        let (mut members, mut suspects) = (self.members.subscribe(), self.suspects.subscribe());
        let mut space = self.space.subscribe();
        let mut failures = 0;
        loop {
            self.publish();
            let now = *standing.borrow_and_update();
            let until = match self.mend(now).await {
                Ok(until) => {
                    failures = 0;
                    until
                }
                Err(MemberError::Registry(error)) if !error.is_exchanged() => {
                    // Without a place of ours there is nothing that these keys could hang on; a new lease is news.
                    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(LONGEST_PAUSE);
                    failures += 1;
                    tracing::warn!(%error, "could not tell the other brokers of this one");
                    sleep(pause.mul_f64(0.5 + 0.5 * self.rng.random::<f64>())).await;
                    continue;
                }
                Err(displaced) => return Err(displaced),
            };
            // Members come and go seldom enough, but journals do not: the space is looked at only for a suspect's sake.
            let has_reports = until.is_some();
            tokio::select! {
                changed = members.changed() => if changed.is_err() { return std::future::pending().await },
                changed = suspects.changed() => if changed.is_err() { return std::future::pending().await },
                changed = space.changed(), if has_reports => if changed.is_err() { return std::future::pending().await },
                changed = standing.changed() => if changed.is_err() { return std::future::pending().await },
                () = self.peers.0.reported.notified() => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if has_reports => {}
            }
        }
    }

    /// Mends what is not as it shall be. Says when there may be something to mend though nothing has changed.
    async fn mend(&mut self, standing: Standing) -> Result<Option<Instant>, MemberError> {
        let (wanted, until) = self.wanted();
        self.presence.is_without_room = self.peers.0.is_without_room.load(Ordering::Relaxed);
        if !standing.held {
            return Ok(until);
        }
        let suspects = self.suspects.snapshot();
        let of_us = suspects.all();
        let of_us = of_us.iter().filter(|entry| entry.value.suspicion.suspect == self.peers.0.me);
        if let Some(newest) = of_us.map(|entry| entry.mod_revision.get()).max() {
            self.presence.read_report = self.presence.read_report.max(newest);
        }
        let mut changes = Vec::new();
        let presence = self.is_present(standing.lease)?;
        if !presence {
            let key = self.keys.member(&self.peers.0.me);
            changes.push(put_under(standing.lease, key, &self.presence));
        }
        for (suspicion, lease) in &wanted {
            let key = self.keys.suspicion(suspicion);
            let is_as_told =
                |entry: &Entry<Reported>| entry.lease == standing.lease && entry.value.report.lease == *lease;
            if !suspects.get(&key).is_some_and(is_as_told) {
                changes.push(put_under(standing.lease, key, &Report { lease: *lease }));
            }
        }
        let ours = suspects.all();
        let ours = ours.iter().filter(|entry| entry.value.suspicion.by == self.peers.0.me);
        for entry in ours.filter(|entry| !wanted.contains_key(&entry.value.suspicion)) {
            changes.push(TxnOp::delete(entry.key.to_vec(), None));
        }
        for (number, some) in changes.chunks(CHANGES).enumerate() {
            let revision = self.commit(some.to_vec()).await?;
            // The first change of all is our presence, if it is one of them.
            if !presence && number == 0 {
                self.put = Some((revision, standing.lease));
            }
            // Else the next look would find things as they were, and do it all again.
            self.members.at_least(revision).await?;
            self.suspects.at_least(revision).await?;
        }
        self.publish();
        Ok(until)
    }

    /// Whether our presence is there as we put it.
    fn is_present(&self, lease: i64) -> Result<bool, MemberError> {
        let members = self.members.snapshot();
        let Some(found) = members.get(self.keys.member(&self.peers.0.me)) else { return Ok(false) };
        if found.value.presence == self.presence && found.lease == lease {
            return Ok(true);
        }
        // What an earlier process left was there before we were. What comes after is a process that has taken over our lease while we
        // live, which a copy of the data folder can do.
        let replaced =
            self.put.is_some_and(|(revision, under)| found.mod_revision > revision && under == lease);
        if replaced && found.lease == lease && found.value.presence.instance != self.presence.instance {
            let space = self.space.snapshot();
            let endpoint = space.member(&self.peers.0.me).map(|spec| spec.endpoint.to_string());
            let endpoint = endpoint.unwrap_or_else(|| "an unknown address".to_owned());
            return Err(MemberError::Taken { id: self.peers.0.me.clone(), endpoint, lease });
        }
        Ok(false)
    }

    /// The suspicions that shall be there, with the leases of the suspects; and until when that holds.
    fn wanted(&mut self) -> (BTreeMap<Suspicion, i64>, Option<Instant>) {
        let now = Instant::now();
        let space = self.space.snapshot();
        let lease_of = |id: &ProcessId| space.member_entry(id).map(|(entry, _)| entry.lease);
        let Found { silent, trusted } = self.peers.0.found.lock().clone();
        let mut complaints = self.peers.0.complaints.lock();
        // Who has gone, or come back as another, is not the one that was complained of.
        complaints.retain(|suspect, complaint| {
            let lease = lease_of(suspect);
            complaint.until > now && lease.is_some_and(|lease| *complaint.lease.get_or_insert(lease) == lease)
        });
        let is_told = |complaint: &Complaint| trusted.is_some_and(|trusted| complaint.raised <= trusted);
        let complained_of =
            complaints.iter().filter(|(_, complaint)| is_told(complaint)).map(|(suspect, _)| suspect.clone());
        let suspects: BTreeSet<ProcessId> = complained_of.chain(silent).collect();
        let until = complaints.values().map(|complaint| complaint.until).min();
        let until = until.or_else(|| (!suspects.is_empty()).then(|| now + LASTS));
        let by = &self.peers.0.me;
        let wanted = suspects
            .into_iter()
            .filter_map(|suspect| {
                let lease = lease_of(&suspect)?;
                Some((Suspicion { suspect, by: by.clone() }, lease))
            })
            .collect();
        (wanted, until)
    }

    async fn commit(&self, changes: Vec<TxnOp>) -> Result<Revision, KeyspaceError> {
        let action = || "telling the other brokers of this one".to_owned();
        let txn = Txn::new().when([self.witness.compare()]).and_then(changes);
        let answer = timeout(ANSWER_WITHIN, Box::pin(self.etcd.kv_client().txn(txn))).await;
        let answer = answer
            .map_err(|_| KeyspaceError::TimedOut { action: action(), waited: ANSWER_WITHIN })?
            .map_err(|source| KeyspaceError::Etcd { action: action(), source })?;
        if !answer.succeeded() {
            let key = String::from_utf8_lossy(&self.witness.key).into_owned();
            return Err(KeyspaceError::Exchanged { action: action(), key });
        }
        let header = answer
            .header()
            .ok_or_else(|| KeyspaceError::Malformed { action: action(), missing: "header" })?;
        Ok(Revision::new(header.revision()))
    }
}

fn put_under(lease: i64, key: String, value: &impl prost::Message) -> TxnOp {
    TxnOp::put(key, value.encode_to_vec(), Some(PutOptions::new().with_lease(lease)))
}
