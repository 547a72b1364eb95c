//! Health, readiness and metrics.

use std::sync::Arc;

use axum::body::Body;
use courant_gateway::Readiness;
use http::Request;

use crate::fake::{Fake, ask, committed, content, metadata};

#[tokio::test]
async fn health() {
    let fake = Fake::default();
    for (uri, body) in [
        ("/healthz/live", "ok\n"),
        ("/alive", "ok\n"),
        ("/healthz/ready", "ready\n"),
        ("/debug/ready", "ready\n"),
    ] {
        let reply = fake.get(uri).await;
        assert_eq!((reply.code.as_u16(), reply.body.as_str()), (200, body), "{uri}");
    }
    let mut config = Fake::config();
    config.ready = Arc::new(|| Readiness::NotReady("the store is not reachable".into()));
    for (uri, code) in
        [("/healthz/ready", 503), ("/debug/ready", 503), ("/healthz/live", 200), ("/alive", 200)]
    {
        let reply =
            ask(fake.router_with(config.clone()), Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.code, code, "{uri}");
        assert_eq!(reply.body.contains("the store is not reachable"), code == 503, "{uri}");
    }
}

#[tokio::test]
async fn metrics_count_requests_and_bytes() {
    let fake = Fake::default();
    let router = fake.router();
    fake.on_append(Ok(committed(0, 6)));
    fake.on_append(Ok(committed(6, 12)));
    fake.on_read([Ok(metadata(0, 0, 6, 6)), Ok(content(0, "foo")), Ok(content(3, "bar"))]);
    for request in [
        Request::put("/a/journal").body(Body::from("foobar")),
        Request::put("/a/journal;meta").body(Body::from("foobar")),
        Request::get("/a/journal").header("te", "trailers").body(Body::empty()),
        Request::get("/not//clean").body(Body::empty()),
        Request::builder().method("FROB").uri("/a/journal").body(Body::empty()),
    ] {
        ask(router.clone(), request.unwrap()).await;
    }
    for uri in ["/metrics", "/debug/metrics"] {
        let reply = ask(router.clone(), Request::get(uri).body(Body::empty()).unwrap()).await;
        for line in [
            r#"gazette_append_bytes_total{journal="a/journal"} 12"#,
            r#"gazette_read_bytes_total{journal="a/journal"} 6"#,
            r#"courant_http_requests_total{method="PUT",code="204"} 2"#,
            r#"courant_http_requests_total{method="GET",code="206"} 1"#,
            r#"courant_http_requests_total{method="GET",code="400"} 1"#,
            r#"courant_http_requests_total{method="other",code="405"} 1"#,
        ] {
            assert!(reply.body.lines().any(|l| l == line), "{line} is not in {}", reply.body);
        }
        assert!(!reply.body.contains("FROB") && !reply.body.contains("not//clean"), "{}", reply.body);
    }
}

#[tokio::test]
async fn unknown_rpcs_are_unimplemented() {
    let request = Request::post("/some.Service/Method").header("content-type", "application/grpc");
    let reply = Fake::default().ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!((reply.code.as_u16(), reply.header("grpc-status")), (200, "12"));
}

#[tokio::test]
async fn the_routes_of_rpcs_and_of_journals_go_together() {
    let fake = Fake::default();
    let rpcs = tonic::service::Routes::default().into_axum_router().reset_fallback();
    let router = rpcs.merge(fake.router());
    let reply = ask(router, Request::get("/alive").body(Body::empty()).unwrap()).await;
    assert_eq!(reply.code, 200);
}
