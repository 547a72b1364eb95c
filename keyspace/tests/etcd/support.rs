//! An etcd to mirror: the in-process registry, reached through a line that can be cut, slowed and led elsewhere.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use courant_keyspace::{Decoder, Revision};
use courant_registry::{Config, Registry};
use etcd_client::{Channel, Client, Compare, GetOptions, Txn, TxnOp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

/// What each mirror of these tests follows.
pub(crate) const PREFIX: &str = "/cluster/";

/// Values are text; `bad` is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

impl Decoder for Text {
    type Value = String;

    fn decode(&self, _key: &[u8], value: &[u8]) -> Result<String, String> {
        match String::from_utf8_lossy(value).into_owned() {
            bad if bad == "bad" => Err("bad value".to_owned()),
            text => Ok(text),
        }
    }
}

/// Waits as long as a test may; far beyond what it should take.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// A registry that runs until it is dropped or stopped.
pub(crate) struct Server {
    pub(crate) registry: Registry,
    running: JoinSet<Result<(), courant_registry::Error>>,
    cancel: CancellationToken,
}

impl Server {
    pub(crate) fn start(config: Config) -> Self {
        let registry = Registry::in_memory(config);
        let mut server = Self { registry, running: JoinSet::new(), cancel: CancellationToken::new() };
        server.spawn();
        server
    }

    /// Everyone who asks is told that it is not available; streams end.
    pub(crate) async fn stop(&mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic in the registry").expect("no fault in the registry");
        }
    }

    /// Answers again.
    pub(crate) async fn resume(&mut self) {
        self.spawn();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn spawn(&mut self) {
        self.cancel = CancellationToken::new();
        let (registry, cancel) = (self.registry.clone(), self.cancel.clone());
        self.running.spawn(async move { registry.run(cancel).await });
    }

    pub(crate) async fn client(&self) -> Client {
        self.registry.client().await.expect("a client without a socket")
    }
}

/// A way to a registry, in the hands of the test.
#[derive(Clone)]
pub(crate) struct Line {
    routes: Arc<Mutex<Routes>>,
    cut: Arc<AtomicBool>,
    delay_ms: Arc<AtomicU64>,
}

impl Line {
    pub(crate) fn to(server: &Server) -> Self {
        Self {
            routes: Arc::new(Mutex::new(server.registry.routes())),
            cut: Arc::default(),
            delay_ms: Arc::default(),
        }
    }

    /// Requests go to another registry from now on; streams that are open stay where they are.
    pub(crate) fn lead_to(&self, server: &Server) {
        *self.routes.lock().unwrap() = server.registry.routes();
    }

    /// Requests fail from now on, or do no more.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Each request takes so long to arrive.
    pub(crate) fn delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) async fn client(&self) -> Client {
        let line = self.clone();
        let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let line = line.clone();
            async move {
                let delay = line.delay_ms.load(Ordering::Relaxed);
                if delay > 0 {
                    tokio::time::sleep(Duration::from_millis(delay)).await;
                }
                if line.cut.load(Ordering::Relaxed) {
                    return Err::<_, BoxError>("the line is cut".into());
                }
                let routes = line.routes.lock().unwrap().clone();
                let answer = routes.oneshot(request).await;
                answer.map_err(|never: Infallible| -> BoxError { match never {} })
            }
        });
        Client::from_channel(Channel::Custom(BoxCloneSyncService::new(service)), None).await.unwrap()
    }
}

/// Puts values, in one transaction, and returns its revision.
pub(crate) async fn put_all<const N: usize>(client: &Client, pairs: [(&str, &str); N]) -> Revision {
    let operations: Vec<TxnOp> = pairs
        .into_iter()
        .map(|(key, value)| match value {
            "" => TxnOp::delete(key, None),
            value => TxnOp::put(key, value, None),
        })
        .collect();
    transact(client, operations).await
}

pub(crate) async fn transact(client: &Client, operations: Vec<TxnOp>) -> Revision {
    let txn = Txn::new().when(Vec::<Compare>::new()).and_then(operations);
    let answer = client.kv_client().txn(txn).await.expect("a transaction");
    Revision::new(answer.header().expect("a header").revision())
}

/// Key, value, mod revision of all that a range read of the prefix finds at a revision.
pub(crate) async fn read_at(client: &Client, at: Revision) -> Vec<(String, String, i64)> {
    let options = GetOptions::new().with_prefix().with_revision(at.get());
    let answer = client.kv_client().get(PREFIX, Some(options)).await.expect("a range read");
    answer
        .kvs()
        .iter()
        .map(|kv| (kv.key_str().unwrap().to_owned(), kv.value_str().unwrap().to_owned(), kv.mod_revision()))
        .collect()
}
