//! A journal with eight writers, a reader that follows it, and the process that is killed under them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use courant_proto::wire;
use courant_tests::checker::{self, Violation};
use courant_tests::history::{self, Append, Outcome, Seen};
use courant_tests::http::Connection;
use courant_tests::journal;
use courant_tests::payload::{self, Id};
use courant_tests::process::Node;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const WRITERS: u32 = 8;

/// Longest pause of a writer between two pieces, so that they do not move in step.
const PAUSE_MS: u64 = 60;

/// Nothing here takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all tasks of a scene share.
struct Stage {
    target: String,
    /// Where the broker listens now; None while there is none.
    address: watch::Sender<Option<SocketAddr>>,
    began: Instant,
    history: Mutex<Vec<Append>>,
    seen: Mutex<Seen>,
}

pub(crate) struct Scene {
    pub(crate) node: Node,
    stage: Arc<Stage>,
}

impl Scene {
    pub(crate) async fn open(name: &str, spec: wire::JournalSpec) -> Self {
        let node = Node::start(&[]).await;
        journal::apply(&node.client(), [spec]).await;
        let stage = Stage {
            target: format!("/{name}"),
            address: watch::Sender::new(Some(node.address())),
            began: Instant::now(),
            history: Mutex::default(),
            seen: Mutex::default(),
        };
        Self { node, stage: Arc::new(stage) }
    }

    pub(crate) fn kill(&mut self) {
        self.node.kill();
        self.stage.address.send_replace(None);
    }

    pub(crate) async fn restart(&mut self) {
        self.node.restart().await;
        self.stage.address.send_replace(Some(self.node.address()));
    }

    /// The journal from its beginning, by a reader that has seen nothing of it.
    pub(crate) async fn read(&self) -> Vec<u8> {
        let answer = self.node.http("GET", &self.stage.target, b"").await;
        assert_eq!(answer.status, 206, "{}", answer.text());
        answer.body
    }

    pub(crate) fn history(&self) -> Vec<Append> {
        self.stage.history.lock().expect("no panic").clone()
    }

    pub(crate) fn see(&self, offset: usize, bytes: &[u8]) {
        self.stage.see(offset, bytes);
    }

    /// Waits until the journal has grown to a length.
    pub(crate) async fn until_content(&self, length: usize) {
        let grown = async {
            while self.stage.seen.lock().expect("no panic").end() < length {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, grown).await.is_ok(), "writers hang");
    }

    /// Holds everything against everything; keeps the history if that fails.
    pub(crate) fn check(&self, history: &[Append], content: &[u8]) {
        let violations = checker::check(history, &self.stage.seen.lock().expect("no panic"), content);
        if violations.is_empty() {
            return;
        }
        let kept = self.node.folder().join("history.jsonl");
        self.node.file("history.jsonl", history::lines(history));
        let shown: Vec<String> = violations.iter().take(10).map(Violation::to_string).collect();
        panic!(
            "{} violations, of a history kept in {}:\n{}",
            violations.len(),
            kept.display(),
            shown.join("\n")
        );
    }

    /// A reader that follows the journal from its beginning, across deaths.
    pub(crate) fn tail(&self) -> Tail {
        let mut tasks = JoinSet::new();
        let at = watch::Sender::new(0);
        tasks.spawn(tail(Arc::clone(&self.stage), at.clone()));
        Tail { tasks, at }
    }

    /// Writers that go on until they are told to finish.
    pub(crate) fn writers(&self) -> Writers {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(write(Arc::clone(&self.stage), writer, stopped.clone()));
        }
        Writers { tasks, stop, stage: Arc::clone(&self.stage) }
    }
}

pub(crate) struct Tail {
    tasks: JoinSet<()>,
    at: watch::Sender<usize>,
}

impl Tail {
    /// Waits until it has read so far.
    pub(crate) async fn until(mut self, length: usize) {
        let mut at = self.at.subscribe();
        let read = async {
            tokio::select! {
                read = at.wait_for(|at| *at >= length) => drop(read.expect("it reads")),
                ended = self.tasks.join_next() => panic!("the reader ended: {ended:?}"),
            }
        };
        assert!(timeout(PATIENCE, read).await.is_ok(), "the reader hangs at {}", *self.at.borrow());
        assert_eq!(*self.at.borrow(), length);
        self.tasks.abort_all();
    }
}

