//! Listings: the journals that a selector matches, once or as a set that changes.

mod snapshot;
#[cfg(test)]
mod tests;
mod watch;

use courant_proto::wire;
use futures::StreamExt as _;

use self::snapshot::Assembly;
pub use self::watch::{Change, Journals, Watch};
use crate::{Client, Error};

const CALL: &str = "List";

/// The journals that a selector matched at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Who listed them, and at which revision.
    pub header: wire::Header,
    /// In the order of their names.
    pub journals: Vec<wire::list_response::Journal>,
}

impl Listing {
    /// The revision of the registry that the listing shows.
    pub fn revision(&self) -> i64 {
        self.header.etcd.as_ref().map_or(0, |etcd| etcd.revision)
    }
}

impl Client {
    /// Lists the journals that a selector matches.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let everything = wire::LabelSelector::default();
    /// for journal in client.list(everything).await?.journals {
    ///     println!("{}", journal.spec.unwrap_or_default().name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the status, and faults of the call.
    pub async fn list(&self, selector: wire::LabelSelector) -> Result<Listing, Error> {
        let request = wire::ListRequest { selector: Some(selector), ..Default::default() };
        let mut answers = self.transport.list(request);
        self.within(CALL, async {
            let mut assembly = Assembly::default();
            while let Some(answer) = answers.next().await {
                if let Some(complete) = assembly.accept(answer?)? {
                    return Ok(complete);
                }
            }
            assembly.finish()
        })
        .await
    }

    /// Follows the journals that a selector matches: all of them first, and then each time they change.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// use futures::StreamExt as _;
    ///
    /// # async fn example(client: courant_client::Client) {
    /// let mut watch = client.watch(wire::LabelSelector::default());
    /// while let Some(change) = watch.next().await {
    ///     match change {
    ///         Ok(change) => println!("{} journals, {} of them gone", change.journals.len(), change.removed.len()),
    ///         // Polled again, the watch would try again, and resume.
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn watch(&self, selector: wire::LabelSelector) -> Watch {
        Watch::new(self.clone(), selector)
    }
}
