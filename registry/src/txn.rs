//! Pure: transactions, nested as deep as the operation limit lets them be.
//!
//! Three steps, and only the last one writes: [`check`] looks at the request alone, [`decide`] evaluates every
//! comparison against the state before the transaction and makes sure that nothing in the chosen branches can be
//! refused, [`apply`] does it. So a transaction happens whole or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;
use etcd_client::proto::{
    PbCompare, PbCompareTarget, PbDeleteResponse, PbPutRequest, PbPutResponse, PbResponseHeader,
    PbResponseOp, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp,
    PbTxnResponse,
};

use crate::config::MAX_TXN_OPS;
use crate::key_range::KeyRange;
use crate::lease::Leases;
use crate::range;
use crate::refusal::Refusal;
use crate::store::{Entry, Store};

/// Refuses what is wrong with a transaction whatever the store holds.
pub(crate) fn check(request: &PbTxnRequest) -> Result<(), Refusal> {
    check_operations(request, MAX_TXN_OPS)?;
    check_writes(&request.success)?;
    check_writes(&request.failure)?;
    Ok(())
}

/// Refuses what is wrong with a put whatever the store holds.
pub(crate) fn check_put(put: &PbPutRequest) -> Result<(), Refusal> {
    if put.key.is_empty() {
        Err(Refusal::EmptyKey)
    } else if put.ignore_value && !put.value.is_empty() {
        Err(Refusal::ValueProvided)
    } else if put.ignore_lease && put.lease != 0 {
        Err(Refusal::LeaseProvided)
    } else {
        Ok(())
    }
}

/// Limits and single operations. A nested transaction may hold as many as its parent has left.
fn check_operations(request: &PbTxnRequest, limit: usize) -> Result<(), Refusal> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = limit.checked_sub(longest).ok_or(Refusal::TooManyOperations)?;
    for compare in &request.compare {
        if compare.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        if !(0..=3).contains(&compare.result) || PbCompareTarget::try_from(compare.target).is_err() {
            return Err(Refusal::InvalidCompare);
        }
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestRange(range)) => range::check(range)?,
            Some(PbTxnOpRequest::RequestPut(put)) => check_put(put)?,
            Some(PbTxnOpRequest::RequestDeleteRange(delete)) if delete.key.is_empty() => {
                return Err(Refusal::EmptyKey);
            }
            Some(PbTxnOpRequest::RequestDeleteRange(_)) => {}
            Some(PbTxnOpRequest::RequestTxn(nested)) => check_operations(nested, left)?,
            // The text surprises, but it is what etcd says to an operation that is nothing.
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys that a branch may put and the ranges that it may delete.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<KeyRange>,
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        if self.deletes.iter().any(|range| range.contains(key)) || !self.puts.insert(key) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

/// Refuses a branch that puts a key twice, or puts a key that it also deletes. Only one branch of a nested
/// transaction will run, so its two branches may write the same keys.
fn check_writes(branch: &[PbTxnRequestOp]) -> Result<Writes<'_>, Refusal> {
    let mut writes = Writes::default();
    for operation in branch {
        if let Some(PbTxnOpRequest::RequestDeleteRange(delete)) = &operation.request {
            writes.deletes.push(KeyRange::new(delete.key.clone(), delete.range_end.clone()));
        }
    }
    for operation in branch {
        if let Some(PbTxnOpRequest::RequestTxn(nested)) = &operation.request {
            let success = check_writes(&nested.success)?;
            let failure = check_writes(&nested.failure)?;
            for key in success.puts.union(&failure.puts) {
                writes.put(key)?;
            }
            writes.deletes.extend(success.deletes);
            writes.deletes.extend(failure.deletes);
        }
    }
    for operation in branch {
        if let Some(PbTxnOpRequest::RequestPut(put)) = &operation.request {
            writes.put(&put.key)?;
        }
    }
    Ok(writes)
}

/// Which branch each transaction takes: the outer one first, then those nested in its branch, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<bool>);

