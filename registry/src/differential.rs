//! Random operations to two servers, every answer and every watch event compared.
//!
//! Revisions are compared as distances from where each server stood, lease ids are the caller's, and what the
//! servers may decide freely (cluster ids, terms, the seconds a lease has left) is left out.

use std::fmt::{Debug, Write};
use std::time::Duration;

use etcd_client::proto::{PbKeyValue, PbRangeResponse, PbTxnOpResponse, PbTxnResponse};
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchFilterType, WatchOptions,
    WatchStream,
};

mod operation;

use operation::{Choices, Delete, Get, Guard, LEASES, Nested, Operation, Put, Step, choose};

/// How long anything that must come may take.
const LIVENESS: Duration = Duration::from_secs(30);

/// One server and where it stood at the beginning.
struct Side {
    client: Client,
    base: i64,
    prefix: String,
    seed: u64,
    watch: WatchStream,
    /// Distance of the compacted revision, for choosing readable revisions.
    compacted: i64,
}

/// Sends `operations` random operations to both servers and compares all that comes back.
///
/// # Panics
/// At the first difference, naming the seed, the operation and both answers.
pub async fn differential(seed: u64, operations: usize, a: Client, b: Client) {
    // On the heap: with its servers in one future this would be more than a test's stack likes.
    Box::pin(compare(seed, operations, a, b)).await;
}

async fn compare(seed: u64, operations: usize, a: Client, b: Client) {
    let mut choices = Choices::new(seed);
    let mut a = Side::new(a, seed).await;
    let mut b = Side::new(b, seed).await;
    let mut written = 0;
    for n in 0..operations {
        let operation = choose(&mut choices, written, a.compacted);
        // Each on the heap, for the same reason.
        let (from_a, from_b) = (Box::pin(a.perform(&operation)).await, Box::pin(b.perform(&operation)).await);
        assert_eq!(from_a, from_b, "seed {seed}, operation {n}: {operation:#?}");
        written = a.distance().await;
        assert_eq!(written, b.distance().await, "seed {seed}, revision after operation {n}: {operation:#?}");
    }
    let (from_a, from_b) = (a.drain().await, b.drain().await);
    assert_eq!(from_a, from_b, "seed {seed}, events");
    for side in [&mut a, &mut b] {
        side.clear().await;
    }
}

