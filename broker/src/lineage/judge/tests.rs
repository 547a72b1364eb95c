//! What counts of what was recovered, for each history of epochs.

use courant_proto::label::LabelSet;
use proptest::prelude::*;

use super::super::record::{Epoch, Sealed};
use super::*;

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
    Lineage { create_revision: CREATED, stored: 0, epochs }
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

fn wish<'a>(members: &'a [ProcessId], registers: &'a Registers) -> Wish<'a> {
    Wish {
        create_revision: CREATED,
        members,
        contributed: None,
        begin: Offset::ZERO,
        accept_loss: false,
        store_end: Offset::ZERO,
        registers,
        unknown_to_log: None,
    }
}

fn begins(epoch: u64, begin: i64, registers: &Registers) -> Begin {
    Begin::At { epoch, begin: at(begin), registers: registers.clone() }
}

#[test]
fn a_first_epoch_begins_where_it_is_asked_to() {
    let (members, known) = (own(), fence("known"));
    let asked = Wish { begin: at(70), ..wish(&members, &known) };
    assert_eq!(may_begin(None, &asked), begins(1, 70, &known));
    let ahead = Wish { contributed: Some(at(90)), ..asked.clone() };
    assert_eq!(may_begin(None, &ahead), begins(1, 90, &known));
    // A record of an earlier journal of this name is none.
    let other = Lineage { create_revision: 3, ..record(&[(9, 1000)]) };
    assert_eq!(may_begin(Some(&other), &asked), begins(1, 70, &known));
}

#[test]
fn a_member_that_contributes_its_head_goes_on_there() {
    let (members, known) = (own(), fence("known"));
    let record = record(&[(1, 0), (2, 100)]);
    let check = |contributed, begin, expected| {
        let asked = Wish { contributed: Some(at(contributed)), begin: at(begin), ..wish(&members, &known) };
        assert_eq!(may_begin(Some(&record), &asked), begins(3, expected, &known));
    };
    check(150, 150, 150);
    check(150, 0, 150);
    check(150, 200, 200);
    // Nothing was committed in the last epoch, which began above what the log knows.
    check(90, 90, 100);

    let stranger = vec![ProcessId::new("zone-b", "peer").expect("an id")];
    let asked = Wish { contributed: Some(at(150)), ..wish(&stranger, &known) };
    assert_eq!(
        may_begin(Some(&record), &asked),
        Begin::Refuse { floor: at(100) },
        "the head of one who was no member is nothing to go by"
    );
}

#[test]
fn without_a_head_an_operator_decides_unless_the_epoch_was_sealed() {
    let (members, none) = (own(), Registers::default());
    let mut record = record(&[(1, 0), (2, 100)]);
    record.stored = 140;
    let asked = |store_end, begin, accept_loss| Wish {
        store_end: at(store_end),
        begin: at(begin),
        accept_loss,
        ..wish(&members, &none)
    };
    let refuse = |floor| Begin::Refuse { floor: at(floor) };
    assert_eq!(may_begin(Some(&record), &asked(130, 130, false)), refuse(140));
    assert_eq!(may_begin(Some(&record), &asked(170, 170, false)), refuse(170));
    assert_eq!(may_begin(Some(&record), &asked(130, 139, true)), refuse(140));
    // The fence that was set before the loss still stands.
    assert_eq!(may_begin(Some(&record), &asked(130, 140, true)), begins(3, 140, &fence("epoch-2")));
    assert_eq!(may_begin(Some(&record), &asked(130, 999, true)), begins(3, 999, &fence("epoch-2")));

    let end = Sealed { end: 160, registers: Some((&fence("sealed")).into()) };
    record.epochs[1].sealed = Some(end);
    // Pruned or not, the store had it all.
    assert_eq!(may_begin(Some(&record), &asked(0, 0, false)), begins(3, 160, &fence("sealed")));
    assert_eq!(may_begin(Some(&record), &asked(160, 160, false)), begins(3, 160, &fence("sealed")));
    assert_eq!(may_begin(Some(&record), &asked(200, 200, false)), begins(3, 200, &fence("sealed")));
    assert_eq!(may_begin(Some(&record), &asked(0, 500, true)), begins(3, 500, &fence("sealed")));
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

/// A journal's life in one place: epochs in each of which some bytes are committed, some of them acknowledged, and after which
/// the process dies. What is stored may lag behind.
#[derive(Debug, Clone)]
struct Life {
    /// For each epoch: bytes acknowledged, bytes written beyond them, and whether the store caught up in it.
    epochs: Vec<(i64, i64, bool)>,
}

proptest! {
    /// However a journal lived, after each restart what counts of the spools is all that was acknowledged, once.
    #[test]
    fn what_counts_is_what_was_acknowledged(
        epochs in prop::collection::vec((0i64..50, 0i64..20, any::<bool>()), 1..8),
        knows_tail in any::<bool>(),
    ) {
        let life = Life { epochs };
        let (members, registers) = (own(), Registers::default());
        let mut lineage: Option<Lineage> = None;
        let mut spools: Vec<Recovered> = Vec::new();
        // The end of what was acknowledged, and of what the log holds.
        let (mut acknowledged, mut head, mut stored) = (0i64, None, 0i64);
        for (acks, beyond, stores) in life.epochs {
            let asked = Wish {
                contributed: head.map(at),
                begin: at(head.unwrap_or(0)),
                store_end: at(stored),
                ..wish(&members, &registers)
            };
            let Begin::At { epoch: number, begin, .. } = may_begin(lineage.as_ref(), &asked) else {
                panic!("its only member contributes")
            };
            prop_assert!(begin.get() >= acknowledged, "an epoch never begins below what was acknowledged");
            let base = lineage.clone().unwrap_or_else(|| Lineage { create_revision: CREATED, ..Lineage::default() });
            let next = base.followed_by(epoch(number, begin.get()));
            acknowledged = begin.get() + acks;
            spools.push(spool(number, begin.get(), acknowledged + beyond));
            if stores {
                stored = acknowledged;
            }
            lineage = Some(next.rolled(at(stored), None));
            // What was written and not acknowledged may be found again, or be cut off as torn.
            head = Some(if knows_tail { acknowledged + beyond } else { acknowledged });
            if !knows_tail {
                spools.last_mut().expect("just pushed").end = at(acknowledged);
            }
        }
        let mut covered = stored;
        for spool in &spools {
            let end = match judge(spool, CLUSTER, Some(CREATED), lineage.as_ref()) {
                Verdict::Adopt => spool.end,
                Verdict::CutAt(end) => {
                    prop_assert!(spool.begin < end && end < spool.end);
                    end
                }
                Verdict::Quarantine(_) => continue,
            };
            if spool.begin.get() <= covered {
                covered = covered.max(end.get());
            }
        }
        prop_assert!(covered >= acknowledged, "covered {covered} of {acknowledged}: {spools:?} {lineage:?}");
    }
}
