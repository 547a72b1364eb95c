//! A broker, journals, and runs of a shard on them that end when they are told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use courant_client::{Client, Options, ReadEvent};
use courant_consumer::{Application, Error, JournalStore, Ports, Shard, Source, ViewFile};
use courant_message::sequencer::Step;
use courant_message::{Clock, Flags, Frames, Framing, Item, Message, Producer, Sequencer, envelope};
use courant_proto::{Offset, Timestamp, wire};
use courant_tests::journal;
use courant_tests::process::Node;
use futures::StreamExt as _;
use tokio::time::Instant;

/// The shard's journal.
pub(crate) const CHANGES: &str = "shards/sums";
/// Where sums are published.
pub(crate) const SUMS: &str = "examples/sums";

pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) shard: Shard,
    begun: Instant,
    producers: AtomicU32,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let node = Node::start(&["--auto-create=false"]).await;
        let sources = ["examples/chunks/part-0", "examples/chunks/part-1"];
        let specs = sources.iter().chain([&SUMS]).map(|name| spec(name, Framing::Lines));
        let own = [CHANGES, "shards/sums-0", "shards/sums-1"].map(|name| spec(name, Framing::Fixed));
        journal::apply(&node.client(), specs.chain(own)).await;
        let shard = Shard { sources: sources.map(Source::new).to_vec(), ..Shard::default() };
        Self { node, shard, begun: Instant::now(), producers: AtomicU32::new(0) }
    }

    /// A client that gives up soon.
    pub(crate) fn client(&self) -> Client {
        let options = Options { retry_for: Duration::from_secs(3), call_timeout: Duration::from_secs(5) };
        self.node.client().with_options(options)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.begun.elapsed())
    }

    pub(crate) fn producer(&self) -> Producer {
        let [a, b, c, d] = self.producers.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Producer::new([1, 0, a, b, c, d])
    }

    pub(crate) fn ports(&self, producer: Producer) -> Ports {
        Ports { client: self.client(), clock: self.clock(), producer }
    }

    pub(crate) fn clock(&self) -> Arc<dyn courant_proto::Clock> {
        Arc::new(Wall(self.begun))
    }

    pub(crate) async fn open(&self, file: &ViewFile, producer: Producer) -> Result<JournalStore, Error> {
        JournalStore::open(&self.client(), CHANGES, file.clone(), producer).await
    }

    /// One run of the shard, up to its end or until it is dropped.
    pub(crate) async fn run(
        &self,
        file: &ViewFile,
        application: &mut impl Application<Store = JournalStore>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let producer = self.producer();
        let store = self.open(file, producer).await?;
        courant_consumer::run(&self.shard, self.ports(producer), store, application, stop).await
    }

    /// The bodies of what is committed in a journal, in its order.
    pub(crate) async fn committed(&self, name: &str) -> Vec<Vec<u8>> {
        let mut sequencer = Sequencer::new(1 << 16);
        let mut bodies = Vec::new();
        let mut frames = Frames::new(Framing::Lines, Offset::ZERO, 1 << 20);
        let mut content = content(&self.client(), name).await;
        while let Some(item) = frames.next(&mut content) {
            let Item::Frame(frame) = item else { panic!("{item:?}") };
            let uuid = envelope::peek(Framing::Lines, &frame.payload).expect("a message");
            let (begin, end, payload) = (frame.begin, frame.end, frame.payload);
            sequencer.queue(Message { journal: 0, uuid, begin, end, payload });
            loop {
                match sequencer.step() {
                    Step::Deliver(message) if message.uuid.flags() == Flags::ACK_TXN => {}
                    Step::Deliver(message) => {
                        let decoded = envelope::decode(Framing::Lines, &message.payload).expect("a message");
                        bodies.push(decoded.body.to_vec());
                    }
                    Step::Drained => break,
                    Step::Replay(range) => panic!("the ring is too small: {range:?}"),
                }
            }
        }
        bodies
    }
}

/// The time of day, from a moment that was long ago.
#[derive(Debug)]
struct Wall(Instant);

impl courant_proto::Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).plus(self.0.elapsed())
    }
}

fn spec(name: &str, framing: Framing) -> wire::JournalSpec {
    let label = |name: &str, value: &str| wire::Label {
        name: name.to_owned(),
        value: value.to_owned(),
        ..Default::default()
    };
    let labels = Some(wire::LabelSet { labels: vec![label("content-type", framing.content_type())] });
    wire::JournalSpec { labels, ..journal::spec(name, wire::CompressionCodec::None, 1 << 20) }
}

/// All that a journal holds.
pub(crate) async fn content(client: &Client, name: &str) -> Bytes {
    let end_offset = client.head(name).await.expect("a head");
    if end_offset == 0 {
        return Bytes::new();
    }
    let request = wire::ReadRequest { journal: name.to_owned(), end_offset, ..Default::default() };
    let mut reader = client.reader(request);
    let mut all = BytesMut::new();
    while let Some(event) = reader.next().await {
        if let ReadEvent::Content { content, .. } = event.expect("content") {
            all.extend_from_slice(&content);
        }
    }
    all.freeze()
}

/// Appends a message of a producer, framed as a line.
pub(crate) fn message(producer: Producer, clock: &mut Clock, flags: Flags, body: &[u8]) -> BytesMut {
    let mut line = BytesMut::new();
    let uuid = courant_message::Uuid::new(producer, clock.tick(), flags);
    let meta = courant_message::Meta::of(uuid);
    envelope::append(Framing::Lines, &meta, body, &mut line).expect("a line");
    line
}
