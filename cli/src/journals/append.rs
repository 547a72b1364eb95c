//! `courant journals append`: a file as one append, or its records each to the journal that its mapping says.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use bytes::Bytes;
use courant_client::{Appended, Client, Content, Error, Watch};
use courant_proto::{json, wire};
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::{Session, count, name_of};
use crate::args::{AppendArgs, Framing, Mapping};
use crate::failure::Failure;
use crate::{files, output};
use mapping::{Journals, Pick};
use records::Records;

mod mapping;
mod records;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// Reads that wait for the network.
const READS_AHEAD: usize = 4;

/// Batches of records that wait to be handed out, or for one journal.
const BATCHES_AHEAD: usize = 4;

/// Records are appended together up to so many bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Appends the input.
pub(super) async fn run(session: &Session, args: AppendArgs) -> Result<(), Failure> {
    check(&args)?;
    let journals = session.select(args.select.selector.clone()).await?;
    let mut names: Vec<String> = journals.iter().map(|journal| name_of(journal).to_owned()).collect();
    names.sort();
    if args.framing == Framing::None {
        whole(session, &args, &names).await
    } else {
        framed(session, &args, names).await
    }
}

/// Refuses flags that do not go together.
fn check(args: &AppendArgs) -> Result<(), Failure> {
    let keyed = matches!(args.mapping, Mapping::Modulo | Mapping::Rendezvous);
    let mut problems = Vec::new();
    if args.framing == Framing::None && args.mapping != Mapping::Random {
        problems.push(
            "--mapping: only random goes with --framing none, which has no keys; say --framing lines or fixed".to_owned(),
        );
    }
    if args.base64 && !(args.framing == Framing::Lines && keyed) {
        problems.push(
            "--base64: goes with --framing lines and --mapping modulo or rendezvous, which have keys"
                .to_owned(),
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::usage(problems)) }
}

/// Appends the whole input to one of the journals.
async fn whole(session: &Session, args: &AppendArgs, names: &[String]) -> Result<(), Failure> {
    let name = &names[random().random_range(0..names.len())];
    let request = wire::AppendRequest { journal: name.clone(), ..Default::default() };
    let refused = |error: &io::Error| Failure::usage([format!("--input {}: {error}", args.input.display())]);
    let content = if args.input == Path::new(files::STANDARD) {
        Content::stream(chunks(Box::new(io::stdin()), ProgressBar::hidden()))
    } else {
        let length = files::open_file(&args.input)
            .and_then(|file| file.metadata())
            .map_err(|error| refused(&error))?
            .len();
        let (path, progress) = (args.input.clone(), progress(length));
        Content::replay(move || {
            progress.reset();
            match files::open_file(&path) {
                Ok(file) => chunks(Box::new(file), progress.clone()).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            }
        })
    };
    let appended = session
        .client
        .append(request, content)
        .await
        .map_err(|error| session.failure(&format!("cannot append to {name}"), &error))?;
    output::print_line(&format!("appended {} to {name}: {}", bytes_of(&appended), span(&appended)))
}

