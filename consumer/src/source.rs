//! A journal as batches of messages, in order and with nothing said of what they mean.

use courant_client::{Client, ReadEvent, Reader};
use courant_message::{Frames, Framing, Item, framing};
use courant_proto::wire;
use courant_proto::{LabelSet, Offset};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use crate::Error;
use crate::content::{Incoming, message};
use crate::engine::Journal;

/// Messages of a source, some at a time, as they come in one piece.
pub(crate) type Batches = BoxStream<'static, Result<Vec<Incoming>, Error>>;

/// A journal that messages are read from, or published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Framed {
    pub(crate) journal: Journal,
    pub(crate) framing: Framing,
}

/// Finds out how the messages of a journal are framed.
pub(crate) async fn find(client: &Client, journal: &str, expected: &'static str) -> Result<Framed, Error> {
    // What follows a semicolon tells readers of a journal apart, and is not of its name.
    let name = journal.split(';').next().unwrap_or_default();
    let label = wire::Label { name: "name".to_owned(), value: name.to_owned(), prefix: false };
    let include = Some(wire::LabelSet { labels: vec![label] });
    let mut found = list(client, wire::LabelSelector { include, exclude: None }).await?;
    let Some(framed) = found.pop() else {
        return Err(Error::NoJournal { journal: name.to_owned(), expected });
    };
    Ok(Framed { journal: Journal::from(journal), ..framed })
}

/// The journals of a selector, in the order of their names.
pub(crate) async fn list(client: &Client, selector: wire::LabelSelector) -> Result<Vec<Framed>, Error> {
    let listing = client.list(selector).await.map_err(Error::of_client("could not list", "journals"))?;
    let framed = listing.journals.into_iter().filter_map(|journal| journal.spec).map(|spec| {
        let labels = spec.labels.map(LabelSet::try_from).transpose().ok().flatten().unwrap_or_default();
        match Framing::of_labels(&labels) {
            Ok(framing) => Ok(Framed { journal: spec.name.into(), framing }),
            Err(source) => Err(Error::Framing { journal: spec.name, source }),
        }
    });
    framed.collect()
}

/// Reads a journal from an offset on; up to an end, or without one.
pub(crate) fn read(client: &Client, framed: &Framed, from: Offset, end: Option<Offset>) -> Batches {
    let request = wire::ReadRequest {
        journal: framed.journal.to_string(),
        offset: from.get(),
        end_offset: end.map_or(0, Offset::get),
        block: true,
        ..Default::default()
    };
    let source = Source {
        framed: framed.clone(),
        frames: Frames::new(framed.framing, from, framing::MAX_FRAME),
        reader: client.reader(request),
    };
    stream::try_unfold(source, |mut source| async {
        Ok(source.next().await?.map(|messages| (messages, source)))
    })
    .boxed()
}

struct Source {
    framed: Framed,
    frames: Frames,
    reader: Reader,
}

impl Source {
    async fn next(&mut self) -> Result<Option<Vec<Incoming>>, Error> {
        let journal = self.framed.journal.clone();
        while let Some(event) = self.reader.next().await {
            match event.map_err(Error::of_client("could not read", &journal))? {
                ReadEvent::Content { mut content, .. } => {
                    let mut messages = Vec::new();
                    while let Some(item) = self.frames.next(&mut content) {
                        self.take(item, &mut messages);
                    }
                    if !messages.is_empty() {
                        return Ok(Some(messages));
                    }
                }
                ReadEvent::Metadata(metadata) => {
                    if let Some(gap) = metadata.gap {
                        tracing::warn!(
                            journal = &*journal,
                            gap.begin,
                            gap.end,
                            "content of a source is gone"
                        );
                        let to = Offset::new(gap.end).unwrap_or_default();
                        if let Some(skipped) = self.frames.jump(to) {
                            tracing::warn!(journal = &*journal, "{skipped}");
                        }
                    }
                }
            }
        }
        // The end that was asked for lies between messages, or behind a row without a newline.
        let mut messages = Vec::new();
        if let Some(item) = self.frames.end() {
            self.take(item, &mut messages);
        }
        Ok((!messages.is_empty()).then_some(messages))
    }

    fn take(&self, item: Item, messages: &mut Vec<Incoming>) {
        match item {
            Item::Frame(frame) => messages.push(message(&self.framed.journal, self.framed.framing, frame)),
            Item::Skipped(skipped) => tracing::warn!(journal = &*self.framed.journal, "{skipped}"),
        }
    }
}
