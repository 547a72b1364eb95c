//! Pure: the rules of specs, in the order in which their breaking is reported.

use super::broker::MAX_JOURNAL_LIMIT;
use super::fragment::duration;
use super::{Flags, MAX_REPLICATION, SuspendLevel, check_label_constraints};
use crate::codec::Codec;
use crate::duration::GoDuration;
use crate::endpoint;
use crate::id;
use crate::invalid::{Context, Invalid};
use crate::label;
use crate::name;
use crate::selector::{NAME_LABEL, PREFIX_LABEL};
use crate::store::{StoreScheme, StoreUrl};
use crate::template::PathTemplate;
use crate::wire;

const MIN_LENGTH: i64 = 1 << 10;
const MAX_LENGTH: i64 = 1 << 34;
const MIN_REFRESH_INTERVAL: GoDuration = GoDuration::from_secs(1);
const MAX_REFRESH_INTERVAL: GoDuration = GoDuration::from_secs(24 * 60 * 60);
const MIN_FLUSH_INTERVAL: GoDuration = GoDuration::from_secs(60);

pub(crate) fn check_wire_journal(spec: &wire::JournalSpec) -> Result<(), Invalid> {
    name::check_request_name(&spec.name).within("Name")?;
    if let Some(meta) = spec.name.find(';').map(|start| &spec.name[start..]) {
        return Err(Invalid::new(format!(
            "Name cannot have a metadata path segment ({meta}; expected no segment)"
        )));
    }
    if !(1..=MAX_REPLICATION).contains(&spec.replication) {
        return Err(Invalid::new(format!(
            "invalid Replication ({}; expected 1 <= Replication <= {MAX_REPLICATION})",
            spec.replication
        )));
    }
    if let Some(labels) = &spec.labels {
        label::check_wire_set(labels, false).within("Labels")?;
        for reserved in [NAME_LABEL, PREFIX_LABEL] {
            if labels.labels.iter().any(|label| label.name == reserved) {
                return Err(Invalid::new(format!("Labels cannot include label \"{reserved}\"")));
            }
        }
        check_label_constraints(labels).within("Labels")?;
    }
    check_fragment(spec.fragment.as_ref().unwrap_or(&wire::journal_spec::Fragment::default()))
        .within("Fragment")?;
    Flags::from_raw(spec.flags).within("Flags")?;
    if spec.max_append_rate < 0 {
        return Err(Invalid::new(format!("invalid MaxAppendRate ({}; expected >= 0)", spec.max_append_rate)));
    }
    if let Some(suspend) = &spec.suspend {
        SuspendLevel::from_wire(suspend.level).within("Level").within("Suspend")?;
        if suspend.offset < 0 {
            let invalid = Invalid::new(format!("invalid Offset ({}; expected >= 0)", suspend.offset));
            return Err(invalid.within("Offset").within("Suspend"));
        }
    }
    Ok(())
}

fn check_fragment(spec: &wire::journal_spec::Fragment) -> Result<(), Invalid> {
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&spec.length) {
        return Err(Invalid::new(format!(
            "invalid Length ({}; expected {MIN_LENGTH} <= length <= {MAX_LENGTH})",
            spec.length
        )));
    }
    let codec = Codec::from_wire(spec.compression_codec).within("CompressionCodec")?;
    for (index, text) in spec.stores.iter().enumerate() {
        let store = StoreUrl::parse(text).at("Stores", index)?;
        if index == 0 && store.scheme() == StoreScheme::File && codec == Codec::GzipOffload {
            return Err(Invalid::new(format!(
                "GZIP_OFFLOAD_DECOMPRESSION is incompatible with file:// stores ({store})"
            )));
        }
    }
    let refresh = duration(spec.refresh_interval, "RefreshInterval")?;
    if !(MIN_REFRESH_INTERVAL..=MAX_REFRESH_INTERVAL).contains(&refresh) {
        return Err(Invalid::new(format!(
            "invalid RefreshInterval ({refresh}; expected {MIN_REFRESH_INTERVAL} <= interval <= {MAX_REFRESH_INTERVAL})"
        )));
    }
    duration(spec.retention, "Retention")?;
    let flush = duration(spec.flush_interval, "FlushInterval")?;
    if flush != GoDuration::ZERO && flush < MIN_FLUSH_INTERVAL {
        return Err(Invalid::new(format!(
            "invalid FlushInterval ({flush}; expected >= {MIN_FLUSH_INTERVAL})"
        )));
    }
    PathTemplate::parse(&spec.path_postfix_template).map(drop).within("PathPostfixTemplate")
}

pub(crate) fn check_wire_broker(spec: &wire::BrokerSpec) -> Result<(), Invalid> {
    let process = spec.process_spec.as_ref();
    let (zone, suffix) =
        process.and_then(|process| process.id.as_ref()).map_or(("", ""), |id| (&*id.zone, &*id.suffix));
    id::check_process_id(zone, suffix).within("Id")?;
    endpoint::check_endpoint(process.map_or("", |process| &*process.endpoint)).within("Endpoint")?;
    if spec.journal_limit > MAX_JOURNAL_LIMIT {
        return Err(Invalid::new(format!(
            "invalid JournalLimit ({}; expected 0 <= JournalLimit <= {MAX_JOURNAL_LIMIT})",
            spec.journal_limit
        )));
    }
    Ok(())
}
