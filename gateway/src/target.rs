//! Pure: what a request's path asks for. Decodes it, tells journals from what is reserved, and splits verbs off.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// A journal, at the top or below `/v1/journals/`.
    Journal { name: Cow<'a, str>, versioned: bool },
    /// `/v1/journals/{name}:spec`
    Spec { name: Cow<'a, str> },
    /// `/v1/journals/{name}:fragments`
    Fragments { name: Cow<'a, str> },
    /// `/v1/journals`
    Journals,
    /// `/healthz/live`, `/alive`
    Live,
    /// `/healthz/ready`, `/debug/ready`
    Ready,
    /// `/metrics`, `/debug/metrics`
    Metrics,
    /// Nothing is there. The first segment is reserved; the rest of the path may well name a journal.
    Reserved { name: Cow<'a, str> },
    /// Nothing is there: `/v1/…` that is none of the above.
    Unknown,
    /// A verb that no journal has.
    UnknownVerb { verb: String },
}

impl Target<'_> {
    /// Whether errors are told as `application/problem+json`.
    pub(crate) fn is_versioned(&self) -> bool {
        match self {
            Self::Journal { versioned, .. } => *versioned,
            Self::Spec { .. }
            | Self::Fragments { .. }
            | Self::Journals
            | Self::Unknown
            | Self::UnknownVerb { .. } => true,
            Self::Live | Self::Ready | Self::Metrics | Self::Reserved { .. } => false,
        }
    }
}

/// Why a path cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    #[error("invalid path: its percent-encoding does not decode to UTF-8")]
    NotUtf8,
    #[error("invalid path: an encoded slash (%2F) is not accepted; separate with plain slashes")]
    EncodedSlash,
}

/// Reads a path, which begins with a slash.
pub(crate) fn parse(path: &str) -> Result<Target<'_>, BadPath> {
    if path.contains("%2F") || path.contains("%2f") {
        return Err(BadPath::EncodedSlash);
    }
    let name = match decode(path.strip_prefix('/').unwrap_or(path), false)? {
        Cow::Borrowed(name) => return Ok(of_name(name)),
        Cow::Owned(name) => name,
    };
    Ok(match of_name(&name) {
        Target::Journal { name, versioned } => Target::Journal { name: owned(name), versioned },
        Target::Spec { name } => Target::Spec { name: owned(name) },
        Target::Fragments { name } => Target::Fragments { name: owned(name) },
        Target::Reserved { name } => Target::Reserved { name: owned(name) },
        Target::Journals => Target::Journals,
        Target::Live => Target::Live,
        Target::Ready => Target::Ready,
        Target::Metrics => Target::Metrics,
        Target::Unknown => Target::Unknown,
        Target::UnknownVerb { verb } => Target::UnknownVerb { verb },
    })
}

fn owned(name: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(name.into_owned())
}

fn of_name(name: &str) -> Target<'_> {
    let (first, rest) = match name.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    match (first, rest) {
        ("v1", Some(rest)) => versioned(rest),
        ("v1", None) => Target::Unknown,
        ("alive", None) | ("healthz", Some("live")) => Target::Live,
        ("healthz" | "debug", Some("ready")) => Target::Ready,
        ("metrics", None) | ("debug", Some("metrics")) => Target::Metrics,
        ("healthz" | "alive" | "metrics" | "debug" | "console", _) => Target::Reserved { name: name.into() },
        _ => Target::Journal { name: name.into(), versioned: false },
    }
}

/// What stands behind `/v1/`.
fn versioned(rest: &str) -> Target<'_> {
    if rest == "journals" || rest == "journals/" {
        return Target::Journals;
    }
    let Some(name) = rest.strip_prefix("journals/") else {
        return Target::Unknown;
    };
    match name.rsplit_once(':') {
        None => Target::Journal { name: name.into(), versioned: true },
        Some((name, "spec")) => Target::Spec { name: name.into() },
        Some((name, "fragments")) => Target::Fragments { name: name.into() },
        Some((_, verb)) => Target::UnknownVerb { verb: verb.to_owned() },
    }
}

/// Undoes percent-encoding; in queries a plus is a blank as well.
pub(crate) fn decode(text: &str, plus_is_blank: bool) -> Result<Cow<'_, str>, BadPath> {
    if !text.bytes().any(|b| b == b'%' || (plus_is_blank && b == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digit = |index: usize| bytes.get(index).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(at), digit(at + 1)) else {
                    let escape = &bytes[at - 1..bytes.len().min(at + 2)];
                    return Err(BadPath::Escape(String::from_utf8_lossy(escape).into_owned()));
                };
                // Two hexadecimal digits are a byte.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            b'+' if plus_is_blank => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| BadPath::NotUtf8)
}
