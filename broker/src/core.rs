//! A core: one thread's worth of journals, owned as plain data, and the mailbox that others reach them by.
//!
//! ```text
//!  any thread ──► mailbox ──► core ── drains it, decides groups (pure), one write of the log, answers
//!                              │ ▲
//!              stores, lineage ▼ │ as commands
//!                          background
//! ```
//!
//! A turn of the core is: drain the mailbox, decide what waits in every journal that was touched, write the log once, publish and
//! answer. Nothing in a turn waits for anything but that write (decision D11 and `docs/adr/0003-cores.md`).

mod agree;
pub(crate) mod command;
mod durable;
mod hold;
mod journal;
mod line;
mod obey;
pub(crate) mod place;
mod run;
mod storing;
mod syncs;
mod turn;
mod veil;
mod wheel;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use courant_proto::name::JournalName;
use tokio::sync::mpsc;
use tonic::Status;

use command::Command;
pub use run::Core;

/// Commands that may wait for one core. Senders wait beyond that.
const MAILBOX: usize = 16_384;

/// Where the cores of this process are reached.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    mailboxes: Arc<[mpsc::Sender<Command>]>,
}

impl Cores {
    /// Mailboxes for `count` cores, and their other ends.
    pub(crate) fn new(count: usize) -> (Self, Vec<mpsc::Receiver<Command>>) {
        let (senders, receivers): (Vec<_>, _) = (0..count.max(1)).map(|_| mpsc::channel(MAILBOX)).unzip();
        (Self { mailboxes: senders.into() }, receivers)
    }

    /// The core that owns a journal.
    pub(crate) fn owner(&self, journal: &JournalName) -> usize {
        // The hasher has fixed keys: every thread, and every run of a simulation, agrees on the owner.
        let mut hasher = DefaultHasher::new();
        journal.as_str().hash(&mut hasher);
        usize::try_from(hasher.finish() % self.mailboxes.len() as u64).unwrap_or(0)
    }

    /// Puts a command into the mailbox of a journal's core; waits while that is full.
    pub(crate) async fn send(&self, journal: &JournalName, command: Command) -> Result<(), Status> {
        self.send_to(self.owner(journal), command).await
    }

    /// Puts a command into the mailbox of a core.
    pub(crate) async fn send_to(&self, core: usize, command: Command) -> Result<(), Status> {
        self.mailboxes[core].send(command).await.map_err(|_| stopping())
    }

    pub(crate) fn count(&self) -> usize {
        self.mailboxes.len()
    }
}

/// What callers are told when a core does not answer any more.
pub(crate) fn stopping() -> Status {
    Status::unavailable(
        "the broker is stopping; whether the append was committed is not known, try again elsewhere",
    )
}
