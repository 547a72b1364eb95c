//! Journals that an application publishes to.

use courant_client::Client;
use courant_message::Partitions;
use courant_proto::{LabelSelector, wire};

use crate::engine::Journal;
use crate::source::{self, Framed};
use crate::{Error, PublishError};

/// The journals that a selector matches, as partitions of one stream of messages. It is made once: journals that come later are not in it.
#[derive(Clone, Debug)]
pub struct Topic {
    journals: Vec<Framed>,
    partitions: Partitions,
}

impl Topic {
    /// Looks up the journals of a selector, such as `courant.dev/topic=words`.
    ///
    /// # Errors
    /// When it is no selector, matches no journal, or one that has no framing.
    pub async fn find(client: &Client, selector: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::from(PublishError { journal: selector.to_owned(), reason });
        let parsed = LabelSelector::parse(selector).map_err(|invalid| wrong(invalid.to_string()))?;
        let journals = source::list(client, wire::LabelSelector::from(&parsed)).await?;
        if journals.is_empty() {
            return Err(wrong("the selector matches no journal (expected at least one)".to_owned()));
        }
        Ok(Self::of(journals))
    }

    /// A single journal.
    ///
    /// # Errors
    /// When it is not there, or has no framing.
    pub async fn of_journal(client: &Client, name: &str) -> Result<Self, Error> {
        Ok(Self::of(vec![source::find(client, name, "a journal to publish to").await?]))
    }

    fn of(journals: Vec<Framed>) -> Self {
        let partitions = Partitions::new(journals.iter().map(|framed| &*framed.journal));
        Self { journals, partitions }
    }

    /// The journal of a key: that of its hash, modulo the number of journals.
    pub fn journal(&self, key: &[u8]) -> &Journal {
        &self.of_key(key).journal
    }

    /// All of them, in the order of their names.
    pub fn journals(&self) -> impl Iterator<Item = &Journal> {
        self.journals.iter().map(|framed| &framed.journal)
    }

    pub(crate) fn of_key(&self, key: &[u8]) -> &Framed {
        let index = self.partitions.modulo(key).expect("a topic has at least one journal");
        &self.journals[index]
    }
}
