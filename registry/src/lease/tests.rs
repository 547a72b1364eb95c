//! Deadlines, stalls and attachments, by explicit time.

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn leases() -> Leases {
    Leases::new(Duration::from_millis(250))
}

#[test]
fn a_lease_ends_when_its_time_is_over() {
    let mut leases = leases();
    leases.grant(1, 10, at(0));
    leases.grant(2, 5, at(0));
    assert_eq!(leases.next_end(at(2)), Some(at(3)));
    assert_eq!(leases.ended(at(4)), None);
    assert_eq!(leases.ended(at(5)), Some(2));
    assert_eq!(leases.renew(2, at(5)), Some(5));
    assert_eq!(leases.ended(at(9)), None);
    assert_eq!(leases.ids().collect::<Vec<_>>(), [1, 2], "the one that ends first is in front");
    assert_eq!(leases.remove(1), Some(BTreeSet::new()));
    assert_eq!(leases.ended(at(10)), Some(2));
    assert_eq!(leases.renew(1, at(10)), None);
}

#[test]
fn a_stall_extends_every_lease() {
    let mut leases = leases();
    leases.grant(1, 10, at(0));
    leases.promise(Some(at(1)));
    // Nobody looked for half a minute: whoever comes first notices, and nothing has ended.
    leases.observe(at(31));
    assert_eq!(leases.ended(at(31)), None);
    assert_eq!(leases.next_end(at(31)), Some(at(9)), "nine seconds were left, and are left");
    // The same stall is not counted again, and a renewal after it means what it says.
    leases.observe(at(31));
    assert_eq!(leases.renew(1, at(31)), Some(10));
    assert_eq!(leases.next_end(at(31)), Some(at(10)));
    leases.promise(Some(at(32)));
    leases.observe(at(32));
    assert_eq!(leases.ended(at(41)), Some(1));
}

#[test]
fn being_a_little_late_is_no_stall() {
    let mut leases = leases();
    leases.grant(1, 2, at(0));
    leases.promise(Some(Duration::from_millis(1900)));
    leases.observe(at(2));
    assert_eq!(leases.ended(at(2)), Some(1));
}

#[test]
fn a_restart_gives_full_time() {
    let mut leases = leases();
    leases.grant(1, 10, at(0));
    leases.renew_all(at(100));
    assert_eq!(leases.next_end(at(100)), Some(at(10)));
}

#[test]
fn what_is_granted_has_bounds() {
    #[track_caller]
    fn check(id: i64, ttl: i64, expected: Result<i64, Refusal>) {
        let mut leases = leases();
        leases.grant(7, 60, at(0));
        assert_eq!(leases.grantable(id, ttl), expected);
    }
    check(1, 60, Ok(60));
    check(1, 1, Ok(2));
    check(1, 0, Ok(2));
    check(1, i64::MIN, Ok(2));
    check(1, 9_000_000_000, Ok(9_000_000_000));
    check(1, 9_000_000_001, Err(Refusal::LeaseTtlTooLarge));
    check(7, 60, Err(Refusal::LeaseExists));
}

#[test]
fn keys_move_between_leases() {
    let mut leases = leases();
    let keys = |leases: &Leases, id| leases.time_to_live(id, at(0)).map(|found| found.keys.len());
    let key = Bytes::from_static(b"k");
    leases.grant(1, 60, at(0));
    leases.grant(2, 60, at(0));
    leases.attach(&key, 0, 1);
    assert_eq!((keys(&leases, 1), keys(&leases, 2)), (Some(1), Some(0)));
    leases.attach(&key, 1, 2);
    assert_eq!((keys(&leases, 1), keys(&leases, 2)), (Some(0), Some(1)));
    leases.attach(&key, 2, 99);
    assert_eq!((keys(&leases, 2), keys(&leases, 99)), (Some(0), None));
}
