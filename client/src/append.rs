//! Appends: content that lands in a journal whole, or not at all. Knows nothing of where journals are.

mod appender;
mod content;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use courant_proto::wire;
use tokio::time::Instant;

pub use self::appender::Appender;
pub use self::content::Content;
use self::content::{Repeatable, Source};
use crate::{Client, Error, Refusal, backoff, check};

const CALL: &str = "Append";

/// An append that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// Who committed it, with the journal's route.
    pub header: wire::Header,
    /// The span that the content takes in the journal, and its SHA-1.
    pub commit: wire::Fragment,
    /// The journal's registers after the append.
    pub registers: wire::LabelSet,
    /// The messages of content that the broker received, the intent to commit included.
    pub total_chunks: i64,
    /// How many of them were held back to keep the journal's rate.
    pub delayed_chunks: i64,
}

impl Client {
    /// Appends the content to the journal of the request, and repeats that while it fails in a transient way.
    ///
    /// Content that is at hand, or that can be made again ([`Content::replay`]), is sent anew with each attempt;
    /// a stream ([`Content::stream`]) is sent once. Where a broker is lost while it answers, an attempt may have
    /// landed, and the next one lands again: an append happens *at least* once, unless `check_registers` or
    /// `offset` of the request say otherwise.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let request = wire::AppendRequest { journal: "examples/foobar".to_owned(), ..Default::default() };
    /// let appended = client.append(request, "Hello!\n").await?;
    /// println!("it took [{}, {})", appended.commit.begin, appended.commit.end);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the status, [`Error::Content`] if the content could not be read, in which case
    /// nothing was appended, and faults of the call. See [`Error::is_transient`].
    pub async fn append(
        &self,
        request: wire::AppendRequest,
        content: impl Into<Content>,
    ) -> Result<Appended, Error> {
        let content = match content.into().0 {
            Source::Once(parts) => return self.append_parts(request, parts).await,
            Source::Repeatable(content) => content,
        };
        let mut patience: Option<Patience> = None;
        loop {
            let attempt = match &content {
                Repeatable::Whole(content) => self.append_whole(request.clone(), content.clone()).await,
                Repeatable::Replay(open) => self.append_parts(request.clone(), open()).await,
            };
            match attempt {
                Err(error) if error.is_transient() => {
                    patience.get_or_insert_with(|| Patience::new(self)).pause_or_give_up(error).await?;
                }
                settled => return settled,
            }
        }
    }

    async fn append_whole(&self, request: wire::AppendRequest, content: Bytes) -> Result<Appended, Error> {
        let journal = request.journal.clone();
        let messages = content::whole(request, content);
        outcome(self.answer(CALL, self.transport.append(&journal, messages)).await?)
    }

    async fn append_parts(
        &self,
        request: wire::AppendRequest,
        parts: content::Parts,
    ) -> Result<Appended, Error> {
        let journal = request.journal.clone();
        let (messages, failure) = content::streamed(request, parts);
        let answer = self.transport.append(&journal, messages).await;
        // What the broker made of content that broke off is a consequence; the cause is the content.
        if let Some(failure) = failure.take() {
            return Err(Error::Content(failure));
        }
        outcome(answer?)
    }

    /// Begins one append whose content is written piece by piece. Nothing is sent before the first of them.
    ///
    /// ```no_run
    /// # use courant_proto::wire;
    /// # async fn example(client: courant_client::Client) -> Result<(), courant_client::Error> {
    /// let request = wire::AppendRequest { journal: "examples/foobar".to_owned(), ..Default::default() };
    /// let mut appender = client.appender(request);
    /// appender.write("one\n".into()).await?;
    /// appender.write("two\n".into()).await?;
    /// let appended = appender.commit().await?;
    /// println!("the journal ends at {}", appended.commit.end);
    /// # Ok(())
    /// # }
    /// ```
    pub fn appender(&self, request: wire::AppendRequest) -> Appender {
        Appender::new(self.transport.clone(), request)
    }
}

/// What is left of the time in which an append may fail and be tried again.
struct Patience {
    ends: Instant,
    failures: u32,
    rng: rand::rngs::SmallRng,
}

impl Patience {
    fn new(client: &Client) -> Self {
        Self { ends: Instant::now() + client.options.retry_for, failures: 0, rng: client.rng() }
    }

    /// Pauses, or hands the error back if the next attempt would begin too late.
    async fn pause_or_give_up(&mut self, error: Error) -> Result<(), Error> {
        let next = Instant::now() + backoff::pause(self.failures, &mut self.rng);
        if next > self.ends {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(%error, failures = self.failures, "append is tried again");
        tokio::time::sleep_until(next).await;
        Ok(())
    }
}

/// What an answer says about the append.
fn outcome(response: wire::AppendResponse) -> Result<Appended, Error> {
    let status = check::known_status(CALL, response.status)?;
    if status != wire::Status::Ok {
        let mut refusal = Refusal::new(status, response.header);
        refusal.registers = response.registers;
        refusal.store_health = response.store_health_error;
        return Err(refusal.into());
    }
    let header = response.header.ok_or_else(|| Error::malformed(CALL, "expected Header"))?;
    let commit = response.commit.ok_or_else(|| Error::malformed(CALL, "expected Commit"))?;
    let registers = response.registers.ok_or_else(|| Error::malformed(CALL, "expected Registers"))?;
    if commit.begin < 0 || commit.begin > commit.end {
        let reason = format!("expected Begin <= End (have {}, {})", commit.begin, commit.end);
        return Err(Error::malformed(CALL, reason));
    }
    let (total_chunks, delayed_chunks) = (response.total_chunks, response.delayed_chunks);
    Ok(Appended { header, commit, registers, total_chunks, delayed_chunks })
}
