//! What a journal is made of that its first append creates.

use anyhow::{Context, Result};
use courant_proto::duration::GoDuration;
use courant_proto::spec::JournalSpec;
use courant_proto::tree::{Fields, Node};
use courant_proto::wire::CompressionCodec;

/// The name that stands in the spec until a journal's own takes its place.
const PLACEHOLDER: &str = "default/spec";

/// The default spec, with what the operator's own says in place of it.
pub(crate) fn of(given: Option<&Fields>) -> Result<JournalSpec> {
    let built_in = Fields {
        replication: 1,
        length: 64 << 20,
        compression_codec: CompressionCodec::Zstandard,
        stores: Some(vec!["file:///".to_owned()]),
        refresh_interval: GoDuration::from_secs(300),
        flush_interval: GoDuration::from_secs(60),
        ..Fields::default()
    };
    let fields = given.map_or_else(|| built_in.clone(), |given| given.or(&built_in));
    let mut node = Node::default();
    PLACEHOLDER.clone_into(&mut node.name);
    node.fields = fields;
    JournalSpec::try_from(node.to_spec()).context("the default spec is not valid; check --default-spec")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use courant_proto::codec::Codec;

    use super::*;

    #[test]
    fn the_built_in_spec_and_what_an_operator_changes_of_it() {
        let spec = of(None).expect("valid");
        assert_eq!(
            (spec.replication, spec.fragment.codec, spec.fragment.length),
            (1, Codec::Zstandard, 64 << 20)
        );
        assert_eq!(spec.fragment.flush_interval, Some(Duration::from_secs(60)));
        let given =
            Fields { compression_codec: CompressionCodec::Gzip, length: 1 << 20, ..Fields::default() };
        let spec = of(Some(&given)).expect("valid");
        assert_eq!((spec.fragment.codec, spec.fragment.length), (Codec::Gzip, 1 << 20));
        assert_eq!(spec.fragment.stores.len(), 1);
        let wrong = Fields { length: 1, ..Fields::default() };
        assert!(of(Some(&wrong)).is_err());
    }
}
