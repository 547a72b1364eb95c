//! Those who append: piece after piece, one at a time, each tried again as another attempt until it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Kind, Plan, Stage};
use crate::access::{Access, Attempt, End, Part};
use crate::cluster::Addresses;
use crate::conditional::{Answer, Ask, Op, REGISTER, register_of};
use crate::history::{Append, Outcome};
use crate::linear::Timed;
use crate::payload::{self, Id};

/// Longest pause after an attempt that failed.
const RETRY_MS: u64 = 100;

/// Most lines of a piece.
const LINES: u64 = 12;

/// How many of a hundred pieces are read again from another broker.
const READ_AGAIN: u64 = 3;

/// Appends with conditions that are sent to a journal: so few that an order of them can be searched for.
const CONDITIONAL: usize = 400;

/// Pause between them, so that they go on through many faults.
const CONDITIONAL_PAUSE: Duration = Duration::from_millis(400);

pub(super) struct Writer {
    stage: Arc<Stage>,
    access: Access,
    number: u32,
    plan: Plan,
    /// What it last heard of the register and of the end.
    known: (Option<u32>, i64),
}

impl Writer {
    pub(super) fn new(stage: &Arc<Stage>, addresses: &Addresses, number: u32, seed: u64, plan: Plan) -> Self {
        let access = Access::new(Arc::clone(addresses), seed, plan.patience);
        Self { stage: Arc::clone(stage), access, number, plan, known: (None, 0) }
    }

    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) {
        let mut sequence = 0;
        while !*stopped.borrow() {
            match self.stage.kind() {
                Kind::Plain => self.piece(sequence, &stopped).await,
                Kind::Registers | Kind::Offsets => self.conditional(sequence).await,
            }
            sequence += 1;
            let pause = u64::try_from(self.plan.pause.as_millis()).unwrap_or(u64::MAX);
            sleep(Duration::from_millis(self.access.choose(pause + 1))).await;
        }
    }

    /// Appends a piece, as often as it takes.
    async fn piece(&mut self, sequence: u32, stopped: &watch::Receiver<bool>) {
        for attempt in 0.. {
            let id = Id { writer: self.number, sequence, attempt };
            let piece = self.make(id);
            let sent = self.stage.now();
            let attempt = if self.access.choose(3) == 0 {
                self.access.put(self.stage.name(), &piece).await
            } else {
                self.access.append(self.request(), &piece).await
            };
            let Attempt { outcome, repeats, witness, reason, .. } = attempt;
            let settled = self.stage.now();
            self.stage.settled(Append { id, sent, settled, outcome, repeats, witness }, &piece, &reason);
            if let Outcome::Done { begin, end } = outcome {
                if self.access.choose(100) < READ_AGAIN {
                    self.read_again(begin, end).await;
                }
                break;
            }
            if *stopped.borrow() {
                break;
            }
            sleep(Duration::from_millis(self.access.choose(RETRY_MS))).await;
        }
        if self.access.choose(20) == 0 {
            self.access.leave();
        }
    }

    /// Reads what was acknowledged from another broker, which must have it, or wait for it.
    async fn read_again(&mut self, begin: i64, end: i64) {
        self.access.leave();
        let request = wire::ReadRequest {
            journal: self.stage.name().to_owned(),
            offset: begin,
            end_offset: end,
            block: true,
            ..Default::default()
        };
        let mut at = begin;
        let stage = Arc::clone(&self.stage);
        let ended = self.access.read(request, self.plan.patience, |part| {
            if let Part::Content { offset, bytes } = part {
                stage.see(offset, bytes);
                at = offset + i64::try_from(bytes.len()).unwrap_or(0);
            }
        });
        if ended.await == End::Status(wire::Status::OffsetNotYetAvailable) {
            stage.breaks("J8", format!("[{begin}, {end}) was acknowledged, and a read that waits says {at}"));
        }
    }

    /// Appends once, with a condition that holds or not.
    async fn conditional(&mut self, sequence: u32) {
        if self.stage.ops().len() >= CONDITIONAL {
            return;
        }
        let id = Id { writer: self.number, sequence, attempt: 0 };
        let piece = self.make(id);
        let (register, head) = self.known;
        // Values of different writers and sequences differ.
        let own = sequence * 1_000 + self.number;
        let mut ask = Ask { length: i64::try_from(piece.len()).unwrap_or(i64::MAX), ..Ask::default() };
        match self.stage.kind() {
            Kind::Registers => (ask.expect, ask.set) = (register, Some(own)),
            // The offset zero is no condition.
            _ if head > 0 => ask.offset = Some(head),
            _ => {}
        }
        let set = |value: Option<u32>| value.map(|value| label_set(REGISTER, &value.to_string()));
        let request = wire::AppendRequest {
            offset: ask.offset.unwrap_or(0),
            check_registers: set(ask.expect)
                .map(|include| wire::LabelSelector { include: Some(include), exclude: None }),
            union_registers: set(ask.set),
            ..self.request()
        };
        let sent = self.stage.now();
        let attempt = self.access.append(request, &piece).await;
        let settled = self.stage.now();
        let Attempt { outcome, witness, reason, .. } = attempt;
        let append = Append { id, sent, settled, outcome, witness, repeats: false };
        self.stage.settled(append, &piece, &reason);
        let told = attempt.registers.as_ref().and_then(register_of);
        let answer = match (outcome, attempt.status) {
            (Outcome::Done { begin, end }, _) => {
                self.known = (told, end);
                Some(Answer::Done { begin, register: told })
            }
            (Outcome::Failed, Some(wire::Status::RegisterMismatch)) => {
                self.known.0 = told;
                Some(Answer::Mismatch { register: told })
            }
            (Outcome::Failed, Some(wire::Status::WrongAppendOffset)) => {
                self.known.1 = self.stage.acknowledged().max(self.known.1);
                Some(Answer::WrongOffset)
            }
            (Outcome::Unknown, _) => {
                // It may have moved the end. Others that know it will tell.
                self.known.1 = self.head().await.unwrap_or(self.known.1);
                Some(Answer::Unknown)
            }
            // Refused for another reason than its condition.
            (Outcome::Failed, _) => None,
        };
        if let Some(answer) = answer {
            let settled = (answer != Answer::Unknown).then_some(settled);
            self.stage.decided(Timed { sent, settled, op: Op { id, ask, answer } });
        }
        sleep(CONDITIONAL_PAUSE).await;
    }

    /// Where the journal ends, as some broker says.
    async fn head(&mut self) -> Option<i64> {
        let request = wire::ReadRequest {
            journal: self.stage.name().to_owned(),
            offset: -1,
            metadata_only: true,
            ..Default::default()
        };
        let mut head = None;
        self.access
            .read(request, self.plan.patience, |part| {
                if let Part::Head { write_head, .. } = part {
                    head = Some(write_head);
                }
            })
            .await;
        head
    }

    fn make(&mut self, id: Id) -> Vec<u8> {
        let lines = usize::try_from(1 + self.access.choose(LINES)).unwrap_or(1);
        let seed = u32::try_from(self.access.choose(u64::from(u32::MAX))).unwrap_or(0);
        payload::piece_of(id, seed, lines)
    }

    fn request(&self) -> wire::AppendRequest {
        wire::AppendRequest { journal: self.stage.name().to_owned(), ..Default::default() }
    }
}

fn label_set(name: &str, value: &str) -> wire::LabelSet {
    let label = wire::Label { name: name.to_owned(), value: value.to_owned(), prefix: false };
    wire::LabelSet { labels: vec![label] }
}
