//! Pure: what a broker believes of a listing of a journal's stores. See record 9.
//!
//! Anybody who can write to a bucket can put an object there whose name says that the journal goes on far above its head. Believed,
//! it would keep appends out until an operator comes. What the log of a member knows stands against it:
//!
//! ```text
//!                    end of the log
//!  ──[a)[b)[c)────────────┤            believed
//!                       [d)[e)         a chain from there: believed, unless this log was known to be the furthest
//!                                [f)   above a hole: set aside
//! ```

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;

/// What a broker knows of a journal's end besides its stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standpoint {
    /// The end of its log.
    pub(crate) end: Offset,
    /// Its log is one of those that hold what is committed, and had reached whatever the stores were known to hold: only what is in
    /// it can have been stored since.
    pub(crate) is_furthest: bool,
}

impl Standpoint {
    /// What is known once members have agreed on an end. None where there may be more of the journal behind a hole: members may not know its
    /// end, as a log lost records or another make was at work; or nothing reaches up to their end any more, and the hole may be pruning.
    pub(crate) fn agreed(end: Offset, is_known: bool, is_reached: bool) -> Option<Self> {
        (is_known && is_reached && end > Offset::ZERO).then_some(Self { end, is_furthest: false })
    }
}

/// Parts fragments into those that are believed, in their order, and those that are set aside.
pub(crate) fn believe(
    fragments: Vec<Fragment>,
    standpoint: Option<Standpoint>,
) -> (Vec<Fragment>, Vec<Fragment>) {
    let Some(Standpoint { end, is_furthest }) = standpoint else { return (fragments, Vec::new()) };
    let reached = if is_furthest { end } else { reached(&fragments, end) };
    fragments.into_iter().partition(|fragment| fragment.end <= reached)
}

/// How far a chain of fragments goes on from an offset, each of which touches or overlaps what is before it.
fn reached(fragments: &[Fragment], end: Offset) -> Offset {
    let mut above: Vec<(Offset, Offset)> = fragments
        .iter()
        .map(|fragment| (fragment.begin, fragment.end))
        .filter(|(_, above)| *above > end)
        .collect();
    above.sort_unstable();
    let mut reached = end;
    for (begin, end) in above {
        if begin > reached {
            break;
        }
        reached = reached.max(end);
    }
    reached
}

#[cfg(test)]
mod tests {
    use courant_proto::codec::Codec;
    use courant_proto::name::JournalName;

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("an offset")
    }

    fn spans(spans: &[(i64, i64)]) -> Vec<Fragment> {
        let journal = JournalName::parse("a/journal").expect("a name");
        let spans = spans.iter().map(|(begin, end)| Fragment {
            end: offset(*end),
            ..Fragment::empty_at(journal.clone(), offset(*begin), Codec::None)
        });
        spans.collect()
    }

    #[test]
    fn an_agreed_end_stands_against_the_listing_only_where_there_can_be_no_more() {
        let agreed = |is_known, is_reached| Standpoint::agreed(offset(100), is_known, is_reached);
        let listed = [(0, 100), (150, 200)];
        assert_eq!(believe(spans(&listed), agreed(true, true)).1, spans(&[(150, 200)]));
        for (is_known, is_reached) in [(true, false), (false, true), (false, false)] {
            assert_eq!(believe(spans(&listed), agreed(is_known, is_reached)).1, []);
        }
        assert_eq!(Standpoint::agreed(Offset::ZERO, true, true), None);
    }

    #[test]
    fn the_log_stands_against_the_listing() {
        let check = |standpoint: Option<(i64, bool)>, listed: &[(i64, i64)], aside: &[(i64, i64)]| {
            let standpoint =
                standpoint.map(|(end, is_furthest)| Standpoint { end: offset(end), is_furthest });
            let (believed, set_aside) = believe(spans(listed), standpoint);
            assert_eq!(set_aside, spans(aside), "{standpoint:?}");
            assert_eq!(believed.len() + aside.len(), listed.len());
        };
        let far = 1 << 59;
        // Nothing is known but what the stores say.
        check(None, &[(0, 100), (far, far + 10)], &[]);
        // Others may have gone on where this log ends, but not above a hole.
        check(Some((100, false)), &[(0, 100), (100, 150), (140, 200), (far, far + 10)], &[(far, far + 10)]);
        check(Some((100, false)), &[(90, 120), (0, 100)], &[]);
        check(Some((100, false)), &[(0, 100), (101, 102)], &[(101, 102)]);
        // Nobody can have gone on.
        check(Some((100, true)), &[(0, 100), (90, 120), (100, 150)], &[(90, 120), (100, 150)]);
        check(Some((100, true)), &[(0, 50), (50, 100)], &[]);
    }
}
