//! The handle: open a registry, run it, and reach it in-process or over a listener.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Channel;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use crate::config::Config;
use crate::disk::{Disk, Folder};
use crate::engine::Engine;
use crate::error::Error;
use crate::log;
use crate::record::Record;
use crate::service;
use crate::state::{Identity, State};

/// A single-node server of the etcd v3 API inside this process. It is not replicated, and never will be: whoever
/// wants the registry to survive this machine points the cluster at an etcd instead.
///
/// The handle is cheap to clone. Nothing happens by itself: [`Registry::run`] must be polled for writes to become
/// durable and for leases to end.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use courant_registry::{Config, Registry};
/// let registry = Registry::in_memory(Config { seed: 7, ..Config::default() });
/// let cancel = tokio_util::sync::CancellationToken::new();
/// let (outcome, ()) = tokio::join!(registry.run(cancel.clone()), async {
///     let mut client = registry.client().await.expect("no socket is involved");
///     client.put("a", "1", None).await.expect("a put");
///     cancel.cancel();
/// });
/// outcome?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    engine: Arc<Engine>,
}

impl Registry {
    /// Opens the registry kept in a folder, or starts one there. Blocks on the disk. The folder stays locked until
    /// the last clone of the handle is gone.
    ///
    /// # Errors
    /// If another process has the folder, if the disk fails, or if a file is damaged anywhere but at its torn end.
    pub fn open(dir: &Path, config: Config) -> Result<Self, Error> {
        Self::open_on(Arc::new(Folder::open(dir)?), config)
    }

    /// Opens the registry kept on a disk.
    pub(crate) fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<Self, Error> {
        let place = disk.path("");
        let recovered = log::recover(disk, Identity::from_seed(config.seed))?;
        let mut state = State::new(recovered.identity, &config);
        for fact in recovered.facts {
            state.replay(fact, Duration::ZERO).map_err(|what| Error::Damaged {
                path: place.clone(),
                offset: 0,
                what: format!("the records contradict each other: {what}"),
            })?;
        }
        let mut log = recovered.log;
        log.append(&[Record::from(state.start())])?;
        if recovered.cut > 0 {
            tracing::warn!(
                bytes = recovered.cut,
                place,
                "cut a torn write, never acknowledged, off the registry's log"
            );
        }
        tracing::info!(
            place,
            cluster_id = format_args!("{:x}", recovered.identity.cluster_id),
            revision = state.store().revision(),
            term = state.term(),
            "opened the single-node registry (not replicated)"
        );
        Ok(Self { engine: Arc::new(Engine::new(state, Some(log), config)) })
    }

    /// A registry that is forgotten with the process: for simulations and tests. It answers even before
    /// [`Registry::run`] is polled, but leases end only while it is.
    #[must_use]
    pub fn in_memory(config: Config) -> Self {
        let mut state = State::new(Identity::from_seed(config.seed), &config);
        state.start();
        Self { engine: Arc::new(Engine::new(state, None, config)) }
    }

    /// Makes writes durable and ends leases, until cancelled; then what was accepted is made durable and everyone
    /// who still asks is told `Unavailable`. It may be called again afterwards, which is a restart to the clients.
    ///
    /// # Errors
    /// If the log cannot be written or synced. That is final: the process should end and start anew, which reads
    /// back what really is on the disk.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), Error> {
        self.engine.run(cancel).await
    }

    /// A client that reaches this registry without any socket.
    ///
    /// # Errors
    /// None in practice; the client's constructor foresees authentication, which is not used here.
    pub async fn client(&self) -> Result<etcd_client::Client, etcd_client::Error> {
        let routes = self.routes();
        let service = ServiceExt::<http::Request<tonic::body::Body>>::map_err(
            routes,
            |never: Infallible| -> BoxError { match never {} },
        );
        etcd_client::Client::from_channel(Channel::Custom(BoxCloneSyncService::new(service)), None).await
    }

    /// The gRPC services, for whoever wants to serve them on a listener.
    #[must_use]
    pub fn routes(&self) -> Routes {
        service::routes(&self.engine)
    }

    /// The cluster's id, made once and kept with the data.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.engine.peek(|state| state.identity().cluster_id)
    }

    /// The last durable revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.engine.revision()
    }
}
