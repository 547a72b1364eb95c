//! The way to a broker: over a network, or within the process. Knows no retries and looks at no answer.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use courant_proto::service::{AppendRequests, JournalService};
use courant_proto::wire;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, future};
use tonic::Status;

use crate::network::Network;

/// Answers of a streaming call.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Status>>;
/// The answer of any other.
pub(crate) type Answer<T> = BoxFuture<'static, Result<T, Status>>;

/// Where calls go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Network(Network),
    InProcess(Arc<dyn JournalService>),
}

impl Transport {
    pub(crate) fn read(&self, request: wire::ReadRequest) -> Answers<wire::ReadResponse> {
        match self {
            Self::InProcess(service) => service.read(request),
            Self::Network(network) => network.read(request),
        }
    }

    pub(crate) fn list(&self, request: wire::ListRequest) -> Answers<wire::ListResponse> {
        match self {
            Self::InProcess(service) => service.list(request),
            Self::Network(network) => network.list(request),
        }
    }

    /// An `Err` among the requests ends them without the intent to commit, which rolls the append back. The journal is the one that
    /// the first of them names.
    pub(crate) fn append(&self, journal: &str, requests: AppendRequests) -> Answer<wire::AppendResponse> {
        match self {
            Self::InProcess(service) => service.append(requests),
            Self::Network(network) => network.append(journal, requests),
        }
    }

    pub(crate) fn apply(&self, request: wire::ApplyRequest) -> Answer<wire::ApplyResponse> {
        match self {
            Self::InProcess(service) => service.apply(request),
            Self::Network(network) => network.apply(request),
        }
    }

    pub(crate) fn list_fragments(&self, request: wire::FragmentsRequest) -> Answer<wire::FragmentsResponse> {
        match self {
            Self::InProcess(service) => service.list_fragments(request),
            Self::Network(network) => network.list_fragments(request),
        }
    }

    pub(crate) fn fragment_store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> Answer<wire::FragmentStoreHealthResponse> {
        match self {
            Self::InProcess(service) => service.fragment_store_health(request),
            Self::Network(network) => network.fragment_store_health(request),
        }
    }

    pub(crate) fn members(
        &self,
        request: wire::courant::MembersRequest,
    ) -> Answer<wire::courant::MembersResponse> {
        match self {
            Self::InProcess(_) => unserved(),
            Self::Network(network) => network.members(request),
        }
    }

    pub(crate) fn unsettled(
        &self,
        request: wire::courant::UnsettledRequest,
    ) -> Answer<wire::courant::UnsettledResponse> {
        match self {
            Self::InProcess(_) => unserved(),
            Self::Network(network) => network.unsettled(request),
        }
    }

    pub(crate) fn lineage(
        &self,
        request: wire::courant::LineageRequest,
    ) -> Answer<wire::courant::LineageResponse> {
        match self {
            Self::InProcess(_) => unserved(),
            Self::Network(network) => network.lineage(request),
        }
    }
}

/// Within a process there is the journal service alone.
fn unserved<T: Send + 'static>() -> Answer<T> {
    future::ready(Err(Status::unimplemented("questions about the cluster are asked over a network"))).boxed()
}
