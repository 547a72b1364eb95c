//! Rust source reduced to its code: comments and the inside of literals become blanks, lines stay where they are.

/// The code of `text`, line for line.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest));
        if let Some(length) = skipped {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        } else if first.is_alphanumeric() || first == '_' {
            // A whole word, so that the `r` or `b` that ends one begins no literal.
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            code.push_str(&rest[..length]);
            rest = &rest[length..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// The code of `text` up to the tests that stand at its end.
pub(crate) fn code_without_tests(text: &str) -> String {
    let mut code = code(text);
    // `mod tests;` is a file of its own; `mod tests {` goes on to the end of this one.
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let following = code[at..].split_once(']').map_or("", |(_, following)| following).trim_start();
        let is_module = following.strip_prefix("mod ").is_some_and(|module| {
            module.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').trim_start().starts_with('{')
        });
        if is_module {
            code.truncate(at);
            break;
        }
    }
    code
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// The length of the string, byte string or character that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let unprefixed = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - unprefixed.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let open = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = open.find(&close).map_or(open.len(), |at| at + close.len());
        return Some(prefix + 1 + hashes + 1 + inside);
    }
    if let Some(open) = unprefixed.strip_prefix('"') {
        return Some(prefix + 1 + quoted(open, '"'));
    }
    let open = unprefixed.strip_prefix('\'')?;
    // A lifetime is no literal: 'a has no closing quote right after its first character.
    let mut following = open.chars();
    let (first, second) = (following.next()?, following.next()?);
    (first == '\\' || second == '\'').then(|| prefix + 1 + quoted(open, '\''))
}

/// The length of what is inside quotes, with the closing one.
fn quoted(open: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in open.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    open.len()
}

#[test]
fn comments_and_literals_are_blanked_and_code_is_not() {
    let check = |text: &str, expected: &str| {
        assert_eq!(code(text).split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        assert_eq!(code(text).lines().count(), text.lines().count(), "{text}");
    };
    check("let a = 1; // tokio\nb", "let a = 1; b");
    check("a /* x /* y */ tokio */ b", "a b");
    check("f(\"tokio \\\" still\", 'x', b)", "f( , , b)");
    check("f(r#\"to\"kio\"#, b\"x\", br\"y\", c\"z\")", "f( , , , )");
    check(
        "fn f<'a>(x: &'a str, y: char) { y == '\\'' || y == '\"' }",
        "fn f<'a>(x: &'a str, y: char) { y == || y == }",
    );
    check("bar(\"x\"); attr\"", "bar( ); attr");
    check("a\n/* two\nlines */\nb", "a b");
}

#[test]
fn tests_at_the_end_are_left_out() {
    assert_eq!(code_without_tests("a();\n#[cfg(test)]\nmod tests {\n tokio }").trim(), "a();");
    assert!(code_without_tests("#[cfg(test)]\nmod tests;\nuse tokio;").contains("tokio"));
    assert!(code_without_tests("#[cfg(test)]\nfn helper() {}\nuse tokio;").contains("tokio"));
}
