//! Pure: text in double quotes as Go's `%q` prints it, since refusals quote input and clients compare them.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// Quotes a text.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation, symbols, and the ASCII space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    !matches!(
        get_general_category(c),
        Category::SpaceSeparator
            | Category::LineSeparator
            | Category::ParagraphSeparator
            | Category::Control
            | Category::Format
            | Category::Surrogate
            | Category::PrivateUse
            | Category::Unassigned
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("", r#""""#);
        check("plain 'text'", r#""plain 'text'""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\n\t\r\x00\x1b\x7f", r#""\n\t\r\x00\x1b\x7f""#);
        check("Ж世é😀", "\"Ж世é😀\"");
        check("\u{a0}\u{2028}\u{feff}\u{10ffff}", r#""\u00a0\u2028\ufeff\U0010ffff""#);
    }
}
