//! What etcd-client's answers are in this crate's words.

use etcd_client::proto::PbEvent;
use etcd_client::{GetOptions, ResponseHeader};

use crate::apply::Response;
use crate::entry::{Event, KeyValue};
use crate::error::Error;
use crate::revision::{Revision, StoreHeader};

/// A page of values, or the events of one revision, may pass gRPC's usual 4 MiB: etcd admits 2 MiB per request, and answers with many.
pub(crate) const MAX_MESSAGE_BYTES: usize = 512 << 20;

pub(crate) fn header(action: &str, header: Option<&ResponseHeader>) -> Result<StoreHeader, Error> {
    let header = header.ok_or_else(|| Error::Malformed { action: action.to_owned(), missing: "header" })?;
    Ok(StoreHeader {
        cluster_id: header.cluster_id(),
        member_id: header.member_id(),
        revision: Revision::new(header.revision()),
        raft_term: header.raft_term(),
    })
}

pub(crate) fn key_value(kv: etcd_client::KeyValue) -> KeyValue {
    let create_revision = Revision::new(kv.create_revision());
    let mod_revision = Revision::new(kv.mod_revision());
    let (version, lease) = (kv.version(), kv.lease());
    let (key, value) = kv.into_key_value();
    KeyValue { key, value, create_revision, mod_revision, version, lease }
}

/// What a message of a watch stream says.
#[derive(Debug)]
pub(crate) enum Message {
    /// Events, progress, or that the watch was created.
    Response(Response),
    /// No more will come: why, and whether it asked for revisions that etcd has compacted.
    Cancelled { reason: String, compacted: bool },
}

pub(crate) fn message(mut message: etcd_client::WatchResponse) -> Result<Message, Error> {
    let action = "watching";
    if message.canceled() || message.compact_revision() != 0 {
        let compacted = message.compact_revision() != 0;
        let reason = match message.cancel_reason() {
            "" if compacted => format!("compacted up to revision {}", message.compact_revision()),
            "" => "no reason given".to_owned(),
            reason => reason.to_owned(),
        };
        return Ok(Message::Cancelled { reason, compacted });
    }
    let header = header(action, message.header())?;
    let created = message.created();
    let events = std::mem::take(&mut message.0.events).into_iter().map(event).collect::<Result<_, _>>()?;
    Ok(Message::Response(Response { header, created, events }))
}

fn event(event: PbEvent) -> Result<Event, Error> {
    let malformed = |missing| Error::Malformed { action: "reading a watch event".to_owned(), missing };
    let kv = event.kv.ok_or_else(|| malformed("key"))?;
    match event.r#type {
        0 => Ok(Event::Put(KeyValue {
            key: kv.key,
            value: kv.value,
            create_revision: Revision::new(kv.create_revision),
            mod_revision: Revision::new(kv.mod_revision),
            version: kv.version,
            lease: kv.lease,
        })),
        1 => Ok(Event::Delete { key: kv.key, mod_revision: Revision::new(kv.mod_revision) }),
        _ => Err(malformed("known event type")),
    }
}

/// One page of a prefix: from a key on, at a revision or (zero) at the newest.
pub(crate) fn page(end: &[u8], limit: i64, at: Revision) -> GetOptions {
    GetOptions::new().with_range(end).with_limit(limit).with_revision(at.get())
}

/// A key or prefix for people.
pub(crate) fn printable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Whether etcd refuses a revision because it has compacted it.
pub(crate) fn is_compacted(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.message().contains("required revision has been compacted"))
}
