//! Pure: from a tree to YAML, in the order of keys that readers are used to, with nothing said that is zero.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Fields, Node};
use crate::label::Label;
use crate::wire::CompressionCodec;
use crate::wire::journal_spec::{Flag, Suspend, suspend::Level};

impl Node {
    /// The tree as YAML. A list of stores that is empty on purpose is told; other zero values are left out.
    ///
    /// # Errors
    /// When the printer refuses a value, which no tree that was read or listed has.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser_error::Error> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Fields { replication, labels, flags, max_append_rate, .. } = &self.fields;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "comment", &self.comment)?;
        if let Some(delete) = self.delete {
            map.serialize_entry("delete", &delete)?;
        }
        entry(&mut map, "name", &self.name)?;
        entry(&mut map, "replication", replication)?;
        if !labels.is_empty() {
            map.serialize_entry("labels", &labels.iter().map(LabelEntry).collect::<Vec<_>>())?;
        }
        let fragment = FragmentEntry(&self.fields);
        if fragment.says_something() {
            map.serialize_entry("fragment", &fragment)?;
        }
        match i32::try_from(*flags).ok().and_then(|flags| Flag::try_from(flags).ok()) {
            Some(Flag::NotSpecified) => {}
            Some(flag) => map.serialize_entry("flags", flag.as_str_name())?,
            None => map.serialize_entry("flags", flags)?,
        }
        entry(&mut map, "max_append_rate", max_append_rate)?;
        if let Some(suspend) = &self.suspend {
            map.serialize_entry("suspend", &SuspendEntry(suspend))?;
        }
        entry(&mut map, "revision", &self.revision)?;
        if !self.children.is_empty() {
            map.serialize_entry("children", &self.children)?;
        }
        map.end()
    }
}

/// Writes what is not zero.
fn entry<M: SerializeMap, T: Serialize + Default + PartialEq>(
    map: &mut M,
    key: &'static str,
    value: &T,
) -> Result<(), M::Error> {
    if *value == T::default() { Ok(()) } else { map.serialize_entry(key, value) }
}

struct LabelEntry<'a>(&'a Label);

impl Serialize for LabelEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.0.name())?;
        if !self.0.value().is_empty() {
            map.serialize_entry("value", self.0.value())?;
        }
        map.end()
    }
}

struct FragmentEntry<'a>(&'a Fields);

impl FragmentEntry<'_> {
    fn says_something(&self) -> bool {
        let Fields { replication, labels, flags, max_append_rate, .. } = self.0;
        // The fields that are not the fragment's are made the default's.
        let others = Fields {
            replication: *replication,
            labels: labels.clone(),
            flags: *flags,
            max_append_rate: *max_append_rate,
            ..Fields::default()
        };
        *self.0 != others
    }
}

impl Serialize for FragmentEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "length", &fields.length)?;
        if fields.compression_codec != CompressionCodec::Invalid {
            map.serialize_entry("compression_codec", fields.compression_codec.as_str_name())?;
        }
        if let Some(stores) = &fields.stores {
            map.serialize_entry("stores", stores)?;
        }
        for (key, duration) in [
            ("refresh_interval", fields.refresh_interval),
            ("retention", fields.retention),
            ("flush_interval", fields.flush_interval),
        ] {
            if duration.as_nanos() != 0 {
                map.serialize_entry(key, &duration.to_string())?;
            }
        }
        entry(&mut map, "path_postfix_template", &fields.path_postfix_template)?;
        map.end()
    }
}

struct SuspendEntry<'a>(&'a Suspend);

impl Serialize for SuspendEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match Level::try_from(self.0.level) {
            Ok(Level::None) => {}
            Ok(level) => map.serialize_entry("level", level.as_str_name())?,
            Err(_) => map.serialize_entry("level", &self.0.level)?,
        }
        entry(&mut map, "offset", &self.0.offset)?;
        map.end()
    }
}
