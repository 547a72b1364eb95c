//! Members that answer and fall silent, one at a time and all together; and a cluster of lookouts whose links are cut.

use courant_allocator::{MemberSpec, Stamp, State};

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// That of leases of ten seconds.
fn pace() -> Pace {
    Pace::of(Duration::from_secs(10))
}

fn id(name: &str) -> ProcessId {
    ProcessId::new("zone", &format!("broker-{name}")).expect("an id")
}

/// One who looks out for members that answer at once, or not, as it is said.
struct One {
    lookout: Lookout,
    now: Duration,
    members: BTreeSet<ProcessId>,
}

impl One {
    fn of(names: &[&str]) -> Self {
        let members = names.iter().map(|name| id(name)).collect();
        Self { lookout: Lookout::new(pace()), now: MS(60_000), members }
    }

    /// Lets time pass while all but these answer.
    fn pass(&mut self, time: Duration, dead: &[&str]) {
        let until = self.now + time;
        let mut late: Vec<(Duration, ProcessId)> = Vec::new();
        while self.now < until {
            for asked in self.lookout.look(self.now, &self.members) {
                if dead.iter().any(|dead| id(dead) == asked) {
                    late.push((self.now + pace().answer, asked));
                } else {
                    self.lookout.settled(self.now, &asked, true);
                }
            }
            self.now += pace().tick();
            for (_, asked) in late.extract_if(.., |(due, _)| *due <= self.now).collect::<Vec<_>>() {
                self.lookout.settled(self.now, &asked, false);
            }
        }
        for (_, asked) in late {
            self.lookout.settled(self.now, &asked, false);
        }
    }

    fn silent(&self) -> Vec<ProcessId> {
        self.lookout.silent().into_iter().collect()
    }
}

#[test]
fn the_pace_follows_from_the_life_of_a_lease() {
    for seconds in [3, 4, 10, 20, 60] {
        let ttl = Duration::from_secs(seconds);
        let Pace { every, answer, silence, calm, settle, settle_most } = Pace::of(ttl);
        assert!(silence + every + settle_most < ttl + Duration::from_secs(1), "{seconds}: replaced in time");
        assert!(
            answer < silence && every * 3 <= silence && settle < settle_most,
            "{seconds}: asked several times"
        );
        assert!(calm.0 <= ttl / 2, "{seconds}: one that fell silent once is taken back in time");
        assert_eq!(calm.1, CALM_MOST, "{seconds}: one that does so again and again moves journals seldom");
    }
}

#[test]
fn who_does_not_answer_for_long_is_silent_until_it_answers_for_a_while() {
    let mut one = One::of(&["b", "c"]);
    one.pass(MS(10_000), &[]);
    one.pass(MS(1_500), &["b"]);
    assert_eq!(one.silent(), []);
    one.pass(MS(3_000), &[]);
    one.pass(MS(5_000), &["b"]);
    assert_eq!(one.silent(), [id("b")]);
    one.pass(MS(500), &[]);
    assert_eq!(one.silent(), [id("b")], "one answer is not enough");
    one.pass(MS(2_000), &[]);
    assert_eq!(one.silent(), []);
    one.members.remove(&id("b"));
    one.pass(MS(9_000), &["b"]);
    assert_eq!(one.silent(), [], "it has gone");
}

#[test]
fn who_falls_silent_again_and_again_is_believed_in_later_each_time() {
    let mut one = One::of(&["b"]);
    let mut calms = Vec::new();
    for _ in 0..5 {
        one.pass(MS(6_000), &["b"]);
        assert_eq!(one.silent(), [id("b")]);
        let since = one.now;
        while !one.silent().is_empty() {
            one.pass(pace().tick(), &[]);
        }
        calms.push((one.now - since).as_millis() / 1_000);
    }
    assert_eq!(calms, [1, 2, 4, 8, 16]);
    one.pass(FORGOTTEN + MS(1_000), &[]);
    one.pass(MS(6_000), &["b"]);
    one.pass(MS(2_500), &[]);
    assert_eq!(one.silent(), [], "that is forgotten");
}

#[test]
fn all_that_fall_silent_together_are_told_together() {
    let mut one = One::of(&["b", "c", "d"]);
    one.pass(MS(5_250), &[]);
    // They are asked at different moments.
    one.members.insert(id("e"));
    one.pass(MS(500), &[]);
    one.members.insert(id("f"));
    one.pass(MS(5_000), &[]);
    let dead = ["b", "c", "e", "f"];
    while one.silent().is_empty() {
        one.pass(pace().tick(), &dead);
    }
    assert_eq!(one.silent(), dead.map(id));
}

#[test]
fn own_absence_is_nobodys_silence() {
    let mut one = One::of(&["b", "c"]);
    one.pass(MS(5_000), &[]);
    one.now += MS(30_000);
    one.pass(MS(2_000), &["b"]);
    assert_eq!(one.silent(), []);
}

