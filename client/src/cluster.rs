//! What operators ask of a cluster: who its brokers are, and who held a journal last. Courant's brokers alone answer it.

use courant_proto::wire::courant::{
    LineageRequest, LineageResponse, MembersRequest, MembersResponse, UnsettledRequest, UnsettledResponse,
};

use crate::{Client, Error, check};

impl Client {
    /// The brokers of the cluster, as the one that is asked sees them.
    ///
    /// ```no_run
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// for member in client.members().await?.members {
    ///     println!("{} replicas, of which {} are primaries", member.replicas, member.primaries);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Faults of the call; [`Error::Rpc`] with `Unimplemented` where the broker is of another make.
    pub async fn members(&self) -> Result<MembersResponse, Error> {
        let response = self.answer("Members", self.transport.members(MembersRequest {})).await?;
        if response.header.is_none() {
            return Err(Error::malformed("Members", "expected Header"));
        }
        Ok(response)
    }

    /// The journals whose replicas are not what is wanted of them, or not in step. After a change of specs or members it is empty once
    /// the cluster has come to rest.
    ///
    /// # Errors
    ///
    /// As for [`Client::members`].
    pub async fn unsettled(&self) -> Result<UnsettledResponse, Error> {
        let response = self.answer("Unsettled", self.transport.unsettled(UnsettledRequest {})).await?;
        if response.header.is_none() {
            return Err(Error::malformed("Unsettled", "expected Header"));
        }
        Ok(response)
    }

    /// Who held the bytes of a journal last, as the registry remembers it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `JOURNAL_NOT_FOUND`, and as for [`Client::members`].
    pub async fn lineage(&self, journal: &str) -> Result<LineageResponse, Error> {
        let request = LineageRequest { journal: journal.to_owned() };
        let response = self.answer("Lineage", self.transport.lineage(request)).await?;
        check::status("Lineage", response.status, response.header.as_ref())?;
        Ok(response)
    }
}
