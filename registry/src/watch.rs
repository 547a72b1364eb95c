//! Pure: the watchers of one watch stream, each a cursor into the store's history.
//!
//! A watcher buffers nothing: it is asked for its next response when its client can take one, and reads it from
//! the history. One that falls behind the compacted revision is cancelled and told so. A header's revision says
//! how far the watcher has looked, so everything up to it has been delivered; events of one revision are never
//! split, unless the client asked for fragments and the revision is larger than a message.

use std::collections::{BTreeMap, VecDeque};

use etcd_client::EventType;
use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader, PbWatchResponse};
use prost::Message;

use crate::config::MAX_REQUEST_BYTES;
use crate::key_range::KeyRange;
use crate::store::{Event, Store};

/// Revisions that one response looks at, at most.
const MAX_REVISIONS: usize = 1_000;

/// Bytes of events after which a response ends with the revision it is at.
const SOFT_BYTES: usize = 1 << 20;

/// What a client asks for when it creates a watcher.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) key: Vec<u8>,
    pub(crate) range_end: Vec<u8>,
    /// First revision wanted; zero is "from now on".
    pub(crate) start_revision: i64,
    pub(crate) progress_notify: bool,
    pub(crate) no_put: bool,
    pub(crate) no_delete: bool,
    pub(crate) prev_kv: bool,
    /// The client's name for the watcher; zero lets the server choose.
    pub(crate) watch_id: i64,
    pub(crate) fragment: bool,
}

#[derive(Debug)]
struct Watcher {
    range: KeyRange,
    /// First revision that it has not looked at.
    next: i64,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    progress: bool,
    fragment: bool,
    /// True if a response was sent since the last progress round.
    spoke: bool,
}

/// The watchers of one stream.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    by_id: BTreeMap<i64, Watcher>,
    next_id: i64,
    /// Where the next look starts, so that a busy watcher does not starve those after it.
    turn: i64,
    /// Fragments still to be sent, all of one watcher and one revision.
    fragments: VecDeque<PbWatchResponse>,
}

impl Watchers {
    /// Adds a watcher that sees revisions after `revision`, or from the one asked for. The answer says which id
    /// it got, or why there is none.
    pub(crate) fn create(&mut self, create: Create, revision: i64) -> PbWatchResponse {
        let mut answer = PbWatchResponse { header: header(revision), created: true, ..Default::default() };
        // An empty key means the smallest one, here and nowhere else.
        let key = if create.key.is_empty() { vec![0] } else { create.key };
        let range = KeyRange::new(key, create.range_end);
        let refused = if range.is_empty() {
            Some("mvcc: watcher range is empty")
        } else if create.watch_id != 0 && self.by_id.contains_key(&create.watch_id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        };
        if let Some(reason) = refused {
            answer.watch_id = -1;
            answer.canceled = true;
            answer.cancel_reason = reason.to_owned();
            return answer;
        }
        answer.watch_id = if create.watch_id == 0 { self.unused_id() } else { create.watch_id };
        let watcher = Watcher {
            range,
            next: if create.start_revision == 0 { revision.saturating_add(1) } else { create.start_revision },
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
            progress: create.progress_notify,
            fragment: create.fragment,
            spoke: false,
        };
        self.by_id.insert(answer.watch_id, watcher);
        answer
    }

