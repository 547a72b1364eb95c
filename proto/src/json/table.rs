//! Pure: which message has which fields, of which kinds, in the order of their numbers: the one table from
//! which all JSON of the protocol is printed and read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};

use super::kinds::{
    Always, Base64, Enum, Item, Kind, List, Maybe, MaybeSpan, Names, Plain, Span, Wide, Write,
};
use super::{Naming, camel};
use crate::wire;

/// A message of the protocol that has a JSON form. Implemented for those of the table, and no others.
pub trait Message: Default + Sized {
    /// Writes the message as an object with all of its fields.
    ///
    /// # Errors
    /// Those of the serializer.
    fn write<S: Serializer>(&self, naming: Naming, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads the message from an object with any of its fields.
    ///
    /// # Errors
    /// Those of the deserializer, and for fields that the message has not, or that are given twice.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Reads the value of one field into its place.
struct FieldOf<'a, T, K>(&'a mut T, PhantomData<K>);

impl<'de, T: Default, K: Kind<T>> DeserializeSeed<'de> for FieldOf<'_, T, K> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.0 = K::read(deserializer)?;
        Ok(())
    }
}

fn unknown<E: de::Error>(key: &str, fields: &[&str]) -> E {
    let key: String = key.chars().take(64).collect();
    E::custom(format!("unknown field {key:?} (expected one of {})", fields.join(", ")))
}

fn repeated<E: de::Error>(key: &str) -> E {
    E::custom(format!("field {key:?} is given twice"))
}

