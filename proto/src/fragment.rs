//! Pure: spans of a journal as they are named and stored.
//!
//! A fragment's name says which bytes it holds, by offsets and digest, and how they are compressed. It opens no
//! store and holds no content.

mod parse;
mod sum;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use sum::ContentSum;

use crate::codec::Codec;
use crate::invalid::{Context, Invalid};
use crate::name::{self, JournalName};
use crate::offset::Offset;
use crate::store::StoreUrl;
use crate::token;
use crate::wire;

const MAX_POSTFIX_LENGTH: usize = 512;

/// A span `[begin, end)` of a journal. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// The journal it is of.
    pub journal: JournalName,
    /// Its first byte.
    pub begin: Offset,
    /// The byte behind its last; never below `begin`.
    pub end: Offset,
    /// The digest of its uncompressed content; zero without content.
    pub sum: ContentSum,
    /// How it is compressed in its store.
    pub codec: Codec,
    /// Where it is stored; none while it is only local.
    pub store: Option<StoreUrl>,
    /// When the store says it was written, in unix seconds; zero while it is only local.
    pub mod_time: i64,
    /// Folders between the journal's name and the fragment's; may be empty.
    pub postfix: Arc<str>,
}

impl Fragment {
    /// A local fragment without content, at an offset.
    pub fn empty_at(journal: JournalName, offset: Offset, codec: Codec) -> Self {
        Self {
            journal,
            begin: offset,
            end: offset,
            sum: ContentSum::ZERO,
            codec,
            store: None,
            mod_time: 0,
            postfix: Arc::from(""),
        }
    }

    /// How many bytes it spans.
    pub fn length(&self) -> u64 {
        self.end.distance_from(self.begin).unwrap_or(0)
    }

    /// The name of its file: both offsets, the digest, and the codec's extension.
    pub fn content_name(&self) -> String {
        let (begin, end) = (self.begin.get(), self.end.get());
        format!("{begin:016x}-{end:016x}-{}{}", self.sum, self.codec.extension())
    }

    /// The path of its file below a store's prefix: journal, postfix, name.
    pub fn content_path(&self) -> String {
        let name = self.content_name();
        if self.postfix.is_empty() {
            format!("{}/{name}", self.journal)
        } else {
            format!("{}/{}/{name}", self.journal, self.postfix)
        }
    }

    /// Reads the path of a stored file, relative to `<journal>/`.
    ///
    /// Offsets and digest are hexadecimal digits and nothing else; the width of the offsets is free.
    ///
    /// # Errors
    /// When the file's name is not that of a fragment, or its folders are no path below the journal's.
    pub fn parse_relative(
        journal: &JournalName,
        path: &str,
        store: Option<StoreUrl>,
        mod_time: i64,
    ) -> Result<Self, Invalid> {
        parse::parse_relative(journal, path, store, mod_time)
    }
}

/// The path below a store.
impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.content_path())
    }
}

impl TryFrom<wire::Fragment> for Fragment {
    type Error = Invalid;

    fn try_from(fragment: wire::Fragment) -> Result<Self, Invalid> {
        check_wire_fragment(&fragment)?;
        let store = match &*fragment.backing_store {
            "" => None,
            url => Some(StoreUrl::parse(url).within("BackingStore")?),
        };
        Ok(Self {
            journal: JournalName::parse(&fragment.journal).within("Journal")?,
            begin: Offset::try_from(fragment.begin)?,
            end: Offset::try_from(fragment.end)?,
            sum: fragment.sum.map_or(ContentSum::ZERO, ContentSum::from),
            codec: Codec::from_wire(fragment.compression_codec).within("CompressionCodec")?,
            store,
            mod_time: fragment.mod_time,
            postfix: fragment.path_postfix.into(),
        })
    }
}

impl From<&Fragment> for wire::Fragment {
    fn from(fragment: &Fragment) -> Self {
        Self {
            journal: fragment.journal.to_string(),
            begin: fragment.begin.get(),
            end: fragment.end.get(),
            sum: Some(fragment.sum.into()),
            compression_codec: fragment.codec.to_wire().into(),
            backing_store: fragment.store.as_ref().map_or_else(String::new, StoreUrl::to_string),
            mod_time: fragment.mod_time,
            path_postfix: fragment.postfix.to_string(),
        }
    }
}

/// Gazette's rules; besides them, offsets are not negative.
pub(crate) fn check_wire_fragment(fragment: &wire::Fragment) -> Result<(), Invalid> {
    name::check_name(&fragment.journal).within("Journal")?;
    let (begin, end) = (fragment.begin, fragment.end);
    if begin > end {
        return Err(Invalid::new(format!("expected Begin <= End (have {begin}, {end})")));
    }
    if begin < 0 {
        return Err(Invalid::new(format!("invalid Begin ({begin}; expected >= 0)")));
    }
    Codec::from_wire(fragment.compression_codec).within("CompressionCodec")?;
    token::check_path(&fragment.path_postfix, 0, MAX_POSTFIX_LENGTH).within("PathPostfix")
}
