//! Every codec there and back, in pieces of every size, and content that lies about itself.

use std::io::Write;

use bytes::Bytes;
use courant_proto::codec::Codec;
use proptest::prelude::*;

use super::*;

fn encode(codec: Codec, content: &[u8]) -> Bytes {
    let mut encoder = Encoder::new(codec, content.len() as u64).expect("encoder");
    encoder.write(content).expect("content of the announced length");
    encoder.finish().expect("whole object")
}

/// Decodes an object given in pieces of `step` bytes, pulled in pieces of `pull` bytes.
fn decode(
    codec: Codec,
    object: &[u8],
    length: u64,
    step: usize,
    pull: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(codec, length)?;
    let mut pieces = object.chunks(step);
    let mut content = Vec::new();
    loop {
        match decoder.pull(pull)? {
            Decoded::Content(piece) => {
                assert!(!piece.is_empty() && piece.len() <= pull, "{} bytes of {pull}", piece.len());
                content.extend_from_slice(&piece);
                assert!(content.len() as u64 <= length, "handed out more than promised");
            }
            Decoded::NeedsInput => match pieces.next() {
                Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                None => decoder.end(),
            },
            Decoded::Done => return Ok(content),
        }
    }
}

fn whole(codec: Codec, object: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    decode(codec, object, length as u64, 4096, 1 << 16)
}

fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {n} of a log\n").into_bytes()).take(length).collect()
}

#[test]
fn objects_are_what_other_programs_read() {
    let content = text(300_000);
    let mut gunzipped = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&*encode(Codec::Gzip, &content)),
        &mut gunzipped,
    )
    .expect("a single member");
    assert_eq!(gunzipped, content);
    assert_eq!(zstd::decode_all(&*encode(Codec::Zstandard, &content)).expect("zstd"), content);
    let mut unsnapped = Vec::new();
    let object = encode(Codec::Snappy, &content);
    std::io::Read::read_to_end(&mut snap::read::FrameDecoder::new(&*object), &mut unsnapped).expect("snappy");
    assert_eq!(unsnapped, content);
    assert_eq!(encode(Codec::None, &content), content);
    assert_eq!(encode(Codec::GzipOffload, &content)[..2], [0x1f, 0x8b]);
}

#[test]
fn several_members_frames_and_streams_are_one_content() {
    let (one, two) = (text(100_000), text(33));
    let both = [one.clone(), two.clone()].concat();
    for codec in [Codec::Gzip, Codec::Zstandard, Codec::Snappy, Codec::GzipOffload] {
        let object = [encode(codec, &one), encode(codec, &[]), encode(codec, &two)].concat();
        assert_eq!(whole(codec, &object, both.len()).expect("concatenated"), both, "{codec}");
    }
}

#[test]
fn an_offloaded_object_may_come_already_decompressed() {
    for content in [&b"plain text"[..], b"x", b"\x1f", b"\x1f\x1f"] {
        assert_eq!(whole(Codec::GzipOffload, content, content.len()).expect("plain"), content);
    }
}

#[test]
fn content_of_another_length_is_an_error() {
    let content = text(70_000);
    for codec in Codec::ALL {
        let object = encode(codec, &content);
        assert!(
            matches!(
                whole(codec, &object, content.len() + 1),
                Err(DecodeError::Short { missing: 1, length: 70_001 })
            ),
            "{codec}"
        );
        assert!(
            matches!(whole(codec, &object, content.len() - 1), Err(DecodeError::Long { length: 69_999 })),
            "{codec}"
        );
    }
}

#[test]
fn a_cut_object_is_an_error_wherever_it_is_cut() {
    let content = text(5_000);
    for codec in [Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let object = encode(codec, &content);
        for cut in 0..object.len() {
            let error = whole(codec, &object[..cut], content.len()).expect_err("cut off");
            assert!(
                matches!(error, DecodeError::Truncated { .. } | DecodeError::Short { .. }),
                "{codec} cut at {cut}: {error}"
            );
        }
    }
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let content = text(2_000);
    for codec in [Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let object = encode(codec, &content);
        for at in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[at] ^= 0x55;
            // Some bytes of headers (a time, an operating system) mean nothing.
            if let Ok(decoded) = whole(codec, &damaged, content.len()) {
                assert_eq!(decoded, content, "{codec} flipped at {at}");
            }
        }
    }
}

#[test]
fn junk_behind_the_object_is_an_error() {
    let content = text(2_000);
    for codec in [Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let object = [&encode(codec, &content)[..], b"junk"].concat();
        whole(codec, &object, content.len()).expect_err("junk");
    }
}

#[test]
fn a_bomb_yields_what_was_promised_and_stops() {
    let zeros = vec![0; 64 << 20];
    for codec in [Codec::Gzip, Codec::Zstandard, Codec::Snappy] {
        let object = encode(codec, &zeros);
        let error = decode(codec, &object, 1000, object.len(), 1 << 20).expect_err("a bomb");
        assert!(matches!(error, DecodeError::Long { length: 1000 }), "{codec}: {error}");
    }
}

#[test]
fn a_window_beyond_the_cap_is_refused() {
    let content = text(1 << 20);
    let object = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.long_distance_matching(true).expect("long distance");
        encoder.window_log(log).expect("window");
        encoder.write_all(&content).expect("written");
        encoder.finish().expect("finished")
    };
    assert_eq!(whole(Codec::Zstandard, &object(25), content.len()).expect("32 MiB"), content);
    let error = whole(Codec::Zstandard, &object(26), content.len()).expect_err("64 MiB");
    assert!(matches!(error, DecodeError::Corrupt { .. }), "{error}");
}

