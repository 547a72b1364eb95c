//! An etcd whose watch does what etcd has been seen to do: splits responses, repeats them, tells stale headers, loses
//! events, falls silent. The mirror must come to equal the store all the same.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use courant_keyspace::{Config, Mirror, Revision};
use courant_registry::Config as RegistryConfig;
use etcd_client::proto::{
    PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchServer, PbWatchService,
};
use etcd_client::{Channel, Client, TxnOp, WatchOptions};
use futures::{Stream, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::mirror::{at_least, load, shown};
use crate::support::{Server, in_time, put_all, read_at, transact};

/// What becomes of one response of the watch.
type Mischief = Box<dyn FnMut(PbWatchResponse) -> Vec<PbWatchResponse> + Send>;

/// Stands before a registry and meddles with its watches. Everything else passes.
#[derive(Clone)]
pub(crate) struct Unruly {
    upstream: Client,
    mischief: Arc<Mutex<Mischief>>,
}

impl Unruly {
    async fn before(server: &Server) -> (Self, Client) {
        let honest: Mischief = Box::new(|response| vec![response]);
        let unruly = Self { upstream: server.client().await, mischief: Arc::new(Mutex::new(honest)) };
        let watches = Routes::new(PbWatchServer::new(unruly.clone())).prepare();
        let others = server.registry.routes();
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let is_watch = request.uri().path().starts_with("/etcdserverpb.Watch/");
            let routes = if is_watch { watches.clone() } else { others.clone() };
            async move {
                let answer = routes.oneshot(request).await;
                answer.map_err(|never: Infallible| -> BoxError { match never {} })
            }
        });
        let channel = Channel::Custom(BoxCloneSyncService::new(service));
        (unruly, Client::from_channel(channel, None).await.unwrap())
    }

    /// Before a real one.
    pub(crate) async fn before_etcd(upstream: Client, url: &str) -> (Self, Client) {
        let honest: Mischief = Box::new(|response| vec![response]);
        let unruly = Self { upstream, mischief: Arc::new(Mutex::new(honest)) };
        let watches = Routes::new(PbWatchServer::new(unruly.clone())).prepare();
        let others = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let is_watch = request.uri().path().starts_with("/etcdserverpb.Watch/");
            let (watches, others) = (watches.clone(), others.clone());
            async move {
                if !is_watch {
                    return others.oneshot(request).await.map_err(BoxError::from);
                }
                let answer = watches.oneshot(request).await;
                answer.map_err(|never: Infallible| -> BoxError { match never {} })
            }
        });
        let channel = Channel::Custom(BoxCloneSyncService::new(service));
        (unruly, Client::from_channel(channel, None).await.unwrap())
    }

    pub(crate) fn does(
        &self,
        mischief: impl FnMut(PbWatchResponse) -> Vec<PbWatchResponse> + Send + 'static,
    ) {
        *self.mischief.lock().unwrap() = Box::new(mischief);
    }
}

#[tonic::async_trait]
impl PbWatchService for Unruly {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<PbWatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = request.into_inner().message().await?.and_then(|first| first.request_union);
        let Some(PbWatchRequestUnion::CreateRequest(create)) = first else {
            return Err(Status::invalid_argument("a watch begins with its creation"));
        };
        let options =
            WatchOptions::new().with_range(create.range_end).with_start_revision(create.start_revision);
        let stream = self.upstream.watch_client().watch(create.key, Some(options)).await;
        let stream = stream.map_err(|error| Status::unavailable(error.to_string()))?;
        let mischief = Arc::clone(&self.mischief);
        let responses = stream.flat_map(move |response| {
            let made = match response {
                Ok(response) if response.created() => vec![Ok(response.0)],
                Ok(response) => (mischief.lock().unwrap())(response.0).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(Status::unavailable(error.to_string()))],
            };
            futures::stream::iter(made)
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Waits until the mirror shows what a read at `revision` finds.
async fn comes_to_equal(mirror: &Mirror<String>, client: &Client, revision: Revision) {
    let expected = read_at(client, revision).await;
    in_time("the mirror to equal the store", async {
        while shown(&*at_least(mirror, revision).await) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn split_repeated_and_stale_responses_do_no_harm() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (unruly, meddled) = Unruly::before(&server).await;
    let mut rng = StdRng::seed_from_u64(17);
    let mut history: Vec<PbWatchResponse> = Vec::new();
    unruly.does(move |response| {
        let mut told = Vec::new();
        let cut = rng.random_range(0..=response.events.len());
        let (head, tail) = response.events.split_at(cut);
        for half in [head, tail].into_iter().filter(|half| !half.is_empty()) {
            told.push(PbWatchResponse { events: half.to_vec(), ..response.clone() });
        }
        history.extend(told.iter().cloned());
        if rng.random_bool(0.3) {
            let mut again = history[rng.random_range(0..history.len())].clone();
            if rng.random_bool(0.5) {
                again.header = response.header;
            }
            told.push(again);
        }
        told
    });
    let (mirror, _running, _cancel) = load(meddled, Config::default()).await;
    for n in 0..300_u32 {
        let keys = (n * 7) % 20..(n * 7) % 20 + 3;
        let operations = keys.map(|key| match (n + key) % 4 {
            0 => TxnOp::delete(format!("/cluster/{key}"), None),
            _ => TxnOp::put(format!("/cluster/{key}"), n.to_string(), None),
        });
        let last = transact(&client, operations.collect()).await;
        if n % 10 == 0 {
            comes_to_equal(&mirror, &client, last).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_lost_is_noticed_by_the_next_one_of_its_key() {
    let server = Server::start(RegistryConfig::default());
    let client = server.client().await;
    let (unruly, meddled) = Unruly::before(&server).await;
    put_all(&client, [("/cluster/a", "1"), ("/cluster/b", "1"), ("/cluster/c", "1")]).await;
    let (mirror, _running, _cancel) = load(meddled, Config::default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    unruly.does(|_| Vec::new());
    put_all(&client, [("/cluster/a", "2"), ("/cluster/b", ""), ("/cluster/c", "2")]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    unruly.does(|response| vec![response]);
    let last = put_all(&client, [("/cluster/a", "3")]).await;
    comes_to_equal(&mirror, &client, last).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_replaced_when_somebody_waits() {
    for (key, value) in [("/cluster/a", ""), ("/cluster/a", "2"), ("/cluster/new", "1")] {
        let server = Server::start(RegistryConfig::default());
        let client = server.client().await;
        let (unruly, meddled) = Unruly::before(&server).await;
        put_all(&client, [("/cluster/a", "1"), ("/cluster/b", "1")]).await;
        let (mirror, _running, _cancel) = load(meddled, Config::default()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;

        let mut silent = true;
        let first_event = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&first_event);
        unruly.does(move |response| {
            let held_up = std::mem::take(&mut silent);
            if held_up {
                *kept.lock().unwrap() = Some(response);
                return Vec::new();
            }
            vec![response]
        });
        let changed = put_all(&client, [(key, value)]).await;
        let last = put_all(&client, [("/elsewhere", "1")]).await;
        let snapshot = at_least(&mirror, last).await;
        assert!(first_event.lock().unwrap().is_some(), "the event was held up");
        assert_eq!(shown(&snapshot), read_at(&client, last).await, "{key} = {value:?}");
        assert_eq!(snapshot.revision(), changed);
    }
}