macro_rules! table {
    ($($message:path { $($field:ident $name:literal : $kind:ty),* $(,)? })*) => { $(
        impl Message for $message {
            fn write<S: Serializer>(&self, naming: Naming, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(
                    let value = Write { value: &self.$field, naming, kind: PhantomData::<$kind> };
                    match naming {
                        Naming::Original => map.serialize_entry($name, &value)?,
                        Naming::LowerCamel => map.serialize_entry(&camel($name), &value)?,
                    }
                )*
                map.end()
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> Visitor<'de> for Fields {
                    type Value = $message;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$message, A::Error> {
                        const FIELDS: &[&str] = &[$($name),*];
                        let mut message = <$message>::default();
                        let mut seen = [false; FIELDS.len()];
                        while let Some(key) = map.next_key::<String>()? {
                            let known = FIELDS.iter().position(|name| key == *name || key == camel(name));
                            let Some(index) = known else {
                                return Err(unknown(&key, FIELDS));
                            };
                            if std::mem::replace(&mut seen[index], true) {
                                return Err(repeated(&key));
                            }
                            $(
                                if FIELDS[index] == $name {
                                    map.next_value_seed(FieldOf(&mut message.$field, PhantomData::<$kind>))?;
                                }
                            )*
                        }
                        Ok(message)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    )* };
}

macro_rules! names {
    ($($enumeration:path),* $(,)?) => { $(
        impl Names for $enumeration {
            fn by_number(number: i32) -> Option<Self> {
                Self::try_from(number).ok()
            }

            fn by_name(name: &str) -> Option<Self> {
                Self::from_str_name(name)
            }

            fn name(self) -> &'static str {
                self.as_str_name()
            }

            fn number(self) -> i32 {
                self.into()
            }
        }
    )* };
}

names!(
    wire::Status,
    wire::CompressionCodec,
    wire::journal_spec::suspend::Level,
    wire::append_request::Suspend,
);

table! {
    wire::Label { name "name": Plain, value "value": Plain, prefix "prefix": Plain }
    wire::LabelSet { labels "labels": List<Item> }
    wire::LabelSelector { include "include": Always, exclude "exclude": Always }

    wire::JournalSpec {
        name "name": Plain,
        replication "replication": Plain,
        labels "labels": Always,
        fragment "fragment": Always,
        flags "flags": Plain,
        max_append_rate "max_append_rate": Wide,
        suspend "suspend": Maybe,
    }
    wire::journal_spec::Fragment {
        length "length": Wide,
        compression_codec "compression_codec": Enum<wire::CompressionCodec>,
        stores "stores": List<Plain>,
        refresh_interval "refresh_interval": Span,
        retention "retention": Span,
        flush_interval "flush_interval": Span,
        path_postfix_template "path_postfix_template": Plain,
    }
    wire::journal_spec::Suspend {
        level "level": Enum<wire::journal_spec::suspend::Level>,
        offset "offset": Wide,
    }

    wire::process_spec::Id { zone "zone": Plain, suffix "suffix": Plain }
    wire::ProcessSpec { id "id": Always, endpoint "endpoint": Plain }
    wire::BrokerSpec {
        process_spec "process_spec": Always,
        journal_limit "journal_limit": Plain,
        exiting "exiting": Plain,
    }
    wire::Route { members "members": List<Item>, primary "primary": Plain, endpoints "endpoints": List<Plain> }
    wire::Header { process_id "process_id": Always, route "route": Always, etcd "etcd": Always }
    wire::header::Etcd {
        cluster_id "cluster_id": Wide,
        member_id "member_id": Wide,
        revision "revision": Wide,
        raft_term "raft_term": Wide,
    }

    wire::Fragment {
        journal "journal": Plain,
        begin "begin": Wide,
        end "end": Wide,
        sum "sum": Always,
        compression_codec "compression_codec": Enum<wire::CompressionCodec>,
        backing_store "backing_store": Plain,
        mod_time "mod_time": Wide,
        path_postfix "path_postfix": Plain,
    }
    wire::Sha1Sum { part1 "part1": Wide, part2 "part2": Wide, part3 "part3": Plain }

    wire::ReadRequest {
        header "header": Maybe,
        journal "journal": Plain,
        offset "offset": Wide,
        block "block": Plain,
        do_not_proxy "do_not_proxy": Plain,
        metadata_only "metadata_only": Plain,
        end_offset "end_offset": Wide,
        begin_mod_time "begin_mod_time": Wide,
        min_etcd_revision "min_etcd_revision": Wide,
    }
    wire::ReadResponse {
        status "status": Enum<wire::Status>,
        header "header": Maybe,
        offset "offset": Wide,
        write_head "write_head": Wide,
        fragment "fragment": Maybe,
        fragment_url "fragment_url": Plain,
        content "content": Base64,
    }
    wire::AppendRequest {
        header "header": Maybe,
        journal "journal": Plain,
        do_not_proxy "do_not_proxy": Plain,
        content "content": Base64,
        offset "offset": Wide,
        check_registers "check_registers": Maybe,
        union_registers "union_registers": Maybe,
        subtract_registers "subtract_registers": Maybe,
        suspend "suspend": Enum<wire::append_request::Suspend>,
        min_etcd_revision "min_etcd_revision": Wide,
    }
    wire::AppendResponse {
        status "status": Enum<wire::Status>,
        header "header": Always,
        commit "commit": Maybe,
        registers "registers": Maybe,
        total_chunks "total_chunks": Wide,
        delayed_chunks "delayed_chunks": Wide,
        store_health_error "store_health_error": Plain,
    }

    wire::ListRequest { selector "selector": Always, watch "watch": Plain, watch_resume "watch_resume": Maybe }
    wire::ListResponse { status "status": Enum<wire::Status>, header "header": Always, journals "journals": List<Item> }
    wire::list_response::Journal {
        spec "spec": Always,
        mod_revision "mod_revision": Wide,
        route "route": Always,
        create_revision "create_revision": Wide,
    }
    wire::ApplyRequest { changes "changes": List<Item> }
    wire::apply_request::Change {
        expect_mod_revision "expect_mod_revision": Wide,
        upsert "upsert": Maybe,
        delete "delete": Plain,
    }
    wire::ApplyResponse { status "status": Enum<wire::Status>, header "header": Always }

    wire::FragmentsRequest {
        header "header": Maybe,
        journal "journal": Plain,
        begin_mod_time "begin_mod_time": Wide,
        end_mod_time "end_mod_time": Wide,
        next_page_token "next_page_token": Wide,
        page_limit "page_limit": Plain,
        signature_ttl "signatureTTL": MaybeSpan,
        do_not_proxy "do_not_proxy": Plain,
    }
    wire::FragmentsResponse {
        status "status": Enum<wire::Status>,
        header "header": Always,
        fragments "fragments": List<Item>,
        next_page_token "next_page_token": Wide,
    }
    wire::fragments_response::Fragment { spec "spec": Always, signed_url "signed_url": Plain }
    wire::FragmentStoreHealthRequest {
        fragment_store "fragment_store": Plain,
        check_delete "check_delete": Plain,
        check_delete_prefix "check_delete_prefix": Plain,
    }
    wire::FragmentStoreHealthResponse {
        status "status": Enum<wire::Status>,
        header "header": Always,
        store_health_error "store_health_error": Plain,
    }

    wire::courant::MembersResponse { header "header": Always, members "members": List<Item> }
    wire::courant::members_response::Member {
        spec "spec": Always,
        create_revision "create_revision": Wide,
        replicas "replicas": Plain,
        primaries "primaries": Plain,
        version "version": Plain,
        suspected_by "suspected_by": List<Item>,
        leader "leader": Plain,
    }
    wire::courant::LineageResponse {
        status "status": Enum<wire::Status>,
        header "header": Always,
        epoch "epoch": Wide,
        begin "begin": Wide,
        members "members": List<Item>,
        stored "stored": Wide,
        sealed "sealed": Plain,
        end "end": Wide,
    }
}
