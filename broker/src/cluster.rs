//! The `courant.Cluster` service: what operators ask of any broker. It changes nothing, and asks no peer.

mod members;
mod unsettled;

use std::sync::Arc;

use courant_proto::id::ProcessId;
use courant_proto::name::RequestName;
use courant_proto::status::Status as Outcome;
use courant_proto::wire;
use courant_proto::wire::courant;
use courant_proto::wire::courant::cluster_server::{Cluster, ClusterServer};
use tonic::{Request, Response, Status};

use crate::broker::Broker;
use crate::lineage;
use crate::lineage::record::Epoch;
use crate::peers::View;
use crate::shared::Shared;
use members::Known;

/// The service of one broker. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ClusterGrpc(Arc<Shared>);

impl Broker {
    /// The service of operators for a tonic server.
    pub fn cluster(&self) -> ClusterServer<ClusterGrpc> {
        ClusterServer::new(ClusterGrpc(Arc::clone(&self.shared)))
    }
}

impl ClusterGrpc {
    /// Looks at the whole picture, on a thread that no journal waits for.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let shared = Arc::clone(&self.0);
        let looking = tokio::task::spawn_blocking(move || look(&shared));
        looking.await.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }
}

#[tonic::async_trait]
impl Cluster for ClusterGrpc {
    async fn members(
        &self,
        _request: Request<courant::MembersRequest>,
    ) -> Result<Response<courant::MembersResponse>, Status> {
        self.look(members).await
    }

    async fn unsettled(
        &self,
        _request: Request<courant::UnsettledRequest>,
    ) -> Result<Response<courant::UnsettledResponse>, Status> {
        self.look(|shared| {
            let space = shared.space();
            let header = Some((&space.unrouted(&shared.config.id)).into());
            courant::UnsettledResponse { header, journals: unsettled::unsettled(&space) }
        })
        .await
    }

    async fn lineage(
        &self,
        request: Request<courant::LineageRequest>,
    ) -> Result<Response<courant::LineageResponse>, Status> {
        lineage_of(&self.0, &request.into_inner().journal).await.map(Response::new)
    }
}

fn members(shared: &Shared) -> courant::MembersResponse {
    let space = shared.space();
    let view = shared.presence.view();
    let members = members::members(&space, |id| known(&view, &shared.config.id, id));
    courant::MembersResponse { header: Some((&space.unrouted(&shared.config.id)).into()), members }
}

/// What is known of a member beside its key.
fn known(view: &View, me: &ProcessId, id: &ProcessId) -> Known {
    let version = match view.courant.get(id) {
        Some(version) => version.clone(),
        // Its own key may not have been seen yet.
        None if id == me => env!("CARGO_PKG_VERSION").to_owned(),
        None => String::new(),
    };
    let by = view.suspected.iter().filter(|suspicion| suspicion.suspect == *id);
    Known { version, suspected_by: by.map(|suspicion| suspicion.by.clone()).collect() }
}

/// The lineage of a journal, as the registry has it now.
async fn lineage_of(shared: &Shared, journal: &str) -> Result<courant::LineageResponse, Status> {
    let name = RequestName::parse(journal)?.name;
    let space = shared.space();
    let header = wire::Header::from(&space.unrouted(&shared.config.id));
    let response = courant::LineageResponse { header: Some(header), ..Default::default() };
    let Some(item) = space.item(&name) else {
        return Ok(courant::LineageResponse { status: Outcome::JournalNotFound.into(), ..response });
    };
    let mut records = lineage::load(&shared.registry, space.root(), [name.clone()])
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    // The record of an earlier journal of the name says nothing of this one.
    let record = records.remove(&name).and_then(|record| record.of(item.create_revision));
    let Some(record) = record else { return Ok(response) };
    let response =
        courant::LineageResponse { stored: record.stored, lost_end: record.lost_end().get(), ..response };
    let Some(Epoch { number, members, begin, sealed, .. }) = record.epochs.last().cloned() else {
        return Ok(response);
    };
    Ok(courant::LineageResponse {
        epoch: number,
        begin,
        members,
        sealed: sealed.is_some(),
        end: sealed.map_or(0, |sealed| sealed.end),
        ..response
    })
}
