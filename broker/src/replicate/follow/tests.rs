//! Tests of what a follower makes of a primary's messages, each as the lines that come of them.

use courant_proto::fragment::ContentSum;
use courant_proto::label::LabelSet;
use proptest::prelude::*;

use super::*;

const JOURNAL: &str = "a/journal";

fn journal() -> JournalName {
    JournalName::parse(JOURNAL).expect("a name")
}

fn offset(at: usize) -> Offset {
    Offset::new(i64::try_from(at).expect("small")).expect("an offset")
}

fn registers(value: &str) -> Registers {
    let pairs: &[(&str, &str)] = if value.is_empty() { &[] } else { &[("fence", value)] };
    Registers::new(LabelSet::from_pairs(pairs.iter().copied()).expect("labels"))
}

fn digest(content: &str) -> Digest {
    let mut digest = Digest::new();
    digest.update(content.as_bytes());
    digest
}

/// An open spool of an epoch that begins at an offset and holds this.
fn open(epoch: u64, begin: usize, content: &str, fence: &str) -> Option<OpenHead> {
    let digest = digest(content);
    let committed = Proposal {
        begin: offset(begin),
        end: offset(begin + content.len()),
        sum: digest.sum(),
        codec: Codec::Gzip,
    };
    Some(OpenHead { epoch, committed, digest, registers: registers(fence) })
}

/// A proposal of a spool that begins at an offset and holds this; to be answered.
fn propose(begin: usize, content: &str, fence: &str) -> wire::ReplicateRequest {
    let sum = if content.is_empty() { ContentSum::ZERO } else { digest(content).sum() };
    wire::ReplicateRequest {
        proposal: Some(wire::Fragment {
            journal: JOURNAL.to_owned(),
            begin: offset(begin).get(),
            end: offset(begin + content.len()).get(),
            sum: Some(sum.into()),
            compression_codec: Codec::Gzip.to_wire() as i32,
            ..Default::default()
        }),
        registers: Some((&registers(fence)).into()),
        acknowledge: true,
        ..Default::default()
    }
}

fn unacknowledged(request: wire::ReplicateRequest) -> wire::ReplicateRequest {
    wire::ReplicateRequest { acknowledge: false, ..request }
}

fn content(content: &'static str, delta: i64) -> wire::ReplicateRequest {
    wire::ReplicateRequest {
        content: Bytes::from_static(content.as_bytes()),
        content_delta: delta,
        ..Default::default()
    }
}

fn watermark(committed: i64) -> wire::ReplicateRequest {
    wire::ReplicateRequest { committed, ..Default::default() }
}

fn header() -> wire::Header {
    wire::Header {
        process_id: None,
        route: Some(wire::Route { primary: -1, ..Default::default() }),
        etcd: Some(wire::header::Etcd { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 }),
    }
}

fn span(fragment: &wire::Fragment) -> String {
    format!("[{}, {})", fragment.begin, fragment.end)
}

/// What came of a message, in a line.
fn line(taken: Result<Taken, Broken>) -> String {
    match taken {
        Err(broken) => format!("broken: {broken}"),
        Ok(Taken::Nothing) => "nothing".to_owned(),
        Ok(Taken::Content(content)) => format!("content {}", content.len()),
        Ok(Taken::Proposed(proposed)) => proposed_line(&proposed),
    }
}

fn proposed_line(proposed: &Proposed) -> String {
    let Proposed { step, committed, answer, keeps } = proposed;
    let mut line = match step {
        Decided::Skip => "skip".to_owned(),
        Decided::Nothing => "step".to_owned(),
        Decided::Commit { at, length, digest, registers } => {
            assert_eq!(digest.length() % 1000, digest.length(), "the digest is of the spool alone");
            let registers = registers.as_ref().map(|registers| format!(" {registers}")).unwrap_or_default();
            format!("commit {length} at {at}{registers}")
        }
        Decided::Roll { cut, begin, registers, epoch, .. } => {
            let cut = cut.map(|at| format!(" cut at {at}")).unwrap_or_default();
            let epoch = epoch.map(|epoch| format!(" epoch {epoch}")).unwrap_or_default();
            format!("roll to {begin}{cut}{epoch} {registers}").trim_end().to_owned()
        }
    };
    if *committed > Offset::ZERO {
        line.push_str(&format!(", watermark {committed}"));
    }
    if *keeps {
        line.push_str(", keeps");
    }
    if let Some(answer) = answer {
        assert!(answer.header.is_none());
        line.push_str(&match &answer.fragment {
            Some(fragment) => {
                assert_eq!(answer.status, Status::ProposalMismatch as i32);
                assert!(answer.registers.is_some());
                format!(": mismatch {}", span(fragment))
            }
            None => format!(": {}", answer.status().as_str_name()),
        });
    }
    line
}

