//! Over HTTP.

use courant_tests::http::{self, Connection};

use crate::{CONTENT, node, unchanged};

#[tokio::test]
async fn requests() {
    let rows = [
        ("GET", "/good/journal?offset=abc", 400, "offset"),
        ("GET", "/good/journal?offset=1e3", 400, "offset"),
        ("GET", "/good/journal?offset=-2", 400, "Offset"),
        ("GET", "/good/journal?offset=9223372036854775808", 400, "offset"),
        ("GET", "/good/journal?offset=9223372036854775807", 416, "OFFSET_NOT_YET_AVAILABLE"),
        ("GET", "/good/journal?block=maybe", 400, "block"),
        ("GET", "/good/journal?unknown=1", 400, "unknown"),
        ("PUT", "/good/journal?offset=0", 400, "offset"),
        ("DELETE", "/good/journal", 405, "unknown method"),
        ("POST", "/good/journal", 405, "unknown method"),
        ("PUT", "/", 400, ""),
        ("PUT", "/abc", 400, "invalid length"),
        ("PUT", "/good/../up", 400, ""),
        ("PUT", "/good/%2e%2e/%2e%2e/up", 400, ""),
        ("PUT", "/good%00journal", 400, ""),
        ("PUT", "/good%0d%0ajournal", 400, ""),
        ("PUT", "/good//journal", 400, ""),
        ("PUT", "/good/journal/", 400, ""),
        ("PUT", "/good/journal/below", 0, "good/journal"),
        ("PUT", "/v1/anything", 0, ""),
        ("PUT", "/debug/anything", 404, "reserved"),
        ("GET", "/v1/journals/good/journal:unknown", 404, "unknown"),
        ("GET", "/v1/journals?selector=a%20in%20(b", 400, ""),
        ("GET", "/v1/journals?selector=prefix=a", 400, "trailing '/'"),
        ("GET", "/no/such/journal", 404, "JOURNAL_NOT_FOUND"),
    ];
    let node = node().await;
    for (method, target, status, text) in rows {
        let row = format!("{method} {target}");
        let answer = node.http(method, target, if method == "PUT" { b"x" } else { b"" }).await;
        if status == 0 {
            assert!((400..500).contains(&answer.status), "{row}: {} {}", answer.status, answer.text());
        } else {
            assert_eq!(answer.status, status, "{row}: {}", answer.text());
        }
        assert!(answer.text().contains(text), "{row}: {}", answer.text());
        if answer.status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT"), "{row}");
        }
        let problem = target.starts_with("/v1/").then_some("application/problem+json");
        let content_type = answer.header("content-type").expect(&row);
        assert_eq!(content_type, problem.unwrap_or("text/plain; charset=utf-8"), "{row}");
        unchanged(&node, &row).await;
    }
}

/// Bytes that no library would send. Each is answered or cut off, and appends nothing.
#[tokio::test]
async fn bytes() {
    let head = |fields: &str| format!("PUT /good/journal HTTP/1.1\r\nhost: c\r\n{fields}\r\n").into_bytes();
    let long_field = format!("x: {}\r\n", "y".repeat(1 << 20));
    let many_fields: String = (0..2_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: c\r\n\r\n", "x".repeat(64 << 10)).into_bytes();
    let gzip = [head("content-encoding: gzip\r\ncontent-length: 1\r\n"), b"x".to_vec()].concat();
    let rows = [
        ("no HTTP", b"hello there\r\n\r\n".to_vec(), &[400][..]),
        ("no length", head("content-length: x\r\n"), &[400]),
        ("negative length", head("content-length: -1\r\n"), &[400]),
        ("two lengths", head("content-length: 1\r\ncontent-length: 2\r\n"), &[400]),
        ("length beyond numbers", head("content-length: 99999999999999999999999\r\n"), &[400, 413]),
        ("length beyond the limit", head("content-length: 9000000000000000\r\n"), &[413]),
        ("bad chunk", [head("transfer-encoding: chunked\r\n"), b"zz\r\nx\r\n".to_vec()].concat(), &[400]),
        ("unknown coding", head("transfer-encoding: rot13\r\n"), &[400, 501]),
        ("compressed body", gzip, &[415]),
        ("long field", head(&long_field), &[400, 431]),
        ("many fields", head(&many_fields), &[400, 431]),
        ("long path", long_path, &[414, 431]),
        ("nul in a field", head("x: \0\r\n"), &[400]),
    ];
    let node = node().await;
    for (row, bytes, expected) in rows {
        let mut connection = Connection::open(node.address()).await.expect(row);
        // The broker may have answered and closed before all was sent.
        let _ = connection.send(&bytes).await;
        match connection.head("PUT").await {
            Ok(answer) => assert!(expected.contains(&answer.status), "{row}: {}", answer.status),
            Err(cut) => assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset, "{row}: {cut}"),
        }
        unchanged(&node, row).await;
    }
    // Both a length and chunks: what is taken is one of them and never both, and no second request is smuggled in.
    let both = b"PUT /good/journal HTTP/1.1\r\nhost: c\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nPUT /smug/gled HTTP/1.1\r\nhost: c\r\ncontent-length: 1\r\n\r\nx";
    let mut connection = Connection::open(node.address()).await.expect("a connection");
    connection.send(both).await.expect("sent");
    let _ = connection.answer("PUT").await;
    drop(connection);
    unchanged(&node, "both a length and chunks").await;
}

#[tokio::test]
async fn aborted_and_expected() {
    let node = node().await;
    // Sent after it was asked for.
    let mut connection = Connection::open(node.address()).await.expect("a connection");
    let fields =
        b"PUT /other/journal HTTP/1.1\r\nhost: c\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
    connection.send(fields).await.expect("sent");
    connection.send(b"x").await.expect("sent");
    assert_eq!(connection.answer("PUT").await.expect("an answer").status, 204);
    // Nothing that a header cannot hold is echoed.
    let answer = http::once(node.address(), "GET", "/v1/journals/%0d%0aset-cookie:x", &[], b"")
        .await
        .expect("an answer");
    assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
    assert_eq!(node.http("GET", "/good/journal", b"").await.text(), CONTENT);
}
