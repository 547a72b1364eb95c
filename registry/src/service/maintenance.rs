//! `etcdserverpb.Maintenance`: enough for `etcdctl endpoint status`; no alarms are ever raised, and there is
//! nothing to defragment.

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse,
    PbStatusRequest, PbStatusResponse,
};
use tonic::{Request, Response, Status};

use super::{Responses, Service, single_node};

/// The release whose API is spoken, and who speaks it.
const VERSION: &str = concat!("3.4.0+courant-", env!("CARGO_PKG_VERSION"));

#[tonic::async_trait]
impl PbMaintenanceService for Service {
    type SnapshotStream = Responses<PbSnapshotResponse>;

    async fn status(&self, _: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let status = self.engine.read(|state, _| {
            let revision = state.store().revision();
            let bytes = i64::try_from(state.store().history_bytes()).unwrap_or(i64::MAX);
            PbStatusResponse {
                header: Some(state.header_at(revision)),
                version: VERSION.to_owned(),
                db_size: bytes,
                db_size_in_use: bytes,
                leader: state.identity().member_id,
                raft_index: revision.unsigned_abs(),
                raft_applied_index: revision.unsigned_abs(),
                raft_term: state.term(),
                ..Default::default()
            }
        });
        status.await.map(Response::new)
    }

    async fn alarm(&self, _: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        let header = self.engine.read(|state, _| state.header_at(state.store().revision())).await?;
        Ok(Response::new(PbAlarmResponse { header: Some(header), alarms: Vec::new() }))
    }

    async fn defragment(
        &self,
        _: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        let header = self.engine.read(|state, _| state.header_at(state.store().revision())).await?;
        Ok(Response::new(PbDefragmentResponse { header: Some(header) }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        single_node("Hash")
    }

    async fn hash_kv(&self, _: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        single_node("HashKV")
    }

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::unimplemented("Snapshot: copy the registry folder of a stopped process instead"))
    }

    async fn move_leader(
        &self,
        _: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        single_node("MoveLeader")
    }

    async fn downgrade(
        &self,
        _: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        single_node("Downgrade")
    }
}
