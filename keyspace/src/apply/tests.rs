//! What each event does to each state of its key, and which batches are refused with which words.

use super::*;

/// Values are text; what begins with `bad` cannot be decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text;

impl Decoder for Text {
    type Value = String;

    fn decode(&self, _key: &[u8], value: &[u8]) -> Result<String, String> {
        let text = String::from_utf8(value.to_vec()).map_err(|error| error.to_string())?;
        if text.starts_with("bad") { Err(format!("{text} is no value")) } else { Ok(text) }
    }
}

pub(super) fn header(revision: i64) -> StoreHeader {
    StoreHeader { cluster_id: 8675309, member_id: 1, revision: Revision::new(revision), raft_term: 2 }
}

/// A put; the history is `(create, mod, version)`.
pub(super) fn put(key: &str, value: &str, (create, modified, version): (i64, i64, i64)) -> Event {
    Event::Put(KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: Revision::new(create),
        mod_revision: Revision::new(modified),
        version,
        lease: 0,
    })
}

pub(super) fn delete(key: &str, at: i64) -> Event {
    Event::Delete { key: key.into(), mod_revision: Revision::new(at) }
}

/// A response whose header is at its last event.
pub(super) fn told(events: Vec<Event>) -> Response {
    let at = events.last().map_or(0, |event| event.mod_revision().get());
    Response { header: header(at), created: false, events }
}

fn loaded_at(revision: i64, events: Vec<Event>) -> Snapshot<String> {
    let key_values = events.into_iter().filter_map(|event| match event {
        Event::Put(put) => Some(put),
        Event::Delete { .. } => None,
    });
    Snapshot::loaded(header(revision), key_values, &Text)
}

/// A good key, and one whose value was bad from the start, at revision 10.
fn base() -> Snapshot<String> {
    loaded_at(10, vec![put("/known", "one", (4, 8, 3)), put("/refused", "bad start", (9, 9, 1))])
}

fn shown(snapshot: &Snapshot<String>) -> Vec<String> {
    snapshot
        .all()
        .iter()
        .map(|entry| {
            format!("{}={}@{}", String::from_utf8_lossy(&entry.key), entry.value, entry.mod_revision)
        })
        .collect()
}

fn aside(snapshot: &Snapshot<String>) -> Vec<String> {
    snapshot
        .set_aside()
        .map(|refused| {
            format!("{}@{}: {}", String::from_utf8_lossy(&refused.key), refused.mod_revision, refused.reason)
        })
        .collect()
}

/// Applies one response per inner list.
fn check(
    responses: Vec<Vec<Event>>,
    entries: &[&str],
    set_aside: &[&str],
    oddities: impl AsRef<[fn(&Oddity) -> bool]>,
) {
    let told_events = format!("{responses:?}");
    let applied = apply(&base(), &Text, responses.into_iter().map(told)).expect(&told_events);
    assert_eq!(shown(&applied.snapshot), entries, "{told_events}");
    assert_eq!(aside(&applied.snapshot), set_aside, "{told_events}");
    let oddities = oddities.as_ref();
    assert_eq!(applied.oddities.len(), oddities.len(), "{told_events}: {:?}", applied.oddities);
    for (found, expected) in applied.oddities.iter().zip(oddities) {
        assert!(expected(found), "{told_events}: {found:?}");
    }
}

const KNOWN: &str = "/known=one@8";
const REFUSED: &str = "/refused@9: bad start is no value";
const REPEATED: fn(&Oddity) -> bool = |oddity| matches!(oddity, Oddity::Repeated { .. });
const UNKNOWN_DELETE: fn(&Oddity) -> bool = |oddity| matches!(oddity, Oddity::UnknownDelete { .. });
const MISSED_CREATION: fn(&Oddity) -> bool = |oddity| matches!(oddity, Oddity::MissedCreation { .. });
const MISSED_UPDATE: fn(&Oddity) -> bool = |oddity| matches!(oddity, Oddity::MissedUpdate { .. });
const UNDECODABLE: fn(&Oddity) -> bool = |oddity| matches!(oddity, Oddity::Undecodable { .. });

#[test]
fn events_of_unknown_keys() {
    check(vec![vec![delete("/new", 11)]], &[KNOWN], &[REFUSED], [UNKNOWN_DELETE]);
    check(vec![vec![put("/new", "x", (11, 11, 1))]], &[KNOWN, "/new=x@11"], &[REFUSED], []);
    check(vec![vec![put("/new", "x", (7, 11, 1))]], &[KNOWN, "/new=x@11"], &[REFUSED], [MISSED_CREATION]);
    check(vec![vec![put("/new", "x", (11, 11, 2))]], &[KNOWN, "/new=x@11"], &[REFUSED], [MISSED_CREATION]);
}

