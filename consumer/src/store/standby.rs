//! A view that follows its journal, for a primary that is to take over without reading it all.

use std::convert::Infallible;

use courant_client::Client;

use crate::Error;
use crate::journal::{self, Recovered};
use crate::view::{Disk, Stored, ViewFile};

/// A view that knows all that was committed a moment ago. To take over, drop it, and [open](crate::JournalStore::open) a store on its file.
#[derive(Debug)]
pub struct Standby {
    client: Client,
    journal: String,
    disk: Disk,
    stored: Stored,
}

impl Standby {
    /// Brings a view up to what is committed now. It fences nobody.
    ///
    /// # Errors
    /// When the journal cannot be reached, or does not hold what it should.
    pub async fn open(client: &Client, journal: &str, file: ViewFile) -> Result<Self, Error> {
        let disk = file.into_disk().taken_over();
        let (end, snapshot) = journal::look(client, journal).await?;
        let Recovered { stored, .. } = journal::recover(client, journal, &disk, snapshot, end).await?;
        Ok(Self { client: client.clone(), journal: journal.to_owned(), disk, stored })
    }

    /// Applies what is committed, as it comes.
    ///
    /// # Errors
    /// As of [`open`](Self::open), and once the file is used otherwise.
    pub async fn follow(self) -> Result<Infallible, Error> {
        journal::tail(&self.client, &self.journal, &self.disk, self.stored).await
    }
}
