//! Pure: when the open spool of a journal is closed, and where the next one begins.

use courant_proto::offset::Offset;
use courant_proto::spec::JournalSpec;
use courant_proto::time::Timestamp;

/// What the rules look at of the open spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenSpool {
    pub(crate) begin: Offset,
    pub(crate) end: Offset,
    /// When the first byte of the spool was committed.
    pub(crate) first_append: Option<Timestamp>,
}

/// Where the next spool begins if the open one is to be closed before anything more is committed.
///
/// `jump` is an offset that the journal must go on at; `index_begin` is the lowest offset known of it. The first content of a
/// journal becomes a fragment of its own as soon as more follows, so that the store bears a mark of the journal early.
pub(crate) fn roll(
    spool: OpenSpool,
    spec: &JournalSpec,
    index_begin: Offset,
    jump: Option<Offset>,
    now: Timestamp,
) -> Option<Offset> {
    let length = spool.end.distance_from(spool.begin).unwrap_or(0);
    let target = jump.map_or(spool.end, |jump| jump.max(spool.end));
    if length == 0 {
        return (target != spool.end).then_some(target);
    }
    let due = length > spec.fragment.length.unsigned_abs()
        || jump.is_some_and(|jump| jump != Offset::ZERO && jump != spool.begin)
        || spool.begin == index_begin
        || flush_is_due(spool.first_append, spec, now);
    due.then_some(target)
}

/// When content first committed at `first_append` must be closed, in Unix seconds: at the next multiple of the flush interval
/// since the epoch. None if the journal has no interval.
pub(crate) fn flush_deadline(first_append: Timestamp, spec: &JournalSpec) -> Option<i64> {
    let interval = spec.fragment.flush_interval?.as_secs();
    let interval = i64::try_from(interval).ok().filter(|interval| *interval > 0)?;
    first_append.secs().div_euclid(interval).checked_add(1)?.checked_mul(interval)
}

fn flush_is_due(first_append: Option<Timestamp>, spec: &JournalSpec, now: Timestamp) -> bool {
    first_append.and_then(|first| flush_deadline(first, spec)).is_some_and(|deadline| now.secs() >= deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::group::tests::spec;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("a valid offset")
    }

    #[test]
    fn when_the_open_spool_is_closed() {
        // Length 1024, flush interval one minute.
        let spec = spec();
        let spool = |begin, end, first| OpenSpool {
            begin: offset(begin),
            end: offset(end),
            first_append: Some(Timestamp::from_secs(first)),
        };
        let cases = [
            ("nothing is due", spool(100, 500, 130), None, 170, None),
            ("the length is reached, but not exceeded", spool(100, 1124, 130), None, 170, None),
            ("the length is exceeded", spool(100, 1125, 130), None, 170, Some(1125)),
            ("the next interval began", spool(100, 500, 130), None, 180, Some(500)),
            ("the clock stepped back", spool(100, 500, 130), None, 10, None),
            ("the journal goes on further up", spool(100, 500, 130), Some(900), 170, Some(900)),
            ("the journal goes on where the spool begins", spool(100, 500, 130), Some(100), 170, None),
            ("an empty spool stays", spool(500, 500, 130), None, 9999, None),
            ("an empty spool moves", spool(500, 500, 130), Some(900), 170, Some(900)),
            ("the first content of the journal", spool(0, 7, 130), None, 131, Some(7)),
        ];
        for (name, spool, jump, now, expected) in cases {
            assert_eq!(
                roll(spool, &spec, Offset::ZERO, jump.map(offset), Timestamp::from_secs(now)),
                expected.map(offset),
                "{name}"
            );
        }
    }

    #[test]
    fn content_is_flushed_at_multiples_of_the_interval() {
        let mut spec = spec();
        for (first, deadline) in [(0, 60), (59, 60), (60, 120), (61, 120)] {
            assert_eq!(flush_deadline(Timestamp::from_secs(first), &spec), Some(deadline));
        }
        spec.fragment.flush_interval = None;
        assert_eq!(flush_deadline(Timestamp::from_secs(61), &spec), None);
    }
}
