//! A journal that lies in its store alone, read through a broker, beside the same objects fetched and decoded with nothing in between.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use courant_client::{Client, ReadEvent};
use courant_fragment::codec::{Checked, CheckedDecoder, Encoder};
use courant_proto::codec::Codec as Encoding;
use courant_proto::fragment::ContentSum;
use courant_proto::wire;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use sha1::{Digest as _, Sha1};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::args::{Codec, ColdArgs};
use crate::output::{Findings, Sheet, number, times};
use crate::server::Server;
use crate::setup::Setup;
use crate::stats::median;
use crate::{files, journals, net};

/// Bytes that are decoded at a time.
const PIECE: usize = 256 << 10;

/// An object of the store.
#[derive(Clone, Debug)]
struct Object {
    path: PathBuf,
    length: u64,
    /// How long it is as it is stored.
    stored: u64,
    sum: ContentSum,
}

#[derive(Debug, Serialize)]
struct Row {
    codec: Codec,
    fragments: usize,
    content_mb: f64,
    stored_mb: f64,
    direct_mb_per_s: f64,
    grpc_mb_per_s: f64,
    http_mb_per_s: f64,
    grpc_to_direct: f64,
    http_to_direct: f64,
}

pub(crate) async fn run(setup: &Setup, args: &ColdArgs) -> Result<Findings> {
    let fragments = args.fragments.unwrap_or(if setup.quick { 100 } else { 1000 });
    ensure!(fragments > 0 && args.kib > 0, "--fragments and --kib: expected at least 1");
    let home = setup.home()?;
    let mut prepared = Vec::new();
    for codec in &args.codecs {
        let journal = format!("bench/cold-{codec:?}").to_lowercase();
        let folder = home.data().join("fragments").join(&journal);
        let (codec, kib) = (*codec, args.kib);
        let objects = spawn_blocking(move || store(&folder, codec, fragments, kib << 10)).await??;
        prepared.push((codec, journal, objects));
    }
    let courant = Server::courant(setup, &home).await?;
    let client = journals::client(courant.address)?;
    let mut rows = Vec::new();
    for (codec, journal, objects) in prepared {
        journals::create(&client, std::slice::from_ref(&journal), codec, 1).await?;
        let measured = measure(setup, &client, courant.address, codec, &journal, &objects).await;
        rows.push(courant.explain(measured.context(journal))?);
    }
    courant.stop_well().await?;
    let sheet = sheet(&rows);
    Findings::new("cold", &rows, vec![sheet])
}

async fn measure(
    setup: &Setup,
    client: &Client,
    address: SocketAddr,
    codec: Codec,
    journal: &str,
    objects: &[Object],
) -> Result<Row> {
    let length: u64 = objects.iter().map(|object| object.length).sum();
    let mut samples: [Vec<f64>; 3] = Default::default();
    // The first round warms up. Each way has its turn in each.
    for round in 0..=setup.rounds {
        files::tell(&format!("cold: {codec:?}, round {round}").to_lowercase());
        for (way, samples) in samples.iter_mut().enumerate() {
            let began = Instant::now();
            let read = match way {
                0 => {
                    let objects = objects.to_vec();
                    spawn_blocking(move || fetch(encoding(codec), &objects)).await??
                }
                1 => over_grpc(client, journal, length).await?,
                _ => over_http(address, journal, length).await?,
            };
            ensure!(read == length, "{read} bytes of {length} were read");
            if round > 0 {
                samples.push(length as f64 / 1e6 / began.elapsed().as_secs_f64());
            }
        }
    }
    let [direct, grpc, http] = samples;
    let ratio = |way: &[f64]| median(way.iter().zip(&direct).map(|(way, direct)| way / direct));
    Ok(Row {
        codec,
        fragments: objects.len(),
        content_mb: length as f64 / 1e6,
        stored_mb: objects.iter().map(|object| object.stored).sum::<u64>() as f64 / 1e6,
        grpc_to_direct: ratio(&grpc),
        http_to_direct: ratio(&http),
        direct_mb_per_s: median(direct),
        grpc_mb_per_s: median(grpc),
        http_mb_per_s: median(http),
    })
}

