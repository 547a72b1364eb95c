//! Pure: what is new in the listing of a journal, and whether all of a time is in what was told of it.
//!
//! A journal's place is the offset below which all was told. A fragment is told once, when it is the next one in the store: one that lies
//! below the place is not news, however late it was stored, and of one that reaches across it the part above is.

use jiff::Timestamp;

/// A fragment as it was listed: spans ascend, and none lies inside another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) begin: i64,
    pub(super) end: i64,
    /// When it was stored, in Unix seconds; zero if it is not.
    pub(super) stored_at: i64,
    /// Folders below the journal's, as `date=2026-11-28/hour=10`.
    pub(super) postfix: &'a str,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A fragment, by its place in the listing, from this offset on.
    Fragment { index: usize, from: i64 },
    /// Nobody holds these offsets.
    Gap { begin: i64, end: i64 },
}

/// What holds a journal up where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting<'a> {
    /// Nothing: all that is listed was told.
    Nothing,
    /// Content that is not stored yet, and the partition that it would be stored in.
    ForStore(&'a str),
    /// What lies before the next fragment is missing, and may only be late.
    BehindGap,
}

/// What a listing came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advance<'a> {
    pub(super) steps: Vec<Step>,
    /// The new place; none while nothing of the journal was ever listed.
    pub(super) place: Option<i64>,
    pub(super) waiting: Waiting<'a>,
}

/// Where to begin in a journal of which nothing was told: at the first fragment that was not stored before a time, or behind all of them.
pub(super) fn start(spans: &[Span<'_>], from: i64) -> Option<i64> {
    let first = spans.iter().find(|span| span.stored_at == 0 || span.stored_at >= from);
    first.map(|span| span.begin).or_else(|| spans.last().map(|span| span.end))
}

/// Goes on from a place, as far as fragments are stored without a gap between them. A gap is passed over once what lies behind it was
/// stored before `gaps_until`.
pub(super) fn advance<'a>(place: Option<i64>, spans: &[Span<'a>], gaps_until: i64) -> Advance<'a> {
    let mut advance = Advance { steps: Vec::new(), place, waiting: Waiting::Nothing };
    let Some(mut at) = place else { return advance };
    loop {
        let covering = || spans.iter().enumerate().filter(|(_, span)| span.begin <= at && at < span.end);
        let stored = covering().filter(|(_, span)| span.stored_at > 0).max_by_key(|(_, span)| span.end);
        if let Some((index, span)) = stored {
            advance.steps.push(Step::Fragment { index, from: at });
            at = span.end;
        } else if let Some((_, span)) = covering().next() {
            advance.waiting = Waiting::ForStore(span.postfix);
            break;
        } else if let Some(next) = spans.iter().find(|span| span.begin > at) {
            if next.stored_at == 0 || next.stored_at >= gaps_until {
                advance.waiting = Waiting::BehindGap;
                break;
            }
            advance.steps.push(Step::Gap { begin: at, end: next.begin });
            at = next.begin;
        } else {
            break;
        }
    }
    advance.place = Some(at);
    advance
}

/// Whether what lies between a place and the end of its journal is nowhere to be seen: neither stored nor with the primary, which listed it.
pub(super) fn is_missing(advance: &Advance<'_>, head: i64) -> bool {
    advance.waiting == Waiting::Nothing && advance.place.unwrap_or(0) < head
}

/// Whether all that was written before a time was told. It was listed by the primary, after that time.
///
/// `head` is where the journal ended when it was first judged for this time: whatever is below was written before then, and what was
/// written before the time is below. It is the last resort where partitions say nothing.
pub(super) fn is_whole(advance: &Advance<'_>, time: i64, head: i64) -> bool {
    let reached = advance.place.unwrap_or(0) >= head;
    match advance.waiting {
        Waiting::Nothing | Waiting::BehindGap => reached,
        Waiting::ForStore(postfix) => reached || begin_of(postfix).is_some_and(|begin| begin >= time),
    }
}

