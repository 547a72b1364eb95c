//! Pure: the rules of requests and responses.

use crate::invalid::Invalid;

/// A message of the wire that has rules of its own.
pub trait Validate {
    /// Checks every rule, in Gazette's order, and reports the first that is broken.
    ///
    /// # Errors
    /// When a rule is broken; the text is Gazette's.
    fn validate(&self) -> Result<(), Invalid>;
}
