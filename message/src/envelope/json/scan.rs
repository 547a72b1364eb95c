//! Pure: walks over JSON without building anything: where the members of an object are, and whether all of it is JSON (RFC 8259).

use std::borrow::Cow;
use std::ops::Range;

use super::super::Damaged;
use super::text;

/// Deeper text is no JSON here, as for Gazette's clients.
const MOST_NESTED: usize = 10_000;

/// Where something stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A member of an object; the key with its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) key: Span,
    pub(super) value: Span,
}

impl Member {
    /// The key as it is meant.
    pub(super) fn key<'a>(&self, text: &'a str) -> Cow<'a, str> {
        text::unquote(&text[self.key.range()]).unwrap_or_default()
    }
}

/// A place in a text, and what was seen on the way there.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Containers around the value that is walked over.
    base: usize,
    deepest: usize,
    unreadable: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, base: 0, deepest: 0, unreadable: false }
    }

    /// How many objects and arrays were within each other at most.
    pub(super) fn deepest(&self) -> usize {
        self.deepest
    }

    /// Whether there was half of a surrogate pair or a number that no 64-bit float comes near: JSON, but not for all readers.
    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    pub(super) fn is_at_object(&mut self) -> bool {
        self.whitespace();
        self.peek() == Some(b'{')
    }

    /// Walks over the only value of the text.
    pub(super) fn document(&mut self) -> Result<(), Damaged> {
        self.value()?;
        self.end()
    }

    /// Walks over the object that is the only value of the text, and tells its members.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(Member) -> Result<(), Damaged>,
    ) -> Result<Span, Damaged> {
        self.whitespace();
        let start = self.at;
        self.expect(b'{', "expected a JSON object")?;
        (self.base, self.deepest) = (1, self.deepest.max(1));
        self.whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let key = self.key()?;
                self.whitespace();
                let value_start = self.at;
                self.value()?;
                each(Member { key, value: Span { start: value_start, end: self.at } })?;
                self.whitespace();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    break;
                }
                self.expect(b',', "expected `,` or `}` after a member")?;
            }
        }
        let span = Span { start, end: self.at };
        self.end()?;
        Ok(span)
    }

    /// The length of the string that the text begins with, with its quotes. None if it begins with none.
    pub(super) fn string_length(mut self) -> Option<usize> {
        (self.peek() == Some(b'"') && self.string().is_ok()).then_some(self.at)
    }

    fn end(&mut self) -> Result<(), Damaged> {
        self.whitespace();
        if self.at < self.text.len() { self.fail("more after the JSON value") } else { Ok(()) }
    }

    /// A key and the colon after it.
    fn key(&mut self) -> Result<Span, Damaged> {
        self.whitespace();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fail("expected a key in quotes");
        }
        self.string()?;
        let key = Span { start, end: self.at };
        self.whitespace();
        self.expect(b':', "expected `:` after a key")?;
        Ok(key)
    }

    /// Walks over a value, with no recursion.
    fn value(&mut self) -> Result<(), Damaged> {
        let mut nest = Nest::default();
        loop {
            self.whitespace();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    nest.push(open == b'{');
                    self.deepest = self.deepest.max(self.base + nest.depth);
                    if nest.depth > MOST_NESTED {
                        return self.fail("nested deeper than 10,000");
                    }
                    self.whitespace();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return self.fail("expected a JSON value"),
            }
            // A value ended, or a container begins that is empty: go on behind it, or behind what ends with it.
            loop {
                let Some(is_object) = nest.top() else { return Ok(()) };
                self.whitespace();
                match (self.peek(), is_object) {
                    (Some(b','), true) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Some(b','), false) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        nest.pop();
                    }
                    (_, true) => return self.fail("expected `,` or `}` after a member"),
                    (_, false) => return self.fail("expected `,` or `]` after a value"),
                }
            }
        }
    }

    fn string(&mut self) -> Result<(), Damaged> {
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return self.fail("a string without its closing quote");
            };
            if rest[..length].iter().any(|&byte| byte < b' ') {
                return self.fail("a control character in a string (expected an escape)");
            }
            self.at += length + 1;
            if rest[length] == b'"' {
                return Ok(());
            }
            let escaped = self.peek();
            self.at += 1;
            match escaped {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(b'u') => self.unit()?,
                _ => return self.fail("an escape that JSON does not have"),
            }
        }
    }

    /// The digits of a `\u`, and of the one that has to follow if this one is half a pair.
    fn unit(&mut self) -> Result<(), Damaged> {
        let Some(first) = self.digits() else {
            return self.fail("expected four hexadecimal digits after `\\u`");
        };
        match first {
            0xd800..=0xdbff => {
                let follows = self.text.get(self.at..self.at + 6).filter(|next| next.starts_with(b"\\u"));
                let second = follows.and_then(|next| text::unit(&next[2..]));
                if second.is_some_and(|unit| (0xdc00..=0xdfff).contains(&unit)) {
                    self.at += 6;
                } else {
                    self.unreadable = true;
                }
            }
            0xdc00..=0xdfff => self.unreadable = true,
            _ => {}
        }
        Ok(())
    }

    fn digits(&mut self) -> Option<u16> {
        let unit = text::unit(self.text.get(self.at..self.at + 4)?)?;
        self.at += 4;
        Some(unit)
    }

    fn number(&mut self) -> Result<(), Damaged> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.some_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        // Without an exponent it takes 309 digits to be beyond a float.
        if has_exponent || self.at - start > 300 {
            let number = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
            self.unreadable |= number.parse().is_ok_and(f64::is_infinite);
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Damaged> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail("expected a digit") } else { Ok(()) }
    }

    fn literal(&mut self, literal: &str) -> Result<(), Damaged> {
        if !self.text[self.at..].starts_with(literal.as_bytes()) {
            return self.fail("expected a JSON value");
        }
        self.at += literal.len();
        Ok(())
    }

    fn whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Damaged> {
        if self.peek() != Some(byte) {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, Damaged> {
        let what = if self.at < self.text.len() { what } else { "the JSON ends too early" };
        Err(Damaged::new(self.at.min(self.text.len()), what))
    }
}

/// Which of the containers around a place are objects, the innermost last. Allocates for every 128 of them.
#[derive(Debug, Default)]
struct Nest {
    innermost: u128,
    outer: Vec<u128>,
    depth: usize,
}

impl Nest {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(128) {
            self.outer.push(self.innermost);
        }
        self.innermost = self.innermost << 1 | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.innermost >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(128) {
            self.innermost = self.outer.pop().unwrap_or_default();
        }
    }

    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.innermost & 1 == 1)
    }
}
