//! Where a process coordinates with others, or with its own next life: an etcd, or a registry of its own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use courant_registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::JoinHandle as Task;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::data_dir::DataDir;
use super::etcd::{self, CONNECT};
use super::listen;
use crate::args::ServeArgs;

/// An etcd that does not answer is asked again for so long before the process gives up starting.
const ETCD_WITHIN: Duration = Duration::from_secs(60);

/// Waits between attempts to reach etcd, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Where the broker coordinates: an etcd, or the registry that lives in this process.
pub(crate) struct Coordination {
    pub(crate) client: etcd_client::Client,
    pub(crate) described: String,
    pub(crate) running: Option<Task<()>>,
}

/// Finds the one that the arguments ask for, and waits until it answers.
pub(crate) async fn coordinate(
    args: &ServeArgs,
    data: &DataDir,
    seed: u64,
    stop: &CancellationToken,
) -> Result<Coordination> {
    if !args.etcd.is_empty() {
        let urls: Vec<String> = args.etcd.iter().map(ToString::to_string).collect();
        let described = format!("etcd at {}", urls.join(", "));
        let client = etcd::client(&args.etcd).await?;
        until_it_answers(&client, &described, &args.prefix, StdRng::seed_from_u64(seed)).await?;
        return Ok(Coordination { client, described, running: None });
    }
    let config = courant_registry::Config { seed, ..Default::default() };
    let registry =
        Registry::open(&data.folder("registry")?, config).context("cannot open the embedded registry")?;
    let client = registry.client().await.context("cannot reach the embedded registry")?;
    let mut described = "embedded, for a single node (nothing is replicated)".to_owned();
    if let Some(address) = &args.registry_listen {
        let (listener, bound) = listen::bind(address).await.context("cannot open --registry-listen")?;
        described = format!("{described}, open to etcdctl at http://{bound}");
        let app = registry.routes().prepare().into_axum_router();
        let serving = listen::serve_alone(listener, app, stop.clone());
        // Ends with the registry's token; nothing waits for it.
        drop(Handle::current().spawn(serving));
    }
    let stop = stop.clone();
    let running = Handle::current().spawn(async move {
        if let Err(fault) = registry.run(stop).await {
            // Nothing can be coordinated any more, and what it said last may not be durable.
            tracing::error!(%fault, "the embedded registry failed");
            std::process::exit(1);
        }
    });
    Ok(Coordination { client, described, running: Some(running) })
}

/// Asks until there is an answer, whatever it says; the broker itself finds out what it may do there.
async fn until_it_answers(
    client: &etcd_client::Client,
    described: &str,
    prefix: &str,
    mut rng: StdRng,
) -> Result<()> {
    let give_up = Instant::now() + ETCD_WITHIN;
    let mut attempt = 0_u32;
    loop {
        let asked = timeout(2 * CONNECT, Box::pin(client.kv_client().get(format!("{prefix}/"), None))).await;
        let reason = match asked {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(etcd_client::Error::GRpcStatus(status)))
                if matches!(
                    status.code(),
                    Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
                ) =>
            {
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", 2 * CONNECT),
        };
        if Instant::now() >= give_up {
            bail!(
                "{described} has not answered for {ETCD_WITHIN:?}: {reason}; see that it runs, and check --etcd"
            );
        }
        tracing::warn!(reason, "{described} does not answer yet; asking again");
        let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(4)).min(LONGEST_PAUSE);
        sleep(pause.mul_f64(0.5 + 0.5 * rng.random::<f64>())).await;
        attempt += 1;
    }
}
