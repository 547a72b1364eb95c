//! `courant serve`: composes registry, broker and gateway into one process, and takes them apart again in the right order.
//!
//! ```text
//!  up    lock the data folder ─► registry ─► broker (place, spools, mirror) ─► cores ─► background ─► listen
//!  down  hand over to other members ─► stop accepting ─► end streams and requests ─► roll and persist ─► cores ─► background ─► registry
//! ```
//!
//! Where the registry turns out to be another one than the broker came to, the broker is taken apart and put together anew, and the process
//! and its port stay.
//!
//! Each core is a thread with a current-thread runtime, which serves its share of the connections and owns its share of the
//! journals. Everything else runs on a small runtime beside them.

mod app;
mod banner;
mod coordination;
mod data_dir;
mod default_spec;
mod etcd;
mod identity;
mod life;
mod listen;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use courant_broker::{Broker, Standing};
use courant_client::Client;
use courant_gateway::{Gateway, Readiness};
use parking_lot::Mutex;
use prometheus_client::registry::Registry as Metrics;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle as Task;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::ServeArgs;
use crate::clock::SystemClock;
use crate::failure::Failure;
use app::App;
use coordination::coordinate;
use data_dir::DataDir;
use life::{Life, Site};

/// Requests under way get this long to end once the process was told to stop.
const GRACE: Duration = Duration::from_secs(15);

/// Spools get this long to be persisted before the process ends without.
const DRAIN: Duration = Duration::from_secs(60);

/// Time for threads and background tasks to end after that.
const ENDING: Duration = Duration::from_secs(10);

/// Serves until told to stop. The code is 0 if everything was persisted, else 1.
pub(crate) fn run(args: ServeArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("background")
        .enable_all()
        .build()
        .context("cannot make the background runtime")?;
    let code = runtime.block_on(serve(args));
    runtime.shutdown_timeout(ENDING);
    code.map_err(|fault| {
        // What an operator has to change is how this process was started, not what it did.
        if is_misplaced(&fault) { Failure::usage([format!("{fault:#}")]) } else { fault.into() }
    })
}

/// Whether the process ended because its place among the members is another's.
fn is_misplaced(fault: &anyhow::Error) -> bool {
    use courant_broker::{Error, MemberError};
    let causes = fault.chain().filter_map(|cause| cause.downcast_ref::<Error>());
    causes
        .into_iter()
        .any(|cause| matches!(cause, Error::Member(MemberError::Taken { .. } | MemberError::Orphaned { .. })))
}

async fn serve(args: ServeArgs) -> Result<ExitCode> {
    let mut signals = signals::Signals::new()?;
    let seed = identity::entropy();
    let data = DataDir::open(&args.data_dir)?;
    let id = identity::id(&data, &args.zone, args.id.as_deref(), seed)?;
    let (listener, address) = listen::bind(&args.listen).await?;
    let stop_registry = CancellationToken::new();
    let coordination = tokio::select! {
        found = coordinate(&args, &data, seed, &stop_registry) => found?,
        signal = signals.first() => return Ok(never_started(signal)),
    };
    let file_root = match &args.file_root {
        Some(root) => root.clone(),
        None => data.folder("fragments")?,
    };
    let site = Site {
        clock: Arc::new(SystemClock),
        data: Arc::new(data),
        id,
        listener: Arc::new(listener),
        address,
        file_root,
        registry: coordination.described,
        etcd: coordination.client,
        was_up: AtomicBool::new(false),
        args,
    };
    let code = loop {
        match Box::pin(site.life(&mut signals)).await? {
            Life::Ended(code) => break code,
            Life::Estranged => {
                tracing::warn!("joining the registry that is there now, as a broker that holds nothing");
            }
        }
    };
    stop_registry.cancel();
    if let Some(registry) = coordination.running {
        let _ = tokio::time::timeout(ENDING, registry).await;
    }
    Ok(code)
}

fn fault_of(ended: Result<Result<(), courant_broker::Error>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("the broker's background ended by itself"),
        Ok(Err(fault)) => fault.into(),
        Err(panic) => anyhow!("the broker's background failed: {panic}"),
    }
}

/// Nothing was acknowledged yet, so nothing can be lost.
fn never_started(signal: &str) -> ExitCode {
    tracing::info!(signal, "stopped before anything was served");
    ExitCode::SUCCESS
}

fn stop_at_once() -> ! {
    announce("stopped at once; what was not persisted is in the spools and is adopted at the next start\n");
    std::process::exit(1)
}

