//! The text that is exported: names, labels, and how calls and stores come to be in it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use courant_fragment::store::{Config, Operation as StoreOperation};
use courant_proto::store::StoreUrl;
use courant_proto::time::{ManualClock, Timestamp};
use courant_proto::wire;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tonic::Status;

use super::calls::HasStatus;
use super::*;
use crate::append::group::{Group, Verdict};
use crate::journal_space::fixture::id;

/// Everything that a broker exports: type, and names of samples as far as labels.
const EXPORTED: [(&str, &[&str]); 35] = [
    ("counter", &["courant_ahead_content_bytes_total"]),
    ("counter", &["courant_ahead_given_up_total"]),
    ("gauge", &["courant_ahead_scratch_bytes"]),
    ("gauge", &["courant_ahead_spools"]),
    ("counter", &["courant_ahead_used_total"]),
    ("counter", &["courant_appends_total"]),
    ("gauge", &["courant_journals"]),
    ("counter", &["courant_read_gap_bytes_total"]),
    ("counter", &["courant_read_gaps_total"]),
    ("gauge", &["courant_spool_last_persisted_timestamp_seconds"]),
    ("gauge", &["courant_spool_oldest_unpersisted_seconds"]),
    ("counter", &["courant_spool_persist_attempts_total{outcome}"]),
    ("gauge", &["courant_spool_quota_bytes"]),
    ("counter", &["courant_spool_quota_refusals_total"]),
    ("gauge", &["courant_spools_pending"]),
    ("gauge", &["courant_spools_pending_bytes"]),
    ("counter", &["courant_store_data_loss_total{store}"]),
    ("counter", &["courant_store_strays_total{store,reason}"]),
    ("gauge", &["courant_unpersisted_bytes"]),
    ("gauge", &["courant_unpersisted_oldest_seconds"]),
    ("unknown", &["gazette_journal_server_completed_totals{operation,status}"]),
    ("unknown", &["gazette_journal_server_started_totals{operation}"]),
    ("counter", &["gazette_spool_commit_bytes_total"]),
    ("counter", &["gazette_spool_commits_total"]),
    ("counter", &["gazette_spool_completed_total"]),
    ("counter", &["gazette_spool_persisted_total"]),
    ("counter", &["gazette_spool_rollback_bytes_total"]),
    ("counter", &["gazette_spool_rollbacks_total"]),
    ("gauge", &["gazette_store_active"]),
    ("counter", &["gazette_store_health_check_total{store,status}"]),
    (
        "histogram",
        &[
            "gazette_store_list_items_count_bucket{le,store}",
            "gazette_store_list_items_count_count{store}",
            "gazette_store_list_items_count_sum{store}",
        ],
    ),
    (
        "histogram",
        &[
            "gazette_store_operation_duration_seconds_bucket{le,store,operation,status}",
            "gazette_store_operation_duration_seconds_count{store,operation,status}",
            "gazette_store_operation_duration_seconds_sum{store,operation,status}",
        ],
    ),
    ("counter", &["gazette_store_operation_total{store,operation,status}"]),
    ("counter", &["gazette_store_put_bytes_total{store,encoding}"]),
    ("gauge", &["gazette_write_head{journal}"]),
];

struct Fixture {
    registry: Registry,
    metrics: Metrics,
    stores: Arc<Stores>,
    persister: Arc<PersisterCounters>,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let config = Config { file_root: Some(folder.path().to_owned()), ..Config::default() };
        let stores =
            Arc::new(Stores::new(config, Arc::clone(&clock) as Arc<dyn Clock>, StdRng::seed_from_u64(1)));
        let persister = Arc::new(PersisterCounters::default());
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        register_counters(&mut registry, Arc::clone(&stores), Arc::clone(&persister));
        register_ahead(&mut registry, Arc::default());
        register_quota(&mut registry, Quota::new(id("zone-a/aaaa"), 7, 1), clock);
        Self { registry, metrics, stores, persister, _folder: folder }
    }

    fn open(&self, url: &str) -> Arc<courant_fragment::store::Store> {
        self.stores.get(&StoreUrl::parse(url).expect("a URL")).expect("a store")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a text");
        text
    }

    /// The value of a sample, as it is written.
    fn value(&self, sample: &str) -> Option<String> {
        let text = self.text();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let value = lines.next().map(str::to_owned);
        assert_eq!(lines.next(), None, "{sample} is there twice");
        value
    }

    fn completed(&self, operation: &str, status: &str) -> Option<String> {
        let labels = format!("operation=\"{operation}\",status=\"{status}\"");
        self.value(&format!("gazette_journal_server_completed_totals{{{labels}}}"))
    }
}

