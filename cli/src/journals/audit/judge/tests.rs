//! Journals in order and out of order, as their evidence shows them.

use super::super::cuts::Cutter;
use super::*;

/// The content of an undamaged journal.
fn truth(begin: i64, end: i64) -> Vec<u8> {
    (begin..end).map(|offset| (offset % 251) as u8).collect()
}

fn sum_of(content: &[u8]) -> ContentSum {
    let mut cutter = Cutter::new(0, content.len() as i64, &[]);
    cutter.push(content);
    cutter.finish().sum.unwrap()
}

const CUTS: [i64; 6] = [0, 10, 20, 30, 40, 50];

/// A span with this content, and the promise of the true one.
fn with(begin: i64, end: i64, content: &[u8]) -> Extent {
    let mut cutter = Cutter::new(begin, end, &CUTS);
    cutter.push(content);
    Extent {
        begin,
        end,
        promised: Some(sum_of(&truth(begin, end))),
        reading: Some(cutter.finish()),
        ..Extent::default()
    }
}

fn local(begin: i64, end: i64) -> Extent {
    with(begin, end, &truth(begin, end))
}

fn name(begin: i64, end: i64) -> String {
    format!("{begin}-{end}.raw")
}

fn store(extents: &[(i64, i64)]) -> Holder {
    let extents =
        extents.iter().map(|(begin, end)| Extent { name: name(*begin, *end), ..local(*begin, *end) });
    Holder { name: "file:///".into(), broker: None, extents: extents.collect() }
}

/// A broker with what it holds and what it knows to be stored.
fn broker(suffix: &str, is_primary: bool, head: i64, held: Vec<Extent>, stored: &[(i64, i64)]) -> Holder {
    let stored = stored.iter().map(|(begin, end)| (*begin, *end, name(*begin, *end))).collect();
    Holder { name: suffix.into(), broker: Some(Told { is_primary, head: Some(head), stored }), extents: held }
}

/// One primary and one follower that know `[0, 20)` to be stored and hold the rest.
fn in_order() -> Vec<Holder> {
    vec![
        broker("one", true, 50, vec![local(20, 50)], &[(0, 20)]),
        broker("two", false, 40, vec![local(20, 40)], &[(0, 20)]),
        store(&[(0, 20)]),
    ]
}

#[track_caller]
fn check(holders: Vec<Holder>, findings: &[&str], notes: &[&str]) {
    check_evidence(&Evidence { holders, ..Evidence::default() }, findings, notes);
}

#[track_caller]
fn check_evidence(evidence: &Evidence, findings: &[&str], notes: &[&str]) {
    let verdict = judge(evidence);
    let shown: Vec<String> = verdict
        .findings
        .iter()
        .map(|finding| {
            let span = finding.span.map_or(String::new(), |(begin, end)| format!(" [{begin}, {end})"));
            format!("{}{span} {}", finding.kind.name(), finding.detail)
        })
        .collect();
    assert_eq!(shown, findings);
    assert_eq!(verdict.notes, notes);
}

#[test]
fn a_journal_in_order() {
    check(in_order(), &[], &[]);
    // A busy one: the store has more than the followers knew when they were asked for what they hold, and what it has overlaps.
    let mut busy = in_order();
    busy[2] = store(&[(0, 20), (10, 30), (20, 40)]);
    check(busy, &[], &[]);
    // Its beginning was pruned.
    check(vec![broker("one", true, 50, vec![local(40, 50)], &[]), store(&[])], &[], &[]);
    // Nothing was ever written, or it is suspended.
    check(vec![broker("one", true, 0, Vec::new(), &[])], &[], &[]);
    check(vec![store(&[(0, 20), (20, 30)])], &[], &[]);
}

#[test]
fn what_nobody_holds_is_a_gap() {
    let mut gap = in_order();
    gap[0].extents = vec![local(30, 50)];
    gap[1].extents = vec![local(30, 40)];
    check(
        gap,
        &["GAP [20, 30) nobody holds 10 bytes"],
        &["one does not know of [20, 30) yet", "two does not know of [20, 30) yet"],
    );
    check(vec![store(&[(0, 20), (30, 40), (40, 50)])], &["GAP [20, 30) nobody holds 10 bytes"], &[]);
    // What lies before the head belongs to the journal.
    let cut_off = vec![broker("one", true, 50, vec![local(20, 40)], &[])];
    check(cut_off, &["GAP [40, 50) nobody holds 10 bytes"], &["one does not know of [40, 50) yet"]);
    check(vec![broker("one", true, 1, Vec::new(), &[])], &["GAP [0, 1) nobody holds 1 byte"], &[]);
}

