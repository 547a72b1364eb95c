//! Clusters that grow, shrink, lose zones and gain them: who holds what then, to the slot, and in how many rounds.

use crate::etcd::{Cluster, id};

/// A cluster of members `zone/suffix:limit`, oldest first, items `item:replication` and assignments `item: member(slot) …`, all
/// consistent.
fn cluster(members: &str, items: &str, assigned: &str) -> Cluster {
    let mut cluster = Cluster::new();
    set_members(&mut cluster, members);
    set_items(&mut cluster, items);
    assign(&mut cluster, assigned, true);
    cluster
}

fn set_members(cluster: &mut Cluster, members: &str) {
    for member in members.split_whitespace() {
        let (member, limit) = member.split_once(':').expect("member:limit");
        cluster.member(member, limit.parse().expect("a limit"), false);
    }
}

fn set_items(cluster: &mut Cluster, items: &str) {
    for item in items.split_whitespace() {
        let (item, replication) = item.split_once(':').expect("item:replication");
        cluster.item(item, replication.parse().expect("a number"));
    }
}

fn assign(cluster: &mut Cluster, assigned: &str, consistent: bool) {
    for line in assigned.split(". ").filter(|line| !line.is_empty()) {
        let (item, held) = line.split_once(": ").expect("item: members");
        for held in held.split_whitespace() {
            let (suffix, slot) = held.trim_end_matches(')').split_once('(').expect("member(slot)");
            // A member that has no key lies in zone a.
            let member = cluster.members().map(|(member, _)| member).find(|member| id(member).1 == suffix);
            let member = member.unwrap_or_else(|| format!("a/{suffix}"));
            cluster.assign(item, &member, slot.parse().expect("a slot"), consistent);
        }
    }
}

/// Converges, marking what is assigned as consistent whenever nothing else is to be done.
#[track_caller]
fn check(cluster: &mut Cluster, rounds: usize, expected: &str) {
    check_marking(cluster, true, rounds, expected);
}

/// Converges, while nothing becomes consistent.
#[track_caller]
fn check_unmarked(cluster: &mut Cluster, rounds: usize, expected: &str) {
    check_marking(cluster, false, rounds, expected);
}

#[track_caller]
fn check_marking(cluster: &mut Cluster, marks: bool, rounds: usize, expected: &str) {
    let took = cluster.converge(marks);
    assert_eq!(cluster.told(), expected);
    assert_eq!(took, rounds, "rounds");
}

#[test]
fn s01_all_is_assigned() {
    let mut c = cluster("a/A1:2 a/A2:2 b/B:4", "1:1 2:2 3:3", "");
    check(&mut c, 2, "1: A1(0). 2: A2(0) B(1). 3: A1(0) A2(1) B(2)");
}

#[test]
fn s02_as_many_members_as_replicas() {
    let mut c = cluster("a/A1:1024 a/A2:1024 b/B1:1024", "1:3 2:3 3:3 4:3 5:3 6:3 7:3", "");
    let each: Vec<String> = (1..=7).map(|item| format!("{item}: A1(0) A2(1) B1(2)")).collect();
    check(&mut c, 2, &each.join(". "));
}

#[test]
fn s03_nothing_is_removed_before_others_are_consistent() {
    let mut c = cluster("a/A:2 b/B:4 a/old:0 a/new:3", "1:1 2:2 3:3", "");
    assign(&mut c, "1: A(0). 2: old(0) B(1). 3: A(0) old(1) B(2)", false);
    check_unmarked(&mut c, 1, "1: A(0). 2: new(2) old(0) B(1). 3: A(0) new(3) old(1) B(2)");
    check(&mut c, 4, "1: A(0). 2: new(1) B(0). 3: A(0) new(2) B(1)");
}

#[test]
fn s04_the_primary_is_replaced_by_who_has_fewest() {
    let mut c =
        cluster("a/A:2 b/B:4 a/old:0 a/new:3", "1:1 2:2 3:3", "1: A(0). 2: old(0) B(1). 3: old(0) A(1) B(2)");
    check_unmarked(&mut c, 1, "1: A(0). 2: new(2) old(0) B(1). 3: A(1) new(3) old(0) B(2)");
    check(&mut c, 3, "1: A(0). 2: new(1) B(0). 3: A(1) new(0) B(2)");
}

