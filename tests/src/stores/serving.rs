//! A server in this process: a thread and a runtime of its own, so that tests without a runtime, and benches that
//! keep theirs busy, have it as well.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running server. Ended when dropped.
#[derive(Debug)]
pub(super) struct Serving {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Serves what `make` makes, on a free port.
    pub(super) fn start(name: &str, make: impl FnOnce(SocketAddr) -> Router + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (found, address) = std::sync::mpsc::sync_channel(1);
        let serve = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = listen().await;
                let address = listener.local_addr().expect("an address");
                let server = axum::serve(listener, make(address)).into_future();
                found.send(address).expect("somebody waits for it");
                tokio::select! {
                    _ = server => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(serve).expect("a thread");
        let address = address.recv().expect("the server starts");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[expect(clippy::disallowed_methods, reason = "the seam at which servers of tests listen")]
async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It may have failed; then the test has said so.
            let _ = thread.join();
        }
    }
}
