//! The index: what a journal holds, where each part of it lies, and who waits for more of it.
//!
//! ```text
//!   its core ── committed, completed ──►┌─────────────────────┐
//!  persister ── persisted ─────────────►│ Index               │──► query: memory, local content, or a store
//!    refresh ── replace_remote ────────►│ local, remote, tail │──► page, summary
//!                                       └─────────────────────┘──► wakes who waits
//! ```
//!
//! One [`Index`] per journal, shared by `Arc` between the core that owns the journal, which writes, and
//! readers on any thread. Each call takes the lock for the length of a search and never for I/O. An index has
//! no task and no timer, and a quiet one is a few hundred bytes.
//!
//! What it refuses to know: how content is read, what a store is, and which bytes are committed — it is told.

mod answer;
mod listing;
mod state;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::cover_set::{CoverSet, Span};
use crate::query::{self, Found, Held, Query, Stored};
use crate::spool::SpoolId;
use crate::spool::content::Content;

pub use answer::{Answer, Doubt, Hit, LocalExtent, Source, Unstored};
pub use listing::{Listed, Page, PageRequest, Summary};
use state::{Remote, State, Sum};
use tail::Tail;

/// Bytes of committed content which an index keeps in memory for tailing readers, unless told otherwise.
pub const TAIL_BYTES: usize = 512 << 10;

/// A fragment that we stored ourselves stays listed for so long after, while listings do not show it yet:
/// some stores list what they hold a minute late, and a stale listing must not tear a hole.
pub const STALE_LISTING: Duration = Duration::from_secs(5 * 60);

/// What a journal holds. See the [module](self).
pub struct Index<C = Content> {
    journal: JournalName,
    tail_bytes: usize,
    state: Mutex<State<C>>,
    changed: Notify,
}

impl<C> fmt::Debug for Index<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Index")
            .field("journal", &self.journal)
            .field("local", &state.local.len())
            .field("remote", &state.remote.len())
            .field("head", &state.head)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

