//! One peer of a pipeline: what is sent to it, and its answers on their way back to the core.

use std::sync::Arc;

use courant_proto::id::ProcessId;
use courant_proto::status::Status;
use courant_proto::wire;
use futures::StreamExt;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::core::Cores;
use crate::core::command::Command;
use crate::replica::Replica;

/// Messages that may wait for the connection.
pub(crate) const QUEUE: usize = 2048;

/// Messages that one round can need: a group in memory, in joined chunks.
const OF_A_ROUND: usize = 1280;

/// Answers that are handed to the core together.
const TOGETHER: usize = 64;

/// The sending half of a stream to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: ProcessId,
    /// It understands what Courant adds to the stream.
    pub(crate) is_courant: bool,
    sender: mpsc::Sender<wire::ReplicateRequest>,
}

/// The stream does not take any more; its other half says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Link {
    pub(crate) const fn new(
        peer: ProcessId,
        is_courant: bool,
        sender: mpsc::Sender<wire::ReplicateRequest>,
    ) -> Self {
        Self { peer, is_courant, sender }
    }

    /// Whether a round can be sent without waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.capacity() >= OF_A_ROUND
    }

    /// Sends a message, for which there is room.
    pub(crate) fn send(&self, message: wire::ReplicateRequest) -> Result<(), Broken> {
        self.sender.try_send(message).map_err(|_| Broken)
    }

    /// Where messages can be sent that may have to wait.
    pub(crate) fn sender(&self) -> mpsc::Sender<wire::ReplicateRequest> {
        self.sender.clone()
    }
}

/// Hands a peer's answers to the journal's core, until the stream ends or one is not as it should be.
pub(crate) async fn listen(
    cores: Cores,
    replica: Arc<Replica>,
    attempt: u64,
    peer: usize,
    responses: Streaming<wire::ReplicateResponse>,
) {
    let journal = replica.journal.clone();
    let mut responses = responses.ready_chunks(TOGETHER);
    loop {
        let mut answered = 0;
        let mut failure = None;
        match responses.next().await {
            None => failure = Some("the peer ended the stream".to_owned()),
            Some(chunk) => {
                for response in chunk {
                    match response {
                        Ok(response) if response.status == Status::Ok as i32 => answered += 1,
                        Ok(response) => {
                            let status = wire::Status::try_from(response.status).map_or_else(
                                |_| response.status.to_string(),
                                |status| status.as_str_name().to_owned(),
                            );
                            failure = Some(format!("unexpected !OK response: {status}"));
                        }
                        Err(status) => failure = Some(status.to_string()),
                    }
                    if failure.is_some() {
                        break;
                    }
                }
            }
        }
        let is_over = failure.is_some();
        let answer = Command::Answered { replica: Arc::clone(&replica), attempt, peer, answered, failure };
        if cores.send(&journal, answer).await.is_err() || is_over {
            return;
        }
    }
}
