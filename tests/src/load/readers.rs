//! Those who follow a journal from its beginning, now through this broker and now through that one.

use std::sync::Arc;
use std::time::Duration;

use courant_proto::wire;
use tokio::time::{sleep, timeout};

use super::Stage;
use crate::access::{Access, End, Part};
use crate::cluster::Addresses;

/// Longest time with one broker.
const SESSION_MS: u64 = 4_000;

/// Pause after a session that came to nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads on and on. Each session begins where the last one ended; within one, offsets adjoin and the write head never goes
/// back.
pub(super) async fn follow(stage: Arc<Stage>, addresses: Addresses, reader: u32, seed: u64) {
    let mut access = Access::new(addresses, seed, Duration::from_secs(5));
    let mut at = 0;
    stage.follows(reader, at);
    loop {
        let session = Duration::from_millis(200 + access.choose(SESSION_MS));
        let before = at;
        if access.choose(3) == 0 {
            // Whatever ends it, the next session goes on from there.
            let reading = over_http(&stage, reader, &mut access, &mut at);
            drop(timeout(session, reading).await);
        } else {
            over_grpc(&stage, reader, &mut access, &mut at, session).await;
        }
        if at == before {
            sleep(PAUSE).await;
        }
        access.leave();
    }
}

async fn over_grpc(stage: &Stage, reader: u32, access: &mut Access, at: &mut i64, session: Duration) {
    // A replica that is asked not to pass the request on answers by itself, or says that it is none.
    let do_not_proxy = access.choose(2) == 0;
    let request = wire::ReadRequest {
        journal: stage.name().to_owned(),
        offset: *at,
        block: true,
        do_not_proxy,
        ..Default::default()
    };
    let mut head = 0;
    let ended = access.read(request, session, |part| match part {
        Part::Head { offset, write_head, .. } => {
            if write_head < head {
                stage.breaks("J7", format!("the write head went back from {head} to {write_head}"));
            }
            head = write_head;
            if offset != *at {
                stage.breaks("J26", format!("a reader at {at} was moved to {offset}"));
                *at = offset;
            }
        }
        Part::Content { offset, bytes } => {
            if offset != *at {
                stage.breaks("J7", format!("a reader at {at} was given offset {offset}"));
            }
            stage.see(offset, bytes);
            *at = offset + i64::try_from(bytes.len()).unwrap_or(0);
            stage.follows(reader, *at);
        }
    });
    if let End::Status(status) = ended.await
        && status == wire::Status::OffsetNotYetAvailable
    {
        stage.breaks("J8", format!("a read that waits at {at} was told OFFSET_NOT_YET_AVAILABLE"));
    }
}

async fn over_http(stage: &Stage, reader: u32, access: &mut Access, at: &mut i64) {
    let Some(mut connection) = access.connection().await else { return };
    let target = format!("/{}?offset={at}&block=true", stage.name());
    if connection.begin("GET", &target, &[], b"").await.is_err() {
        return;
    }
    let Ok(answer) = connection.head("GET").await else { return };
    if answer.status != 206 {
        return;
    }
    let range = format!("bytes {at}-{max}/{max}", max = i64::MAX);
    if answer.header("content-range") != Some(&*range) {
        stage.breaks("J26", format!("a reader at {at} was answered with {answer:?}"));
        return;
    }
    while let Ok(Some(part)) = connection.part().await {
        stage.see(*at, &part);
        *at += i64::try_from(part.len()).unwrap_or(0);
        stage.follows(reader, *at);
    }
}
