//! Connections to other brokers: one for each runtime and endpoint, made when it is first used, let go when nobody uses it.
//!
//! A core's calls run over connections of the core's own thread, so that no answer takes a way over another one. Connections to
//! brokers of Courant are probed with HTTP/2 pings, which notice a peer that is frozen; brokers of other makes hang up on who
//! pings them that often, so that they are probed by TCP alone. It does not know what is said over them.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use courant_proto::endpoint::Endpoint;
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Dial};
use tonic::{Code, ConnectError, Status};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_millis(1500);

/// A peer of Courant's is probed this often, also while nothing is said.
const PROBE: Duration = Duration::from_millis(1500);

/// And has this long to answer.
const PROBE_ANSWER: Duration = Duration::from_secs(2);

/// Probes of TCP that stay without an answer before a connection is given up.
const TCP_PROBES: u32 = 2;

/// How far a peer may run ahead of one stream: enough that a round trip is never waited for.
const STREAM_WINDOW: u32 = 4 << 20;

/// How far it may run ahead of all streams of a connection together.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection that nobody used for so long is dropped. Streams that are open keep theirs.
const UNUSED: Duration = Duration::from_secs(60);

/// The first pause after a failure to connect; each further one doubles it.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// No pause is longer: how soon a cluster recovers hangs on it.
const MOST_PAUSE: Duration = Duration::from_millis(500);

/// Connections to other brokers. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Channels {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<Key, Open>,
    known: HashMap<Endpoint, Known>,
    swept: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    runtime: runtime::Id,
    endpoint: Endpoint,
    make: Make,
}

struct Open {
    channel: Channel,
    used: Instant,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Known {
    make: Make,
    /// The last attempt to connect failed: until then none is made, and how long that was.
    failed: Option<(Instant, Duration)>,
    used: Instant,
}

/// Of what make a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Make {
    /// One of ours.
    Courant,
    /// Another's, or not known yet.
    Other,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

impl Channels {
    /// A connection of this runtime to a broker, which connects with its first call, and again when it must.
    ///
    /// # Errors
    /// When the endpoint cannot be dialled, or could not be reached a moment ago. Nothing was sent.
    pub(crate) fn to(&self, endpoint: &Endpoint) -> Result<Channel, Status> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.sweep(now);
        let known = inner.known(endpoint, now);
        if known.failed.is_some_and(|(until, _)| now < until) {
            return Err(Status::unavailable(format!(
                "broker at {endpoint} could not be reached a moment ago; try again"
            )));
        }
        let key = Key { runtime: Handle::current().id(), endpoint: endpoint.clone(), make: known.make };
        if let Some(open) = inner.open.get_mut(&key) {
            open.used = now;
            return Ok(open.channel.clone());
        }
        let channel = dial(endpoint, key.make)?;
        inner.open.insert(key, Open { channel: channel.clone(), used: now });
        Ok(channel)
    }

    /// Takes note of what a call came to, for the calls after it.
    pub(crate) fn heard<T>(&self, endpoint: &Endpoint, answer: &Result<T, Status>) {
        let unreachable = answer.as_ref().is_err_and(is_unreachable);
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let known = inner.known(endpoint, now);
        known.failed = unreachable.then(|| {
            let pause = known.failed.map_or(LEAST_PAUSE, |(_, pause)| (pause * 2).min(MOST_PAUSE));
            (now + pause, pause)
        });
    }

    /// Whether the last attempt to connect to a broker failed.
    pub(crate) fn has_failed(&self, endpoint: &Endpoint) -> bool {
        self.inner.lock().known.get(endpoint).is_some_and(|known| known.failed.is_some())
    }

    /// Says of what make the broker at an endpoint is.
    pub(crate) fn is_of(&self, endpoint: &Endpoint, make: Make) {
        self.inner.lock().known(endpoint, Instant::now()).make = make;
    }
}

impl Inner {
    fn known(&mut self, endpoint: &Endpoint, now: Instant) -> &mut Known {
        let fresh = Known { make: Make::Other, failed: None, used: now };
        let known = self.known.entry(endpoint.clone()).or_insert(fresh);
        known.used = now;
        known
    }