/// Has the other members take over what this one holds, within a bound; it serves meanwhile.
async fn hand_over(broker: &Broker, bound: Duration) {
    if let Err(error) = broker.begin_exit().await {
        return tracing::warn!(%error, "stopping without handing over");
    }
    tracing::info!(journals = broker.journals(), ?bound, "handing over to the other members");
    match broker.shed(bound).await {
        Ok(()) => tracing::info!("other members hold all that was held here"),
        Err(unshed) => tracing::warn!(%unshed, "stopping all the same; what is local is persisted"),
    }
}

/// Keeps the broker's lease for the process after this one, whenever there is another.
async fn keep_leases(data: Arc<DataDir>, mut standing: watch::Receiver<Standing>, mut kept: i64) {
    while standing.changed().await.is_ok() {
        let lease = standing.borrow_and_update().lease;
        if lease == kept {
            continue;
        }
        let data = Arc::clone(&data);
        match Handle::current().spawn_blocking(move || identity::keep_lease(&data, lease)).await {
            Ok(Ok(())) => kept = lease,
            // The next process waits for this lease to run out then.
            Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "cannot keep the lease's id"),
            Err(error) => tracing::warn!(%error, "cannot keep the lease's id"),
        }
    }
}

/// Codecs are given half of the processors: they catch up when appends leave them time.
fn encodes() -> usize {
    std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1))
}

/// Everything behind the one port.
fn compose(broker: &Broker, mut metrics: Metrics) -> App {
    let gateway_metrics = courant_gateway::Metrics::register(&mut metrics);
    let metrics = Mutex::new(metrics);
    let text = move || {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &metrics.lock());
        text
    };
    let ready = {
        let broker = broker.clone();
        move || {
            if broker.is_ready() {
                Readiness::Ready
            } else {
                Readiness::NotReady("the broker does not hold its place among the members".into())
            }
        }
    };
    let client = Client::in_process(Arc::new(broker.clone()));
    let config = courant_gateway::Config {
        max_body_bytes: broker.max_append_bytes(),
        ..courant_gateway::Config::new(ready, text, gateway_metrics)
    };
    let gateway = Gateway::new(client, config);
    App::new(broker.grpc(), broker.peer(), broker.cluster(), gateway.router())
}

type Cores = (Vec<listen::Hand>, Vec<JoinHandle<Result<()>>>);

/// Starts a thread for each core, which owns its journals and serves its connections.
fn start_cores(
    cores: Vec<courant_broker::Core>,
    app: &App,
    serving: &TaskTracker,
    stop_serving: &CancellationToken,
    stop_cores: &CancellationToken,
) -> Result<Cores> {
    let mut hands = Vec::new();
    let mut threads = Vec::new();
    for (number, core) in cores.into_iter().enumerate() {
        let (hand, handed) = listen::handover();
        let (app, serving) = (app.clone(), serving.clone());
        let (stop_serving, stop_cores) = (stop_serving.clone(), stop_cores.clone());
        threads.push(listen::thread(format!("core-{number}"), move || async move {
            let served = serving.track_future(listen::serve(handed, app, stop_serving, GRACE));
            tokio::join!(core.run(stop_cores), served);
            Ok(())
        })?);
        hands.push(hand);
    }
    serving.close();
    Ok((hands, threads))
}

/// Stops serving, lets requests that are under way end, and persists what is local; returns what could not be.
async fn wind_down(
    broker: &Broker,
    serving: &TaskTracker,
    stop_serving: &CancellationToken,
    accepting: Task<()>,
) -> Vec<courant_broker::Unpersisted> {
    stop_serving.cancel();
    broker.close_streams();
    let _ = tokio::time::timeout(ENDING, accepting).await;
    // Each core closes what has not ended after its grace; one that hangs is not waited for.
    let _ = tokio::time::timeout(GRACE + ENDING, serving.wait()).await;
    broker.drain(DRAIN).await
}

async fn join(threads: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    let joined = Handle::current().spawn_blocking(move || {
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a core's thread panicked"))??;
        }
        Ok(())
    });
    match tokio::time::timeout(GRACE + ENDING, joined).await {
        Ok(joined) => joined.context("cannot join the cores")?,
        Err(_) => Err(anyhow!("a core did not stop in time")),
    }
}

#[expect(clippy::print_stderr, reason = "what a person reads at the terminal")]
fn announce(text: &str) {
    eprint!("{text}");
}

fn report(left: &[courant_broker::Unpersisted]) -> ExitCode {
    if left.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut text = String::from("not persisted, and kept in the spools for the next start:\n");
    for spool in left {
        text.push_str(&format!(
            "  {} from offset {} to {}: {}\n",
            spool.identity.journal, spool.begin, spool.end, spool.reason
        ));
    }
    announce(&text);
    ExitCode::FAILURE
}
