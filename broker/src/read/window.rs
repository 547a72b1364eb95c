//! Pure: how much stored content is fetched before a reader asks for it.
//!
//! A read gets as far ahead of its reader as the reader has come, up to a bound. So one that wants a little costs a
//! little, one that goes through a journal soon has the next fragments open while it is sent the ones before, and one that waits at
//! the journal's end has no use for any of it.

/// Less than this is not worth a task.
const LEAST: u64 = 256 << 10;

/// No reader is further ahead.
pub(crate) const MOST: u64 = 4 << 20;

/// No reader has more fragments open ahead of it.
pub(crate) const FRAGMENTS: usize = 8;

/// What a reader has taken of stored content.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    taken: u64,
}

impl Window {
    /// The reader was sent so many bytes of a stored fragment.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// How far ahead it may be, in bytes; zero while that is nothing.
    pub(crate) fn bytes(self) -> u64 {
        if self.taken < LEAST { 0 } else { self.taken.min(MOST) }
    }

    /// Whether another fragment is to be opened ahead, with so many bytes before it that the reader has not been sent yet, in so
    /// many fragments beyond the one it is in.
    pub(crate) fn wants_more(self, ahead: u64, fragments: usize) -> bool {
        ahead < self.bytes() && fragments < FRAGMENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_ahead_as_far_as_it_has_come() {
        let check = |taken, bytes| assert_eq!(Window { taken }.bytes(), bytes, "{taken}");
        check(0, 0);
        check(LEAST - 1, 0);
        check(LEAST, LEAST);
        check(1 << 20, 1 << 20);
        check(u64::MAX, MOST);
    }

    #[test]
    fn fragments_are_opened_where_the_window_reaches_them() {
        let window = Window { taken: 1 << 20 };
        assert!(window.wants_more(1000, 0));
        assert!(!window.wants_more(1 << 20, 0), "the one it is in is long enough");
        assert!(!window.wants_more(1000, FRAGMENTS));
        assert!(!Window::default().wants_more(0, 0), "it has only begun");
    }
}
