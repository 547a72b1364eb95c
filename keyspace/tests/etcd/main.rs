//! The crate against the etcd v3 API: served in this process, and by a real etcd.

// Where all is test, the lints are told so, and let helpers unwrap.
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod real;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unruly;
