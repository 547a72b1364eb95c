//! Pure: a range request against the store: which keys, in which order, how many, with what left out.

use std::cmp::Ordering;

use bytes::Bytes;
use etcd_client::proto::{PbKeyValue, PbRangeRequest, PbRangeResponse, PbResponseHeader};
use etcd_client::{SortOrder, SortTarget};

use crate::key_range::KeyRange;
use crate::refusal::Refusal;
use crate::store::{Entry, Store};

/// Refuses what is wrong with the request itself, whatever the store holds.
pub(crate) fn check(request: &PbRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    sort_of(request).map(drop)
}

/// The direction and the target to sort by; nothing if key order, in which the store answers, is right.
fn sort_of(request: &PbRangeRequest) -> Result<Option<(SortOrder, SortTarget)>, Refusal> {
    let target = match request.sort_target {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(Refusal::InvalidSort),
    };
    match (request.sort_order, target) {
        (0 | 1, SortTarget::Key) => Ok(None),
        // A target without an order means ascending.
        (0 | 1, target) => Ok(Some((SortOrder::Ascend, target))),
        (2, target) => Ok(Some((SortOrder::Descend, target))),
        _ => Err(Refusal::InvalidSort),
    }
}

/// Answers a checked request for a readable revision; one that is not reads the latest instead, so callers ask
/// [`Store::readable`] first. The header holds the revision alone: the rest is for whoever knows who we are.
pub(crate) fn answer(store: &Store, request: PbRangeRequest) -> PbRangeResponse {
    let sort = sort_of(&request).unwrap_or_default();
    let revision = store.readable(request.revision).unwrap_or_else(|_| store.read_revision());
    let range = KeyRange::new(request.key, request.range_end);
    let header = PbResponseHeader { revision: store.read_revision(), ..Default::default() };

    let mut found: Vec<(&Bytes, &Entry)> = Vec::new();
    let mut count: i64 = 0;
    // Without order and filters etcd stops collecting one key past the limit, and sorts by a target that came
    // without an order only what it has collected: a client sees which keys it gets, so we do the same.
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    let collect =
        if limit > 0 && request.sort_order == 0 && !filtered { limit.saturating_add(1) } else { usize::MAX };
    for (key, entry) in store.range_at(&range, revision) {
        count = count.saturating_add(1);
        if !request.count_only && found.len() < collect {
            found.push((key, entry));
        }
    }
    if request.count_only {
        return PbRangeResponse { header: Some(header), kvs: Vec::new(), more: false, count };
    }

    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    found.retain(|(_, entry)| {
        within(entry.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && within(entry.create_revision, request.min_create_revision, request.max_create_revision)
    });
    if let Some((order, target)) = sort {
        let ascending = |a: &(&Bytes, &Entry), b: &(&Bytes, &Entry)| -> Ordering {
            match target {
                SortTarget::Key => a.0.cmp(b.0),
                SortTarget::Version => a.1.version.cmp(&b.1.version),
                SortTarget::Create => a.1.create_revision.cmp(&b.1.create_revision),
                SortTarget::Mod => a.1.mod_revision.cmp(&b.1.mod_revision),
                SortTarget::Value => a.1.value.cmp(&b.1.value),
            }
        };
        match order {
            SortOrder::Descend => found.sort_by(|a, b| ascending(b, a)),
            SortOrder::None | SortOrder::Ascend => found.sort_by(ascending),
        }
    }
    let more = limit > 0 && found.len() > limit;
    if more {
        found.truncate(limit);
    }
    let kvs = found.into_iter().map(|(key, entry)| {
        if request.keys_only {
            PbKeyValue { value: Vec::new(), ..entry.key_value(key) }
        } else {
            entry.key_value(key)
        }
    });
    PbRangeResponse { header: Some(header), kvs: kvs.collect(), more, count }
}
