//! Spools that are encoded while they grow, up to any point, and what is thrown away.

use courant_proto::codec::Codec;

use super::*;
use crate::codec::{Decoded, Decoder};
use crate::disk::MemoryDisk;
use crate::spool::log::{Opening, SpoolLog};
use crate::spool::tests::{commit, content, find, folder, opening, registers, sum};
use crate::spool::volume::Layout;
use crate::store::Cause;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::GzipOffload, Codec::Zstandard, Codec::Snappy];

/// A log with open spools on a disk in memory, and what is encoded ahead of them.
struct Fixture {
    log: SpoolLog,
    disk: MemoryDisk,
    ahead: Ahead,
}

impl Fixture {
    fn new(config: Config) -> Self {
        let disk = MemoryDisk::new();
        let log = SpoolLog::new(find(&disk, Layout::default()).volume, 0);
        let ahead = Ahead::new(config, Arc::new(disk.clone()), folder());
        Self { log, disk, ahead }
    }

    fn open(&mut self, journal: usize, codec: Codec) -> SpoolId {
        let mut turn = self.log.turn();
        let opening = Opening { codec, ..opening(journal, 1, 0, registers(0)) };
        let spool = turn.open(opening).expect("opened");
        turn.write().expect("written");
        spool
    }

    fn want(&self, spool: SpoolId, length: u64) -> Option<Task> {
        let spool = self.log.spool(spool).expect("a spool");
        self.ahead.want(spool.id(), spool.content(), spool.codec(), length)
    }

    fn run(&self, spool: SpoolId, length: u64) {
        let mut task = self.want(spool, length);
        while let Some(next) = task {
            task = next.run();
        }
    }

    async fn finish(&self, spool: SpoolId, content: &[u8]) -> Option<Arc<Encoded>> {
        let bytes = content.to_vec();
        let reader: ContentReader = Arc::new(move |position, buffer: &mut [u8]| {
            let rest = &bytes[usize::try_from(position)?..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok::<_, Cause>(count)
        });
        self.ahead.finish(spool, content.len() as u64, ContentSum(sum(content)), &reader).await
    }

    fn held(&self) -> (u64, u64) {
        self.ahead.sweep();
        let counters = self.ahead.counters();
        (counters.spools.load(Ordering::SeqCst), counters.scratch_bytes.load(Ordering::SeqCst))
    }
}

/// Text that a codec makes smaller, of a length.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 64);
    for line in 0_u64.. {
        if text.len() >= length {
            break;
        }
        text.extend_from_slice(
            format!("line {line} {:x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes(),
        );
    }
    text.truncate(length);
    text
}

fn object(encoded: &Encoded) -> Vec<u8> {
    let mut object = Vec::new();
    let mut piece = vec![0; 100_003];
    loop {
        let count = encoded.read_at(object.len() as u64, &mut piece).expect("readable");
        if count == 0 {
            break;
        }
        object.extend_from_slice(&piece[..count]);
    }
    assert_eq!(object.len() as u64, encoded.length());
    object
}

fn decoded(codec: Codec, object: &[u8], length: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(codec, length as u64).expect("a decoder");
    decoder.push(object.to_vec().into());
    decoder.end();
    let mut content = Vec::new();
    while let Decoded::Content(piece) = decoder.pull(1 << 20).expect("decodable") {
        content.extend_from_slice(&piece);
    }
    content
}

#[tokio::test]
async fn what_grew_is_what_is_encoded_whatever_the_codec() {
    for codec in CODECS {
        let mut fixture = Fixture::new(Config::default());
        let spool = fixture.open(0, codec);
        let mut all = Vec::new();
        for (number, length) in [700 << 10, 600 << 10, 3 << 20, 10, 9 << 20].into_iter().enumerate() {
            let more = if number % 2 == 0 { text(length) } else { content(number as u64, length) };
            commit(&mut fixture.log, spool, &more);
            all.extend(more);
            fixture.run(spool, all.len() as u64);
        }
        let ahead = fixture.ahead.counters().content_bytes.load(Ordering::SeqCst);
        assert!(ahead > all.len() as u64 - LEAST, "{codec}: {ahead} of {} bytes", all.len());
        let encoded = fixture.finish(spool, &all).await.expect("it is encoded");
        let object = object(&encoded);
        assert!(decoded(codec, &object, all.len()) == all, "{codec}");
        if codec == Codec::Zstandard {
            // One frame that says how long it is, as if that had been known at its begin.
            let size = zstd::zstd_safe::get_frame_content_size(&object).expect("a frame");
            assert_eq!(size, Some(all.len() as u64));
            assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&object), Ok(object.len()));
        }
        // An upload that is tried again gets the same.
        let again = fixture.finish(spool, &all).await.expect("it is kept");
        assert!(Arc::ptr_eq(&encoded, &again));
        drop((encoded, again));
        assert!(fixture.held().1 > 0);
        fixture.ahead.forget(spool);
        assert_eq!(fixture.held(), (0, 0));
        assert!(!fixture.disk.paths().iter().any(|path| path.to_string_lossy().contains("ahead")));
    }
}

