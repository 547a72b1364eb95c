//! Journals, specs and fragments as JSON.

use axum::response::Response;
use courant_proto::json::{Message, Naming};
use courant_proto::name::JournalName;
use courant_proto::selector::LabelSelector;
use courant_proto::validate::Validate as _;
use courant_proto::{json, wire};
use http::Uri;

use crate::error::Failure;
use crate::router::text;
use crate::{Gateway, query};

/// The journals that a selector matches, as one `ListResponse`.
pub(crate) async fn journals(gateway: &Gateway, parameters: Option<&str>) -> Result<Response, Failure> {
    let selector = query::selector(parameters).map_err(Failure::bad_request)?;
    let selector = LabelSelector::parse(&selector)
        .map_err(|invalid| Failure::bad_request(invalid.within("selector")))?;
    let response = list(gateway, &selector).await?;
    Ok(object(&response))
}

/// A journal with its spec, its revisions and its route.
pub(crate) async fn spec(
    gateway: &Gateway,
    journal: &str,
    parameters: Option<&str>,
) -> Result<Response, Failure> {
    query::none(parameters).map_err(Failure::bad_request)?;
    let name =
        JournalName::parse(journal).map_err(|invalid| Failure::bad_request(invalid.within("Journal")))?;
    let response = list(gateway, &LabelSelector::of_name(&name)).await?;
    match response.journals.first() {
        Some(journal) => Ok(object(journal)),
        None => Err(Failure::status(wire::Status::JournalNotFound)),
    }
}

async fn list(gateway: &Gateway, selector: &LabelSelector) -> Result<wire::ListResponse, Failure> {
    let request = wire::ListRequest { selector: Some(selector.into()), ..Default::default() };
    request.validate().map_err(Failure::bad_request)?;
    let listing = gateway.client.list(selector.into()).await.map_err(|error| Failure::of(&error, ""))?;
    Ok(wire::ListResponse { status: 0, header: Some(listing.header), journals: listing.journals })
}

/// One page of a journal's fragments, as one `FragmentsResponse`.
pub(crate) async fn fragments(gateway: &Gateway, journal: &str, uri: &Uri) -> Result<Response, Failure> {
    let params = query::fragments(uri.query()).map_err(Failure::bad_request)?;
    let signature_ttl = (params.signature_ttl != 0)
        .then_some(prost_types::Duration { seconds: params.signature_ttl, nanos: 0 });
    let request = wire::FragmentsRequest {
        journal: journal.to_owned(),
        begin_mod_time: params.begin_mod_time,
        end_mod_time: params.end_mod_time,
        next_page_token: params.next_page_token,
        page_limit: params.page_limit,
        signature_ttl,
        ..Default::default()
    };
    request.validate().map_err(Failure::bad_request)?;
    let response =
        gateway.client.fragments(request).await.map_err(|error| Failure::of(&error, uri.path()))?;
    Ok(object(&response))
}

fn object<M: Message>(message: &M) -> Response {
    let mut body = json::to_string(message, Naming::LowerCamel);
    body.push('\n');
    text("application/json", body)
}
