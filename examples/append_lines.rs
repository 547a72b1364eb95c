//! Appends what it reads from its input, in pieces of whole lines: `append_lines JOURNAL [LINES]`.
//!
//! Each piece is one append: it lands whole or not at all, however many programs append at the same time, and is
//! tried again while that may help.

use std::io::{BufRead as _, Write as _};

use anyhow::Context as _;
use courant_proto::wire::AppendRequest;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let journal = args.next().context("usage: append_lines JOURNAL [LINES]")?;
    let lines = args.next().map_or(Ok(100), |lines| lines.parse()).context("not a number of lines")?;

    let client = courant_examples::client()?;
    let mut input = std::io::stdin().lock();
    loop {
        let mut piece = Vec::new();
        for _ in 0..lines {
            if input.read_until(b'\n', &mut piece)? == 0 {
                break;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        let request = AppendRequest { journal: journal.clone(), ..Default::default() };
        let commit = client.append(request, piece).await?.commit;
        writeln!(std::io::stdout(), "{}..{}", commit.begin, commit.end)?;
    }
}