/// The content of a reader in pieces. A thread reads it, ahead by a few of them.
fn chunks(
    mut input: Box<dyn Read + Send>,
    progress: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (sender, receiver) = mpsc::channel(READS_AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::new();
            let read = input.by_ref().take(READ_BYTES as u64).read_to_end(&mut piece);
            let ended = read.as_ref().map_or(true, |length| *length == 0);
            if let Ok(length @ 1..) = read {
                progress.inc(u64::try_from(length).unwrap_or_default());
                // Whoever received has gone: nobody wants the rest.
                if sender.blocking_send(Ok(Bytes::from(piece))).is_err() {
                    return;
                }
            } else if let Err(error) = read {
                let _ = sender.blocking_send(Err(error));
            }
            if ended {
                return progress.finish_and_clear();
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Appends each record to its journal: in their order for each of the journals, and all journals at once.
async fn framed(session: &Session, args: &AppendArgs, names: Vec<String>) -> Result<(), Failure> {
    let input = files::open(&args.input)
        .map_err(|error| Failure::usage([format!("--input {}: {error}", args.input.display())]))?;
    let mut records = spawn_reader(input, args.framing, args.mapping != Mapping::Random);
    let mut watch = session.client.watch(args.select.selector.clone());
    let mut journals = Journals::new(names);
    let mut writers =
        Writers { client: session.client.clone(), queues: BTreeMap::new(), tasks: JoinSet::new() };
    let mut rng = random();
    let mut failure = None;
    let mut sent = 0_usize;
    while failure.is_none() {
        let batch = tokio::select! {
            biased;
            Some(ended) = writers.tasks.join_next() => {
                // A writer ends before its queue does only when it failed.
                failure = Some(written(session, ended).err().unwrap_or_else(lost_writer));
                continue;
            }
            change = changed(&mut watch) => {
                journals = Journals::new(change);
                continue;
            }
            batch = records.recv() => batch,
        };
        let batch = match batch {
            None => break,
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                failure = Some(Failure::of_io(format!("--input {}", args.input.display()), &error));
                continue;
            }
        };
        let mut parts: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for item in &batch {
            match pick(args, &journals, item, &mut rng) {
                Ok(name) => parts.entry(name).or_default().extend_from_slice(&item.record),
                // What precedes it is appended still.
                Err(reason) => {
                    failure = Some(Failure::failed([reason]));
                    break;
                }
            }
            sent += 1;
        }
        for (name, part) in parts {
            // A queue that is closed belongs to a writer that failed, which is told next.
            let _ = writers.queue(name).send(part.into()).await;
        }
    }
    drop(records);
    writers.queues.clear();
    let (mut done, mut bytes) = (0, 0_u64);
    while let Some(ended) = writers.tasks.join_next().await {
        match written(session, ended) {
            Ok(length) => {
                done += 1;
                bytes = bytes.saturating_add(length);
            }
            Err(also) => failure = failure.or(Some(also)),
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => output::print_line(&format!(
            "appended {} to {}: {}",
            count(sent, "record"),
            count(done, "journal"),
            output::bytes(bytes)
        )),
    }
}

/// Reads records on a thread, ahead by a few batches of them. A batch ends where the next record has to be
/// waited for, so that none waits for another one.
fn spawn_reader(
    input: Box<dyn Read + Send>,
    framing: Framing,
    keyed: bool,
) -> mpsc::Receiver<io::Result<Vec<records::Item>>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut records = Records::new(io::BufReader::with_capacity(READ_BYTES, input), framing, keyed);
        loop {
            let (mut batch, mut bytes, mut ended) = (Vec::new(), 0, None);
            while ended.is_none() && bytes < BATCH_BYTES && (batch.is_empty() || records.is_ready()) {
                match records.next() {
                    Some(Ok(item)) => {
                        bytes += item.record.len();
                        batch.push(item);
                    }
                    Some(Err(error)) => ended = Some(Some(error)),
                    None => ended = Some(None),
                }
            }
            // Whoever received has gone: nobody wants the rest.
            if !batch.is_empty() && sender.blocking_send(Ok(batch)).is_err() {
                return;
            }
            match ended {
                None => {}
                Some(None) => return,
                Some(Some(error)) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}

/// The journals after the next change of the watch. That it cannot be watched for a while changes nothing.
async fn changed(watch: &mut Watch) -> Vec<String> {
    loop {
        match watch.next().await {
            Some(Ok(change)) => return change.journals.keys().cloned().collect(),
            Some(Err(error)) => tracing::warn!(%error, "cannot watch the journals"),
            None => std::future::pending().await,
        }
    }
}

/// The journal that takes a record.
fn pick<'a>(
    args: &AppendArgs,
    journals: &'a Journals,
    item: &records::Item,
    rng: &mut SmallRng,
) -> Result<&'a str, String> {
    let pick = match (args.mapping, &item.key) {
        (Mapping::Random, _) => Pick::Random(rng.random()),
        (Mapping::Direct, key) => {
            let name = std::str::from_utf8(key)
                .map_err(|_| "the name of a journal is not text (expected UTF-8)".to_owned())?;
            Pick::Direct(name)
        }
        (mapping, key) => {
            let key = if args.base64 {
                let text = std::str::from_utf8(key).ok().and_then(json::decode_base64);
                let text =
                    text.ok_or_else(|| format!("a key is not base64: {:?}", String::from_utf8_lossy(key)))?;
                Bytes::from(text)
            } else {
                key.clone()
            };
            let hash = mapping::fnv1a(&key);
            if mapping == Mapping::Modulo { Pick::Modulo(hash) } else { Pick::Rendezvous(hash) }
        }
    };
    journals.pick(&pick).ok_or_else(|| match pick {
        Pick::Direct(name) => format!("journal {name:?} is not among those that the selector matches"),
        _ => "no journal matches the selector any more".to_owned(),
    })
}

/// One writer for each journal, fed by a queue.
struct Writers {
    client: Client,
    queues: BTreeMap<String, mpsc::Sender<Bytes>>,
    tasks: JoinSet<(String, Result<u64, Error>)>,
}

impl Writers {
    fn queue(&mut self, name: &str) -> &mpsc::Sender<Bytes> {
        if !self.queues.contains_key(name) {
            let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
            let (client, name) = (self.client.clone(), name.to_owned());
            self.queues.insert(name.clone(), sender);
            self.tasks.spawn(async move {
                let written = write(&client, &name, receiver).await;
                (name, written)
            });
        }
        &self.queues[name]
    }
}

/// Appends what waits, in batches, one after the other, and counts the bytes.
async fn write(client: &Client, name: &str, mut queue: mpsc::Receiver<Bytes>) -> Result<u64, Error> {
    let mut written = 0_u64;
    while let Some(first) = queue.recv().await {
        let mut batch = first;
        let mut more = None;
        while batch.len() < BATCH_BYTES
            && let Ok(record) = queue.try_recv()
        {
            let together: &mut Vec<u8> = more.get_or_insert_with(|| batch.to_vec());
            together.extend_from_slice(&record);
            batch = Bytes::new();
            if together.len() >= BATCH_BYTES {
                break;
            }
        }
        let batch = more.map_or(batch, Bytes::from);
        let request = wire::AppendRequest { journal: name.to_owned(), ..Default::default() };
        let appended = client.append(request, batch).await?;
        tracing::debug!(journal = name, begin = appended.commit.begin, end = appended.commit.end, "appended");
        written = written.saturating_add(length(&appended));
    }
    Ok(written)
}

fn written(
    session: &Session,
    ended: Result<(String, Result<u64, Error>), tokio::task::JoinError>,
) -> Result<u64, Failure> {
    match ended {
        Ok((_, Ok(bytes))) => Ok(bytes),
        Ok((name, Err(error))) => Err(session.failure(&format!("cannot append to {name}"), &error)),
        Err(error) => Err(Failure::failed([format!("a writer failed: {error}")])),
    }
}

fn lost_writer() -> Failure {
    Failure::failed(["a writer ended too early".to_owned()])
}

fn length(appended: &Appended) -> u64 {
    u64::try_from(appended.commit.end.saturating_sub(appended.commit.begin)).unwrap_or_default()
}

fn bytes_of(appended: &Appended) -> String {
    count(usize::try_from(length(appended)).unwrap_or(usize::MAX), "byte")
}

fn span(appended: &Appended) -> String {
    format!("[{}, {})", appended.commit.begin, appended.commit.end)
}

/// Random numbers of this process alone.
fn random() -> SmallRng {
    // Each process hashes with another secret, which is all the chance that is needed here.
    let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0_u8);
    SmallRng::seed_from_u64(seed)
}

/// A bar on stderr, if that is a terminal.
fn progress(length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
