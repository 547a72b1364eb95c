//! The gRPC services of the etcd v3 API, one file each. Those not here (auth, lock, election) answer
//! `Unimplemented`, as does every single call that makes no sense for one node.

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use prost::Message;
use tonic::Status;
use tonic::service::Routes;

use crate::config::{MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES};
use crate::engine::Engine;
use crate::refusal::Refusal;

mod cluster;
mod kv;
mod lease;
mod maintenance;
mod watch;

/// Bytes after which the transport gives up on a message before we can. Larger than our own limit, so that a
/// request that is somewhat too large is refused in etcd's words.
const TRANSPORT_BYTES: usize = 8 * MAX_MESSAGE_BYTES;

/// Responses that come one after the other.
type Responses<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// One service over the shared engine.
#[derive(Clone, Debug)]
struct Service {
    engine: Arc<Engine>,
}

/// All services.
pub(crate) fn routes(engine: &Arc<Engine>) -> Routes {
    let service = Service { engine: Arc::clone(engine) };
    Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(TRANSPORT_BYTES))
        .add_service(PbWatchServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PbLeaseServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PbMaintenanceServer::new(service.clone()))
        .add_service(PbClusterServer::new(service))
        .prepare()
}

/// Refuses a message that etcd's transport would.
fn check_message(message: &impl Message) -> Result<(), Status> {
    match message.encoded_len() {
        ..=MAX_MESSAGE_BYTES => Ok(()),
        len => Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({len} vs. {MAX_MESSAGE_BYTES})"
        ))),
    }
}

/// Refuses a write that etcd would not take into its log.
fn check_write(message: &impl Message) -> Result<(), Status> {
    check_message(message)?;
    match message.encoded_len() {
        ..=MAX_REQUEST_BYTES => Ok(()),
        _ => Err(Refusal::RequestTooLarge.into()),
    }
}

/// The answer to a call that one node alone has no meaning for.
fn single_node<T>(call: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!(
        "{call}: this is courant's single-node registry, which is not replicated; use an etcd for that"
    )))
}
