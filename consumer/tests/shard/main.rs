//! Shards against a broker in a process of its own: whatever is killed, frozen or thawed, sums are exact and published once.

mod freeze;
mod hosting;
mod recovery;
mod scene;
mod stream_sum;