#[test]
fn a_million_empty_members_are_not_believed() {
    for codec in [Codec::Gzip, Codec::Zstandard] {
        let empty = encode(codec, &[]);
        let object = empty.repeat(1_000_000);
        let error = decode(codec, &object, 10, object.len(), 1 << 16).expect_err("surplus");
        assert!(matches!(error, DecodeError::Corrupt { .. }), "{codec}: {error}");
    }
}

#[test]
fn snappy_chunks_by_the_book() {
    const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";
    let check = |object: &[u8], length: usize, expected: Result<&[u8], &str>| {
        let result = decode(Codec::Snappy, object, length as u64, 1, 7);
        match expected {
            Ok(content) => assert_eq!(result.expect("content"), content),
            Err(reason) => {
                let error = result.expect_err("refused").to_string();
                assert!(error.contains(reason), "{error}, expected {reason}");
            }
        }
    };
    let with = |rest: &[u8]| [IDENTIFIER, rest].concat();
    // "abc" uncompressed, with its masked CRC-32C.
    let crc = crc32c::crc32c(b"abc").rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let abc = [&[0x01, 7, 0, 0][..], &crc, b"abc"].concat();
    check(&with(&abc), 3, Ok(b"abc"));
    check(&with(&[&[0xfe, 2, 0, 0, 9, 9][..], &abc, &[0x80, 0, 0, 0]].concat()), 3, Ok(b"abc"));
    check(&with(&[&abc, IDENTIFIER, &abc].concat()), 6, Ok(b"abcabc"));
    check(&abc, 3, Err("expected its identifier"));
    check(b"\xff\x06\x00\x00sNaPpX", 3, Err("wrong stream identifier"));
    check(&with(&[0x02, 0, 0, 0]), 3, Err("reserved"));
    check(&with(&[0x01, 3, 0, 0, 1, 2, 3]), 3, Err("no room for its checksum"));
    check(&with(&[0x01, 0xff, 0xff, 0xff]), 3, Err("no chunk of 64 KiB"));
    check(&with(&[0x01, 7, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']), 3, Err("checksum"));
    // A block that claims 4 GiB.
    check(&with(&[0x00, 9, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]), 3, Err("no chunk of 64 KiB"));
}

#[test]
fn an_encoder_holds_to_the_length() {
    for codec in Codec::ALL {
        let mut encoder = Encoder::new(codec, 5).expect("encoder");
        encoder.write(b"abc").expect("within");
        assert!(matches!(encoder.write(b"def"), Err(EncodeError::Length { found: 6, length: 5 })), "{codec}");
        let mut encoder = Encoder::new(codec, 5).expect("encoder");
        encoder.write(b"abc").expect("within");
        assert!(matches!(encoder.finish(), Err(EncodeError::Length { found: 3, length: 5 })), "{codec}");
    }
}

/// A reader over `content`, which gives at most `most` bytes at a time.
fn reader(content: &[u8], most: usize) -> impl FnMut(u64, &mut [u8]) -> std::io::Result<usize> {
    move |position, buffer| {
        let rest = &content[position as usize..];
        let count = rest.len().min(buffer.len()).min(most);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[test]
fn an_encoding_reader_yields_pieces() {
    let content = text(1_000_000);
    for codec in Codec::ALL {
        let mut pieces =
            EncodingReader::new(codec, content.len() as u64, reader(&content, 77_777)).expect("reader");
        let mut object = Vec::new();
        let mut last_was_short = false;
        while let Some(piece) = pieces.next_piece(10_000).expect("piece") {
            assert!(!last_was_short, "only the last piece is short");
            last_was_short = piece.len() < 10_000;
            object.extend_from_slice(&piece);
        }
        assert_eq!(whole(codec, &object, content.len()).expect("decodes"), content, "{codec}");
        assert!(pieces.next_piece(10_000).expect("ended").is_none());
    }
}

#[test]
fn an_encoding_reader_notices_another_length() {
    let content = text(10_000);
    for codec in Codec::ALL {
        for length in [9_999, 10_001] {
            let mut pieces = EncodingReader::new(codec, length, reader(&content, 4_000)).expect("reader");
            let error = loop {
                match pieces.next_piece(1 << 20) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{codec} of {length} was believed"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, EncodeError::Length { .. }), "{codec}: {error}");
        }
    }
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

proptest! {
    #[test]
    fn content_comes_back_whatever_the_pieces(
        codec in codecs(),
        seed in prop::collection::vec(any::<u8>(), 0..400),
        repeat in 1..300usize,
        step in 1..5000usize,
        pull in 1..5000usize,
    ) {
        let content = seed.repeat(repeat);
        // Content that looks like gzip is the one thing which an offloaded object cannot hold decompressed.
        let object = encode(codec, &content);
        prop_assert_eq!(decode(codec, &object, content.len() as u64, step, pull).expect("decodes"), content);
    }

    #[test]
    fn garbage_never_panics(
        codec in codecs(),
        object in prop::collection::vec(any::<u8>(), 0..3000),
        length in 0..100_000u64,
        step in 1..500usize,
    ) {
        let _ = decode(codec, &object, length, step, 1 << 16);
    }

    #[test]
    fn damage_never_panics(
        codec in codecs(),
        content in prop::collection::vec(any::<u8>(), 1..3000),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut object = encode(codec, &content).to_vec();
        for (at, bits) in flips {
            let at = at.index(object.len());
            object[at] ^= bits;
        }
        object.truncate(cut.index(object.len()) + 1);
        let _ = decode(codec, &object, content.len() as u64, 333, 1000);
    }
}
