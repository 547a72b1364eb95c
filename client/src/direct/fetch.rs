//! One fragment's object, fetched, decoded and checked by a task of its own, ahead of who reads it by a few pieces.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use courant_fragment::codec::{CheckError, Checked, CheckedDecoder, SMALL};
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, RANGE};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use super::Direct;
use super::place::Place;

/// Bytes that are decoded at a time, at most, and given to the decoder together.
const PIECE: usize = 256 << 10;

/// Pieces that wait for who reads.
const AHEAD: usize = 4;

/// What is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) place: Place,
    pub(crate) fragment: Fragment,
    pub(crate) from: Offset,
    pub(crate) until: Offset,
}

/// Why a fetch came to nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The store cannot be reached, or fails.
    Store(String),
    /// The URL is not good any more, or there is no such object.
    Refused(StatusCode),
    /// The object does not hold what its name promises.
    Damaged(String),
}

/// Content as it comes.
pub(crate) struct Fetch {
    content: mpsc::Receiver<Result<Bytes, Fault>>,
    /// The one that fetches. Ends with this value.
    _task: JoinSet<()>,
}

impl Fetch {
    pub(crate) fn begin(direct: &Direct, wanted: Wanted) -> Self {
        let (sender, content) = mpsc::channel(AHEAD);
        let http = direct.0.http.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let fault = match wanted.place.clone() {
                Place::Http { url, .. } => match http {
                    Some(http) => by_http(&http, &url, &wanted, &sender).await,
                    None => Err(Fault::Store("there is no HTTP client".to_owned())),
                },
                Place::File(path) => {
                    let sender = sender.clone();
                    let copied = spawn_blocking(move || from_file(&path, &wanted, &sender)).await;
                    copied.unwrap_or_else(|error| Err(Fault::Store(error.to_string())))
                }
            };
            if let Err(fault) = fault {
                // Who reads may have gone.
                let _ = sender.send(Err(fault)).await;
            }
        });
        Self { content, _task: task }
    }

    /// The next content; none after the last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        Pin::new(&mut self.content).poll_recv(cx)
    }
}

/// Which part of an object is asked for, and what becomes of its bytes.
struct Part {
    /// Of the object, where it is not encoded and not all of it is wanted.
    range: Option<(u64, u64)>,
    length: u64,
    skip: u64,
    /// Bytes of content to hand out.
    wanted: u64,
}

impl Part {
    fn of(wanted: &Wanted) -> Self {
        let fragment = &wanted.fragment;
        let distance = |to: Offset, from: Offset| to.distance_from(from).unwrap_or_default();
        let (begin, length) = (distance(wanted.from, fragment.begin), fragment.length());
        let wanted = distance(wanted.until, wanted.from);
        if fragment.codec == Codec::None && length > SMALL && wanted < length {
            return Self { range: Some((begin, begin + wanted)), length: wanted, skip: 0, wanted };
        }
        Self { range: None, length, skip: begin, wanted }
    }

    fn whole(wanted: &Wanted) -> Self {
        let skip = wanted.from.distance_from(wanted.fragment.begin).unwrap_or_default();
        Self { range: None, length: wanted.fragment.length(), skip, ..Self::of(wanted) }
    }

    fn decoder(&self, codec: Codec, fragment: &Fragment) -> Result<CheckedDecoder, Fault> {
        let sum = self.range.is_none().then_some(fragment.sum);
        CheckedDecoder::new(codec, self.length, self.skip, sum).map_err(|error| damaged(&error.into()))
    }
}

