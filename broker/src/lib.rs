//! Serves journals: finds them, puts their appends in order, and reads them back.
//!
//! Three paths go through this crate.
//!
//! - An **append** is resolved, received whole, and handed to the core that owns its journal; all appends that wait there are decided by a
//!   pure function and committed with one write (`append`, `core`).
//! - A **read** is resolved, and follows the journal's index from fragment to fragment, wherever each lies (`read`).
//! - The **mirror** of the registry says which journals are ours; they become replicas of a core, or stop (`follow`).
//!
//! It speaks the protocol's service and nothing of HTTP, and it reaches clocks, disks, stores and the registry through what it was given.

mod append;
mod apply;
mod assign;
mod background;
mod broker;
mod cluster;
mod config;
#[cfg(test)]
mod contract;
mod core;
mod durability;
mod error;
mod follow;
mod fragments;
mod heartbeat;
mod incarnation;
mod journal_space;
mod lineage;
mod list;
mod listing;
mod lost_ends;
mod member;
mod metrics;
mod peer;
mod peers;
mod quota;
mod read;
mod recovery;
mod replica;
mod replicate;
mod replication;
mod resolver;
mod retention;
mod scratch;
mod service;
mod shared;
#[cfg(test)]
mod simulation;
mod store_health;
mod suspend;
mod transaction;

pub use broker::{BackgroundTasks, Broker, Components, Tasks};
pub use cluster::ClusterGrpc;
pub use config::Config;
pub use core::Core;
pub use courant_fragment::persister::Left as Unpersisted;
pub use error::Error;
pub use member::{MemberError, Standing, Unshed};
pub use peer::service::PeerGrpc;
pub use service::Grpc;
