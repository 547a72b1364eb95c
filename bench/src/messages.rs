//! What it takes to make messages of bytes, and bytes of messages: framing, envelopes and sequencing, in memory and on one core. No broker.

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use courant_message::framing::{MAX_FRAME, csv};
use courant_message::sequencer::DEFAULT_RING;
use courant_message::{
    Acknowledgement, Frame, Frames, Framing, Item, Message, Meta, Outbox, Producer, Publisher, Sequencer,
    Step, Uuid, envelope,
};
use courant_proto::{Offset, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use crate::args::MessagesArgs;
use crate::output::{Findings, Sheet, number};
use crate::setup::Setup;
use crate::stats::median;

/// Content that is read over and over: more than a processor's caches hold.
const CONTENT: usize = 64 << 20;
const ROW_FIELDS: usize = 10;

#[derive(Debug, Serialize)]
struct Found {
    producers: u8,
    transaction: usize,
    piece: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    framing: &'static str,
    /// Of a body. A message has more.
    body_bytes: usize,
    message_bytes: f64,
    work: &'static str,
    mb_per_s: f64,
    messages_per_s: f64,
    ns_per_message: f64,
}

/// How far content is read. Each does what the one before it does, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Work {
    Encode,
    Frames,
    Peek,
    Sequence,
    Decode,
}

impl Work {
    const ALL: [Self; 5] = [Self::Encode, Self::Frames, Self::Peek, Self::Sequence, Self::Decode];

    const fn name(self) -> &'static str {
        match self {
            Self::Encode => "write",
            Self::Frames => "read: frames",
            Self::Peek => "read: + UUIDs",
            Self::Sequence => "read: + sequencing",
            Self::Decode => "read: + bodies",
        }
    }
}

pub(crate) fn run(setup: &Setup, args: &MessagesArgs) -> Result<Findings> {
    ensure!(args.piece > 0 && args.transaction > 0, "--piece and --transaction: expected at least 1");
    ensure!(args.producers > 0, "--producers 0: expected at least 1");
    let mut rows = Vec::new();
    for framing in Framing::ALL {
        for &size in &args.sizes {
            let load = Load { framing, body: body(framing, size), args };
            let (content, messages) = load.write(if setup.quick { CONTENT / 8 } else { CONTENT })?;
            for work in Work::ALL {
                rows.push(measure(setup, &load, work, &content, messages)?);
            }
        }
    }
    let found = Found { producers: args.producers, transaction: args.transaction, piece: args.piece, rows };
    Findings::new("messages", &found, sheets(&found))
}

fn measure(setup: &Setup, load: &Load<'_>, work: Work, content: &Bytes, messages: usize) -> Result<Row> {
    let mut rates = Vec::new();
    for _ in 0..setup.rounds {
        let (begun, mut passes) = (Instant::now(), 0_u32);
        while passes == 0 || begun.elapsed() < setup.window {
            let done = match work {
                Work::Encode => load.write(content.len())?.1,
                _ => load.read(work, content)?,
            };
            ensure!(done == messages, "{done} messages (expected {messages})");
            passes += 1;
        }
        rates.push(f64::from(passes) / begun.elapsed().as_secs_f64());
    }
    let passes_per_s = median(rates);
    let messages_per_s = passes_per_s * messages as f64;
    Ok(Row {
        framing: load.framing.content_type(),
        body_bytes: load.body.len(),
        message_bytes: content.len() as f64 / messages as f64,
        work: work.name(),
        mb_per_s: passes_per_s * content.len() as f64 / 1e6,
        messages_per_s,
        ns_per_message: 1e9 / messages_per_s,
    })
}

/// What is written and read.
struct Load<'a> {
    framing: Framing,
    body: Vec<u8>,
    args: &'a MessagesArgs,
}

