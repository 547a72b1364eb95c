//! Pure: the fragments of a journal, in order and a page at a time, and their summary.

use std::cmp::Ordering;

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

use crate::cover_set::{CoverSet, Span};
use crate::query::{self, Found, Stored};

/// Which fragments to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// The first fragment that begins here or later is the first one looked at. Need not be the begin of any.
    pub from: Offset,
    /// Stored fragments from before this time are left out, in Unix seconds; zero leaves out none.
    pub begin_mod_time: i64,
    /// Stored fragments from after this time are left out, and so is what is not stored; zero leaves out
    /// none.
    pub end_mod_time: i64,
    /// Fragments listed, at most.
    pub limit: usize,
}

/// Fragments, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<F> {
    /// In order.
    pub fragments: Vec<F>,
    /// Begin of the next fragment that was not looked at; none: there is none.
    pub next: Option<Offset>,
}

/// A fragment of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub fragment: Fragment,
    /// When the first content of it was committed, where it is not stored.
    pub first_append: Option<Timestamp>,
}

/// A journal in three numbers, all zero if it has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Begin of the first fragment.
    pub begin: Offset,
    /// End of the last fragment.
    pub end: Offset,
    /// When the last fragment was stored, in Unix seconds; zero if it is not.
    pub mod_time: i64,
}

/// The doubted fragments that nothing sound covers. They are shown like others.
pub(super) fn uncovered<'a, R: Span>(doubted: &'a [R], remote: &CoverSet<R>) -> CoverSet<&'a R> {
    doubted.iter().filter(|doubted| !remote.covers(doubted)).collect()
}

/// All fragments as one set, in order from an offset on, each that lies inside another one left out. `doubted` are [`uncovered`]. Nothing
/// is looked at but what the caller takes, and its neighbours.
pub(super) fn all<'a, L: Span, R: Span>(
    local: &'a CoverSet<L>,
    remote: &'a CoverSet<R>,
    doubted: &'a CoverSet<&'a R>,
    from: Offset,
) -> impl Iterator<Item = Found<&'a L, &'a R>> {
    // No doubted one lies inside a sound one.
    let stored = merged(start(doubted, from).iter().copied(), start(remote, from).iter());
    let stored = stored.filter_map(move |stored| match stored {
        Found::Local(doubted) => Some(doubted),
        Found::Remote(sound) => (!is_inside(sound, doubted, |_| true)).then_some(sound),
    });
    let all = merged(start(local, from).iter(), stored);
    all.filter(move |one| match one {
        Found::Local(one) => {
            !is_inside(one, remote, |end| end > one.end()) && !is_inside(one, doubted, |end| end > one.end())
        }
        Found::Remote(one) => !is_inside(one, local, |_| true),
    })
}

/// Those of a set that begin at an offset or above.
fn start<T: Span>(set: &CoverSet<T>, from: Offset) -> &[T] {
    let spans = set.as_slice();
    &spans[spans.partition_point(|span| span.begin() < from)..]
}

/// Two that are in order, as one; of two with one begin that of the first comes first.
fn merged<L: Span, R: Span>(
    first: impl Iterator<Item = L>,
    second: impl Iterator<Item = R>,
) -> impl Iterator<Item = Found<L, R>> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || {
        let take_first = match (first.peek(), second.peek()) {
            (Some(one), Some(other)) => one.begin() <= other.begin(),
            (one, _) => one.is_some(),
        };
        if take_first { first.next().map(Found::Local) } else { second.next().map(Found::Remote) }
    })
}

/// A journal in three numbers. It costs a few searches, and as many for each that is doubted.
pub(super) fn summary<L: Span, R: Stored>(
    local: &CoverSet<L>,
    remote: &CoverSet<R>,
    doubted: &[R],
) -> Summary {
    let stored = doubted.iter().filter(|doubted| !remote.covers(doubted)).chain(remote.last());
    let stored = stored.max_by(reach);
    let begins = doubted.iter().map(Span::begin).chain(query::begin_of(local, remote));
    // Of two that are equal the local one.
    let (end, mod_time) = match (local.last(), stored) {
        (Some(local), Some(stored)) if reach(stored, local).is_gt() => (stored.end(), stored.mod_time()),
        (Some(local), _) => (local.end(), 0),
        (None, Some(stored)) => (stored.end(), stored.mod_time()),
        (None, None) => return Summary::default(),
    };
    Summary { begin: begins.min().unwrap_or_default(), end, mod_time }
}

/// Which of two has the greater end; of two with one end, which is longer.
fn reach(one: &impl Span, other: &impl Span) -> Ordering {
    one.end().cmp(&other.end()).then(other.begin().cmp(&one.begin()))
}

/// Whether a span lies inside one of a set. Of two of equal extent one has to stay, and `equal_begin` is
/// asked about the end of one that begins where the span does.
fn is_inside<S: Span, T: Span>(span: &S, set: &CoverSet<T>, equal_begin: impl Fn(Offset) -> bool) -> bool {
    set.longest_overlap(span.begin()).is_ok_and(|index| {
        let outer = &set.as_slice()[index];
        outer.end() >= span.end() && (outer.begin() < span.begin() || equal_begin(outer.end()))
    })
}

/// The fragments of a page. `mod_time` is zero for what is not stored.
pub(super) fn page<T: Span>(
    fragments: impl Iterator<Item = T>,
    request: &PageRequest,
    mod_time: impl Fn(&T) -> i64,
) -> Page<T> {
    let mut page = Page { fragments: Vec::new(), next: None };
    for fragment in fragments {
        if page.fragments.len() >= request.limit {
            page.next = Some(fragment.begin());
            break;
        }
        let time = mod_time(&fragment);
        let too_old = time != 0 && time < request.begin_mod_time;
        let too_new = request.end_mod_time != 0 && (time == 0 || time > request.end_mod_time);
        if !too_old && !too_new {
            page.fragments.push(fragment);
        }
    }
    page
}
