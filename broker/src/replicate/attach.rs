//! Fetches from the primary what this log lacks of the epoch before, so that all who held that epoch hold all of it.

use std::sync::Arc;

use courant_proto::endpoint::Endpoint;
use courant_proto::header::Header;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::wire::courant::FetchRequest;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Status;

use super::follow::Lacking;
use super::rpc::faulted;
use crate::append::gather::Gathering;
use crate::core::command::Command;
use crate::peer::client::ANSWER;
use crate::replication::local::{Filling, OpenHead, Step, Taking};
use crate::shared::Shared;

/// Bytes that are fetched before they are written.
const PIECE: u64 = 4 << 20;

/// A journal that is being filled.
pub(super) struct Fill<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) journal: &'a JournalName,
    pub(super) create_revision: i64,
    /// The generation of the stream for which it is done.
    pub(super) generation: u64,
}

impl Fill<'_> {
    /// Fetches and writes what the log lacks. The spool as it is then; none where the primary has nothing of it any more, as it is stored.
    pub(super) async fn run(
        &self,
        primary: &Endpoint,
        header: &Header,
        lacking: &Lacking,
    ) -> Result<Option<OpenHead>, Status> {
        let Lacking { epoch, from, to, split, .. } = *lacking;
        let request = FetchRequest {
            header: Some(header.into()),
            journal: self.journal.as_str().to_owned(),
            create_revision: self.create_revision,
            epoch,
            from: from.get(),
            to: to.get(),
        };
        let mut fetched = self.shared.peers.fetch(primary, request).await?;
        let mut at = from;
        if fetched.begin >= to {
            return Ok(None);
        }
        if fetched.begin > at {
            // What lies before it is in a store by now.
            at = fetched.begin.min(to);
            self.roll(at, lacking).await?;
        }
        let mut split = split.filter(|split| *split >= at);
        let mut open = None;
        let mut ready = bytes::Bytes::new();
        while at < to {
            if split == Some(at) {
                self.roll(at, lacking).await?;
                split = None;
            }
            let until = split.unwrap_or(to);
            let wanted = until.distance_from(at).unwrap_or(0).min(PIECE);
            let mut gathering = Gathering::default();
            while gathering.length() < wanted {
                if ready.is_empty() {
                    let next = timeout(ANSWER, fetched.next()).await;
                    let next = next.map_err(|_| cut_short(at, to, "it stood still"))?;
                    ready = next.ok_or_else(|| cut_short(at, to, "it ended"))??;
                }
                let room = usize::try_from(wanted - gathering.length()).unwrap_or(usize::MAX);
                gathering.push(ready.split_to(ready.len().min(room)), &self.shared.budget)?;
            }
            let filled = self.write(at, gathering, lacking).await?;
            at = filled.committed.end;
            open = Some(filled);
        }
        Ok(open)
    }

    async fn write(&self, at: Offset, content: Gathering, lacking: &Lacking) -> Result<OpenHead, Status> {
        let (reply, filled) = oneshot::channel();
        let filling = Filling {
            generation: self.generation,
            epoch: lacking.epoch,
            at,
            codec: lacking.codec,
            length: content.length(),
            content: content.finish(),
            registers: lacking.registers.clone(),
            reply,
        };
        let (journal, create_revision) = (self.journal.clone(), self.create_revision);
        let command = Command::Fill { journal, create_revision, filling: Box::new(filling) };
        self.shared.cores.send(self.journal, command).await?;
        filled.await.map_err(|_| crate::core::stopping())?.map_err(|fault| faulted(&fault))
    }

    /// Begins a spool of the same epoch at an offset.
    async fn roll(&self, begin: Offset, lacking: &Lacking) -> Result<(), Status> {
        let (reply, rolled) = oneshot::channel();
        let Lacking { codec, registers, .. } = lacking.clone();
        let taking = Taking {
            generation: self.generation,
            step: Step::Roll { cut: None, begin, codec, registers, epoch: None },
            committed: Offset::ZERO,
            reply: Some(reply),
        };
        let (journal, create_revision) = (self.journal.clone(), self.create_revision);
        let command = Command::Take { journal, create_revision, taking: Box::new(taking) };
        self.shared.cores.send(self.journal, command).await?;
        rolled.await.map_err(|_| crate::core::stopping())?.map_err(|fault| faulted(&fault))
    }
}

fn cut_short(at: Offset, to: Offset, why: &str) -> Status {
    Status::aborted(format!(
        "fetching what is missing from {at} to {to} of the journal failed: {why}; attach again"
    ))
}
