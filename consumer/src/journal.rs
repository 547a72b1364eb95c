//! The journal of a shard: its only truth. Who owns it, what was changed, and snapshots, so that a bounded tail is read to know all.

mod fence;
mod recover;
mod snapshot;

use bytes::Bytes;
use courant_client::{Client, Error as ClientError};
use courant_proto::{Offset, wire};

use crate::Error;
use crate::owner::{FENCE, Owner, value_of};

pub(crate) use self::fence::{fence, look};
pub(crate) use self::recover::{Recovered, recover, tail};
pub(crate) use self::snapshot::{Snapshot, write};

/// Appends of one owner to the journal of its shard. They fail once there is another owner.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) owner: Owner,
}

impl Owned {
    /// Appends a record, and changes registers with it. Tells where it begins and ends. It is repeated, so that it may be there twice.
    pub(crate) async fn append(
        &self,
        record: Bytes,
        registers: Vec<wire::Label>,
    ) -> Result<(Offset, Offset), Error> {
        let request = wire::AppendRequest {
            journal: self.name.clone(),
            check_registers: Some(self.owner.condition()),
            union_registers: (!registers.is_empty()).then_some(wire::LabelSet { labels: registers }),
            ..Default::default()
        };
        let appended = self.client.append(request, record).await.map_err(|error| self.failed(error))?;
        Ok((offset(appended.commit.begin), offset(appended.commit.end)))
    }

    fn failed(&self, error: ClientError) -> Error {
        let journal = &self.name;
        match error.refusal() {
            Some(refusal) if refusal.status == wire::Status::RegisterMismatch => {
                let by = refusal.registers.as_ref().and_then(|registers| value_of(registers, FENCE));
                Error::Fenced { journal: journal.clone(), by: by.unwrap_or("without a name").to_owned() }
            }
            _ => Error::of_client("could not append to the shard's journal", journal)(error),
        }
    }
}

fn offset(offset: i64) -> Offset {
    Offset::new(offset).unwrap_or_default()
}