#[test]
fn s05_limits_grow_and_shrink() {
    let start = "1: B(0). 2: A(0) B(1). 3: A(0) limit(1) B(2)";
    let mut c = cluster("a/A:2 a/limit:2 b/B:4", "1:1 2:2 3:3", start);
    check(&mut c, 0, start);
    for (limit, trims, expected) in [
        ("10", 3, "1: limit(0). 2: limit(1) B(0). 3: A(0) limit(1) B(2)"),
        ("2", 3, "1: limit(0). 2: A(1) B(0). 3: A(0) limit(1) B(2)"),
        ("1", 2, "1: B(0). 2: A(1) B(0). 3: A(0) limit(1) B(2)"),
    ] {
        set_members(&mut c, &format!("a/limit:{limit}"));
        assert_eq!(c.converge(false), 1, "more is assigned");
        check(&mut c, trims, expected);
    }
}

#[test]
fn s06_replications_are_swapped() {
    let mut c = cluster("a/A1:2 a/A2:2 b/B:4", "1:1 2:2 3:3", "1: B(0). 2: A1(0) B(1). 3: A1(0) A2(1) B(2)");
    set_items(&mut c, "1:3 3:1");
    let expected = "1: A1(2) A2(1) B(0). 2: A1(0) B(1). 3: A2(0)";
    check_unmarked(&mut c, 4, expected);
    check(&mut c, 1, expected);
}

#[test]
fn s07_and_s08_a_cluster_that_is_too_small_grows() {
    let mut c = cluster("a/A1:1", "1:1 2:2 3:3", "");
    check(&mut c, 2, "1: A1(0)");
    set_members(&mut c, "a/A2:2");
    check(&mut c, 5, "1: A2(0). 2: A1(1) A2(0)");
    set_members(&mut c, "a/A3:3");
    let whole = "1: A3(0). 2: A2(0) A3(1). 3: A1(1) A2(2) A3(0)";
    check(&mut c, 6, whole);
    set_members(&mut c, "a/A3:2");
    check(&mut c, 0, whole);
}

#[test]
fn s09_a_zone_comes() {
    let mut c = cluster("a/A1:100 a/A2:100 a/A3:100", "1:3 2:3 3:3", "");
    check(&mut c, 2, "1: A1(0) A2(1) A3(2). 2: A1(0) A2(1) A3(2). 3: A1(0) A2(1) A3(2)");
    set_members(&mut c, "b/B:2");
    check(&mut c, 5, "1: A1(0) A3(1) B(2). 2: A2(0) A3(1) B(2). 3: A1(0) A2(1) A3(2)");
    set_members(&mut c, "b/B:3");
    check(&mut c, 4, "1: A1(0) A3(1) B(2). 2: A2(0) A3(1) B(2). 3: A1(0) A2(1) B(2)");
    set_items(&mut c, "4:1");
    check(&mut c, 2, "1: A1(0) A3(1) B(2). 2: A2(0) A3(1) B(2). 3: A1(0) A2(1) B(2). 4: A1(0)");
}

#[test]
fn s10_a_zone_goes() {
    let start = "1: A1(0) A2(1) B(2). 2: A1(0) A2(1) B(2). 3: A1(0) B(1)";
    let mut c = cluster("a/A1:10 a/A2:10 b/B:10", "1:3 2:3 3:2", start);
    check(&mut c, 0, start);
    set_members(&mut c, "b/B:2");
    check(&mut c, 4, "1: A1(0) A2(1) B(2). 2: A1(0) A2(1) B(2). 3: A1(0) A2(1)");
    set_members(&mut c, "b/B:0 a/A3:10");
    check(&mut c, 4, "1: A1(0) A2(1) A3(2). 2: A1(0) A2(1) A3(2). 3: A1(0) A2(1)");
}

#[test]
fn s11_what_is_there_stays_when_zones_come() {
    let start = "1: A1(0) B(1). 2: A1(0) A2(1) B(2)";
    let mut c = cluster("a/A1:100 a/A2:100 b/B:100", "1:2 2:3", start);
    set_members(&mut c, "c/C:100");
    check(&mut c, 0, start);
    set_items(&mut c, "1:3 2:4");
    check(&mut c, 2, "1: A1(0) B(1) C(2). 2: A1(0) A2(1) B(2) C(3)");
}