#[test]
fn events_of_known_keys() {
    check(vec![vec![put("/known", "two", (4, 11, 4))]], &["/known=two@11"], &[REFUSED], []);
    check(vec![vec![put("/known", "two", (5, 11, 4))]], &["/known=two@11"], &[REFUSED], [MISSED_UPDATE]);
    check(vec![vec![put("/known", "two", (4, 11, 6))]], &["/known=two@11"], &[REFUSED], [MISSED_UPDATE]);
    check(vec![vec![delete("/known", 11)]], &[], &[REFUSED], []);
    let twice = || put("/known", "two", (4, 11, 4));
    check(vec![vec![twice()], vec![twice()]], &["/known=two@11"], &[REFUSED], [REPEATED]);
    let gone = || delete("/known", 11);
    check(vec![vec![gone()], vec![gone()]], &[], &[REFUSED], [REPEATED]);
}

#[test]
fn events_up_to_the_load_are_in_it_already() {
    check(vec![vec![put("/known", "one", (4, 8, 3))]], &[KNOWN], &[REFUSED], []);
    check(
        vec![vec![put("/since deleted", "x", (2, 2, 1)), delete("/since deleted", 3)]],
        &[KNOWN],
        &[REFUSED],
        [],
    );
}

#[test]
fn a_bad_update_leaves_the_old_value_until_a_good_one_comes() {
    let bad = || put("/known", "bad", (4, 11, 4));
    let bad_aside = "/known@11: bad is no value";
    check(vec![vec![bad()]], &[KNOWN], &[bad_aside, REFUSED], [UNDECODABLE]);
    check(vec![vec![bad(), put("/known", "ok", (4, 12, 5))]], &["/known=ok@12"], &[REFUSED], [UNDECODABLE]);
    check(vec![vec![bad(), delete("/known", 12)]], &[], &[REFUSED], [UNDECODABLE]);
    check(
        vec![vec![put("/known", "two", (4, 11, 4)), put("/known", "bad", (4, 12, 5))]],
        &["/known=two@11"],
        &["/known@12: bad is no value", REFUSED],
        [UNDECODABLE],
    );
    check(
        vec![vec![delete("/known", 11), put("/known", "bad", (12, 12, 1))]],
        &[],
        &["/known@12: bad is no value", REFUSED],
        [UNDECODABLE],
    );
    check(vec![vec![bad()], vec![bad()]], &[KNOWN], &[bad_aside, REFUSED], [UNDECODABLE, REPEATED]);
    let another_life = vec![vec![put("/known", "bad", (11, 11, 1))]];
    check(another_life, &[], &[bad_aside, REFUSED], [MISSED_UPDATE, UNDECODABLE]);
}

#[test]
fn a_key_that_was_bad_from_the_start_appears_when_it_is_mended() {
    check(vec![vec![put("/refused", "ok", (9, 11, 2))]], &[KNOWN, "/refused=ok@11"], &[], []);
    check(vec![vec![delete("/refused", 11)]], &[KNOWN], &[], []);
}

#[test]
fn several_responses_with_repeated_keys_are_one_change() {
    check(
        vec![
            vec![put("/a", "1", (11, 11, 1)), put("/known", "two", (4, 12, 4))],
            vec![put("/a", "2", (11, 13, 2)), delete("/known", 14)],
            vec![put("/known", "again", (15, 15, 1)), delete("/a", 16), put("/a", "3", (17, 17, 1))],
        ],
        &["/a=3@17", "/known=again@15"],
        &[REFUSED],
        [],
    );
}

#[test]
fn the_second_half_of_a_revision_is_applied() {
    check(
        vec![vec![put("/a", "1", (11, 11, 1))], vec![put("/b", "1", (11, 11, 1)), delete("/known", 11)]],
        &["/a=1@11", "/b=1@11"],
        &[REFUSED],
        [],
    );
}

#[test]
fn what_nobody_missed_is_no_gap_and_what_somebody_missed_is() {
    let key = || b"/a".to_vec();
    let mod_revision = Revision::new(3);
    assert!(!Oddity::Repeated { key: key(), mod_revision }.is_gap());
    assert!(!Oddity::Undecodable { key: key(), reason: String::new(), mod_revision }.is_gap());
    assert!(Oddity::UnknownDelete { key: key(), mod_revision }.is_gap());
    assert!(Oddity::MissedCreation { key: key(), version: 2, mod_revision }.is_gap());
    assert!(Oddity::MissedUpdate { key: key(), expected: 2, version: 3, mod_revision }.is_gap());
}

