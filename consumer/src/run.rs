//! Runs a shard: carries out what its engine says, and tells it what came of that. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use courant_client::Client;
use courant_message::Producer;
use courant_proto::{Clock, Offset, Timestamp};
use futures::StreamExt as _;
use futures::stream::SelectAll;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::{JoinError, JoinSet};

use crate::application::{Application, Flow, Transaction};
use crate::content::Content;
use crate::engine::{Action, Engine, Journal, Options, Wait};
use crate::source::{Batches, Framed};
use crate::store::Store;
use crate::{Error, output, source};

/// After so many messages it is looked at what else has happened.
const SHARE: u32 = 64;

/// What a shard reads, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// The journals that it reads.
    pub sources: Vec<Source>,
    /// Its transactions.
    pub options: Options,
}

/// A journal that a shard reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name. What follows a `;` is not part of it, and tells readers apart.
    pub journal: String,
    /// It is read from here on, if it was not read further before.
    pub min_offset: Offset,
}

impl Source {
    /// A journal that is read from its beginning on.
    pub fn new(journal: impl Into<String>) -> Self {
        Self { journal: journal.into(), min_offset: Offset::ZERO }
    }
}

/// What a run is given of the world.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where the journals are.
    pub client: Client,
    /// Tells the time of day, by which messages are stamped and transactions cut.
    pub clock: Arc<dyn Clock>,
    /// By which this run publishes. Nobody else has it, nor had: not an earlier run of the same shard either.
    pub producer: Producer,
}

/// Runs a shard until `stop` is ready, and then to the end of its transaction.
///
/// When it is dropped, or the process dies, nothing is lost and nothing happens twice: another run goes on after the last transaction that was committed.
///
/// # Errors
/// Whatever ends the shard. Where [that passes](Error::is_transient), another run, with a store that is opened anew and another producer, goes on.
pub async fn run<A: Application>(
    shard: &Shard,
    ports: Ports,
    mut store: A::Store,
    application: &mut A,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    // Nobody else has the producer, nor its pauses.
    let seed = ports.producer.as_bytes().iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let engine = Engine::restore(shard.options, ports.producer, store.checkpoint().as_deref())?;
    let (mut sources, mut inputs) = (BTreeMap::new(), SelectAll::new());
    for source in &shard.sources {
        let framed = source::find(&ports.client, &source.journal, "a source of the shard").await?;
        let from = engine.read_from(&framed.journal).unwrap_or_default().max(source.min_offset);
        inputs.push(source::read(&ports.client, &framed, from, None));
        sources.insert(framed.journal.clone(), framed);
    }
    let mut run = Run {
        engine,
        ports,
        store: &mut store,
        sources,
        inputs,
        replay: None,
        appends: JoinSet::new(),
        commits: JoinSet::new(),
        rng: SmallRng::seed_from_u64(seed),
    };
    // Boxed here, so that whoever calls this need not.
    Box::pin(run.go(application, stop)).await
}

struct Run<'a, S: Store> {
    engine: Engine<Content>,
    ports: Ports,
    store: &'a mut S,
    sources: BTreeMap<Journal, Framed>,
    inputs: SelectAll<Batches>,
    replay: Option<Batches>,
    appends: JoinSet<Result<Journal, Error>>,
    commits: JoinSet<Result<S::Receipt, Error>>,
    rng: SmallRng,
}

