//! The `courant.Peer` service: what this broker's log knows, told to those whom the registry lets ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use courant_proto::header::Header;
use courant_proto::id::ProcessId;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::status::Status as Outcome;
use courant_proto::wire;
use courant_proto::wire::courant;
use courant_proto::wire::courant::heads_request::Journal as Asked;
use courant_proto::wire::courant::heads_response::Head as Told;
use courant_proto::wire::courant::peer_server::{Peer, PeerServer};
use futures::StreamExt;
use futures::stream::{self, BoxStream, Stream};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::client::LARGEST_MESSAGE;
use crate::broker::Broker;
use crate::core::command::Command;
use crate::journal_space::Space;
use crate::replication::local::{Head, Piece};
use crate::resolver::resolve;
use crate::shared::Shared;

/// Bytes of content in one message at most.
const CHUNK: usize = 256 << 10;

/// How long the registry may take to tell whether it is still the one that it was.
const LOOKED_WITHIN: Duration = Duration::from_secs(5);

/// The service of one broker. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PeerGrpc(Arc<Shared>);

impl Broker {
    /// What other brokers of ours ask, for a tonic server.
    pub fn peer(&self) -> PeerServer<PeerGrpc> {
        PeerServer::new(PeerGrpc(Arc::clone(&self.shared))).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

#[tonic::async_trait]
impl Peer for PeerGrpc {
    type FetchStream = BoxStream<'static, Result<courant::FetchResponse, Status>>;

    async fn heads(
        &self,
        request: Request<courant::HeadsRequest>,
    ) -> Result<Response<courant::HeadsResponse>, Status> {
        heads(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn fetch(
        &self,
        request: Request<courant::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        fetch(&self.0, request.into_inner()).await.map(Response::new)
    }
}

/// What is waited for before an answer to one journal is there.
enum Asking {
    Refused(Outcome),
    Waiting(oneshot::Receiver<Head>),
}

async fn heads(shared: &Shared, request: courant::HeadsRequest) -> Result<courant::HeadsResponse, Status> {
    same_registry(shared, &request.incarnation).await?;
    let space = addressed(shared, request.header).await?;
    let caller = ProcessId::try_from(&request.caller.unwrap_or_default())?;
    // All cores are asked before any is waited for.
    let mut asking = Vec::with_capacity(request.journals.len());
    for asked in request.journals {
        asking.push(ask(shared, &space, &caller, asked).await?);
    }
    let mut heads = Vec::with_capacity(asking.len());
    for asking in asking {
        heads.push(match asking {
            Asking::Refused(status) => Told { status: status as i32, ..Told::default() },
            Asking::Waiting(answer) => told(answer.await.map_err(|_| crate::core::stopping())?),
        });
    }
    Ok(courant::HeadsResponse {
        header: Some((&space.unrouted(&shared.config.id)).into()),
        heads,
        log: shared.log_number.unwrap_or(0),
    })
}

/// Refuses who has come to another registry than this broker: of its journals nothing is known here, which is not to know that there is nothing.
async fn same_registry(shared: &Shared, incarnation: &[u8]) -> Result<(), Status> {
    let ours = shared.registry.incarnation();
    // Who asks for no journal, or is older, says nothing of it.
    if incarnation.is_empty() || incarnation == ours {
        return Ok(());
    }
    if let Some(witness) = &shared.registry.witness
        && matches!(witness.is_there(&shared.registry.etcd, LOOKED_WITHIN).await, Ok(false))
    {
        shared.member.estrange(&"another broker has come to another one, and the witness of ours is gone");
    }
    Err(Status::unavailable(format!(
        "broker {} has come to another registry, or to this one before it was wiped; try again when it has joined",
        shared.config.id
    )))
}

async fn ask(shared: &Shared, space: &Space, caller: &ProcessId, asked: Asked) -> Result<Asking, Status> {
    let Asked { name, create_revision } = asked;
    let journal = JournalName::parse(&name)?;
    let refused = if !is_there(space, &journal, create_revision) {
        Some(Outcome::JournalNotFound)
    } else if space.bare_route(&journal).primary_member() != Some(caller) {
        // Telling a head ends the stream that is followed now: nobody but the primary may have it told.
        Some(Outcome::NotJournalPrimaryBroker)
    } else {
        None
    };
    if let Some(refused) = refused {
        return Ok(Asking::Refused(refused));
    }
    let (reply, answer) = oneshot::channel();
    let command = Command::Head { journal: journal.clone(), create_revision, reply };
    shared.cores.send(&journal, command).await?;
    Ok(Asking::Waiting(answer))
}

fn told(head: Head) -> Told {
    let Head { token, certain, open } = head;
    let mut told = Told { status: Outcome::Ok as i32, token, ..Told::default() };
    if open.is_none() && !certain {
        // It knew the journal and could not take it up: that is not to know nothing of it.
        told.status = Outcome::NotJournalBroker as i32;
    }
    if let Some(open) = open {
        told.known = certain;
        told.epoch = open.epoch;
        told.begin = open.committed.begin.get();
        told.end = open.committed.end.get();
        told.registers = Some((&open.registers).into());
    }
    told
}

async fn fetch(
    shared: &Shared,
    request: courant::FetchRequest,
) -> Result<BoxStream<'static, Result<courant::FetchResponse, Status>>, Status> {
    let space = addressed(shared, request.header).await?;
    let journal = JournalName::parse(&request.journal)?;
    let (from, to) = (Offset::try_from(request.from)?, Offset::try_from(request.to)?);
    if !is_there(&space, &journal, request.create_revision) {
        return Err(Status::not_found(format!("journal {journal} is not the one that is to be fetched")));
    }
    let (reply, pieces) = oneshot::channel();
    let command = Command::Pieces {
        journal: journal.clone(),
        create_revision: request.create_revision,
        epoch: request.epoch,
        from,
        to,
        reply,
    };
    shared.cores.send(&journal, command).await?;
    let pieces = pieces.await.map_err(|_| crate::core::stopping())?;
    let length = pieces.iter().map(|piece| piece.length).sum();
    let begin = to
        .distance_from(from)
        .and_then(|wanted| wanted.checked_sub(length))
        .and_then(|lacking| from.plus(lacking));
    let Some(begin) = begin else {
        return Err(Status::internal(format!("fetching {from} to {to} of {journal} came to {length} bytes")));
    };
    let opening = courant::FetchResponse { content: Bytes::new(), offset: begin.get() };
    Ok(stream::once(async { Ok(opening) }).chain(content(pieces)).boxed())
}

/// The content of pieces, one after the other.
fn content(pieces: Vec<Piece>) -> impl Stream<Item = Result<courant::FetchResponse, Status>> + Send {
    stream::try_unfold(pieces.into_iter().peekable(), |mut pieces| async move {
        loop {
            let Some(piece) = pieces.peek_mut() else { return Ok(None) };
            if piece.length == 0 {
                pieces.next();
                continue;
            }
            let content = read(piece).await?;
            return Ok(Some((courant::FetchResponse { content, offset: 0 }, pieces)));
        }
    })
}

/// Reads the next bytes of a piece, and leaves it the rest.
async fn read(piece: &mut Piece) -> Result<Bytes, Status> {
    let length = usize::try_from(piece.length).unwrap_or(CHUNK).min(CHUNK);
    let (content, at) = (Arc::clone(&piece.content), piece.position);
    // Cold files block, and a core must not: this runs on the runtime's pool for files.
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = BytesMut::zeroed(length);
        content.read_at(at, &mut buffer).map(|read| {
            buffer.truncate(read);
            buffer.freeze()
        })
    });
    let bytes = read
        .await
        .map_err(|_| Status::internal("reading a spool was interrupted"))?
        .map_err(|error| Status::data_loss(error.to_string()))?;
    if bytes.is_empty() {
        return Err(Status::data_loss(format!("a spool ends {} bytes too early", piece.length)));
    }
    piece.position += bytes.len() as u64;
    piece.length -= bytes.len() as u64;
    Ok(bytes)
}

/// Checks that a request is meant for this broker, and waits until the mirror shows what its sender acts upon.
async fn addressed(shared: &Shared, header: Option<wire::Header>) -> Result<Arc<Space>, Status> {
    let header = header.ok_or_else(|| Status::invalid_argument("expected Header"))?;
    let header = Header::try_from(header)?;
    resolve::check_header(&shared.space(), &shared.config.id, &header)?;
    shared.await_revision(header.etcd.revision).await?;
    // What an earlier process left is with the cores once the mirror was followed at all: a log that has not been taken up yet would
    // seem to know nothing.
    shared.await_followed(header.etcd.revision).await?;
    Ok(shared.space())
}

fn is_there(space: &Space, journal: &JournalName, create_revision: i64) -> bool {
    space.item(journal).is_some_and(|item| item.create_revision == create_revision)
}
