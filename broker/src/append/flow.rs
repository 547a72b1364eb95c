//! Pure: how fast one append may come in, and how slow it may be.
//!
//! Two rates act on the bytes of an append while it is received. The greatest rate is a token bucket: a chunk that
//! the balance does not cover waits until ticks have paid for it. The least rate makes a client that stops sending
//! fail after about a second, instead of holding a stream and its buffers for ever.
//!
//! Rates are bytes per second, and arithmetic is in whole milliseconds, as in Gazette. Where Gazette's rules contradict one another
//! this differs: a greatest rate of the broker binds journals that set none, a least rate of zero is no least rate,
//! and a least rate above the greatest is lowered to it.

use std::cmp::{max, min};

use courant_proto::time::Timestamp;

/// Seconds of the greatest rate that an idle journal may save up.
const BANK_SECONDS: i64 = 10;

/// How often a waiting append is given credit.
pub(crate) const TICK_MILLIS: u64 = 50;

/// The rates that bind one append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Bytes per second; zero is without limit.
    pub(crate) greatest: i64,
    /// Bytes per second that must be sustained; zero is none.
    pub(crate) least: i64,
}

impl Rates {
    /// The rates that follow from a journal's own limit and the broker's, each zero where there is none.
    pub(crate) fn of(journal: i64, broker: i64, least: i64) -> Self {
        let greatest = match (max(journal, 0), max(broker, 0)) {
            (0, broker) => broker,
            (journal, 0) => journal,
            (journal, broker) => min(journal, broker),
        };
        let least = if greatest > 0 { min(least, greatest) } else { least };
        Self { greatest, least: max(least, 0) }
    }
}

/// What a journal has saved up. One bucket for all of its appends, however many there are at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    balance: i64,
    at: Timestamp,
}

impl Bucket {
    /// The bucket of a journal's first append: a second's worth.
    fn fresh(rates: Rates, now: Timestamp) -> Self {
        Self { balance: rates.greatest, at: now }
    }

    /// Adds what the time since the last step is worth. A clock that stepped back earns nothing until it has caught up.
    fn earn(&mut self, rates: Rates, now: Timestamp) {
        let elapsed = now.millis().saturating_sub(self.at.millis());
        if elapsed > 0 {
            self.at = now;
            let cap = rates.greatest.saturating_mul(BANK_SECONDS);
            self.balance = min(cap, self.balance.saturating_add(share(rates.greatest, elapsed)));
        }
    }

    fn take(&mut self, wanted: i64) -> i64 {
        let taken = min(wanted, max(self.balance, 0));
        self.balance -= taken;
        taken
    }
}

/// The client fell below the least rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Underflow;

impl Underflow {
    /// The text that Gazette's clients know.
    pub(crate) const TEXT: &'static str = "client stream didn't sustain the minimum append data rate";
}

/// The pacing of one append.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    rates: Rates,
    /// Bytes of the chunk at hand that are not paid yet.
    charge: i64,
    /// Credit against the least rate; at zero the client was too slow.
    spent: i64,
    at: Timestamp,
    total_chunks: i64,
    delayed_chunks: i64,
}

impl Flow {
    /// Begins an append at `now`.
    pub(crate) fn begin(rates: Rates, now: Timestamp) -> Self {
        Self { rates, charge: 0, spent: rates.least, at: now, total_chunks: 0, delayed_chunks: 0 }
    }

    /// Whether chunks are paid from the journal's bucket at all.
    pub(crate) fn is_bound(&self) -> bool {
        self.rates.greatest > 0
    }

    /// A chunk of `length` bytes arrived at `now`. Tells whether it may pass at once; if not, ticks pay for it.
    pub(crate) fn chunk(&mut self, length: usize, now: Timestamp, bucket: &mut Option<Bucket>) -> bool {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.total_chunks += 1;
        self.charge = self.charge.saturating_add(length);
        self.pay(now, bucket);
        if self.charge > 0 {
            self.delayed_chunks += 1;
        }
        self.charge == 0
    }

    /// Time passed. Tells whether the chunk at hand, if any, is paid.
    pub(crate) fn tick(&mut self, now: Timestamp, bucket: &mut Option<Bucket>) -> Result<bool, Underflow> {
        let elapsed = now.millis().saturating_sub(self.at.millis());
        if elapsed > 0 {
            self.at = now;
            self.spent = max(0, self.spent - share(self.rates.least, elapsed));
        }
        self.pay(now, bucket);
        if self.rates.least > 0 && self.spent == 0 {
            return Err(Underflow);
        }
        Ok(self.charge == 0)
    }

    /// The journal is about to move: from here on nothing is held back.
    pub(crate) fn unbind(&mut self) {
        self.rates.greatest = 0;
    }

    /// Chunks seen, and chunks that had to wait.
    pub(crate) fn counts(&self) -> (i64, i64) {
        (self.total_chunks, self.delayed_chunks)
    }

    fn pay(&mut self, now: Timestamp, bucket: &mut Option<Bucket>) {
        let paid = if self.is_bound() {
            let bucket = bucket.get_or_insert_with(|| Bucket::fresh(self.rates, now));
            bucket.earn(self.rates, now);
            bucket.take(self.charge)
        } else {
            self.charge
        };
        self.charge -= paid;
        self.spent = min(self.rates.least, self.spent.saturating_add(paid));
    }
}

