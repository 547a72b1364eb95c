//! Counters that stores and the persister keep, read when somebody asks for metrics. It changes none of them.
//!
//! Stores are told apart by their URLs without user, password and arguments, which may be secret. What differs in those alone is
//! added up.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use courant_fragment::ahead::AheadCounters;
use courant_fragment::persister::PersisterCounters;
use courant_fragment::store::{Histogram, Operation, Store, StoreCounters, Stores, StrayReason};
use courant_proto::time::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::quota::Quota;

/// Metrics of the stores that are open.
#[derive(Debug)]
pub(crate) struct StoreMetrics(pub(crate) Arc<Stores>);

/// Metrics of a persister.
#[derive(Debug)]
pub(crate) struct PersisterMetrics(pub(crate) Arc<PersisterCounters>);

/// Metrics of what is encoded ahead.
#[derive(Debug)]
pub(crate) struct AheadMetrics(pub(crate) Arc<AheadCounters>);

impl Collector for AheadMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ahead = &*self.0;
        let totals = [
            (
                "courant_ahead_content_bytes",
                "Bytes of open spools that were encoded ahead",
                &ahead.content_bytes,
            ),
            ("courant_ahead_used", "Spools uploaded from what was encoded ahead", &ahead.used),
            ("courant_ahead_given_up", "Spools that were not, or in vain, encoded ahead", &ahead.given_up),
        ];
        for (name, help, total) in totals {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(read(total)).encode(metric)?;
        }
        gauge(&mut encoder, "courant_ahead_spools", "Spools encoded ahead at present", level(&ahead.spools))?;
        let help = "Bytes in scratch files of what is encoded ahead";
        gauge(&mut encoder, "courant_ahead_scratch_bytes", help, level(&ahead.scratch_bytes))
    }
}

/// What lies in spools that no store has yet.
#[derive(Debug)]
pub(crate) struct QuotaMetrics {
    pub(crate) quota: Quota,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Collector for QuotaMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let value = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let help = "Bytes of content that no store is known to have, in open and closed spools";
        gauge(&mut encoder, "courant_unpersisted_bytes", help, value(self.quota.held()))?;
        let help = "For how long the oldest of them is here, in seconds, as of some seconds ago";
        let oldest = self.quota.oldest_seconds(self.clock.now());
        gauge(&mut encoder, "courant_unpersisted_oldest_seconds", help, value(oldest))?;
        let help = "Bytes of content that spools may hold which no store has; zero is without end";
        gauge(&mut encoder, "courant_spool_quota_bytes", help, value(self.quota.limit()))?;
        let help = "Appends refused as the quota of spools was used up";
        let refused = ConstCounter::new(self.quota.refused());
        refused.encode(encoder.encode_descriptor(
            "courant_spool_quota_refusals",
            help,
            None,
            MetricType::Counter,
        )?)
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let open = self.0.open_stores();
        gauge(&mut encoder, "gazette_store_active", "Stores that are open", count(open.len()))?;
        let mut stores: BTreeMap<String, Vec<Arc<Store>>> = BTreeMap::new();
        for store in open {
            stores.entry(label(store.url().as_str())).or_default().push(store);
        }
        if stores.is_empty() {
            return Ok(());
        }
        let stores: Vec<Named> = stores.into_iter().map(|(name, stores)| Named { name, stores }).collect();
        operations(&mut encoder, &stores)?;
        let put = stores.iter().flat_map(|store| {
            [
                (store.labelled("encoding", "none"), store.sum(|counters| read(&counters.put_bytes))),
                (store.labelled("encoding", "gzip"), store.sum(|counters| read(&counters.put_bytes_gzip))),
            ]
        });
        counters(&mut encoder, "gazette_store_put_bytes", "Bytes of objects that were put", put)?;
        let items = stores.iter().map(|store| {
            let items = store.histogram(&Histogram::ITEMS, |counters| &counters.list_items);
            ([("store", &*store.name)], items)
        });
        histograms(&mut encoder, "gazette_store_list_items_count", "Entries per listing of a store", items)?;
        let checks = stores.iter().flat_map(|store| {
            [
                (store.labelled("status", "ok"), store.sum(|counters| read(&counters.health_ok))),
                (store.labelled("status", "error"), store.sum(|counters| read(&counters.health_error))),
            ]
        });
        counters(&mut encoder, "gazette_store_health_check", "Checks of a store's health", checks)?;
        let strays = stores.iter().flat_map(|store| {
            StrayReason::ALL.map(|reason| {
                (store.labelled("reason", reason.name()), store.sum(|counters| counters.strays(reason)))
            })
        });
        counters(&mut encoder, "courant_store_strays", "Listed entries that are no fragments", strays)?;
        let losses = stores
            .iter()
            .map(|store| ([("store", &*store.name)], store.sum(|counters| read(&counters.data_loss))));
        let help = "Reads of objects that do not hold what their names promise";
        counters(&mut encoder, "courant_store_data_loss", help, losses)
    }
}

