//! What an index answers while content is committed, persisted and listed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::store::StoreUrl;
use courant_proto::time::Timestamp;
use proptest::prelude::*;

use super::state::Local;
use super::*;
use crate::query::Gap;
use crate::spool::digest::Digest;

/// The name of a spool's content, where a spool would have content.
type Named = Index<&'static str>;

const NOW: i64 = 1_000_000;

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

fn journal() -> JournalName {
    JournalName::parse("a/journal").expect("a name")
}

fn index() -> Named {
    Index::new(journal(), TAIL_BYTES)
}

fn spool(number: u64) -> SpoolId {
    SpoolId(number)
}

fn digest(content: &[u8]) -> Digest {
    let mut digest = Digest::new();
    digest.update(content);
    digest
}

fn extent(number: u64, begin: i64, end: i64) -> LocalExtent<&'static str> {
    LocalExtent {
        spool: spool(number),
        begin: at(begin),
        end: at(end),
        digest: digest(&vec![b'x'; (end - begin) as usize]),
        codec: Codec::Gzip,
        first_append: Some(Timestamp::from_secs(begin)),
        content: Arc::new("spool"),
    }
}

fn stored(begin: i64, end: i64, mod_time: i64) -> Fragment {
    Fragment {
        begin: at(begin),
        end: at(end),
        store: Some(StoreUrl::parse("file:///root/").expect("a store")),
        mod_time,
        ..Fragment::empty_at(journal(), at(begin), Codec::Zstandard)
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn read(index: &Named, offset: i64) -> Answer<&'static str> {
    let from = ReadFrom::try_from(offset).expect("an offset or -1");
    index.query(&Query { from, begin_mod_time: 0 }, now())
}

/// Offset, write head, and the fragment with whether it is stored.
type Shown = (i64, i64, Option<(i64, i64, bool)>);

fn shown(answer: &Answer<&'static str>) -> Shown {
    let hit = answer.hit.as_ref().map(|hit| {
        let fragment = &hit.fragment;
        assert_eq!(fragment.store.is_some(), fragment.mod_time != 0);
        (fragment.begin.get(), fragment.end.get(), fragment.store.is_some())
    });
    (answer.offset.get(), answer.write_head.get(), hit)
}

#[track_caller]
fn check(index: &Named, offset: i64, expected: Shown) {
    assert_eq!(shown(&read(index, offset)), expected, "at {offset}");
}

#[test]
fn stored_content_then_local_content() {
    let index = index();
    check(&index, -1, (0, 0, None));
    index.replace_remote(vec![stored(0, 100, 5), stored(100, 150, 5)], now());
    index.committed(extent(1, 150, 200), &[]);
    check(&index, 110, (110, 200, Some((100, 150, true))));
    check(&index, 160, (160, 200, Some((150, 200, false))));
    check(&index, -1, (200, 200, None));
    // The spool grows.
    index.committed(extent(1, 150, 230), &[]);
    check(&index, 160, (160, 230, Some((150, 230, false))));
}

#[test]
fn a_listing_replaces_local_content_that_it_covers_also_when_that_was_larger() {
    let index = index();
    index.committed(extent(1, 100, 300), &[]);
    index.replace_remote(vec![stored(50, 200, 5)], now());
    check(&index, 150, (150, 300, Some((100, 300, false))));
    // Two stored fragments that touch cover it together.
    index.replace_remote(vec![stored(50, 200, 5), stored(200, 300, 5)], now());
    check(&index, 150, (150, 300, Some((50, 200, true))));
    assert_eq!(index.unstored(), Unstored::default());
    // With a hole of one byte they would not.
    index.committed(extent(2, 300, 400), &[]);
    index.replace_remote(vec![stored(300, 350, 5), stored(351, 400, 5)], now());
    assert_eq!(index.unstored(), Unstored { spools: 1, bytes: 100 });
}

#[test]
fn a_listing_without_what_was_pruned() {
    let index = index();
    index.replace_remote(vec![stored(0, 100, 5), stored(100, 200, 5)], now());
    index.replace_remote(vec![stored(100, 200, 5)], now());
    let answer = read(&index, 0);
    assert_eq!(shown(&answer), (100, 200, Some((100, 200, true))));
    assert_eq!(answer.gap, Some(Gap { begin: at(0), end: at(100) }));
    // All of it gone: the head stays where it was.
    index.replace_remote(Vec::new(), now());
    check(&index, -1, (200, 200, None));
}

#[test]
fn the_sum_of_an_answer_is_that_of_the_content() {
    let index = index();
    index.committed(LocalExtent { digest: digest(b"hello"), ..extent(1, 10, 15) }, &[]);
    let sum = |index: &Named| read(index, 12).hit.expect("content").fragment.sum;
    assert_eq!(sum(&index).to_string(), "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    let finished = ContentSum([7; 20]);
    index.completed(spool(1), finished);
    assert_eq!(sum(&index), finished);
    index.completed(spool(99), ContentSum::ZERO);
    assert_eq!(sum(&index), finished);
}

#[test]
fn local_content_is_read_at_its_position() {
    let index = index();
    index.committed(extent(1, 100, 200), &[]);
    match read(&index, 130).hit.expect("content").source {
        Source::Local(content, position) => assert_eq!((*content, position), ("spool", 30)),
        other => panic!("{other:?}"),
    }
    index.persisted(spool(1), stored(100, 200, 9));
    let hit = read(&index, 130).hit.expect("content");
    assert!(matches!(hit.source, Source::Remote));
    assert_eq!(hit.fragment, stored(100, 200, 9));
}

#[test]
fn what_we_stored_survives_a_stale_listing_for_a_while() {
    let index = index();
    index.committed(extent(1, 0, 100), &[]);
    index.persisted(spool(1), stored(0, 100, NOW));
    let listed = |seconds| Timestamp::from_secs(NOW + seconds);
    index.replace_remote(Vec::new(), listed(60));
    check(&index, 0, (0, 100, Some((0, 100, true))));
    index.replace_remote(Vec::new(), listed(301));
    check(&index, 0, (0, 100, None));

    // Once a listing has shown it, the next one is believed.
    index.persisted(spool(1), stored(0, 100, NOW));
    index.replace_remote(vec![stored(0, 100, NOW)], listed(10));
    index.replace_remote(Vec::new(), listed(20));
    check(&index, 0, (0, 100, None));
}

#[test]
fn spools_side_by_side() {
    let index = index();
    for number in 0..4 {
        let begin = number as i64 * 100;
        index.committed(extent(number, begin, begin + 50), &[]);
        index.committed(extent(number, begin, begin + 100), &[]);
        index.completed(spool(number), ContentSum::ZERO);
    }
    assert_eq!(index.unstored(), Unstored { spools: 4, bytes: 400 });
    index.persisted(spool(1), stored(100, 200, 7));
    index.released(spool(3));
    check(&index, 150, (150, 400, Some((100, 200, true))));
    check(&index, 250, (250, 400, Some((200, 300, false))));
    check(&index, 350, (350, 400, None));
}

#[test]
fn a_head_without_content() {
    let index = index();
    index.raise_head(at(500));
    index.raise_head(at(400));
    check(&index, -1, (500, 500, None));
    index.committed(extent(1, 500, 500), &[]);
    check(&index, -1, (500, 500, None));
    assert_eq!(index.summary(), Summary::default());
}

#[test]
fn summaries() {
    let index = index();
    assert_eq!(index.summary(), Summary::default());
    index.replace_remote(vec![stored(100, 150, 5), stored(150, 200, 9)], now());
    assert_eq!(index.summary(), Summary { begin: at(100), end: at(200), mod_time: 9 });
    index.committed(extent(1, 200, 210), &[]);
    assert_eq!(index.summary(), Summary { begin: at(100), end: at(210), mod_time: 0 });
}

fn chunks(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

fn memory(index: &Named, offset: i64) -> Option<String> {
    match read(index, offset).hit?.source {
        Source::Memory(chunks) => Some(String::from_utf8(chunks.concat()).expect("text")),
        _ => None,
    }
}

#[test]
fn the_tail_is_served_from_memory() {
    let index = Index::new(journal(), 10);
    index.committed(extent(1, 100, 106), &chunks(&["abc", "", "def"]));
    for (offset, expected) in [(100, "abcdef"), (102, "cdef"), (103, "def"), (105, "f")] {
        assert_eq!(memory(&index, offset).as_deref(), Some(expected), "at {offset}");
    }
    assert_eq!(memory(&index, 106), None);
    // By reference, not as a copy.
    let chunk = Bytes::from(vec![b'z'; 4]);
    let address = chunk.as_ptr();
    index.committed(extent(1, 100, 110), &[chunk]);
    match read(&index, 106).hit.expect("content").source {
        Source::Memory(chunks) => assert_eq!(chunks[0].as_ptr(), address),
        other => panic!("{other:?}"),
    }
    // Beyond the bound the oldest go, whole.
    index.committed(extent(1, 100, 112), &chunks(&["yy"]));
    assert_eq!(memory(&index, 102), None);
    assert_eq!(memory(&index, 104).as_deref(), Some("efzzzzyy"));
    // A fragment ends the content of an answer.
    index.completed(spool(1), ContentSum::ZERO);
    index.committed(extent(2, 112, 113), &chunks(&["w"]));
    assert_eq!(memory(&index, 106).as_deref(), Some("zzzzyy"));
    assert_eq!(memory(&index, 112).as_deref(), Some("w"));
    // What did not pass through memory breaks it off.
    index.committed(extent(2, 112, 120), &[]);
    assert_eq!(memory(&index, 112), None);
    index.committed(extent(2, 112, 122), &chunks(&["uv"]));
    assert_eq!(memory(&index, 121).as_deref(), Some("v"));
    index.trim_tail();
    assert_eq!(memory(&index, 121), None);
    index.committed(extent(2, 112, 125), &chunks(&["xyz"]));
    assert_eq!(memory(&index, 122).as_deref(), Some("xyz"));
    // A commit that is larger than the bound leaves nothing, and the next one is kept again.
    index.committed(extent(2, 112, 145), &chunks(&["01234567890123456789"]));
    assert_eq!(memory(&index, 130), None);
    index.committed(extent(2, 112, 146), &chunks(&["!"]));
    assert_eq!(memory(&index, 145).as_deref(), Some("!"));
}

#[test]
fn many_small_commits_keep_few_chunks() {
    let mut tail = Tail::default();
    for end in 1..10_000 {
        tail.push(at(end), &[Bytes::from_static(b"x")], TAIL_BYTES);
    }
    assert_eq!(tail.length(), 1024);
}

#[test]
fn pages() {
    let index = index();
    let fragments: Vec<Fragment> = (0..5).map(|n| stored(n * 100, n * 100 + 100, 10 + n)).collect();
    index.replace_remote(fragments, now());
    index.committed(extent(1, 500, 600), &[]);
    index.committed(extent(2, 250, 320), &[]);
    let check = |from: i64, times: (i64, i64), limit, expected: &[i64], next: Option<i64>| {
        let request = PageRequest { from: at(from), begin_mod_time: times.0, end_mod_time: times.1, limit };
        let page = index.page(&request);
        let begins: Vec<i64> = page.fragments.iter().map(|listed| listed.fragment.begin.get()).collect();
        assert_eq!((&begins[..], page.next.map(Offset::get)), (expected, next), "from {from}");
    };
    // Without bounds, everything, unstored content included.
    check(0, (0, 0), 99, &[0, 100, 200, 250, 300, 400, 500], None);
    // Pages, with the begin of the next fragment as token.
    check(0, (0, 0), 3, &[0, 100, 200], Some(250));
    check(250, (0, 0), 3, &[250, 300, 400], Some(500));
    check(500, (0, 0), 3, &[500], None);
    // A token between two begins, and one past the end.
    check(201, (0, 0), 2, &[250, 300], Some(400));
    check(501, (0, 0), 2, &[], None);
    // A bounded range leaves out what is not stored; an open end does not.
    check(0, (11, 13), 99, &[100, 200, 300], None);
    check(0, (13, 0), 99, &[250, 300, 400, 500], None);
    check(0, (100, 200), 99, &[], None);
    // Inclusive at both ends.
    check(0, (12, 12), 99, &[200], None);
}

#[tokio::test]
async fn a_blocked_read_returns_after_a_commit() {
    let index = Arc::new(index());
    index.committed(extent(1, 0, 200), &[]);
    let first = read(&index, -1);
    assert_eq!(shown(&first), (200, 200, None));
    let reader = tokio::task::JoinSet::from_iter([blocked(Arc::clone(&index), first.offset.get())]);
    tokio::task::yield_now().await;
    index.committed(extent(1, 0, 210), &[]);
    let answers = within(reader.join_all()).await;
    assert_eq!(answers, [(200, 210, Some((0, 210, false)))]);
}

/// Reads as a blocking reader does: listen, query, wait.
async fn blocked(index: Arc<Named>, offset: i64) -> Shown {
    loop {
        let changed = index.listen();
        let answer = read(&index, offset);
        if answer.hit.is_some() || answer.closed {
            return shown(&answer);
        }
        changed.await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("woken")
}

#[tokio::test]
async fn a_change_between_listening_and_waiting_is_not_missed() {
    let index = index();
    let changed = index.listen();
    index.committed(extent(1, 0, 10), &[]);
    within(changed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_waiters_follow_a_writer() {
    let index = Arc::new(index());
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let index = Arc::clone(&index);
        readers.spawn(async move {
            for offset in 0..200 {
                blocked(Arc::clone(&index), offset).await;
            }
        });
    }
    for end in 1..=200 {
        index.committed(extent(1, 0, end), &[]);
        tokio::task::yield_now().await;
    }
    within(readers.join_all()).await;
}

#[tokio::test]
async fn closing_ends_who_waits() {
    let index = Arc::new(index());
    let reader = tokio::task::JoinSet::from_iter([blocked(Arc::clone(&index), 0)]);
    tokio::task::yield_now().await;
    index.close();
    assert_eq!(within(reader.join_all()).await, [(0, 0, None)]);
    assert!(index.is_closed());
    assert!(!within(index.refreshed()).await);
    // Who comes later does not begin to wait.
    assert!(read(&index, 0).closed);
}

#[tokio::test]
async fn the_first_listing_is_waited_for() {
    let index = Arc::new(index());
    assert!(!index.is_refreshed());
    let waiter = {
        let index = Arc::clone(&index);
        tokio::task::JoinSet::from_iter([async move { index.refreshed().await }])
    };
    index.committed(extent(1, 0, 10), &[]);
    tokio::task::yield_now().await;
    index.replace_remote(Vec::new(), now());
    assert_eq!(within(waiter.join_all()).await, [true]);
    assert!(within(index.refreshed()).await);
}

#[test]
fn an_idle_index_is_small() {
    let own = std::mem::size_of::<Index>();
    let spans = std::mem::size_of::<Local<Content>>() + 3 * std::mem::size_of::<Remote>();
    assert!(own + spans < 1024, "{own} + {spans} bytes");
}

/// The definition: one set of everything, rebuilt at each listing.
#[derive(Default)]
struct Naive {
    /// Begin, end, stored.
    total: Vec<(i64, i64, bool)>,
    local: Vec<(i64, i64)>,
}

impl Naive {
    fn add(&mut self, new: (i64, i64, bool)) {
        let inside =
            |inner: (i64, i64, bool), outer: (i64, i64, bool)| outer.0 <= inner.0 && inner.1 <= outer.1;
        if self.total.iter().any(|old| inside(new, *old) && (old.0, old.1) != (new.0, new.1)) {
            return;
        }
        self.total.retain(|old| !inside(*old, new));
        self.total.push(new);
    }

    fn listed(&mut self, listing: &[(i64, i64)]) {
        self.local.retain(|(begin, end)| {
            (*begin..*end).any(|byte| !listing.iter().any(|span| span.0 <= byte && byte < span.1))
        });
        self.total.clear();
        for (begin, end) in listing {
            self.add((*begin, *end, true));
        }
        for (begin, end) in self.local.clone() {
            self.add((begin, end, false));
        }
    }

    fn sorted(&self) -> Vec<(i64, i64, bool)> {
        let mut total = self.total.clone();
        total.sort_unstable();
        total
    }
}

proptest! {
    /// Spools one after the other, commits and listings in any order: the index lists what the definition
    /// says.
    #[test]
    fn agrees_with_one_set_of_everything(
        steps in prop::collection::vec(
            prop_oneof![
                // Grow the spool, or begin the next one.
                (1..15i64, any::<bool>()).prop_map(Ok),
                prop::collection::vec((0..120i64, 1..40i64), 0..8).prop_map(Err),
            ],
            0..24,
        ),
    ) {
        let index = index();
        let mut naive = Naive::default();
        let (mut number, mut begin, mut end) = (0, 0, 0);
        for step in steps {
            match step {
                Ok((length, roll)) => {
                    if roll {
                        number += 1;
                        begin = end;
                    }
                    end += length;
                    index.committed(extent(number, begin, end), &[]);
                    naive.local.retain(|local| local.0 != begin);
                    naive.local.push((begin, end));
                    naive.total.retain(|old| old.2 || old.0 != begin);
                    naive.add((begin, end, false));
                }
                Err(listing) => {
                    let listing: Vec<_> =
                        listing.into_iter().map(|(begin, length)| (begin, begin + length)).collect();
                    let fragments = listing.iter().map(|span| stored(span.0, span.1, 5)).collect();
                    index.replace_remote(fragments, now());
                    naive.listed(&listing);
                }
            }
            let all = PageRequest { from: at(0), begin_mod_time: 0, end_mod_time: 0, limit: 1000 };
            let listed: Vec<_> = index.page(&all).fragments.iter()
                .map(|listed| &listed.fragment)
                .map(|fragment| (fragment.begin.get(), fragment.end.get(), fragment.store.is_some()))
                .collect();
            prop_assert_eq!(&listed, &naive.sorted());
            for offset in 0..end.min(150) {
                let over = |span: &&(i64, i64, bool)| span.0 <= offset && offset < span.1;
                let here = naive.local.iter().map(|(begin, end)| (*begin, *end, false));
                let best = here.filter(|span| over(&span)).max_by_key(|span| span.1)
                    .or_else(|| listed.iter().filter(over).max_by_key(|span| span.1).copied());
                let answer = shown(&read(&index, offset));
                if let Some(best) = best {
                    prop_assert_eq!((answer.0, answer.2), (offset, Some(best)));
                }
            }
        }
    }
}

#[test]
fn what_is_stored_reaches_down_to_the_first_hole() {
    let index = index();
    for (begin, end) in [(0, 10), (20, 30), (30, 45), (40, 50)] {
        index.persisted(SpoolId(1), stored(begin, end, 7));
    }
    for (end, from) in [(10, 0), (15, 15), (30, 20), (50, 20), (60, 60), (0, 0)] {
        assert_eq!(index.stored_from(at(end)), at(from), "up to {end}");
    }
    for (end, is_reached) in
        [(10, true), (5, true), (15, false), (20, false), (21, true), (50, true), (51, false)]
    {
        assert_eq!(index.reaches(at(end)), is_reached, "up to {end}");
    }
}

#[test]
fn what_never_was_part_of_the_journal_moves_no_head() {
    let index = index();
    let stray = stored(1 << 50, (1 << 50) + 10, 10);
    index.replace_remote(vec![stored(0, 100, 10), stray.clone()], now());
    assert_eq!(index.write_head(), stray.end);
    index.set_aside(&[stray], at(120));
    assert_eq!((index.write_head(), index.stored().len()), (at(120), 1));
}

#[test]
fn a_damaged_object_gives_way_to_what_it_hid() {
    let index = index();
    let (whole, half, copy) =
        (stored(0, 100, 10), stored(0, 50, 10), Fragment { mod_time: 9, ..stored(0, 100, 10) });
    index.replace_remote(vec![copy.clone(), half.clone(), whole.clone()], now());
    assert_eq!(read(&index, 60).hit.expect("content").fragment, whole);
    index.doubt(&whole, Doubt::Damaged, now());
    // Until a listing has brought back what it hid, it alone is known to cover the offset.
    assert!(matches!(read(&index, 60).hit.expect("damage").source, Source::Damaged));
    assert_eq!(index.summary().end, at(100), "damage moves no end");
    index.replace_remote(vec![copy.clone(), half.clone(), whole.clone()], now());
    assert_eq!(read(&index, 60).hit.expect("content").fragment, copy);
    index.doubt(&copy, Doubt::Damaged, now());
    index.replace_remote(vec![copy.clone(), half.clone(), whole.clone()], now());
    assert_eq!(read(&index, 40).hit.expect("content").fragment, half);
    assert!(matches!(read(&index, 60).hit.expect("damage").source, Source::Damaged));
    let all = PageRequest { from: at(0), begin_mod_time: 0, end_mod_time: 0, limit: 10 };
    assert_eq!(index.page(&all).fragments.len(), 1, "the damaged are listed like others");
    // One that was replaced is another one, and one that was removed is none.
    let mended = Fragment { mod_time: 20, ..whole.clone() };
    index.replace_remote(vec![mended.clone(), half.clone()], now());
    assert_eq!(read(&index, 60).hit.expect("content").fragment, mended);
    assert_eq!(index.doubted(), 0);
    // A doubt does not last for ever.
    index.doubt(&mended, Doubt::Damaged, now());
    index.replace_remote(vec![mended.clone()], now().plus(Duration::from_secs(3600)));
    assert_eq!(index.doubted(), 0);
    // One that was missing is tried again, and believed once a listing shows it.
    index.doubt(&mended, Doubt::Missing, now());
    assert!(matches!(read(&index, 60).hit.expect("it may be back").source, Source::Remote));
    index.replace_remote(vec![mended.clone()], now());
    assert_eq!(index.doubted(), 0);
    index.doubt(&mended, Doubt::Missing, now());
    index.replace_remote(vec![], now());
    assert_eq!(shown(&read(&index, 60)), (60, 100, None), "it is gone, and its offsets are not");
}

/// A span that counts how often anybody asks where it lies.
#[derive(Debug, PartialEq, Eq)]
struct Counted<'a>(i64, &'a std::cell::Cell<usize>);

impl Counted<'_> {
    fn count(&self) -> i64 {
        self.1.set(self.1.get() + 1);
        self.0
    }
}

impl crate::cover_set::Span for Counted<'_> {
    fn begin(&self) -> Offset {
        at(self.count())
    }

    fn end(&self) -> Offset {
        at(self.count() + 10)
    }
}

impl crate::query::Stored for Counted<'_> {
    fn mod_time(&self) -> i64 {
        5
    }
}

#[test]
fn damage_makes_no_summary_and_no_page_look_at_all_fragments() {
    const FRAGMENTS: i64 = 100_000;
    let asked = std::cell::Cell::new(0);
    let (local, remote) =
        (CoverSet::<Counted<'_>>::new(), (0..FRAGMENTS).map(|number| Counted(number * 10, &asked)).collect());
    let doubted =
        [Counted(FRAGMENTS * 10, &asked), Counted(55, &asked), Counted(FRAGMENTS * 10 + 10, &asked)];
    asked.set(0);
    let summary = listing::summary(&local, &remote, &doubted);
    assert_eq!((summary.begin, summary.end), (at(0), at(FRAGMENTS * 10 + 20)));
    assert!(asked.get() < 500, "{}", asked.get());
    asked.set(0);
    let uncovered = listing::uncovered(&doubted, &remote);
    let from = at(FRAGMENTS * 10 - 20);
    let all = listing::all(&local, &remote, &uncovered, from).map(|found| found.begin().get());
    assert_eq!(all.take(3).collect::<Vec<_>>(), [FRAGMENTS * 10 - 20, FRAGMENTS * 10 - 10, FRAGMENTS * 10]);
    assert!(asked.get() < 1000, "{}", asked.get());
}

/// Each looked for among all others it would not end within the hour.
#[test]
fn many_fragments_are_set_aside_at_once() {
    const FRAGMENTS: i64 = 100_000;
    let index = index();
    let all: Vec<Fragment> = (0..FRAGMENTS).map(|number| stored(number * 10, number * 10 + 10, 5)).collect();
    index.replace_remote(all.clone(), now());
    let (kept, aside) = all.split_at(FRAGMENTS as usize / 2);
    index.set_aside(aside, at(FRAGMENTS * 5));
    assert_eq!((index.stored().len(), index.write_head()), (kept.len(), at(FRAGMENTS * 5)));
}
