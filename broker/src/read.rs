//! A read, from its request to the end of its stream.
//!
//! ```text
//!  rpc ──► plan (pure) ◄── the replica's index ──► serve: memory of the tail, spool, or stored fragment
//!   │                                                                                       ▲
//!   └──► window (pure): how far ahead ──► ahead: the next fragments, fetched and decoded ───┘
//! ```

pub(crate) mod ahead;
pub(crate) mod plan;
mod proxy;
mod reading;
pub(crate) mod rpc;
pub(crate) mod serve;
pub(crate) mod window;

/// How content is cut into responses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    /// Bytes of content in one response at most.
    pub(crate) largest: usize,
}

impl Chunks {
    /// Over gRPC a response stays within 32 KiB with everything around its content: Gazette's clients pool buffers of that size.
    pub(crate) const GRPC: Self = Self { largest: 32_736 };
    /// In the process nothing is encoded, and larger is better.
    pub(crate) const IN_PROCESS: Self = Self { largest: 256 << 10 };
}
