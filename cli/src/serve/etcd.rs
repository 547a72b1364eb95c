//! The way to an etcd of several members: one connection to one of them, and to another when that one fails.
//!
//! Spreading requests over all addresses would have some of them fail for as long as one member is away, and answers would come
//! from members that are not equally far.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::{Channel as EtcdChannel, Client, ConnectOptions};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};
use url::Url;

/// A connection is made within this, or with another member.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// The beginning of any answer takes no longer.
const ANSWER: Duration = Duration::from_secs(15);

/// How long a connection may be silent before it is asked whether it lives, and how long it may take to say so: a member that has died
/// without a word is noticed soon enough for the lease. etcd wants pings at least 5 s apart, and none while nothing is asked.
const PING_EVERY: Duration = Duration::from_secs(6);
const PONG_WITHIN: Duration = Duration::from_secs(3);

/// A client that speaks to whichever of the members answers. Nothing is asked yet.
pub(super) async fn client(urls: &[Url]) -> Result<Client> {
    let endpoints: Result<Vec<Endpoint>> = urls.iter().map(endpoint).collect();
    let members = Members(Arc::new(Inner {
        endpoints: endpoints?,
        runtime: Handle::current(),
        current: Mutex::new(Current { at: 0, generation: 0, channel: None }),
    }));
    let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
        let members = members.clone();
        async move { members.ask(request).await }
    });
    // A watch at a member that has lost its cluster would show a standing picture.
    let options = ConnectOptions::new().with_require_leader(true);
    let channel = EtcdChannel::Custom(BoxCloneSyncService::new(service));
    Client::from_channel(channel, Some(options)).await.context("cannot make a client of etcd")
}

fn endpoint(url: &Url) -> Result<Endpoint> {
    let endpoint =
        Endpoint::from_shared(url.to_string()).with_context(|| format!("not usable as --etcd: {url}"))?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN))
}

#[derive(Clone)]
struct Members(Arc<Inner>);

struct Inner {
    endpoints: Vec<Endpoint>,
    /// Connections live here, whoever asks first.
    runtime: Handle,
    current: Mutex<Current>,
}

struct Current {
    /// The member that is asked, or is to be tried first.
    at: usize,
    /// Counts connections, so that one that has failed is given up once.
    generation: u64,
    channel: Option<Channel>,
}

impl Members {
    async fn ask(
        &self,
        request: http::Request<tonic::body::Body>,
    ) -> Result<http::Response<tonic::body::Body>, BoxError> {
        let (generation, channel) = self.channel().await?;
        let answer = channel.oneshot(request).await;
        let is_away = match &answer {
            Err(_) => true,
            // A member that has lost its cluster says so, and goes on listening.
            Ok(answer) => is_unavailable(answer.headers()),
        };
        if is_away {
            self.give_up(generation).await;
        }
        Ok(answer?)
    }

    /// The connection there is, or one to the first member that takes one.
    async fn channel(&self) -> Result<(u64, Channel), BoxError> {
        let Inner { endpoints, runtime, current } = &*self.0;
        let mut current = current.lock().await;
        if let Some(channel) = &current.channel {
            return Ok((current.generation, channel.clone()));
        }
        let mut refused: BoxError = "there is no address of etcd".into();
        for step in 0..endpoints.len() {
            let at = (current.at + step) % endpoints.len();
            let endpoint = endpoints[at].clone();
            let connecting =
                runtime.spawn(async move { tokio::time::timeout(CONNECT, endpoint.connect()).await });
            match connecting.await {
                Ok(Ok(Ok(channel))) => {
                    *current = Current {
                        at,
                        generation: current.generation.wrapping_add(1),
                        channel: Some(channel.clone()),
                    };
                    return Ok((current.generation, channel));
                }
                Ok(Ok(Err(error))) => refused = error.into(),
                Ok(Err(late)) => refused = late.into(),
                Err(ended) => refused = ended.into(),
            }
        }
        Err(refused)
    }

    /// The next request begins with the next member. What goes on over this connection may go on.
    async fn give_up(&self, generation: u64) {
        let mut current = self.0.current.lock().await;
        if current.generation == generation && current.channel.is_some() {
            current.channel = None;
            current.at = (current.at + 1) % self.0.endpoints.len().max(1);
        }
    }
}

fn is_unavailable(headers: &http::HeaderMap) -> bool {
    let unavailable = i32::from(Code::Unavailable).to_string();
    headers.get("grpc-status").is_some_and(|status| status.as_bytes() == unavailable.as_bytes())
}

#[cfg(test)]
mod tests {
    use courant_registry::{Config, Registry};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::serve::listen;

    /// A registry that listens, until the token ends it.
    async fn listening() -> (Url, CancellationToken) {
        let registry = Registry::in_memory(Config::default());
        let (listener, address) = listen::bind("127.0.0.1:0").await.expect("a free port");
        let stop = CancellationToken::new();
        let app = registry.routes().prepare().into_axum_router();
        drop(Handle::current().spawn(listen::serve_alone(listener, app, stop.clone())));
        let until = stop.clone();
        drop(Handle::current().spawn(async move { registry.run(until).await }));
        (Url::parse(&format!("http://{address}")).expect("a URL"), stop)
    }

    fn nobody() -> Url {
        Url::parse("http://127.0.0.1:1").expect("a URL")
    }

    #[tokio::test]
    async fn members_that_are_away_cost_no_request() {
        let (url, _stop) = listening().await;
        let client = client(&[nobody(), url, nobody()]).await.expect("a client");
        for round in 0..20 {
            client.kv_client().put(format!("{round}"), "1", None).await.expect("a member that answers");
        }
    }

    #[tokio::test]
    async fn a_member_that_fails_is_left_for_another() {
        let ((one, stop), (other, _stop)) = (listening().await, listening().await);
        let client = client(&[one, other]).await.expect("a client");
        client.kv_client().put("a", "1", None).await.expect("the first");
        stop.cancel();
        let asked = async {
            while client.kv_client().put("b", "1", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked).await.expect("the second, soon");
        for round in 0..20 {
            client.kv_client().put(format!("{round}"), "1", None).await.expect("the second, from then on");
        }
    }

    #[tokio::test]
    async fn where_nobody_is_that_is_said() {
        let client = client(&[nobody()]).await.expect("a client");
        let refused = client.kv_client().get("a", None).await.expect_err("nobody");
        assert!(refused.to_string().contains("tcp connect error"), "{refused}");
    }
}
