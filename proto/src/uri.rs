//! Pure: URLs taken apart as Go's `net/url` does, since store and endpoint URLs of existing specs were accepted by
//! it. It resolves nothing and normalises nothing but the case of the scheme.

use crate::quote::quoted;

/// The parts of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uri {
    /// Lower case; empty when there is none.
    pub(crate) scheme: String,
    /// With the port, without user and password; escapes are resolved.
    pub(crate) host: String,
    /// Escapes are resolved.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) query: String,
}

/// Takes a URL apart, or says why not.
pub(crate) fn parse(text: &str) -> Result<Uri, String> {
    split(text).map_err(|why| format!("parse {}: {why}", quoted(text)))
}

fn split(text: &str) -> Result<Uri, String> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let (scheme, rest) = scheme(text)?;
    let mut uri = Uri { scheme: scheme.to_ascii_lowercase(), ..Uri::default() };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    query.clone_into(&mut uri.query);
    if !rest.starts_with('/') {
        if !uri.scheme.is_empty() {
            // Opaque, as in `mailto:x`: neither host nor path.
            return Ok(uri);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    let mut path = rest;
    if let Some(authority) =
        rest.strip_prefix("//").filter(|_| !uri.scheme.is_empty() || !rest.starts_with("///"))
    {
        let (host, after) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        uri.host = self::host(host)?;
        path = after;
    }
    uri.path = unescape(path)?;
    Ok(uri)
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host(authority: &str) -> Result<String, String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = if let Some(bracketed) = host.strip_prefix('[') {
        let Some((_, port)) = bracketed.rsplit_once(']') else {
            return Err("missing ']' in host".to_owned());
        };
        port
    } else {
        host.rfind(':').map_or("", |i| &host[i..])
    };
    let number = port.strip_prefix(':').unwrap_or(port);
    if (!port.is_empty() && !port.starts_with(':')) || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("invalid port {} after host", quoted(port)));
    }
    if let Some(c) = host.chars().find(|c| matches!(c, ' ' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        return Err(format!("invalid character {} in host name", quoted(&c.to_string())));
    }
    unescape(host)
}

fn unescape(text: &str) -> Result<String, String> {
    let Some(first) = text.find('%') else { return Ok(text.to_owned()) };
    let mut bytes = text.as_bytes()[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            let escape: String = rest[before.len()..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", quoted(&escape)));
        };
        bytes.push(byte);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "escapes that are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart() {
        let check = |text: &str, scheme: &str, host: &str, path: &str, query: &str| {
            let expected = Uri {
                scheme: scheme.to_owned(),
                host: host.to_owned(),
                path: path.to_owned(),
                query: query.to_owned(),
            };
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        };
        check("s3://bucket/a/prefix/?x=1&y", "s3", "bucket", "/a/prefix/", "x=1&y");
        check("file:///", "file", "", "/", "");
        check("HTTP://User:pw@h:80#frag", "http", "h:80", "", "");
        check("http://[::1]:80/a%20b", "http", "[::1]:80", "/a b", "");
        check("/just/a/path", "", "", "/just/a/path", "");
        check("//host/path", "", "host", "/path", "");
        check("mailto:someone", "mailto", "", "", "");
        check("", "", "", "", "");
    }

    #[test]
    fn says_why_not() {
        let check = |text: &str, why: &str| assert_eq!(parse(text), Err(why.to_owned()), "{text:?}");
        check(":garbage:", r#"parse ":garbage:": missing protocol scheme"#);
        check("1:2", r#"parse "1:2": first path segment in URL cannot contain colon"#);
        check("a\n", r#"parse "a\n": net/url: invalid control character in URL"#);
        check("http://h:port/", r#"parse "http://h:port/": invalid port ":port" after host"#);
        check("http://[::1/", r#"parse "http://[::1/": missing ']' in host"#);
        check("http://a b/", r#"parse "http://a b/": invalid character " " in host name"#);
        check("file:///%zz/", r#"parse "file:///%zz/": invalid URL escape "%zz""#);
        check("file:///%f", r#"parse "file:///%f": invalid URL escape "%f""#);
        check("file:///%é", r#"parse "file:///%é": invalid URL escape "%é""#);
    }
}