impl<S: Store> Run<'_, S> {
    async fn go<A: Application<Store = S>>(
        &mut self,
        application: &mut A,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut stop = std::pin::pin!(stop);
        let (mut is_stopping, mut share) = (false, 0_u32);
        loop {
            share += 1;
            if share.is_multiple_of(SHARE) {
                self.look_around()?;
                tokio::task::yield_now().await;
            }
            let now = self.ports.clock.now();
            let action = self.engine.next(now).map_err(|source| self.unreplayed(source))?;
            match action {
                Action::Consume(message) => {
                    let mut transaction = Transaction { store: &mut *self.store, engine: &mut self.engine };
                    match application.consume(&mut transaction, &message).await.map_err(Error::Application)? {
                        Flow::Next => self.engine.consumed(),
                        Flow::Defer => self.engine.deferred(message)?,
                    }
                    if self.store.is_full() {
                        self.engine.fill();
                    }
                }
                Action::Finalize => {
                    let mut transaction = Transaction { store: &mut *self.store, engine: &mut self.engine };
                    application.finalize(&mut transaction).await.map_err(Error::Application)?;
                    self.store.freeze();
                    self.engine.finalized();
                }
                Action::Append { journal, content, once } => {
                    let client = self.ports.client.clone();
                    let seed = self.rng.random();
                    self.appends.spawn(output::append(client, journal, content, once, seed));
                }
                Action::Commit(checkpoint) => {
                    let commit = self.store.commit(checkpoint);
                    self.commits.spawn(commit);
                }
                Action::Replay(range) => {
                    let framed = &self.sources[&range.journal];
                    let replay = source::read(&self.ports.client, framed, range.begin, Some(range.end));
                    self.replay = Some(replay);
                }
                Action::Wait(wait) => tokio::select! {
                    biased;
                    Some(appended) = self.appends.join_next() => self.appended(appended)?,
                    Some(committed) = self.commits.join_next() => self.committed(committed)?,
                    () = &mut stop, if !is_stopping => {
                        is_stopping = true;
                        self.engine.stop();
                    }
                    read = read(&mut self.inputs, &mut self.replay, wait) => match read {
                        Read::Source(messages) => self.engine.read(messages?),
                        Read::Again(Some(messages)) => self.engine.replay(messages?),
                        Read::Again(None) => {
                            self.replay = None;
                            self.engine.replay_ended();
                        }
                    },
                    () = until(wait, now) => {}
                },
                Action::Done => return Ok(()),
            }
        }
    }

    /// Takes note of what has come to an end.
    fn look_around(&mut self) -> Result<(), Error> {
        while let Some(appended) = self.appends.try_join_next() {
            self.appended(appended)?;
        }
        while let Some(committed) = self.commits.try_join_next() {
            self.committed(committed)?;
        }
        Ok(())
    }

    fn appended(&mut self, appended: Result<Result<Journal, Error>, JoinError>) -> Result<(), Error> {
        self.engine.appended(&ended(appended)?);
        Ok(())
    }

    fn committed(&mut self, committed: Result<Result<S::Receipt, Error>, JoinError>) -> Result<(), Error> {
        self.store.committed(ended(committed)?)?;
        self.engine.committed();
        Ok(())
    }

    /// What was to be read again is not what is there.
    fn unreplayed(&self, source: courant_message::sequencer::ReplayError) -> Error {
        let journals = self.sources.keys().map(|journal| &**journal);
        Error::Replay { journal: journals.collect::<Vec<_>>().join(", "), source }
    }
}

enum Read {
    Source(Result<Vec<crate::Incoming>, Error>),
    Again(Option<Result<Vec<crate::Incoming>, Error>>),
}

/// What comes next of what is wanted.
async fn read(inputs: &mut SelectAll<Batches>, replay: &mut Option<Batches>, wait: Wait) -> Read {
    if wait.replays
        && let Some(replay) = replay
    {
        return Read::Again(replay.next().await);
    }
    if !wait.reads {
        return std::future::pending().await;
    }
    match inputs.next().await {
        Some(messages) => Read::Source(messages),
        // A shard without sources has nothing to read, and others have no end.
        None => std::future::pending().await,
    }
}

async fn until(wait: Wait, now: Timestamp) {
    match wait.until {
        Some(until) => tokio::time::sleep(until.since(now)).await,
        None => std::future::pending().await,
    }
}

/// What a task came to. None of them is aborted before its end is of no interest.
fn ended<T>(task: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    match task {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
