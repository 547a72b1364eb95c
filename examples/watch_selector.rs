//! Prints which journals a selector matches, and each change of them: `watch_selector [SELECTOR]`.
//!
//! This is what stands where other systems have topics: a consumer follows the selector, and journals that are
//! created later are read as well.

use std::io::Write as _;

use courant_proto::selector::LabelSelector;
use futures::StreamExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let selector = LabelSelector::parse(&std::env::args().nth(1).unwrap_or_default())?;
    let mut watch = courant_examples::client()?.watch((&selector).into());
    let mut out = std::io::stdout().lock();
    while let Some(change) = watch.next().await {
        match change {
            Ok(change) => {
                writeln!(out, "revision {}: {} journals", change.revision, change.journals.len())?;
                for name in &change.upserted {
                    writeln!(out, "  + {name}")?;
                }
                for name in &change.removed {
                    writeln!(out, "  - {name}")?;
                }
            }
            Err(error) => writeln!(std::io::stderr(), "{error}; trying on")?,
        }
    }
    Ok(())
}
