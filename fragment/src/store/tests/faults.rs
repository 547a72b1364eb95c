//! Stores that fail, hang, lie and forget, and what is made of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Location;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

use super::*;
use crate::store::arguments::Rewrite;
use crate::store::bucket::{Bucket, Signing};

/// What happens to the next call that it fits.
#[derive(Debug, Clone, PartialEq)]
enum Fault {
    /// The store answers 503, or the like.
    Unavailable(Operation),
    /// The store answers 403.
    Forbidden(Operation),
    /// The store does not answer.
    Hangs(Operation),
    /// The object is written, and the answer is lost.
    LostReply,
    /// A large upload loses its last bytes, and tells that all is well.
    ShortUpload,
    /// The upload of the last part, or the end of a large upload, fails.
    BrokenUpload,
    /// The body ends early, without an error.
    ShortBody,
    /// The body breaks off with an error.
    BrokenBody,
    /// The body is another.
    WrongBody,
    /// A page of a listing, behind the first entries, is an error.
    BrokenListing,
    /// A listing stops coming.
    SilentListing,
    /// A listing does not show anything.
    EmptyListing,
}

#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    faults: parking_lot::Mutex<VecDeque<Fault>>,
    aborted: Arc<AtomicUsize>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    /// Takes the next fault if it is one of these.
    fn take(&self, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut faults = self.faults.lock();
        if faults.front().is_some_and(fits) { faults.pop_front() } else { None }
    }

    /// Fails or hangs as the next fault says.
    async fn meet(&self, operation: Operation) -> object_store::Result<()> {
        let fits = |fault: &Fault| {
            [Fault::Unavailable(operation), Fault::Forbidden(operation), Fault::Hangs(operation)]
                .contains(fault)
        };
        match self.take(fits) {
            Some(Fault::Unavailable(_)) => Err(unavailable()),
            Some(Fault::Forbidden(_)) => {
                Err(object_store::Error::PermissionDenied { path: "it".to_owned(), source: "403".into() })
            }
            Some(_) => std::future::pending().await,
            None => Ok(()),
        }
    }
}

fn unavailable() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "503 slow down".into() }
}

#[derive(Debug)]
struct BrokenUpload {
    inner: Box<dyn MultipartUpload>,
    aborted: Arc<AtomicUsize>,
}

#[async_trait]
impl MultipartUpload for BrokenUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        Err(unavailable())
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

/// Holds the last part back, and drops it at the end.
#[derive(Debug)]
struct ShortUpload {
    inner: Box<dyn MultipartUpload>,
    held: Option<PutPayload>,
}

