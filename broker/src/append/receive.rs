//! Receives the content of one append whole, paced by [`flow`](super::flow), before anything of the journal is held.
//!
//! Content stays in the buffers it arrived in, which count against one budget of the process; what is too large for that goes to a
//! scratch file. The append's own digest is taken on the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_fragment::disk::DiskFile;
use courant_fragment::index::Index;
use courant_proto::fragment::ContentSum;
use courant_proto::service::AppendRequests;
use courant_proto::time::{Clock, Timestamp};
use courant_proto::validate::Validate;
use courant_proto::wire;
use futures::StreamExt;
use parking_lot::Mutex;
use sha1::{Digest, Sha1};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;

use super::flow::{Bucket, Flow, Rates, TICK_MILLIS, Underflow};
use super::gather::Gathering;
use crate::scratch::Budget;

/// Content that was received whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) content: Content,
    pub(crate) length: u64,
    pub(crate) sum: ContentSum,
    pub(crate) total_chunks: i64,
    pub(crate) delayed_chunks: i64,
}

/// Where the content of an append waits for its commit.
#[derive(Debug)]
pub(crate) enum Content {
    /// In the buffers it came in, with its share of the process's budget.
    Memory {
        chunks: Vec<Bytes>,
        #[expect(
            dead_code,
            reason = "it is given back when the content is dropped, and that is all it is for"
        )]
        share: Option<OwnedSemaphorePermit>,
    },
    /// In a file that nobody else knows.
    Scratch { file: Arc<dyn DiskFile> },
}

/// What receiving needs besides the stream.
pub(crate) struct Terms<'a> {
    pub(crate) rates: Rates,
    /// Bytes of content at most.
    pub(crate) largest: u64,
    pub(crate) bucket: &'a Mutex<Option<Bucket>>,
    pub(crate) budget: &'a Budget,
    pub(crate) clock: &'a dyn Clock,
    /// Once it is closed the journal is moving, which must not wait for a throttled append.
    pub(crate) index: &'a Index,
}

impl Terms<'_> {
    /// One step of pacing. The bucket is locked only for journals whose rate is bound.
    fn paying<T>(
        &self,
        flow: &mut Flow,
        step: impl FnOnce(&mut Flow, Timestamp, &mut Option<Bucket>) -> T,
    ) -> T {
        let now = self.clock.now();
        if flow.is_bound() { step(flow, now, &mut self.bucket.lock()) } else { step(flow, now, &mut None) }
    }
}

/// Reads content up to the intent to commit and the end of the stream. An error is what the client is told, and nothing of
/// the append was kept.
pub(crate) async fn receive(requests: &mut AppendRequests, terms: Terms<'_>) -> Result<Received, Status> {
    let mut flow = Flow::begin(terms.rates, terms.clock.now());
    let received = Receiver::default().run(requests, &mut flow, &terms).await;
    let (total_chunks, delayed_chunks) = flow.counts();
    received.map(|(content, length, sum)| Received { content, length, sum, total_chunks, delayed_chunks })
}

/// The first message with content, or the intent to commit, where it depends on that whether anything is received at all. It comes in time
/// by the same least rate; without one it is waited for as long as the client lives, and who asks has to have an end of its own.
pub(crate) async fn first(
    requests: &mut AppendRequests,
    rates: Rates,
    clock: &dyn Clock,
) -> Result<Option<wire::AppendRequest>, Status> {
    // Nothing is paid for yet, so the journal's bucket is not asked.
    let mut flow = Flow::begin(Rates { greatest: 0, ..rates }, clock.now());
    let tick = |flow: &mut Flow| flow.tick(clock.now(), &mut None);
    next_message(requests, &mut flow, tick, &mut None).await
}

#[derive(Default)]
struct Receiver {
    content: Gathering,
    sum: Sha1,
}

impl Receiver {
    async fn run(
        mut self,
        requests: &mut AppendRequests,
        flow: &mut Flow,
        terms: &Terms<'_>,
    ) -> Result<(Content, u64, ContentSum), Status> {
        let mut ticks = None;
        let mut intent = false;
        loop {
            let tick = |flow: &mut Flow| terms.paying(flow, Flow::tick);
            let next = next_message(requests, flow, tick, &mut ticks).await?;
            let Some(request) = next else {
                if intent {
                    return Ok(self.finish());
                }
                return Err(broken("unexpected EOF"));
            };
            if intent {
                return Err(broken("expected EOF after empty Content chunk"));
            }
            request.validate().map_err(|invalid| broken(&invalid.to_string()))?;
            if !request.journal.is_empty() {
                return Err(broken("expected Content chunk"));
            }
            let paid = terms.paying(flow, |flow, now, bucket| flow.chunk(request.content.len(), now, bucket));
            if request.content.is_empty() {
                intent = true;
            } else {
                self.keep(request.content, terms)?;
            }
            if !paid {
                wait_until_paid(flow, terms, &mut ticks).await?;
            }
        }
    }

