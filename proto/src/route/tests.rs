//! Tests of routes.

use super::*;

fn id(zone: &str, suffix: &str) -> wire::process_spec::Id {
    wire::process_spec::Id { zone: zone.into(), suffix: suffix.into() }
}

fn wire_route(primary: i32) -> wire::Route {
    wire::Route { members: vec![id("us-a", "brk1"), id("us-b", "brk2")], primary, endpoints: vec![] }
}

#[test]
fn rules() {
    let check = |alter: fn(&mut wire::Route), expected: Result<(), &str>| {
        let mut wire = wire_route(0);
        alter(&mut wire);
        let got = Route::try_from(wire).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(got, expected.map_err(str::to_owned));
    };
    check(|_| {}, Ok(()));
    check(|r| r.primary = -1, Ok(()));
    check(|r| r.endpoints = vec![String::new(), "http://host".into()], Ok(()));
    check(|r| *r = wire::Route { primary: -1, ..Default::default() }, Ok(()));
    check(|r| *r = wire::Route::default(), Err("invalid Primary (0; expected -1 <= Primary < 0)"));
    check(|r| r.members[0].zone = "not valid".into(), Err("Members[0].Zone: not a valid token (not valid)"));
    check(
        |r| r.members.swap(0, 1),
        Err("Members not in unique, sorted order (index 1; us-a#brk1 <= us-b#brk2)"),
    );
    check(
        |r| r.members[1] = r.members[0].clone(),
        Err("Members not in unique, sorted order (index 1; us-a#brk1 <= us-a#brk1)"),
    );
    check(|r| r.primary = 2, Err("invalid Primary (2; expected -1 <= Primary < 2)"));
    check(|r| r.primary = -2, Err("invalid Primary (-2; expected -1 <= Primary < 2)"));
    check(
        |r| r.endpoints = vec!["http://host".into()],
        Err("len(Endpoints) != 0, and != len(Members) (1 vs 2)"),
    );
    check(
        |r| r.endpoints = vec![String::new(), "invalid".into()],
        Err("Endpoints[1]: not absolute: invalid"),
    );
}

#[test]
fn new_keeps_the_same_rules() {
    let id = |zone| ProcessId::new(zone, "brkr").expect("id");
    let check = |members: Vec<ProcessId>, primary, expected: &str| {
        assert_eq!(Route::new(members, primary).map_err(|e| e.to_string()), Err(expected.to_owned()));
    };
    check(vec![id("b"), id("a")], None, "Members not in unique, sorted order (index 1; a#brkr <= b#brkr)");
    check(vec![id("a")], Some(1), "invalid Primary (1; expected -1 <= Primary < 1)");
    check(vec![], Some(0), "invalid Primary (0; expected -1 <= Primary < 0)");
}

#[test]
fn survives_the_wire_and_knows_its_primary() {
    let route = Route::try_from(wire_route(1)).expect("route");
    assert_eq!(route.primary_member().map(ToString::to_string).as_deref(), Some("us-b#brk2"));
    assert_eq!(wire::Route::from(&route), wire_route(1));
    assert_eq!(wire::Route::from(&Route::empty()).primary, -1);

    let endpoint = Endpoint::parse("http://b").expect("endpoint");
    let with = route.clone().with_endpoints(|id| (id.zone() == "us-b").then(|| endpoint.clone()));
    assert_eq!(wire::Route::from(&with).endpoints, ["", "http://b"]);
    assert_eq!(with.primary_endpoint(), Some(&endpoint));
    assert_eq!(with.endpoint(0), None);
    assert_eq!(Route::try_from(wire::Route::from(&with)), Ok(with.clone()));

    // Endpoints do not count; members and primary do.
    assert!(with.equivalent(&route) && with != route);
    assert!(!route.equivalent(&Route::try_from(wire_route(0)).expect("route")));
    assert!(!route.equivalent(&Route::empty()));
    assert_eq!(with.without_endpoints(), route);
}

#[test]
fn values_of_the_registry() {
    let mut bytes = vec![
        0x0a, 0x0c, 0x0a, 0x04, 0x75, 0x73, 0x2d, 0x61, 0x12, 0x04, 0x62, 0x72, 0x6b, 0x31, 0x0a, 0x0c, 0x0a,
        0x04, 0x75, 0x73, 0x2d, 0x62, 0x12, 0x04, 0x62, 0x72, 0x6b, 0x32,
    ];
    let route = Route::try_from(wire_route(0)).expect("route");
    let with = route.clone().with_endpoints(|_| Endpoint::parse("http://x").ok());
    assert_eq!(with.encode(), bytes);
    assert_eq!(Route::decode(&bytes), Ok(route));

    let second = Route::try_from(wire_route(1)).expect("route");
    bytes.extend([0x10, 0x01]);
    assert_eq!(second.encode(), bytes);
    assert_eq!(Route::decode(&bytes), Ok(second));

    // Nothing is there before the first agreement; a route without primary takes ten bytes to say so.
    assert_eq!(Route::decode(&[]), Ok(Route::empty()));
    assert_eq!(Route::empty().encode(), [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(Route::decode(&[0xff]).is_err());
}

#[test]
fn compact_text() {
    let check = |wire: wire::Route, expected: &str| assert_eq!(super::text::compact(&wire), expected);
    let route = |primary, endpoint: &str| wire::Route {
        members: vec![id("a", "broker")],
        primary,
        endpoints: vec![endpoint.to_owned()],
    };
    check(
        route(0, "http://broker/path"),
        r#"members:<zone:"a" suffix:"broker" > endpoints:"http://broker/path" "#,
    );
    check(route(-1, ""), r#"members:<zone:"a" suffix:"broker" > primary:-1 endpoints:"" "#);
    check(route(0, "a\"b\\c\né"), r#"members:<zone:"a" suffix:"broker" > endpoints:"a\"b\\c\n\303\251" "#);
    let two = wire_route(1);
    check(
        two.clone(),
        r#"members:<zone:"us-a" suffix:"brk1" > members:<zone:"us-b" suffix:"brk2" > primary:1 "#,
    );
    assert_eq!(Route::try_from(two.clone()).expect("route").to_token(), super::text::compact(&two));
}