/// The messages of a primary that tells watermarks, and what each comes to.
fn check(what: &str, open: Option<OpenHead>, messages: &[wire::ReplicateRequest], expected: &[&str]) {
    let follow = Follow { tells: true, ..Follow::new(journal(), open) };
    run(what, follow, messages, expected);
}

fn run(what: &str, mut follow: Follow, messages: &[wire::ReplicateRequest], expected: &[&str]) {
    let lines: Vec<String> = messages.iter().map(|message| line(follow.take(message.clone()))).collect();
    assert_eq!(lines, expected, "{what}");
}

#[test]
fn what_a_primary_of_another_make_commits_is_shown_at_once() {
    let content = wire::ReplicateRequest { content: "abc".into(), content_delta: 0, ..Default::default() };
    run(
        "agreed and committed",
        Follow::new(journal(), open(0, 100, "hello", "1")),
        &[propose(100, "hello", "1"), content, propose(100, "helloabc", "1"), propose(100, "other", "1")],
        &[
            "step, watermark 105: OK",
            "content 3",
            "commit 3 at 105, watermark 108: OK",
            "skip: mismatch [100, 108)",
        ],
    );
}

#[test]
fn the_first_message_has_a_header() {
    let header = header();
    let check = |request: wire::ReplicateRequest, expected: Option<&str>| {
        let text = check_first(&request).err().map(|broken| broken.to_string());
        assert_eq!(text.as_deref(), expected);
    };
    let first = wire::ReplicateRequest { header: Some(header), ..propose(0, "", "") };
    check(first.clone(), None);
    check(propose(0, "", ""), Some("expected first ReplicateRequest to have Header"));
    check(content("abc", 0), Some("expected first ReplicateRequest to have Header"));
    check(unacknowledged(first), Some("expected Acknowledge with Header"));
    check(wire::ReplicateRequest::default(), Some("expected Content or Proposal"));
}

#[test]
fn how_a_spool_takes_proposals() {
    let spool = || open(7, 100, "hello", "1");
    check(
        "sync of a log that has nothing, at the journal's beginning",
        None,
        &[propose(0, "", ""), propose(0, "", "")],
        &["roll to 0: OK", "step: OK"],
    );
    check(
        "a log that is behind rolls to the primary's end and takes its registers",
        spool(),
        &[propose(200, "", "2")],
        &[&format!("roll to 200 {}: OK", registers("2"))],
    );
    check(
        "a proposal beyond the end that is not empty rolls, and mismatches all the same",
        open(7, 0, "", ""),
        &[propose(1234, "four", ""), propose(1238, "", "")],
        &["roll to 1238: mismatch [1238, 1238)", "step: OK"],
    );
    check("what is there", spool(), &[propose(100, "hello", "1")], &["step: OK"]);
    check(
        "equal content and other registers",
        spool(),
        &[propose(100, "hello", "2"), propose(100, "hello", "1")],
        &["skip: mismatch [100, 105)", "step: OK"],
    );
    check(
        "other content of the same length",
        spool(),
        &[propose(100, "HELLO", "1")],
        &["skip: mismatch [100, 105)"],
    );
    check(
        "a proposal below the end changes nothing",
        spool(),
        &[propose(100, "hell", "1"), propose(102, "", "1"), propose(100, "hello", "1")],
        &["skip: mismatch [100, 105)", "skip: mismatch [100, 105)", "step: OK"],
    );
    check(
        "a roll where the spool ends keeps the registers",
        spool(),
        &[unacknowledged(propose(105, "", "1")), unacknowledged(propose(105, "", "1"))],
        &[&format!("roll to 105 {}", registers("1")), "step"],
    );
    check(
        "a roll where the spool ends does not take registers",
        spool(),
        &[propose(105, "", "2")],
        &[&format!("roll to 105 {}: mismatch [105, 105)", registers("1"))],
    );
}

