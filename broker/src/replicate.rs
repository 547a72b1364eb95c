//! A journal that this broker follows: the stream of its primary, from the first message to the end.
//!
//! ```text
//!  rpc ──► follow (pure) ──► a step for the core that owns the journal ──► written ──► the answer, in order
//!   └── attach: fill what this log lacks, from the primary
//! ```
//!
//! Messages are read on while the core writes. Whether the stream may still change the journal is the core's to say.

mod attach;
pub(crate) mod follow;
pub(crate) mod rpc;

#[cfg(test)]
mod tests;