#[test]
fn s12_a_zone_is_closed() {
    let start = "1: A1(0) A2(1) C(2). 2: A3(0) B(1) C(2)";
    let mut c = cluster("a/A1:10 a/A2:10 a/A3:10 b/B:10 c/C:10", "1:3 2:3", start);
    set_members(&mut c, "c/C:0");
    check(&mut c, 4, "1: A1(0) A2(1) B(2). 2: A1(2) A3(0) B(1)");
}

#[test]
fn s13_limits_move_items_between_zones() {
    let start = "1: A1(0) B1(1) B2(2). 2: A2(0) B1(1) B2(2). 3: A2(0) B1(1) B2(2)";
    let mut c = cluster("a/A1:1 a/A2:3 b/B1:10 b/B2:10", "1:3 2:3 3:3", start);
    set_members(&mut c, "a/A1:3 a/A2:1");
    check(&mut c, 5, "1: A1(0) B1(1) B2(2). 2: A1(2) B1(0) B2(1). 3: A2(0) B1(1) B2(2)");
    set_members(&mut c, "a/A1:10 a/A2:10 b/B1:1 b/B2:3");
    check(&mut c, 5, "1: A1(0) A2(2) B2(1). 2: A1(1) A2(2) B2(0). 3: A1(2) A2(0) B1(1)");
}

#[test]
fn s14_a_zone_fails() {
    let start = "1: A1(0). 2: A2(1) B1(0). 3: A1(2) A3(0) B1(1)";
    let mut c = cluster("a/A1:4 a/A2:2 a/A3:1 b/B1:4", "1:1 2:2 3:3", start);
    c.kill("b/B1");
    check(&mut c, 4, "1: A1(0). 2: A1(1) A2(0). 3: A1(1) A2(2) A3(0)");
}

#[test]
fn s15_a_member_without_need_changes_nothing() {
    let mut c = cluster("a/A1:3 a/A2:2 a/A3:1", "1:1 2:2 3:3", "");
    let first = "1: A1(0). 2: A1(0) A2(1). 3: A1(0) A2(1) A3(2)";
    check(&mut c, 2, first);
    set_members(&mut c, "a/A4:1");
    check(&mut c, 0, first);
    set_members(&mut c, "a/A4:3");
    check(&mut c, 5, "1: A1(0). 2: A1(0) A2(1). 3: A2(0) A3(1) A4(2)");
}

#[test]
fn s16_members_drain() {
    let mut c = cluster("a/A2:4 a/A1:4 b/B1:4 b/B2:4", "1:1 2:1 3:1 4:1", "");
    c.converge(true);
    c.member("a/A1", 4, true).member("b/B1", 4, true);
    c.converge(true);
    let held: Vec<String> = c.assignments().into_iter().map(|(_, member, _)| member).collect();
    assert_eq!(held.len(), 4);
    assert!(held.iter().all(|member| member == "a/A2" || member == "b/B2"), "{held:?}");
    for (member, drained) in [("a/A1", true), ("b/B1", true), ("a/A2", false), ("b/B2", false)] {
        assert_eq!(c.state.is_drained(id(member).0, id(member).1), drained, "{member}");
    }
}

#[test]
fn s17_the_leader_drains_itself() {
    let mut c = cluster("a/A1:4 a/A2:4 b/B1:4", "1:1 2:1 3:1", "");
    c.converge(true);
    assert_eq!(c.leader().as_deref(), Some("a/A1"));
    c.member("a/A1", 4, true);
    c.converge(true);
    assert_eq!(c.leader().as_deref(), Some("a/A1"), "it leads until its key is gone");
    assert!(c.state.is_drained("a", "A1"));
    assert_eq!(c.assignments().len(), 3);
}

#[test]
fn s18_assignments_of_what_is_not_there_go() {
    let live = "2: A(0). 5: B(0). 6: A(0)";
    let mut c = cluster("a/A:10 b/B:10", "2:1 5:1 6:1", live);
    assign(&mut c, "1: A(0). 3: A(0) B(1). 4: B(0). 7: A(0) B(1)", true);
    check_unmarked(&mut c, 1, live);
}

#[test]
fn s19_a_member_that_is_gone_and_one_that_is_full() {
    let mut c = cluster("a/A:2", "1:1 2:1", "1: A(1) dead(0). 2: dead(0)");
    check_unmarked(&mut c, 1, "1: A(0). 2: A(1) dead(0)");
    check(&mut c, 2, "1: A(0). 2: A(0)");
}
