//! Requests that are refused before a broker hears of them.

use axum::body::Body;
use http::Request;

use crate::fake::Fake;

#[tokio::test]
async fn requests_that_are_refused() {
    let long_name = format!("/{}", "n".repeat(513));
    let long_uri = format!("/a/journal?offset={}", "1".repeat(20_000));
    for (method, uri, code, first_line) in [
        ("GET", "/a/journal?extra=1", 400, "schema: invalid path \"extra\""),
        ("GET", "/a/journal?block=maybe", 400, "schema: error converting value for \"block\""),
        ("GET", "/a/journal?offset=abc", 400, "schema: error converting value for \"offset\""),
        ("GET", "/a/journal?offset=1e3", 400, "schema: error converting value for \"offset\""),
        ("GET", "/a/journal?offset=-2", 400, "invalid Offset (-2; expected -1 <= Offset <= MaxInt64)"),
        ("HEAD", "/a/journal?offset=-2", 400, ""),
        ("GET", "/journal//name", 400, "Journal: must be a clean path (journal//name)"),
        ("PUT", "/journal//name", 400, "Journal: must be a clean path (journal//name)"),
        ("PUT", "/a/journal/", 400, "Journal: must be a clean path (a/journal/)"),
        ("PUT", "//a/journal", 400, "Journal: cannot begin with '/' (/a/journal)"),
        ("PUT", "/", 400, "Journal: invalid length (0; expected 4 <= length <= 512)"),
        ("GET", "/", 400, "Journal: invalid length (0; expected 4 <= length <= 512)"),
        ("PUT", "/zz", 400, "Journal: invalid length (2; expected 4 <= length <= 512)"),
        ("GET", long_name.as_str(), 400, "Journal: invalid length (513; expected 4 <= length <= 512)"),
        ("PUT", "/a/journal?offset=1", 400, "schema: invalid path \"offset\""),
        ("PUT", "/a/journal?block", 400, "schema: invalid path \"block\""),
        ("PUT", "/a/jour%20nal", 400, "Journal: not a valid token (a/jour nal)"),
        ("PUT", "/a/journal%00", 400, "Journal: not a valid token (a/journal\\u{0})"),
        (
            "PUT",
            "/a/journal;",
            400,
            "Journal.metadata path segment: invalid length (0; expected 1 <= length <= 512)",
        ),
        ("PUT", "/a/b:spec", 400, "Journal: not a valid token (a/b:spec)"),
        (
            "PUT",
            "/a%2Fb/c",
            400,
            "invalid path: an encoded slash (%2F) is not accepted; separate with plain slashes",
        ),
        ("PUT", "/a%ff/c", 400, "invalid path: its percent-encoding does not decode to UTF-8"),
        ("GET", "/a%zz/c", 400, "invalid URL escape \"%zz\""),
        ("GET", long_uri.as_str(), 414, "the path and query are longer than 16384 bytes"),
        ("POST", "/a/journal", 405, "unknown method: POST"),
        ("DELETE", "/a/journal", 405, "unknown method: DELETE"),
        ("PATCH", "/a/journal", 405, "unknown method: PATCH"),
        ("BREW", "/a/journal", 405, "unknown method: BREW"),
        ("GET", "/console/x", 404, "nothing is at /console/x, whose first segment is reserved"),
        ("PUT", "/debug/journal", 404, "nothing is at /debug/journal, whose first segment is reserved"),
        ("POST", "/metrics", 405, "unknown method: POST"),
    ] {
        let fake = Fake::default();
        let request = Request::builder().method(method).uri(uri).body(Body::from("content")).unwrap();
        let reply = fake.ask(request).await;
        let uri = &uri[..uri.len().min(60)];
        assert_eq!((reply.code.as_u16(), reply.first_line()), (code, first_line), "{method} {uri}");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8", "{method} {uri}");
        if code == 405 {
            assert!(reply.header("allow").contains("GET"), "{method} {uri}");
        }
        assert!(fake.is_untouched() && fake.appended().is_empty(), "{method} {uri}");
    }
}

#[tokio::test]
async fn names_that_leave_their_folder() {
    for uri in ["/../x/y", "/%2e%2e/x/y", "/a/%2E%2E/%2E%2E/b", "/a/%2e/b", "/..%5Cx/y", "/a/b;../c"] {
        for method in ["GET", "PUT", "HEAD"] {
            let fake = Fake::default();
            let reply =
                fake.ask(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
            assert_eq!(reply.code, 400, "{method} {uri}: {}", reply.body);
            assert!(fake.is_untouched() && fake.appended().is_empty(), "{method} {uri}");
        }
    }
}

#[tokio::test]
async fn problems_below_v1() {
    for (method, uri, code, detail) in [
        ("GET", "/v1/journals/a/journal?extra=1", 400, "schema: invalid path \"extra\""),
        ("PUT", "/v1/journals/a/journal?extra=1", 400, "schema: invalid path \"extra\""),
        (
            "GET",
            "/v1/journals/a/journal:frobnicate",
            404,
            "a journal has no \"frobnicate\": it has :spec and :fragments",
        ),
        ("GET", "/v1/journals?select=x", 400, "schema: invalid path \"select\""),
        ("GET", "/v1/journals/zz:spec", 400, "Journal: invalid length (2; expected 4 <= length <= 512)"),
        ("GET", "/v1/journals/zz:fragments", 400, "Journal: invalid length (2; expected 4 <= length <= 512)"),
        (
            "GET",
            "/v1/journals/a/journal:fragments?pageLimit=-1",
            400,
            "invalid PageLimit (-1; must be >= 0 and <= 10000)",
        ),
        ("GET", "/v1/nothing", 404, "nothing is at this path: see /v1/journals"),
        ("PUT", "/v1/journals", 405, "unknown method: PUT: here the methods are GET, HEAD"),
        (
            "DELETE",
            "/v1/journals/a/journal",
            405,
            "unknown method: DELETE: here the methods are GET, HEAD, PUT",
        ),
        ("POST", "/v1/journals/a/journal", 405, "unknown method: POST: here the methods are GET, HEAD, PUT"),
        (
            "GET",
            "/v1/journals/a%2Fb",
            400,
            "invalid path: an encoded slash (%2F) is not accepted; separate with plain slashes",
        ),
    ] {
        let fake = Fake::default();
        let reply = fake.ask(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-type"), "application/problem+json", "{method} {uri}");
        let problem = reply.json();
        assert_eq!(
            (&problem["status"], &problem["detail"]),
            (&code.into(), &detail.into()),
            "{method} {uri}"
        );
        assert_eq!(reply.code, code, "{method} {uri}");
        assert!(fake.is_untouched(), "{method} {uri}");
    }
}

#[tokio::test]
async fn selectors_that_are_refused() {
    for selector in ["%3Db", "a+in+(b", "!", "a%3D%3Db%3D%3Dc", "prefix%3Dopen"] {
        let fake = Fake::default();
        let reply = fake.get(&format!("/v1/journals?selector={selector}")).await;
        assert_eq!(
            (reply.code.as_u16(), reply.header("content-type")),
            (400, "application/problem+json"),
            "{selector}"
        );
        assert!(fake.list_requests().is_empty(), "{selector}");
    }
}
