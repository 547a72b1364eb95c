//! Prints what is appended to a journal, as it comes: `tail JOURNAL [OFFSET]`.
//!
//! The offset is the head unless it is given. The reader survives the loss of its broker; an error is printed,
//! and polling on tries again.

use std::io::Write as _;

use anyhow::Context as _;
use courant_client::ReadEvent;
use courant_proto::wire::ReadRequest;
use futures::StreamExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let journal = args.next().context("usage: tail JOURNAL [OFFSET]")?;
    let offset = args.next().map_or(Ok(-1), |offset| offset.parse()).context("the offset is not a number")?;

    let request = ReadRequest { journal, offset, block: true, ..Default::default() };
    let mut reader = courant_examples::client()?.reader(request);
    let mut out = std::io::stdout().lock();
    while let Some(event) = reader.next().await {
        match event {
            Ok(ReadEvent::Content { content, .. }) => {
                out.write_all(&content)?;
                out.flush()?;
            }
            Ok(ReadEvent::Metadata(metadata)) => {
                if let Some(gap) = metadata.gap {
                    writeln!(std::io::stderr(), "[{}, {}) is no more", gap.begin, gap.end)?;
                }
            }
            Err(error) if error.is_transient() => writeln!(std::io::stderr(), "{error}; trying on")?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