#[test]
fn different_bytes_are_told_once_and_with_who_holds_them() {
    let mut content = truth(20, 40);
    content[3] ^= 1;
    content[13] ^= 1;
    let mut differs = in_order();
    let sum = sum_of(&content);
    differs[1].extents = vec![with(20, 40, &content)];
    let digest =
        format!("DIGEST [20, 40) two: its SHA-1 is {sum}, and {} is promised", sum_of(&truth(20, 40)));
    let expected = ["DIFFERS [20, 40) one, against two hold different bytes", &digest];
    check(differs, &expected, &[]);

    // Overlapping objects of a store, whose names are right.
    let mut other = truth(10, 30);
    other[15] ^= 1;
    let mut overlap = store(&[(0, 20), (20, 40)]);
    let odd = Extent { promised: Some(sum_of(&other)), name: "odd.raw".into(), ..with(10, 30, &other) };
    let holders = vec![
        overlap.clone(),
        Holder { name: "s3://other/".into(), broker: None, extents: vec![odd.clone()] },
    ];
    check(holders, &["DIFFERS [20, 30) 20-40.raw, against odd.raw hold different bytes"], &[]);
    overlap.extents.push(odd);
    check(vec![overlap], &["DIFFERS [20, 30) 20-40.raw, against odd.raw hold different bytes"], &[]);
}

#[test]
fn an_object_is_held_against_its_name() {
    let mut damaged = in_order();
    damaged[2].extents[0] = Extent {
        reading: None,
        fault: Some("the object has 7 bytes, expected 20".into()),
        ..damaged[2].extents[0].clone()
    };
    check(damaged, &["UNREADABLE [0, 20) 0-20.raw in file:///: the object has 7 bytes, expected 20"], &[]);

    let mut flipped = truth(0, 20);
    flipped[0] ^= 1;
    let mut damaged = in_order();
    damaged[2].extents[0] = Extent { name: name(0, 20), ..with(0, 20, &flipped) };
    let (found, promised) = (sum_of(&flipped), sum_of(&truth(0, 20)));
    let expected =
        format!("DIGEST [0, 20) 0-20.raw in file:///: its SHA-1 is {found}, and {promised} is promised");
    check(damaged, &[&expected], &[]);
}

#[test]
fn an_object_that_brokers_tell_of_has_to_be_there() {
    let mut lost = in_order();
    lost[2].extents.clear();
    check(lost, &["LOST [0, 20) 0-20.raw is not in the store, and one and two would read it there"], &[]);
    // Where no store was looked at nobody can tell.
    let mut unseen = in_order();
    unseen.truncate(2);
    check(unseen, &[], &[]);
}

#[test]
fn nothing_lies_behind_a_head() {
    let mut ahead = in_order();
    ahead[0].broker.as_mut().unwrap().head = Some(30);
    ahead[0].extents = vec![local(20, 30)];
    check(ahead, &["PAST_HEAD [30, 40) two holds what lies behind the head of one, 30"], &[]);

    let mut forgetful = in_order();
    forgetful[1] = broker("two", false, 0, Vec::new(), &[]);
    check(forgetful, &["PAST_HEAD [0, 20) file:/// holds what lies behind the head of two, 0"], &[]);
}

#[test]
fn a_replica_that_came_late_is_a_note() {
    let mut late = in_order();
    late[1] = broker("two", false, 40, vec![local(30, 40)], &[]);
    check(late, &[], &["two does not know of [0, 30) yet"]);
}

#[test]
fn what_could_not_be_looked_at_is_no_proof() {
    let evidence = Evidence {
        holders: in_order(),
        unknown: vec!["two cannot be asked: it is away".into()],
        strays: vec![("acme/x/notes.txt".into(), "no fragment's name".into())],
    };
    check_evidence(
        &evidence,
        &[
            "STRAY acme/x/notes.txt is no fragment of the journal: no fragment's name",
            "UNKNOWN two cannot be asked: it is away",
        ],
        &[],
    );
}
