//! What a server of the etcd v3 API must do for us, as named cases against any client: one suite for this registry
//! and for a real etcd, so that neither the code nor the suite drifts from what etcd does.
//!
//! Cases keep to keys under the caller's prefix. They compact the history, so they want a server of their own.

use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use etcd_client::{Client, Error, ResponseHeader};
use futures::FutureExt;
use tonic::Code;

mod history;
mod kv;
mod lease;
mod txn;
mod watch;

/// How long a case waits for something that must come.
const LIVENESS: Duration = Duration::from_secs(30);

/// A client and the part of the key space that a case may use.
#[derive(Clone)]
struct Case {
    client: Client,
    prefix: String,
}

impl Case {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The server's revision.
    async fn revision(&mut self) -> i64 {
        let response = self.client.get(self.key("none"), None).await.expect("a get");
        revision(response.header())
    }
}

/// Runs every case, and then panics with the names of those that failed, if any.
///
/// # Panics
/// If the server behind `client` does something else than etcd does.
pub async fn conformance(client: Client, prefix: &str) {
    let mut failed: Vec<&str> = Vec::new();
    macro_rules! cases {
        ($($module:ident :: $case:ident),+ $(,)?) => { $({
            let name = concat!(stringify!($module), "::", stringify!($case));
            let case = Case { client: client.clone(), prefix: format!("{prefix}/{name}/") };
            if passes(name, || Box::pin($module::$case(case))).await.is_err() {
                failed.push(name);
            }
        })+ };
    }
    cases! {
        kv::a_put_is_a_revision,
        kv::a_put_keeps_what_it_is_told_to_ignore,
        kv::ranges_have_ends,
        kv::ranges_are_limited_sorted_and_filtered,
        kv::the_past_can_be_read,
        kv::deletes_count,
        kv::bad_requests_are_refused,
        kv::sizes_are_limited,
        txn::guards_choose_the_branch,
        txn::every_target_compares,
        txn::a_guard_holds_for_a_whole_range,
        txn::all_or_nothing,
        txn::responses_tell_revisions,
        txn::nested_transactions_see_the_state_before,
        txn::operations_are_limited,
        txn::no_key_is_written_twice,
        watch::events_come_in_order_and_whole,
        watch::the_past_can_be_watched,
        watch::the_future_can_be_watched,
        watch::filters_and_previous_values,
        watch::streams_carry_many_watchers,
        watch::bad_watches_are_refused,
        watch::progress_can_be_asked_for,
        watch::large_changes_come_in_fragments,
        lease::a_lease_carries_its_keys,
        lease::a_key_changes_its_lease,
        lease::a_lease_ends,
        lease::a_lease_is_kept_alive,
        lease::bad_leases_are_refused,
        history::compaction_forgets,
        history::watchers_learn_of_compaction,
    }
    assert!(failed.is_empty(), "{} conformance cases failed: {}", failed.len(), failed.join(", "));
}

/// Runs a case on the heap: all of them in one future would be more than a test's stack holds.
async fn passes<C: Future<Output = ()>>(name: &str, case: impl FnOnce() -> Pin<Box<C>>) -> Result<(), ()> {
    let outcome = AssertUnwindSafe(tokio::time::timeout(LIVENESS * 2, case())).catch_unwind().await;
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => {
            tracing::error!(name, "conformance case hangs");
            Err(())
        }
        Err(_) => {
            tracing::error!(name, "conformance case failed");
            Err(())
        }
    }
}

/// The revision a response speaks of.
#[track_caller]
fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.expect("every response has a header").revision()
}

/// Asserts that a request was declined, and how.
#[track_caller]
fn refused<T: Debug>(outcome: Result<T, Error>, code: Code, text: &str) {
    match outcome {
        Err(Error::GRpcStatus(status)) => {
            assert_eq!((status.code(), status.message()), (code, text));
        }
        other => panic!("expected {code:?} {text:?}, got {other:?}"),
    }
}

/// What comes within the liveness bound.
#[track_caller]
fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIVENESS, future).await {
            Ok(value) => value,
            Err(_) => panic!("nothing came within {LIVENESS:?}, waited for at {caller}"),
        }
    }
}
