//! Opens the streams of an epoch: to peers of ours by an attachment, to peers of another make by following their repairs.

use std::sync::Arc;
use std::time::Duration;

use courant_fragment::spool::state::Proposal;
use courant_proto::id::ProcessId;
use courant_proto::offset::Offset;
use courant_proto::registers::Registers;
use courant_proto::status::Status;
use courant_proto::wire;
use courant_proto::wire::courant;
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;

use super::{Epoch, Failure, MOST_TRIES, Peer, Syncing, Told, counts};
use crate::journal_space::Space;
use crate::lineage::Lineage;
use crate::replication::link::{self, Link};
use crate::replication::messages::propose;

/// A peer has this long to agree, and to fetch what it lacks before.
const ATTACHED: Duration = Duration::from_secs(10);

impl Syncing {
    /// Opens a stream to each peer that is Courant's, and waits until all have agreed.
    pub(super) async fn attach(
        &self,
        space: &Space,
        peers: &[Peer],
        told: &[Told],
        record: Option<&Lineage>,
        epoch: &Epoch,
    ) -> Result<Vec<Link>, Failure> {
        let journal = &self.agreement.replica.journal;
        let streams = peers.iter().filter(|peer| peer.is_courant).map(|peer| async {
            let told = told.iter().find(|told| told.id == peer.id);
            let token = told.map_or(0, |told| told.token);
            let open = told.and_then(|told| told.open.as_ref());
            let counts = open.map_or(epoch.base, |open| counts(record, open.epoch, epoch.base));
            let attach = courant::Attach {
                token,
                create_revision: self.agreement.replica.create_revision,
                epoch: epoch.number,
                prior: epoch.prior,
                base: epoch.base.get(),
                counts: counts.get(),
            };
            let first = wire::ReplicateRequest {
                header: Some(self.header(space, &peer.id)),
                deprecated_journal: journal.as_str().to_owned(),
                attach: Some(attach),
                ..propose(journal, &epoch.proposal, &epoch.registers, true)
            };
            let mut stream = self.open(peer, first).await?;
            let answer = answered(&mut stream, peer).await?;
            if answer.status == Status::Ok as i32 {
                return Ok(stream);
            }
            let status = Status::from_wire(answer.status).map_or("an unknown status", Status::name);
            if answer.status == Status::ProposalMismatch as i32 {
                let have = answer.fragment.map(|have| (have.begin, have.end, have.compression_codec));
                let Proposal { begin, end, codec, .. } = epoch.proposal;
                let asked = (begin.get(), end.get(), codec.to_wire() as i32);
                let why = format!("broker {} answers {status} to {asked:?}: it has {have:?}", peer.id);
                return Err(Failure::Differs(why));
            }
            // A route that is not the newest is nobody's fault.
            Err(Failure::passing(format!("broker {} answers {status}", peer.id)))
        });
        let streams = try_join_all(streams).await?;
        Ok(streams
            .into_iter()
            .enumerate()
            .map(|(number, stream)| self.listen(stream, number, true))
            .collect())
    }

    /// Opens a stream to each peer of another make and follows its repairs: all roll to the greatest end, and take the registers of who
    /// is there.
    pub(super) async fn attach_foreign(
        &self,
        space: &Space,
        peers: &[Peer],
        base: Offset,
        registers: Registers,
    ) -> Result<(Vec<Opened>, Offset, Registers), Failure> {
        let journal = &self.agreement.replica.journal;
        let foreign: Vec<&Peer> = peers.iter().filter(|peer| !peer.is_courant).collect();
        if foreign.is_empty() {
            return Ok((Vec::new(), base, registers));
        }
        let (mut base, mut registers) = (base, registers);
        let mut proposal = Proposal::empty_at(base, self.agreement.codec);
        let mut streams = Vec::new();
        for peer in &foreign {
            let first = wire::ReplicateRequest {
                header: Some(self.header(space, &peer.id)),
                deprecated_journal: journal.as_str().to_owned(),
                ..propose(journal, &proposal, &registers, true)
            };
            streams.push(self.open(peer, first).await?);
        }
        for _ in 0..MOST_TRIES {
            let mut again = false;
            for (stream, peer) in streams.iter_mut().zip(&foreign) {
                let answer = answered(stream, peer).await?;
                match Status::from_wire(answer.status) {
                    Ok(Status::Ok) => {}
                    Ok(Status::ProposalMismatch) => {
                        let end = answer.fragment.and_then(|fragment| Offset::new(fragment.end));
                        let end =
                            end.ok_or_else(|| Failure::of(&peer.id, "its mismatch tells of no fragment"))?;
                        if end > base {
                            let theirs = answer.registers.map(Registers::try_from).transpose();
                            registers =
                                theirs.map_err(|error| Failure::of(&peer.id, error))?.unwrap_or_default();
                            base = end;
                        }
                        again = true;
                    }
                    // A route that is not the newest, or not yet, is nobody's fault.
                    Ok(status) => {
                        return Err(Failure::passing(format!(
                            "broker {} answers {}",
                            peer.id,
                            status.name()
                        )));
                    }
                    Err(_) => return Err(Failure::of(&peer.id, "an unknown status")),
                }
            }
            if !again {
                return Ok((streams, base, registers));
            }
            proposal = Proposal::empty_at(base, self.agreement.codec);
            for (stream, peer) in streams.iter().zip(&foreign) {
                let message = propose(journal, &proposal, &registers, true);
                stream
                    .sender
                    .send(message)
                    .await
                    .map_err(|_| Failure::of(&peer.id, "it ended the stream"))?;
            }
        }
        Err(Failure::passing("members of another make do not agree on where the journal ends"))
    }

    async fn open(&self, peer: &Peer, first: wire::ReplicateRequest) -> Result<Opened, Failure> {
        let (sender, requests) = mpsc::channel(link::QUEUE);
        sender.send(first).await.map_err(|_| Failure::passing("a queue closed early"))?;
        let responses = self.background.peers.replicate(&peer.endpoint, requests).await;
        let responses = responses.map_err(|status| Failure::answered(&peer.id, &status))?;
        Ok(Opened { peer: peer.id.clone(), sender, responses })
    }

    pub(super) fn listen(&self, stream: Opened, number: usize, is_courant: bool) -> Link {
        let Opened { peer, sender, responses } = stream;
        let listening = link::listen(
            self.background.cores.clone(),
            Arc::clone(&self.agreement.replica),
            self.agreement.attempt,
            number,
            responses,
        );
        self.background.spawn_here(listening);
        Link::new(peer, is_courant, sender)
    }
}

/// A stream to a peer that was opened.
pub(super) struct Opened {
    peer: ProcessId,
    sender: mpsc::Sender<wire::ReplicateRequest>,
    responses: Streaming<wire::ReplicateResponse>,
}

async fn answered(stream: &mut Opened, peer: &Peer) -> Result<wire::ReplicateResponse, Failure> {
    match timeout(ATTACHED, stream.responses.message()).await {
        Err(_) => Err(Failure::of(&peer.id, "it did not agree in time")),
        Ok(Err(status)) => Err(Failure::answered(&peer.id, &status)),
        Ok(Ok(None)) => Err(Failure::of(&peer.id, "it ended the stream without an answer")),
        Ok(Ok(Some(answer))) => Ok(answer),
    }
}
