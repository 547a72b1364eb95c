//! A local, revisioned picture of an etcd prefix, kept by watching it.
//!
//! Programs that coordinate through etcd ask it questions far more often than its content changes. This crate
//! keeps a copy: [`Mirror::load`] reads the prefix at one revision, a [`Feed`] follows it by a watch, and every
//! change is published as a new immutable [`Snapshot`]. A reader that holds one snapshot holds one revision:
//! all it derives from it agrees with itself, however long it takes. Nothing is ever changed in place.
//!
//! Keys are full keys everywhere, as etcd has them. What a value means is the business of a [`Decoder`]; what
//! it cannot decode is set aside with the reason ([`Snapshot::set_aside`]) and stops nobody.
//!
//! Besides the mirror there are the things that membership needs: a [`Lease`] whose deadline is counted by
//! our own clock from when its last confirmed renewal was *sent*; a [`Fence`], which tells any thread whether that deadline has
//! passed; and [`announce`], the creation of a key that survives a lost reply.
//!
//! It refuses to know what the keys are about.

mod announce;
mod apply;
mod backoff;
mod changes;
mod decode;
mod entries;
mod entry;
mod error;
mod etcd;
mod feed;
mod fence;
mod lease;
mod mirror;
mod revision;
mod snapshot;
mod source;
mod witness;

pub use announce::{Announced, announce, announce_before, update};
pub use apply::{Applied, Oddity, Response, Trouble, apply};
pub use changes::Change;
pub use decode::Decoder;
pub use entries::{Iter, Run};
pub use entry::{Entry, Event, KeyValue, SetAside};
pub use error::Error;
pub use feed::Feed;
pub use fence::Fence;
pub use lease::{Lease, LeaseConfig, LeaseKeeper, LeaseState, revoke};
pub use mirror::{Config, Interruption, Mirror};
pub use revision::{Revision, StoreHeader};
pub use snapshot::Snapshot;
pub use witness::Witness;
