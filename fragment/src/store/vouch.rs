//! What an object says of itself in its metadata, and when that is believed: one of us put it there, and the content
//! that it holds was found to have the digest that the object says.

use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use object_store::{Attribute, Attributes};

/// SHA-1 of the content. Letters alone: some stores take nothing else in such names.
const SUM: &str = "courantsha1";
/// Size of the object, where it was known beforehand.
const SIZE: &str = "courantsize";

/// What a fragment's object is given besides its content.
pub(super) fn attributes(fragment: &Fragment) -> Attributes {
    let mut attributes = Attributes::new();
    if fragment.codec == Codec::GzipOffload {
        // A store that is asked for plain content takes the codec off itself.
        attributes.insert(Attribute::ContentEncoding, "gzip".into());
    }
    attributes.insert(Attribute::Metadata(SUM.into()), fragment.sum.to_string().into());
    attributes
}

/// Says what the size of the object is.
pub(super) fn vouch_for_size(attributes: &mut Attributes, size: u64) {
    attributes.insert(Attribute::Metadata(SIZE.into()), size.to_string().into());
}

/// Whether one of us has put an object there as this fragment's, and it has the size that was put. One that does not tell its size may have
/// lost a part on the way to becoming an object.
pub(super) fn is_vouched_for(attributes: &Attributes, fragment: &Fragment, size: u64) -> bool {
    let metadata =
        |name: &'static str| attributes.get(&Attribute::Metadata(name.into())).map(|value| &**value);
    metadata(SUM) == Some(fragment.sum.to_string().as_str())
        && metadata(SIZE).is_some_and(|vouched| vouched == size.to_string())
}

#[cfg(test)]
mod tests {
    use courant_proto::fragment::ContentSum;
    use courant_proto::name::JournalName;
    use courant_proto::offset::Offset;

    use super::*;

    #[test]
    fn only_what_fits_is_believed() {
        let journal = JournalName::parse("a/journal").expect("a name");
        let fragment =
            Fragment { sum: ContentSum([7; 20]), ..Fragment::empty_at(journal, Offset::ZERO, Codec::Gzip) };
        let other = Fragment { sum: ContentSum([8; 20]), ..fragment.clone() };
        assert!(!is_vouched_for(&Attributes::new(), &fragment, 9));
        let mut given = attributes(&fragment);
        assert!(!is_vouched_for(&given, &fragment, 9), "its digest is what was to be stored, not what was");
        vouch_for_size(&mut given, 9);
        assert!(is_vouched_for(&given, &fragment, 9) && !is_vouched_for(&given, &fragment, 8));
        assert!(!is_vouched_for(&given, &other, 9));
    }
}
