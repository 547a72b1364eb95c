//! Copies a journal into another, every byte exactly once: `exactly_once FROM TO`.
//!
//! How far the copy got is kept in the registers of the target, and each append moves it on together with the
//! content: it is checked to be where this program believes it is, and set to where the content ends. So an
//! append that was sent twice, because its answer was lost, lands once; and when two of these programs run at
//! once, each piece is copied by one of them. Whoever finds the register elsewhere goes on from there.

use std::io::Write as _;

use anyhow::Context as _;
use courant_client::{Client, ReadEvent};
use courant_proto::wire::{AppendRequest, Label, LabelSelector, LabelSet, ReadRequest, Status};
use futures::StreamExt as _;

/// The register that says up to which offset the source is copied.
const COPIED: &str = "copied-to";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (from, to) = args.next().zip(args.next()).context("usage: exactly_once FROM TO")?;
    let client = courant_examples::client()?;

    // An append without content changes nothing, and tells the registers.
    let request = AppendRequest { journal: to.clone(), ..Default::default() };
    let mut copied = copied_to(&client.append(request, "").await?.registers)?;
    loop {
        copied = copy(&client, &from, &to, copied).await?;
        writeln!(std::io::stdout(), "another program copied up to {copied:?}; going on from there")?;
    }
}

/// Copies from an offset on, until somebody else turns out to have copied. Returns how far they got.
async fn copy(client: &Client, from: &str, to: &str, mut copied: Option<i64>) -> anyhow::Result<Option<i64>> {
    let offset = copied.unwrap_or(0);
    let request = ReadRequest { journal: from.to_owned(), offset, block: true, ..Default::default() };
    let mut reader = client.reader(request);
    while let Some(event) = reader.next().await {
        let ReadEvent::Content { offset: begin, content } = event? else { continue };
        let end = reader.offset();
        let request = AppendRequest {
            journal: to.to_owned(),
            check_registers: Some(is_at(copied)),
            union_registers: Some(register(end.to_string())),
            ..Default::default()
        };
        match client.append(request, content).await {
            Ok(_) => {
                writeln!(std::io::stdout(), "copied {begin}..{end}")?;
                copied = Some(end);
            }
            Err(error) => {
                let mismatch = error.refusal().filter(|refusal| refusal.status == Status::RegisterMismatch);
                let Some(registers) = mismatch.and_then(|refusal| refusal.registers.clone()) else {
                    return Err(error.into());
                };
                copied = copied_to(&registers)?;
                // If it is where this append would have set it, it was ourselves: the answer was lost.
                if copied != Some(end) {
                    return Ok(copied);
                }
            }
        }
    }
    anyhow::bail!("a blocking read without an end ended")
}

/// Selects registers that say the copy got as far as this, or that say nothing of it.
fn is_at(copied: Option<i64>) -> LabelSelector {
    match copied {
        Some(offset) => LabelSelector { include: Some(register(offset.to_string())), exclude: None },
        // No value stands for any value.
        None => LabelSelector { include: None, exclude: Some(register(String::new())) },
    }
}

fn register(value: String) -> LabelSet {
    LabelSet { labels: vec![Label { name: COPIED.to_owned(), value, prefix: false }] }
}

/// How far the copy got, as the target's registers say.
fn copied_to(registers: &LabelSet) -> anyhow::Result<Option<i64>> {
    let label = registers.labels.iter().find(|label| label.name == COPIED);
    let parse = |label: &Label| label.value.parse().with_context(|| format!("{COPIED} is {:?}", label.value));
    label.map(parse).transpose()
}