    fn unused_id(&mut self) -> i64 {
        while self.by_id.contains_key(&self.next_id) {
            self.next_id = self.next_id.saturating_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        id
    }

    /// Removes a watcher; an id that is not there gets no answer, as etcd has it.
    pub(crate) fn cancel(&mut self, watch_id: i64, revision: i64) -> Option<PbWatchResponse> {
        self.by_id.remove(&watch_id)?;
        self.fragments.retain(|fragment| fragment.watch_id != watch_id);
        Some(PbWatchResponse { header: header(revision), watch_id, canceled: true, ..Default::default() })
    }

    /// The answer to a progress request: it belongs to the whole stream. Right only once [`Watchers::next`] has
    /// nothing more up to `revision`.
    pub(crate) fn progress(revision: i64) -> PbWatchResponse {
        PbWatchResponse { header: header(revision), watch_id: -1, ..Default::default() }
    }

    /// Responses for the watchers that asked for progress and were quiet since the last time.
    /// Right only once [`Watchers::next`] has nothing more up to `revision`.
    pub(crate) fn quiet(&mut self, revision: i64) -> Vec<PbWatchResponse> {
        let mut responses = Vec::new();
        for (&watch_id, watcher) in &mut self.by_id {
            if watcher.progress && !std::mem::take(&mut watcher.spoke) && watcher.next > revision {
                responses.push(PbWatchResponse { header: header(revision), watch_id, ..Default::default() });
            }
        }
        responses
    }

    /// The next response that some watcher owes its client, looking no further than `through`.
    pub(crate) fn next(&mut self, store: &Store, through: i64) -> Option<PbWatchResponse> {
        if let Some(fragment) = self.fragments.pop_front() {
            return Some(fragment);
        }
        let ids: Vec<i64> =
            self.by_id.range(self.turn..).chain(self.by_id.range(..self.turn)).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(watcher) = self.by_id.get_mut(&id) else { continue };
            if watcher.next < store.compacted() {
                self.by_id.remove(&id);
                return Some(PbWatchResponse {
                    header: header(through),
                    watch_id: id,
                    canceled: true,
                    compact_revision: store.compacted(),
                    ..Default::default()
                });
            }
            while watcher.next <= through {
                let events = watcher.look(store, through);
                if events.is_empty() {
                    continue;
                }
                watcher.spoke = true;
                self.turn = id.saturating_add(1);
                let revision = watcher.next.saturating_sub(1);
                let whole =
                    PbWatchResponse { header: header(revision), watch_id: id, events, ..Default::default() };
                if watcher.fragment {
                    self.fragments = fragments(whole);
                    return self.fragments.pop_front();
                }
                return Some(whole);
            }
        }
        None
    }
}

impl Watcher {
    /// Moves the cursor towards `through` and returns the events met, up to the bounds of one response.
    fn look(&mut self, store: &Store, through: i64) -> Vec<PbEvent> {
        let mut events = Vec::new();
        let mut bytes = 0_usize;
        let mut stopped = false;
        for (looked_at, change) in store.changes_from(self.next).enumerate() {
            if change.revision > through {
                break;
            }
            if looked_at == MAX_REVISIONS || bytes > SOFT_BYTES {
                stopped = true;
                break;
            }
            for event in &change.events {
                if let Some(event) = self.told(store, event, change.revision) {
                    bytes = bytes.saturating_add(event.encoded_len());
                    events.push(event);
                }
            }
            self.next = change.revision.saturating_add(1);
        }
        if !stopped {
            self.next = self.next.max(through.saturating_add(1));
        }
        events
    }

    /// The event as this watcher is told of it, if it is.
    fn told(&self, store: &Store, event: &Event, revision: i64) -> Option<PbEvent> {
        let skipped = if event.entry.is_some() { self.no_put } else { self.no_delete };
        if skipped || !self.range.contains(&event.key) {
            return None;
        }
        let (kind, kv) = match &event.entry {
            Some(entry) => (EventType::Put, entry.key_value(&event.key)),
            None => {
                let kv = PbKeyValue { key: event.key.to_vec(), mod_revision: revision, ..Default::default() };
                (EventType::Delete, kv)
            }
        };
        // A version that was compacted away cannot be shown any more; etcd leaves it out too.
        let wanted = self.prev_kv && event.entry.as_ref().is_none_or(|e| e.create_revision != e.mod_revision);
        let prev_kv = wanted
            .then(|| store.get_at(&event.key, revision.saturating_sub(1)))
            .flatten()
            .map(|entry| entry.key_value(&event.key));
        Some(PbEvent { r#type: kind as i32, kv: Some(kv), prev_kv })
    }
}

/// Splits a response that is too large for a message; all but the last part are marked as fragments.
fn fragments(whole: PbWatchResponse) -> VecDeque<PbWatchResponse> {
    if whole.encoded_len() < MAX_REQUEST_BYTES {
        return VecDeque::from([whole]);
    }
    let mut parts: VecDeque<PbWatchResponse> = VecDeque::new();
    let mut bytes = usize::MAX;
    for event in whole.events {
        let len = event.encoded_len();
        match parts.back_mut() {
            Some(part) if bytes.saturating_add(len) < MAX_REQUEST_BYTES => {
                bytes = bytes.saturating_add(len);
                part.events.push(event);
            }
            _ => {
                bytes = len;
                parts.push_back(PbWatchResponse {
                    header: whole.header,
                    watch_id: whole.watch_id,
                    fragment: true,
                    events: vec![event],
                    ..Default::default()
                });
            }
        }
    }
    if let Some(last) = parts.back_mut() {
        last.fragment = false;
    }
    parts
}

fn header(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader { revision, ..Default::default() })
}

#[cfg(test)]
mod tests;
