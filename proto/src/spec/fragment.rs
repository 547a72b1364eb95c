//! Pure: how a journal's content is cut, compressed and stored.

use std::time::Duration;

use crate::codec::Codec;
use crate::duration::GoDuration;
use crate::invalid::{Context, Invalid};
use crate::store::StoreUrl;
use crate::wire;

/// How a journal's content is cut, compressed and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentSpec {
    /// Uncompressed bytes at which a fragment is closed, 1 KiB to 16 GiB.
    pub length: i64,
    /// How fragments are compressed.
    pub codec: Codec,
    /// Where they are stored: new ones in the first, and all are read. Without any, nothing is persisted.
    pub stores: Vec<StoreUrl>,
    /// How often the stores are listed, 1 s to 24 h.
    pub refresh_interval: Duration,
    /// How long stored fragments are kept, by the tools that remove them; zero for ever.
    pub retention: GoDuration,
    /// After which time an open fragment is closed though it is short, at least 1 min; none for never.
    pub flush_interval: Option<Duration>,
    /// Template of the folders between the journal's name and the fragments'.
    pub path_postfix_template: String,
}

impl FragmentSpec {
    /// From a message whose rules have been checked.
    pub(super) fn from_checked(spec: wire::journal_spec::Fragment) -> Result<Self, Invalid> {
        let stores = spec.stores.iter().enumerate();
        let stores = stores.map(|(i, url)| StoreUrl::parse(url).at("Stores", i)).collect::<Result<_, _>>()?;
        Ok(Self {
            length: spec.length,
            codec: Codec::from_wire(spec.compression_codec).within("CompressionCodec")?,
            stores,
            refresh_interval: duration(spec.refresh_interval, "RefreshInterval")?
                .to_std()
                .unwrap_or_default(),
            retention: duration(spec.retention, "Retention")?,
            flush_interval: duration(spec.flush_interval, "FlushInterval")?
                .to_std()
                .filter(|interval| !interval.is_zero()),
            path_postfix_template: spec.path_postfix_template,
        })
    }
}

/// A duration of the wire, where absence is zero.
pub(super) fn duration(wire: Option<prost_types::Duration>, field: &str) -> Result<GoDuration, Invalid> {
    let wire = wire.unwrap_or_default();
    GoDuration::from_wire(&wire).ok_or_else(|| {
        Invalid::new(format!(
            "duration out of range ({} s and {} ns; expected at most 292 years, and parts of one sign)",
            wire.seconds, wire.nanos
        ))
        .within(field)
    })
}

impl From<&FragmentSpec> for wire::journal_spec::Fragment {
    fn from(spec: &FragmentSpec) -> Self {
        let duration =
            |duration| GoDuration::try_from(duration).unwrap_or(GoDuration::from_nanos(i64::MAX)).to_wire();
        Self {
            length: spec.length,
            compression_codec: spec.codec.to_wire().into(),
            stores: spec.stores.iter().map(StoreUrl::to_string).collect(),
            refresh_interval: Some(duration(spec.refresh_interval)),
            retention: Some(spec.retention.to_wire()),
            flush_interval: Some(duration(spec.flush_interval.unwrap_or_default())),
            path_postfix_template: spec.path_postfix_template.clone(),
        }
    }
}
