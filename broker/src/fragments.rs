//! The `ListFragments` RPC: what a journal's content lies in, a page at a time.

use std::time::Duration;

use courant_fragment::index::{Listed, PageRequest};
use courant_fragment::store::Stores;
use courant_proto::duration::GoDuration;
use courant_proto::fragment::Fragment;
use courant_proto::label::LabelSet;
use courant_proto::name::RequestName;
use courant_proto::offset::Offset;
use courant_proto::spec::JournalSpec;
use courant_proto::status::Status;
use courant_proto::template::{Context, PathTemplate};
use courant_proto::time::Timestamp;
use courant_proto::validate::Validate;
use courant_proto::wire;
use tokio::time::timeout;

use crate::read;
use crate::shared::{Located, Shared, Wants};

/// Fragments of a page, if the request does not say.
const DEFAULT_PAGE: usize = 1000;

/// How long an answer waits for the first listing of the journal's stores: without it, most of the journal would be missing.
const FIRST_LISTING: Duration = Duration::from_secs(60);

/// Serves one request.
pub(crate) async fn list_fragments(
    shared: &Shared,
    request: wire::FragmentsRequest,
) -> Result<wire::FragmentsResponse, tonic::Status> {
    request.validate()?;
    let name = RequestName::parse(&request.journal)?;
    let wants = Wants {
        may_proxy: !request.do_not_proxy,
        primary: false,
        create: false,
        settles: true,
        min_revision: 0,
        header: request.header.as_ref(),
    };
    let located = shared.locate(&name.name, &wants).await?;
    if !located.targets.is_empty() {
        return pass_on(shared, located, request).await;
    }
    let respond = |status: Status| wire::FragmentsResponse {
        status: status.into(),
        header: Some((&located.resolution.header).into()),
        ..Default::default()
    };
    let (Status::Ok, Some(replica)) = (located.resolution.status, &located.replica) else {
        return Ok(respond(located.resolution.status));
    };
    if !replica.spec().flags.may_read() {
        return Ok(respond(Status::NotAllowed));
    }
    if !replica.index.is_refreshed() {
        read::rpc::refresh(shared, &name.name).await?;
        let listed = tokio::select! {
            listed = timeout(FIRST_LISTING, replica.index.refreshed()) => listed,
            () = shared.closing.cancelled() => Ok(false),
        };
        if listed != Ok(true) {
            return Err(tonic::Status::unavailable(format!(
                "the fragment stores of journal {} have not been listed yet; see whether they are healthy, and try again",
                name.name
            )));
        }
    }
    let spec = replica.spec();
    let page = replica.index.page(&page_request(&request));
    let ttl = request.signature_ttl.as_ref().and_then(GoDuration::from_wire).and_then(GoDuration::to_std);
    let mut fragments = Vec::with_capacity(page.fragments.len());
    for listed in &page.fragments {
        fragments.push(describe(&shared.stores, &spec, listed, ttl).await?);
    }
    let next_page_token = page.next.map_or(0, Offset::get);
    Ok(wire::FragmentsResponse { fragments, next_page_token, ..respond(Status::Ok) })
}

/// Passes a request on to the first member that can be reached.
async fn pass_on(
    shared: &Shared,
    located: Located,
    request: wire::FragmentsRequest,
) -> Result<wire::FragmentsResponse, tonic::Status> {
    let page_limit = i32::try_from(page_request(&request).limit).unwrap_or(i32::MAX);
    let header = Some((&located.resolution.header).into());
    let request = wire::FragmentsRequest { header, page_limit, ..request };
    let mut answer =
        Err(tonic::Status::unavailable("no member of the journal's route can be reached; try again"));
    for target in &located.targets {
        answer = tokio::select! {
            answer = shared.peers.list_fragments(&target.endpoint, request.clone()) => answer,
            () = shared.closing.cancelled() => Err(crate::core::stopping()),
        };
        if answer.is_ok() || !shared.peers.has_failed(&target.endpoint) {
            break;
        }
    }
    answer
}

fn page_request(request: &wire::FragmentsRequest) -> PageRequest {
    PageRequest {
        from: Offset::new(request.next_page_token).unwrap_or(Offset::ZERO),
        begin_mod_time: request.begin_mod_time,
        end_mod_time: request.end_mod_time,
        limit: usize::try_from(request.page_limit).ok().filter(|limit| *limit > 0).unwrap_or(DEFAULT_PAGE),
    }
}

/// A fragment as the answer tells of it: with a URL if one was asked for and it is stored; and if it is not, with the postfix
/// that it would be stored under now, so that whoever waits for a partition sees that it is not whole yet.
async fn describe(
    stores: &Stores,
    spec: &JournalSpec,
    listed: &Listed,
    ttl: Option<Duration>,
) -> Result<wire::fragments_response::Fragment, tonic::Status> {
    let fragment = &listed.fragment;
    let signed_url = match (&fragment.store, ttl) {
        (Some(url), Some(ttl)) => {
            let signed = match stores.get(url) {
                Ok(store) => store.signed_url(fragment, ttl).await,
                Err(error) => Err(error),
            };
            signed.map_err(|error| {
                tonic::Status::unavailable(format!("cannot sign a URL to {fragment}: {error}"))
            })?
        }
        _ => String::new(),
    };
    let mut described = wire::Fragment::from(fragment);
    if let Some(at) = listed.first_append {
        described.path_postfix = postfix(spec, fragment, at);
    }
    Ok(wire::fragments_response::Fragment { spec: Some(described), signed_url })
}

/// The path postfix of what is not stored. Registers are not known here, and a template that speaks of them may come out otherwise.
fn postfix(spec: &JournalSpec, fragment: &Fragment, first_append_time: Timestamp) -> String {
    let template = PathTemplate::parse(&spec.fragment.path_postfix_template);
    let context = Context {
        journal: fragment.journal.as_str(),
        begin: fragment.begin.get(),
        end: fragment.end.get(),
        compression_codec: fragment.codec,
        first_append_time,
        registers: &LabelSet::default(),
        labels: &spec.labels,
    };
    // What a spec's template cannot become is told when the fragment is stored.
    template.and_then(|template| template.evaluate(&context)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_request_says_or_a_thousand() {
        let check = |limit: i32, token: i64, expected: (usize, i64)| {
            let request = wire::FragmentsRequest {
                begin_mod_time: 5,
                end_mod_time: 9,
                page_limit: limit,
                next_page_token: token,
                ..Default::default()
            };
            let page = page_request(&request);
            assert_eq!((page.limit, page.from.get()), expected);
            assert_eq!((page.begin_mod_time, page.end_mod_time), (5, 9));
        };
        check(0, 0, (1000, 0));
        check(3, 40, (3, 40));
        check(10_000, i64::MAX, (10_000, i64::MAX));
    }
}
