//! What a shard keeps of its transactions.

mod journaled;
mod standby;

use bytes::Bytes;

pub use self::journaled::JournalStore;
pub use self::standby::Standby;
use crate::Error;
use crate::engine::Checkpoint;

/// Keeps what transactions change, each together with its checkpoint or not at all. Checkpoints are made by the engine alone, so that there is no
/// other way to commit.
///
/// A store belongs to one run of one primary. Opening it fences all that came before: their commits fail from then on.
///
/// ```text
///  changes ─► freeze ─► changes of the next one …
///                └─► commit(checkpoint) ─► committed(receipt)
/// ```
pub trait Store: Send {
    /// What a commit leaves for [`committed`](Self::committed).
    type Receipt: Send + 'static;

    /// The checkpoint that was committed last, as [`Checkpoint::encode`] has it. None before the first.
    fn checkpoint(&self) -> Option<Bytes>;

    /// Ends the transaction that changes: what is changed from here on is of the next. The one before has been committed.
    fn freeze(&mut self);

    /// Commits what was frozen, together with its checkpoint. The transaction has not happened unless this succeeds. It fails with
    /// [`Error::Fenced`] once another store was opened.
    fn commit(
        &mut self,
        checkpoint: Checkpoint,
    ) -> impl Future<Output = Result<Self::Receipt, Error>> + Send + 'static;

    /// A commit has succeeded.
    ///
    /// # Errors
    /// When the store failed since. The transaction has happened all the same.
    fn committed(&mut self, receipt: Self::Receipt) -> Result<(), Error>;

    /// Whether the open transaction has changed so much that it should be committed.
    fn is_full(&self) -> bool;
}
