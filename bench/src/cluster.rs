//! What is measured as one: a broker, several of them on an etcd, or the server that stands in for a broker. What they use is
//! summed. It does not know what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use courant_client::Client;
use futures::future::try_join_all;

use crate::args::Codec;
use crate::journals;
use crate::server::{self, Member, Server};
use crate::setup::{Home, Setup};

/// Members are spread over these in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// Servers that run. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<Server>,
    /// What it uses counts for nobody.
    etcd: Option<Server>,
}

/// Where the load of a journal goes.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Of the journal's primary.
    pub(crate) address: SocketAddr,
    journal: String,
}

impl Cluster {
    /// Starts as many brokers as the setup says.
    pub(crate) async fn courant(setup: &Setup, home: &Home) -> Result<Self> {
        if setup.brokers == 1 {
            return Ok(Self { members: vec![Server::courant(setup, home).await?], etcd: None });
        }
        let etcd = Server::etcd(setup, home).await?;
        let mut members = Vec::new();
        // One after the other, so that none is given the port of another.
        for number in 0..usize::from(setup.brokers) {
            let member = Member { number, zone: ZONES[number % ZONES.len()] };
            members.push(Server::member(setup, home, etcd.address, member).await?);
        }
        Ok(Self { members, etcd: Some(etcd) })
    }

    /// Starts the server that does nothing.
    pub(crate) async fn noop(home: &Home) -> Result<Self> {
        Ok(Self { members: vec![Server::noop(home).await?], etcd: None })
    }

    /// Of one that answers whatever is asked of the cluster.
    pub(crate) fn address(&self) -> SocketAddr {
        self.members[0].address
    }

    /// Round trips over the network that an append takes: to the primary, and from there to the others, all at once.
    pub(crate) fn round_trips(&self) -> u8 {
        if self.members.len() > 1 { 2 } else { 1 }
    }

    /// Makes a journal that all members hold, and appends to it once.
    pub(crate) async fn place(
        &self,
        client: &Client,
        journal: &str,
        codec: Codec,
        first: Vec<u8>,
    ) -> Result<Placed> {
        let replication = self.replication()?;
        journals::create_and_append(client, journal, codec, replication, first).await?;
        let address = self.primary(client, journal).await?;
        Ok(Placed { address, journal: journal.to_owned() })
    }

    /// Checks that a journal has the primary that it had: else other brokers were measured than were meant.
    pub(crate) async fn ensure_stayed(&self, client: &Client, placed: &Placed) -> Result<()> {
        let Placed { address, journal } = placed;
        let now = self.primary(client, journal).await?;
        ensure!(
            now == *address,
            "the primary of {journal} moved from {address} to {now} while it was measured: the machine is too busy"
        );
        Ok(())
    }

    async fn primary(&self, client: &Client, journal: &str) -> Result<SocketAddr> {
        if self.members.len() == 1 {
            return Ok(self.address());
        }
        journals::primary(client, journal, self.replication()?).await
    }

    fn replication(&self) -> Result<u8> {
        u8::try_from(self.members.len()).context("more brokers than a journal may have replicas")
    }

    /// Processor time until now.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.members.iter().map(Server::cpu).sum()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.members.iter().map(Server::resident_bytes).sum()
    }

    /// Waits until none has more work, and returns how long they had some. `None` if they still had after `limit`.
    pub(crate) async fn until_quiet(&self, limit: Duration) -> Result<Option<Duration>> {
        server::until_quiet(|| self.cpu(), self.members.len(), limit).await
    }

    /// Adds to an error what the servers said last.
    pub(crate) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        if let [server] = self.members.as_slice() {
            return server.explain(outcome);
        }
        outcome.map_err(|error| {
            let said = |(number, server): (usize, &Server)| {
                format!("\nthe output of broker-{number} ends with:\n{}", server.said())
            };
            anyhow!("{error:#}{}", self.members.iter().enumerate().map(said).collect::<String>())
        })
    }

    /// Ends all of them, where anything but success is an error.
    pub(crate) async fn stop_well(self) -> Result<()> {
        try_join_all(self.members.into_iter().map(Server::stop_well)).await?;
        if let Some(etcd) = self.etcd {
            // It ends by the signal that it was sent, and holds nothing that is wanted.
            etcd.stop().await?;
        }
        Ok(())
    }
}