#[test]
fn content_is_kept_until_a_proposal() {
    let spool = || open(7, 100, "hello", "1");
    check(
        "two commits",
        spool(),
        &[
            content("abc", 0),
            content("de", 3),
            propose(100, "helloabcde", "1"),
            content("f", 0),
            propose(100, "helloabcdef", "2"),
        ],
        &[
            "content 3",
            "content 2",
            "commit 5 at 105: OK",
            "content 1",
            &format!("commit 1 at 110 {}: OK", registers("2")),
        ],
    );
    check(
        "a roll, then content",
        spool(),
        &[unacknowledged(propose(105, "", "1")), content("abc", 0), propose(105, "abc", "1")],
        &[&format!("roll to 105 {}", registers("1")), "content 3", "commit 3 at 105: OK"],
    );
    check(
        "rolled back",
        spool(),
        &[content("abc", 0), propose(100, "hello", "1"), content("de", 0), propose(100, "hellode", "1")],
        &["content 3", "step: OK", "content 2", "commit 2 at 105: OK"],
    );
    check(
        "a mismatch lets the content stay",
        spool(),
        &[content("abc", 0), propose(100, "helloabd", "1"), propose(100, "helloabc", "1")],
        &["content 3", "skip, keeps: mismatch [100, 105)", "commit 3 at 105: OK"],
    );
    check(
        "forged content is not committed",
        spool(),
        &[content("abX", 0), unacknowledged(propose(100, "helloabc", "1"))],
        &[
            "content 3",
            &format!(
                "broken: no ack requested but status != OK: status:PROPOSAL_MISMATCH fragment:[100, 105) registers:{}",
                registers("1")
            ),
        ],
    );
    for delta in [1, 2, 99_999] {
        let expected = format!("broken: invalid ContentDelta ({delta}; expected 3)");
        check(
            "content that does not follow",
            spool(),
            &[content("abc", 0), content("de", delta)],
            &["content 3", &expected],
        );
    }
}

#[test]
fn what_is_no_message_of_the_stream() {
    let spool = || open(7, 100, "hello", "1");
    let with = |change: fn(&mut wire::ReplicateRequest)| {
        let mut request = propose(100, "hello", "1");
        change(&mut request);
        request
    };
    fn other(fragment: &mut wire::Fragment) {
        fragment.journal = "other/journal".to_owned();
    }
    check(
        "another journal",
        spool(),
        &[with(|request| request.proposal.iter_mut().for_each(other))],
        &["broken: proposal of journal other/journal in a stream of journal a/journal"],
    );
    check(
        "a stored fragment is no spool",
        spool(),
        &[with(|request| request.proposal.iter_mut().for_each(|fragment| fragment.mod_time = 5))],
        &["skip: mismatch [100, 105)"],
    );
    check(
        "an attachment in the middle",
        spool(),
        &[with(|request| {
            request.attach = Some(Attach::default());
            request.header = Some(header());
        })],
        &["broken: unexpected Attach in the middle of a stream"],
    );
    check(
        "nothing",
        spool(),
        &[wire::ReplicateRequest::default()],
        &["broken: expected Content or Proposal"],
    );
}

#[test]
fn the_watermark_rises() {
    let proposal = wire::ReplicateRequest { committed: 103, ..propose(100, "hello", "1") };
    check(
        "with a proposal, alone, and among content",
        open(7, 100, "hello", "1"),
        &[
            proposal.clone(),
            watermark(105),
            watermark(105),
            watermark(104),
            content("abc", 0),
            watermark(106),
            proposal,
        ],
        &[
            "step, watermark 103: OK",
            "step, watermark 105, keeps",
            "nothing",
            "nothing",
            "content 3",
            "step, watermark 106, keeps",
            "step: OK",
        ],
    );
}

