//! Calls of the Journal service, counted when they begin and when they end. It knows how calls end, and nothing of what they do.
//!
//! ```text
//!  began ─► Call ── ended(status), or the last reply's status ──► completed
//!             └──── dropped, as its caller went away ───────────► completed
//! ```

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{BoxStream, Stream};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use tonic::Status;

use super::Metrics;

/// A call that did what it was to do.
const OK: &str = "ok";
/// A call that ended with a fault.
const ERROR: &str = "error";

/// A verb of the Journal service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Append,
    Read,
    Replicate,
    List,
    Apply,
    ListFragments,
    FragmentStoreHealth,
}

impl Operation {
    /// All of them, in the order of their counters.
    const ALL: [Self; 7] = [
        Self::Append,
        Self::Read,
        Self::Replicate,
        Self::List,
        Self::Apply,
        Self::ListFragments,
        Self::FragmentStoreHealth,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Append => "Append",
            Self::Read => "Read",
            Self::Replicate => "Replicate",
            Self::List => "List",
            Self::Apply => "Apply",
            Self::ListFragments => "ListFragments",
            Self::FragmentStoreHealth => "FragmentStoreHealth",
        }
    }

    /// The status of a call whose caller went away. A stream ends like that as a rule, and an append without its end is none; from
    /// the others an answer was wanted.
    fn abandoned(self) -> &'static str {
        match self {
            Self::Append | Self::Read | Self::List => OK,
            Self::Replicate | Self::Apply | Self::ListFragments | Self::FragmentStoreHealth => ERROR,
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    operation: &'static str,
}

/// `status` is `ok`, `error`, or the name of a status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Completed {
    operation: &'static str,
    status: &'static str,
}

/// A counter that is exported by the bare name it is registered with. Gazette's end in `_totals`, and OpenMetrics has every
/// counter end in `_total`: so this one is said to be of an unknown type.
#[derive(Clone, Debug, Default)]
struct Totals(Counter);

impl TypedMetric for Totals {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for Totals {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// What nearly every call counts, so that it needs neither a look-up nor a lock.
struct Handles {
    started: Counter,
    ok: Counter,
    error: Counter,
}

/// Counters of all calls.
pub(super) struct Calls {
    handles: [Handles; Operation::ALL.len()],
    completed: Family<Completed, Totals>,
}

impl Calls {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let started = Family::<Started, Totals>::default();
        let completed = Family::<Completed, Totals>::default();
        let handles = Operation::ALL.map(|operation| {
            let operation = operation.name();
            let ended = |status| completed.get_or_create_owned(&Completed { operation, status }).0;
            Handles {
                started: started.get_or_create_owned(&Started { operation }).0,
                ok: ended(OK),
                error: ended(ERROR),
            }
        });
        registry.register(
            "gazette_journal_server_started_totals",
            "Calls of the Journal service that began",
            started,
        );
        registry.register(
            "gazette_journal_server_completed_totals",
            "Calls of the Journal service that ended",
            completed.clone(),
        );
        Self { handles, completed }
    }

    pub(super) fn started(&self, operation: Operation) {
        self.handles[operation as usize].started.inc();
    }

    fn completed(&self, operation: Operation, status: &'static str) {
        let handles = &self.handles[operation as usize];
        match status {
            OK => handles.ok.inc(),
            ERROR => handles.error.inc(),
            _ => {
                let labels = Completed { operation: operation.name(), status };
                self.completed.get_or_create(&labels).0.inc()
            }
        };
    }
}

/// A call that has begun. It counts as completed when this is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    metrics: Metrics,
    operation: Operation,
    status: &'static str,
}

impl Call {
    pub(super) fn new(metrics: Metrics, operation: Operation) -> Self {
        Self { metrics, operation, status: operation.abandoned() }
    }

    fn replied<T: HasStatus>(&mut self, reply: &Result<T, Status>) {
        self.status = reply.as_ref().map_or(ERROR, HasStatus::status_name);
    }

    /// The call ended with a fault.
    #[cfg(test)]
    pub(crate) fn failed(mut self) {
        self.status = ERROR;
    }

    /// Counts a call with one reply.
    pub(crate) async fn unary<T: HasStatus>(
        mut self,
        reply: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let reply = reply.await;
        self.replied(&reply);
        reply
    }

    /// Counts a call with a stream of replies: when they end, or are not wanted any more, with the status of the last one.
    pub(crate) fn stream<T: HasStatus + 'static>(
        self,
        replies: BoxStream<'static, Result<T, Status>>,
    ) -> BoxStream<'static, Result<T, Status>> {
        Replies { replies, call: Some(self) }.boxed()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.0.calls.completed(self.operation, self.status);
    }
}

struct Replies<T> {
    replies: BoxStream<'static, Result<T, Status>>,
    /// None once it has ended.
    call: Option<Call>,
}

impl<T: HasStatus> Stream for Replies<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reply = ready!(self.replies.poll_next_unpin(context));
        match (&reply, &mut self.call) {
            (Some(reply), Some(call)) => call.replied(reply),
            (None, call) => *call = None,
            (Some(_), None) => {}
        }
        Poll::Ready(reply)
    }
}

/// A reply whose status can be counted.
pub(crate) trait HasStatus {
    /// `ok`, or the name of the status.
    fn status_name(&self) -> &'static str;
}

macro_rules! has_status {
    ($($reply:ty),*) => {$(
        impl HasStatus for $reply {
            fn status_name(&self) -> &'static str {
                name(self.status())
            }
        }
    )*};
}

has_status!(
    wire::AppendResponse,
    wire::ListResponse,
    wire::ReplicateResponse,
    wire::ApplyResponse,
    wire::FragmentsResponse,
    wire::FragmentStoreHealthResponse
);

impl HasStatus for wire::ReadResponse {
    fn status_name(&self) -> &'static str {
        match self.status() {
            // That is how a read ends which does not wait for more: at the write head, as it should.
            wire::Status::OffsetNotYetAvailable => OK,
            status => name(status),
        }
    }
}

fn name(status: wire::Status) -> &'static str {
    match status {
        wire::Status::Ok => OK,
        status => status.as_str_name(),
    }
}
