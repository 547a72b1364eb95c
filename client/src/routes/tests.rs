//! Routes that are learned, used, and doubted.

use super::*;

const JOURNAL: &str = "acme/orders";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A route of members like `a/1`, a zone and a name whose endpoint is made of it, with the primary at an index.
fn route(members: &[&str], primary: i32) -> wire::Route {
    let id = |member: &&str| {
        let (zone, suffix) = member.split_once('/').unwrap();
        wire::process_spec::Id { zone: zone.into(), suffix: suffix.into() }
    };
    wire::Route {
        members: members.iter().map(id).collect(),
        primary,
        endpoints: members.iter().map(|member| at(member)).collect(),
    }
}

fn at(member: &str) -> String {
    format!("http://{}:8080", member.replace('/', "."))
}

fn routes(zone: &str) -> Routes {
    Routes::new(zone.to_owned(), false, 7)
}

#[track_caller]
fn check(routes: &mut Routes, wants: Wants, now: u64, expected: &str) {
    let picked = routes.pick(JOURNAL, wants, secs(now));
    assert_eq!(picked.as_deref(), (!expected.is_empty()).then(|| at(expected)).as_deref());
}

#[test]
fn appends_go_to_the_primary_and_reads_to_the_own_zone() {
    let mut routes = routes("b");
    check(&mut routes, Wants::Primary, 0, "");
    check(&mut routes, Wants::AnyMember, 0, "");
    routes.learn(JOURNAL, &route(&["a/1", "b/2", "c/3"], 2), secs(0));
    check(&mut routes, Wants::Primary, 1, "c/3");
    check(&mut routes, Wants::AnyMember, 1, "b/2");

    routes.learn(JOURNAL, &route(&["a/1", "b/2", "c/3"], -1), secs(2));
    check(&mut routes, Wants::Primary, 3, "");
    check(&mut routes, Wants::AnyMember, 3, "b/2");

    routes.learn(JOURNAL, &wire::Route { primary: -1, ..Default::default() }, secs(4));
    check(&mut routes, Wants::AnyMember, 5, "");
}

#[test]
fn what_was_not_told_again_is_not_believed_for_ever() {
    let mut routes = routes("");
    let told = route(&["a/1"], 0);
    routes.learn(JOURNAL, &told, secs(0));
    check(&mut routes, Wants::Primary, 59, "a/1");
    check(&mut routes, Wants::Primary, 60, "");
    routes.learn(JOURNAL, &told, secs(60));
    check(&mut routes, Wants::Primary, 119, "a/1");
    routes.forget(JOURNAL);
    check(&mut routes, Wants::Primary, 119, "");
}

#[test]
fn an_endpoint_that_fails_is_left_alone_for_longer_each_time() {
    let mut routes = routes("a");
    routes.learn(JOURNAL, &route(&["a/1", "b/2"], 0), secs(0));
    let near: Arc<str> = at("a/1").into();
    let mut now = 0;
    for wait in [5, 10, 20, 40, 60, 60] {
        routes.learn(JOURNAL, &route(&["a/1", "b/2"], 0), secs(now));
        routes.avoid(&near, secs(now));
        // Reachable comes before near.
        check(&mut routes, Wants::AnyMember, now + 1, "b/2");
        check(&mut routes, Wants::Primary, now + wait - 1, "");
        now += wait;
        routes.learn(JOURNAL, &route(&["a/1", "b/2"], 0), secs(now));
        check(&mut routes, Wants::Primary, now, "a/1");
    }
    routes.reached(&near);
    routes.avoid(&near, secs(now));
    check(&mut routes, Wants::Primary, now + 4, "");
    check(&mut routes, Wants::Primary, now + 5, "a/1");
}

#[test]
fn endpoints_that_mean_something_else_here_are_not_dialled() {
    let told = |endpoint: &str| wire::Route { endpoints: vec![endpoint.to_owned()], ..route(&["a/1"], 0) };
    let check = |is_local, endpoint: &str, expected: Option<&str>| {
        let mut routes = Routes::new(String::new(), is_local, 7);
        routes.learn(JOURNAL, &told(endpoint), secs(0));
        // A second time, as it is told with each answer.
        routes.learn(JOURNAL, &told(endpoint), secs(0));
        assert_eq!(routes.pick(JOURNAL, Wants::Primary, secs(1)).as_deref(), expected, "{endpoint}");
        assert_eq!(routes.pick(JOURNAL, Wants::AnyMember, secs(1)).as_deref(), expected, "{endpoint}");
    };
    check(false, "http://10.0.0.1:8080/", Some("http://10.0.0.1:8080"));
    check(false, "http://localhost:8080", None);
    check(true, "http://localhost:8080", Some("http://localhost:8080"));
    check(true, "https://10.0.0.1", None);
    check(true, "unix:///run/broker", None);
    check(true, "", None);
}

#[test]
fn who_lacks_content_is_not_asked_again_and_again() {
    let told = route(&["a/1", "b/2", "c/3"], 0);
    let mut routes = routes("b");
    routes.learn(JOURNAL, &told, secs(0));
    check(&mut routes, Wants::AnyMember, 0, "b/2");
    let asked = |routes: &mut Routes| {
        routes.lacked(JOURNAL);
        routes.learn(JOURNAL, &told, secs(0));
        routes.pick(JOURNAL, Wants::AnyMember, secs(0)).unwrap()
    };
    let three =
        std::collections::BTreeSet::from([asked(&mut routes), asked(&mut routes), asked(&mut routes)]);
    assert_eq!(three.len(), 3);
    // Another route is another matter.
    routes.learn(JOURNAL, &route(&["a/1", "b/2"], 0), secs(0));
    check(&mut routes, Wants::AnyMember, 0, "b/2");
}

#[test]
fn endpoints_that_are_not_told_teach_nothing() {
    let mut routes = routes("");
    routes.learn(JOURNAL, &wire::Route { endpoints: Vec::new(), ..route(&["a/1"], 0) }, secs(0));
    check(&mut routes, Wants::Primary, 0, "");
}

#[test]
fn clients_that_are_near_to_nobody_spread() {
    let told = route(&["a/1", "b/2", "c/3"], 0);
    let mut seen = std::collections::BTreeSet::new();
    for salt in 0..64 {
        let mut routes = Routes::new(String::new(), false, salt);
        routes.learn(JOURNAL, &told, secs(0));
        let first = routes.pick(JOURNAL, Wants::AnyMember, secs(0)).unwrap();
        assert_eq!(routes.pick(JOURNAL, Wants::AnyMember, secs(1)), Some(Arc::clone(&first)));
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn what_is_kept_is_bounded_and_what_is_used_stays() {
    let mut routes = routes("");
    let told = route(&["a/1"], 0);
    routes.learn(JOURNAL, &told, secs(0));
    for number in 0..10 * GENERATION {
        routes.learn(&format!("other/{number}"), &told, secs(0));
        check(&mut routes, Wants::Primary, 0, "a/1");
        routes.avoid(&format!("http://other-{number}").into(), secs(0));
    }
    assert!(routes.recent.len() + routes.older.len() <= 2 * GENERATION);
    assert!(routes.failures.len() <= MOST_FAILURES);
    assert_eq!(routes.pick("other/0", Wants::Primary, secs(0)), None);
}
