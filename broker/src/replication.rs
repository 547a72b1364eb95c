//! How the members of a route come to hold the same bytes (`docs/adr/0004-replication.md`).
//!
//! ```text
//!  primary's core ── round ──► link ── Replicate ──► replicate (peer) ── step ──► peer's core
//!        ▲                      │ answers                                            │ one write of its log
//!        └── committed ◄────────┘◄───────────────────────────────────────────────────┘
//!
//!  sync: heads ─► agree (pure) ─► fetch ─► record the epoch ─► attach the peers ─► rounds
//! ```

pub(crate) mod link;
pub(crate) mod local;
pub(crate) mod messages;
pub(crate) mod notes;
pub(crate) mod rounds;
pub(crate) mod sync;
