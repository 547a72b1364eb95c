//! Three brokers with disks of their own, journals of one durability each, and writers who remember what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use courant_proto::wire;
use courant_tests::etcd::Etcd;
use courant_tests::payload::{self, Id};
use courant_tests::process::Node;
use courant_tests::{http, journal};
use futures::StreamExt as _;
use futures::future::join_all;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::disk::Disk;

/// Nothing here takes that long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Writers of each journal.
const WRITERS: u32 = 4;

/// A cluster whose brokers lie on disks of their own.
pub(crate) struct Scene {
    pub(crate) nodes: Vec<Node>,
    /// Behind the nodes, which are to end first.
    pub(crate) disks: Vec<Disk>,
    pub(crate) store: TempDir,
    _etcd: Etcd,
}

/// What was acknowledged of one journal: where, and which bytes.
pub(crate) type Acknowledged = BTreeMap<i64, Vec<u8>>;

impl Scene {
    /// Starts one. None where this machine does not let us, with the reason printed.
    pub(crate) async fn open(
        brokers: usize,
        disk: impl Fn(usize, &std::path::Path) -> Result<Option<Disk>, String>,
    ) -> Option<Self> {
        let Some(etcd) = Etcd::start().await else {
            left_out("COURANT_SKIP_ETCD=1");
            return None;
        };
        let store = tempfile::tempdir().expect("a folder");
        let (mut nodes, mut disks) = (Vec::new(), Vec::new());
        for index in 0..brokers {
            let root = store.path().to_str().expect("a path of text");
            let (id, zone) = (format!("broker-{index}"), format!("zone-{index}"));
            let url = etcd.url();
            let flags =
                ["--etcd", &url, "--id", &id, "--zone", &zone, "--file-root", root, "--lease-ttl", "4s"];
            let node = Node::prepared(&flags);
            match disk(index, &node.data()) {
                Ok(made) => disks.extend(made),
                Err(why) => {
                    left_out(&why);
                    return None;
                }
            }
            nodes.push(node);
        }
        let mut scene = Self { nodes, disks, store, _etcd: etcd };
        scene.start().await;
        Some(scene)
    }

    /// Starts all brokers that do not run.
    pub(crate) async fn start(&mut self) {
        let stopped = self.nodes.iter_mut().filter(|node| !node.runs());
        join_all(stopped.map(Node::restart)).await;
    }

    /// Creates journals of as many replicas as there are brokers, as soon as all of these know each other.
    pub(crate) async fn create(&self, journals: &[(impl AsRef<str>, &str)]) {
        let specs: Vec<_> = journals.iter().map(|(name, level)| self.spec(name.as_ref(), level)).collect();
        let deadline = Instant::now() + PATIENCE;
        let client = self.nodes[0].client();
        loop {
            let changes = specs.iter().cloned().map(journal::create).collect();
            match client.apply(wire::ApplyRequest { changes }).await {
                Ok(_) => return,
                Err(error) if Instant::now() > deadline => panic!("not applied: {error}"),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn spec(&self, name: &str, level: &str) -> wire::JournalSpec {
        let labels = [("courant.dev/durability", level), ("courant.dev/persist-interval", "200ms")];
        let labels = labels.iter().map(|(name, value)| wire::Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            ..Default::default()
        });
        wire::JournalSpec {
            replication: i32::try_from(self.nodes.len()).expect("few"),
            labels: Some(wire::LabelSet { labels: labels.collect() }),
            ..journal::spec(name, wire::CompressionCodec::None, 256 << 10)
        }
    }

    /// Which broker is a journal's primary.
    pub(crate) async fn primary(&self, journal: &str) -> usize {
        let labels =
            vec![wire::Label { name: "name".to_owned(), value: journal.to_owned(), ..Default::default() }];
        let include = Some(wire::LabelSet { labels });
        let selector = Some(wire::LabelSelector { include, exclude: None });
        let request = wire::ListRequest { selector, ..Default::default() };
        let mut grpc = self.nodes[0].grpc().await;
        let mut responses = grpc.list(request).await.expect("a list").into_inner();
        let listed = responses.next().await.expect("an answer").expect("an answer");
        let route = listed.journals[0].route.clone().expect("a route");
        let primary = usize::try_from(route.primary).expect("a primary");
        let id = &route.members[primary].suffix;
        (0..self.nodes.len()).find(|index| *id == format!("broker-{index}")).expect("one of ours")
    }

    /// Begins to write a journal through all brokers that run.
    pub(crate) fn write(&self, journal: &str, writer: u32) -> Load {
        let (stop, stopped) = watch::channel(false);
        let acknowledged = Arc::new(Mutex::new(Acknowledged::new()));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let address = self.nodes.iter().filter(|node| node.runs()).map(Node::address);
            let addresses: Vec<SocketAddr> = address.collect();
            let address = addresses[number as usize % addresses.len()];
            let (target, stopped) = (format!("/{journal}"), stopped.clone());
            let acknowledged = Arc::clone(&acknowledged);
            writers.spawn(async move {
                for sequence in 0.. {
                    if *stopped.borrow() {
                        return;
                    }
                    let id = Id { writer: writer + number, sequence, attempt: 0 };
                    let piece = payload::piece_of(id, sequence, 1 + sequence as usize % 24);
                    match append(address, &target, &piece).await {
                        Some((204, begin)) => {
                            acknowledged.lock().expect("no panic").insert(begin, piece);
                        }
                        _ => sleep(Duration::from_millis(20)).await,
                    }
                }
            });
        }
        Load { stop, writers, acknowledged }
    }

    /// What a broker serves of a journal, by offset, up to its end.
    pub(crate) async fn read(&self, node: usize, journal: &str) -> Acknowledged {
        let request = wire::ReadRequest { journal: journal.to_owned(), ..Default::default() };
        let read = async {
            let mut content = Acknowledged::new();
            let mut grpc = self.nodes[node].grpc().await;
            let mut responses = grpc.read(request).await.expect("a read").into_inner();
            let (mut begin, mut end) = (0, 0);
            while let Some(response) = responses.next().await {
                let response = response.expect("a part of a read");
                if response.content.is_empty() {
                    continue;
                }
                if response.offset != end || content.is_empty() {
                    (begin, end) = (response.offset, response.offset);
                }
                end += i64::try_from(response.content.len()).expect("short");
                content.entry(begin).or_default().extend_from_slice(&response.content);
            }
            content
        };
        timeout(PATIENCE, read).await.expect("the read ends")
    }
}

/// Writers of a journal.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    writers: JoinSet<()>,
    acknowledged: Arc<Mutex<Acknowledged>>,
}

