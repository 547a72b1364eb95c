//! Pure: a fragment as a line of JSON for programs: what it is, when and where it was stored, and how to get it.

use courant_fragment::store::object_key;
use courant_proto::codec::Codec;
use courant_proto::fragment::Fragment;
use courant_proto::invalid::Invalid;
use courant_proto::store::StoreScheme;
use courant_proto::wire;
use serde::Serialize;

/// A line. What is not known is left out.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) journal: String,
    pub(super) begin: i64,
    pub(super) end: i64,
    /// The first byte that no line before had. Only of those that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
    /// Of the content, uncompressed.
    length: u64,
    /// Of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    codec: &'static str,
    sha1: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    persisted: Option<String>,
    /// The URL of the store, as the spec has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// Where the object lies in its bucket, or below `--file-root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Scheme, bucket and key, as other programs take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
}

impl Row {
    /// A row of a listed fragment.
    pub(super) fn new(listed: &wire::fragments_response::Fragment) -> Result<Self, Invalid> {
        let fragment = Fragment::try_from(listed.spec.clone().unwrap_or_default())?;
        let key = fragment.store.as_ref().map(|store| object_key(store, &fragment));
        let location = fragment.store.as_ref().zip(key.as_ref()).map(|(store, key)| {
            let scheme = match store.scheme() {
                StoreScheme::S3 => "s3",
                StoreScheme::Gs => "gs",
                StoreScheme::Azure | StoreScheme::AzureAd => "az",
                StoreScheme::File => "file",
            };
            format!("{scheme}://{}/{key}", store.bucket())
        });
        // Of what was compressed the listing does not tell what became of it.
        let is_plain = fragment.store.is_some() && fragment.codec == Codec::None;
        Ok(Self {
            begin: fragment.begin.get(),
            end: fragment.end.get(),
            offset: None,
            length: fragment.length(),
            size: is_plain.then(|| fragment.length()),
            codec: fragment.codec.to_wire().as_str_name(),
            sha1: fragment.sum.to_string(),
            persisted: moment(fragment.mod_time),
            store: fragment.store.as_ref().map(ToString::to_string),
            key,
            location,
            url: listed.signed_url.clone(),
            partition: fragment.postfix.to_string(),
            journal: fragment.journal.to_string(),
        })
    }
}

/// Unix seconds as RFC 3339; none of zero, which stands for what is not stored.
pub(super) fn moment(seconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    (seconds != 0).then(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_the_object_is() {
        let mut spec = wire::Fragment {
            journal: "acme/orders".into(),
            begin: 16,
            end: 26,
            sum: Some(wire::Sha1Sum { part1: 1, part2: 2, part3: 3 }),
            compression_codec: wire::CompressionCodec::None.into(),
            backing_store: "s3://logs/pre/?find=acme/&replace=a/&region=eu".into(),
            mod_time: 1_795_860_000,
            path_postfix: "date=2026-11-28/hour=10".into(),
        };
        let row = |spec: &wire::Fragment| {
            let listed = wire::fragments_response::Fragment {
                spec: Some(spec.clone()),
                signed_url: "https://x".into(),
            };
            serde_json::to_value(Row::new(&listed).unwrap()).unwrap()
        };
        let name = "0000000000000010-000000000000001a-0000000000000001000000000000000200000003.raw";
        let key = format!("pre/a/orders/date=2026-11-28/hour=10/{name}");
        assert_eq!(
            row(&spec),
            serde_json::json!({
                "journal": "acme/orders", "begin": 16, "end": 26, "length": 10, "size": 10, "codec": "NONE",
                "sha1": "0000000000000001000000000000000200000003", "partition": "date=2026-11-28/hour=10",
                "persisted": "2026-11-28T10:00:00Z", "store": spec.backing_store, "key": key,
                "location": format!("s3://logs/{key}"), "url": "https://x",
            })
        );
        spec.compression_codec = wire::CompressionCodec::Gzip.into();
        assert_eq!(row(&spec)["size"], serde_json::Value::Null);
        (spec.backing_store, spec.mod_time) = (String::new(), 0);
        let local = row(&spec);
        for absent in ["persisted", "store", "key", "location"] {
            assert_eq!(local.get(absent), None, "{absent}");
        }
    }
}
