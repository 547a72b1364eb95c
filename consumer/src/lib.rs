//! Shards.
pub mod engine;