/// Brings the base to revision 20, then applies `response`.
fn refused(response: Response) -> (String, bool) {
    let at_20 = apply(&base(), &Text, [told(vec![put("/known", "two", (4, 20, 4))])]).unwrap().snapshot;
    let trouble = apply(&at_20, &Text, [response]).unwrap_err();
    (trouble.to_string(), trouble.is_fatal())
}

#[test]
fn batches_that_cannot_be_applied() {
    let check = |response, text: &str, fatal| assert_eq!(refused(response), (text.to_owned(), fatal));
    let mut foreign = told(vec![put("/x", "1", (21, 21, 1))]);
    foreign.header.cluster_id = 1;
    check(foreign, "etcd ClusterID mismatch (expected 8675309, got 1)", true);

    let progress = |revision| Response { header: header(revision), created: false, events: vec![] };
    check(progress(19), "etcd Revision mismatch (expected >= 20, got 19)", false);
    let created = Response { created: true, ..progress(19) };
    check(created, "etcd Revision mismatch (expected >= 20, got 19)", false);
    check(
        told(vec![put("/unseen", "1", (15, 15, 1))]),
        "etcd Revision mismatch (expected >= 20, got 15)",
        false,
    );

    let late = Response {
        header: header(30),
        ..told(vec![put("/unseen", "1", (15, 15, 1)), put("/x", "1", (21, 21, 1))])
    };
    check(late, "received watch response with first ModRevision 15, which is <= last Revision 20", false);
    let missed_update = Response { header: header(30), ..told(vec![put("/refused", "1", (9, 15, 2))]) };
    check(
        missed_update,
        "received watch response with first ModRevision 15, which is <= last Revision 20",
        false,
    );
    let missed_delete = Response { header: header(30), ..told(vec![delete("/refused", 15)]) };
    check(
        missed_delete,
        "received watch response with first ModRevision 15, which is <= last Revision 20",
        false,
    );

    let backwards = Response {
        header: header(30),
        ..told(vec![put("/x", "1", (23, 23, 1)), put("/y", "1", (22, 22, 1))])
    };
    check(
        backwards,
        "received watch response with last ModRevision 22 less than first ModRevision 23",
        false,
    );
}

#[test]
fn revisions_follow_events_and_progress_but_not_headers_of_events() {
    let revisions = |snapshot: &Snapshot<String>| {
        (snapshot.revision().get(), snapshot.read_through().get(), snapshot.resume_at().get())
    };
    let start = base();
    assert_eq!(revisions(&start), (10, 10, 11));

    // The header runs ahead of the events: more of 12 to 40 may be on its way, also the rest of 11.
    let ahead = Response { header: header(40), ..told(vec![put("/a", "1", (11, 11, 1))]) };
    let at_11 = apply(&start, &Text, [ahead]).unwrap().snapshot;
    assert_eq!(revisions(&at_11), (11, 11, 11));

    let created = Response { header: header(50), created: true, events: vec![] };
    assert_eq!(revisions(&apply(&at_11, &Text, [created]).unwrap().snapshot), (11, 11, 11));

    let progress = Response { header: header(50), created: false, events: vec![] };
    let told_50 = apply(&at_11, &Text, [progress]).unwrap().snapshot;
    assert_eq!(revisions(&told_50), (11, 50, 51));
    assert_eq!(revisions(&at_11.proven_at(Revision::new(60))), (11, 60, 61));

    let at_70 = apply(&told_50, &Text, [told(vec![put("/a", "2", (11, 70, 2))])]).unwrap().snapshot;
    assert_eq!(revisions(&at_70), (70, 70, 70));
}

#[test]
fn a_proof_covers_events_that_undid_each_other() {
    let proven = base().proven_at(Revision::new(20));
    let late = [
        told(vec![put("/passing", "x", (12, 12, 1))]),
        told(vec![delete("/passing", 13)]),
        told(vec![put("/new", "x", (21, 21, 1))]),
    ];
    let applied = apply(&proven, &Text, late).unwrap();
    assert_eq!(shown(&applied.snapshot), [KNOWN, "/new=x@21"]);
    assert_eq!(applied.oddities, []);
}

#[test]
fn member_and_raft_term_may_change() {
    let mut response = told(vec![put("/a", "1", (11, 11, 1))]);
    (response.header.member_id, response.header.raft_term) = (77, 78);
    let header = apply(&base(), &Text, [response]).unwrap().snapshot.header();
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (8675309, 77, 78));
    assert_eq!(header.revision, Revision::new(11));
}
