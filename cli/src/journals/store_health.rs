//! `courant journals store-health`: whether a fragment store works, as the broker sees it with its credentials.

use courant_proto::validate::Validate as _;
use courant_proto::wire::{self, Status};

use super::Session;
use crate::args::StoreHealthArgs;
use crate::failure::Failure;
use crate::output;

/// Asks, and tells.
pub(super) async fn run(session: &Session, args: StoreHealthArgs) -> Result<(), Failure> {
    let request = wire::FragmentStoreHealthRequest {
        fragment_store: args.store.clone(),
        check_delete: args.check_delete_prefix.is_some(),
        check_delete_prefix: args.check_delete_prefix.unwrap_or_default(),
    };
    request.validate().map_err(|invalid| Failure::usage([invalid.to_string()]))?;
    let health =
        session.client.store_health(request).await.map_err(|error| {
            session.failure(&format!("cannot check fragment store {}", args.store), &error)
        })?;
    if health.status() == Status::Ok {
        output::print_line(&format!("Fragment store {} is healthy", args.store))
    } else {
        Err(Failure::failed([format!(
            "fragment store {} is unhealthy: {}",
            args.store, health.store_health_error
        )]))
    }
}
