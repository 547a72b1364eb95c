//! The allocator against a small etcd of its own: known scenarios, and properties of all clusters.

mod etcd;
mod flow;
mod properties;
mod scenarios;
