//! Pure: names of journals, with and without the metadata that a request may hang on them.
//!
//! A name is a clean relative path; it knows nothing of stores, folders or keys that are derived from it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::invalid::{Context, Invalid};
use crate::token;

/// Fewest bytes of a name.
pub const MIN_NAME_LENGTH: usize = 4;
/// Most bytes of a name, and of a request's metadata.
pub const MAX_NAME_LENGTH: usize = 512;

/// The name of a journal, without metadata. Cheap to clone; ordered as its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalName(Arc<str>);

impl JournalName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is too short or long, has characters outside its alphabet, is no clean path, begins with `/`, or
    /// would leave the folder of its store.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_name(text)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name, read as a folder, holds the other: `a/b` holds `a/b/c`, and neither itself nor `a/bc`.
    pub fn is_folder_of(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for JournalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for JournalName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for JournalName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for JournalName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// The name in a Read, Append or ListFragments request: a journal and, behind the first `;`, metadata that is
/// for whoever reads logs and takes no part in routing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestName {
    /// The journal.
    pub name: JournalName,
    /// What stood behind the first `;`.
    pub meta: Option<Arc<str>>,
}

impl RequestName {
    /// Splits and checks `name` or `name;meta`.
    ///
    /// # Errors
    /// When either part is refused; the second under the context `metadata path segment`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_request_name(text)?;
        Ok(match text.split_once(';') {
            Some((name, meta)) => Self { name: JournalName(name.into()), meta: Some(meta.into()) },
            None => Self { name: JournalName(text.into()), meta: None },
        })
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meta {
            Some(meta) => write!(f, "{};{meta}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// Checks a name without keeping it.
pub(crate) fn check_name(text: &str) -> Result<(), Invalid> {
    token::check_path(text, MIN_NAME_LENGTH, MAX_NAME_LENGTH)
}

/// Checks `name` or `name;meta` without keeping either.
pub(crate) fn check_request_name(text: &str) -> Result<(), Invalid> {
    let (name, meta) = match text.split_once(';') {
        Some((name, meta)) => (name, Some(meta)),
        None => (text, None),
    };
    check_name(name)?;
    match meta {
        Some(meta) => token::check_path(meta, 1, MAX_NAME_LENGTH).within("metadata path segment"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
