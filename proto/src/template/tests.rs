//! Path postfixes by template and time, and templates that are refused.

use proptest::prelude::*;

use super::*;

/// 2026-07-01 04:05:06.789 UTC, a Wednesday.
const MOMENT: Timestamp = Timestamp::from_millis(1_782_878_706_789);

fn evaluate(template: &str) -> Result<String, String> {
    let labels = LabelSet::from_pairs([("region", "eu-west-1"), ("up", "../x"), ("path", "/a//b/")]).unwrap();
    let registers = LabelSet::from_pairs([("epoch", "7")]).unwrap();
    let context = Context {
        journal: "acme/orders/part-000",
        begin: 1234,
        end: 5678,
        compression_codec: Codec::Zstandard,
        first_append_time: MOMENT,
        registers: &registers,
        labels: &labels,
    };
    PathTemplate::parse(template).and_then(|t| t.evaluate(&context)).map_err(|e| e.to_string())
}

#[test]
fn evaluates_the_known_forms() {
    for (template, expected) in [
        ("", ""),
        ("plain/text", "plain/text"),
        (r#"date={{.Spool.FirstAppendTime.Format "2006-01-02"}}"#, "date=2026-07-01"),
        (r#"{{ .Spool.FirstAppendTime.Format "2006-01-02/15" }}"#, "2026-07-01/04"),
        (r#"{{ .Spool.FirstAppendTime.UTC.Format `2006/01` }}"#, "2026/07"),
        (
            r#"date={{ .Spool.FirstAppendTime.Format "2006-01-02" }}/hour={{ .Spool.FirstAppendTime.Format "15" }}"#,
            "date=2026-07-01/hour=04",
        ),
        ("t={{.Spool.FirstAppendTime.Unix}}", "t=1782878706"),
        ("{{.Spool.FirstAppendTime.Year}}/{{.Spool.FirstAppendTime.Month}}", "2026/July"),
        ("{{.Spool.FirstAppendTime.Day}}-{{.Spool.FirstAppendTime.Hour}}", "1-4"),
        ("{{.Spool.FirstAppendTime.YearDay}}-{{.Spool.FirstAppendTime.Minute}}", "182-5"),
        ("{{.Spool.FirstAppendTime.Weekday}}", "Wednesday"),
        ("{{.Spool.Journal}}/x", "acme/orders/part-000/x"),
        ("{{.Name}}", "acme/orders/part-000"),
        ("{{ .JournalSpec.Name }}", "acme/orders/part-000"),
        ("{{.Spool.Begin}}-{{.Spool.End}}", "1234-5678"),
        ("{{.Spool.CompressionCodec}}", "ZSTANDARD"),
        (r#"e={{.Spool.Registers.ValueOf "epoch"}}"#, "e=7"),
        (r#"e={{.Spool.Registers.ValueOf "absent"}}"#, "e="),
        (r#"{{.LabelSet.ValueOf "region"}}"#, "eu-west-1"),
        (r#"{{.JournalSpec.LabelSet.ValueOf "region"}}"#, "eu-west-1"),
        // Empty values and stray slashes collapse.
        (r#"{{.LabelSet.ValueOf "absent"}}/x/"#, "x"),
        (r#"x/{{.LabelSet.ValueOf "path"}}/./y"#, "x/a/b/y"),
        // White space is trimmed where a dash asks for it, and comments vanish.
        ("a/  {{- .Spool.Begin -}}  /b", "a/1234/b"),
        ("a{{/* the hour follows */}}b", "ab"),
        (r#"{{"}}" | x}}"#, "unknown"),
        (r#"{{"a=b"}}"#, "a=b"),
    ] {
        match evaluate(template) {
            Ok(actual) => assert_eq!(actual, expected, "{template}"),
            Err(error) => {
                assert!(expected == "unknown" && error.contains("unknown form"), "{template}: {error}")
            }
        }
    }
}

#[test]
fn refuses_everything_else() {
    for (template, expected) in [
        ("{{", "unclosed action"),
        ("{{ .Spool.Begin }", "unclosed action"),
        (r#"{{ "}} "#, "unclosed action"),
        ("{{}}", "unknown form {{}}"),
        ("{{if true}}x{{end}}", "unknown form {{if true}}"),
        ("{{ .Spool.FirstAppendTime }}", "unknown form"),
        ("{{ .Spool.FirstAppendTime.Format }}", "unknown form"),
        ("{{ .Spool.FirstAppendTime.Format 15 }}", "unknown form"),
        (r#"{{ .Spool.FirstAppendTime.Format "15" "04" }}"#, "unknown form"),
        (r#"{{ .Spool.FirstAppendTime.Format "15" | printf "%s" }}"#, "unknown form"),
        (r#"{{ printf "%x" .Spool.Begin }}"#, "unknown form"),
        ("{{ .Spool.Nope }}", "unknown form {{.Spool.Nope}}"),
        ("{{ .Fragment.Length }}", "ambiguous field"),
        (r#"{{ .LabelSet.ValueOf "a\n" }}"#, "unknown escape"),
        ("../x", "cannot traverse outside"),
        ("x/../y", "cannot traverse outside"),
        ("/x", "cannot begin with '/' (/x)"),
        ("a b", "not a valid token (a b)"),
        // A colon could be written, but no listing would ever read it back.
        (r#"{{ .Spool.FirstAppendTime.Format "15:04" }}"#, "not a valid token (00:00)"),
        (r#"x/{{ .LabelSet.ValueOf "up" }}"#, "cannot traverse outside the journal (x/../x)"),
    ] {
        let error = evaluate(template).unwrap_err();
        assert!(error.contains(expected), "{template}: {error}");
    }
    let long = "x".repeat(513);
    assert!(evaluate(&long).unwrap_err().contains("invalid length (513; expected 0 <= length <= 512)"));
}

#[test]
fn prints_go_layouts() {
    let noon = Timestamp::from_secs(1_782_907_200);
    for (time, layout, expected) in [
        (MOMENT, "Mon Jan 2 15:04:05 MST 2006", "Wed Jul 1 04:05:06 UTC 2026"),
        (MOMENT, "Monday, 02-Jan-06", "Wednesday, 01-Jul-26"),
        (MOMENT, "January _2 __2 002", "July  1 182 182"),
        (MOMENT, "2006-01-02T15:04:05Z07:00", "2026-07-01T04:05:06Z"),
        (MOMENT, "-0700 -07:00 -07 Z0700", "+0000 +00:00 +00 Z"),
        (MOMENT, "3:4:5PM 03pm", "4:5:6AM 04am"),
        (noon, "3PM 15", "12PM 12"),
        (MOMENT, "05.000 05.999999 05,00 .0001", "06.789 06.789 06,78 .0007"),
        (MOMENT, "2006_01_02 _2006", "2026_07_01 _2026"),
        (MOMENT, "Janet Months Januarys", "Janet Months Julys"),
        (MOMENT, "1/2/20060102", "7/1/20260701"),
        (Timestamp::UNIX_EPOCH, "2006-01-02 15", "1970-01-01 00"),
        (Timestamp::from_secs(951_782_400), "2006-01-02 002", "2000-02-29 060"),
        (Timestamp::from_nanos(i64::MAX), "2006", "2262"),
    ] {
        let mut out = String::new();
        Layout::parse(layout).print(civil(time), &mut out);
        assert_eq!(out, expected, "{layout}");
    }
}

proptest! {
    #[test]
    fn whatever_parses_stays_under_the_journal(template in r#"([a-z./=-]|\{\{|\}\}| |"|\.Spool\.(Begin|Journal)|\.LabelSet\.ValueOf "(up|path|region)"){0,12}"#) {
        if let Ok(postfix) = evaluate(&template) {
            prop_assert!(postfix.len() <= MAX_POSTFIX_BYTES);
            prop_assert!(postfix.is_empty() || postfix.split('/').all(|c| !matches!(c, "" | "." | "..")));
        }
    }
}
