//! Pure: the one error of everything that is checked here: what was wrong, and where in the message it was.
//!
//! It does not know what is being checked. Its text is Gazette's: the contexts joined by dots, a colon, and the
//! message, as in `Changes[0].Upsert: invalid Replication (…)`. Clients and their tests read those texts.

use std::fmt;

/// A value that was refused: where it stood, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    path: String,
    message: String,
}

impl Invalid {
    /// A refusal at the place at hand; callers further out add their contexts.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// Adds the field in which it happened.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        self.path = if self.path.is_empty() { field.to_owned() } else { format!("{field}.{}", self.path) };
        self
    }

    /// Adds the item of a repeated field in which it happened.
    #[must_use]
    pub fn at(self, field: &str, index: usize) -> Self {
        self.within(&format!("{field}[{index}]"))
    }

    /// The contexts from the outside in, joined by dots; empty when there are none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was wrong, and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

/// Gazette answers a request that fails its validation with `Unknown`, and its clients tell only `Unavailable`,
/// `Canceled` and `DeadlineExceeded` from the rest.
impl From<Invalid> for tonic::Status {
    fn from(invalid: Invalid) -> Self {
        Self::unknown(invalid.to_string())
    }
}

/// Adds contexts on the way out, where a `?` follows.
pub(crate) trait Context<T> {
    fn within(self, field: &str) -> Result<T, Invalid>;
    fn at(self, field: &str, index: usize) -> Result<T, Invalid>;
}

impl<T> Context<T> for Result<T, Invalid> {
    fn within(self, field: &str) -> Self {
        self.map_err(|invalid| invalid.within(field))
    }

    fn at(self, field: &str, index: usize) -> Self {
        self.map_err(|invalid| invalid.at(field, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_joined_from_the_outside_in() {
        let invalid = Invalid::new("wrong");
        assert_eq!(invalid.to_string(), "wrong");
        assert_eq!(invalid.clone().within("Upsert").to_string(), "Upsert: wrong");
        let nested = invalid.within("Upsert").at("Changes", 0);
        assert_eq!(nested.to_string(), "Changes[0].Upsert: wrong");
        assert_eq!((nested.path(), nested.message()), ("Changes[0].Upsert", "wrong"));
    }

    #[test]
    fn over_grpc_it_is_unknown_with_the_same_text() {
        let status = tonic::Status::from(Invalid::new("wrong").within("Journal"));
        assert_eq!((status.code(), status.message()), (tonic::Code::Unknown, "Journal: wrong"));
    }
}