#[test]
fn a_complaint_waits_until_everybody_was_asked_after_it_and_most_have_answered() {
    let check = |names: &[&str], dead: &[&str], live: usize, expected: bool| {
        let mut one = One::of(names);
        one.pass(MS(5_000), &[]);
        let raised = one.now;
        assert!(one.lookout.may_complain(one.now, live).is_some_and(|before| before < raised), "not yet");
        one.lookout.hurry();
        one.pass(pace().answer + MS(500), dead);
        let may = one.lookout.may_complain(one.now, live).is_some_and(|before| before >= raised);
        assert_eq!(may, expected, "{dead:?} of {names:?}");
    };
    check(&["b", "c", "d", "e"], &[], 5, true);
    check(&["b", "c", "d", "e"], &["b", "c"], 5, true);
    check(&["b", "c", "d", "e"], &["b", "c", "d"], 5, false);
    check(&["b", "c"], &["b"], 3, true);
    check(&["b", "c"], &["b", "c"], 3, false);
    check(&["b"], &["b"], 2, true);
    let lookout = Lookout::new(pace());
    assert_eq!(lookout.may_complain(MS(7), 1), Some(MS(7)), "nobody is to be asked");
}

/// Members that look out for each other, and what their reports come to.
struct Cluster {
    all: Vec<One>,
    names: Vec<&'static str>,
}

impl Cluster {
    fn of(names: &[&'static str]) -> Self {
        let one = |(shift, name): (u64, &&str)| {
            let others: Vec<&str> = names.iter().filter(|other| *other != name).copied().collect();
            let mut one = One::of(&others);
            one.now += MS(shift * 137);
            one
        };
        Self { all: (0..).zip(names).map(one).collect(), names: names.to_vec() }
    }

    /// Lets time pass while these links are cut, both ways.
    fn pass(&mut self, time: Duration, cut: &[(&str, &str)]) {
        for (one, name) in self.all.iter_mut().zip(&self.names) {
            let dead: Vec<&str> = cut
                .iter()
                .filter_map(|(a, b)| if a == name { Some(*b) } else { (b == name).then_some(*a) })
                .collect();
            one.pass(time, &dead);
        }
    }

    /// Who is to be without an item, given its members of which the first is the primary.
    fn failed(&self, item: &[&str]) -> Vec<&'static str> {
        let mut state = State::new();
        let stamp = Stamp { create_revision: 1, mod_revision: 1, lease: 1 };
        let suffix = |name: &str| format!("broker-{name}");
        for name in &self.names {
            state.put_member("zone", &suffix(name), MemberSpec { limit: 9, exiting: false }, stamp);
        }
        state.put_item("item", u32::try_from(item.len()).expect("few"), stamp);
        for (slot, name) in (0..).zip(item) {
            state.put_assignment("item", ("zone", &suffix(name)), slot, stamp, true);
        }
        let reports = self.all.iter().zip(&self.names).flat_map(|(one, by)| {
            one.silent().into_iter().map(move |suspect| (suspect.suffix().to_owned(), suffix(by)))
        });
        let reports: Vec<(String, String)> = reports.collect();
        state.set_reports(
            reports.iter().map(|(suspect, by)| (("zone", suspect.as_str()), ("zone", by.as_str()), true)),
        );
        let failed = self.names.iter().filter(|name| state.is_suspected("item", "zone", &suffix(name)));
        failed.copied().collect()
    }
}

#[test]
fn of_a_cut_that_side_goes_which_fewer_are_on() {
    let check = |cut: &[(&str, &str)], item: &[&str], expected: &[&str]| {
        let mut cluster = Cluster::of(&["a", "b", "c", "d", "e"]);
        cluster.pass(MS(10_000), &[]);
        let silence = pace().silence + pace().every + pace().tick();
        cluster.pass(silence, cut);
        assert_eq!(cluster.failed(item), expected, "{item:?} with {cut:?}");
        cluster.pass(MS(3_000), &[]);
        assert_eq!(cluster.failed(item), [""; 0], "healed, {item:?} with {cut:?}");
    };
    let alone = [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")];
    check(&alone, &["a", "b", "c"], &["a"]);
    check(&alone, &["b", "a", "c"], &["a"]);
    check(&alone, &["b", "c", "d"], &["a"]);
    let link = [("a", "b")];
    check(&link, &["a", "b", "c"], &["b"]);
    check(&link, &["b", "a", "c"], &["a"]);
    check(&link, &["c", "a", "b"], &[]);
    let two = [("a", "c"), ("a", "d"), ("a", "e"), ("b", "c"), ("b", "d"), ("b", "e")];
    check(&two, &["a", "b", "c"], &["a", "b"]);
    check(&two, &["c", "a", "d"], &["a", "b"]);
    let ring = [("a", "c"), ("a", "d"), ("b", "d"), ("b", "e"), ("c", "e")];
    check(&ring, &["a", "b", "c"], &["c", "d"]);
    check(&ring, &["d", "a", "b"], &["a", "b"]);
    let bridge = [("a", "d"), ("a", "e"), ("b", "d"), ("b", "e")];
    check(&bridge, &["c", "a", "d"], &[]);
    check(&bridge, &["a", "c", "d"], &["d", "e"]);
}