/// Evaluates the comparisons of a checked transaction and refuses it if an operation it comes to cannot be done.
pub(crate) fn decide(store: &Store, leases: &Leases, request: &PbTxnRequest) -> Result<Path, Refusal> {
    let mut path = Path::default();
    choose(store, request, &mut path);
    let mut steps = path.0.iter();
    check_branch(request, &mut steps, &mut |operation| match operation {
        PbTxnOpRequest::RequestPut(put) => check_put_possible(store, leases, put),
        _ => Ok(()),
    })?;
    let mut steps = path.0.iter();
    check_branch(request, &mut steps, &mut |operation| match operation {
        PbTxnOpRequest::RequestRange(range) if range.revision > store.revision() => {
            Err(Refusal::FutureRevision)
        }
        PbTxnOpRequest::RequestRange(range) if range.revision != 0 && range.revision < store.compacted() => {
            Err(Refusal::Compacted)
        }
        _ => Ok(()),
    })?;
    Ok(path)
}

/// Refuses a put that relies on a key or a lease that is not there.
pub(crate) fn check_put_possible(store: &Store, leases: &Leases, put: &PbPutRequest) -> Result<(), Refusal> {
    if (put.ignore_value || put.ignore_lease) && store.get(&put.key).is_none() {
        return Err(Refusal::KeyNotFound);
    }
    if put.lease != 0 && !leases.contains(put.lease) {
        return Err(Refusal::LeaseNotFound);
    }
    Ok(())
}

const fn branch(request: &PbTxnRequest, succeeded: bool) -> &Vec<PbTxnRequestOp> {
    if succeeded { &request.success } else { &request.failure }
}

fn choose(store: &Store, request: &PbTxnRequest, path: &mut Path) {
    let succeeded = request.compare.iter().all(|compare| holds(store, compare));
    path.0.push(succeeded);
    for operation in branch(request, succeeded) {
        if let Some(PbTxnOpRequest::RequestTxn(nested)) = &operation.request {
            choose(store, nested, path);
        }
    }
}

fn check_branch<'p>(
    request: &PbTxnRequest,
    path: &mut impl Iterator<Item = &'p bool>,
    check: &mut impl FnMut(&PbTxnOpRequest) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let succeeded = path.next().copied().unwrap_or_default();
    for operation in branch(request, succeeded) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestTxn(nested)) => check_branch(nested, path, &mut *check)?,
            Some(operation) => check(operation)?,
            None => {}
        }
    }
    Ok(())
}

/// True if the comparison holds for every key of its range. A key that does not exist compares as zeros,
/// except by value: no value equals, differs from, or orders against one that is missing.
fn holds(store: &Store, compare: &PbCompare) -> bool {
    let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
    let mut found = false;
    for (_, entry) in store.range_at(&range, store.revision()) {
        found = true;
        if !holds_for(compare, Some(entry)) {
            return false;
        }
    }
    found || (compare.target != PbCompareTarget::Value as i32 && holds_for(compare, None))
}

fn holds_for(compare: &PbCompare, entry: Option<&Entry>) -> bool {
    use PbCompareTarget as Target;
    let wanted = compare.target_union.as_ref();
    // A value given for another target counts as none given: zero, or empty.
    let number = |of: fn(&Entry) -> i64, wanted: Option<i64>| entry.map_or(0, of).cmp(&wanted.unwrap_or(0));
    let ordering = match Target::try_from(compare.target) {
        Ok(Target::Version) => number(
            |e| e.version,
            wanted.and_then(|u| if let PbTargetUnion::Version(v) = u { Some(*v) } else { None }),
        ),
        Ok(Target::Create) => number(
            |e| e.create_revision,
            wanted.and_then(|u| if let PbTargetUnion::CreateRevision(v) = u { Some(*v) } else { None }),
        ),
        Ok(Target::Mod) => number(
            |e| e.mod_revision,
            wanted.and_then(|u| if let PbTargetUnion::ModRevision(v) = u { Some(*v) } else { None }),
        ),
        Ok(Target::Lease) => number(
            |e| e.lease,
            wanted.and_then(|u| if let PbTargetUnion::Lease(v) = u { Some(*v) } else { None }),
        ),
        Ok(Target::Value) => {
            let wanted: &[u8] = if let Some(PbTargetUnion::Value(v)) = wanted { v } else { &[] };
            entry.map_or(&[][..], |e| &e.value[..]).cmp(wanted)
        }
        // Refused by `check_operations`; a guard that cannot be understood does not hold.
        Err(_) => return false,
    };
    match compare.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        3 => ordering.is_ne(),
        _ => false,
    }
}

