//! `etcdserverpb.Lease`: grant, revoke, keep alive, time to live, list.

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService,
    PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use tonic::{Request, Response, Status, Streaming};

use super::{Responses, Service};

#[tonic::async_trait]
impl PbLeaseService for Service {
    type LeaseKeepAliveStream = Responses<PbLeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let request = request.into_inner();
        self.engine.write(|state, now| state.grant(request, now)).await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let id = request.into_inner().id;
        self.engine.write(|state, _| state.revoke(id)).await.map(Response::new)
    }

    /// Renews as the requests come. A renewal waits for no disk: it changes nothing that is remembered, and a slow
    /// disk must not cost anyone a lease.
    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let renewals = futures::stream::try_unfold(
            (self.clone(), request.into_inner()),
            |(service, mut requests)| async move {
                let Some(request) = requests.message().await? else { return Ok(None) };
                let answer = service.engine.renew(|state, now| state.keep_alive(request.id, now))?;
                Ok(Some((answer, (service, requests))))
            },
        );
        Ok(Response::new(Box::pin(renewals)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        self.engine.read(|state, now| state.time_to_live(request, now)).await.map(Response::new)
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        self.engine.read(|state, _| state.lease_ids()).await.map(Response::new)
    }
}