/// What a rate is worth over some milliseconds.
fn share(rate: i64, millis: i64) -> i64 {
    rate.saturating_mul(millis) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_chunk_below_the_balance_passes_and_one_above_waits_for_ticks() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 10_000, least: 1_000 }, at(0));
        assert!(flow.chunk(9_990, at(0), &mut bucket));
        assert!(!flow.chunk(30, at(0), &mut bucket));
        assert_eq!(
            flow.tick(at(1), &mut bucket),
            Ok(false),
            "one millisecond pays ten of the twenty that are owed"
        );
        assert_eq!(flow.tick(at(2), &mut bucket), Ok(true));
        assert_eq!(flow.counts(), (2, 1));
    }

    #[test]
    fn a_long_tick_fills_the_bank_less_the_charge_and_then_silence_underflows() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 10_000, least: 1_000 }, at(0));
        assert!(!flow.chunk(10_050, at(0), &mut bucket));
        assert_eq!(flow.tick(at(3_600_000), &mut bucket), Ok(true));
        assert_eq!(bucket.map(|bucket| bucket.balance), Some(100_000 - 50));
        assert_eq!(flow.tick(at(3_600_051), &mut bucket), Err(Underflow));
    }

    #[test]
    fn eleven_seconds_worth_takes_ten_ticks_of_a_second() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 1_000, least: 1_000 }, at(0));
        assert!(!flow.chunk(11_000, at(0), &mut bucket));
        for second in 1..10 {
            assert_eq!(flow.tick(at(second * 1000), &mut bucket), Ok(false), "second {second}");
        }
        assert_eq!(flow.tick(at(10_000), &mut bucket), Ok(true));
    }

    #[test]
    fn the_balance_is_carried_to_the_next_append_with_the_time_between() {
        let rates = Rates { greatest: 1_000, least: 0 };
        for (later, balance) in [(500, 500), (3_600_000, 10_000)] {
            let mut bucket = None;
            assert!(Flow::begin(rates, at(0)).chunk(1_000, at(0), &mut bucket));
            let mut second = Flow::begin(rates, at(later));
            assert!(second.chunk(0, at(later), &mut bucket));
            assert_eq!(bucket.map(|bucket| bucket.balance), Some(balance), "at most ten seconds' worth");
            assert_eq!(second.counts(), (1, 0));
        }
    }

    #[test]
    fn appends_at_the_same_time_share_one_rate() {
        let rates = Rates { greatest: 1_000, least: 0 };
        let mut bucket = None;
        let mut flows: Vec<Flow> = (0..4).map(|_| Flow::begin(rates, at(0))).collect();
        let passed = flows
            .iter_mut()
            .map(|flow| flow.chunk(1_000, at(0), &mut bucket))
            .filter(|passed| *passed)
            .count();
        assert_eq!(passed, 1);
        let paid = |flows: &mut Vec<Flow>, bucket: &mut Option<Bucket>, now| {
            flows.iter_mut().map(|flow| flow.tick(at(now), bucket)).filter(|paid| *paid == Ok(true)).count()
        };
        assert_eq!(paid(&mut flows, &mut bucket, 1_000), 2, "a second pays for one more");
        assert_eq!(paid(&mut flows, &mut bucket, 3_000), 4);
    }

    #[test]
    fn a_journal_that_moves_is_not_held_back() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 10, least: 0 }, at(0));
        assert!(!flow.chunk(1_000_000, at(0), &mut bucket));
        flow.unbind();
        assert_eq!(flow.tick(at(1), &mut bucket), Ok(true));
        assert!(flow.chunk(1_000_000, at(1), &mut bucket));
    }

    #[test]
    fn without_a_greatest_rate_chunks_pass_and_the_least_rate_still_binds() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 0, least: 1_000 }, at(0));
        assert!(flow.chunk(1 << 30, at(0), &mut bucket));
        assert_eq!(flow.tick(at(999), &mut bucket), Ok(true));
        assert_eq!(flow.tick(at(1_001), &mut bucket), Err(Underflow));
        assert_eq!(bucket, None);
    }

    #[test]
    fn rates_follow_from_journal_and_broker() {
        for (journal, broker, least, greatest, bound) in [
            (0, 0, 64, 0, 64),
            (100, 0, 64, 100, 64),
            (0, 100, 64, 100, 64),
            (500, 100, 64, 100, 64),
            (50, 100, 64, 50, 50),
            (50, 0, 0, 50, 0),
            (-1, -1, -1, 0, 0),
        ] {
            assert_eq!(
                Rates::of(journal, broker, least),
                Rates { greatest, least: bound },
                "journal {journal}, broker {broker}, least {least}"
            );
        }
    }

    #[test]
    fn no_least_rate_never_underflows_and_a_clock_that_steps_back_earns_nothing() {
        let mut bucket = None;
        let mut flow = Flow::begin(Rates { greatest: 1_000, least: 0 }, at(10_000));
        assert_eq!(flow.tick(at(3_600_000), &mut bucket), Ok(true));
        let before = bucket;
        assert_eq!(flow.tick(at(5), &mut bucket), Ok(true));
        assert_eq!(bucket, before);
    }
}