/// When a partition begins, of `date=YYYY-MM-DD` alone or with `hour=HH`.
fn begin_of(postfix: &str) -> Option<i64> {
    let value = |key: &str| postfix.split('/').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let (date, hour) = (value("date")?, value("hour").unwrap_or("00"));
    format!("{date}T{hour}:00:00Z").parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: i64 = 1_000;

    fn stored(begin: i64, end: i64) -> Span<'static> {
        Span { begin, end, stored_at: LATE, postfix: "" }
    }

    fn local(begin: i64, end: i64, postfix: &'static str) -> Span<'static> {
        Span { begin, end, stored_at: 0, postfix }
    }

    fn told(place: Option<i64>, spans: &[Span<'_>], gaps_until: i64) -> (Vec<(i64, i64, i64)>, Option<i64>) {
        let advance = advance(place.or_else(|| start(spans, 0)), spans, gaps_until);
        let tell = |step: &Step| match *step {
            Step::Fragment { index, from } => (spans[index].begin, spans[index].end, from),
            Step::Gap { begin, end } => (-1, begin, end),
        };
        (advance.steps.iter().map(tell).collect(), advance.place)
    }

    #[test]
    fn fragments_are_told_once_and_in_order() {
        let spans = [stored(0, 10), stored(10, 20), local(20, 30, "")];
        assert_eq!(told(None, &spans, 0), (vec![(0, 10, 0), (10, 20, 10)], Some(20)));
        assert_eq!(told(Some(10), &spans, 0), (vec![(10, 20, 10)], Some(20)));
        assert_eq!(told(Some(20), &spans, 0), (vec![], Some(20)));
        assert_eq!(told(None, &[], 0), (vec![], None));
        // What was pruned before we came is not ours to tell.
        assert_eq!(told(None, &[stored(50, 60)], 0), (vec![(50, 60, 50)], Some(60)));
    }

    #[test]
    fn a_journal_is_begun_where_it_was_asked_for() {
        let spans = [stored(0, 10), Span { stored_at: LATE + 5, ..stored(10, 20) }];
        for (from, expected) in [(0, 0), (LATE, 0), (LATE + 1, 10), (LATE + 5, 10), (LATE + 6, 20)] {
            assert_eq!(start(&spans, from), Some(expected), "{from}");
        }
        assert_eq!(start(&[stored(0, 10), local(10, 20, "")], i64::MAX), Some(10));
        assert_eq!(start(&[], 0), None);
    }

    #[test]
    fn a_later_one_waits_for_an_earlier_one() {
        let spans = [stored(0, 10), local(10, 20, ""), stored(20, 30)];
        assert_eq!(told(None, &spans, LATE + 1), (vec![(0, 10, 0)], Some(10)));
    }

    #[test]
    fn other_cuts_of_the_same_content_are_no_news() {
        // Another broker stored [0, 25) late; of that only what lies above the place is new.
        assert_eq!(told(Some(20), &[stored(0, 25)], 0), (vec![(0, 25, 20)], Some(25)));
        assert_eq!(told(Some(20), &[stored(0, 15), stored(5, 20)], 0), (vec![], Some(20)));
        // Of two that cover the place the one that reaches further is told.
        let spans = [stored(0, 12), stored(5, 20), stored(8, 30)];
        assert_eq!(told(Some(10), &spans, 0), (vec![(8, 30, 10)], Some(30)));
    }

    #[test]
    fn a_gap_is_waited_for_and_told() {
        let spans = [stored(0, 10), stored(20, 30)];
        assert_eq!(told(None, &spans, LATE), (vec![(0, 10, 0)], Some(10)));
        assert_eq!(advance(Some(0), &spans, LATE).waiting, Waiting::BehindGap);
        assert_eq!(told(None, &spans, LATE + 1), (vec![(0, 10, 0), (-1, 10, 20), (20, 30, 20)], Some(30)));
        // What is not stored has no time, so nobody knows how long it has been missing.
        assert_eq!(told(Some(10), &[local(20, 30, "")], i64::MAX), (vec![], Some(10)));
    }

    #[test]
    fn an_hour_is_whole_when_what_waits_is_of_a_later_one() {
        let ten = "2026-11-28T10:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let check = |spans: &[Span<'_>], head: i64, whole: bool| {
            assert_eq!(is_whole(&advance(start(spans, 0), spans, 0), ten, head), whole, "{spans:?} {head}");
        };
        let (nine, later) = ("date=2026-11-28/hour=09", "date=2026-11-28/hour=10");
        check(&[], 0, true);
        // The listing is behind what the primary has.
        check(&[], 7, false);
        check(&[stored(0, 10)], 10, true);
        check(&[stored(0, 10)], 11, false);
        check(&[stored(0, 10), local(10, 20, nine)], 20, false);
        check(&[stored(0, 10), local(10, 20, nine), local(20, 30, later)], 30, false);
        check(&[stored(0, 10), local(10, 20, later)], 20, true);
        // Without partitions all that was there has to be stored, and a gap before that is one in time too.
        check(&[stored(0, 10), local(10, 20, "")], 20, false);
        check(&[stored(0, 20), local(20, 30, "")], 20, true);
        check(&[stored(0, 10), stored(20, 30)], 30, false);
    }

    #[test]
    fn partitions_have_times() {
        for (postfix, expected) in [
            ("date=2026-11-28/hour=10", Some("2026-11-28T10:00:00Z")),
            ("kind=x/date=2026-11-28/hour=00/more", Some("2026-11-28T00:00:00Z")),
            ("date=2026-11-28", Some("2026-11-28T00:00:00Z")),
            ("", None),
            ("hour=10", None),
            ("date=2026-13-28/hour=10", None),
            ("date=x", None),
            ("updated=2026-11-28", None),
        ] {
            let expected = expected.map(|time| time.parse::<Timestamp>().unwrap().as_second());
            assert_eq!(begin_of(postfix), expected, "{postfix}");
        }
    }
}
