//! Pure: what is wanted of a shard, right from where it was made.

use std::time::Duration;

use courant_proto::duration::GoDuration;
use courant_proto::token::{Symbols, check_token};
use courant_proto::{Invalid, JournalName, LabelSet, Offset, RequestName, wire};
use prost::Message as _;

use crate::engine::Options;
use crate::run::{Shard, Source};

/// Bounds of the length of a shard's id.
const ID_LENGTH: (usize, usize) = (4, 512);

/// What is wanted of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSpec {
    /// Its name among all.
    pub id: String,
    /// Its own journal.
    pub journal: String,
    /// What it reads, and how its transactions are.
    pub shard: Shard,
    /// It is not to run.
    pub disable: bool,
    /// Members besides its primary that follow it.
    pub hot_standbys: u32,
    /// What is said about it.
    pub labels: LabelSet,
}

impl ShardSpec {
    /// As the registry keeps it.
    ///
    /// # Errors
    /// When it is no message, or its content is not right.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let spec = wire::consumer::ShardSpec::decode(bytes);
        Self::try_from(spec.map_err(|error| Invalid::new(error.to_string()))?)
    }
}

impl TryFrom<wire::consumer::ShardSpec> for ShardSpec {
    type Error = Invalid;

    fn try_from(spec: wire::consumer::ShardSpec) -> Result<Self, Invalid> {
        let (least, most) = ID_LENGTH;
        check_token(&spec.id, Symbols::Token, least, most).map_err(|invalid| invalid.within("Id"))?;
        let mut sources: Vec<Source> = Vec::new();
        for (index, source) in spec.sources.into_iter().enumerate() {
            let invalid = |field: &str, what: String| Invalid::new(what).within(field).at("Sources", index);
            RequestName::parse(&source.journal)
                .map_err(|error| error.within("Journal").at("Sources", index))?;
            let min_offset = Offset::new(source.min_offset).ok_or_else(|| {
                invalid("MinOffset", format!("invalid ({}; expected >= 0)", source.min_offset))
            })?;
            if let Some(before) = sources.last().filter(|before| before.journal >= source.journal) {
                let what = format!("not in unique, sorted order ({}, {})", before.journal, source.journal);
                return Err(invalid("Journal", what));
            }
            sources.push(Source { journal: source.journal, min_offset });
        }
        if spec.recovery_log_prefix.is_empty() {
            let what = "is empty (expected what the name of the shard's journal begins with)";
            return Err(Invalid::new(what).within("RecoveryLogPrefix"));
        }
        let journal = format!("{}/{}", spec.recovery_log_prefix, spec.id);
        JournalName::parse(&journal).map_err(|invalid| invalid.within("RecoveryLogPrefix"))?;
        if !spec.hint_prefix.is_empty() {
            let what = format!("is {} (expected none: there are no hints)", spec.hint_prefix);
            return Err(Invalid::new(what).within("HintPrefix"));
        }
        let max = duration(spec.max_txn_duration.as_ref(), "MaxTxnDuration")?;
        if max.is_zero() {
            return Err(Invalid::new("invalid (0s; expected > 0)").within("MaxTxnDuration"));
        }
        let min = duration(spec.min_txn_duration.as_ref(), "MinTxnDuration")?;
        let defaults = Options::default();
        let ring = match spec.ring_buffer_size {
            0 => defaults.ring,
            messages => usize::try_from(messages).unwrap_or(usize::MAX),
        };
        let wait_for_ack = !spec.disable_wait_for_ack;
        let options = Options { min, max, wait_for_ack, ring, ..defaults };
        let labels = spec.labels.map(LabelSet::try_from).transpose();
        Ok(Self {
            id: spec.id,
            journal,
            shard: Shard { sources, options },
            disable: spec.disable,
            hot_standbys: spec.hot_standbys,
            labels: labels.map_err(|invalid| invalid.within("Labels"))?.unwrap_or_default(),
        })
    }
}

fn duration(wire: Option<&prost_types::Duration>, field: &str) -> Result<Duration, Invalid> {
    let Some(wire) = wire else { return Ok(Duration::ZERO) };
    let found = GoDuration::from_wire(wire).and_then(GoDuration::to_std);
    let what = || format!("invalid ({}s {}ns; expected >= 0)", wire.seconds, wire.nanos);
    found.ok_or_else(|| Invalid::new(what()).within(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> wire::consumer::ShardSpec {
        let source = |journal: &str| wire::consumer::shard_spec::Source {
            journal: journal.to_owned(),
            min_offset: 17,
        };
        wire::consumer::ShardSpec {
            id: "sums/000".to_owned(),
            sources: vec![source("a/source"), source("b/source;meta")],
            recovery_log_prefix: "shards".to_owned(),
            max_txn_duration: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            disable_wait_for_ack: true,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        let found = ShardSpec::decode(&spec().encode_to_vec()).unwrap();
        assert_eq!(found.journal, "shards/sums/000");
        assert_eq!(found.shard.sources[1].min_offset, Offset::new(17).unwrap());
        let options = Options { max: Duration::from_secs(2), wait_for_ack: false, ..Options::default() };
        assert_eq!(found.shard.options, options);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |change: &dyn Fn(&mut wire::consumer::ShardSpec), text: &str| {
            let mut spec = spec();
            change(&mut spec);
            assert_eq!(ShardSpec::try_from(spec).unwrap_err().to_string(), text);
        };
        check(&|spec| spec.id = "abc".to_owned(), "Id: invalid length (3; expected 4 <= length <= 512)");
        check(&|spec| spec.id = "a=bc".to_owned(), "Id: not a valid token (a=bc)");
        check(
            &|spec| spec.sources.swap(0, 1),
            "Sources[1].Journal: not in unique, sorted order (b/source;meta, a/source)",
        );
        check(&|spec| spec.sources[0].min_offset = -1, "Sources[0].MinOffset: invalid (-1; expected >= 0)");
        check(
            &|spec| spec.recovery_log_prefix.clear(),
            "RecoveryLogPrefix: is empty (expected what the name of the shard's journal begins with)",
        );
        check(
            &|spec| spec.hint_prefix = "/hints".to_owned(),
            "HintPrefix: is /hints (expected none: there are no hints)",
        );
        check(&|spec| spec.max_txn_duration = None, "MaxTxnDuration: invalid (0s; expected > 0)");
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        check(&|spec| spec.min_txn_duration = negative, "MinTxnDuration: invalid (-1s 0ns; expected >= 0)");
    }
}
