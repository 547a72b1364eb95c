//! Who holds what: items to members, evenly, across zones, with few moves, in checked transactions of etcd.
//!
//! ```text
//!  <root>/assign/<item>#<zone>#<suffix>#<slot>   a member holds an item; slot 0 is the primary's
//!  <root>/items/<item>                           how many members are to hold it
//!  <root>/members/<zone>#<suffix>                who can hold items, and how many
//!
//!  snapshot ─► State ─► solve (flow network) ─► who is to hold each item
//!                 └───────► plan (convergence) ─► transactions ─► etcd ─► snapshot
//! ```
//!
//! Every member runs the same loop ([`Allocator`]); the one that joined first acts, and all it does is guarded by its own
//! key. The network and its solution are Gazette's, so that a cluster of both kinds does not move items when its leader
//! changes: an assignment that one of them leaves alone, the other leaves alone too.
//!
//! **What is promised.** As many replicas are assigned as limits allow. An item lies in two zones if there are two, and no
//! member holds it twice. A replica whose content others rely on is removed only after its replacement is consistent. What is
//! as it should be stays as it is, whatever order things were told in.
//!
//! It refuses to know what items are, and what the values of their keys mean: a [`Reader`] tells it what it has to know.

mod augment;
mod checkpoint;
mod converge;
mod items;
mod keys;
mod members;
mod network;
mod plan;
mod push_relabel;
mod reader;
mod reports;
mod ring;
mod run;
mod shed;
mod solve;
mod state;
mod transaction;

pub use converge::FirstPrimary;
pub use keys::Keys;
pub use plan::{Plan, Policy};
pub use reader::{Fact, Follower, Reader, Suspicion};
pub use run::Allocator;
pub use solve::{BATCH_ITEMS, Outcome};
pub use state::{Held, MemberSpec, Stamp, State};
pub use transaction::{Compare, MOST_OPERATIONS, Transaction, Values, Write};