#[tokio::test]
async fn small_spools_and_plain_ones_cost_nothing() {
    let mut fixture = Fixture::new(Config::default());
    let plain = fixture.open(0, Codec::None);
    let small = fixture.open(1, Codec::Gzip);
    let content = content(1, 3 << 20);
    commit(&mut fixture.log, plain, &content);
    commit(&mut fixture.log, small, &content[..1000]);
    assert!(fixture.want(plain, 3 << 20).is_none());
    assert!(fixture.want(small, 1000).is_none());
    assert!(fixture.finish(plain, &content).await.is_none());
    assert_eq!(fixture.held().1, 0);
}

#[tokio::test]
async fn what_belongs_to_nobody_is_never_stored() {
    let mut fixture = Fixture::new(Config::default());
    let spool = fixture.open(0, Codec::Gzip);
    let content = content(1, 3 << 20);
    commit(&mut fixture.log, spool, &content);
    fixture.run(spool, 3 << 20);
    // The spool lost bytes that were encoded, and its owner forgot to say so.
    assert!(fixture.finish(spool, &content[..2 << 20]).await.is_none());
    assert!(fixture.want(spool, 4 << 20).is_none(), "it is not tried again");
    // Other bytes than those that were encoded.
    let spool = fixture.open(1, Codec::Gzip);
    commit(&mut fixture.log, spool, &content);
    fixture.run(spool, 3 << 20);
    let mut other = content.clone();
    other[7] ^= 1;
    assert!(fixture.finish(spool, &other).await.is_none());
    // And where the owner says so, it begins anew.
    let spool = fixture.open(2, Codec::Gzip);
    commit(&mut fixture.log, spool, &content);
    fixture.run(spool, 3 << 20);
    fixture.ahead.forget(spool);
    fixture.run(spool, 2 << 20);
    let encoded = fixture.finish(spool, &content[..2 << 20]).await.expect("it is encoded");
    assert!(decoded(Codec::Gzip, &object(&encoded), 2 << 20) == content[..2 << 20]);
}

#[tokio::test(start_paused = true)]
async fn memory_and_disk_are_bounded_by_refusing() {
    let two = Config { memory: 2 * Encoder::memory(Codec::Gzip), ..Config::default() };
    let mut fixture = Fixture::new(two);
    let content = content(1, 2 << 20);
    let spools: Vec<SpoolId> = (0..3).map(|journal| fixture.open(journal, Codec::Gzip)).collect();
    for spool in &spools {
        commit(&mut fixture.log, *spool, &content);
        fixture.run(*spool, 2 << 20);
    }
    assert_eq!(fixture.held().0, 2);
    assert!(fixture.finish(spools[2], &content).await.is_none(), "there was no room for it");
    // What rests makes place in the end.
    tokio::time::advance(Duration::from_secs(31)).await;
    fixture.run(spools[2], 2 << 20);
    assert!(fixture.finish(spools[2], &content).await.is_some());
    assert_eq!(fixture.held().0, 2);

    let scratch = Config { scratch: 1 << 20, ..Config::default() };
    let mut fixture = Fixture::new(scratch);
    let spool = fixture.open(0, Codec::Gzip);
    commit(&mut fixture.log, spool, &content);
    fixture.run(spool, 2 << 20);
    assert_eq!(fixture.held().1, 0, "what cannot be kept is thrown away");
    assert!(fixture.finish(spool, &content).await.is_none());
}

#[tokio::test]
async fn a_task_that_is_under_way_is_waited_for_and_one_that_is_dropped_is_not() {
    let mut fixture = Fixture::new(Config::default());
    let content = content(1, 20 << 20);
    let spool = fixture.open(0, Codec::Snappy);
    commit(&mut fixture.log, spool, &content);
    let task = fixture.want(spool, 20 << 20).expect("there is work");
    assert!(fixture.want(spool, 20 << 20).is_none(), "one at a time");
    let task = task.run().expect("a step is not all of it");
    let (finished, ()) = tokio::join!(fixture.finish(spool, &content), async {
        tokio::task::yield_now().await;
        // Whoever waits wants it now, however much there is to do.
        assert!(task.run().is_none());
    });
    assert!(decoded(Codec::Snappy, &object(&finished.expect("it is encoded")), 20 << 20) == content);

    let spool = fixture.open(1, Codec::Snappy);
    commit(&mut fixture.log, spool, &content);
    drop(fixture.want(spool, 20 << 20));
    let task = fixture.want(spool, 20 << 20).expect("its place is free again");
    fixture.ahead.forget(spool);
    assert!(task.run().is_none());
    assert!(fixture.finish(spool, &content).await.is_none());
}
