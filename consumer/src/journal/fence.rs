//! Becoming the owner of a shard's journal: from then on the appends of all earlier ones fail.

use bytes::Bytes;
use courant_client::Client;
use courant_message::Producer;
use courant_proto::{Offset, wire};
use wire::Status;

use super::{Owned, offset};
use crate::owner::{FENCE, Owner, SNAPSHOT, label, value_of};
use crate::{Error, record};

/// Others that come in between, before it is given up.
const RIVALS: usize = 8;

/// A journal that was taken over.
#[derive(Debug)]
pub(crate) struct Fenced {
    pub(crate) owned: Owned,
    /// Behind everything that earlier owners have written.
    pub(crate) end: Offset,
    /// Where the records of the last snapshot begin.
    pub(crate) snapshot: Option<Offset>,
}

/// Where a journal ends, and where the records of its last snapshot begin. Changes nothing.
pub(crate) async fn look(client: &Client, journal: &str) -> Result<(Offset, Option<Offset>), Error> {
    let request = wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    let looked = client.append(request, Bytes::new()).await;
    let looked = looked.map_err(Error::of_client("could not look at the shard's journal", journal))?;
    Ok((offset(looked.commit.end), snapshot_of(&looked.registers)))
}

fn snapshot_of(registers: &wire::LabelSet) -> Option<Offset> {
    let text = value_of(registers, SNAPSHOT)?;
    i64::from_str_radix(text, 16).ok().and_then(Offset::new)
}

/// Takes a journal over. `producer` tells us from all others.
pub(crate) async fn fence(client: &Client, journal: &str, producer: Producer) -> Result<Fenced, Error> {
    let failed = || Error::of_client("could not take over the shard's journal", journal);
    let bare = || wire::AppendRequest { journal: journal.to_owned(), ..Default::default() };
    // An append of nothing tells the registers, and is behind all that was appended before.
    let mut known = client.append(bare(), Bytes::new()).await.map_err(failed())?;
    for _ in 0..RIVALS {
        let before = Owner::of_registers(&known.registers);
        let owner = Owner { epoch: before.map_or(0, |owner| owner.epoch) + 1, producer };
        let request = wire::AppendRequest {
            check_registers: Some(unchanged(&known.registers)),
            union_registers: Some(wire::LabelSet { labels: vec![owner.register()] }),
            ..bare()
        };
        match client.append(request, record::fence(owner)).await {
            Ok(appended) => {
                let owned = Owned { client: client.clone(), name: journal.to_owned(), owner };
                return Ok(Fenced {
                    owned,
                    end: offset(appended.commit.end),
                    snapshot: snapshot_of(&appended.registers),
                });
            }
            Err(error) if error.status() == Some(Status::RegisterMismatch) => {
                known = client.append(bare(), Bytes::new()).await.map_err(failed())?;
                // An attempt of ours landed, and its answer was lost. The next epoch is ours too.
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(Error::Fenced {
        journal: journal.to_owned(),
        by: value_of(&known.registers, FENCE).unwrap_or("without a name").to_owned(),
    })
}

/// That the owner is still who it was, or still nobody.
fn unchanged(registers: &wire::LabelSet) -> wire::LabelSelector {
    match value_of(registers, FENCE) {
        Some(value) => {
            let include = Some(wire::LabelSet { labels: vec![label(FENCE, value)] });
            wire::LabelSelector { include, exclude: None }
        }
        None => {
            let exclude = Some(wire::LabelSet { labels: vec![label(FENCE, "")] });
            wire::LabelSelector { include: None, exclude }
        }
    }
}