/// Writes a put that was found possible.
pub(crate) fn put(store: &mut Store, leases: &mut Leases, request: PbPutRequest) -> PbPutResponse {
    let key = Bytes::from(request.key);
    let (mut value, mut lease) = (Bytes::from(request.value), request.lease);
    if let Some(current) = store.get(&key) {
        if request.ignore_value {
            value = current.value.clone();
        }
        if request.ignore_lease {
            lease = current.lease;
        }
    }
    let previous = store.put(key.clone(), value, lease);
    leases.attach(&key, previous.as_ref().map_or(0, |entry| entry.lease), lease);
    let prev_kv = previous.filter(|_| request.prev_kv).map(|entry| entry.key_value(&key));
    PbPutResponse { header: Some(header(store)), prev_kv }
}

/// Deletes a range and detaches what was in it from its leases.
pub(crate) fn delete(
    store: &mut Store,
    leases: &mut Leases,
    range: &KeyRange,
    prev_kv: bool,
) -> PbDeleteResponse {
    let gone = store.delete(range);
    for (key, entry) in &gone {
        leases.attach(key, entry.lease, 0);
    }
    let prev_kvs =
        if prev_kv { gone.iter().map(|(key, entry)| entry.key_value(key)).collect() } else { Vec::new() };
    PbDeleteResponse {
        header: Some(header(store)),
        deleted: i64::try_from(gone.len()).unwrap_or(i64::MAX),
        prev_kvs,
    }
}

/// Does what was decided. The outer header is the caller's; nested ones are empty, as etcd's.
pub(crate) fn apply(
    store: &mut Store,
    leases: &mut Leases,
    request: PbTxnRequest,
    path: &Path,
) -> PbTxnResponse {
    apply_branch(store, leases, request, &mut path.0.iter())
}

fn apply_branch<'p>(
    store: &mut Store,
    leases: &mut Leases,
    request: PbTxnRequest,
    path: &mut impl Iterator<Item = &'p bool>,
) -> PbTxnResponse {
    let succeeded = path.next().copied().unwrap_or_default();
    let operations = if succeeded { request.success } else { request.failure };
    let mut responses = Vec::with_capacity(operations.len());
    for operation in operations {
        let response = match operation.request {
            Some(PbTxnOpRequest::RequestRange(request)) => {
                Some(PbTxnOpResponse::ResponseRange(range::answer(store, request)))
            }
            Some(PbTxnOpRequest::RequestPut(request)) => {
                Some(PbTxnOpResponse::ResponsePut(put(store, leases, request)))
            }
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
                let range = KeyRange::new(request.key, request.range_end);
                let deleted = delete(store, leases, &range, request.prev_kv);
                Some(PbTxnOpResponse::ResponseDeleteRange(deleted))
            }
            Some(PbTxnOpRequest::RequestTxn(request)) => {
                Some(PbTxnOpResponse::ResponseTxn(apply_branch(store, leases, request, &mut *path)))
            }
            None => None,
        };
        responses.push(PbResponseOp { response });
    }
    PbTxnResponse { header: Some(PbResponseHeader::default()), succeeded, responses }
}

/// The revision that what was just done belongs to, which is all that a nested header tells.
fn header(store: &Store) -> PbResponseHeader {
    PbResponseHeader { revision: store.read_revision(), ..Default::default() }
}

#[cfg(test)]
mod tests;
