//! What clients of Gazette rely on, asked of a real broker with raw messages: statuses, literal texts, and the shape of
//! streams. `README.md` beside this file says where each line of the contract is tested.

mod appends;
mod checklist;
mod journals;
mod reads;

use courant_proto::wire;
use courant_tests::process::Node;
use futures::StreamExt as _;
use tonic::Status;

/// A request that opens an append to a journal.
fn append(journal: &str) -> wire::AppendRequest {
    wire::AppendRequest { journal: journal.to_owned(), ..Default::default() }
}

/// A message of content; without any it is the intent to commit.
fn chunk(content: &'static str) -> wire::AppendRequest {
    wire::AppendRequest { content: content.into(), ..Default::default() }
}

/// Sends these messages and no more.
async fn send(node: &Node, messages: Vec<wire::AppendRequest>) -> Result<wire::AppendResponse, Status> {
    let sent = node.grpc().await.append(futures::stream::iter(messages)).await;
    sent.map(tonic::Response::into_inner)
}

/// Appends content in one piece, with the parameters of `opening`.
async fn commit(node: &Node, opening: wire::AppendRequest, content: &'static str) -> wire::AppendResponse {
    let mut messages = vec![opening];
    messages.extend((!content.is_empty()).then(|| chunk(content)));
    messages.push(chunk(""));
    send(node, messages).await.expect("an answer")
}

/// All messages of a read, until the broker ends it.
async fn read(node: &Node, request: wire::ReadRequest) -> Result<Vec<wire::ReadResponse>, Status> {
    let mut stream = node.grpc().await.read(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        messages.push(message?);
    }
    Ok(messages)
}

fn labels(pairs: &[(&str, &str)]) -> wire::LabelSet {
    let label = |(name, value): &(&str, &str)| wire::Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
        ..Default::default()
    };
    wire::LabelSet { labels: pairs.iter().map(label).collect() }
}

fn selector(include: &[(&str, &str)], exclude: &[(&str, &str)]) -> wire::LabelSelector {
    wire::LabelSelector { include: Some(labels(include)), exclude: Some(labels(exclude)) }
}
