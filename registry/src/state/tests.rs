//! Whatever is done, replaying what was remembered leads to the same state.

use etcd_client::proto::{PbTxnOpRequest, PbTxnRequestOp};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, i64),
    Delete(u8, u8),
    Txn(Vec<(u8, i64)>),
    Grant(i64),
    Revoke(i64),
    Compact(u8),
    /// Seconds pass, and leases may end.
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0_u8..8, 0_i64..4).prop_map(|(key, lease)| Step::Put(key, lease)),
        2 => (0_u8..8, 0_u8..8).prop_map(|(from, to)| Step::Delete(from, to)),
        2 => proptest::collection::vec((0_u8..8, 0_i64..4), 0..4).prop_map(Step::Txn),
        3 => (1_i64..4).prop_map(Step::Grant),
        1 => (1_i64..4).prop_map(Step::Revoke),
        1 => (0_u8..10).prop_map(Step::Compact),
        1 => (0_u8..8).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

fn put(key: u8, lease: i64) -> PbPutRequest {
    PbPutRequest { key: vec![b'a' + key], value: vec![key], lease, ..Default::default() }
}

fn config(history_revisions: i64) -> Config {
    Config { history_revisions, ..Config::default() }
}

/// Does the steps and collects what must be remembered.
fn run(steps: Vec<Step>, history_revisions: i64) -> (State, Vec<Fact>) {
    let mut state = State::new(Identity::from_seed(1), &config(history_revisions));
    let mut facts = vec![state.start()];
    let mut now = Duration::ZERO;
    for step in steps {
        let fact = match step {
            Step::Put(key, lease) => state.put(put(key, lease)).map(|(_, fact)| fact),
            Step::Delete(from, to) => {
                let request =
                    PbDeleteRequest { key: vec![b'a' + from], range_end: vec![b'a' + to], prev_kv: false };
                state.delete_range(request).map(|(_, fact)| fact)
            }
            Step::Txn(puts) => {
                let operation = |(key, lease)| PbTxnRequestOp {
                    request: Some(PbTxnOpRequest::RequestPut(put(key, lease))),
                };
                let success = puts.into_iter().map(operation).collect();
                state.txn(PbTxnRequest { success, ..Default::default() }).map(|(_, fact)| fact)
            }
            Step::Grant(id) => state.grant(PbLeaseGrantRequest { id, ttl: 10 }, now).map(|(_, fact)| fact),
            Step::Revoke(id) => state.revoke(id).map(|(_, fact)| fact),
            Step::Compact(back) => {
                let revision = state.store().revision() - i64::from(back);
                state.compact(PbCompactionRequest { revision, physical: false }).map(|(_, fact)| fact)
            }
            Step::Wait(seconds) => {
                now += Duration::from_secs(u64::from(seconds));
                facts.extend(std::iter::from_fn(|| state.expire(now)).map(|(_, fact)| fact));
                Ok(None)
            }
        };
        facts.extend(fact.ok().flatten());
        facts.extend(state.compact_automatically());
    }
    (state, facts)
}

fn replayed(facts: Vec<Fact>) -> State {
    let mut state = State::new(Identity::from_seed(1), &config(i64::MAX / 2));
    for fact in facts {
        state.replay(fact, Duration::ZERO).expect("facts that agree");
    }
    state
}

/// Everything that a client could ever see of a state.
fn seen(state: &mut State) -> String {
    let mut out = format!("{:?}\n", state.facts());
    for id in 0..4 {
        let request = PbLeaseTimeToLiveRequest { id, keys: true };
        let found = state.time_to_live(request, Duration::ZERO);
        out.push_str(&format!("{id}: {} {:?}\n", found.granted_ttl, found.keys));
    }
    out
}

proptest! {
    #[test]
    fn a_replayed_log_is_the_state(steps in steps()) {
        let (mut state, facts) = run(steps, i64::MAX / 2);
        prop_assert_eq!(seen(&mut replayed(facts)), seen(&mut state));
    }

    #[test]
    fn a_replayed_snapshot_is_the_state(steps in steps()) {
        let (mut state, _) = run(steps, i64::MAX / 2);
        prop_assert_eq!(seen(&mut replayed(state.facts())), seen(&mut state));
    }

    #[test]
    fn history_stays_within_its_bound(steps in steps()) {
        let (mut state, facts) = run(steps, 10);
        let held = state.store().revision() - state.store().compacted().max(1);
        prop_assert!(held <= 12, "{} revisions are held", held);
        prop_assert_eq!(seen(&mut replayed(facts)), seen(&mut state));
    }
}

#[test]
fn a_gap_in_what_is_remembered_is_noticed() {
    let (_, mut facts) = run(vec![Step::Put(0, 0), Step::Put(1, 0), Step::Put(2, 0)], 100);
    facts.remove(2);
    let mut state = State::new(Identity::from_seed(1), &config(100));
    let outcome: Result<(), String> =
        facts.into_iter().try_for_each(|fact| state.replay(fact, Duration::ZERO));
    assert_eq!(outcome, Err("revision 4 follows revision 2".to_owned()));
}

#[test]
fn history_is_bounded_in_bytes_too() {
    let config = Config { history_bytes: 10_000, ..Config::default() };
    let mut state = State::new(Identity::from_seed(1), &config);
    for _ in 0..1_000 {
        let request = PbPutRequest { key: b"k".to_vec(), value: vec![b'x'; 100], ..Default::default() };
        state.put(request).expect("a put");
        state.compact_automatically();
        assert!(state.store().history_bytes() <= 10_000);
    }
}

#[test]
fn names_of_leases_do_not_repeat_over_restarts() {
    let mut names = BTreeSet::new();
    let mut state = State::new(Identity::from_seed(1), &Config::default());
    for _ in 0..3 {
        state.start();
        for _ in 0..100 {
            let request = PbLeaseGrantRequest { id: 0, ttl: 10 };
            let (granted, _) = state.grant(request, Duration::ZERO).expect("a lease");
            assert!(granted.id > 0);
            assert!(names.insert(granted.id), "{} twice", granted.id);
            state.revoke(granted.id).expect("a revocation");
        }
    }
}

#[test]
fn one_seed_is_one_identity() {
    assert_eq!(Identity::from_seed(5), Identity::from_seed(5));
    assert_ne!(Identity::from_seed(5), Identity::from_seed(6));
    let Identity { cluster_id, member_id } = Identity::from_seed(0);
    assert!(cluster_id != 0 && member_id != 0 && cluster_id != member_id);
}
