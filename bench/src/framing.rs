//! Pure: the bytes of an `Append` call's request, and the answer in those of its response. Knows no connection.

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use courant_proto::wire;
use prost::Message as _;

/// A flag for compression, and the length: what stands before each message.
const PREFIX_BYTES: usize = 5;

/// The request's body: parameters, content in messages of at most `chunk` bytes, and the intent to commit.
pub(crate) fn append_body(journal: &str, content: &[u8], chunk: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(content.len() + journal.len() + 64);
    body.extend_from_slice(&parameters(journal));
    for part in content.chunks(chunk.max(1)) {
        body.extend_from_slice(&content_message(Bytes::copy_from_slice(part)));
    }
    body.extend_from_slice(&commit());
    body.freeze()
}

/// The message that opens an append.
pub(crate) fn parameters(journal: &str) -> Bytes {
    message(&wire::AppendRequest { journal: journal.to_owned(), ..Default::default() })
}

/// A message of content. It must not be empty: that would be the intent to commit.
pub(crate) fn content_message(content: Bytes) -> Bytes {
    message(&wire::AppendRequest { content, ..Default::default() })
}

/// The message that asks for the commit.
pub(crate) fn commit() -> Bytes {
    message(&wire::AppendRequest::default())
}

fn message(request: &wire::AppendRequest) -> Bytes {
    let mut framed = BytesMut::with_capacity(request.encoded_len() + PREFIX_BYTES);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(request.encoded_len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&request.encode_to_vec());
    framed.freeze()
}

/// Checks that a response's body holds exactly one answer, and that it is OK.
pub(crate) fn check_answer(body: &[u8]) -> Result<()> {
    ensure!(body.len() >= PREFIX_BYTES, "an answer of {} bytes (expected a framed message)", body.len());
    let (prefix, message) = body.split_at(PREFIX_BYTES);
    ensure!(prefix[0] == 0, "a compressed answer (none was asked for)");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if usize::try_from(length) != Ok(message.len()) {
        bail!("an answer of {} bytes behind a prefix that says {length}", message.len());
    }
    let answer = wire::AppendResponse::decode(message).context("an answer that is no AppendResponse")?;
    ensure!(answer.status() == wire::Status::Ok, "refused: {}", answer.status().as_str_name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mut body: &[u8]) -> Vec<wire::AppendRequest> {
        let mut found = Vec::new();
        while !body.is_empty() {
            let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
            found.push(wire::AppendRequest::decode(&body[5..5 + length]).unwrap());
            body = &body[5 + length..];
        }
        found
    }

    #[test]
    fn an_append_is_parameters_content_and_the_intent_to_commit() {
        let check = |size: usize, chunk: usize, lengths: &[usize]| {
            let found = messages(&append_body("a/journal", &vec![7; size], chunk));
            assert_eq!(found[0].journal, "a/journal");
            let content: Vec<usize> = found[1..].iter().map(|message| message.content.len()).collect();
            assert_eq!(content, lengths);
            assert_eq!(found.last(), Some(&wire::AppendRequest::default()));
        };
        check(100, 1 << 17, &[100, 0]);
        check(1000, 400, &[400, 400, 200, 0]);
        check(0, 10, &[0]);
    }

    #[test]
    fn only_an_ok_is_an_answer() {
        let framed = |status: wire::Status| {
            let answer =
                wire::AppendResponse { status: status.into(), total_chunks: 2, ..Default::default() };
            let mut body = vec![0];
            body.extend_from_slice(&u32::try_from(answer.encoded_len()).unwrap().to_be_bytes());
            body.extend_from_slice(&answer.encode_to_vec());
            body
        };
        let check = |body: &[u8], expected: &str| {
            let reason = check_answer(body).map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(reason, expected);
        };
        check(&framed(wire::Status::Ok), "");
        check(&framed(wire::Status::JournalNotFound), "refused: JOURNAL_NOT_FOUND");
        check(&[], "an answer of 0 bytes (expected a framed message)");
        check(&[0, 0, 0, 0, 9, 1], "an answer of 1 bytes behind a prefix that says 9");
        check(&[1, 0, 0, 0, 0], "a compressed answer (none was asked for)");
    }
}
