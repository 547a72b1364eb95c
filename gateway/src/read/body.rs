//! The body of a read: content as it comes, and at its end a trailer that says why it ended.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use courant_client::{Error, ReadEvent, ReadStream};
use courant_proto::wire;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use prometheus_client::metrics::counter::Counter;

use crate::headers;

/// What the trailer says of a broker that ended the read, as it does when it hands the journal over or stops.
const TERMINATED: &str = "broker terminated RPC";
const OFFSET_JUMP: &str = "offset jump";

pub(super) struct ReadBody {
    /// None once it ended.
    stream: Option<ReadStream>,
    counter: Counter,
    takes_trailers: bool,
    /// Why the body breaks off, once it does.
    breaking: Option<BrokeOff>,
}

impl ReadBody {
    /// The rest of a read whose first metadata went into the headers.
    pub(super) fn new(stream: ReadStream, counter: Counter, takes_trailers: bool) -> Self {
        Self { stream: Some(stream), counter, takes_trailers, breaking: None }
    }
}

/// No bytes, and no word about how many there would be: the body of an answer that must not tell a length.
pub(crate) struct NoBody;

impl http_body::Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// A read that failed after its answer had begun, told to a client that takes no trailers by breaking the body
/// off: it must not take what it has for all there was.
#[derive(Debug)]
pub(super) struct BrokeOff(String);

impl fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the read broke off: {}", self.0)
    }
}

impl std::error::Error for BrokeOff {}

/// Why a read ended.
struct Close {
    why: String,
    /// Whether it ended where a read may end: at the journal's end, or where the broker closed it.
    regular: bool,
}

impl Close {
    fn of(error: &Error) -> Self {
        match error {
            Error::Refused(refusal) => Self {
                why: refusal.to_string(),
                regular: refusal.status == wire::Status::OffsetNotYetAvailable,
            },
            Error::Rpc(status) if status.code() == tonic::Code::Cancelled => {
                Self { why: "context canceled".to_owned(), regular: false }
            }
            error => Self { why: error.to_string(), regular: false },
        }
    }
}

impl http_body::Body for ReadBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(self.breaking.take().map(Err));
            };
            let close = match ready!(stream.poll_next_unpin(cx)) {
                Some(Ok(ReadEvent::Content { content, .. })) => {
                    self.counter.inc_by(u64::try_from(content.len()).unwrap_or(0));
                    return Poll::Ready(Some(Ok(Frame::data(content))));
                }
                // The headers told the client where its bytes begin. Skipped bytes in between it would not notice.
                Some(Ok(ReadEvent::Metadata(metadata))) if metadata.gap.is_some() => {
                    Close { why: OFFSET_JUMP.to_owned(), regular: false }
                }
                Some(Ok(ReadEvent::Metadata(_))) => continue,
                Some(Err(error)) => Close::of(&error),
                None => Close { why: TERMINATED.to_owned(), regular: true },
            };
            self.stream = None;
            if !close.regular && !self.takes_trailers {
                // What came before goes out first: a server drops what it holds when a body breaks off.
                self.breaking = Some(BrokeOff(close.why));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let trailers = HeaderMap::from_iter([(headers::CLOSE_ERROR, trailer(&close.why))]);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }
}

fn trailer(why: &str) -> HeaderValue {
    match why {
        TERMINATED => HeaderValue::from_static(TERMINATED),
        why => headers::printable(why),
    }
}
