//! For how long a fault is felt: appends are sent to a journal again and again, without waiting for the ones before, until
//! one is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::LIVENESS;
use crate::access::{Access, Attempt};
use crate::cluster::Addresses;
use crate::conditional::{Answer, Ask, Op, register_of};
use crate::history::{Append, Outcome};
use crate::linear::Timed;
use crate::load::{Kind, Stage};
use crate::payload::{self, Id};

/// An append is sent so often: what is measured is at most so much too long.
const EVERY: Duration = Duration::from_millis(250);

/// How long one of them waits for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a journal took no append.
#[derive(Clone, Debug)]
pub struct Outage {
    /// After what.
    pub fault: &'static str,
    /// Which journal.
    pub journal: String,
    /// Until the first append that was sent after the fault was acknowledged. None: it never was.
    pub lasted: Option<Duration>,
}

/// Measures all of these journals from now on, through these brokers.
pub(super) async fn measure(
    fault: &'static str,
    stages: &[Arc<Stage>],
    addresses: &Addresses,
    through: &[usize],
) -> Vec<Outage> {
    let begin = Instant::now();
    let mut measuring = JoinSet::new();
    for stage in stages {
        let (stage, addresses, through) = (Arc::clone(stage), Arc::clone(addresses), through.to_vec());
        measuring.spawn(async move {
            let lasted = until_appended(&stage, &addresses, &through, begin).await;
            Outage { fault, journal: stage.name().to_owned(), lasted }
        });
    }
    measuring.join_all().await
}

async fn until_appended(
    stage: &Arc<Stage>,
    addresses: &Addresses,
    through: &[usize],
    begin: Instant,
) -> Option<Duration> {
    let mut attempts = JoinSet::new();
    while begin.elapsed() < LIVENESS {
        let (stage, addresses, through) = (Arc::clone(stage), Arc::clone(addresses), through.to_vec());
        attempts.spawn(async move { append(&stage, addresses, &through).await.then(|| begin.elapsed()) });
        let pause = sleep(EVERY);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(ended) = attempts.join_next() => if let Ok(Some(lasted)) = ended {
                    // The others are given up, and noted as unknown by their own guards.
                    return Some(lasted);
                },
            }
        }
    }
    None
}

/// Appends one piece, once, and takes note of what came of it also if it is given up.
pub(super) async fn append(stage: &Arc<Stage>, addresses: Addresses, through: &[usize]) -> bool {
    let writer = stage.another_writer();
    let id = Id { writer, sequence: 0, attempt: 0 };
    let piece = payload::piece_of(id, writer, 2);
    let mut note = Note { stage, id, sent: stage.now(), piece: &piece, attempt: None };
    let mut access = Access::new(addresses, writer.into(), PATIENCE).through(through);
    let request = wire::AppendRequest { journal: stage.name().to_owned(), ..Default::default() };
    let attempt = access.append(request, &piece).await;
    let done = matches!(attempt.outcome, Outcome::Done { .. });
    note.attempt = Some(attempt);
    done
}

/// An attempt that is noted when it ends, or when it is given up on the way.
struct Note<'a> {
    stage: &'a Stage,
    id: Id,
    sent: Duration,
    piece: &'a [u8],
    attempt: Option<Attempt>,
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        let given_up = || Attempt { reason: "given up".to_owned(), ..Attempt::default() };
        let Attempt { outcome, repeats, witness, registers, reason, .. } =
            self.attempt.take().unwrap_or_else(given_up);
        let (sent, settled) = (self.sent, self.stage.now());
        let append = Append { id: self.id, sent, settled, outcome, repeats, witness };
        self.stage.settled(append, self.piece, &reason);
        let answer = match outcome {
            Outcome::Done { begin, .. } => {
                Answer::Done { begin, register: registers.as_ref().and_then(register_of) }
            }
            Outcome::Unknown => Answer::Unknown,
            Outcome::Failed => return,
        };
        if self.stage.kind() != Kind::Plain {
            let ask = Ask { length: i64::try_from(self.piece.len()).unwrap_or(i64::MAX), ..Ask::default() };
            let settled = (answer != Answer::Unknown).then_some(settled);
            self.stage.decided(Timed { sent, settled, op: Op { id: self.id, ask, answer } });
        }
    }
}
