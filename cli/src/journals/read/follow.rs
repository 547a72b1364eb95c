//! One journal of a read: follows it, and writes each of its fragments without a break. It does not know which
//! other journals write to the same output.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use courant_client::{Client, Direct, Gap, ReadEvent, Reader};
use courant_proto::wire::{self, Status};
use futures::StreamExt as _;
use indicatif::ProgressBar;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Gaps of one journal that are told once more in the end.
const GAPS_KEPT: usize = 100;

/// Where content goes. Whoever holds its lock writes a fragment.
pub(super) struct Sink {
    output: BufWriter<Box<dyn Write + Send>>,
    /// Whether somebody waits for each fragment.
    prompt: bool,
    progress: ProgressBar,
}

impl Sink {
    pub(super) fn new(output: Box<dyn Write + Send>, prompt: bool, progress: ProgressBar) -> Self {
        Self { output: BufWriter::with_capacity(BUFFER_BYTES, output), prompt, progress }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.progress.inc(u64::try_from(content.len()).unwrap_or_default());
        self.output.write_all(content)
    }
}

/// One journal, and how to follow it.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) request: wire::ReadRequest,
    pub(super) direct: Option<Direct>,
    pub(super) sink: Arc<Mutex<Sink>>,
    pub(super) turns: Option<Arc<Semaphore>>,
    pub(super) stop: CancellationToken,
    pub(super) abort: CancellationToken,
}

/// How far it came, and why it ended.
pub(super) struct Ended {
    /// Of the next byte that is not in the output, once it is known.
    pub(super) offset: Option<i64>,
    /// What was skipped, as it is no more; the first of many.
    pub(super) gaps: Vec<Gap>,
    pub(super) outcome: Result<(), Error>,
}

/// Why following ended early.
pub(super) enum Error {
    Read(courant_client::Error),
    Output(io::Error),
    /// It was aborted within a fragment.
    Cut,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Ended {
    fn before_it_began(outcome: Result<(), Error>) -> Self {
        Self { offset: None, gaps: Vec::new(), outcome }
    }
}

impl Follower {
    /// Follows the journal to its end, or until it is told to stop.
    pub(super) async fn run(mut self) -> Ended {
        let _turn = match &self.turns {
            // The semaphore is never closed.
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        };
        if self.request.offset < 0 {
            // An offset that is known is an offset that can be told, though nothing is ever appended.
            let head = tokio::select! {
                head = self.client.head(&self.request.journal) => head,
                () = self.stop.cancelled() => return Ended::before_it_began(Ok(())),
            };
            match head {
                Ok(head) => self.request.offset = head,
                Err(error) if error.status() == Some(Status::Suspended) => {
                    return Ended::before_it_began(Ok(()));
                }
                Err(error) => return Ended::before_it_began(Err(Error::Read(error))),
            }
        }
        let mut reader = self.client.reader(self.request.clone());
        if let Some(direct) = &self.direct {
            reader = reader.direct(direct);
        }
        let mut gaps = Vec::new();
        let outcome = self.follow(&mut reader, &mut gaps).await;
        Ended { offset: Some(reader.offset()), gaps, outcome }
    }

    async fn follow(&self, reader: &mut Reader, gaps: &mut Vec<Gap>) -> Result<(), Error> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                event = reader.next() => event,
            };
            match event {
                None => return Ok(()),
                Some(Err(error)) => return end_of(error),
                Some(Ok(ReadEvent::Content { content, .. })) => {
                    // It was read, so it is written, whatever comes.
                    let mut sink = self.sink.lock().await;
                    sink.write(&content)?;
                }
                Some(Ok(ReadEvent::Metadata(metadata))) => {
                    self.tell(metadata.gap, gaps);
                    let end = metadata.fragment.map_or(metadata.offset, |fragment| fragment.end);
                    if let Some(ended) = self.copy(reader, gaps, end).await? {
                        return ended;
                    }
                }
            }
        }
    }

    fn tell(&self, gap: Option<Gap>, gaps: &mut Vec<Gap>) {
        let Some(gap) = gap else { return };
        tracing::warn!(
            journal = self.request.journal,
            gap.begin,
            gap.end,
            "content is no more, and was skipped"
        );
        if gaps.len() < GAPS_KEPT {
            gaps.push(gap);
        }
    }

    /// Writes what is left of a fragment up to its end. Tells if the journal ended, too.
    async fn copy(
        &self,
        reader: &mut Reader,
        gaps: &mut Vec<Gap>,
        mut end: i64,
    ) -> Result<Option<Result<(), Error>>, Error> {
        let mut sink = self.sink.lock().await;
        while reader.offset() < end {
            let event = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Err(Error::Cut),
                event = reader.next() => event,
            };
            match event {
                None => return Ok(Some(Ok(()))),
                Some(Err(error)) => return Ok(Some(end_of(error))),
                Some(Ok(ReadEvent::Content { content, .. })) => sink.write(&content)?,
                // The read was taken up again, or the fragment has grown meanwhile.
                Some(Ok(ReadEvent::Metadata(metadata))) => {
                    self.tell(metadata.gap, gaps);
                    end = metadata.fragment.map_or(end, |fragment| fragment.end);
                }
            }
        }
        if sink.prompt {
            sink.flush()?;
        }
        Ok(None)
    }
}

/// Whether an error is just the end of what there is to read.
fn end_of(error: courant_client::Error) -> Result<(), Error> {
    match error.status() {
        Some(Status::OffsetNotYetAvailable | Status::Suspended) => Ok(()),
        _ => Err(Error::Read(error)),
    }
}
