//! The bytes of an answer, as they go over a socket.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fake::{Fake, committed, content, metadata};

/// Sends a request over HTTP/1.1 and takes all that comes until the gateway hangs up.
async fn exchange(fake: &Fake, request: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test that is about sockets")]
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(fake.router());
        // That the client sees a broken body is what one of the tests is about.
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
    };
    let ask = async {
        #[expect(clippy::disallowed_methods, reason = "a test that is about sockets")]
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let both = async { tokio::join!(serve, ask).1 };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("an answer")
}

#[tokio::test]
async fn chunks_and_trailers() {
    let fake = Fake::default();
    fake.on_read([Ok(metadata(0, 0, 6, 6)), Ok(content(0, "foo")), Ok(content(3, "bar"))]);
    let request = "GET /a/journal HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let answer = exchange(&fake, request).await;
    assert!(answer.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ntrailer: X-Close-Error\r\n"), "{answer}");
    assert!(head.contains("\r\ntransfer-encoding: chunked"), "{answer}");
    assert_eq!(body, "3\r\nfoo\r\n3\r\nbar\r\n0\r\nx-close-error: broker terminated RPC\r\n\r\n");
}

#[tokio::test]
async fn a_read_that_fails_breaks_the_body_of_a_client_without_trailers() {
    let fake = Fake::default();
    fake.on_read([Ok(metadata(0, 0, 6, 6)), Ok(content(0, "foo")), Err(tonic::Status::unknown("it broke"))]);
    let answer = exchange(&fake, "GET /a/journal HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "3\r\nfoo\r\n", "what came is there, the last chunk is not");
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_before_it_is_sent() {
    let fake = Fake::default();
    let request = "PUT /a/journal HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999\r\nexpect: 100-continue\r\n\r\n";
    let answer = exchange(&fake, request).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
}

#[tokio::test]
async fn an_append_is_answered_without_a_length() {
    let fake = Fake::default();
    fake.on_append(Ok(committed(0, 6)));
    let request =
        "PUT /a/journal HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\nfoobar";
    let answer = exchange(&fake, request).await;
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"), "{answer}");
}

#[tokio::test]
async fn head_tells_no_length_of_what_has_none() {
    let fake = Fake::default();
    fake.on_read([Ok(metadata(0, 0, 6, 6))]);
    let answer = exchange(&fake, "HEAD /a/journal HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
}