fn attach(epoch: u64, prior: u64, base: i64) -> Attach {
    Attach { token: 1, create_revision: 1, epoch, prior, base, counts: base }
}

#[test]
fn attaching_to_an_epoch() {
    let check = |what: &str,
                 open: Option<OpenHead>,
                 attach: Attach,
                 proposal: wire::ReplicateRequest,
                 expected: &str,
                 epoch: Option<u64>| {
        let mut follow = Follow::new(journal(), open);
        let line = follow.attach(&attach, &proposal).map(Taken::Proposed);
        assert_eq!((line_of(line), follow.epoch), (expected.to_owned(), epoch), "{what}");
    };
    let spool = || open(7, 100, "hello", "1");
    let begun = |begin: usize| format!("roll to {begin} cut at {begin} epoch 8 {}: OK", registers("1"));
    check("a new epoch", spool(), attach(8, 7, 105), propose(105, "", "1"), &begun(105), Some(8));
    check("cut to the base", spool(), attach(8, 7, 102), propose(102, "", "1"), &begun(102), Some(8));
    check("of an older epoch", spool(), attach(8, 6, 150), propose(150, "", "1"), &begun(150), Some(8));
    check("that has nothing", None, attach(8, 0, 0), propose(0, "", "1"), &begun(0), Some(8));
    check("goes on", spool(), attach(7, 7, 105), propose(100, "hello", "1"), "step: OK", Some(7));
    check(
        "goes on, and is further",
        spool(),
        attach(7, 7, 102),
        propose(100, "he", "1"),
        "skip: mismatch [100, 105)",
        Some(7),
    );
    check(
        "goes on with an epoch that is not known here",
        open(6, 100, "hello", "1"),
        attach(7, 7, 108),
        propose(100, "helloabc", "2"),
        &format!("roll to 108 cut at 108 epoch 7 {}: mismatch [108, 108)", registers("2")),
        Some(7),
    );
    let broken = |epoch, prior, base, span: &str| {
        format!("broken: Attach of epoch {epoch} after {prior} at {base} with a proposal of {span}")
    };
    let check = |attach: Attach, proposal: wire::ReplicateRequest, span: &str| {
        let expected = broken(attach.epoch, attach.prior, attach.base, span);
        let mut follow = Follow::new(journal(), spool());
        assert_eq!(line_of(follow.attach(&attach, &proposal).map(Taken::Proposed)), expected);
        assert_eq!(follow.epoch, Some(7), "nothing of it was taken");
    };
    check(attach(8, 7, 105), propose(100, "hello", "1"), "[100, 105)");
    check(attach(8, 7, 105), propose(106, "", "1"), "[106, 106)");
    check(attach(6, 7, 105), propose(105, "", "1"), "[105, 105)");
    check(attach(0, 0, 105), propose(105, "", "1"), "[105, 105)");
}

fn line_of(taken: Result<Taken, Broken>) -> String {
    line(taken)
}

#[test]
fn what_is_fetched_before_attaching() {
    let check = |open: Option<OpenHead>,
                 attach: Attach,
                 proposal,
                 expected: Option<(usize, usize, Option<usize>)>| {
        let lacking = Follow::new(journal(), open).lacking(&attach, &proposal).expect("a fit");
        let lacking = lacking.map(|lacking| {
            assert_eq!((lacking.epoch, lacking.registers), (7, registers("2")));
            (lacking.from, lacking.to, lacking.split)
        });
        let expected = expected.map(|(from, to, split)| (offset(from), offset(to), split.map(offset)));
        assert_eq!(lacking, expected);
    };
    let spool = || open(7, 100, "hello", "1");
    check(spool(), attach(8, 7, 120), propose(120, "", "2"), Some((105, 120, None)));
    check(spool(), attach(8, 7, 105), propose(105, "", "2"), None);
    check(spool(), attach(8, 7, 103), propose(103, "", "2"), None);
    // What it has is of an older epoch than the last, and counts up to where the next one began; or there is none.
    let older = |counts| Attach { counts, ..attach(9, 8, 120) };
    check(spool(), older(110), propose(120, "", "2"), Some((105, 110, None)));
    check(spool(), older(105), propose(120, "", "2"), None);
    check(spool(), older(103), propose(120, "", "2"), None);
    check(None, attach(8, 7, 120), propose(120, "", "2"), None);
    // The primary's open spool begins where ours does, behind it, where it ends, and in the middle of it.
    check(spool(), attach(7, 7, 108), propose(100, "helloabc", "2"), Some((105, 108, None)));
    check(spool(), attach(7, 7, 108), propose(106, "bc", "2"), Some((105, 108, Some(106))));
    check(spool(), attach(7, 7, 108), propose(105, "abc", "2"), Some((105, 108, Some(105))));
    check(spool(), attach(7, 7, 108), propose(102, "lloabc", "2"), Some((105, 108, None)));
}