/// A sample without values: its name, and the names of its labels.
fn shape(sample: &str) -> String {
    let Some((name, rest)) = sample.split_once('{') else {
        return sample.split(' ').next().unwrap_or_default().to_owned();
    };
    let (labels, _) = rest.rsplit_once('}').expect("an end of labels");
    let labels: Vec<&str> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
    format!("{name}{{{}}}", labels.join(","))
}

#[test]
fn names_types_and_labels_are_these_and_no_others() {
    let fixture = Fixture::new();
    let journal = JournalName::parse("a/journal").expect("a name");
    set_head(&fixture.metrics.write_head(&journal), Offset::new(7).expect("an offset"));
    let store = fixture.open("file:///fragments/");
    store.counters().operation(StoreOperation::Put).success.fetch_add(1, Ordering::SeqCst);
    store.counters().operation(StoreOperation::Put).duration.buckets[1].fetch_add(1, Ordering::SeqCst);

    let mut exported = BTreeSet::new();
    let mut kind = "";
    let text = fixture.text();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            kind = described.split_once(' ').expect("a type").1;
        } else if !line.starts_with('#') {
            exported.insert((kind, shape(line)));
        }
    }
    let expected: BTreeSet<_> = EXPORTED
        .iter()
        .flat_map(|(kind, samples)| samples.iter().map(|sample| (*kind, (*sample).to_owned())))
        .collect();
    assert_eq!(exported, expected, "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn stores_are_counted_without_what_is_secret() {
    let fixture = Fixture::new();
    let add = |counter: &AtomicU64, value: u64| counter.fetch_add(value, Ordering::SeqCst);
    let stores = ["file:///one/?find=secret", "file:///one/?replace=SECRET", "file:///two/"]
        .map(|url| fixture.open(url));
    for (store, value) in stores.iter().zip([1, 10, 100]) {
        let counters = store.counters();
        add(&counters.put_bytes, value);
        add(&counters.put_bytes_gzip, 2 * value);
        add(&counters.health_ok, 3 * value);
        add(&counters.health_error, 4 * value);
        add(&counters.data_loss, 5 * value);
        let list = counters.operation(StoreOperation::List);
        add(&list.success, value);
        add(&list.error, 6 * value);
        add(&list.error_duration.buckets[0], value);
        add(&list.error_duration.buckets[6], 6 * value);
        add(&list.error_duration.sum_millionths, 500_000 * value);
        add(&counters.list_items.buckets[2], 7 * value);
    }
    let text = fixture.text();
    assert!(!text.to_lowercase().contains("secret") && !text.contains('?'), "{text}");
    for (sample, expected) in [
        (r#"gazette_store_active"#, "3"),
        (r#"gazette_store_put_bytes_total{store="file:///one/",encoding="none"}"#, "11"),
        (r#"gazette_store_put_bytes_total{store="file:///one/",encoding="gzip"}"#, "22"),
        (r#"gazette_store_put_bytes_total{store="file:///two/",encoding="none"}"#, "100"),
        (r#"gazette_store_health_check_total{store="file:///one/",status="ok"}"#, "33"),
        (r#"gazette_store_health_check_total{store="file:///one/",status="error"}"#, "44"),
        (r#"courant_store_data_loss_total{store="file:///two/"}"#, "500"),
        (r#"courant_store_strays_total{store="file:///two/",reason="nested"}"#, "0"),
        (r#"gazette_store_operation_total{store="file:///one/",operation="list",status="success"}"#, "11"),
        (r#"gazette_store_operation_total{store="file:///one/",operation="list",status="error"}"#, "66"),
        (r#"gazette_store_operation_total{store="file:///one/",operation="signget",status="error"}"#, "0"),
        (DURATION_COUNT, "77"),
        (DURATION_SUM, "5.5"),
        (r#"gazette_store_list_items_count_bucket{le="40.0",store="file:///two/"}"#, "0"),
        (r#"gazette_store_list_items_count_bucket{le="160.0",store="file:///two/"}"#, "700"),
        (r#"gazette_store_list_items_count_bucket{le="+Inf",store="file:///two/"}"#, "700"),
    ] {
        assert_eq!(fixture.value(sample).as_deref(), Some(expected), "{sample}");
    }
}

const DURATION_COUNT: &str =
    r#"gazette_store_operation_duration_seconds_count{store="file:///one/",operation="list",status="error"}"#;
const DURATION_SUM: &str =
    r#"gazette_store_operation_duration_seconds_sum{store="file:///one/",operation="list",status="error"}"#;

#[test]
fn a_store_is_named_by_its_place() {
    for (url, expected) in [
        ("s3://bucket/prefix/", "s3://bucket/prefix/"),
        ("s3://bucket/prefix/?profile=p&endpoint=http://u:p@h/", "s3://bucket/prefix/"),
        ("gs://key:secret@bucket/a@b/", "gs://bucket/a@b/"),
        ("azure-ad://tenant/account/container/", "azure-ad://tenant/account/container/"),
        ("file:///a/b/#fragment", "file:///a/b/"),
        ("file:///a%3Fb/", "file:///a%3Fb/"),
    ] {
        assert_eq!(collect::label(url), expected);
    }
}

#[test]
fn spools_are_counted_by_what_became_of_them() {
    let fixture = Fixture::new();
    let persister = &fixture.persister;
    let counters = [
        &persister.uploaded,
        &persister.already_there,
        &persister.dropped,
        &persister.failed,
        &persister.storeless,
    ];
    for (counter, value) in counters.into_iter().zip([1, 20, 300, 4_000, 50_000]) {
        counter.store(value, Ordering::SeqCst);
    }
    persister.pending.store(6, Ordering::SeqCst);
    // One less than zero, as is seen between two changes.
    persister.pending_bytes.store(u64::MAX, Ordering::SeqCst);
    persister.oldest_seconds.store(8, Ordering::SeqCst);
    persister.finished_at.store(9, Ordering::SeqCst);
    let span = |begin, end| {
        let [begin, end] = [begin, end].map(|offset| Offset::new(offset).expect("an offset"));
        (begin, end, Verdict::Span { begin, end })
    };
    let group = |begin, end| {
        let (begin, end, verdict) = span(begin, end);
        let refused = Verdict::Refused(courant_proto::status::Status::RegisterMismatch);
        let verdicts = vec![verdict, span(end.get(), end.get()).2, refused];
        Group { roll: None, verdicts, begin, end, registers: None, registers_at: Vec::new() }
    };
    fixture.metrics.committed([group(0, 5), group(3, 3), group(7, 9)].iter().map(Commits::of).sum());
    fixture.metrics.rolled_back(Commits::of(&group(10, 14)));
    fixture.metrics.rolled_back(Commits::of(&group(10, 10)));
    for (sample, expected) in [
        ("gazette_spool_persisted_total", "321"),
        (r#"courant_spool_persist_attempts_total{outcome="failed"}"#, "4000"),
        (r#"courant_spool_persist_attempts_total{outcome="storeless"}"#, "50000"),
        ("courant_spools_pending", "6"),
        ("courant_spools_pending_bytes", "0"),
        ("courant_spool_oldest_unpersisted_seconds", "8"),
        ("courant_spool_last_persisted_timestamp_seconds", "9"),
        ("gazette_spool_commits_total", "2"),
        ("gazette_spool_commit_bytes_total", "7"),
        ("courant_appends_total", "2"),
        ("gazette_spool_rollbacks_total", "1"),
        ("gazette_spool_rollback_bytes_total", "4"),
    ] {
        assert_eq!(fixture.value(sample).as_deref(), Some(expected), "{sample}");
    }
}

#[tokio::test]
async fn calls_with_one_reply_are_counted_by_its_status() {
    let fixture = Fixture::new();
    let check = async |reply: Result<wire::Status, Status>, status: &str| {
        let reply = reply.map(|status| wire::AppendResponse { status: status.into(), ..Default::default() });
        let before = fixture.completed("Append", status);
        let _ = fixture.metrics.began(Operation::Append).unary(async { reply }).await;
        let after = fixture.completed("Append", status);
        let number = |value: Option<String>| value.map_or(0, |value| value.parse::<u64>().expect("a number"));
        assert_eq!(number(after), number(before) + 1, "{status}");
    };
    check(Ok(wire::Status::Ok), "ok").await;
    check(Ok(wire::Status::Ok), "ok").await;
    check(Ok(wire::Status::RegisterMismatch), "REGISTER_MISMATCH").await;
    check(Ok(wire::Status::OffsetNotYetAvailable), "OFFSET_NOT_YET_AVAILABLE").await;
    check(Err(Status::unknown("broken")), "error").await;
    // Callers that went away.
    drop(
        fixture
            .metrics
            .began(Operation::Append)
            .unary(std::future::pending::<Result<wire::AppendResponse, _>>()),
    );
    drop(
        fixture
            .metrics
            .began(Operation::Apply)
            .unary(std::future::pending::<Result<wire::ApplyResponse, _>>()),
    );
    fixture.metrics.began(Operation::Replicate).failed();
    assert_eq!(fixture.completed("Append", "ok").as_deref(), Some("3"));
    assert_eq!(fixture.completed("Apply", "error").as_deref(), Some("1"));
    assert_eq!(fixture.completed("Replicate", "error").as_deref(), Some("1"));
    for (operation, expected) in [("Append", "6"), ("Apply", "1"), ("Replicate", "1"), ("Read", "0")] {
        let sample = format!("gazette_journal_server_started_totals{{operation=\"{operation}\"}}");
        assert_eq!(fixture.value(&sample).as_deref(), Some(expected), "{operation}");
    }
}

#[tokio::test]
async fn streams_are_counted_when_they_end() {
    fn read(status: wire::Status) -> Result<wire::ReadResponse, Status> {
        Ok(wire::ReadResponse { status: status.into(), ..Default::default() })
    }
    fn list() -> Result<wire::ListResponse, Status> {
        Ok(wire::ListResponse::default())
    }
    /// Takes all replies, or so many and then goes away.
    async fn check<T: HasStatus + Send + 'static>(
        operation: Operation,
        replies: Vec<Result<T, Status>>,
        taken: Option<usize>,
        expected: &str,
    ) {
        let fixture = Fixture::new();
        let name = format!("{operation:?}");
        let endless = stream::iter(replies).chain(match taken {
            Some(_) => stream::pending().boxed(),
            None => stream::empty().boxed(),
        });
        let mut replies: BoxStream<'static, _> = fixture.metrics.began(operation).stream(endless.boxed());
        match taken {
            Some(taken) => {
                for _ in 0..taken {
                    assert!(replies.next().await.is_some());
                }
                assert_eq!(fixture.completed(&name, "ok").as_deref(), Some("0"), "not before its end");
                drop(replies);
            }
            None => {
                while replies.next().await.is_some() {}
                assert_eq!(fixture.completed(&name, expected).as_deref(), Some("1"), "at its end");
                drop(replies);
            }
        }
        let ended = ["ok", "error", "JOURNAL_NOT_FOUND", "OFFSET_NOT_YET_AVAILABLE"]
            .map(|status| (status, fixture.completed(&name, status).unwrap_or("0".to_owned())));
        for (status, count) in ended {
            assert_eq!(count, if status == expected { "1" } else { "0" }, "{operation:?} {status}");
        }
    }
    use Operation::{List, Read};
    use wire::Status::{JournalNotFound, OffsetNotYetAvailable, Ok as Fine};
    check(Read, vec![read(Fine), read(Fine)], None, "ok").await;
    check(Read, vec![read(Fine), read(OffsetNotYetAvailable)], None, "ok").await;
    check(Read, vec![read(JournalNotFound)], None, "JOURNAL_NOT_FOUND").await;
    check(Read, vec![read(Fine), Err(Status::data_loss("gone"))], None, "error").await;
    check(Read, vec![read(Fine)], Some(1), "ok").await;
    check(Read, vec![read(Fine)], Some(0), "ok").await;
    check::<wire::ReadResponse>(Read, Vec::new(), None, "ok").await;
    check(List, vec![list(), list()], None, "ok").await;
    check(List, vec![list()], Some(1), "ok").await;
    check::<wire::ListResponse>(List, vec![Err(Status::unknown("no selector"))], None, "error").await;
}
