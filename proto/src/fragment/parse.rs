//! Pure: a stored file's path back into the fragment it names.

use super::{ContentSum, Fragment, MAX_POSTFIX_LENGTH};
use crate::codec::Codec;
use crate::invalid::{Context, Invalid};
use crate::name::JournalName;
use crate::offset::Offset;
use crate::quote::quoted;
use crate::store::StoreUrl;
use crate::token;

pub(super) fn parse_relative(
    journal: &JournalName,
    path: &str,
    store: Option<StoreUrl>,
    mod_time: i64,
) -> Result<Fragment, Invalid> {
    let (postfix, name) = path.rsplit_once('/').unwrap_or(("", path));
    if path.starts_with('/') {
        return Err(Invalid::new(format!("cannot begin with '/' ({path})")).within("PathPostfix"));
    }
    let (stem, extension) = name.split_at(name.rfind('.').unwrap_or(name.len()));
    let fields: Vec<&str> = stem.split('-').collect();
    let &[begin, end, sum] = fields.as_slice() else {
        return Err(Invalid::new(format!("wrong Fragment format: {stem}")));
    };
    let begin = hex_offset(begin).within("Begin")?;
    let end = hex_offset(end).within("End")?;
    let sum = sum.parse::<ContentSum>().map_err(|invalid| {
        // A digest of the wrong length is refused without a context.
        if invalid.message().starts_with("invalid SHA1Sum length") { invalid } else { invalid.within("Sum") }
    })?;
    let codec = Codec::from_extension(extension)?;
    if begin > end {
        return Err(Invalid::new(format!("expected Begin <= End (have {begin}, {end})")));
    }
    token::check_path(postfix, 0, MAX_POSTFIX_LENGTH).within("PathPostfix")?;
    Ok(Fragment {
        journal: journal.clone(),
        begin,
        end,
        sum,
        codec,
        store,
        mod_time,
        postfix: postfix.into(),
    })
}

/// Digits alone: neither a sign nor a `0x`, which number parsers let through.
fn hex_offset(text: &str) -> Result<Offset, Invalid> {
    let refuse = |why| Err(Invalid::new(format!("{} {why}", quoted(text))));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return refuse("is not a hexadecimal offset");
    }
    match i64::from_str_radix(text, 16).ok().and_then(Offset::new) {
        Some(offset) => Ok(offset),
        None => refuse("is beyond the last offset, 7fffffffffffffff"),
    }
}