impl Load<'_> {
    /// Transactions of all producers in turn, until there is so much content; and how many messages that is, with acknowledgements.
    fn write(&self, length: usize) -> Result<(Bytes, usize)> {
        let acknowledgement = match self.framing {
            Framing::Lines => Acknowledgement::Line,
            Framing::Fixed => Acknowledgement::Fixed,
            Framing::Csv => Acknowledgement::Row { fields: ROW_FIELDS + 1 },
        };
        let time = Timestamp::from_secs(1_700_000_000);
        let mut publishers: Vec<Publisher<()>> = (0..self.args.producers)
            .map(|number| {
                let mut publisher = Publisher::new(Producer::new([number, number, 0, 0, 0, 0]));
                publisher.advance(time);
                publisher
            })
            .collect();
        let fields: Vec<&[u8]> = self.body.chunks(self.body.len().div_ceil(ROW_FIELDS).max(1)).collect();
        let (mut outbox, mut messages) = (Outbox::new(usize::MAX), 0);
        while outbox.waiting() < length {
            // Messages of all of them among each other, and then what acknowledges them.
            for index in 0..self.args.transaction * publishers.len() {
                let turn = index % publishers.len();
                let publisher = &mut publishers[turn];
                publisher.publish_uncommitted(&(), acknowledgement, &mut outbox, |uuid, out| {
                    if self.framing == Framing::Csv {
                        csv::append(std::iter::once(&uuid.to_text()[..]).chain(fields.iter().copied()), out);
                        return Ok(());
                    }
                    let meta =
                        Meta { uuid, key: "customer-4711".into(), time: Some(time), ..Meta::default() };
                    envelope::append(self.framing, &meta, &self.body, out)
                })?;
                messages += 1;
            }
            for intent in publishers.iter_mut().flat_map(Publisher::build_ack_intents) {
                outbox.push_bytes(&intent.bytes)?;
                messages += 1;
            }
        }
        Ok((outbox.next_append().unwrap_or_default(), messages))
    }

    /// Reads all content in pieces, and tells how many messages were found, or delivered.
    fn read(&self, work: Work, content: &Bytes) -> Result<usize> {
        let mut frames = Frames::new(self.framing, Offset::ZERO, MAX_FRAME);
        let mut sequencer = Sequencer::new(DEFAULT_RING);
        let (mut rest, mut messages, mut sum) = (content.clone(), 0, 0_usize);
        while !rest.is_empty() {
            // As from a connection, where each piece is an allocation of its own.
            let mut piece = rest.split_to(self.args.piece.min(rest.len()));
            while let Some(item) = frames.next(&mut piece) {
                let Item::Frame(Frame { begin, end, payload }) = item else { bail!("damage: {item:?}") };
                if work == Work::Frames {
                    messages += 1;
                    continue;
                }
                let uuid = envelope::peek(self.framing, &payload)?;
                if work == Work::Peek {
                    messages += usize::from(!uuid.is_nil());
                    continue;
                }
                if !sequencer.queue(Message { journal: 0_u32, uuid, begin, end, payload }).outcome.commits() {
                    continue;
                }
                loop {
                    match sequencer.step() {
                        Step::Drained => break,
                        Step::Replay(range) => {
                            bail!("{range:?}: --transaction times --producers is more than the ring holds")
                        }
                        Step::Deliver(message) if work == Work::Decode => {
                            sum += self.decode(message.uuid, &message.payload)?;
                        }
                        Step::Deliver(_) => {}
                    }
                    messages += 1;
                }
            }
        }
        ensure!(frames.end().is_none(), "the content ends within a frame");
        ensure!(work != Work::Decode || sum > 0, "no message has a body");
        Ok(messages)
    }

    fn decode(&self, uuid: Uuid, payload: &[u8]) -> Result<usize> {
        if self.framing == Framing::Csv {
            return Ok(csv::fields(payload).skip(1).map(|field| field.len()).sum());
        }
        let envelope = envelope::decode(self.framing, payload)?;
        ensure!(envelope.meta.uuid == uuid, "another UUID than before");
        Ok(envelope.body.len())
    }
}

/// A JSON object of about so many bytes, as an event of a shop; for CSV as much text without quotes.
fn body(framing: Framing, size: usize) -> Vec<u8> {
    if framing == Framing::Csv {
        return (b'a'..=b'z').cycle().take(size).collect();
    }
    let mut items: Vec<String> = Vec::new();
    let head = r#"{"event":"order.placed","at":1700000000123,"shop":"north","total":129.95,"items":["#;
    let item = |number: usize| {
        format!(
            r#"{{"sku":"A-{number:06}","name":"blue \"cotton\" shirt, size {number}","price":24.5,"stock":true}}"#
        )
    };
    let mut length = head.len() + 2;
    while items.is_empty() || length + item(0).len() < size {
        items.push(item(items.len()));
        length += item(0).len() + 1;
    }
    format!("{head}{}]}}", items.join(",")).into_bytes()
}

fn sheets(found: &Found) -> Vec<Sheet> {
    let rows = found.rows.iter().map(|row| {
        vec![
            row.framing.to_owned(),
            number(row.body_bytes as f64),
            number(row.message_bytes),
            row.work.to_owned(),
            number(row.mb_per_s),
            number(row.messages_per_s),
            number(row.ns_per_message),
        ]
    });
    vec![Sheet {
        title: "Messages, on one core".to_owned(),
        headings: vec!["framing", "body bytes", "message bytes", "work", "MB/s", "messages/s", "ns/message"],
        rows: rows.collect(),
        notes: vec![
            format!(
                "{} producers among each other, an acknowledgement of each after {} of its messages; pieces of {} bytes",
                found.producers, found.transaction, found.piece
            ),
            "each kind of reading does all that the one above it does; + bodies checks that all of the JSON is JSON".to_owned(),
        ],
    }]
}