impl<C> Index<C> {
    /// An empty index. It keeps about `tail_bytes` of what is committed in memory; see [`TAIL_BYTES`].
    #[must_use]
    pub fn new(journal: JournalName, tail_bytes: usize) -> Self {
        Self {
            journal,
            tail_bytes,
            state: Mutex::new(State {
                local: CoverSet::new(),
                remote: CoverSet::new(),
                doubted: Vec::new(),
                head: Offset::ZERO,
                tail: Tail::default(),
                listings: 0,
                listed_at: None,
                closed: false,
            }),
            changed: Notify::new(),
        }
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &JournalName {
        &self.journal
    }

    /// Takes over what a spool holds after a commit, and wakes who waits.
    ///
    /// `tail` is the content of the commit, the last bytes before `extent.end`, kept by reference: a small
    /// slice of a large buffer keeps the buffer. With an empty `tail` the content has to be read from the
    /// spool.
    pub fn committed(&self, extent: LocalExtent<C>, tail: &[Bytes]) {
        let mut state = self.state.lock();
        state.tail.push(extent.end, tail, self.tail_bytes);
        state.head = state.head.max(extent.end);
        state.put_local(extent);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes the sum of a spool that will not grow any more.
    pub fn completed(&self, spool: SpoolId, sum: ContentSum) {
        self.state.lock().local.amend(|local| local.spool == spool, |local| local.sum = Sum::Finished(sum));
    }

    /// Replaces the content of a spool by the stored fragment that it became. To be called once the store is
    /// known to hold it: from here on reads go there.
    pub fn persisted(&self, spool: SpoolId, fragment: Fragment) {
        let mut state = self.state.lock();
        state.local.retain(|local| local.spool != spool);
        state.local.shrink();
        state.head = state.head.max(fragment.end);
        state.remote.add(Remote::stored(fragment));
        drop(state);
        self.changed.notify_waiters();
    }

    /// From where on everything below `end` is known to lie in the stores; `end` itself if what ends there does not.
    pub fn stored_from(&self, end: Offset) -> Offset {
        let state = self.state.lock();
        let mut from = end;
        for remote in state.remote.as_slice().iter().rev() {
            if remote.fragment.end < from {
                break;
            }
            from = from.min(remote.fragment.begin);
        }
        from
    }

    /// Whether content, stored or local, reaches up to an offset from below.
    #[must_use]
    pub fn reaches(&self, end: Offset) -> bool {
        fn any<T: Span>(set: &CoverSet<T>, end: Offset) -> bool {
            set.as_slice().iter().rev().any(|span| span.begin() < end && span.end() >= end)
        }
        let state = self.state.lock();
        any(&state.local, end) || any(&state.remote, end)
    }

    /// Drops the content of a spool which will never be stored.
    pub fn released(&self, spool: SpoolId) {
        let mut state = self.state.lock();
        state.local.retain(|local| local.spool != spool);
        state.local.shrink();
    }

    /// Takes over a complete listing of all stores, that began at `listed_at`, and drops local content that
    /// it covers: members of another make show what is stored as soon as it is listed, and so must those beside them.
    ///
    /// A listing that failed, or ended early, must not come here.
    pub fn replace_remote(&self, listing: Vec<Fragment>, listed_at: Timestamp) {
        let mut known = self.state.lock().doubted.clone();
        // Built without the lock: a listing may be long. Only who has it forgets doubts, and what is doubted meanwhile is added.
        known.retain(|doubted| doubted.is_damaged(listed_at));
        let known: HashMap<Fragment, Remote> =
            known.into_iter().map(|doubted| (doubted.fragment.clone(), doubted)).collect();
        let mut doubted = Vec::new();
        let sound = listing.into_iter().filter(|fragment| {
            let is_known = known.get(fragment);
            doubted.extend(is_known.cloned());
            is_known.is_none()
        });
        let mut remote: CoverSet<Remote> = sound.map(Remote::listed).collect();
        remote.shrink();
        let mut state = self.state.lock();
        let mut new = std::mem::take(&mut state.doubted);
        new.retain(|new| new.is_damaged(listed_at) && !known.contains_key(&new.fragment));
        let without: HashSet<&Fragment> = new.iter().map(|new| &new.fragment).collect();
        if !without.is_empty() {
            remote.retain(|remote| !without.contains(&remote.fragment));
        }
        doubted.append(&mut new);
        state.doubted = doubted;
        let before = std::mem::replace(&mut state.remote, remote);
        for own in before.as_slice() {
            let recent = own.mod_time() >= listed_at.minus(STALE_LISTING).secs();
            if !own.listed && recent && !state.remote.covers(own) {
                state.remote.add(own.clone());
            }
        }
        let State { local, remote, head, listings, listed_at: last, .. } = &mut *state;
        local.retain(|local| !remote.covers(local));
        local.shrink();
        *head = (*head).max(query::end_of(local, remote).unwrap_or_default());
        *listings += 1;
        *last = (*last).max(Some(listed_at));
        drop(state);
        self.changed.notify_waiters();
        // What the listing replaced is freed here, where nobody waits for the lock.
        drop(before);
    }

    /// Says that the object of a stored fragment does not hold what its name promises, or is not there. Other fragments over its
    /// offsets answer instead; those that it hid, as they lie inside it, come back with the next listing.
    pub fn doubt(&self, fragment: &Fragment, doubt: Doubt, since: Timestamp) {
        let mut state = self.state.lock();
        state.doubted.retain(|known| known.fragment != *fragment);
        state.remote.retain(|remote| remote.fragment != *fragment);
        state.doubted.push(Remote { doubted: Some((doubt, since)), ..Remote::listed(fragment.clone()) });
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many stored fragments are doubted.
    #[must_use]
    pub fn doubted(&self) -> usize {
        self.state.lock().doubted.len()
    }

    /// What the stores are known to hold, as a cover set.
    #[must_use]
    pub fn stored(&self) -> Vec<Fragment> {
        self.state.lock().remote.as_slice().iter().map(|remote| remote.fragment.clone()).collect()
    }

    /// Drops stored fragments that never were part of the journal, and takes the write head back to `head`, or to the end of what
    /// is left.
    pub fn set_aside(&self, fragments: &[Fragment], head: Offset) {
        let aside: HashSet<&Fragment> = fragments.iter().collect();
        let mut state = self.state.lock();
        state.remote.retain(|remote| !aside.contains(&remote.fragment));
        let end = query::end_of(&state.local, &state.remote).unwrap_or_default();
        state.head = end.max(head);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Raises the write head, for a journal whose head is known and whose content is gone.
    pub fn raise_head(&self, head: Offset) {
        let mut state = self.state.lock();
        if state.head < head {
            state.head = head;
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Drops the content in memory, when a journal has become quiet. Readers which hold it keep it.
    pub fn trim_tail(&self) {
        // Freed after the lock is.
        let tail = std::mem::take(&mut self.state.lock().tail);
        drop(tail);
    }

    /// Says that the journal is no longer served here: waiting readers end.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Whether [`Index::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Answers a read at `now`. To wait for a better answer, call [`Index::listen`] *before*.
    #[must_use]
    pub fn query(&self, query: &Query, now: Timestamp) -> Answer<C> {
        let state = self.state.lock();
        let held = Held { local: &state.local, remote: &state.remote, doubted: &state.doubted };
        let resolution = query::resolve(&held, state.head, query, now);
        let offset = resolution.offset;
        let found = resolution.found.map(|found| {
            let memory = state.tail.from(offset, found.end()).map(Source::Memory);
            match found {
                Found::Local(local) => {
                    // The span contains the offset.
                    let position = offset.distance_from(local.begin).unwrap_or_default();
                    let source =
                        memory.unwrap_or_else(|| Source::Local(Arc::clone(&local.content), position));
                    (Found::Local(local.sketch()), source)
                }
                Found::Remote(remote) => {
                    let source = if remote.is_damaged(now) { Source::Damaged } else { Source::Remote };
                    (Found::Remote(remote.fragment.clone()), memory.unwrap_or(source))
                }
            }
        });
        let (write_head, gap, closed) = (state.head, resolution.gap, state.closed);
        drop(state);
        let hit = found.map(|(found, source)| {
            let fragment = match found {
                Found::Local(sketch) => sketch.finish(&self.journal),
                Found::Remote(fragment) => fragment,
            };
            Hit { fragment, source }
        });
        Answer { offset, write_head, hit, gap, closed }
    }

    /// A future that is done once the index has changed since this call. It misses no change, whether it was
    /// polled by then or not: listen, then query, then wait.
    pub fn listen(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether a listing of the stores was ever taken over.
    #[must_use]
    pub fn is_refreshed(&self) -> bool {
        self.listings() > 0
    }

    /// How many listings of the stores were taken over.
    #[must_use]
    pub fn listings(&self) -> u64 {
        self.state.lock().listings
    }

    /// When the newest listing that was taken over began.
    #[must_use]
    pub fn listed_at(&self) -> Option<Timestamp> {
        self.state.lock().listed_at
    }

    /// Waits for the first listing of the stores. False: the journal was closed before.
    pub async fn refreshed(&self) -> bool {
        loop {
            let changed = self.listen();
            {
                let state = self.state.lock();
                if state.listings > 0 || state.closed {
                    return state.listings > 0;
                }
            }
            changed.await;
        }
    }

    /// Lists fragments, stored or not, in order.
    #[must_use]
    pub fn page(&self, request: &PageRequest) -> Page<Listed> {
        let state = self.state.lock();
        let doubted = listing::uncovered(&state.doubted, &state.remote);
        let fragments = listing::all(&state.local, &state.remote, &doubted, request.from);
        let page = listing::page(fragments, request, Found::mod_time);
        let listed = |found: Found<_, _>| Listed {
            first_append: found.first_append(),
            fragment: found.to_fragment(&self.journal),
        };
        let fragments = page.fragments.into_iter().map(listed).collect();
        Page { fragments, next: page.next }
    }

    /// Begin, end, and the time of the last fragment.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let state = self.state.lock();
        listing::summary(&state.local, &state.remote, &state.doubted)
    }

    /// Bytes and spools which no store has yet.
    #[must_use]
    pub fn unstored(&self) -> Unstored {
        let state = self.state.lock();
        let locals = state.local.as_slice();
        Unstored {
            spools: locals.len(),
            bytes: locals.iter().filter_map(|local| local.end.distance_from(local.begin)).sum(),
        }
    }

    /// End of the index.
    #[must_use]
    pub fn write_head(&self) -> Offset {
        self.state.lock().head
    }
}
