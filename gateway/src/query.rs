//! Pure: query parameters and their refusals, whose texts Gazette's clients know.
//!
//! Keys are matched whatever their case, the last of several counts, an empty value counts as none, and a
//! parameter that is not known is refused rather than ignored.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::target::{BadPath, decode};

/// Why a query is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadQuery {
    #[error("schema: invalid path {0:?}")]
    Unknown(String),
    #[error("schema: error converting value for {0:?}")]
    Value(String),
    #[error("invalid semicolon separator in query")]
    Semicolon,
    #[error(transparent)]
    Encoding(#[from] BadPath),
}

/// The parameters of a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadParams {
    /// -1 is the head. Values below are left to the validation of the request.
    pub(crate) offset: i64,
    pub(crate) block: bool,
}

/// The parameters of a fragment listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FragmentParams {
    pub(crate) begin_mod_time: i64,
    pub(crate) end_mod_time: i64,
    pub(crate) next_page_token: i64,
    pub(crate) page_limit: i32,
    /// In seconds; zero asks for no signatures.
    pub(crate) signature_ttl: i64,
}

/// Reads the parameters of a GET or HEAD of a journal.
pub(crate) fn read(query: Option<&str>) -> Result<ReadParams, BadQuery> {
    let mut params = ReadParams::default();
    for pair in pairs(query) {
        let (key, value) = pair?;
        if key.eq_ignore_ascii_case("offset") {
            params.offset = number(&key, &value)?;
        } else if key.eq_ignore_ascii_case("block") {
            params.block = boolean(&key, &value)?;
        } else {
            return Err(BadQuery::Unknown(key.into_owned()));
        }
    }
    Ok(params)
}

/// Reads the parameters of a fragment listing, named as the fields of its request are.
pub(crate) fn fragments(query: Option<&str>) -> Result<FragmentParams, BadQuery> {
    let mut params = FragmentParams::default();
    for pair in pairs(query) {
        let (key, value) = pair?;
        match key.to_ascii_lowercase().replace('_', "").as_str() {
            "beginmodtime" => params.begin_mod_time = number(&key, &value)?,
            "endmodtime" => params.end_mod_time = number(&key, &value)?,
            "nextpagetoken" => params.next_page_token = number(&key, &value)?,
            "pagelimit" => params.page_limit = number(&key, &value)?,
            "signaturettl" => params.signature_ttl = number(&key, value.strip_suffix('s').unwrap_or(&value))?,
            _ => return Err(BadQuery::Unknown(key.into_owned())),
        }
    }
    Ok(params)
}

/// Reads the one parameter of a listing: the text of a selector, empty if there is none.
pub(crate) fn selector(query: Option<&str>) -> Result<Cow<'_, str>, BadQuery> {
    let mut selector = Cow::Borrowed("");
    for pair in pairs(query) {
        let (key, value) = pair?;
        if !key.eq_ignore_ascii_case("selector") {
            return Err(BadQuery::Unknown(key.into_owned()));
        }
        selector = value;
    }
    Ok(selector)
}

/// Refuses any parameter.
pub(crate) fn none(query: Option<&str>) -> Result<(), BadQuery> {
    match pairs(query).next() {
        None => Ok(()),
        Some(pair) => Err(BadQuery::Unknown(pair?.0.into_owned())),
    }
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn pairs(query: Option<&str>) -> impl Iterator<Item = Result<Pair<'_>, BadQuery>> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        if pair.contains(';') {
            return Err(BadQuery::Semicolon);
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key, true)?, decode(value, true)?))
    })
}

fn number<T: std::str::FromStr + Default>(key: &str, value: &str) -> Result<T, BadQuery> {
    if value.is_empty() {
        return Ok(T::default());
    }
    value.parse().map_err(|_| BadQuery::Value(key.to_owned()))
}

fn boolean(key: &str, value: &str) -> Result<bool, BadQuery> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" | "on" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Ok(false),
        _ => Err(BadQuery::Value(key.to_owned())),
    }
}
