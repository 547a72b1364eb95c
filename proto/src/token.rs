//! Pure: the alphabets and shapes of names: tokens, and path components made of them.
//!
//! Lengths are bytes of UTF-8. The alphabets hold nothing at or below `#`, which separates the parts of a key in
//! the registry. It does not know what a name is for.

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::invalid::Invalid;

/// Which symbols an alphabet has besides letters and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbols {
    /// `-`, `_`, `+`, `/` and `.`
    Token,
    /// Those of a token, `=` and `%`.
    Path,
}

/// Whether an alphabet has a character: every Unicode letter (category L), every number (category N), and the
/// symbols.
pub fn is_legal(c: char, symbols: Symbols) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '+' | '/' | '.' => true,
        '=' | '%' => symbols == Symbols::Path,
        _ if c.is_ascii() => false,
        // `char::is_alphabetic` is wider than category L: it has combining marks.
        _ => matches!(
            get_general_category(c),
            GeneralCategory::UppercaseLetter
                | GeneralCategory::LowercaseLetter
                | GeneralCategory::TitlecaseLetter
                | GeneralCategory::ModifierLetter
                | GeneralCategory::OtherLetter
                | GeneralCategory::DecimalNumber
                | GeneralCategory::LetterNumber
                | GeneralCategory::OtherNumber
        ),
    }
}

/// Checks a token of `min..=max` bytes.
pub fn check_token(text: &str, symbols: Symbols, min: usize, max: usize) -> Result<(), Invalid> {
    let length = text.len();
    if length < min || length > max {
        return Err(Invalid::new(format!("invalid length ({length}; expected {min} <= length <= {max})")));
    }
    if !text.chars().all(|c| is_legal(c, symbols)) {
        return Err(Invalid::new(format!("not a valid token ({text})")));
    }
    Ok(())
}

/// Checks a path component: a token that is a clean, relative path and stays below where it is put.
///
/// Gazette lets `..` lead a path; on a store that is a folder such a name leaves the folder, so it is refused.
pub fn check_path(text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    check_token(text, Symbols::Path, min, max)?;
    if text.is_empty() {
        return Ok(());
    }
    if !is_clean(text) {
        return Err(Invalid::new(format!("must be a clean path ({text})")));
    }
    if text.starts_with('/') {
        return Err(Invalid::new(format!("cannot begin with '/' ({text})")));
    }
    if text.split('/').any(|part| part == "." || part == "..") {
        return Err(Invalid::new(format!("cannot leave its folder by a '.' or '..' component ({text})")));
    }
    Ok(())
}

/// Whether a path that is not empty equals what Go's `path.Clean` makes of it.
fn is_clean(text: &str) -> bool {
    if text == "." || text == "/" {
        return true;
    }
    let (rooted, rest) = match text.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    // `..` survives cleaning only at the front of a relative path.
    let mut climbing = !rooted;
    rest.split('/').all(|part| match part {
        "" | "." => false,
        ".." => climbing,
        _ => {
            climbing = false;
            true
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabets() {
        let check = |c: char, token: bool, path: bool| {
            assert_eq!((is_legal(c, Symbols::Token), is_legal(c, Symbols::Path)), (token, path), "{c:?}");
        };
        for c in "azAZ09-_+/.".chars() {
            check(c, true, true);
        }
        for c in "=%".chars() {
            check(c, false, true);
        }
        for c in " !\"#$&'()*,:;<>?@[\\]^`{|}~\t\n\0\u{7f}".chars() {
            check(c, false, false);
        }
        // Letters and numbers of any script: Ll, Lo, Lm, Lt, Nd, Nl, No.
        for c in ['é', 'Ж', '世', 'ʰ', 'ǅ', '٣', 'Ⅷ', '½'] {
            check(c, true, true);
        }
        // Combining marks (alphabetic to Rust, not letters to Go), symbols, spaces, and the mark of bad UTF-8.
        for c in ['\u{0345}', '\u{0301}', '€', '\u{a0}', '\u{2028}', '\u{fffd}', 'Ⓐ', '😀'] {
            check(c, false, false);
        }
    }

    #[test]
    fn tokens() {
        let check = |text: &str, min, max, expected: Result<(), &str>| {
            let got = check_token(text, Symbols::Token, min, max).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text:?}");
        };
        check("a-token", 2, 8, Ok(()));
        check("", 0, 8, Ok(()));
        check("a", 2, 8, Err("invalid length (1; expected 2 <= length <= 8)"));
        check("éééé", 2, 7, Err("invalid length (8; expected 2 <= length <= 7)"));
        check("xxx xxx", 2, 8, Err("not a valid token (xxx xxx)"));
        check("a=b", 2, 8, Err("not a valid token (a=b)"));
    }

    #[test]
    fn paths() {
        let check = |text: &str, expected: Result<(), &str>| {
            let got = check_path(text, 0, 64).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text:?}");
        };
        for good in ["", "a", "a/b", "a=1/b=2", "..a", "a..", "a/...", ".a/b.", "50%/x"] {
            check(good, Ok(()));
        }
        for unclean in
            ["a/", "a//b", "a/./b", "./a", "a/.", "a/..", "a/../b", "//", "/a/", "/..", "//a", "../"]
        {
            check(unclean, Err(&format!("must be a clean path ({unclean})")));
        }
        for rooted in ["/", "/a", "/a/b"] {
            check(rooted, Err(&format!("cannot begin with '/' ({rooted})")));
        }
        for leaving in [".", "..", "../a", "../../a/b"] {
            check(leaving, Err(&format!("cannot leave its folder by a '.' or '..' component ({leaving})")));
        }
    }
}