    fn keep(&mut self, content: Bytes, terms: &Terms<'_>) -> Result<(), Status> {
        if self.content.length() + content.len() as u64 > terms.largest {
            return Err(Status::resource_exhausted(format!(
                "append stream: content exceeds {} bytes, which is the most that one append may have; append it in parts",
                terms.largest
            )));
        }
        self.sum.update(&content);
        self.content.push(content, terms.budget)
    }

    fn finish(self) -> (Content, u64, ContentSum) {
        let length = self.content.length();
        (self.content.finish(), length, ContentSum(self.sum.finalize().into()))
    }
}

/// The next message. While none comes, the least rate runs down.
async fn next_message(
    requests: &mut AppendRequests,
    flow: &mut Flow,
    mut ticked: impl FnMut(&mut Flow) -> Result<bool, Underflow>,
    ticks: &mut Option<Interval>,
) -> Result<Option<wire::AppendRequest>, Status> {
    loop {
        tokio::select! {
            biased;
            message = requests.next() => return message.transpose().map_err(from_client),
            () = tick(ticks) => {
                ticked(flow).map_err(|Underflow| broken(Underflow::TEXT))?;
            }
        }
    }
}

async fn wait_until_paid(
    flow: &mut Flow,
    terms: &Terms<'_>,
    ticks: &mut Option<Interval>,
) -> Result<(), Status> {
    loop {
        tick(ticks).await;
        if terms.index.is_closed() {
            flow.unbind();
        }
        if terms.paying(flow, Flow::tick).map_err(|Underflow| broken(Underflow::TEXT))? {
            return Ok(());
        }
    }
}

/// The next tick of a timer that exists only once something had to be waited for.
async fn tick(ticks: &mut Option<Interval>) {
    let period = Duration::from_millis(TICK_MILLIS);
    let ticks = ticks.get_or_insert_with(|| {
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    ticks.tick().await;
}

/// A client that went away keeps its own code; anything else that it sends wrongly is `Unknown`, as with Gazette.
pub(super) fn from_client(status: Status) -> Status {
    match status.code() {
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => status,
        _ => broken(status.message()),
    }
}

/// The fault of a stream that broke the protocol.
pub(crate) fn broken(what: &str) -> Status {
    Status::unknown(format!("append stream: {what}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use courant_fragment::disk::{Disk, MemoryDisk};
    use courant_proto::name::JournalName;
    use courant_proto::time::ManualClock;
    use futures::stream;

    use super::*;

    /// Receives chunks and the intent to commit, with so much memory for one append, and so many bytes allowed.
    async fn receive_chunks(chunks: &[&'static [u8]], memory: u64, largest: u64) -> Result<Received, Status> {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new("spools")).expect("a folder");
        let budget = Budget::new(memory, memory, disk, "spools".into());
        let index = Index::new(JournalName::parse("a/journal").expect("a name"), 0);
        let clock = ManualClock::new(Timestamp::from_secs(1));
        let (bucket, rates) = (Mutex::new(None), Rates::default());
        let terms = Terms { rates, bucket: &bucket, largest, budget: &budget, clock: &clock, index: &index };
        let messages = chunks.iter().copied().chain([&b""[..]]).map(|chunk| {
            Ok(wire::AppendRequest { content: Bytes::from_static(chunk), ..Default::default() })
        });
        let mut requests: AppendRequests = stream::iter(messages.collect::<Vec<_>>()).boxed();
        receive(&mut requests, terms).await
    }

    #[tokio::test]
    async fn content_is_bounded_for_one_append() {
        let received = receive_chunks(&[b"abc", b"de"], 1 << 20, 5).await.expect("as much as is allowed");
        assert_eq!((received.length, received.total_chunks), (5, 3));
        let refused = receive_chunks(&[b"abc", b"def"], 1 << 20, 5).await.expect_err("a byte more");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("exceeds 5 bytes"), "{}", refused.message());
    }

    #[tokio::test]
    async fn content_that_memory_has_no_room_for_goes_to_a_file_whole() {
        static CHUNK: [u8; 100_000] = [7; 100_000];
        let received = receive_chunks(&[&CHUNK, &CHUNK], 150_000, 1 << 20).await.expect("content");
        let Content::Scratch { file } = received.content else { panic!("expected a file") };
        let mut content = vec![0; 200_000];
        file.read_exact_at(&mut content, 0).expect("all of it");
        assert!(content.iter().all(|byte| *byte == 7));
        assert_eq!(received.sum, ContentSum(Sha1::digest(&content).into()));
    }
}
