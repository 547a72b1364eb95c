//! The `FragmentStoreHealth` RPC: whether a store works, as this broker sees it. No journal need know the store.

use std::time::Duration;

use courant_fragment::store::Stores;
use courant_proto::header::Header;
use courant_proto::store::StoreUrl;
use courant_proto::validate::Validate;
use courant_proto::wire;
use tokio::time::timeout;

use crate::shared::Shared;

/// How long an answer waits for the first check of a store, which has a shorter limit itself.
const FIRST_CHECK: Duration = Duration::from_secs(90);

/// Serves one request.
pub(crate) async fn fragment_store_health(
    shared: &Shared,
    request: wire::FragmentStoreHealthRequest,
) -> Result<wire::FragmentStoreHealthResponse, tonic::Status> {
    let header = shared.space().unrouted(&shared.config.id);
    tokio::select! {
        response = respond(&shared.stores, &header, &request) => response,
        () = shared.closing.cancelled() => Err(tonic::Status::unavailable("the broker is stopping; ask another one")),
    }
}

async fn respond(
    stores: &Stores,
    header: &Header,
    request: &wire::FragmentStoreHealthRequest,
) -> Result<wire::FragmentStoreHealthResponse, tonic::Status> {
    request.validate()?;
    let url = StoreUrl::parse(&request.fragment_store)?;
    let error = check(stores, &url, request).await.err();
    let status = match error {
        None => wire::Status::Ok,
        Some(_) => wire::Status::FragmentStoreUnhealthy,
    };
    Ok(wire::FragmentStoreHealthResponse {
        status: status.into(),
        header: Some(header.into()),
        store_health_error: error.unwrap_or_default(),
    })
}

/// Whether the store works; if not, why not.
async fn check(
    stores: &Stores,
    url: &StoreUrl,
    request: &wire::FragmentStoreHealthRequest,
) -> Result<(), String> {
    let store = stores.get(url).map_err(|error| error.to_string())?;
    // Past the limit, what is known by then says that nothing is.
    let health = timeout(FIRST_CHECK, store.checked()).await.unwrap_or_else(|_| store.health());
    if let Some(error) = health.error() {
        return Err(error.to_owned());
    }
    if request.check_delete { store.check_delete(&request.check_delete_prefix).await } else { Ok(()) }
}

#[cfg(test)]
mod tests;
