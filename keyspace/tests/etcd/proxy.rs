//! A line to a real etcd that can be stalled, torn, and made to come in pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// In the hands of the test. It ends when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    line: Arc<Line>,
    _accepting: JoinSet<()>,
}

struct Line {
    stalled: watch::Sender<bool>,
    /// Connections that began in an earlier age are torn.
    age: watch::Sender<u64>,
    delay_ms: AtomicU64,
    in_pieces: AtomicBool,
}

impl Proxy {
    #[expect(clippy::disallowed_methods, reason = "the sockets of this test")]
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let line = Arc::new(Line {
            stalled: watch::Sender::new(false),
            age: watch::Sender::new(0),
            delay_ms: AtomicU64::new(0),
            in_pieces: AtomicBool::new(false),
        });
        let mut accepting = JoinSet::new();
        let shared = Arc::clone(&line);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                connections.spawn(Arc::clone(&shared).carry(near, far));
            }
        });
        Self { port: own, line, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Nothing arrives on either side, until it does.
    pub(crate) fn stall(&self, stalled: bool) {
        self.line.stalled.send_replace(stalled);
    }

    /// All connections break; what was under way on them may have arrived, or not.
    pub(crate) fn tear(&self) {
        self.line.age.send_modify(|age| *age += 1);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.line.delay_ms.store(u64::try_from(delay.as_millis()).expect("short"), Ordering::Relaxed);
    }

    /// A few bytes at a time.
    pub(crate) fn in_pieces(&self, in_pieces: bool) {
        self.line.in_pieces.store(in_pieces, Ordering::Relaxed);
    }
}

impl Line {
    async fn carry(self: Arc<Self>, near: TcpStream, far: TcpStream) {
        let mut age = self.age.subscribe();
        let born = *age.borrow_and_update();
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        tokio::select! {
            () = self.copy(&mut near_read, &mut far_write) => {}
            () = self.copy(&mut far_read, &mut near_write) => {}
            _ = age.wait_for(|age| *age != born) => {}
        }
    }

    async fn copy(&self, from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin)) {
        let mut stalled = self.stalled.subscribe();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let most = if self.in_pieces.load(Ordering::Relaxed) { 7 } else { buffer.len() };
            let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else { return };
            let delay = self.delay_ms.load(Ordering::Relaxed);
            if delay > 0 {
                sleep(Duration::from_millis(delay)).await;
            }
            if stalled.wait_for(|stalled| !stalled).await.is_err()
                || to.write_all(&buffer[..count]).await.is_err()
            {
                return;
            }
        }
    }
}
