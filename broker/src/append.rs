//! An append, from the first message of its stream to its answer.
//!
//! ```text
//!  rpc ──► receive ──────────► core's mailbox ──► group (pure) ──► one write of the log
//!          whole, paced by      one command        decides every      │
//!          flow (pure)                             waiting append     ▼
//!                                                                  answers, each its own
//! ```
//!
//! Nothing of a journal is held while an append is still being received, so a slow writer delays itself alone.

pub(crate) mod flow;
pub(crate) mod gather;
pub(crate) mod group;
mod proxy;
pub(crate) mod receive;
pub(crate) mod roll;
pub(crate) mod rpc;
