//! What the tests of the whole system share: processes that are started and killed, a raw HTTP client, content that
//! tells of itself, and a checker of what was observed.
//!
//! | module | what it is for |
//! |---|---|
//! | [`process`] | `courant serve` as a process of its own, killed for real, and the operator's verbs |
//! | [`http`] | HTTP/1.1 over a socket, whose every byte the caller decides |
//! | [`journal`] | specs for tests, and a journal read to its end |
//! | [`payload`] | pieces of a log that can be recognised wherever they are found |
//! | [`history`] | what was asked for, what came of it, and what was seen |
//! | [`checker`] | whether a history and a journal agree |
//! | [`store`] | fragments read from a store's folder by other programs than ours |

pub mod checker;
pub mod history;
pub mod http;
pub mod journal;
pub mod payload;
pub mod process;
pub mod store;