impl Side {
    async fn new(mut client: Client, seed: u64) -> Self {
        let prefix = format!("/differential/{seed}/");
        let options = DeleteOptions::new().with_prefix();
        let response = client.delete(prefix.as_str(), Some(options)).await.expect("a delete");
        let base = response.header().expect("a header").revision();
        let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(base + 1);
        let watch = client.watch(prefix.as_str(), Some(options)).await.expect("a watch");
        Self { client, base, prefix, seed, watch, compacted: 0 }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A lease's id on the server, unlike that of any other seed.
    fn lease(&self, lease: i64) -> i64 {
        if lease == 0 { 0 } else { ((self.seed % 1_000_000).cast_signed() + 1) * 1_000 + lease }
    }

    async fn distance(&mut self) -> i64 {
        let response = self.client.get("/differential", None).await.expect("a get");
        response.header().expect("a header").revision() - self.base
    }

    /// Gives back what was made on the server.
    async fn clear(&mut self) {
        for lease in 1..=LEASES {
            let id = self.lease(lease);
            // Most likely some were never granted.
            let _ = self.client.lease_revoke(id).await;
        }
        let options = DeleteOptions::new().with_prefix();
        self.client.delete(self.prefix.as_str(), Some(options)).await.expect("a delete");
    }

    /// What the server answers, in words that are comparable.
    async fn perform(&mut self, operation: &Operation) -> String {
        match operation {
            Operation::Put(put) => {
                let (key, options) = (self.key(put.key), self.put_options(put));
                let outcome = self.client.put(key, put.value.as_str(), Some(options)).await;
                self.told(outcome, |side, response| {
                    format!("{} {}", side.at(response.header()), side.kv(response.0.prev_kv.as_ref()))
                })
            }
            Operation::Get(get) => {
                let outcome = self.client.get(self.key(get.span.key), Some(self.get_options(get))).await;
                self.told(outcome, |side, response| side.range(&response.0))
            }
            Operation::Delete(delete) => {
                let outcome =
                    self.client.delete(self.key(delete.span.key), Some(self.delete_options(delete))).await;
                self.told(outcome, |side, response| {
                    format!(
                        "{} {} {}",
                        side.at(response.header()),
                        response.deleted(),
                        side.kvs(&response.0.prev_kvs)
                    )
                })
            }
            Operation::Txn(nested) => {
                let outcome = self.client.txn(self.txn(nested)).await;
                self.told(outcome, |side, response| side.txn_response(&response.0))
            }
            Operation::Grant { lease, ttl } => {
                let options = LeaseGrantOptions::new().with_id(self.lease(*lease));
                let outcome = self.client.lease_grant(*ttl, Some(options)).await;
                self.told(outcome, |side, response| {
                    format!("{} {} {}", side.at(response.header()), response.id(), response.ttl())
                })
            }
            Operation::Revoke { lease } => {
                let outcome = self.client.lease_revoke(self.lease(*lease)).await;
                self.told(outcome, |side, response| side.at(response.header()))
            }
            Operation::KeepAlive { lease } => {
                // The client itself refuses a lease that has no time left, which is an answer as good as any.
                match self.client.lease_keep_alive(self.lease(*lease)).await {
                    Ok((mut keeper, mut renewals)) => {
                        keeper.keep_alive().await.expect("a request");
                        let renewal = renewals.message().await.expect("a response").expect("an open stream");
                        format!("{} {} {}", self.at(renewal.header()), renewal.id(), renewal.ttl())
                    }
                    Err(error) => failed(&error),
                }
            }
            Operation::TimeToLive { lease } => {
                let options = LeaseTimeToLiveOptions::new().with_keys();
                let outcome = self.client.lease_time_to_live(self.lease(*lease), Some(options)).await;
                self.told(outcome, |side, response| {
                    let mut keys: Vec<String> = response.keys().iter().map(|key| side.name(key)).collect();
                    keys.sort();
                    let gone = response.ttl() < 0;
                    format!("{} {} {gone} {keys:?}", side.at(response.header()), response.granted_ttl())
                })
            }
            Operation::WatchFrom { from, filter } => self.watch_from(*from, *filter).await,
            Operation::Compact { at } => {
                // Watchers that are behind would lose previous values or be cancelled, at the servers' whim.
                let events = self.drain().await;
                let outcome = self.client.compact(self.base + at, None).await;
                if outcome.is_ok() {
                    self.compacted = *at;
                }
                let outcome = self.told(outcome, |side, response| side.at(response.header()));
                format!("{outcome}\n{events}")
            }
        }
    }

    fn told<T>(&self, outcome: Result<T, Error>, words: impl FnOnce(&Self, T) -> String) -> String {
        match outcome {
            Ok(response) => words(self, response),
            Err(error) => failed(&error),
        }
    }

    fn put_options(&self, put: &Put) -> PutOptions {
        let mut options = PutOptions::new();
        if put.lease != 0 {
            options = options.with_lease(self.lease(put.lease));
        }
        if put.prev {
            options = options.with_prev_key();
        }
        if put.ignore_value {
            options = options.with_ignore_value();
        }
        if put.ignore_lease {
            options = options.with_ignore_lease();
        }
        options
    }

    /// Where a range ends.
    fn end(&self, end: &str) -> String {
        // The prefix ends with a slash, which a zero follows.
        if end.is_empty() { format!("{}0", self.prefix.trim_end_matches('/')) } else { self.key(end) }
    }

    fn get_options(&self, get: &Get) -> GetOptions {
        let mut options = GetOptions::new().with_limit(get.limit);
        if let Some(end) = get.span.end {
            options = options.with_range(self.end(end));
        }
        if let Some(at) = get.at {
            options = options.with_revision(self.base + at);
        }
        if let Some((target, order)) = get.sort {
            let target = match target {
                0 => SortTarget::Key,
                1 => SortTarget::Version,
                2 => SortTarget::Create,
                3 => SortTarget::Mod,
                _ => SortTarget::Value,
            };
            let order = match order {
                0 => SortOrder::None,
                1 => SortOrder::Ascend,
                _ => SortOrder::Descend,
            };
            options = options.with_sort(target, order);
        }
        if get.keys_only {
            options = options.with_keys_only();
        }
        if get.count_only {
            options = options.with_count_only();
        }
        if let Some(min) = get.min_mod {
            options = options.with_min_mod_revision(self.base + min);
        }
        if let Some(max) = get.max_create {
            options = options.with_max_create_revision(self.base + max);
        }
        options
    }

    fn delete_options(&self, delete: &Delete) -> DeleteOptions {
        let mut options = DeleteOptions::new();
        if let Some(end) = delete.span.end {
            options = options.with_range(self.end(end));
        }
        if delete.prev {
            options = options.with_prev_key();
        }
        options
    }

    fn txn(&self, nested: &Nested) -> Txn {
        let when: Vec<Compare> = nested.when.iter().map(|guard| self.compare(guard)).collect();
        let steps = |steps: &[Step]| -> Vec<TxnOp> {
            let step = |step: &Step| match step {
                Step::Put(put) => {
                    TxnOp::put(self.key(put.key), put.value.as_str(), Some(self.put_options(put)))
                }
                Step::Get(get) => TxnOp::get(self.key(get.span.key), Some(self.get_options(get))),
                Step::Delete(delete) => {
                    TxnOp::delete(self.key(delete.span.key), Some(self.delete_options(delete)))
                }
                Step::Txn(nested) => TxnOp::txn(self.txn(nested)),
            };
            steps.iter().map(step).collect()
        };
        Txn::new().when(when).and_then(steps(&nested.then)).or_else(steps(&nested.otherwise))
    }

    fn compare(&self, guard: &Guard) -> Compare {
        let key = self.key(guard.key);
        let op = match guard.op {
            0 => CompareOp::Equal,
            1 => CompareOp::Greater,
            2 => CompareOp::Less,
            _ => CompareOp::NotEqual,
        };
        let compare = match guard.target {
            0 => Compare::version(key, op, guard.number % 4),
            1 => Compare::create_revision(key, op, self.base + guard.number),
            2 => Compare::mod_revision(key, op, self.base + guard.number),
            3 => Compare::value(key, op, guard.value.as_str()),
            _ => Compare::lease(key, op, self.lease(guard.number % (LEASES + 1))),
        };
        if guard.whole_prefix { compare.with_range(self.end("")) } else { compare }
    }

    /// Writes a key of its own, and tells at which revision. Always the same one: beyond a dozen keys etcd no longer
    /// keeps those that sort equal in order.
    async fn mark(&mut self) -> i64 {
        let response = self.client.put(self.key("mark"), "mark", None).await.expect("a put");
        response.header().expect("a header").revision()
    }

    /// Writes a mark and returns all events of the first watch up to it.
    async fn drain(&mut self) -> String {
        let mark = self.mark().await;
        let mut out = String::new();
        loop {
            let response = tokio::time::timeout(LIVENESS, self.watch.message()).await;
            let response = response.expect("events come").expect("a response").expect("an open stream");
            assert!(!response.canceled(), "the watch was cancelled: {response:?}");
            for event in &response.0.events {
                self.event(&mut out, event);
                if event.kv.as_ref().is_some_and(|kv| kv.mod_revision == mark) {
                    return out;
                }
            }
        }
    }

    /// A watch of its own from a revision up to now.
    async fn watch_from(&mut self, from: i64, filter: u64) -> String {
        let mark = self.mark().await;
        let mut options = WatchOptions::new().with_prefix().with_start_revision(self.base + from);
        if filter == 1 {
            options = options.with_filters([WatchFilterType::NoDelete]);
        }
        let mut stream = self.client.watch(self.prefix.as_str(), Some(options)).await.expect("a watch");
        let mut out = String::new();
        loop {
            let response = tokio::time::timeout(LIVENESS, stream.message()).await;
            let response = response.expect("events come").expect("a response").expect("an open stream");
            if response.canceled() {
                return format!("cancelled, compacted {}", response.compact_revision() - self.base);
            }
            for event in &response.0.events {
                self.event(&mut out, event);
                if event.kv.as_ref().is_some_and(|kv| kv.mod_revision == mark) {
                    return out;
                }
            }
        }
    }

    fn event(&self, out: &mut String, event: &etcd_client::proto::PbEvent) {
        let kind = if event.r#type == EventType::Put as i32 { '+' } else { '-' };
        let _ = writeln!(out, "{kind}{} < {}", self.kv(event.kv.as_ref()), self.kv(event.prev_kv.as_ref()));
    }

    fn at(&self, header: Option<&etcd_client::ResponseHeader>) -> String {
        self.distance_of(header.map_or(0, etcd_client::ResponseHeader::revision))
    }

    fn distance_of(&self, revision: i64) -> String {
        if revision == 0 { "@0".to_owned() } else { format!("@{:+}", revision - self.base) }
    }

    fn name(&self, key: &[u8]) -> String {
        let key = String::from_utf8_lossy(key);
        key.strip_prefix(&self.prefix).unwrap_or(&key).to_owned()
    }

    fn kv(&self, kv: Option<&PbKeyValue>) -> String {
        let Some(kv) = kv else { return "none".to_owned() };
        let (name, value) = (self.name(&kv.key), String::from_utf8_lossy(&kv.value));
        let (created, changed) = (self.distance_of(kv.create_revision), self.distance_of(kv.mod_revision));
        format!("{name}={value:?} {created} {changed} v{} l{}", kv.version, kv.lease)
    }

    fn kvs(&self, kvs: &[PbKeyValue]) -> String {
        let kvs: Vec<String> = kvs.iter().map(|kv| self.kv(Some(kv))).collect();
        format!("[{}]", kvs.join(", "))
    }

    fn range(&self, response: &PbRangeResponse) -> String {
        let at = self.distance_of(response.header.as_ref().map_or(0, |header| header.revision));
        format!("{at} {} of {} more {}", self.kvs(&response.kvs), response.count, response.more)
    }

    fn txn_response(&self, response: &PbTxnResponse) -> String {
        let header = response.header.as_ref().map(|header| self.distance_of(header.revision));
        let mut out = format!("{header:?} {}:", response.succeeded);
        for response in &response.responses {
            let words = match &response.response {
                Some(PbTxnOpResponse::ResponseRange(range)) => self.range(range),
                Some(PbTxnOpResponse::ResponsePut(put)) => {
                    let at = put.header.as_ref().map(|header| self.distance_of(header.revision));
                    format!("{at:?} {}", self.kv(put.prev_kv.as_ref()))
                }
                Some(PbTxnOpResponse::ResponseDeleteRange(delete)) => {
                    let at = delete.header.as_ref().map(|header| self.distance_of(header.revision));
                    format!("{at:?} {} {}", delete.deleted, self.kvs(&delete.prev_kvs))
                }
                Some(PbTxnOpResponse::ResponseTxn(nested)) => self.txn_response(nested),
                None => "nothing".to_owned(),
            };
            let _ = write!(out, "\n  ({words})");
        }
        out
    }
}

fn failed(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => format!("{:?}: {}", status.code(), status.message()),
        other => format!("client: {other}"),
    }
}

/// Only so that a failing assertion can print a side.
impl Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("prefix", &self.prefix).field("base", &self.base).finish_non_exhaustive()
    }
}