#[async_trait]
impl MultipartUpload for ShortUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.held.replace(data) {
            Some(before) => self.inner.put_part(before),
            None => async { Ok(()) }.boxed(),
        }
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Location,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.meet(Operation::Put).await?;
        let result = self.inner.put_opts(location, payload, options).await?;
        self.take(|fault| *fault == Fault::LostReply).map_or(Ok(result), |_| Err(unavailable()))
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.meet(Operation::Put).await?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        if self.take(|fault| *fault == Fault::ShortUpload).is_some() {
            return Ok(Box::new(ShortUpload { inner, held: None }));
        }
        Ok(match self.take(|fault| *fault == Fault::BrokenUpload) {
            Some(_) => Box::new(BrokenUpload { inner, aborted: Arc::clone(&self.aborted) }),
            None => inner,
        })
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> object_store::Result<GetResult> {
        self.meet(if options.head { Operation::Exists } else { Operation::Get }).await?;
        let is_head = options.head;
        let mut got = self.inner.get_opts(location, options).await?;
        let fits = |fault: &Fault| matches!(fault, Fault::ShortBody | Fault::BrokenBody | Fault::WrongBody);
        if !is_head && let Some(fault) = self.take(fits) {
            let whole = got.range.start..got.range.end;
            let (meta, attributes, extensions) =
                (got.meta.clone(), got.attributes.clone(), got.extensions.clone());
            let bytes = got.bytes().await?;
            let half = Ok(bytes.slice(..bytes.len() / 2));
            let body = match fault {
                Fault::ShortBody => vec![half],
                Fault::WrongBody => vec![Ok(Bytes::from(vec![b'?'; bytes.len()]))],
                _ => vec![half, Err(unavailable())],
            };
            let payload = GetResultPayload::Stream(futures::stream::iter(body).boxed());
            got = GetResult { payload, meta, range: whole, attributes, extensions };
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Location>>,
    ) -> BoxStream<'static, object_store::Result<Location>> {
        match self.take(|fault| *fault == Fault::Forbidden(Operation::Remove)) {
            Some(_) => {
                let denied =
                    object_store::Error::PermissionDenied { path: "it".to_owned(), source: "403".into() };
                futures::stream::iter([Err(denied)]).boxed()
            }
            None => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let all = self.inner.list(prefix);
        let fits = |fault: &Fault| {
            matches!(
                fault,
                Fault::Unavailable(Operation::List)
                    | Fault::BrokenListing
                    | Fault::SilentListing
                    | Fault::EmptyListing
            )
        };
        match self.take(fits) {
            None => all,
            Some(Fault::BrokenListing) => {
                all.take(1).chain(futures::stream::iter([Err(unavailable())])).boxed()
            }
            Some(Fault::SilentListing) => all.take(1).chain(futures::stream::pending()).boxed(),
            Some(Fault::EmptyListing) => futures::stream::empty().boxed(),
            Some(_) => futures::stream::iter([Err(unavailable())]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Location>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Location,
        to: &Location,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store in memory, and the way to make it fail.
struct Memory {
    store: Arc<Store>,
    objects: Arc<Faulty>,
    aborted: Arc<AtomicUsize>,
}

const OPERATION_LIMIT: Duration = Duration::from_secs(60);

/// A store in memory which answers 403 to the first so many looks for an object.
pub(crate) fn forbid(stores: &Stores, text: &str, times: usize) -> Arc<Store> {
    let (store, objects) = in_memory(stores, text);
    objects.faults.lock().extend(std::iter::repeat_n(Fault::Forbidden(Operation::Exists), times));
    stores.open.lock().stores.insert(url(text), Arc::clone(&store));
    store
}

fn in_memory(stores: &Stores, text: &str) -> (Arc<Store>, Arc<Faulty>) {
    let objects =
        Arc::new(Faulty { inner: InMemory::new(), faults: Default::default(), aborted: Arc::default() });
    let bucket = Bucket {
        name: url(text),
        objects: Arc::clone(&objects) as Arc<dyn ObjectStore>,
        folder: None,
        signing: Signing::File,
        prefix: url(text).prefix().to_owned(),
        rewrite: Rewrite::default(),
        attributes: Some(object_store::Attributes::new()),
        piece_size: 100_000,
        heard: Arc::default(),
    };
    (Arc::new(Store::new(url(text), bucket, Arc::clone(&stores.shared))), objects)
}

impl Memory {
    fn new() -> Self {
        let (store, objects) = in_memory(&Fixture::new().stores, "file:///memory/");
        let aborted = Arc::clone(&objects.aborted);
        Self { store, objects, aborted }
    }

    fn next(&self, faults: &[Fault]) {
        self.objects.faults.lock().extend(faults.iter().cloned());
    }

    #[track_caller]
    fn all_met(&self) {
        assert_eq!(self.objects.faults.lock().len(), 0, "faults that nothing met");
    }

    fn errors(&self, operation: Operation) -> u64 {
        self.store.counters().operation(operation).error.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_and_others_are_not() {
    let memory = Memory::new();
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&memory.store, &fragment, &content).await;

    let busy = [Fault::Unavailable(Operation::Get), Fault::Unavailable(Operation::Get)];
    memory.next(&busy);
    assert_eq!(read(&memory.store, &fragment, 0).await.expect("the third time"), content);
    memory.next(&[busy.clone(), busy].concat()[..3]);
    let error = memory.store.open(&fragment, fragment.begin).await.expect_err("three times");
    assert!(error.is_transient() && error.to_string().contains("503"), "{error}");
    assert_eq!(memory.errors(Operation::Get), 5);

    memory.next(&[Fault::Forbidden(Operation::Get)]);
    let error = memory.store.open(&fragment, fragment.begin).await.expect_err("forbidden");
    assert!(error.is_authorization() && !error.is_transient(), "{error}");
    assert_eq!(memory.errors(Operation::Get), 6);
    memory.all_met();
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_ever() {
    let memory = Memory::new();
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    put(&memory.store, &fragment, &content).await;

    memory.next(&[Fault::Hangs(Operation::Get)]);
    let began = tokio::time::Instant::now();
    assert_eq!(read(&memory.store, &fragment, 0).await.expect("the second time"), content);
    assert!(began.elapsed() >= OPERATION_LIMIT);

    let other = Fragment {
        begin: fragment.end,
        end: fragment.end.plus(1000).expect("an offset"),
        ..fragment.clone()
    };
    memory.next(&[Fault::Hangs(Operation::Put)]);
    let error = memory.store.put(&other, reader(content.clone())).await.expect_err("silent");
    assert!(matches!(error, StoreError::TimedOut { operation: Operation::Put, .. }), "{error}");
    memory.all_met();
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_whole_or_an_error() {
    let memory = Memory::new();
    let content = text(100);
    for begin in [0, 100, 200] {
        put(&memory.store, &fragment("a/journal", begin, Codec::None, &content), &content).await;
    }
    let list = || memory.store.list(&JOURNAL, &[]);
    assert_eq!(list().await.expect("a listing").len(), 3);
    for fault in [Fault::BrokenListing, Fault::SilentListing, Fault::Unavailable(Operation::List)] {
        memory.next(&[fault.clone(), fault.clone()]);
        assert_eq!(list().await.expect("the third time").len(), 3);
        memory.next(&[fault.clone(), fault.clone(), fault.clone()]);
        list().await.expect_err("three times");
        memory.all_met();
    }
}

static JOURNAL: std::sync::LazyLock<JournalName> = std::sync::LazyLock::new(|| name("a/journal"));

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_the_object_is_asked_for_once_more() {
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let memory = Memory::new();
        let content = text(700_000);
        let fragment = fragment("a/journal", 0, codec, &content);
        put(&memory.store, &fragment, &content).await;
        for fault in [Fault::ShortBody, Fault::BrokenBody, Fault::WrongBody] {
            memory.next(std::slice::from_ref(&fault));
            if fault != Fault::WrongBody || codec != Codec::None {
                let whole = read(&memory.store, &fragment, 0).await.expect("the second time");
                assert!(whole == content, "{codec}: {fault:?}");
                memory.next(std::slice::from_ref(&fault));
                let part = read(&memory.store, &fragment, 600_000).await.expect("the second time");
                assert!(part == content[600_000..], "{codec}: {fault:?}");
                memory.next(std::slice::from_ref(&fault));
            } else {
                // The second time it is right, and what was handed out of the first is not.
                let error = read(&memory.store, &fragment, 0).await.expect_err("damaged");
                assert!(error.to_string().contains("not those that were read before"), "{error}");
                memory.next(std::slice::from_ref(&fault));
            }
            memory.next(std::slice::from_ref(&fault));
            let error = read(&memory.store, &fragment, 0).await.expect_err("twice");
            let is_loss = matches!(error, StoreError::DataLoss { .. });
            assert_eq!(is_loss, fault != Fault::BrokenBody, "{codec}: {fault:?}: {error}");
            memory.objects.faults.lock().clear();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_is_cleared_away_and_may_be_repeated() {
    let memory = Memory::new();
    let content = text(700_000);
    let fragment = fragment("a/journal", 0, Codec::None, &content);
    memory.next(&[Fault::BrokenUpload]);
    let error = memory.store.put(&fragment, reader(content.clone())).await.expect_err("broken");
    assert!(error.is_transient(), "{error}");
    assert_eq!(memory.aborted.load(Ordering::SeqCst), 1);
    assert_eq!(memory.store.list(&JOURNAL, &[]).await.expect("a listing"), []);
    put(&memory.store, &fragment, &content).await;
    assert!(read(&memory.store, &fragment, 0).await.expect("content") == content);
}

/// What one of us has put there says which content it was to hold, and not that it does.
#[tokio::test(start_paused = true)]
async fn an_upload_that_lost_bytes_on_the_way_is_not_believed_later() {
    for codec in [Codec::None, Codec::Gzip] {
        let memory = Memory::new();
        let mut noise = 1_u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .take(700_000)
        .collect();
        let fragment = fragment("a/journal", 0, codec, &content);
        memory.next(&[Fault::ShortUpload]);
        let error = memory.store.put(&fragment, reader(content.clone())).await.expect_err("too short");
        assert!(matches!(error, StoreError::DataLoss { .. }), "{error}");
        memory.all_met();
        let outcome = put(&memory.store, &fragment, &content).await;
        assert!(matches!(outcome, PutOutcome::Stored { .. }), "{codec}: {outcome:?}");
        assert!(read(&memory.store, &fragment, 0).await.expect("content") == content, "{codec}");
        let outcome = put(&memory.store, &fragment, &content).await;
        assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{codec}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_to_an_upload_does_no_harm() {
    let memory = Memory::new();
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::Gzip, &content);
    memory.next(&[Fault::LostReply]);
    // The object is looked for before the upload is called failed, and once more when it is repeated.
    for _ in 0..2 {
        let outcome = put(&memory.store, &fragment, &content).await;
        assert!(matches!(outcome, PutOutcome::AlreadyThere { .. }), "{outcome:?}");
    }
    memory.all_met();
    // Where content is not read to see whether it is right, a size that cannot be right tells.
    let raw = super::fragment("a/journal", 0, Codec::None, &content);
    let location = Location::from(format!("memory/{}", raw.content_path()));
    memory.objects.put_opts(&location, "short".into(), PutOptions::default()).await.expect("put");
    let outcome = put(&memory.store, &raw, &content).await;
    assert!(matches!(outcome, PutOutcome::Stored { .. }), "{outcome:?}");
    assert!(read(&memory.store, &raw, 0).await.expect("content") == content);
}

#[tokio::test(start_paused = true)]
async fn a_check_names_the_step_that_fails() {
    let memory = Memory::new();
    let check = async |fault: Fault, expected: &str| {
        memory.next(&[fault]);
        let error = memory.store.check().await.expect_err(expected);
        assert!(error.starts_with(expected), "{error}, expected {expected}");
        memory.all_met();
    };
    memory.store.check().await.expect("healthy");
    check(
        Fault::Unavailable(Operation::Put),
        "health check PUT failed: put of memory/.test/health-check in ",
    )
    .await;
    check(Fault::Unavailable(Operation::Get), "health check GET failed: ").await;
    check(Fault::BrokenBody, "health check read failed: ").await;
    check(Fault::ShortBody, "health check content mismatch: got \"health\", want \"health-check\\n\"").await;
    check(Fault::Unavailable(Operation::List), "health check LIST failed: ").await;
    check(Fault::EmptyListing, "health check LIST did not find test file").await;
    check(Fault::Hangs(Operation::Get), "health check").await;
    memory.store.check().await.expect("healthy again");
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_checks() {
    let memory = Memory::new();
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    memory.next(&[Fault::Unavailable(Operation::Put), Fault::Unavailable(Operation::Get)]);
    let (store, token) = (Arc::clone(&memory.store), cancel.clone());
    let mut health = memory.store.health.subscribe();
    let failed = health.wait_for(|health| health.failures == 2);
    tasks.spawn(async move { store.check_for_ever(token).await });
    let failed = failed.await.expect("failed").clone();
    assert!(failed.gate().is_some_and(|error| error.starts_with("health check GET failed")), "{failed:?}");
    let healthy =
        health.wait_for(|health| health.status == HealthStatus::Healthy).await.expect("healthy").clone();
    assert_eq!(healthy.gate(), None);
    // Half an hour later it fails again, and nobody waits for that.
    memory.next(&[Fault::Unavailable(Operation::List), Fault::Unavailable(Operation::Put)]);
    let failing = health.wait_for(|health| health.failures == 2).await.expect("failed").clone();
    assert_eq!(failing.gate(), None);
    assert!(failing.error().is_some());
    cancel.cancel();
    tasks.join_all().await;
    let counters = memory.store.counters();
    let counts = [&counters.health_ok, &counters.health_error].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_probe_writes_and_removes() {
    let memory = Memory::new();
    memory.store.check_delete("").await.expect("may delete");
    memory.store.check_delete("some/where/").await.expect("may delete");
    assert_eq!(memory.objects.inner.list(None).count().await, 0, "nothing is left");

    memory.next(&[Fault::Forbidden(Operation::Put)]);
    let error = memory.store.check_delete("x/").await.expect_err("may not write");
    assert!(
        error.starts_with("delete-probe PUT failed: put of memory/x/.gazette-delete-probe in "),
        "{error}"
    );
    memory.next(&[Fault::Forbidden(Operation::Remove)]);
    let error = memory.store.check_delete("x/").await.expect_err("may not delete");
    assert!(error.starts_with("delete-probe DELETE failed: "), "{error}");
    memory.all_met();
}
