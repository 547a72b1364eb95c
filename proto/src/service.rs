//! The `Journal` service as a port: what a broker offers and a client needs, with no transport between them.
//!
//! A gateway that shares its process with a broker calls it through this trait; over a network the generated
//! stubs stand in its place. Both speak the wire messages, and both see the same statuses.

use std::fmt;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::Status;

use crate::wire;

/// The messages of one `Append`: a first one with parameters, content, an empty one as the intent to commit,
/// and the end. An end without that intent rolls the append back.
pub type AppendRequests = BoxStream<'static, Result<wire::AppendRequest, Status>>;

/// The verbs of `protocol.Journal` that clients use. `Replicate` is between brokers and not among them.
///
/// Outcomes that the protocol foresees are the `status` of a response; a [`Status`] is a fault, with the code
/// that a gRPC client would see.
pub trait JournalService: fmt::Debug + Send + Sync + 'static {
    /// Lists the journals that match a selector; with `watch`, again at each change.
    fn list(&self, request: wire::ListRequest) -> BoxStream<'static, Result<wire::ListResponse, Status>>;

    /// Creates, updates and deletes journals, all or none.
    fn apply(&self, request: wire::ApplyRequest) -> BoxFuture<'static, Result<wire::ApplyResponse, Status>>;

    /// Reads a journal from an offset on.
    fn read(&self, request: wire::ReadRequest) -> BoxStream<'static, Result<wire::ReadResponse, Status>>;

    /// Appends to a journal, whole or not at all.
    fn append(&self, requests: AppendRequests) -> BoxFuture<'static, Result<wire::AppendResponse, Status>>;

    /// Lists the fragments of a journal.
    fn list_fragments(
        &self,
        request: wire::FragmentsRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentsResponse, Status>>;

    /// Tells whether a fragment store works, as this broker sees it.
    fn fragment_store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> BoxFuture<'static, Result<wire::FragmentStoreHealthResponse, Status>>;
}
