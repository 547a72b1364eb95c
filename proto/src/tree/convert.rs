//! Pure: between trees and the messages of List and Apply. It does not know YAML, nor how a tree came about.

use super::{Fields, Node};
use crate::duration::GoDuration;
use crate::invalid::Invalid;
use crate::label::LabelSet;
use crate::wire::{self, CompressionCodec, apply_request::Change};

impl Node {
    /// The journals of a listing, each with the revision at which it was listed, as a tree of shared directories
    /// with nothing hoisted. There is none of an empty listing.
    ///
    /// # Errors
    /// When a spec of the listing has labels, a codec or a duration that no spec can have.
    pub fn from_listing(listing: &wire::ListResponse) -> Result<Option<Self>, Invalid> {
        let mut journals = Vec::with_capacity(listing.journals.len());
        for (index, journal) in listing.journals.iter().enumerate() {
            let spec = journal.spec.as_ref().ok_or_else(|| Invalid::new("expected Spec"));
            let node = spec.and_then(Self::from_spec).map_err(|invalid| invalid.at("Journals", index))?;
            journals.push(Self { revision: journal.mod_revision, ..node });
        }
        Ok(Self::extract(journals))
    }

    /// The leaf that a spec makes, without a revision.
    ///
    /// # Errors
    /// When the spec has labels, a codec or a duration that no spec can have.
    pub fn from_spec(spec: &wire::JournalSpec) -> Result<Self, Invalid> {
        let labels = LabelSet::try_from(spec.labels.clone().unwrap_or_default())
            .map_err(|invalid| invalid.within("Labels"))?;
        let fragment = spec.fragment.clone().unwrap_or_default();
        let compression_codec = CompressionCodec::try_from(fragment.compression_codec).map_err(|_| {
            Invalid::new(format!("invalid value ({})", fragment.compression_codec))
                .within("CompressionCodec")
                .within("Fragment")
        })?;
        let duration = |field: &str, wire: Option<prost_types::Duration>| match wire {
            None => Ok(GoDuration::ZERO),
            Some(wire) => GoDuration::from_wire(&wire).ok_or_else(|| {
                Invalid::new(format!("invalid duration ({}s {}ns)", wire.seconds, wire.nanos))
                    .within(field)
                    .within("Fragment")
            }),
        };
        Ok(Self {
            name: spec.name.clone(),
            fields: Fields {
                replication: spec.replication,
                labels,
                length: fragment.length,
                compression_codec,
                stores: (!fragment.stores.is_empty()).then_some(fragment.stores),
                refresh_interval: duration("RefreshInterval", fragment.refresh_interval)?,
                retention: duration("Retention", fragment.retention)?,
                flush_interval: duration("FlushInterval", fragment.flush_interval)?,
                path_postfix_template: fragment.path_postfix_template,
                flags: spec.flags,
                max_append_rate: spec.max_append_rate,
            },
            suspend: spec.suspend,
            ..Self::default()
        })
    }

    /// The spec of a leaf, of what the leaf itself says.
    #[must_use]
    pub fn to_spec(&self) -> wire::JournalSpec {
        let fields = &self.fields;
        wire::JournalSpec {
            name: self.name.clone(),
            replication: fields.replication,
            labels: Some((&fields.labels).into()),
            fragment: Some(wire::journal_spec::Fragment {
                length: fields.length,
                compression_codec: fields.compression_codec.into(),
                stores: fields.stores.clone().unwrap_or_default(),
                refresh_interval: Some(fields.refresh_interval.to_wire()),
                retention: Some(fields.retention.to_wire()),
                flush_interval: Some(fields.flush_interval.to_wire()),
                path_postfix_template: fields.path_postfix_template.clone(),
            }),
            flags: fields.flags,
            max_append_rate: fields.max_append_rate,
            suspend: self.suspend,
        }
    }

    /// Pushes down, and makes one change of each journal: a deletion where the tree says so, else its spec.
    #[must_use]
    pub fn into_changes(mut self) -> Vec<Change> {
        self.push_down();
        self.leaves()
            .map(|leaf| {
                let change = Change { expect_mod_revision: leaf.revision, ..Change::default() };
                if leaf.delete == Some(true) {
                    Change { delete: leaf.name.clone(), ..change }
                } else {
                    Change { upsert: Some(leaf.to_spec()), ..change }
                }
            })
            .collect()
    }
}
