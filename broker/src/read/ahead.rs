//! Stored fragments that are fetched and decoded before their reader asks for them, by a task of their own.
//!
//! It is not a task of the core that serves the reader: fetching, decoding and digests of a cold journal would hold up its appends, and
//! the core has enough to do with sending. What all readers of the process hold so is bounded by one budget. A reader that gets no share of it is served as it asks, and
//! slower. A task ends with the reader that it is for.

use std::sync::Arc;

use bytes::Bytes;
use courant_fragment::store::{FragmentReader, Store, StoreError};
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// Bytes that one permit stands for: the most that a fragment's reader hands out at a time.
const UNIT: u64 = 256 << 10;

/// What one fragment holds ahead, in units.
const UNITS: u64 = 4;

/// The memory that content may take which nobody has asked for yet, and where it is fetched. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct ReadAhead {
    budget: Arc<Semaphore>,
    runtime: Handle,
}

impl ReadAhead {
    /// A budget of so many bytes, fetched by tasks of `runtime`.
    pub(crate) fn new(bytes: u64, runtime: Handle) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self { budget: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))), runtime }
    }

    /// A share for so much content, or less of it; none if others have it all.
    fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, UNITS);
        Arc::clone(&self.budget).try_acquire_many_owned(u32::try_from(units).ok()?).ok()
    }
}

/// A fragment, from an offset on, up to another.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) store: Arc<Store>,
    pub(crate) fragment: Fragment,
    pub(crate) from: Offset,
    pub(crate) until: Offset,
}

/// A fragment that is fetched ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    fragment: Fragment,
    from: Offset,
    until: Offset,
    content: mpsc::Receiver<Result<Bytes, StoreError>>,
    /// The one that fetches. Ends with this value.
    _task: JoinSet<()>,
    /// Of the budget, for what waits to be taken.
    _share: OwnedSemaphorePermit,
}

impl Ahead {
    /// Begins to fetch, unless others have the whole budget.
    pub(crate) fn open(budget: &ReadAhead, wanted: Wanted) -> Option<Self> {
        let Wanted { store, fragment, from, until } = wanted;
        let opened = fragment.clone();
        let length = until.distance_from(from).unwrap_or_default();
        let opening = async move { store.open_until(&opened, from, until).await };
        let share = budget.take(length)?;
        Some(Self::spawn(&budget.runtime, share, (fragment, from, until), opening))
    }

    /// Goes on with what is open already. It comes back if others have the whole budget.
    pub(crate) fn go_on(
        budget: &ReadAhead,
        reader: Box<FragmentReader>,
        remaining: u64,
    ) -> Result<Self, Box<FragmentReader>> {
        let Some(share) = budget.take(remaining) else { return Err(reader) };
        let (from, until) = (reader.offset(), reader.until());
        let span = (reader.fragment().clone(), from, until);
        Ok(Self::spawn(&budget.runtime, share, span, async move { Ok(*reader) }))
    }

    fn spawn(
        runtime: &Handle,
        share: OwnedSemaphorePermit,
        (fragment, from, until): (Fragment, Offset, Offset),
        opening: impl Future<Output = Result<FragmentReader, StoreError>> + Send + 'static,
    ) -> Self {
        // One more is in the hands of the task.
        let (sender, content) = mpsc::channel(share.num_permits().saturating_sub(1).max(1));
        let mut task = JoinSet::new();
        let fetching = async move {
            let mut reader = match opening.await {
                Ok(reader) => reader,
                Err(error) => {
                    // The reader may have gone.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            while let Some(content) = reader.next().await.transpose() {
                let failed = content.is_err();
                if sender.send(content).await.is_err() || failed {
                    return;
                }
            }
        };
        task.spawn_on(fetching, runtime);
        Self { fragment, from, until, content, _task: task, _share: share }
    }

    /// Whether it is what a reader is to be sent next.
    pub(crate) fn is(&self, fragment: &Fragment, from: Offset, until: Offset) -> bool {
        (&self.fragment, self.from, self.until) == (fragment, from, until)
    }

    /// Where it ends.
    pub(crate) fn until(&self) -> Offset {
        self.until
    }

    /// How long it is.
    pub(crate) fn length(&self) -> u64 {
        self.until.distance_from(self.from).unwrap_or_default()
    }

    /// The next content; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.content.recv().await.transpose()
    }
}
