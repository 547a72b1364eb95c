//! Pure: the text form of a selector, by Gazette's grammar, which is regular and strict about spaces.
//!
//! ```text
//! SP         at most one space                 END   SP, then `,` or the end of the input
//! NAME       2 or more of letters, numbers, - _ + / .   optionally followed by `:prefix`
//! VALUE      0 or more of letters, numbers, - _ + / . = %
//!
//! selector   { expression }
//! expression equal | notequal | in | notin | exists | notexists        tried in this order
//! equal      SP NAME SP ("=" | "==") SP VALUE END
//! notequal   SP NAME SP "!=" SP VALUE END
//! in         SP NAME " in" SP "(" SETBODY ")" END
//! notin      SP NAME " not" SP "in" SP "(" SETBODY ")" END
//! exists     SP NAME END
//! notexists  SP "!" SP NAME END
//! SETBODY    1 or more characters other than ")", read as { SP VALUE END }
//! ```
//!
//! Every repetition stops at characters that cannot follow it, so reading greedily never has to go back.

use super::{LabelSelector, PREFIX_SUFFIX, Term};
use crate::invalid::Invalid;
use crate::quote::quoted;
use crate::token::{self, Symbols};

pub(super) fn parse(text: &str) -> Result<LabelSelector, Invalid> {
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (found, after) = expression(rest).ok_or_else(|| {
            Invalid::new(format!("could not match {} to a label selector expression", quoted(rest)))
        })?;
        let terms = if found.excludes { &mut exclude } else { &mut include };
        let (name, prefix) = found.name;
        let mut add = |value: &str| terms.push(Term { name: name.into(), value: value.into(), prefix });
        match found.values {
            Values::One(value) => add(value),
            Values::Set(body) => set_body(body, add)?,
        }
        rest = after;
    }
    LabelSelector::from_terms(include, exclude)
}

/// An expression as it was read: it names, it excludes or not, and it gives values.
struct Expression<'a> {
    name: (&'a str, bool),
    excludes: bool,
    values: Values<'a>,
}

enum Values<'a> {
    One(&'a str),
    Set(&'a str),
}

fn expression(text: &str) -> Option<(Expression<'_>, &str)> {
    let text = space(text);
    if let Some(text) = text.strip_prefix('!') {
        let (name, rest) = name(space(text))?;
        return Some((Expression { name, excludes: true, values: Values::One("") }, end(rest)?));
    }
    let (name, rest) = name(text)?;
    let one = |excludes, value, rest| Some((Expression { name, excludes, values: Values::One(value) }, rest));
    if let Some((excludes, after)) = sign(space(rest)) {
        let (value, after) = value(space(after));
        return one(excludes, value, end(after)?);
    }
    if let Some((excludes, after)) = membership(rest) {
        let (body, after) = after.split_once(')').filter(|(body, _)| !body.is_empty())?;
        return Some((Expression { name, excludes, values: Values::Set(body) }, end(after)?));
    }
    one(false, "", end(rest)?)
}

/// `=`, `==` or `!=`, and whether it excludes.
fn sign(text: &str) -> Option<(bool, &str)> {
    if let Some(rest) = text.strip_prefix("!=") {
        return Some((true, rest));
    }
    text.strip_prefix("==").or_else(|| text.strip_prefix('=')).map(|rest| (false, rest))
}

/// ` in (` or ` not in (`, and whether it excludes.
fn membership(text: &str) -> Option<(bool, &str)> {
    let (excludes, rest) = match text.strip_prefix(" in") {
        Some(rest) => (false, rest),
        None => (true, space(text.strip_prefix(" not")?).strip_prefix("in")?),
    };
    Some((excludes, space(rest).strip_prefix('(')?))
}

fn set_body(body: &str, mut add: impl FnMut(&str)) -> Result<(), Invalid> {
    let mut rest = body;
    while !rest.is_empty() {
        let (value, after) = value(space(rest));
        let Some(after) = end(after) else {
            return Err(Invalid::new(format!(
                "parsing {}: could not match {} to a label selector set expression",
                quoted(body),
                quoted(rest)
            )));
        };
        add(value);
        rest = after;
    }
    Ok(())
}

fn space(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

/// A name, and whether its value is a prefix.
fn name(text: &str) -> Option<((&str, bool), &str)> {
    let (name, rest) = run(text, Symbols::Token);
    // A name has two characters at least.
    name.chars().nth(1)?;
    Some(match rest.strip_prefix(PREFIX_SUFFIX) {
        Some(rest) => ((name, true), rest),
        None => ((name, false), rest),
    })
}

fn value(text: &str) -> (&str, &str) {
    run(text, Symbols::Path)
}

fn run(text: &str, symbols: Symbols) -> (&str, &str) {
    text.split_at(text.find(|c| !token::is_legal(c, symbols)).unwrap_or(text.len()))
}

fn end(text: &str) -> Option<&str> {
    let text = space(text);
    if text.is_empty() { Some(text) } else { text.strip_prefix(',') }
}