#[test]
fn what_was_fetched_is_what_the_primary_proposes() {
    let mut follow = Follow::new(journal(), open(7, 100, "hello", "1"));
    follow.filled(open(7, 100, "helloabc", "2").expect("a spool"));
    let attach = attach(7, 7, 108);
    let proposed = follow.attach(&attach, &propose(100, "helloabc", "2")).expect("a fit");
    assert_eq!(proposed_line(&proposed), "step: OK");
}

/// A message of a primary that may be wrong in any way.
fn any_message() -> impl Strategy<Value = wire::ReplicateRequest> {
    let texts = prop::sample::select(vec!["", "a", "ab", "abc", "abcd"]);
    let fences = prop::sample::select(vec!["", "1"]);
    let proposal = (0..6usize, texts.clone(), fences, any::<bool>(), 0..8i64).prop_map(
        |(begin, text, fence, acknowledge, committed)| wire::ReplicateRequest {
            acknowledge,
            committed,
            ..propose(begin, text, fence)
        },
    );
    let contents = (texts, 0..4i64).prop_map(|(text, delta)| content(text, delta));
    prop_oneof![3 => proposal, 3 => contents, 1 => (0..8i64).prop_map(watermark)]
}

proptest! {
    /// Whatever is sent: steps fit the spool that the steps before them made, and an answer of OK says what it is.
    #[test]
    fn steps_make_the_spool_that_was_agreed(messages in prop::collection::vec(any_message(), 0..30)) {
        let mut follow = Follow::new(journal(), open(7, 0, "", ""));
        let (mut begin, mut held, mut fence) = (Offset::ZERO, String::new(), registers(""));
        let mut kept = String::new();
        for message in messages {
            let proposal = message.proposal.clone();
            let wanted = message.registers.clone();
            match follow.take(message) {
                Err(_) => break,
                Ok(Taken::Nothing) => {}
                Ok(Taken::Content(content)) => kept.push_str(std::str::from_utf8(&content).expect("text")),
                Ok(Taken::Proposed(Proposed { step, answer, keeps, .. })) => {
                    match step {
                        Decided::Skip | Decided::Nothing => {}
                        Decided::Commit { at, length, digest: sum, registers } => {
                            prop_assert_eq!(begin.plus(held.len() as u64), Some(at));
                            prop_assert_eq!(kept.len() as u64, length);
                            held.push_str(&kept);
                            prop_assert_eq!(sum.sum(), digest(&held).sum());
                            fence = registers.unwrap_or(fence);
                        }
                        Decided::Roll { begin: next, registers, .. } => {
                            prop_assert!(begin.plus(held.len() as u64) <= Some(next));
                            (begin, held, fence) = (next, String::new(), registers);
                        }
                    }
                    if !keeps {
                        kept.clear();
                    }
                    if let (Some(answer), Some(proposal)) = (answer, proposal)
                        && answer.status == Status::Ok as i32
                    {
                        prop_assert_eq!(begin.get(), proposal.begin);
                        prop_assert_eq!(begin.get() + held.len() as i64, proposal.end);
                        let sum = if held.is_empty() { ContentSum::ZERO } else { digest(&held).sum() };
                        prop_assert_eq!(proposal.sum.map(ContentSum::from), Some(sum));
                        prop_assert_eq!(Some((&fence).into()), wanted);
                    }
                }
            }
        }
    }
}
