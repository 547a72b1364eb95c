//! `etcdserverpb.Cluster`: a cluster of one, which cannot grow.

use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::{Request, Response, Status};

use super::{Service, single_node};

#[tonic::async_trait]
impl PbClusterService for Service {
    async fn member_list(
        &self,
        _: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        let config = &self.engine.config;
        let response = self.engine.read(|state, _| PbMemberListResponse {
            header: Some(state.header_at(state.store().revision())),
            members: vec![PbMember {
                id: state.identity().member_id,
                name: config.name.clone(),
                peer_ur_ls: Vec::new(),
                client_ur_ls: config.client_urls.clone(),
                is_learner: false,
            }],
        });
        response.await.map(Response::new)
    }

    async fn member_add(
        &self,
        _: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        single_node("MemberAdd")
    }

    async fn member_remove(
        &self,
        _: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        single_node("MemberRemove")
    }

    async fn member_update(
        &self,
        _: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        single_node("MemberUpdate")
    }

    async fn member_promote(
        &self,
        _: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        single_node("MemberPromote")
    }
}
