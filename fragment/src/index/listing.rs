//! Pure: the fragments of a journal, in order and a page at a time, and their summary.

use courant_proto::fragment::Fragment;
use courant_proto::offset::Offset;
use courant_proto::time::Timestamp;

use crate::cover_set::{CoverSet, Span};
use crate::query::Found;

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

/// Both sets as one, in order, each fragment that lies inside another one left out.
pub(super) fn union<'a, L: Span, R: Span>(
    local: &'a CoverSet<L>,
    remote: &'a CoverSet<R>,
    from: Offset,
) -> impl Iterator<Item = Found<&'a L, &'a R>> {
    fn start<T: Span>(set: &CoverSet<T>, from: Offset) -> &[T] {
        let spans = set.as_slice();
        &spans[spans.partition_point(|span| span.begin() < from)..]
    }
    let (mut locals, mut remotes) = (start(local, from), start(remote, from));
    std::iter::from_fn(move || {
        loop {
            let take_local = match (locals.first(), remotes.first()) {
                (None, None) => return None,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(local), Some(remote)) => local.begin() <= remote.begin(),
            };
            if take_local {
                let (next, rest) = locals.split_first()?;
                locals = rest;
                if !is_inside(next, remote, |end| end > next.end()) {
                    return Some(Found::Local(next));
                }
            } else {
                let (next, rest) = remotes.split_first()?;
                remotes = rest;
                if !is_inside(next, local, |_| true) {
                    return Some(Found::Remote(next));
                }
            }
        }
    })
}

/// The fragment with the greatest end; of two, the longer one; of two that are equal, the local one.
pub(super) fn last<'a, L: Span, R: Span>(
    local: &'a CoverSet<L>,
    remote: &'a CoverSet<R>,
) -> Option<Found<&'a L, &'a R>> {
    match (local.last(), remote.last()) {
        (Some(local), Some(remote)) => {
            let order = remote.end().cmp(&local.end()).then(local.begin().cmp(&remote.begin()));
            Some(if order.is_gt() { Found::Remote(remote) } else { Found::Local(local) })
        }
        (Some(local), None) => Some(Found::Local(local)),
        (None, remote) => remote.map(Found::Remote),
    }
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
