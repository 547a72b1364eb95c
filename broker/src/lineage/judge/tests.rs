//! What counts of what was recovered, for each history of epochs.

use super::super::record::Epoch;
use super::*;
use courant_proto::id::ProcessId;
use courant_proto::label::LabelSet;
use courant_proto::registers::Registers;

const CLUSTER: u64 = 0xc1;
const CREATED: i64 = 40;

fn at(offset: i64) -> Offset {
    Offset::new(offset).expect("not negative")
}

fn fence(value: &str) -> Registers {
    Registers::new(LabelSet::from_pairs([("fence", value)]).expect("labels"))
}

fn own() -> Vec<ProcessId> {
    vec![ProcessId::new("zone-a", "self").expect("an id")]
}

fn epoch(number: u64, begin: i64) -> Epoch {
    Epoch {
        number,
        members: own().iter().map(Into::into).collect(),
        begin,
        registers: Some((&fence(&format!("epoch-{number}"))).into()),
        ..Epoch::default()
    }
}

/// A record of epochs by number and begin.
fn record(epochs: &[(u64, i64)]) -> Lineage {
    let epochs = epochs.iter().map(|(number, begin)| epoch(*number, *begin)).collect();
    Lineage { create_revision: CREATED, epochs, ..Lineage::default() }
}

fn spool(epoch: u64, begin: i64, end: i64) -> Recovered {
    Recovered { cluster: CLUSTER, create_revision: CREATED, epoch, begin: at(begin), end: at(end) }
}

#[test]
fn what_counts_of_a_spool() {
    let record = record(&[(3, 100), (4, 250), (5, 250), (7, 400)]);
    let check = |spool: Recovered, expected: Verdict| {
        assert_eq!(judge(&spool, CLUSTER, Some(CREATED), Some(&record)), expected, "{spool:?}");
    };
    let quarantine = Verdict::Quarantine;
    // The newest counts wholly; one before it up to where the next began.
    check(spool(7, 400, 900), Verdict::Adopt);
    check(spool(7, 500, 500), Verdict::Adopt);
    check(spool(3, 100, 250), Verdict::Adopt);
    check(spool(3, 100, 251), Verdict::CutAt(at(250)));
    check(spool(3, 249, 300), Verdict::CutAt(at(250)));
    check(spool(3, 250, 300), quarantine(Reason::Superseded { begin: at(250), next_begin: at(250) }));
    check(spool(4, 250, 260), quarantine(Reason::Superseded { begin: at(250), next_begin: at(250) }));
    check(spool(2, 10, 100), Verdict::Adopt);
    check(spool(2, 10, 101), Verdict::CutAt(at(100)));
    // Where the next epoch is not remembered, nobody knows.
    check(spool(1, 10, 20), quarantine(Reason::ForgottenEpoch { theirs: 1, oldest: 3 }));
    check(spool(5, 250, 260), quarantine(Reason::ForgottenEpoch { theirs: 5, oldest: 7 }));
    check(spool(8, 400, 410), quarantine(Reason::UnknownEpoch { theirs: 8, newest: 7 }));
    check(spool(u64::MAX, 0, 1), quarantine(Reason::UnknownEpoch { theirs: u64::MAX, newest: 7 }));
    check(spool(7, 399, 410), quarantine(Reason::BeforeEpoch { begin: at(399), epoch_begin: at(400) }));
}

#[test]
fn whose_spool_it_is_comes_first() {
    let record = record(&[(1, 0)]);
    let check = |cluster, item, record: Option<&Lineage>, reason: Reason| {
        let verdict = judge(&spool(1, 0, 10), cluster, item, record);
        assert_eq!(verdict, Verdict::Quarantine(reason));
        assert!(!reason.to_string().is_empty());
    };
    check(9, Some(CREATED), Some(&record), Reason::OtherCluster { theirs: CLUSTER, ours: 9 });
    check(CLUSTER, None, Some(&record), Reason::NoJournal);
    check(CLUSTER, Some(41), Some(&record), Reason::OtherJournal { theirs: CREATED, ours: 41 });
    check(CLUSTER, Some(CREATED), None, Reason::NoLineage);
    let empty = Lineage { create_revision: CREATED, ..Lineage::default() };
    check(CLUSTER, Some(CREATED), Some(&empty), Reason::NoLineage);
    let others = Lineage { create_revision: 41, ..record.clone() };
    check(CLUSTER, Some(CREATED), Some(&others), Reason::NoLineage);
}

#[test]
fn a_record_forgets_epochs_that_begin_in_the_store() {
    let before = record(&[(1, 0), (2, 100), (3, 200), (4, 300)]).rolled(at(200), None);
    let after = before.followed_by(epoch(5, 350));
    let kept: Vec<(u64, i64)> = after.epochs.iter().map(|epoch| (epoch.number, epoch.begin)).collect();
    assert_eq!(kept, [(4, 300), (5, 350)]);
    assert!(after.epochs[0].registers.is_none(), "only the present epoch keeps its registers");
    assert_eq!(after.epochs[1].registers(), fence("epoch-5"));
    // Even without any store a record does not grow for ever.
    let mut endless = Lineage { create_revision: CREATED, ..Lineage::default() };
    for number in 1..2000 {
        endless = endless.followed_by(epoch(number, i64::try_from(number).expect("small")));
    }
    assert_eq!((endless.epochs.len(), endless.newest().map(|epoch| epoch.number)), (512, Some(1999)));
}

#[test]
fn a_record_that_contradicts_itself_is_not_believed() {
    use prost::Message;
    let check = |epochs: &[(u64, i64)], good: bool| {
        let value = record(epochs).encode_to_vec();
        assert_eq!(Lineage::read(&value).is_ok(), good, "{epochs:?}");
    };
    check(&[], true);
    check(&[(1, 0), (2, 0), (5, 9)], true);
    check(&[(2, 0), (1, 9)], false);
    check(&[(1, 0), (1, 9)], false);
    check(&[(1, 10), (2, 9)], false);
    check(&[(1, -1)], false);
    assert!(Lineage::read(b"\xff\xff").is_err());
}

#[test]
fn content_of_an_epoch_counts_until_the_next() {
    let record = record(&[(3, 100), (4, 250), (7, 400)]);
    let check = |epoch, expected| assert_eq!(counts_until(Some(&record), epoch), expected, "{epoch}");
    check(2, at(100));
    check(3, at(250));
    check(7, Offset::MAX);
    // Where the next one is not remembered nobody knows.
    check(1, Offset::ZERO);
    check(4, Offset::ZERO);
    assert_eq!(counts_until(None, 0), Offset::MAX);
}
