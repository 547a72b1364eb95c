//! Fragments from a server that says what a test told it to.

#![expect(clippy::disallowed_methods, reason = "the tests serve objects on a port of their own")]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use courant_fragment::codec::Encoder;
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::wire;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::fake::{Fake, header};
use crate::{Error, ReadEvent};

/// A store: answers in the order that they are given out, and the requests that got them.
struct Store {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Store {
    async fn new(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/object?signature=secret", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<Vec<u8>> = answers.into_iter().collect();
        let (seen, mut task) = (Arc::clone(&requests), JoinSet::new());
        task.spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.expect("a request"));
                }
                seen.lock().push(String::from_utf8(request).expect("text").to_lowercase());
                // Who had enough has gone.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { url, requests, _task: task }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn fragment(codec: Codec, content: &[u8]) -> Fragment {
    let journal = JournalName::parse("a/journal").expect("a name");
    Fragment {
        end: Offset::new(i64::try_from(content.len()).expect("a length")).expect("an offset"),
        sum: ContentSum(Sha1::digest(content).into()),
        ..Fragment::empty_at(journal, Offset::ZERO, codec)
    }
}

fn encoded(codec: Codec, content: &[u8]) -> Bytes {
    let mut encoder = Encoder::new(codec, content.len() as u64).expect("an encoder");
    encoder.write(content).expect("written");
    encoder.finish().expect("encoded")
}

async fn fetch(store: &Store, fragment: &Fragment, from: i64, until: i64) -> Result<Vec<u8>, Fault> {
    let offset = |value| Offset::new(value).expect("an offset");
    let direct = Direct::new();
    let place = direct.place(&store.url).expect("a place");
    let wanted = Wanted { place, fragment: fragment.clone(), from: offset(from), until: offset(until) };
    let mut fetch = Fetch::begin(&direct, wanted);
    let mut content = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| fetch.poll_next(cx)).await {
        content.extend_from_slice(&piece?);
    }
    Ok(content)
}

#[tokio::test]
async fn objects_are_decoded_by_their_codec() {
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for codec in [Codec::None, Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let fragment = fragment(codec, &content);
        let object = encoded(codec, &content);
        let store = Store::new([answer("200 OK", "", &object), answer("200 OK", "", &object)]).await;
        assert!(fetch(&store, &fragment, 0, 300_000).await.expect("content") == content, "{codec}");
        assert!(fetch(&store, &fragment, 7, 1000).await.expect("content") == content[7..1000], "{codec}");
    }
}

#[tokio::test]
async fn of_a_large_object_a_part_is_fetched() {
    let content: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let fragment = fragment(Codec::None, &content);
    let part =
        answer("206 Partial Content", "Content-Range: bytes 1000-1499/2000000\r\n", &content[1000..1500]);
    let other = answer("206 Partial Content", "Content-Range: bytes 0-499/2000000\r\n", &content[..500]);
    // The last one knows no ranges.
    let store = Store::new([part, other, answer("200 OK", "", &content)]).await;
    assert_eq!(fetch(&store, &fragment, 1000, 1500).await.expect("content"), &content[1000..1500]);
    assert!(store.requests.lock()[0].contains("range: bytes=1000-1499"));
    let fault = fetch(&store, &fragment, 1000, 1500).await.expect_err("another part");
    assert!(matches!(fault, Fault::Damaged(_)), "{fault:?}");
    assert_eq!(fetch(&store, &fragment, 1000, 1500).await.expect("content"), &content[1000..1500]);
}

#[tokio::test]
async fn a_store_may_take_the_encoding_off() {
    let content = b"some content, and some more content";
    let fragment = fragment(Codec::GzipOffload, content);
    let still = answer("200 OK", "Content-Encoding: gzip\r\n", &encoded(Codec::Gzip, content));
    let store = Store::new([answer("200 OK", "", content), still]).await;
    for _ in 0..2 {
        assert_eq!(fetch(&store, &fragment, 5, 35).await.expect("content"), &content[5..]);
    }
    assert!(store.requests.lock().iter().all(|request| request.contains("accept-encoding: identity")));
}

