//! The handle that every verb hangs on: where the broker is, and how patient to be. Knows no verb itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use courant_proto::service::JournalService;
use courant_proto::wire;
use futures::stream::BoxStream;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tonic::Status;

use crate::network::Network;
use crate::transport::Transport;
use crate::{Error, connect};

#[cfg(test)]
mod tests;

/// How long calls are waited for and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a call that keeps failing in a transient way is repeated before its error is handed out.
    pub retry_for: Duration,
    /// How long one attempt is waited for, where its length does not depend on the caller: unary calls, and
    /// appends whose content is at hand.
    pub call_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { retry_for: Duration::from_secs(30), call_timeout: Duration::from_secs(60) }
    }
}

/// A client of journals. Clones are cheap and share their connection.
///
/// ```no_run
/// # async fn example() -> Result<(), courant_client::Error> {
/// let client = courant_client::Client::connect("http://localhost:8080")?;
/// let head = client.head("examples/foobar").await?;
/// println!("the journal ends at {head}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) transport: Transport,
    pub(crate) options: Options,
    /// Each user of pauses takes the next seed.
    seeds: Arc<AtomicU64>,
}

impl Client {
    /// A client of the brokers at an address such as `http://localhost:8080`, or at several with commas between them. It connects
    /// with the first call, and again after a loss; of several addresses the next one is used when one cannot be reached.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] if the address cannot be one of a broker.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which the channel belongs to.
    pub fn connect(address: &str) -> Result<Self, Error> {
        Network::new(address, connect::entropy()).map(|network| Self::new(Transport::Network(network)))
    }

    /// A client of a broker in this process, with no transport in between.
    pub fn in_process(service: Arc<dyn JournalService>) -> Self {
        Self::new(Transport::InProcess(service))
    }

    fn new(transport: Transport) -> Self {
        let seeds = Arc::new(AtomicU64::new(connect::entropy()));
        Self { transport, options: Options::default(), seeds }
    }

    /// The same client with reads that go to replicas of this zone where there are any. It learns routes anew.
    #[must_use]
    pub fn in_zone(mut self, zone: &str) -> Self {
        if let Transport::Network(network) = &self.transport {
            self.transport = Transport::Network(network.in_zone(zone));
        }
        self
    }

    /// The same client with every call sent to the address it was made with, which passes it on. For addresses that stand for
    /// brokers whose own endpoints are out of reach, and for who wants to know what one broker says.
    #[must_use]
    pub fn without_routing(mut self) -> Self {
        if let Transport::Network(network) = &self.transport {
            self.transport = Transport::Network(network.without_routing());
        }
        self
    }

    /// How patient the client is.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The same client with other patience.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The same client with pauses that depend on nothing but this seed, for runs that are to repeat.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seeds = Arc::new(AtomicU64::new(seed));
        self
    }

    pub(crate) fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits for one answer, as long as the options say.
    pub(crate) async fn answer<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        self.within(call, async { Ok(answer.await?) }).await
    }

    /// Waits as long as the options say.
    pub(crate) async fn within<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let after = self.options.call_timeout;
        tokio::time::timeout(after, work).await.unwrap_or(Err(Error::Unanswered { call, after }))
    }

    /// Creates, updates and deletes journals: all of the changes, or none.
    ///
    /// The header of the answer carries the revision at which they took effect; a read or an append that names
    /// it as `min_etcd_revision` sees them.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let change = wire::apply_request::Change {
    ///     expect_mod_revision: -1,
    ///     delete: "examples/foobar".to_owned(),
    ///     ..Default::default()
    /// };
    /// client.apply(wire::ApplyRequest { changes: vec![change] }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `ETCD_TRANSACTION_FAILED` if a revision was not the expected one. Never repeated:
    /// whether the first try took effect is for the caller to find out.
    pub async fn apply(&self, request: wire::ApplyRequest) -> Result<wire::ApplyResponse, Error> {
        let response = self.answer("Apply", self.transport.apply(request)).await?;
        crate::check::status("Apply", response.status, response.header.as_ref())?;
        Ok(response)
    }

    /// Asks a broker whether a fragment store works. That it does not is an answer, not an error.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let request = wire::FragmentStoreHealthRequest {
    ///     fragment_store: "file:///".to_owned(),
    ///     ..Default::default()
    /// };
    /// let health = client.store_health(request).await?;
    /// if health.status() != wire::Status::Ok {
    ///     println!("the store is unhealthy: {}", health.store_health_error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any fault of the call, and any status but OK and `FRAGMENT_STORE_UNHEALTHY`.
    pub async fn store_health(
        &self,
        request: wire::FragmentStoreHealthRequest,
    ) -> Result<wire::FragmentStoreHealthResponse, Error> {
        const CALL: &str = "FragmentStoreHealth";
        let response = self.answer(CALL, self.transport.fragment_store_health(request)).await?;
        if response.status != i32::from(wire::Status::FragmentStoreUnhealthy) {
            crate::check::status(CALL, response.status, response.header.as_ref())?;
        }
        Ok(response)
    }

    /// A listing as a broker sends it, message by message, with statuses and all: for those that pass it on.
    pub fn list_responses(
        &self,
        request: wire::ListRequest,
    ) -> BoxStream<'static, Result<wire::ListResponse, Status>> {
        self.transport.list(request)
    }

    /// A read as a broker sends it, message by message, with statuses and all: for those that pass it on.
    pub fn read_responses(
        &self,
        request: wire::ReadRequest,
    ) -> BoxStream<'static, Result<wire::ReadResponse, Status>> {
        self.transport.read(request)
    }
}
