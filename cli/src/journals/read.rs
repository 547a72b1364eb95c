//! `courant journals read`: many journals into one output, fragment by fragment.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use courant_client::{Direct, Gap, Watch};
use courant_proto::wire::{self, list_response};
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AT_ONCE, Session, is_suspended, name_of};
use crate::args::ReadArgs;
use crate::failure::Failure;
use crate::files;
use follow::{Ended, Follower, Sink};
use offsets::Offsets;

mod follow;
mod offsets;

/// How long a fragment that is being written may take to end after an interrupt.
const LAST_FRAGMENT: Duration = Duration::from_secs(10);

/// Reads until every journal's end is reached, or for ever with `--block`, or until it is interrupted.
pub(super) async fn run(session: &Session, args: ReadArgs) -> Result<(), Failure> {
    let mut offsets = match &args.offsets {
        Some(path) => Offsets::read(path)?,
        None => Offsets::default(),
    };
    let journals = session
        .client
        .list(args.select.selector.clone())
        .await
        .map_err(|error| session.failure("cannot list the journals", &error))?
        .journals;
    if journals.is_empty() && !args.block {
        return Err(super::nothing_matches());
    }
    if let (Some(path), true) = (&args.offsets, args.offsets == args.offsets_out) {
        // A crash from here on leaves no file, rather than one that is behind what was written.
        files::set_aside(path)
            .map_err(|error| Failure::of_io(format!("cannot set {} aside", path.display()), &error))?;
    }
    let output = files::create(&args.output)
        .map_err(|error| Failure::of_io(format!("--output {}", args.output.display()), &error))?;
    let progress = progress(&args.output);
    let sink = Arc::new(Mutex::new(Sink::new(output, args.block, progress.clone())));

    let direct = match &args.file_root {
        Some(root) => Some(Direct::new().with_file_root(root)),
        None => args.direct.then(Direct::new),
    };
    let mut readers = Readers {
        session,
        args: &args,
        direct,
        sink,
        stored: offsets.clone(),
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        turns: (!args.block).then(|| Arc::new(Semaphore::new(AT_ONCE))),
        stop: CancellationToken::new(),
        abort: CancellationToken::new(),
    };
    readers.start(journals.iter());
    let outcome = readers.run(&mut offsets).await;
    progress.finish_and_clear();
    let failures = outcome?;
    if let Some(path) = &args.offsets_out {
        offsets.write(path)?;
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures)) }
}

/// The readers that run, and how they are told to end.
struct Readers<'a> {
    session: &'a Session,
    args: &'a ReadArgs,
    direct: Option<Direct>,
    sink: Arc<Mutex<Sink>>,
    stored: Offsets,
    running: BTreeMap<String, CancellationToken>,
    tasks: JoinSet<(String, Ended)>,
    /// Bounds the readers at work, where each of them ends.
    turns: Option<Arc<Semaphore>>,
    /// Ends readers between fragments.
    stop: CancellationToken,
    /// Ends readers wherever they are.
    abort: CancellationToken,
}

impl Readers<'_> {
    /// Starts readers of those journals that have none.
    fn start<'j>(&mut self, journals: impl Iterator<Item = &'j list_response::Journal>) {
        for journal in journals {
            let name = name_of(journal);
            if is_suspended(journal) || self.running.contains_key(name) {
                continue;
            }
            let stop = self.stop.child_token();
            self.running.insert(name.to_owned(), stop.clone());
            let follower = Follower {
                client: self.session.client.clone(),
                request: wire::ReadRequest {
                    journal: name.to_owned(),
                    offset: self.stored.of(name).unwrap_or(if self.args.tail { -1 } else { 0 }),
                    block: self.args.block,
                    begin_mod_time: self.args.from,
                    ..Default::default()
                },
                direct: self.direct.clone(),
                sink: Arc::clone(&self.sink),
                turns: self.turns.clone(),
                stop,
                abort: self.abort.clone(),
            };
            let name = name.to_owned();
            self.tasks.spawn(async move { (name, follower.run().await) });
        }
    }

    /// Runs until all is read or a signal comes, and tells what failed.
    async fn run(mut self, offsets: &mut Offsets) -> Result<Vec<String>, Failure> {
        let mut watch = self.args.block.then(|| self.session.client.watch(self.args.select.selector.clone()));
        let mut interrupts = Interrupts::new()?;
        let mut failures = Vec::new();
        let mut interrupted = false;
        while !self.tasks.is_empty() || (watch.is_some() && !interrupted) {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => {
                    let (name, ended) = ended.map_err(|error| Failure::failed([format!("a reader failed: {error}")]))?;
                    let removed = self.running.remove(&name).is_some_and(|stop| stop.is_cancelled());
                    if let Some(offset) = ended.offset {
                        offsets.set(&name, offset);
                        self.stored.set(&name, offset);
                    }
                    if self.args.fail_on_gap {
                        let skipped = |gap: &Gap| format!("{name}: offsets {} to {} are no more, and were skipped", gap.begin, gap.end);
                        failures.extend(ended.gaps.iter().map(skipped));
                    }
                    match ended.outcome {
                        Ok(()) => {}
                        Err(follow::Error::Output(error)) => {
                            return Err(Failure::of_io(format!("--output {}", self.args.output.display()), &error));
                        }
                        // Its journal is gone, which is why it was told to end.
                        Err(_) if removed && !interrupted => {}
                        Err(follow::Error::Cut) => failures.push(format!("{name}: interrupted within a fragment")),
                        Err(follow::Error::Read(error)) => {
                            let failure = self.session.explain(&format!("cannot read {name}"), &error);
                            if self.args.block {
                                // The others go on for who knows how long.
                                tracing::error!("{failure}");
                            }
                            failures.push(failure);
                        }
                    }
                }
                change = next(&mut watch), if !interrupted => {
                    let change = change.map_err(|error| self.session.failure("cannot watch the journals", &error))?;
                    for name in &change.removed {
                        if let Some(stop) = self.running.get(name) {
                            stop.cancel();
                        }
                    }
                    self.start(change.upserted.iter().filter_map(|name| change.journals.get(name)));
                }
                () = interrupts.next() => {
                    if interrupted {
                        self.abort.cancel();
                    }
                    interrupted = true;
                    self.stop.cancel();
                }
                () = tokio::time::sleep(LAST_FRAGMENT), if interrupted => self.abort.cancel(),
            }
        }
        self.sink
            .lock()
            .await
            .flush()
            .map_err(|error| Failure::of_io(format!("--output {}", self.args.output.display()), &error))?;
        Ok(failures)
    }
}

/// The next change of a watch; never, of none.
async fn next(watch: &mut Option<Watch>) -> Result<courant_client::Change, courant_client::Error> {
    if let Some(watch) = watch
        && let Some(change) = watch.next().await
    {
        return change;
    }
    std::future::pending().await
}

/// SIGINT and SIGTERM.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::of_io("cannot listen for signals", &error));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A counter of bytes on stderr, if that is a terminal and the content goes to a file.
fn progress(output: &Path) -> ProgressBar {
    if output == Path::new(files::STANDARD) || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bytes} read, {bytes_per_sec}");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