/// Fetches each object and decodes it, with the code that brokers decode with, and its digest checked as they do.
fn fetch(codec: Encoding, objects: &[Object]) -> Result<u64> {
    let mut read = 0;
    for object in objects {
        let mut file = files::open(&object.path)?;
        let mut decoder = CheckedDecoder::new(codec, object.length, 0, Some(object.sum))?;
        loop {
            match decoder.pull(PIECE)? {
                Checked::Content(pieces) => {
                    read += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
                }
                Checked::Done => break,
                Checked::NeedsInput => match files::piece(&mut file, PIECE)? {
                    Some(piece) => decoder.push(piece),
                    None => decoder.end(),
                },
            }
        }
    }
    Ok(read)
}

async fn over_grpc(client: &Client, journal: &str, length: u64) -> Result<u64> {
    let request = wire::ReadRequest {
        journal: journal.to_owned(),
        end_offset: i64::try_from(length)?,
        block: true,
        ..Default::default()
    };
    let mut stream = client.read(request);
    let mut read = 0;
    while let Some(event) = stream.next().await {
        if let ReadEvent::Content { content, .. } = event? {
            read += content.len() as u64;
        }
    }
    Ok(read)
}

async fn over_http(address: SocketAddr, journal: &str, length: u64) -> Result<u64> {
    let stream = net::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = http::Request::get(format!("/{journal}"))
        .header(http::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let mut body = sender.send_request(request).await?.into_body();
    let mut read = 0;
    while read < length {
        let Some(frame) = body.frame().await else { break };
        read += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(read)
}

/// Puts the fragments of a journal into its folder.
fn store(folder: &Path, codec: Codec, fragments: usize, bytes: usize) -> Result<Vec<Object>> {
    files::create_folder(folder)?;
    let (mut begin, mut lines) = (0, 0);
    let mut objects = Vec::with_capacity(fragments);
    for _ in 0..fragments {
        let content = text(&mut lines, bytes);
        let length = content.len() as u64;
        let sum = ContentSum(Sha1::digest(&content).into());
        let encoding = encoding(codec);
        let mut encoder = Encoder::new(encoding, length)?;
        encoder.write(&content)?;
        let name = format!("{begin:016x}-{:016x}-{sum}{}", begin + length, encoding.extension());
        let path = folder.join(name);
        let object = encoder.finish()?;
        files::write(&path, &object)?;
        objects.push(Object { path, length, stored: object.len() as u64, sum });
        begin += length;
    }
    Ok(objects)
}

/// Lines as a service logs them, so that codecs have something to do.
fn text(line: &mut u64, bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 200);
    while text.len() < bytes {
        *line += 1;
        let drawn = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (user, took, order) = (drawn >> 44, (drawn >> 20) & 0xfff, drawn & 0xfff_ffff);
        let _ = writeln!(
            text,
            r#"{{"n":{line},"level":"info","user":"user-{user}","path":"/orders/{order:x}","took_us":{took},"status":200}}"#
        );
    }
    text.into_bytes()
}

fn encoding(codec: Codec) -> Encoding {
    match codec {
        Codec::None => Encoding::None,
        Codec::Gzip => Encoding::Gzip,
        Codec::Snappy => Encoding::Snappy,
        Codec::Zstandard => Encoding::Zstandard,
    }
}

fn sheet(rows: &[Row]) -> Sheet {
    let cells = |row: &Row| {
        vec![
            format!("{:?}", row.codec).to_uppercase(),
            row.fragments.to_string(),
            number(row.content_mb),
            number(row.stored_mb),
            number(row.direct_mb_per_s),
            number(row.grpc_mb_per_s),
            number(row.http_mb_per_s),
            times(row.grpc_to_direct),
            times(row.http_to_direct),
        ]
    };
    Sheet {
        title: "A journal in its store alone, read through a broker and fetched directly".to_owned(),
        headings: vec![
            "codec", "fragments", "content MB", "stored MB", "direct MB/s", "gRPC MB/s", "HTTP MB/s", "gRPC ÷ direct",
            "HTTP ÷ direct",
        ],
        rows: rows.iter().map(cells).collect(),
        notes: vec![
            "Direct: each object read, decoded and its SHA-1 checked by one thread of this process. Ratios are the median of the rounds'."
                .to_owned(),
        ],
    }
}
