//! Pure: a route in protobuf's compact text form, byte for byte as Go prints it: a blank behind every field, and
//! fields at their default left out.

use std::fmt::Write;

use crate::wire;

pub(super) fn compact(route: &wire::Route) -> String {
    let mut out = String::new();
    for id in &route.members {
        out.push_str("members:<");
        field(&mut out, "zone", &id.zone);
        field(&mut out, "suffix", &id.suffix);
        out.push_str("> ");
    }
    if route.primary != 0 {
        out.push_str("primary:");
        out.push_str(&route.primary.to_string());
        out.push(' ');
    }
    for endpoint in &route.endpoints {
        // An item of a repeated field is printed even when it is empty.
        out.push_str("endpoints:");
        quote(&mut out, endpoint);
        out.push(' ');
    }
    out
}

fn field(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push_str(name);
        out.push(':');
        quote(out, value);
        out.push(' ');
    }
}

/// Everything but printable ASCII becomes an escape, byte by byte.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
}