    fn sweep(&mut self, now: Instant) {
        if now.duration_since(*self.swept.get_or_insert(now)) < UNUSED {
            return;
        }
        self.swept = Some(now);
        self.open.retain(|_, open| now.duration_since(open.used) < UNUSED);
        self.known.retain(|_, known| now.duration_since(known.used) < UNUSED);
    }
}

fn dial(endpoint: &Endpoint, make: Make) -> Result<Channel, Status> {
    let refuse = |reason: &dyn fmt::Display| {
        Status::unavailable(format!("cannot dial broker at {endpoint}: {reason}"))
    };
    if endpoint.is_tls() {
        return Err(refuse(&"this build speaks no TLS"));
    }
    let address = endpoint.dial_address();
    let address = if address.starts_with("unix:") { address } else { format!("http://{address}") };
    let dial = Dial::from_shared(address)
        .map_err(|error| refuse(&error))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let dial = match make {
        Make::Courant => {
            dial.http2_keep_alive_interval(PROBE).keep_alive_timeout(PROBE_ANSWER).keep_alive_while_idle(true)
        }
        Make::Other => dial
            .tcp_keepalive(Some(PROBE))
            .tcp_keepalive_interval(Some(PROBE))
            .tcp_keepalive_retries(Some(TCP_PROBES)),
    };
    Ok(dial.connect_lazy())
}

/// Whether a call failed since no connection came about: its peer has seen nothing of it.
pub(crate) fn is_unreachable(status: &Status) -> bool {
    let mut source = (status.code() == Code::Unavailable).then(|| status.source()).flatten();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::parse(text).expect("an endpoint")
    }

    #[tokio::test]
    async fn what_can_be_dialled() {
        let check = |text: &str, expected: Option<&str>| {
            let refused =
                Channels::default().to(&endpoint(text)).err().map(|status| status.message().to_owned());
            assert_eq!(refused.as_deref(), expected, "{text}");
        };
        check("http://host:8080", None);
        check("http://[::1]", None);
        check("unix://host/a/socket", None);
        check("https://host", Some("cannot dial broker at https://host: this build speaks no TLS"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_shared_and_let_go_when_nobody_uses_it() {
        let channels = Channels::default();
        let (one, other) = (endpoint("http://one:1"), endpoint("http://other:1"));
        for _ in 0..3 {
            channels.to(&one).expect("a channel");
        }
        channels.to(&other).expect("a channel");
        assert_eq!(channels.inner.lock().open.len(), 2);
        channels.is_of(&one, Make::Courant);
        channels.to(&one).expect("another, with other probes");
        assert_eq!(channels.inner.lock().open.len(), 3);
        tokio::time::advance(UNUSED / 2).await;
        channels.to(&other).expect("a channel");
        tokio::time::advance(UNUSED / 2).await;
        channels.to(&other).expect("a channel");
        let inner = channels.inner.lock();
        assert_eq!((inner.open.len(), inner.known.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_cannot_be_reached_is_left_alone_for_a_while() {
        let channels = Channels::default();
        let target = endpoint("http://one:1");
        let failed = || Err::<(), _>(Status::from_error(Box::new(ConnectError("refused".into()))));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            channels.heard(&target, &failed());
            assert!(channels.has_failed(&target));
            let began = Instant::now();
            while channels.to(&target).is_err() {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            pauses.push(began.elapsed().as_millis());
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 500, 500]);
        channels.heard(&target, &Err::<(), _>(Status::unavailable("said by the peer itself")));
        assert!(!channels.has_failed(&target));
    }

    #[tokio::test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a port that nobody listens on is found by listening on it"
    )]
    async fn a_refused_connection_is_told_from_a_refusal() {
        // Nobody listens on the port of a listener that is gone.
        let address = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0");
            listener.and_then(|listener| listener.local_addr()).expect("a free port")
        };
        let target = endpoint(&format!("http://{address}"));
        let mut client = courant_proto::wire::journal_client::JournalClient::new(
            Channels::default().to(&target).expect("a channel"),
        );
        let refused =
            client.list(courant_proto::wire::ListRequest::default()).await.expect_err("nobody is there");
        assert!(is_unreachable(&refused), "{refused:?}");
        assert!(!is_unreachable(&Status::unavailable("busy")));
    }
}