async fn by_http(
    http: &reqwest::Client,
    url: &str,
    wanted: &Wanted,
    sender: &mpsc::Sender<Result<Bytes, Fault>>,
) -> Result<(), Fault> {
    // An error of the client names the URL, which holds a signature.
    let unreachable = |error: reqwest::Error| Fault::Store(error.without_url().to_string());
    let mut part = Part::of(wanted);
    let mut codec = wanted.fragment.codec;
    let mut request = http.get(url);
    request = match codec {
        // The store is to take the encoding off, or to say that it has not.
        Codec::GzipOffload | Codec::None => request.header(ACCEPT_ENCODING, "identity"),
        // Nobody is to take off what is the object's own.
        _ => request.header(ACCEPT_ENCODING, "gzip"),
    };
    if let Some((begin, end)) = part.range {
        request = request.header(RANGE, format!("bytes={begin}-{}", end - 1));
    }
    let mut response = request.send().await.map_err(unreachable)?;
    match (response.status(), part.range) {
        (StatusCode::OK, None) => {}
        (StatusCode::PARTIAL_CONTENT, Some((begin, end))) => {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let expected = format!("bytes {begin}-{}/{}", end - 1, wanted.fragment.length());
            if range != Some(expected.as_str()) {
                return Err(Fault::Damaged(format!(
                    "the store answered with {}, expected {expected}",
                    range.unwrap_or("no range")
                )));
            }
        }
        // A store that knows no ranges sends all of it.
        (StatusCode::OK, Some(_)) => part = Part::whole(wanted),
        (status, _) if status.is_client_error() => return Err(Fault::Refused(status)),
        (status, _) => return Err(Fault::Store(format!("it answered {status}"))),
    }
    if codec == Codec::GzipOffload {
        let is_gzip = response
            .headers()
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        codec = if is_gzip { Codec::Gzip } else { Codec::None };
    }
    let mut decoder = part.decoder(codec, &wanted.fragment)?;
    let mut left = part.wanted;
    loop {
        let (back, checked) = spawn_blocking(move || {
            let checked = decoder.pull(PIECE);
            (decoder, checked)
        })
        .await
        .map_err(|error| Fault::Store(error.to_string()))?;
        decoder = back;
        match checked.map_err(|error| damaged(&error))? {
            Checked::Content(pieces) => {
                for mut piece in pieces {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
                    left -= piece.len() as u64;
                    if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
                        return Ok(());
                    }
                }
                if left == 0 {
                    return Ok(());
                }
            }
            Checked::Done => return Ok(()),
            Checked::NeedsInput => {
                let mut gathered = 0;
                // Pieces are as small as the network cut them, and a thread is not asked for each.
                while gathered < PIECE {
                    let Some(piece) = response.chunk().await.map_err(unreachable)? else {
                        decoder.end();
                        break;
                    };
                    gathered += piece.len();
                    decoder.push(piece);
                }
            }
        }
    }
}

/// Blocks.
#[expect(clippy::disallowed_methods, reason = "the client's seam to files")]
fn from_file(path: &Path, wanted: &Wanted, sender: &mpsc::Sender<Result<Bytes, Fault>>) -> Result<(), Fault> {
    let store = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Refused(StatusCode::NOT_FOUND),
        _ => Fault::Store(error.to_string()),
    };
    let part = Part::of(wanted);
    let mut file = File::open(path).map_err(store)?;
    let metadata = file.metadata().map_err(store)?;
    if !metadata.is_file() {
        return Err(Fault::Store("it is no file".to_owned()));
    }
    if wanted.fragment.codec == Codec::None && metadata.len() != wanted.fragment.length() {
        let expected = wanted.fragment.length();
        return Err(Fault::Damaged(format!("the object has {} bytes, expected {expected}", metadata.len())));
    }
    let mut unread = u64::MAX;
    if let Some((begin, end)) = part.range {
        file.seek(SeekFrom::Start(begin)).map_err(store)?;
        unread = end - begin;
    }
    let mut decoder = part.decoder(wanted.fragment.codec, &wanted.fragment)?;
    let mut left = part.wanted;
    while left > 0 {
        match decoder.pull(PIECE).map_err(|error| damaged(&error))? {
            Checked::Content(pieces) => {
                for mut piece in pieces {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
                    left -= piece.len() as u64;
                    if !piece.is_empty() && sender.blocking_send(Ok(piece)).is_err() {
                        return Ok(());
                    }
                }
            }
            Checked::Done => break,
            Checked::NeedsInput => {
                let length = usize::try_from(unread).unwrap_or(PIECE).min(PIECE);
                let mut piece = BytesMut::zeroed(length);
                let count = file.read(&mut piece).map_err(store)?;
                unread -= count as u64;
                piece.truncate(count);
                if count == 0 { decoder.end() } else { decoder.push(piece.freeze()) }
            }
        }
    }
    Ok(())
}

fn damaged(error: &CheckError) -> Fault {
    Fault::Damaged(error.to_string())
}
