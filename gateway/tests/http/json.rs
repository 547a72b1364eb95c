//! Listings, specs and fragments as JSON, and the streaming verbs.

use courant_proto::wire::{self, Status as S};
use serde_json::{Value, json};
use tonic::Status;

use crate::fake::{Fake, content, fragment, header, metadata, read_refused};

fn listed(names: &[&str]) -> wire::ListResponse {
    let journal = |name: &&str| wire::list_response::Journal {
        spec: Some(wire::JournalSpec { name: (*name).into(), replication: 1, ..Default::default() }),
        mod_revision: 7,
        route: header().route,
        create_revision: 5,
    };
    wire::ListResponse {
        header: Some(header()),
        journals: names.iter().map(journal).collect(),
        ..Default::default()
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["journals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|journal| journal["spec"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_listing_is_one_object() {
    let fake = Fake::default();
    fake.on_list([
        Ok(listed(&["a/one", "a/two"])),
        Ok(wire::ListResponse { header: None, ..listed(&["b/one"]) }),
    ]);
    let reply = fake.get("/v1/journals?selector=app%3Dshop").await;
    assert_eq!((reply.code.as_u16(), reply.header("content-type")), (200, "application/json"));
    let list = reply.json();
    assert_eq!(names(&list), ["a/one", "a/two", "b/one"]);
    assert_eq!(list["header"]["etcd"]["revision"], "3");
    assert_eq!(list["journals"][0]["modRevision"], "7");
    let include = fake.list_requests()[0].selector.clone().unwrap().include.unwrap();
    assert_eq!((include.labels[0].name.as_str(), include.labels[0].value.as_str()), ("app", "shop"));

    fake.on_list([Ok(listed(&[]))]);
    assert_eq!(names(&fake.get("/v1/journals").await.json()), <[&str; 0]>::default());
}

#[tokio::test]
async fn a_spec() {
    let fake = Fake::default();
    fake.on_list([Ok(listed(&["metrics/cpu"]))]);
    let journal = fake.get("/v1/journals/metrics/cpu:spec").await.json();
    assert_eq!((&journal["spec"]["name"], &journal["modRevision"]), (&json!("metrics/cpu"), &json!("7")));
    let label = fake.list_requests()[0].selector.clone().unwrap().include.unwrap().labels.remove(0);
    assert_eq!((label.name.as_str(), label.value.as_str(), label.prefix), ("name", "metrics/cpu", false));

    fake.on_list([Ok(listed(&[]))]);
    let reply = fake.get("/v1/journals/metrics/cpu:spec").await;
    assert_eq!((reply.code.as_u16(), reply.header("content-type")), (404, "application/problem+json"));
    assert_eq!(reply.json()["code"], "JOURNAL_NOT_FOUND");
}

#[tokio::test]
async fn fragments() {
    let fake = Fake::default();
    let fragments =
        vec![wire::fragments_response::Fragment { spec: Some(fragment(0, 6)), signed_url: String::new() }];
    let page = wire::FragmentsResponse {
        header: Some(header()),
        fragments,
        next_page_token: 6,
        ..Default::default()
    };
    fake.on_fragments(Ok(page));
    let reply =
        fake.get("/v1/journals/a/journal:fragments?pageLimit=1&beginModTime=5&signatureTTL=60s").await;
    let page = reply.json();
    assert_eq!((&page["nextPageToken"], &page["fragments"][0]["spec"]["end"]), (&json!("6"), &json!("6")));
    let request = &fake.fragments_requests()[0];
    assert_eq!((request.journal.as_str(), request.page_limit, request.begin_mod_time), ("a/journal", 1, 5));
    assert_eq!(request.signature_ttl.map(|ttl| ttl.seconds), Some(60));

    let refused =
        wire::FragmentsResponse { status: S::Suspended.into(), header: Some(header()), ..Default::default() };
    fake.on_fragments(Ok(refused));
    let reply = fake.get("/v1/journals/a/journal:fragments").await;
    assert_eq!((reply.code.as_u16(), &reply.json()["code"]), (409, &json!("SUSPENDED")));
}

#[tokio::test]
async fn refusals_below_v1_are_problems() {
    let fake = Fake::default();
    fake.on_read([Ok(read_refused(S::InsufficientJournalBrokers, 0))]);
    let reply = fake.get("/v1/journals/a/journal").await;
    assert_eq!((reply.code.as_u16(), reply.header("content-type")), (503, "application/problem+json"));
    assert_eq!(reply.header("retry-after"), "1");
    let problem = reply.json();
    assert_eq!(problem["code"], "INSUFFICIENT_JOURNAL_BROKERS");
    assert_eq!((&problem["type"], &problem["title"]), (&json!("about:blank"), &json!("Service Unavailable")));
}

fn rows(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_read_as_rows() {
    let fake = Fake::default();
    let answers = [metadata(0, 0, 6, 6), content(0, "foobar"), read_refused(S::OffsetNotYetAvailable, 6)];
    fake.on_read(answers.map(Ok));
    let reply = fake.post("/v1/journals/read", r#"{"journal":"a/journal","offset":"0"}"#).await;
    assert_eq!(reply.code, 200);
    assert_eq!(reply.pieces.len(), 3, "each row is passed on as it comes");
    let rows = rows(&reply.body);
    assert_eq!(rows[0]["result"]["writeHead"], "6");
    assert_eq!(rows[1]["result"]["content"], "Zm9vYmFy");
    assert_eq!(rows[2]["result"]["status"], "OFFSET_NOT_YET_AVAILABLE");
    assert_eq!(fake.read_requests()[0].journal, "a/journal");
}

#[tokio::test]
async fn a_listing_as_rows() {
    let fake = Fake::default();
    fake.on_list([Ok(listed(&["a/one"])), Err(Status::unavailable("gone")), Ok(listed(&["never/told"]))]);
    let reply = fake.post("/v1/journals/list", r#"{"watch":true}"#).await;
    let rows = rows(&reply.body);
    assert_eq!(rows.len(), 2, "an error is the last row");
    assert_eq!(names(&rows[0]["result"]), ["a/one"]);
    let error =
        json!({ "grpc_code": 14, "http_code": 503, "message": "gone", "http_status": "Service Unavailable" });
    assert_eq!(rows[1]["error"], error);
    assert!(fake.list_requests()[0].watch);

    fake.on_list([Ok(listed(&[]))]);
    assert_eq!(fake.post("/v1/journals/list", "").await.code, 200, "no body is an empty request");
}

#[tokio::test]
async fn rows_that_are_refused() {
    for (uri, body, code) in [
        ("/v1/journals/read", r#"{"journal":"a//journal"}"#, 400),
        ("/v1/journals/read", r#"{"journal":"a/journal","offset":"-2"}"#, 400),
        ("/v1/journals/read", r#"{"journal":"a/journal","frob":1}"#, 400),
        ("/v1/journals/read", r#"{"journal":"#, 400),
        ("/v1/journals/read?offset=1", r#"{"journal":"a/journal"}"#, 400),
        ("/v1/journals/read", "", 400),
        ("/v1/journals/list", r#"{"selector":7}"#, 400),
        ("/v1/journals/list", "[[[[", 400),
    ] {
        let fake = Fake::default();
        let reply = fake.post(uri, body).await;
        assert_eq!(
            (reply.code.as_u16(), reply.header("content-type")),
            (code, "application/problem+json"),
            "{body}"
        );
        assert!(fake.is_untouched());
    }
    let fake = Fake::default();
    fake.on_read([Err(Status::unauthenticated("no token"))]);
    assert_eq!(fake.post("/v1/journals/read", r#"{"journal":"a/journal"}"#).await.code, 401);
}
