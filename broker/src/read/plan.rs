//! Pure: what a read sends next, given what the journal's index answers.
//!
//! ```text
//!          ┌──────────────◄───────────────┐
//!  query ──┴► Describe ─► Stream ─► advanced ─► … until a status, the end offset or the end of the journal
//!          └► Wait (nothing there yet, and the reader blocks)
//! ```

use courant_proto::offset::{Offset, ReadFrom};
use courant_proto::status::Status;

/// What a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) from: ReadFrom,
    pub(crate) block: bool,
    pub(crate) metadata_only: bool,
    pub(crate) do_not_proxy: bool,
    pub(crate) end_offset: Option<Offset>,
    /// Unix seconds; stored fragments modified before are skipped.
    pub(crate) begin_mod_time: i64,
}

/// What the index says of the offset a read stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) status: Status,
    /// Where the read goes on; above what was asked after a jump.
    pub(crate) offset: Offset,
    /// End of the fragment that holds the offset, as far as it is committed.
    pub(crate) fragment_end: Offset,
    /// The fragment lies in the store alone.
    pub(crate) remote: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing to send: wait until the index changes, and ask it again.
    Wait,
    /// Send what the index answered, and end the stream there.
    DescribeAndEnd,
    /// Send what the index answered, then content from the offset up to `until`, and ask again.
    Describe { until: Offset },
}

/// One read, between queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    request: Request,
    from: ReadFrom,
}

impl Plan {
    pub(crate) fn new(request: Request) -> Self {
        Self { request, from: request.from }
    }

    /// What to ask the index for.
    pub(crate) fn from(&self) -> ReadFrom {
        self.from
    }

    /// The read's least modification time, in Unix seconds.
    pub(crate) fn begin_mod_time(&self) -> i64 {
        self.request.begin_mod_time
    }

    /// Everything that was asked for has been sent.
    pub(crate) fn is_done(&self) -> bool {
        matches!((self.from, self.request.end_offset), (ReadFrom::At(at), Some(end)) if at >= end)
    }

    /// The index answered.
    pub(crate) fn found(&mut self, found: Found) -> Next {
        // From here on the write head is an offset like any other: it is resolved once.
        self.from = ReadFrom::At(found.offset);
        if found.status != Status::Ok {
            let waits = found.status == Status::OffsetNotYetAvailable && self.request.block;
            return if waits { Next::Wait } else { Next::DescribeAndEnd };
        }
        let beyond = self.request.end_offset.is_some_and(|end| found.offset >= end);
        if self.request.metadata_only || beyond || (found.remote && self.request.do_not_proxy) {
            return Next::DescribeAndEnd;
        }
        let until = self.request.end_offset.map_or(found.fragment_end, |end| end.min(found.fragment_end));
        Next::Describe { until }
    }

    /// Content up to `offset` was sent.
    pub(crate) fn advanced(&mut self, offset: Offset) {
        self.from = ReadFrom::At(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("a valid offset")
    }

    fn request() -> Request {
        Request {
            from: ReadFrom::At(offset(10)),
            block: false,
            metadata_only: false,
            do_not_proxy: false,
            end_offset: None,
            begin_mod_time: 0,
        }
    }

    fn found(status: Status, at: i64, end: i64, remote: bool) -> Found {
        Found { status, offset: offset(at), fragment_end: offset(end), remote }
    }

    #[test]
    fn what_follows_from_an_answer() {
        let describe = |until| Next::Describe { until: offset(until) };
        let cases = [
            ("content", request(), found(Status::Ok, 10, 50, false), describe(50)),
            (
                "head, without block",
                request(),
                found(Status::OffsetNotYetAvailable, 10, 0, false),
                Next::DescribeAndEnd,
            ),
            (
                "head, with block",
                Request { block: true, ..request() },
                found(Status::OffsetNotYetAvailable, 10, 0, false),
                Next::Wait,
            ),
            (
                "another status, with block",
                Request { block: true, ..request() },
                found(Status::Suspended, 10, 0, false),
                Next::DescribeAndEnd,
            ),
            (
                "metadata only",
                Request { metadata_only: true, ..request() },
                found(Status::Ok, 10, 50, false),
                Next::DescribeAndEnd,
            ),
            (
                "a stored fragment that the reader fetches itself",
                Request { do_not_proxy: true, ..request() },
                found(Status::Ok, 10, 50, true),
                Next::DescribeAndEnd,
            ),
            (
                "a local fragment for such a reader",
                Request { do_not_proxy: true, ..request() },
                found(Status::Ok, 10, 50, false),
                describe(50),
            ),
            (
                "an end inside the fragment",
                Request { end_offset: Some(offset(20)), ..request() },
                found(Status::Ok, 10, 50, false),
                describe(20),
            ),
            (
                "an end that a jump passed over",
                Request { end_offset: Some(offset(20)), ..request() },
                found(Status::Ok, 30, 50, false),
                Next::DescribeAndEnd,
            ),
        ];
        for (name, request, answer, expected) in cases {
            assert_eq!(Plan::new(request).found(answer), expected, "{name}");
        }
    }

    #[test]
    fn the_head_is_resolved_once() {
        let mut plan = Plan::new(Request { from: ReadFrom::WriteHead, block: true, ..request() });
        assert_eq!(plan.found(found(Status::OffsetNotYetAvailable, 70, 0, false)), Next::Wait);
        assert_eq!(plan.from(), ReadFrom::At(offset(70)));
    }

    #[test]
    fn a_read_with_an_end_is_done_there() {
        let mut plan = Plan::new(Request { end_offset: Some(offset(20)), ..request() });
        assert!(!plan.is_done());
        plan.advanced(offset(20));
        assert!(plan.is_done());
    }
}
