//! What the tests of the whole system share: processes that are started and killed, a raw HTTP client, content that
//! tells of itself, and a checker of what was observed.
//!
//! | module | what it is for |
//! |---|---|
//! | [`process`] | `courant serve` as a process of its own, killed for real, and the operator's verbs |
//! | [`etcd`] | a real etcd, killed and started again |
//! | [`net`] | a network between processes, with weather |
//! | [`cluster`] | brokers in zones, on one etcd and one store |
//! | [`access`] | one user of a cluster, who says what came of each append |
//! | [`load`] | writers and readers of many journals, through all brokers |
//! | [`trial`] | a cluster under load and faults, judged in the end |
//! | [`exodus`] | how a cluster spreads many journals, and again when it loses a broker |
//! | [`http`] | HTTP/1.1 over a socket, whose every byte the caller decides |
//! | [`journal`] | specs for tests, and a journal read to its end |
//! | [`payload`] | pieces of a log that can be recognised wherever they are found |
//! | [`history`] | what was asked for, what came of it, and what was seen |
//! | [`checker`] | whether a history and a journal agree |
//! | [`linear`] | whether operations that overlap could have come one after the other |
//! | [`conditional`] | what appends with conditions must come to |
//! | [`store`] | fragments read from a store's folder by other programs than ours |
//! | [`stores`] | servers of object stores, and a proxy that does them harm |

pub mod access;
pub mod checker;
pub mod cluster;
pub mod conditional;
pub mod drought;
pub mod etcd;
pub mod exodus;
pub mod history;
pub mod http;
pub mod journal;
pub mod linear;
pub mod load;
pub mod net;
pub mod payload;
pub mod process;
pub mod store;
pub mod stores;
pub mod trial;