pub(crate) struct Writers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    stage: Arc<Stage>,
}

impl Writers {
    /// Lets each finish its piece.
    pub(crate) async fn finish(self) -> Vec<Append> {
        self.stop.send_replace(true);
        let joined = timeout(PATIENCE, self.tasks.join_all()).await;
        assert!(joined.is_ok(), "writers hang");
        self.stage.history.lock().expect("no panic").clone()
    }
}

impl Stage {
    /// Where a broker listens, as soon as one does.
    async fn broker(&self) -> SocketAddr {
        let mut address = self.address.subscribe();
        let found = timeout(PATIENCE, address.wait_for(Option::is_some)).await;
        found.expect("a broker comes").expect("the scene lives").expect("some")
    }

    fn see(&self, offset: usize, bytes: &[u8]) {
        let added = self.seen.lock().expect("no panic").add(offset, bytes);
        if let Err(at) = added {
            panic!("J3: offset {at} named other bytes before");
        }
    }
}

/// Appends piece after piece. One whose outcome is unknown is tried again as another attempt.
async fn write(stage: Arc<Stage>, writer: u32, stopped: watch::Receiver<bool>) {
    let mut rng = StdRng::seed_from_u64(writer.into());
    let mut connection: Option<Connection> = None;
    let mut sequence = 0;
    while !*stopped.borrow() {
        for attempt in 0.. {
            let id = Id { writer, sequence, attempt };
            let piece = payload::piece(id, rng.random());
            let address = stage.broker().await;
            let sent = stage.began.elapsed();
            let outcome = put(&mut connection, address, &stage.target, &piece).await;
            let settled = stage.began.elapsed();
            stage.history.lock().expect("no panic").push(Append {
                id,
                sent,
                settled,
                outcome,
                ..Append::default()
            });
            if let Outcome::Done { begin, .. } = outcome {
                // The answer tells of bytes at offsets, as a read does.
                stage.see(usize::try_from(begin).expect("an offset"), &piece);
                break;
            }
            connection = None;
            sleep(Duration::from_millis(10)).await;
        }
        sequence += 1;
        sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS))).await;
    }
}

async fn put(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    target: &str,
    piece: &[u8],
) -> Outcome {
    let open = match connection {
        Some(open) => open,
        None => match Connection::open(address).await {
            Ok(opened) => connection.insert(opened),
            // Nothing was sent.
            Err(_) => return Outcome::Failed,
        },
    };
    match open.request("PUT", target, &[], piece).await {
        Ok(answer) if answer.status == 204 => {
            let offset = |name| answer.number(name).unwrap_or_else(|| panic!("no {name} in {answer:?}"));
            Outcome::Done { begin: offset("x-commit-begin"), end: offset("x-commit-end") }
        }
        Ok(answer) if matches!(answer.status, 503 | 504) => Outcome::Unknown,
        Ok(answer) => panic!("PUT {target}: {} {}", answer.status, answer.text()),
        Err(_) => Outcome::Unknown,
    }
}

/// Reads on from where it was, and checks that each answer begins there and that the write head never goes back.
async fn tail(stage: Arc<Stage>, at: watch::Sender<usize>) {
    let mut head = 0;
    loop {
        let address = stage.broker().await;
        let from = *at.borrow();
        let target = format!("{}?offset={from}&block=true", stage.target);
        let Ok(mut connection) = Connection::open(address).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        if connection.begin("GET", &target, &[], b"").await.is_err() {
            continue;
        }
        let Ok(answer) = connection.head("GET").await else { continue };
        assert_eq!(answer.status, 206, "{answer:?}");
        let range = format!("bytes {from}-{max}/{max}", max = i64::MAX);
        assert_eq!(answer.header("content-range"), Some(&*range));
        let write_head = answer.number("x-write-head").expect("a write head");
        assert!(write_head >= head, "the write head went back from {head} to {write_head}");
        head = write_head;
        while let Ok(Some(part)) = connection.part().await {
            let offset = *at.borrow();
            stage.see(offset, &part);
            at.send_replace(offset + part.len());
        }
    }
}