impl Load {
    /// What was acknowledged until now.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        self.acknowledged.lock().expect("no panic").clone()
    }

    /// Ends it, and tells what was acknowledged.
    pub(crate) async fn finish(mut self) -> Acknowledged {
        self.stop.send_replace(true);
        while self.writers.join_next().await.is_some() {}
        self.acknowledged()
    }
}

/// Appends once: the status, and where it begins.
pub(crate) async fn append(address: SocketAddr, target: &str, body: &[u8]) -> Option<(u16, i64)> {
    tell(address, target, body).await.map(|(status, begin, _)| (status, begin))
}

/// Appends once: the status, where it begins, and what else is said.
pub(crate) async fn tell(address: SocketAddr, target: &str, body: &[u8]) -> Option<(u16, i64, String)> {
    let answer =
        timeout(Duration::from_secs(10), http::once(address, "PUT", target, &[], body)).await.ok()?.ok()?;
    let begin = answer.number("x-commit-begin");
    assert!(answer.status != 204 || begin.is_some(), "an append that says not where: {answer:?}");
    Some((answer.status, begin.unwrap_or_default(), answer.text()))
}

/// What is missing in content, or differs, of what was acknowledged.
pub(crate) fn lacking(acknowledged: &Acknowledged, content: &Acknowledged) -> Vec<String> {
    let mut lacking = Vec::new();
    for (begin, bytes) in acknowledged {
        let there = content.range(..=*begin).next_back().and_then(|(from, content)| {
            let at = usize::try_from(begin - from).ok()?;
            content.get(at..at + bytes.len())
        });
        match there {
            None => lacking.push(format!("{begin}: {} bytes are missing", bytes.len())),
            Some(there) if there != bytes => lacking.push(format!("{begin}: other bytes")),
            Some(_) => {}
        }
    }
    lacking
}

/// What was acknowledged and ends at an offset or below.
pub(crate) fn below(acknowledged: &Acknowledged, end: i64) -> Acknowledged {
    let ends = |begin: i64, bytes: &[u8]| begin + i64::try_from(bytes.len()).expect("short");
    let kept = acknowledged.iter().filter(|(begin, bytes)| ends(**begin, bytes) <= end);
    kept.map(|(begin, bytes)| (*begin, bytes.clone())).collect()
}

/// Says why a test is left out.
#[expect(clippy::print_stderr, reason = "who reads the summary wants to know what was not tried")]
pub(crate) fn left_out(why: &str) {
    eprintln!("left out: {why}");
}