#[tokio::test]
async fn what_is_wrong_is_told_apart() {
    let content = vec![7; 10_000];
    let fragment = fragment(Codec::None, &content);
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nonly this".to_vec();
    let store = Store::new([
        answer("403 Forbidden", "", b"expired"),
        answer("503 Slow Down", "", b""),
        answer("200 OK", "", &[8; 10_000]),
        answer("200 OK", "", &content[1..]),
        short,
    ])
    .await;
    let mut faults = Vec::new();
    for _ in 0..5 {
        faults.push(fetch(&store, &fragment, 0, 10_000).await.expect_err("a fault"));
    }
    let [refused, failed, other, less, broken] = &faults[..] else { panic!("{faults:?}") };
    assert!(matches!(refused, Fault::Refused(status) if status.as_u16() == 403), "{refused:?}");
    assert!(matches!(failed, Fault::Store(_)), "{failed:?}");
    assert!(matches!((other, less), (Fault::Damaged(_), Fault::Damaged(_))), "{other:?} {less:?}");
    assert!(matches!(broken, Fault::Store(reason) if !reason.contains("secret")), "{broken:?}");
}

#[tokio::test]
async fn a_reader_asks_brokers_where_and_stores_for_what() {
    let content = vec![b'x'; 1000];
    let fragment = fragment(Codec::Gzip, &content);
    // The first URL has expired, and the second is good.
    let store =
        Store::new([answer("403 Forbidden", "", b""), answer("200 OK", "", &encoded(Codec::Gzip, &content))])
            .await;
    let fake = Fake::default();
    let metadata = || {
        Ok(wire::ReadResponse {
            header: Some(header(5)),
            write_head: 1000,
            fragment: Some((&fragment).into()),
            fragment_url: store.url.clone(),
            ..Default::default()
        })
    };
    fake.on_read([metadata()]);
    fake.on_read([metadata()]);
    fake.on_read([Ok(wire::ReadResponse {
        status: wire::Status::OffsetNotYetAvailable.into(),
        header: Some(header(5)),
        offset: 1000,
        write_head: 1000,
        ..Default::default()
    })]);
    let request = wire::ReadRequest { journal: "a/journal".to_owned(), ..Default::default() };
    let mut reader = fake.client().reader(request).direct(&Direct::new());
    let mut read = Vec::new();
    let error = loop {
        match reader.next().await.expect("it goes on") {
            Ok(ReadEvent::Content { content, .. }) => read.extend_from_slice(&content),
            Ok(ReadEvent::Metadata(_)) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Refused(_)), "{error}");
    assert_eq!(read, content);
    assert!(fake.read_requests().iter().all(|request| request.do_not_proxy));
}

#[tokio::test]
async fn what_cannot_be_fetched_is_read_through_brokers() {
    let content = vec![b'x'; 1000];
    let fragment = fragment(Codec::None, &content);
    // Something else is in the object's place.
    let store = Store::new([answer("200 OK", "", &[b'y'; 1000])]).await;
    let fake = Fake::default();
    let metadata = wire::ReadResponse {
        header: Some(header(5)),
        write_head: 2000,
        fragment: Some((&fragment).into()),
        fragment_url: store.url.clone(),
        ..Default::default()
    };
    fake.on_read([Ok(metadata.clone())]);
    let served = wire::ReadResponse { content: content.clone().into(), ..Default::default() };
    fake.on_read([Ok(metadata), Ok(served)]);
    let request =
        wire::ReadRequest { journal: "a/journal".to_owned(), end_offset: 1000, ..Default::default() };
    let mut reader = fake.client().reader(request).direct(&Direct::new());
    let mut read = Vec::new();
    while let Some(event) = reader.next().await {
        if let ReadEvent::Content { content, .. } = event.expect("no failure") {
            read.extend_from_slice(&content);
        }
    }
    assert_eq!(read, content);
    let asked = fake.read_requests();
    assert_eq!(asked.iter().map(|request| request.do_not_proxy).collect::<Vec<_>>(), [true, false]);
}
