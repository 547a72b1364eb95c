//! Fetches what our log lacks from members that have it, and puts aside what the journal went on without.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::wire::courant;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Failure, Syncing, Told, counts};
use crate::append::receive::Content;
use crate::core::command::Command;
use crate::journal_space::Space;
use crate::lineage::Lineage;
use crate::replication::local::{Filling, OpenHead};

/// How long a member may take between pieces of what is fetched from it.
const FETCHED: Duration = Duration::from_secs(5);

/// Bytes that are fetched before they are written.
const PIECE: usize = 4 << 20;

impl Syncing {
    /// Puts aside what our log holds and the journal went on without.
    pub(super) async fn cut(&mut self, at: Offset) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        let (replica, attempt) = (Arc::clone(&self.agreement.replica), self.agreement.attempt);
        self.send(Command::Cut { replica, attempt, at, reply }).await?;
        let head = answer.await.map_err(|_| Failure::passing("this broker is stopping"))?;
        self.agreement.own.open = head.map_err(Failure::passing)?;
        Ok(())
    }

    /// Fetches what our log lacks of the epoch that it holds, if another member has more of it: epochs that came after it and in which
    /// nothing was committed do not change that it counts.
    pub(super) async fn complete_own(
        &mut self,
        space: &Space,
        record: Option<&Lineage>,
        all: &[Told],
        base: Offset,
    ) -> Result<(), Failure> {
        let Some(own) = &self.agreement.own.open else { return Ok(()) };
        let (epoch, from) = (own.epoch, own.committed.end);
        let to = counts(record, epoch, base);
        let registers = own.registers.clone();
        if from >= to {
            return Ok(());
        }
        for told in all {
            if told.id == self.background.me || !told.certain {
                continue;
            }
            let open = told.open.as_ref();
            let reaches = open.is_some_and(|open| {
                (open.epoch == epoch && open.end > from) || (open.epoch > epoch && open.begin >= to)
            });
            if !reaches {
                continue;
            }
            let registers = open
                .filter(|open| open.epoch == epoch)
                .map_or_else(|| registers.clone(), |open| open.registers.clone());
            self.fetch_from(space, told, epoch, (from, to), &registers).await?;
            let own = self.agreement.own.open.as_ref();
            if own.is_some_and(|own| own.epoch == epoch && own.committed.end >= to) {
                break;
            }
        }
        Ok(())
    }

    /// Brings our log to the end of what another member holds of an epoch. What it holds no more lies in the store.
    pub(super) async fn fetch_from(
        &mut self,
        space: &Space,
        told: &Told,
        epoch: u64,
        (from, to): (Offset, Offset),
        registers: &Registers,
    ) -> Result<(), Failure> {
        let Some(endpoint) = &told.endpoint else { return Ok(()) };
        if from >= to {
            return Ok(());
        }
        let replica = Arc::clone(&self.agreement.replica);
        let request = courant::FetchRequest {
            header: Some(self.header(space, &told.id)),
            journal: replica.journal.as_str().to_owned(),
            create_revision: replica.create_revision,
            epoch,
            from: from.get(),
            to: to.get(),
        };
        let fetched = self.background.peers.fetch(endpoint, request).await;
        let mut fetched = fetched.map_err(|status| Failure::of(&told.id, status.message()))?;
        let mut at = fetched.begin;
        if at != from {
            // What lies before it is in the store by now, so our own piece of the epoch ends earlier than theirs begins.
            tracing::info!(journal = %replica.journal, %from, %at, "a member holds only a later part of the epoch");
        }
        while at < to {
            let piece = timeout(FETCHED, next_piece(&mut fetched)).await;
            let piece =
                piece.map_err(|_| Failure::of(&told.id, "it stopped sending what was fetched from it"))?;
            let piece = piece.map_err(|status| Failure::of(&told.id, status.message()))?;
            let length: u64 = piece.iter().map(|chunk| chunk.len() as u64).sum();
            if length == 0 {
                return Err(Failure::of(&told.id, "it sent less than it told of"));
            }
            let head = self.fill(epoch, at, piece, length, registers).await?;
            at = head.committed.end;
            self.agreement.own.open = Some(head);
        }
        Ok(())
    }

    async fn fill(
        &self,
        epoch: u64,
        at: Offset,
        chunks: Vec<Bytes>,
        length: u64,
        registers: &Registers,
    ) -> Result<OpenHead, Failure> {
        let replica = &self.agreement.replica;
        let (reply, answer) = oneshot::channel();
        let filling = Filling {
            generation: self.agreement.own.token,
            epoch,
            at,
            codec: self.agreement.codec,
            content: Content::Memory { chunks, share: None },
            length,
            registers: registers.clone(),
            reply,
        };
        let command = Command::Fill {
            journal: replica.journal.clone(),
            create_revision: replica.create_revision,
            filling: Box::new(filling),
        };
        self.send(command).await?;
        match answer.await {
            Ok(Ok(head)) => Ok(head),
            Ok(Err(fault)) => Err(Failure::here(fault)),
            Err(_) => Err(Failure::passing("the agreement was given up")),
        }
    }
}

/// What comes next of a stream of content, some of it together.
async fn next_piece(
    fetched: &mut (impl Stream<Item = Result<Bytes, tonic::Status>> + Unpin),
) -> Result<Vec<Bytes>, tonic::Status> {
    let (mut chunks, mut length) = (Vec::new(), 0);
    while length < PIECE {
        let Some(chunk) = fetched.next().await else { break };
        let chunk = chunk?;
        length += chunk.len();
        chunks.push(chunk);
    }
    Ok(chunks)
}
