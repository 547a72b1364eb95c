//! A number of equal appends at a fixed concurrency, by h2load or by a generator of our own, and how long each took.

mod builtin;
mod h2load;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::args::{Generator, Surface};
use crate::server::own_cpu;
use crate::setup::{Home, Setup};
use crate::stats::Times;

/// Bytes of content in one message of an append.
const CHUNK: usize = 128 << 10;

/// Connections that RPCs are spread over, where their number divides by it.
const MOST_CONNECTIONS: usize = 4;

/// Most requests of one run: each leaves a row in a log.
const MOST_REQUESTS: u64 = 2_000_000;

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) surface: Surface,
    pub(crate) address: SocketAddr,
    pub(crate) journal: String,
    /// Bytes of one append.
    pub(crate) size: usize,
    pub(crate) in_flight: usize,
}

/// What came of it. Every request was answered well.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    pub(crate) times: Times,
    /// Processor time of the generator.
    pub(crate) generator_cpu: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Load {
    /// Makes so many requests.
    ///
    /// # Errors
    /// Any request that was not answered as an append that happened.
    pub(crate) async fn run(&self, setup: &Setup, home: &Home, requests: u64) -> Result<Outcome> {
        let before = own_cpu()?;
        let limit = setup.window * 20 + Duration::from_secs(60);
        let running = async {
            match setup.generator {
                Generator::H2load => h2load::run(self, home, requests).await,
                Generator::Builtin => builtin::run(self, requests).await,
            }
        };
        let (requests, elapsed, times) = timeout(limit, running)
            .await
            .with_context(|| format!("the load took longer than {limit:?}"))??;
        Ok(Outcome { requests, elapsed, times, generator_cpu: own_cpu()?.saturating_sub(before) })
    }

    /// Warms up, and returns how many requests take about as long as a measurement is to last, and how many were made.
    pub(crate) async fn warm_up(&self, setup: &Setup, home: &Home) -> Result<(u64, u64)> {
        let in_flight = u64::try_from(self.in_flight).unwrap_or(u64::MAX);
        let first = self.run(setup, home, in_flight.saturating_mul(10).max(200)).await?;
        let second = self.run(setup, home, requests_within(&first, setup.window / 4, in_flight)).await?;
        Ok((requests_within(&second, setup.window, in_flight), first.requests + second.requests))
    }

    /// How many connections RPCs take.
    fn connections(&self) -> usize {
        connections(self.in_flight)
    }
}

fn requests_within(outcome: &Outcome, window: Duration, in_flight: u64) -> u64 {
    let requests = (outcome.per_second() * window.as_secs_f64()) as u64;
    requests.clamp(in_flight.saturating_mul(4), MOST_REQUESTS)
}

fn connections(in_flight: usize) -> usize {
    (1..=MOST_CONNECTIONS.min(in_flight)).rev().find(|count| in_flight.is_multiple_of(*count)).unwrap_or(1)
}

/// The content of appends: letters, so that a journal can be looked at.
fn content(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_evenly_over_few_connections() {
        for (in_flight, expected) in [(1, 1), (2, 2), (7, 1), (63, 3), (64, 4), (256, 4)] {
            assert_eq!(connections(in_flight), expected, "{in_flight}");
        }
    }

    #[test]
    fn a_window_is_filled_and_no_more_than_a_log_can_hold() {
        let check = |requests, elapsed, window, expected| {
            let elapsed = Duration::from_millis(elapsed);
            let outcome =
                Outcome { requests, elapsed, times: crate::stats::times(), generator_cpu: Duration::ZERO };
            assert_eq!(requests_within(&outcome, Duration::from_secs(window), 64), expected);
        };
        check(1_000, 100, 2, 20_000);
        check(10, 1_000, 1, 256);
        check(1_000_000, 1, 100, MOST_REQUESTS);
    }
}
