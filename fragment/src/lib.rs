//! Spans of a journal's content, from the open spool to the stored object.
//!
//! ```text
//!  append ─► spool ──commit──► index ◄──query── read
//!              │ complete        ▲ ▲
//!              ▼                 │ │
//!          persister ─persisted──┘ │
//!              │ codec             │ refresh
//!              ▼                   │
//!            store ────────list────┘
//! ```
//!
//! A [`spool`] takes committed bytes and survives its process. A spool that is complete is encoded by a
//! [`codec`] and put into a [`store`] by the [`persister`]; from then on its content is an object that is
//! named by its offsets and digest, and never rewritten. The [`index`] knows at every moment where the
//! content of a journal lies and wakes who waits for more of it.
//!
//! This crate knows nothing of replication: which bytes are committed is decided elsewhere.

pub mod codec;

#[cfg(feature = "store")]
pub mod ahead;
#[cfg(feature = "store")]
pub mod cover_set;
#[cfg(feature = "store")]
pub mod disk;
#[cfg(feature = "store")]
pub mod error;
#[cfg(feature = "store")]
pub mod index;
#[cfg(feature = "store")]
pub mod persister;
#[cfg(feature = "store")]
pub mod query;
#[cfg(feature = "store")]
pub mod retention;
#[cfg(feature = "store")]
pub mod spool;
#[cfg(feature = "store")]
pub mod store;
