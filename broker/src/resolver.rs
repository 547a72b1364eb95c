//! Where a journal is served, and which journals this process has to serve. It decides, and does nothing.

pub(crate) mod locals;
pub(crate) mod resolve;
pub(crate) mod target;
