//! One tailing reader.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use courant_proto::wire;
use courant_proto::wire::journal_client::JournalClient;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::RECORD;
use crate::records::Cursor;
use crate::stats::{self, Times};

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

pub(super) struct Reader {
    pub(super) channel: Channel,
    pub(super) journal: String,
    /// What the times in records count from.
    pub(super) epoch: Instant,
    /// Records that any reader got.
    pub(super) delivered: Arc<AtomicU64>,
    /// Is dropped once the reader is at the end of the journal.
    pub(super) begun: mpsc::Sender<()>,
    /// How many records there were in all, once that is known.
    pub(super) ended: watch::Receiver<Option<u64>>,
}

/// A connection of readers.
pub(super) fn channel(address: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_lazy())
}

/// Reads from the journal's begin until every record was there.
pub(super) async fn run(reader: Reader) -> Result<Times> {
    let Reader { channel, journal, epoch, delivered, begun, mut ended } = reader;
    let mut begun = Some(begun);
    let request = wire::ReadRequest { journal, block: true, ..Default::default() };
    let mut stream = JournalClient::new(channel).read(request).await.context("cannot read")?.into_inner();
    let mut cursor = Cursor::new(RECORD);
    let mut times = stats::times();
    let mut next_offset = 0;
    loop {
        if ended.borrow_and_update().is_some_and(|expected| times.len() >= expected) {
            return Ok(times);
        }
        let message = tokio::select! {
            message = stream.message() => message.context("the read failed")?,
            changed = ended.changed() => {
                changed.context("the bench is over")?;
                continue;
            }
        };
        let Some(message) = message else { bail!("the read ended by itself") };
        ensure!(
            message.status() == wire::Status::Ok,
            "the read was refused: {}",
            message.status().as_str_name()
        );
        if message.content.is_empty() {
            continue;
        }
        ensure!(message.offset == next_offset, "content at {} (expected {next_offset})", message.offset);
        next_offset += i64::try_from(message.content.len())?;
        let now = epoch.elapsed();
        let mut records = 0;
        cursor.feed(&message.content, |stamp| match stamp {
            // The one that made the journal.
            0 => drop(begun.take()),
            stamp => {
                stats::record(&mut times, now.saturating_sub(std::time::Duration::from_nanos(stamp)));
                records += 1;
            }
        });
        delivered.fetch_add(records, Ordering::Relaxed);
    }
}
