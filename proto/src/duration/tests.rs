//! Durations as Go prints and reads them.

use proptest::prelude::*;

use super::*;

fn nanos(text: &str) -> i64 {
    text.parse::<GoDuration>().unwrap().as_nanos()
}

#[test]
fn reads_what_go_reads() {
    const S: i64 = NANOS_PER_SECOND;
    for (text, expected) in [
        ("0", 0),
        ("-0", 0),
        ("+0", 0),
        ("0s", 0),
        ("5s", 5 * S),
        ("30s", 30 * S),
        ("+5s", 5 * S),
        ("-5s", -5 * S),
        ("5m", 300 * S),
        ("1h0m0s", 3600 * S),
        ("720h0m0s", 720 * 3600 * S),
        (".5s", S / 2),
        ("5.s", 5 * S),
        ("-1.5h", -5400 * S),
        ("1.000000001s", S + 1),
        ("10ns", 10),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1\u{3bc}s", 1_000),
        ("2ms", 2_000_000),
        ("1s500ms", S + S / 2),
        ("1m1h", 3660 * S),
        ("0.3333333333333333333h", 1_199_999_999_999),
        ("9223372036854775807ns", i64::MAX),
        ("-9223372036854775808ns", i64::MIN),
        ("0.100000000000000000000h", 360 * S),
    ] {
        assert_eq!(nanos(text), expected, "{text}");
    }
}

#[test]
fn refuses_what_go_refuses() {
    for (text, reason) in [
        ("", "no number"),
        ("-", "no number"),
        ("5", "missing unit"),
        ("5 min", "unknown unit"),
        ("1d", "unknown unit"),
        ("1S", "unknown unit"),
        (".", "expected a number before each unit"),
        ("s", "expected a number before each unit"),
        (".s", "expected a number before each unit"),
        ("--5s", "expected a number before each unit"),
        ("5s ", "unknown unit"),
        (" 5s", "expected a number before each unit"),
        ("1e3s", "unknown unit"),
        ("9223372036854775808ns", "beyond 292 years"),
        ("-9223372036854775809ns", "beyond 292 years"),
        ("3000000h", "beyond 292 years"),
        ("99999999999999999999999999999999999999999h", "beyond 292 years"),
        ("18446744073709551615h", "beyond 292 years"),
    ] {
        let error = text.parse::<GoDuration>().unwrap_err();
        assert_eq!(error.reason, reason, "{text:?}");
        assert!(error.to_string().contains("like 10s, 5m"), "{error}");
    }
    assert_eq!("1".repeat(300).parse::<GoDuration>().unwrap_err().reason, "too long");
}

#[test]
fn prints_as_go_prints() {
    for (nanos, expected) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (60_000_000_000, "1m0s"),
        (300_000_000_000, "5m0s"),
        (245_005_000_000, "4m5.005s"),
        (3_600_000_000_000, "1h0m0s"),
        (86_400_000_000_000, "24h0m0s"),
        (18_367_008_000_000, "5h6m7.008s"),
        (-5_400_000_000_000, "-1h30m0s"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration::from_nanos(nanos).to_string(), expected);
    }
}

#[test]
fn crosses_the_wire() {
    let wire = |seconds, nanos| prost_types::Duration { seconds, nanos };
    assert_eq!(GoDuration::from_wire(&wire(90, 5)), Some(GoDuration::from_nanos(90_000_000_005)));
    assert_eq!(GoDuration::from_wire(&wire(-1, -5)), Some(GoDuration::from_nanos(-1_000_000_005)));
    assert_eq!(GoDuration::from_wire(&wire(1, -5)), None);
    assert_eq!(GoDuration::from_wire(&wire(0, 1_000_000_000)), None);
    assert_eq!(GoDuration::from_wire(&wire(i64::MAX, 0)), None);
    assert_eq!(GoDuration::from_secs(2).to_std(), Some(Duration::from_secs(2)));
    assert_eq!(GoDuration::from_secs(-2).to_std(), None);
}

proptest! {
    #[test]
    fn parse_undoes_print(nanos: i64) {
        let duration = GoDuration::from_nanos(nanos);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        prop_assert_eq!(GoDuration::from_wire(&duration.to_wire()), Some(duration));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-+0-9.a-zµ ]{0,40}") {
        let _ = text.parse::<GoDuration>();
    }
}
