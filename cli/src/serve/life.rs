//! The life of a broker in this process: put together, run until there is a reason to take it apart, and taken apart.
//!
//! A process has one broker at a time. It has another one when the registry turned out not to be the one that the last came to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use courant_broker::{Broker, Components, Config, Tasks};
use courant_fragment::disk::LocalDisk;
use courant_fragment::store::Stores;
use courant_proto::id::ProcessId;
use courant_proto::time::Clock;
use prometheus_client::registry::Registry as Metrics;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data_dir::DataDir;
use super::{
    ENDING, announce, banner, compose, default_spec, encodes, fault_of, hand_over, identity, join,
    keep_leases, listen, never_started, report, signals, start_cores, stop_at_once, wind_down,
};
use crate::args::ServeArgs;

/// A registry that does not take a broker that lost its own is asked again after this.
const REOPEN: Duration = Duration::from_secs(2);

/// What stays while a process runs, whatever becomes of its broker.
pub(super) struct Site {
    pub(super) args: ServeArgs,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) data: Arc<DataDir>,
    pub(super) id: ProcessId,
    pub(super) listener: Arc<TcpListener>,
    pub(super) address: SocketAddr,
    pub(super) file_root: PathBuf,
    pub(super) registry: String,
    pub(super) etcd: etcd_client::Client,
    /// Whether it has had a broker before.
    pub(super) was_up: AtomicBool,
}

/// How the life of a broker came to its end.
pub(super) enum Life {
    /// With that of the process.
    Ended(ExitCode),
    /// The registry is another one now, and the broker was taken apart.
    Estranged,
}

/// Why a broker is taken apart.
enum Call {
    Signal,
    Estranged,
    Fault(anyhow::Error),
}

impl Site {
    fn config(&self) -> Result<Config> {
        let args = &self.args;
        let endpoint =
            args.advertise.as_ref().map_or_else(|| format!("http://{}", self.address), ToString::to_string);
        let mut config = Config::new(self.id.clone(), endpoint, self.data.folder("spools")?);
        config.prefix.clone_from(&args.prefix);
        config.journal_limit = args.limit;
        config.lease_ttl = args.lease_ttl;
        config.previous_lease = identity::previous_lease(&self.data)?;
        config.cores = args.cores;
        config.spool_quota = args.spool_quota;
        config.auto_create =
            args.auto_create.then(|| default_spec::of(args.default_spec.as_ref())).transpose()?;
        Ok(config)
    }

    fn components(&self, seed: u64) -> Components {
        let config = courant_fragment::store::Config {
            file_root: Some(self.file_root.clone()),
            environment: crate::environment::environment(),
            connections: Some(Handle::current()),
            encodes: encodes(),
            ..Default::default()
        };
        let stores = Stores::new(config, Arc::clone(&self.clock), StdRng::seed_from_u64(seed));
        Components {
            etcd: self.etcd.clone(),
            disk: Arc::new(LocalDisk),
            stores: Arc::new(stores),
            clock: Arc::clone(&self.clock),
            background: Handle::current(),
            seed,
        }
    }

    /// Opens a broker. One that has no registry to go back to asks for as long as it takes: nobody ends because of an etcd.
    async fn open(&self, again: bool, metrics: &mut Metrics) -> Result<(Broker, Tasks)> {
        let mut config = self.config()?;
        loop {
            let mut tried = Metrics::default();
            let opened =
                Box::pin(Broker::open(config.clone(), self.components(identity::entropy()), &mut tried))
                    .await;
            match opened {
                Ok(opened) => {
                    *metrics = tried;
                    return Ok(opened);
                }
                Err(error) if again && error.is_of_registry() => {
                    tracing::warn!(%error, "cannot join the registry yet");
                    config.previous_lease = None;
                    sleep(REOPEN).await;
                }
                Err(error) => return Err(error).context("cannot start the broker"),
            }
        }
    }

    /// Runs a broker until the process is told to stop, something fails, or the registry is another one.
    pub(super) async fn life(&self, signals: &mut signals::Signals) -> Result<Life> {
        let args = &self.args;
        let again = self.was_up.swap(true, Ordering::Relaxed);
        let mut metrics = Metrics::default();
        let (broker, Tasks { cores, background }) = tokio::select! {
            opened = self.open(again, &mut metrics) => opened?,
            signal = signals.first() => return Ok(Life::Ended(never_started(signal))),
        };
        let mut standing = broker.standing();
        let lease = standing.borrow_and_update().lease;
        identity::keep_lease(&self.data, lease)?;
        let keeping = Handle::current().spawn(keep_leases(Arc::clone(&self.data), standing, lease));
        let app = compose(&broker, metrics);

        let stop_cores = CancellationToken::new();
        let stop_serving = CancellationToken::new();
        let serving = TaskTracker::new();
        let (hands, threads) = start_cores(cores, &app, &serving, &stop_serving, &stop_cores)?;
        let stop_background = CancellationToken::new();
        let mut background = tokio::runtime::Handle::current().spawn(background.run(stop_background.clone()));
        let accepting =
            Handle::current().spawn(listen::accept(Arc::clone(&self.listener), hands, stop_serving.clone()));

        let shown = banner::Banner {
            id: self.id.suffix(),
            address: &self.address.to_string(),
            registry: &self.registry,
            store: &format!("file:/// stores lie under {}", self.file_root.display()),
            auto_create: args.auto_create,
        };
        if !again {
            announce(&banner::text(&shown));
        }

        let call = tokio::select! {
            signal = signals.first() => {
                tracing::info!(signal, "stopping");
                Call::Signal
            }
            () = broker.estranged() => Call::Estranged,
            ended = &mut background => Call::Fault(fault_of(ended)),
        };
        // Where there are others, they take over first, and nobody notices more than that journals have moved.
        let call = match call {
            Call::Signal if !args.etcd.is_empty() && !args.drain_timeout.is_zero() => tokio::select! {
                () = hand_over(&broker, args.drain_timeout) => Call::Signal,
                // Nobody can take over by what is there now.
                () = broker.estranged() => Call::Signal,
                ended = &mut background => Call::Fault(fault_of(ended)),
                () = signals.second() => stop_at_once(),
            },
            call => call,
        };

        // A second signal ends the process at once; its spools are on disk, and the next start adopts them.
        let left = tokio::select! {
            left = wind_down(&broker, &serving, &stop_serving, accepting) => left,
            () = signals.second() => stop_at_once(),
        };
        stop_cores.cancel();
        join(threads).await?;
        keeping.abort();
        stop_background.cancel();
        match call {
            Call::Fault(fault) => Err(fault.context("the broker had to stop")),
            Call::Estranged => {
                let _ = tokio::time::timeout(ENDING, background).await;
                report(&left);
                Ok(Life::Estranged)
            }
            Call::Signal => {
                let _ = tokio::time::timeout(ENDING, background).await;
                if !args.etcd.is_empty() {
                    // Others take over at once. The embedded registry has nobody else, and the next start finds its journals assigned.
                    broker.leave().await.context("cannot give up the lease; it runs out by itself")?;
                }
                Ok(Life::Ended(report(&left)))
            }
        }
    }
}
