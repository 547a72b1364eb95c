//! The suites against this registry: in memory, in a folder, and over a real socket.

use std::time::Duration;

use courant_registry::conformance::conformance;
use courant_registry::differential::differential;
use courant_registry::{Config, Registry};
use tokio_util::sync::CancellationToken;

/// Runs `work` while the registry runs.
async fn with(registry: &Registry, work: impl Future<Output = ()>) {
    let cancel = CancellationToken::new();
    // On the heap: suites in one future with their servers are more than a test's stack holds.
    let work = Box::pin(work);
    let (outcome, ()) = tokio::join!(registry.run(cancel.clone()), async {
        work.await;
        cancel.cancel();
    });
    outcome.expect("a clean end");
}

#[tokio::test]
async fn in_memory_it_conforms() {
    let registry = Registry::in_memory(Config::default());
    with(&registry, async { conformance(registry.client().await.expect("a client"), "/memory").await }).await;
}

#[tokio::test]
async fn in_a_folder_it_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    // A log so short that snapshots are written all the time.
    let config = Config { log_bytes: 4 << 10, ..Config::default() };
    let registry = Registry::open(folder.path(), config).expect("an empty registry");
    with(&registry, async { conformance(registry.client().await.expect("a client"), "/folder").await }).await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test composes a server")]
async fn over_a_socket_it_conforms() {
    let registry = Registry::in_memory(Config::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let done = CancellationToken::new();
    let server = tonic::transport::Server::builder()
        .add_routes(registry.routes())
        .serve_with_incoming_shutdown(incoming, done.clone().cancelled_owned());
    let (served, ()) = tokio::join!(
        server,
        with(&registry, async {
            let client = etcd_client::Client::connect([&url], None).await.expect("a client");
            conformance(client, "/socket").await;
            done.cancel();
        })
    );
    served.expect("a clean end");
}

#[tokio::test]
async fn a_folder_does_what_memory_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let stored = Registry::open(folder.path(), Config::default()).expect("an empty registry");
    let memory = Registry::in_memory(Config::default());
    with(&stored, async {
        with(&memory, async {
            let (a, b) = (stored.client().await.expect("a client"), memory.client().await.expect("a client"));
            differential(42, 400, a, b).await;
        })
        .await;
    })
    .await;
}

/// Time does not pass by itself here, so an hour is as short as anything.
#[tokio::test(start_paused = true)]
async fn a_long_lease_ends_on_the_runtimes_clock() {
    let registry = Registry::in_memory(Config::default());
    with(&registry, async {
        let mut client = registry.client().await.expect("a client");
        let lease = client.lease_grant(3600, None).await.expect("a lease").id();
        let options = etcd_client::PutOptions::new().with_lease(lease);
        client.put("k", "v", Some(options)).await.expect("a put");
        tokio::time::sleep(Duration::from_secs(3599)).await;
        assert_eq!(client.get("k", None).await.expect("a get").count(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.get("k", None).await.expect("a get").count(), 0);
    })
    .await;
}
