//! Spools on their way to stores that work, fail and hang.

#![expect(clippy::disallowed_methods, reason = "the tests look at what lies in the folders")]

use std::fs;
use std::sync::atomic::AtomicU64;

use courant_proto::duration::GoDuration;
use courant_proto::label::LabelSet;
use courant_proto::name::JournalName;
use courant_proto::spec::{Flags, FragmentSpec};
use courant_proto::store::StoreUrl;
use courant_proto::time::{Clock, ManualClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ahead::{self, Ahead};
use crate::disk::MemoryDisk;
use crate::spool::digest::Digest;
use crate::spool::log::{Opening, SpoolLog};
use crate::spool::tests::{commit, content, find, folder, opening, registers};
use crate::spool::volume::Layout;
use crate::store::tests::faults::forbid;
use crate::store::{Operation, Stores};

const CONTENT: &[u8] = b"the content of a spool\n";

/// Journals that a test changes as it goes on.
#[derive(Debug)]
struct Lookup(Mutex<Option<Journal>>);

impl Journals for Lookup {
    fn look_up(&self, identity: &Identity) -> Option<Journal> {
        self.0.lock().clone().filter(|_| identity.create_revision == 5)
    }
}

/// A running persister over a temporary folder.
struct Fixture {
    root: TempDir,
    stores: Arc<Stores>,
    journals: Arc<Lookup>,
    handle: PersisterHandle,
    sender: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    _tasks: JoinSet<()>,
}

fn spec(stores: &[&str]) -> Arc<JournalSpec> {
    Arc::new(JournalSpec {
        name: JournalName::parse("a/journal").expect("a name"),
        replication: 1,
        labels: LabelSet::default(),
        fragment: FragmentSpec {
            length: 1 << 20,
            codec: Codec::None,
            stores: stores.iter().map(|url| StoreUrl::parse(url).expect("a URL")).collect(),
            refresh_interval: Duration::from_secs(60),
            retention: GoDuration::default(),
            flush_interval: None,
            path_postfix_template: "date={{ .Spool.FirstAppendTime.Format \"2006-01-02\" }}".to_owned(),
        },
        flags: Flags::NOT_SPECIFIED,
        max_append_rate: None,
        suspend: None,
    })
}

fn spool(number: u64) -> CompletedSpool {
    let mut digest = Digest::new();
    digest.update(CONTENT);
    let begin = Offset::new(number as i64 * 1000).expect("an offset");
    CompletedSpool {
        id: SpoolId(number),
        identity: Identity {
            journal: JournalName::parse("a/journal").expect("a name"),
            create_revision: 5,
            epoch: 1,
        },
        begin,
        end: begin.plus(CONTENT.len() as u64).expect("an offset"),
        sum: digest.sum(),
        codec: Codec::None,
        first_append: Some(Timestamp::from_secs(1_700_000_000)),
        registers: Registers::default(),
        content: Arc::new(|position, buffer| {
            let rest = &CONTENT[position as usize..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }),
    }
}

impl Fixture {
    fn new(stores: &[&str], config: Config) -> Self {
        Self::with_stores(stores, config, crate::store::Config::default())
    }

    fn with_stores(stores: &[&str], config: Config, store_config: crate::store::Config) -> Self {
        let root = TempDir::new().expect("a folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let store_config = crate::store::Config { file_root: Some(root.path().to_owned()), ..store_config };
        let opened = Arc::new(Stores::new(
            store_config,
            Arc::clone(&clock) as Arc<dyn Clock>,
            StdRng::seed_from_u64(1),
        ));
        let journals = Arc::new(Lookup(Mutex::new(Some(Journal { spec: spec(stores), is_primary: true }))));
        let (persister, handle) = Persister::new(
            config,
            Arc::clone(&opened),
            Arc::clone(&journals) as Arc<dyn Journals>,
            clock,
            StdRng::seed_from_u64(2),
        );
        let (sender, reports) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(persister.run(CancellationToken::new()));
        Self { root, stores: opened, journals, handle, sender, reports, _tasks: tasks }
    }

    fn set(&self, journal: Option<(&[&str], bool)>) {
        *self.journals.0.lock() =
            journal.map(|(stores, is_primary)| Journal { spec: spec(stores), is_primary });
    }

    fn submit(&self, spool: CompletedSpool) {
        self.handle.submit(spool, &self.sender).expect("there is room");
    }

    async fn persisted(&mut self) -> (SpoolId, Fragment) {
        match self.reports.recv().await.expect("a report") {
            Report::Persisted { spool, fragment } => (spool, fragment),
            other => panic!("{other:?}"),
        }
    }

    fn counter(&self, counter: impl Fn(&PersisterCounters) -> &AtomicU64) -> u64 {
        counter(self.handle.counters()).load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_primary_completed_is_stored_at_once() {
    let mut fixture = Fixture::new(&["file:///first/", "file:///second/"], Config::default());
    let began = Instant::now();
    fixture.submit(spool(1));
    assert_eq!(
        (fixture.counter(|c| &c.pending), fixture.counter(|c| &c.pending_bytes)),
        (1, CONTENT.len() as u64)
    );
    let (id, fragment) = fixture.persisted().await;
    assert_eq!(id, SpoolId(1));
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(&*fragment.postfix, "date=2023-11-14");
    assert_eq!(fragment.store.as_ref().map(StoreUrl::as_str), Some("file:///first/"));
    assert!(fragment.mod_time > 0);
    let path = fixture.root.path().join("first").join(fragment.content_path());
    assert_eq!(fs::read(path).expect("an object"), CONTENT);

    // The same again, as another replica would: it is found.
    fixture.submit(spool(1));
    assert_eq!(fixture.persisted().await.1, fragment);
    tokio::task::yield_now().await;
    assert_eq!((fixture.counter(|c| &c.uploaded), fixture.counter(|c| &c.already_there)), (1, 1));
    assert_eq!((fixture.counter(|c| &c.pending), fixture.counter(|c| &c.pending_bytes)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_completed_waits_for_the_primary() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    fixture.set(Some((&["file:///"], false)));
    let began = Instant::now();
    fixture.submit(spool(1));
    fixture.persisted().await;
    let waited = began.elapsed();
    assert!((120..=181).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_completed_waits_no_longer_once_it_is_the_primary() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    fixture.set(Some((&["file:///"], false)));
    let began = Instant::now();
    fixture.submit(spool(1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    fixture.set(Some((&["file:///"], true)));
    fixture.persisted().await;
    let waited = began.elapsed();
    assert!((20..=30).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_spool_is_nothing() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    let empty = spool(1);
    fixture.submit(CompletedSpool { end: empty.begin, ..empty });
    fixture.submit(spool(2));
    assert_eq!(fixture.persisted().await.0, SpoolId(2));
    assert_eq!(fixture.handle.counters().persisted_total(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_spool_of_a_journal_that_is_gone_is_dropped() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    fixture.set(None);
    fixture.submit(spool(1));
    let gone = Report::JournalGone { spool: SpoolId(1), identity: spool(1).identity };
    assert_eq!(fixture.reports.recv().await, Some(gone));
    // Another journal of the same name is not its journal.
    fixture.set(Some((&["file:///"], true)));
    let mut former = spool(2);
    former.identity.create_revision = 4;
    fixture.submit(former);
    assert!(matches!(fixture.reports.recv().await, Some(Report::JournalGone { spool: SpoolId(2), .. })));
    tokio::task::yield_now().await;
    assert_eq!((fixture.counter(|c| &c.dropped), fixture.handle.counters().persisted_total()), (2, 2));
    assert_eq!(fs::read_dir(fixture.root.path()).expect("a folder").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_spool_waits_for_a_better_store() {
    let mut fixture = Fixture::new(&["file:///taken/"], Config::default());
    fs::write(fixture.root.path().join("taken"), "a file").expect("written");
    fixture.submit(spool(1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fixture.reports.try_recv().is_err());
    // Ever more slowly: ten minutes see a score of attempts, not six hundred.
    assert!((10..=35).contains(&fixture.counter(|c| &c.failed)), "{}", fixture.counter(|c| &c.failed));
    assert!(fixture.counter(|c| &c.oldest_seconds) > 60);
    fixture.set(Some((&["file:///free/"], true)));
    assert_eq!(fixture.persisted().await.1.store.as_ref().map(StoreUrl::as_str), Some("file:///free/"));
}

#[tokio::test(start_paused = true)]
async fn a_spool_without_a_store_stays_here() {
    let mut fixture = Fixture::new(&[], Config::default());
    fixture.submit(spool(1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fixture.reports.try_recv().is_err());
    assert!(fixture.counter(|c| &c.storeless) >= 5);
    assert_eq!((fixture.counter(|c| &c.pending), fixture.counter(|c| &c.failed)), (1, 0));
    fixture.set(Some((&["file:///"], true)));
    fixture.persisted().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_what_has_no_store() {
    let fixture = Fixture::new(&[], Config::default());
    fixture.submit(spool(1));
    let begun = tokio::time::Instant::now();
    let left = fixture.handle.drain(Duration::from_secs(60)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        left.iter().map(|left| left.reason.as_str()).collect::<Vec<_>>(),
        ["its journal has no store"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_spool_is_never_stored() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    let damaged = CompletedSpool { sum: ContentSum([7; 20]), ..spool(1) };
    fixture.submit(damaged);
    let left = fixture.handle.drain(Duration::from_secs(30)).await;
    assert!(fixture.reports.try_recv().is_err());
    assert_eq!(left.len(), 1);
    assert!(left[0].reason.contains("cannot be stored"), "{}", left[0].reason);
}

#[tokio::test(start_paused = true)]
async fn a_full_persister_gives_back() {
    let fixture = Fixture::new(&[], Config { pending: 3, ..Config::default() });
    for number in 0..3 {
        fixture.submit(spool(number));
    }
    let refused = fixture.handle.submit(spool(3), &fixture.sender).expect_err("full");
    assert_eq!(refused.id, SpoolId(3));
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.handle.submit(spool(3), &fixture.sender).expect_err("still full");
    assert_eq!(fixture.counter(|c| &c.pending), 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_at_a_time() {
    let mut fixture =
        Fixture::new(&["file:///"], Config { attempts: 1, attempts_of_a_store: 1, pending: 100 });
    let (reading, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for number in 0..20 {
        let plain = spool(number);
        let (reading, most, content) = (Arc::clone(&reading), Arc::clone(&most), Arc::clone(&plain.content));
        let watched: ContentReader = Arc::new(move |position, buffer| {
            most.fetch_max(reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            (0..20).for_each(|_| std::thread::yield_now());
            reading.fetch_sub(1, Ordering::SeqCst);
            content(position, buffer)
        });
        fixture.submit(CompletedSpool { content: watched, ..plain });
    }
    let mut seen: Vec<_> = Vec::new();
    for _ in 0..20 {
        seen.push(fixture.persisted().await.0.0);
    }
    // One at a time, in the order in which they came.
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_persists_what_it_can_and_names_the_rest() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    // A replica's spool is not waited for.
    fixture.set(Some((&["file:///"], false)));
    fixture.submit(spool(1));
    let began = Instant::now();
    assert_eq!(fixture.handle.drain(Duration::from_secs(60)).await, []);
    assert_eq!(fixture.persisted().await.0, SpoolId(1));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    let fixture = Fixture::new(&["file:///taken/"], Config::default());
    fs::write(fixture.root.path().join("taken"), "a file").expect("written");
    fixture.submit(spool(2));
    fixture.submit(spool(1));
    let began = Instant::now();
    let left = fixture.handle.drain(Duration::from_secs(60)).await;
    assert!((60..=61).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(left.iter().map(|left| left.spool.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((left[0].begin, left[0].end), (spool(1).begin, spool(1).end));
    assert!(left[0].reason.contains("taken"), "{}", left[0].reason);
    // It tried again and again, though not without pause, and does not go on.
    let failed = fixture.counter(|c| &c.failed);
    assert!((20..=200).contains(&failed), "{failed}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fixture.counter(|c| &c.failed), failed);
}

#[tokio::test(start_paused = true)]
async fn a_hung_upload_does_not_hold_up_a_drain() {
    let fixture = Fixture::new(&["file:///"], Config::default());
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Mutex::new(held);
    let hung = CompletedSpool {
        content: Arc::new(move |_, _| {
            let _ = held.lock().recv();
            Err("let go".into())
        }),
        ..spool(1)
    };
    fixture.submit(hung);
    // The blocked thread keeps the test's clock from moving by itself.
    let left = tokio::join!(fixture.handle.drain(Duration::from_secs(5)), async {
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    })
    .0;
    assert_eq!(left.len(), 1);
    assert!(left[0].reason.contains("given up at the deadline"), "{}", left[0].reason);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_us_is_passed_over_only_while_exiting() {
    const STORES: [&str; 2] = ["file:///forbidden/", "file:///allowed/"];
    let mut fixture = Fixture::new(&STORES, Config::default());
    forbid(&fixture.stores, STORES[0], 1000);
    fixture.submit(spool(1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fixture.reports.try_recv().is_err());
    assert_eq!(fixture.handle.drain(Duration::from_secs(60)).await, []);
    assert_eq!(fixture.persisted().await.1.store.as_ref().map(StoreUrl::as_str), Some(STORES[1]));

    // A store that fails otherwise is not.
    let fixture = Fixture::new(&["file:///taken/", "file:///allowed/"], Config::default());
    fs::write(fixture.root.path().join("taken"), "a file").expect("written");
    fixture.submit(spool(1));
    assert_eq!(fixture.handle.drain(Duration::from_secs(60)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn drains_at_the_same_time_and_after_the_end_are_answered() {
    let fixture = Fixture::new(&["file:///taken/"], Config::default());
    fs::write(fixture.root.path().join("taken"), "a file").expect("written");
    fixture.submit(spool(1));
    let handle = &fixture.handle;
    let (one, other) =
        tokio::join!(handle.drain(Duration::from_secs(60)), handle.drain(Duration::from_secs(30)));
    assert_eq!((one.len(), one), (1, other));

    let (persister, handle) = Persister::new(
        Config::default(),
        Arc::clone(&fixture.stores),
        Arc::clone(&fixture.journals) as Arc<dyn Journals>,
        Arc::new(ManualClock::default()),
        StdRng::seed_from_u64(3),
    );
    handle.submit(spool(2), &fixture.sender).expect("there is room");
    let cancel = CancellationToken::new();
    cancel.cancel();
    persister.run(cancel).await;
    let left = handle.drain(Duration::from_secs(60)).await;
    assert_eq!(left.iter().map(|left| left.spool.0).collect::<Vec<_>>(), [2]);
    handle.submit(spool(3), &fixture.sender).expect_err("it has ended");
}

/// A journal each, all of whose spools were closed in the same second: few uploads at a time, little memory, few requests.
#[tokio::test(start_paused = true)]
async fn a_thousand_journals_that_flush_at_once_are_no_peak() {
    const JOURNALS: u64 = 1_000;
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    for number in 0..JOURNALS {
        fixture.submit(spool(number));
    }
    for _ in 0..JOURNALS {
        fixture.persisted().await;
    }
    let uploads = fixture.stores.uploads();
    let most = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    assert!(most(&uploads.most_running) <= 32, "{uploads:?}");
    // A small one counts as 64 KiB.
    assert!(most(&uploads.most_bytes) <= 32 * (64 << 10), "{uploads:?}");
    assert_eq!((most(&uploads.running), most(&uploads.bytes)), (0, 0));
    let store = fixture.stores.open_stores().remove(0);
    let requests = |operation| store.counters().operation(operation).success.load(Ordering::SeqCst);
    assert_eq!(requests(Operation::Put), JOURNALS);
    assert!(requests(Operation::Exists) <= 2 * JOURNALS, "{}", requests(Operation::Exists));
    assert_eq!(requests(Operation::List) + requests(Operation::Get) + requests(Operation::Remove), 0);
}

#[tokio::test(start_paused = true)]
async fn large_uploads_share_the_memory_that_there_is() {
    let memory = 8 << 20;
    let store_config = crate::store::Config { upload_memory: memory, ..crate::store::Config::default() };
    let mut fixture = Fixture::with_stores(&["file:///"], Config::default(), store_config);
    let content = Arc::new(vec![b'x'; 1 << 20]);
    let mut digest = Digest::new();
    digest.update(&content);
    for number in 0..40 {
        let begin = Offset::new(number << 20).expect("an offset");
        let content = Arc::clone(&content);
        let reader: ContentReader = Arc::new(move |position, buffer| {
            let rest = &content[position as usize..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        });
        let end = begin.plus(1 << 20).expect("an offset");
        let sum = digest.sum();
        fixture.submit(CompletedSpool { begin, end, sum, content: reader, ..spool(number as u64) });
    }
    for _ in 0..40 {
        fixture.persisted().await;
    }
    let most = fixture.stores.uploads().most_bytes.load(Ordering::SeqCst);
    // One store has half of it.
    assert!(most <= memory / 2 && most >= 2 << 20, "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_up_no_other() {
    let config = Config { attempts: 4, attempts_of_a_store: 2, ..Config::default() };
    // What hangs here is the content, which is read with a permit to encode: there are more of these than attempts.
    let store_config = crate::store::Config { encodes: 8, ..crate::store::Config::default() };
    let mut fixture = Fixture::with_stores(&["file:///hung/"], config, store_config);
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Arc::new(Mutex::new(held));
    for number in 0..6 {
        let held = Arc::clone(&held);
        let hangs: ContentReader = Arc::new(move |_, _| {
            let _ = held.lock().recv();
            Err("let go".into())
        });
        fixture.submit(CompletedSpool { content: hangs, ..spool(number) });
    }
    tokio::task::yield_now().await;
    fixture.set(Some((&["file:///works/"], true)));
    fixture.submit(spool(7));
    assert_eq!(fixture.persisted().await.0, SpoolId(7));
    drop(release);
}

/// Brokers that upload the same at the same time leave one object, and each of them may release what it has (J28).
#[tokio::test]
async fn any_number_of_brokers_leave_one_object() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    let mut reports = Vec::new();
    for number in 0..4 {
        let (persister, handle) = Persister::new(
            Config::default(),
            Arc::clone(&fixture.stores),
            Arc::clone(&fixture.journals) as Arc<dyn Journals>,
            Arc::new(ManualClock::default()),
            StdRng::seed_from_u64(number),
        );
        fixture._tasks.spawn(persister.run(CancellationToken::new()));
        handle.submit(spool(1), &fixture.sender).expect("there is room");
        reports.push(handle);
    }
    let mut fragments = Vec::new();
    for _ in 0..reports.len() {
        fragments.push(fixture.persisted().await.1.content_path());
    }
    fragments.dedup();
    assert_eq!(fragments.len(), 1);
    let path = fixture.root.path().join(&fragments[0]);
    let folder = path.parent().expect("a folder");
    assert_eq!(fs::read(&path).expect("an object"), CONTENT);
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_room_is_short_a_replica_lets_go_of_what_is_stored() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    fixture.set(Some((&["file:///"], false)));
    fixture.handle.hurry(true);
    let began = Instant::now();
    fixture.submit(spool(1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        fs::read_dir(fixture.root.path()).expect("a folder").count(),
        0,
        "it is the primary's to store"
    );
    // The primary does.
    let store = fixture.stores.get(&StoreUrl::parse("file:///").expect("a URL")).expect("a store");
    let primary = spool(1);
    let fragment = Fragment {
        end: primary.end,
        sum: primary.sum,
        postfix: "date=2023-11-14".into(),
        ..Fragment::empty_at(primary.identity.journal.clone(), primary.begin, primary.codec)
    };
    let content = Arc::clone(&primary.content);
    store.put(&fragment, move |position, buffer| content(position, buffer)).await.expect("stored");
    fixture.persisted().await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!((fixture.counter(|c| &c.uploaded), fixture.counter(|c| &c.failed)), (0, 0));
}

/// A log whose spools are encoded as they grow, and a persister that takes what was.
struct EncodingAhead {
    log: SpoolLog,
    ahead: Ahead,
    handle: PersisterHandle,
}

impl EncodingAhead {
    fn start(fixture: &mut Fixture, scratch: MemoryDisk) -> Self {
        let ahead = Ahead::new(ahead::Config::default(), Arc::new(scratch), folder());
        let (persister, handle) = Persister::new(
            Config::default(),
            Arc::clone(&fixture.stores),
            Arc::clone(&fixture.journals) as Arc<dyn Journals>,
            Arc::new(ManualClock::default()),
            StdRng::seed_from_u64(9),
        );
        fixture._tasks.spawn(persister.with_ahead(ahead.clone()).run(CancellationToken::new()));
        let log = SpoolLog::new(find(&MemoryDisk::new(), Layout::default()).volume, 0);
        Self { log, ahead, handle }
    }

    /// A closed spool of the journal of a number: what was encoded of it, and what came after that.
    fn spool(&mut self, number: usize, codec: Codec, encoded: &[u8], rest: &[u8]) -> SpoolId {
        let mut turn = self.log.turn();
        let first = Opening { codec, ..opening(number, 1, 0, registers(0)) };
        let spool = turn.open(first.clone()).expect("opened");
        turn.write().expect("written");
        commit(&mut self.log, spool, encoded);
        let open = self.log.spool(spool).expect("a spool");
        let mut task = self.ahead.want(spool, open.content(), codec, open.length());
        while let Some(next) = task {
            task = next.run();
        }
        commit(&mut self.log, spool, rest);
        let next = Opening { begin: self.log.spool(spool).expect("a spool").end(), ..first };
        let mut turn = self.log.turn();
        turn.roll(spool, next).expect("rolled");
        turn.write().expect("written");
        spool
    }

    fn submit(&self, spool: SpoolId, fixture: &Fixture) {
        self.handle
            .submit(self.log.spool(spool).expect("a spool").into(), &fixture.sender)
            .expect("there is room");
    }
}

/// What was encoded while the spool grew is what is stored, and it holds the spool's content.
#[tokio::test]
async fn what_was_encoded_ahead_is_uploaded_and_holds_the_content() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    let mut encoding = EncodingAhead::start(&mut fixture, MemoryDisk::new());
    for (number, codec) in [Codec::Gzip, Codec::Zstandard, Codec::Snappy].into_iter().enumerate() {
        let bytes = content(number as u64, 3 << 20);
        let spool = encoding.spool(number, codec, &bytes, &bytes[..1000]);
        encoding.submit(spool, &fixture);
        let (_, fragment) = fixture.persisted().await;
        let store = fixture.stores.get(fragment.store.as_ref().expect("a store")).expect("open");
        let mut reader = store.open(&fragment, fragment.begin).await.expect("readable");
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await.expect("readable") {
            read.extend_from_slice(&piece);
        }
        assert!(read == [&bytes[..], &bytes[..1000]].concat(), "{codec}");
        assert_eq!(encoding.ahead.counters().used.load(Ordering::SeqCst), number as u64 + 1);
        encoding.ahead.forget(spool);
    }
    encoding.ahead.sweep();
    assert_eq!(encoding.ahead.counters().scratch_bytes.load(Ordering::SeqCst), 0);
}

/// A scratch file that cannot be read is a copy lost, and no more: the spool is encoded anew in the same attempt.
#[tokio::test]
async fn what_was_encoded_ahead_and_cannot_be_read_is_encoded_anew() {
    let mut fixture = Fixture::new(&["file:///"], Config::default());
    let scratch = MemoryDisk::new();
    let mut encoding = EncodingAhead::start(&mut fixture, scratch.clone());
    let spool = encoding.spool(0, Codec::Zstandard, &content(3, 3 << 20), &content(4, 1000));
    scratch.fail_reads(Some(std::io::ErrorKind::Other));
    encoding.submit(spool, &fixture);
    fixture.persisted().await;
    assert_eq!(encoding.handle.counters().failed.load(Ordering::SeqCst), 0);
    let counters = encoding.ahead.counters();
    assert_eq!(counters.used.load(Ordering::SeqCst), 0);
    assert_eq!(counters.spools.load(Ordering::SeqCst), 0, "what is of no use is forgotten");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_store_is_not_left_behind_when_its_journal_moves() {
    let config = Config { attempts: 4, attempts_of_a_store: 1, ..Config::default() };
    let mut fixture = Fixture::new(&["file:///hung/"], config);
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Mutex::new(held);
    let hangs: ContentReader = Arc::new(move |_, _| {
        let _ = held.lock().recv();
        Err("let go".into())
    });
    fixture.submit(CompletedSpool { content: hangs, ..spool(0) });
    for number in 1..5 {
        fixture.submit(spool(number));
    }
    tokio::task::yield_now().await;
    fixture.set(Some((&["file:///works/"], true)));
    // A drain waits for those that are held, though none of them is in line.
    let draining = fixture.handle.clone();
    let draining = tokio::spawn(async move { draining.drain(Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    drop(release);
    let mut seen = Vec::new();
    for _ in 1..5 {
        seen.push(fixture.persisted().await.0.0);
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    let left = draining.await.expect("drained");
    assert_eq!(left.iter().map(|left| left.spool.0).collect::<Vec<_>>(), [0]);
}
