//! Pure: the whole registry as one value: store, leases and who we are.
//!
//! Every write returns its response together with the facts the log must hold before that response may be seen.
//! Replaying those facts rebuilds the value. It refuses to know files, clocks and connections; `now` is the span
//! since the registry was opened.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbLeaseGrantRequest,
    PbLeaseGrantResponse, PbLeaseKeepAliveResponse, PbLeaseLeasesResponse, PbLeaseRevokeResponse,
    PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse, PbPutRequest, PbPutResponse,
    PbRangeRequest, PbRangeResponse, PbResponseHeader, PbTxnRequest, PbTxnResponse,
};

use crate::config::Config;
use crate::key_range::KeyRange;
use crate::lease::Leases;
use crate::record::{Fact, Granted, Revoked};
use crate::refusal::Refusal;
use crate::store::{Change, Store, recorded};
use crate::{range, txn};

/// Who answers: made once, kept with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
}

impl Identity {
    /// The identity that a seed gives to a new registry. Never zero: zero means "unknown" to clients.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { cluster_id: mixed(seed, 1).max(1), member_id: mixed(seed, 2).max(1) }
    }
}

/// A well-spread number for the n-th use of a seed (the SplitMix64 finaliser).
pub(crate) fn mixed(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a write returns: its response, and what must be durable before anyone sees it (nothing for a no-op).
pub(crate) type Written<R> = (R, Option<Fact>);

/// The registry's whole state.
#[derive(Debug)]
pub(crate) struct State {
    store: Store,
    leases: Leases,
    identity: Identity,
    term: u64,
    /// Leases named by us so far in this term.
    named: u64,
    history_revisions: i64,
    history_bytes: usize,
}

impl State {
    pub(crate) fn new(identity: Identity, config: &Config) -> Self {
        Self {
            store: Store::new(),
            leases: Leases::new(config.stall_threshold),
            identity,
            term: 0,
            named: 0,
            history_revisions: config.history_revisions.max(1),
            history_bytes: config.history_bytes,
        }
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) const fn leases_mut(&mut self) -> &mut Leases {
        &mut self.leases
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) const fn term(&self) -> u64 {
        self.term
    }

    /// The header of a response that speaks of `revision`.
    pub(crate) const fn header_at(&self, revision: i64) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: self.identity.cluster_id,
            member_id: self.identity.member_id,
            revision,
            raft_term: self.term,
        }
    }

    fn header(&self) -> Option<PbResponseHeader> {
        Some(self.header_at(self.store.revision()))
    }

    /// Counts a start of the process.
    pub(crate) fn start(&mut self) -> Fact {
        self.term = self.term.saturating_add(1);
        self.named = 0;
        Fact::Started(self.term)
    }

    pub(crate) fn range(&self, request: PbRangeRequest) -> Result<PbRangeResponse, Refusal> {
        range::check(&request)?;
        self.store.readable(request.revision)?;
        Ok(PbRangeResponse { header: self.header(), ..range::answer(&self.store, request) })
    }

    pub(crate) fn put(&mut self, request: PbPutRequest) -> Result<Written<PbPutResponse>, Refusal> {
        txn::check_put(&request)?;
        // Of two things that are wrong etcd names the lease here, and the key inside a transaction.
        if request.lease != 0 && !self.leases.contains(request.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        txn::check_put_possible(&self.store, &self.leases, &request)?;
        let response = txn::put(&mut self.store, &mut self.leases, request);
        let fact = self.seal();
        Ok((PbPutResponse { header: self.header(), ..response }, fact))
    }

    pub(crate) fn delete_range(
        &mut self,
        request: PbDeleteRequest,
    ) -> Result<Written<PbDeleteResponse>, Refusal> {
        if request.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        let range = KeyRange::new(request.key, request.range_end);
        let response = txn::delete(&mut self.store, &mut self.leases, &range, request.prev_kv);
        let fact = self.seal();
        Ok((PbDeleteResponse { header: self.header(), ..response }, fact))
    }

    pub(crate) fn txn(&mut self, request: PbTxnRequest) -> Result<Written<PbTxnResponse>, Refusal> {
        txn::check(&request)?;
        let path = txn::decide(&self.store, &self.leases, &request)?;
        let response = txn::apply(&mut self.store, &mut self.leases, request, &path);
        let fact = self.seal();
        Ok((PbTxnResponse { header: self.header(), ..response }, fact))
    }

    pub(crate) fn compact(
        &mut self,
        request: PbCompactionRequest,
    ) -> Result<Written<PbCompactionResponse>, Refusal> {
        self.store.compact(request.revision)?;
        Ok((PbCompactionResponse { header: self.header() }, Some(Fact::Compacted(request.revision))))
    }

    /// Gives up the oldest history if there is more than the bounds allow.
    pub(crate) fn compact_automatically(&mut self) -> Option<Fact> {
        let (now, oldest) = (self.store.revision(), self.store.compacted().max(1));
        let held = now.saturating_sub(oldest);
        // A tenth above the bound, so that compaction comes in strides and not with every write.
        let keep = if held > self.history_revisions.saturating_add(self.history_revisions / 10) {
            self.history_revisions
        } else if self.store.history_bytes() > self.history_bytes {
            held / 2
        } else {
            return None;
        };
        let revision = now.saturating_sub(keep);
        self.store.compact(revision).ok().map(|()| Fact::Compacted(revision))
    }

    pub(crate) fn grant(
        &mut self,
        request: PbLeaseGrantRequest,
        now: Duration,
    ) -> Result<Written<PbLeaseGrantResponse>, Refusal> {
        self.leases.observe(now);
        let id = if request.id == 0 { self.unused_lease_id() } else { request.id };
        let ttl = self.leases.grantable(id, request.ttl)?;
        self.leases.grant(id, ttl, now);
        let response = PbLeaseGrantResponse { header: self.header(), id, ttl, error: String::new() };
        Ok((response, Some(Fact::Granted(Granted { id, ttl }))))
    }

    /// A name nobody holds. The term takes part, so that a restart does not repeat the names of its past: a client
    /// that still believes in a lost lease must not find itself holding a stranger's.
    fn unused_lease_id(&mut self) -> i64 {
        loop {
            self.named = self.named.wrapping_add(1);
            let seed = mixed(self.identity.cluster_id, self.term);
            let id = (mixed(seed, self.named) >> 1).cast_signed();
            if id != 0 && !self.leases.contains(id) {
                return id;
            }
        }
    }

    pub(crate) fn revoke(&mut self, id: i64) -> Result<Written<PbLeaseRevokeResponse>, Refusal> {
        let keys = self.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
        let change = self.delete_keys(keys).map(recorded);
        let response = PbLeaseRevokeResponse { header: self.header() };
        Ok((response, Some(Fact::Revoked(Revoked { id, change }))))
    }

    /// Deletes keys as one revision, in their order.
    fn delete_keys(&mut self, keys: BTreeSet<Bytes>) -> Option<&Change> {
        for key in keys {
            self.store.delete(&KeyRange::One(key));
        }
        self.store.seal()
    }

    /// Revokes one lease that has ended by `now`.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<(i64, Fact)> {
        self.leases.observe(now);
        let id = self.leases.ended(now)?;
        let (_, fact) = self.revoke(id).ok()?;
        Some((id, fact?))
    }

    /// Renews a lease. Nothing is remembered: after a restart every lease has its full time again anyway.
    pub(crate) fn keep_alive(&mut self, id: i64, now: Duration) -> PbLeaseKeepAliveResponse {
        self.leases.observe(now);
        let ttl = self.leases.renew(id, now).unwrap_or(0);
        PbLeaseKeepAliveResponse { header: self.header(), id, ttl }
    }

    pub(crate) fn time_to_live(
        &mut self,
        request: PbLeaseTimeToLiveRequest,
        now: Duration,
    ) -> PbLeaseTimeToLiveResponse {
        self.leases.observe(now);
        let header = self.header();
        let Some(found) = self.leases.time_to_live(request.id, now) else {
            return PbLeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
        };
        let keys =
            if request.keys { found.keys.iter().map(|key| key.to_vec()).collect() } else { Vec::new() };
        PbLeaseTimeToLiveResponse { header, id: request.id, ttl: found.left, granted_ttl: found.ttl, keys }
    }

    pub(crate) fn lease_ids(&self) -> PbLeaseLeasesResponse {
        let leases = self.leases.ids().map(|id| PbLeaseStatus { id }).collect();
        PbLeaseLeasesResponse { header: self.header(), leases }
    }

    fn seal(&mut self) -> Option<Fact> {
        self.store.seal().map(recorded).map(Fact::Change)
    }

    /// The facts that rebuild this state, for a snapshot; without the closing one.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let mut facts = self.store.facts(self.term);
        let granted = self.leases.granted().map(|(id, ttl)| Fact::Granted(Granted { id, ttl }));
        // After the base and before the keys that are attached to them.
        facts.splice(1..1, granted);
        facts
    }

    /// Takes a remembered fact. The error says what contradicts what is known so far.
    pub(crate) fn replay(&mut self, fact: Fact, now: Duration) -> Result<(), String> {
        match fact {
            Fact::Change(change) => self.replay_change(change),
            Fact::Granted(Granted { id, ttl }) => {
                self.leases.grant(id, ttl, now);
                Ok(())
            }
            Fact::Revoked(Revoked { id, change }) => {
                self.leases.remove(id);
                change.map_or(Ok(()), |change| self.replay_change(change))
            }
            Fact::Compacted(revision) => self
                .store
                .compact(revision)
                .map_err(|refusal| format!("compaction at revision {revision}: {}", refusal.text())),
            Fact::Started(term) => {
                self.term = term;
                Ok(())
            }
            Fact::Base(base) => {
                self.term = base.term;
                self.store.restore(base);
                Ok(())
            }
            Fact::Kept(kept) => {
                self.leases.attach(&kept.key, 0, kept.lease);
                self.store.restore_key(kept);
                Ok(())
            }
            Fact::Past(change) => {
                self.store.restore_change(change);
                Ok(())
            }
            Fact::End(_) => Ok(()),
        }
    }

    fn replay_change(&mut self, change: crate::record::Change) -> Result<(), String> {
        let expected = self.store.revision().saturating_add(1);
        if change.revision != expected {
            return Err(format!(
                "revision {} follows revision {}",
                change.revision,
                expected.saturating_sub(1)
            ));
        }
        for edit in change.edits {
            match edit.put {
                Some(put) => {
                    let previous = self.store.put(edit.key.clone(), put.value, put.lease);
                    self.leases.attach(&edit.key, previous.map_or(0, |entry| entry.lease), put.lease);
                }
                None => {
                    for (key, entry) in self.store.delete(&KeyRange::One(edit.key)) {
                        self.leases.attach(&key, entry.lease, 0);
                    }
                }
            }
        }
        match self.store.seal() {
            Some(_) => Ok(()),
            None => Err(format!("revision {expected} changes nothing")),
        }
    }
}

#[cfg(test)]
mod tests;
