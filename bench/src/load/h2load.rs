//! h2load: a process that sends a prepared body, and logs each request.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::{CHUNK, Load, content};
use crate::args::Surface;
use crate::setup::Home;
use crate::stats::Times;
use crate::{files, framing, grpc, h2load_log};

/// On loopback this takes only a connection whose first packet was dropped: it is sent again after a second.
const SLOW_CONNECT: Duration = Duration::from_millis(800);

pub(super) async fn run(load: &Load, home: &Home, requests: u64) -> Result<(u64, Duration, Times)> {
    let (body, log) = (home.file("h2load.body"), home.file("h2load.log"));
    let mut command = Command::new("h2load");
    command.args(["--threads", "1", "--requests"]).arg(requests.to_string());
    command.arg("--data").arg(&body).arg("--log-file").arg(&log);
    let expected_status = match load.surface {
        Surface::Grpc => {
            files::write(&body, &framing::append_body(&load.journal, &content(load.size), CHUNK))?;
            let connections = load.connections();
            command
                .args(["--clients", &connections.to_string()])
                .args(["--max-concurrent-streams", &(load.in_flight / connections).to_string()])
                .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
                .arg(format!("http://{}{}", load.address, grpc::APPEND_PATH));
            200
        }
        Surface::Http => {
            files::write(&body, &content(load.size))?;
            command
                .args(["--h1", "--clients", &load.in_flight.to_string(), "--header", ":method: PUT"])
                .arg(format!("http://{}/{}", load.address, load.journal));
            204
        }
    };
    // It would append to the log of the run before.
    files::create(&log)?;
    let output = output(command).await?;
    let log = h2load_log::parse(&files::read(&log)?, expected_status)
        .with_context(|| format!("h2load said:\n{}", String::from_utf8_lossy(&output.stdout)))?;
    if log.failed > 0 {
        bail!(
            "{} of {} requests failed, the last of them with status {} (expected {expected_status})",
            log.failed,
            log.requests,
            log.failed_with
        );
    }
    let summary = String::from_utf8_lossy(&output.stdout);
    if let Some(slowest) = h2load_log::slowest_connect(&summary).filter(|slowest| *slowest > SLOW_CONNECT) {
        files::tell(&format!(
            "  a connection took {slowest:?} to open (is the listener's backlog full?): the rate is lower than it would be"
        ));
    }
    ensure!(log.requests == requests, "h2load made {} of {requests} requests", log.requests);
    Ok((log.requests, log.elapsed, log.times))
}

async fn output(mut command: Command) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context(
        "cannot run h2load: install it (on Debian and Ubuntu: apt-get install nghttp2-client), or use --generator builtin",
    )?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "h2load ended with {}: {errors}", output.status);
    Ok(output)
}