impl Collector for PersisterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let persister = &*self.0;
        let persisted = ConstCounter::new(persister.persisted_total());
        let metric = encoder.encode_descriptor(
            "gazette_spool_persisted",
            "Spools persisted, found in the store, or dropped as their journals are gone",
            None,
            MetricType::Counter,
        )?;
        persisted.encode(metric)?;
        let outcomes = [
            ("uploaded", &persister.uploaded),
            ("present", &persister.already_there),
            ("dropped", &persister.dropped),
            ("failed", &persister.failed),
            ("storeless", &persister.storeless),
        ];
        let outcomes = outcomes.map(|(outcome, counter)| ([("outcome", outcome)], read(counter)));
        let help = "Attempts to persist a spool, by what they came to";
        counters(&mut encoder, "courant_spool_persist_attempts", help, outcomes)?;
        let pending = level(&persister.pending);
        gauge(&mut encoder, "courant_spools_pending", "Spools not persisted yet", pending)?;
        let pending = level(&persister.pending_bytes);
        gauge(&mut encoder, "courant_spools_pending_bytes", "Bytes of spools not persisted yet", pending)?;
        let help = "For how long the oldest of the spools not persisted yet has waited";
        let oldest = level(&persister.oldest_seconds);
        gauge(&mut encoder, "courant_spool_oldest_unpersisted_seconds", help, oldest)?;
        let help = "When a spool was persisted last, in Unix time; zero if none was";
        let finished = persister.finished_at.load(Ordering::Relaxed);
        gauge(&mut encoder, "courant_spool_last_persisted_timestamp_seconds", help, finished)
    }
}

/// Stores that are exported as one.
struct Named {
    name: String,
    stores: Vec<Arc<Store>>,
}

impl Named {
    fn labelled<'a>(&'a self, label: &'static str, value: &'static str) -> [(&'static str, &'a str); 2] {
        [("store", &self.name), (label, value)]
    }

    fn sum(&self, read: impl Fn(&StoreCounters) -> u64) -> u64 {
        self.stores.iter().map(|store| read(store.counters())).sum()
    }

    fn histogram(&self, bounds: &[f64; 6], of: impl Fn(&StoreCounters) -> &Histogram) -> Observed {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = zip(bounds, 0..).map(|(bound, bucket): (f64, usize)| {
            (bound, self.sum(|counters| of(counters).buckets.get(bucket).map_or(0, read)))
        });
        let millionths = self.sum(|counters| read(&of(counters).sum_millionths));
        Observed { buckets: buckets.collect(), sum: millionths as f64 / 1e6 }
    }
}

/// A histogram to be exported.
struct Observed {
    /// Upper bounds, and observations per bucket; not cumulative.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Observed {
    fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// Operations, and how long they took. Those never asked for are counted as zero, but have no durations.
fn operations(encoder: &mut DescriptorEncoder<'_>, stores: &[Named]) -> fmt::Result {
    let mut counts = Vec::new();
    let mut durations = Vec::new();
    for store in stores {
        for operation in Operation::ALL {
            let labels =
                |status| [("store", &*store.name), ("operation", operation.name()), ("status", status)];
            let bounds = &Histogram::SECONDS;
            let count = store.sum(|counters| read(&counters.operation(operation).success));
            let took = store.histogram(bounds, |counters| &counters.operation(operation).duration);
            counts.push((labels("success"), count));
            durations.push((labels("success"), took));
            let count = store.sum(|counters| read(&counters.operation(operation).error));
            let took = store.histogram(bounds, |counters| &counters.operation(operation).error_duration);
            counts.push((labels("error"), count));
            durations.push((labels("error"), took));
        }
    }
    durations.retain(|(_, took)| took.count() > 0);
    counters(encoder, "gazette_store_operation", "Operations of a store", counts)?;
    let help = "How long operations of a store took";
    histograms(encoder, "gazette_store_operation_duration_seconds", help, durations)
}

/// Encodes a counter with labels; its name is without the `_total` that is exported.
fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn histograms<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (L, Observed)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, observed) in samples {
        let (sum, count) = (observed.sum, observed.count());
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &observed.buckets, None)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The value of a gauge. What is taken off may be seen before what it was added to: that is zero, not a number beyond all others.
fn level(gauge: &AtomicU64) -> i64 {
    i64::try_from(read(gauge)).unwrap_or(0)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The URL of a store without what may be secret: user, password, arguments.
pub(super) fn label(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}
