//! The same verbs over a real socket, with the scripted broker behind generated stubs.

use std::time::Duration;

use courant_proto::service::JournalService;
use courant_proto::wire::journal_server::{Journal, JournalServer};
use courant_proto::wire::{self, Status as S};
use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use crate::fake::{Fake, OnAppend, header};
use crate::{Client, Content, Error, Options, ReadEvent};

#[tonic::async_trait]
impl Journal for Fake {
    type ListStream = BoxStream<'static, Result<wire::ListResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<wire::ReadResponse, Status>>;
    type ReplicateStream = BoxStream<'static, Result<wire::ReplicateResponse, Status>>;

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(JournalService::list(self, request.into_inner())))
    }

    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        JournalService::apply(self, request.into_inner()).await.map(Response::new)
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(JournalService::read(self, request.into_inner())))
    }

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        JournalService::append(self, request.into_inner().boxed()).await.map(Response::new)
    }

    async fn replicate(
        &self,
        _: Request<Streaming<wire::ReplicateRequest>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        Err(Status::unimplemented("clients do not replicate"))
    }

    async fn list_fragments(
        &self,
        request: Request<wire::FragmentsRequest>,
    ) -> Result<Response<wire::FragmentsResponse>, Status> {
        JournalService::list_fragments(self, request.into_inner()).await.map(Response::new)
    }

    async fn fragment_store_health(
        &self,
        request: Request<wire::FragmentStoreHealthRequest>,
    ) -> Result<Response<wire::FragmentStoreHealthResponse>, Status> {
        JournalService::fragment_store_health(self, request.into_inner()).await.map(Response::new)
    }
}

/// Runs a test against the broker's socket.
async fn over_network<T>(fake: &Fake, test: impl AsyncFnOnce(Client) -> T) -> T {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server =
        Server::builder().add_service(JournalServer::new(fake.clone())).serve_with_incoming(incoming);
    let client = Client::connect(&format!("http://{address}")).unwrap().with_seed(1);
    let both = async {
        tokio::select! {
            served = server => panic!("the server ended: {served:?}"),
            result = test(client) => result,
        }
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("an end")
}

fn committed() -> OnAppend {
    OnAppend::Answer(Ok(wire::AppendResponse {
        header: Some(header(5)),
        commit: Some(wire::Fragment { end: 5, ..Default::default() }),
        registers: Some(wire::LabelSet::default()),
        ..Default::default()
    }))
}

fn append() -> wire::AppendRequest {
    wire::AppendRequest { journal: "examples/foobar".into(), ..Default::default() }
}

/// What of an append the broker sees when its client lets go of it: an end without commit, or the error of a
/// stream that was reset, and often both.
fn rolled_back(line: &str) -> bool {
    !line.contains("commit") && (line.ends_with("end") || line.ends_with("error"))
}

#[tokio::test]
async fn appends() {
    let fake = Fake::default();
    over_network(&fake, async |client| {
        fake.on_append(committed());
        assert_eq!(client.append(append(), "hello").await.unwrap().commit.end, 5);

        fake.on_append(committed());
        let mut appender = client.appender(append());
        appender.write("hello".into()).await.unwrap();
        appender.commit().await.unwrap();
        assert_eq!(fake.append_lines(), ["head 5 commit end"; 2]);

        fake.on_append(OnAppend::Answer(Err(Status::unknown("append stream: unexpected EOF"))));
        let mut appender = client.appender(append());
        appender.write("hello".into()).await.unwrap();
        appender.abort().await;

        fake.on_append(OnAppend::Answer(Err(Status::unknown("append stream: unexpected EOF"))));
        let broken = stream::iter([Ok("hello".into()), Err(std::io::Error::other("the disk is gone"))]);
        let error = client.append(append(), Content::stream(broken)).await.unwrap_err();
        assert!(matches!(error, Error::Content(_)), "{error}");
        let lines = fake.append_lines();
        assert!(lines[2..].iter().all(|line| rolled_back(line)), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn reads_and_lists() {
    let fake = Fake::default();
    over_network(&fake, async |client| {
        let fragment = wire::Fragment {
            journal: "examples/foobar".into(),
            end: 5,
            compression_codec: wire::CompressionCodec::None.into(),
            ..Default::default()
        };
        let content = bytes::Bytes::from(vec![7; 3 << 20]);
        fake.on_read([
            Ok(wire::ReadResponse {
                header: Some(header(5)),
                write_head: 5,
                fragment: Some(fragment),
                ..Default::default()
            }),
            Ok(wire::ReadResponse { content: content.clone(), ..Default::default() }),
            Ok(wire::ReadResponse { status: S::OffsetNotYetAvailable.into(), ..Default::default() }),
        ]);
        let request = wire::ReadRequest { journal: "examples/foobar".into(), ..Default::default() };
        let mut reader = client.reader(request);
        assert!(matches!(reader.next().await, Some(Ok(ReadEvent::Metadata(_)))));
        assert_eq!(reader.next().await.unwrap().unwrap(), ReadEvent::Content { offset: 0, content });
        let refused = reader.next().await.unwrap().unwrap_err();
        assert_eq!(refused.status(), Some(S::OffsetNotYetAvailable));

        fake.on_list([Ok(wire::ListResponse { header: Some(header(7)), ..Default::default() })], false);
        assert_eq!(client.list(wire::LabelSelector::default()).await.unwrap().revision(), 7);
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_not_there() {
    let options = Options { retry_for: Duration::from_millis(100), ..Options::default() };
    // The port of discard, which nobody serves.
    let client = Client::connect("http://127.0.0.1:9").unwrap().with_options(options);
    let error = client.append(append(), "hello").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
