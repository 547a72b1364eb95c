//! Pure: the seam through which the owner of a prefix gives its keys and values a meaning.

/// Turns keys and values of one prefix into typed entries.
///
/// A refusal is not a fault: the entry is set aside with the reason until a later put of its key decodes.
pub trait Decoder: Send + Sync + 'static {
    /// What a key and its value mean.
    type Value: Send + Sync + 'static;

    /// Decodes a value, given its full key (with the prefix) and its bytes.
    ///
    /// # Errors
    ///
    /// Why the key does not belong here, or what is wrong with the value, for an operator to read.
    fn decode(&self, key: &[u8], value: &[u8]) -> Result<Self::Value, String>;
}
