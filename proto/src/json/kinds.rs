//! Pure: how each kind of field is written and read. It does not know which message has which field.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::table::Message;
use super::{Json, Naming, base64};
use crate::duration::GoDuration;

/// One kind of field, as held in a `T`. Null reads as the default.
pub(super) trait Kind<T: Default> {
    fn write<S: Serializer>(value: &T, naming: Naming, serializer: S) -> Result<S::Ok, S::Error>;

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>;
}

/// Strings, booleans and numbers of 32 bits: as JSON has them.
pub(super) struct Plain;
/// Numbers of 64 bits: strings, since JSON readers round large numbers.
pub(super) struct Wide;
/// An enumeration: its name; its number where it has none.
pub(super) struct Enum<E>(PhantomData<E>);
/// Bytes: standard base64, padded. Read with or without padding, in the standard alphabet or the one for URLs.
pub(super) struct Base64;
/// A message that may be absent: null.
pub(super) struct Maybe;
/// A message that Gazette's types cannot leave out: written as zeros when it is absent.
pub(super) struct Always;
/// A message among others.
pub(super) struct Item;
/// A duration that may be absent: null.
pub(super) struct MaybeSpan;
/// A duration that Gazette's types cannot leave out.
pub(super) struct Span;
/// Several of a kind.
pub(super) struct List<K>(PhantomData<K>);

/// Reads one value of a kind where serde asks for a type.
struct Read<T, K>(T, PhantomData<K>);

impl<'de, T: Default, K: Kind<T>> Deserialize<'de> for Read<T, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::read(deserializer).map(|value| Self(value, PhantomData))
    }
}

/// Writes one value of a kind where serde asks for a type.
pub(super) struct Write<'a, T, K> {
    pub(super) value: &'a T,
    pub(super) naming: Naming,
    pub(super) kind: PhantomData<K>,
}

impl<T: Default, K: Kind<T>> Serialize for Write<'_, T, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        K::write(self.value, self.naming, serializer)
    }
}

impl<T: Default + Serialize + for<'a> Deserialize<'a>> Kind<T> for Plain {
    fn write<S: Serializer>(value: &T, _: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

/// A number of 64 bits, in JSON as a number or as a string of one.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum WideForm {
    Signed(i64),
    Unsigned(u64),
    Text(String),
}

macro_rules! wide {
    ($($number:ty),*) => { $(
        impl Kind<$number> for Wide {
            fn write<S: Serializer>(value: &$number, _: Naming, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(value)
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$number, D::Error> {
                let expected = || de::Error::custom("expected a whole number of 64 bits, or a string of one");
                let form = Option::<WideForm>::deserialize(deserializer).map_err(|_| expected())?;
                match form {
                    None => Ok(0),
                    Some(WideForm::Signed(number)) => number.try_into().map_err(|_| expected()),
                    Some(WideForm::Unsigned(number)) => number.try_into().map_err(|_| expected()),
                    Some(WideForm::Text(text)) => text.parse().map_err(|_| expected()),
                }
            }
        }
    )* };
}

wide!(i64, u64);

/// The names of an enumeration.
pub(super) trait Names: Copy {
    fn by_number(number: i32) -> Option<Self>;
    fn by_name(name: &str) -> Option<Self>;
    fn name(self) -> &'static str;
    fn number(self) -> i32;
}

impl<E: Names> Kind<i32> for Enum<E> {
    fn write<S: Serializer>(value: &i32, _: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        match E::by_number(*value) {
            Some(known) => serializer.serialize_str(known.name()),
            None => serializer.serialize_i32(*value),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Name(String),
            Number(i32),
        }

        let form = Option::<Form>::deserialize(deserializer)
            .map_err(|_| de::Error::custom("expected the name or the number of an enum's value"))?;
        match form {
            None => Ok(0),
            Some(Form::Number(number)) => Ok(number),
            Some(Form::Name(name)) => E::by_name(&name).map(E::number).ok_or_else(|| {
                de::Error::custom(format!(
                    "unknown enum value {:?} (expected a name such as {:?})",
                    name.chars().take(64).collect::<String>(),
                    E::by_number(0).map_or("", E::name),
                ))
            }),
        }
    }
}

impl Kind<Bytes> for Base64 {
    fn write<S: Serializer>(value: &Bytes, _: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(value))
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        base64::decode(&text).map(Bytes::from).ok_or_else(|| de::Error::custom("expected base64"))
    }
}

impl<M: Message> Kind<M> for Item {
    fn write<S: Serializer>(value: &M, naming: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        value.write(naming, serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<M, D::Error> {
        M::read(deserializer)
    }
}

impl<M: Message> Kind<Option<M>> for Maybe {
    fn write<S: Serializer>(value: &Option<M>, naming: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(message) => serializer.serialize_some(&Json::new(message, naming)),
            None => serializer.serialize_none(),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<M>, D::Error> {
        Ok(Option::<Read<M, Item>>::deserialize(deserializer)?.map(|read| read.0))
    }
}

impl<M: Message> Kind<Option<M>> for Always {
    fn write<S: Serializer>(value: &Option<M>, naming: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(message) => message.write(naming, serializer),
            None => M::default().write(naming, serializer),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<M>, D::Error> {
        <Maybe as Kind<Option<M>>>::read(deserializer)
    }
}

impl Kind<Option<prost_types::Duration>> for MaybeSpan {
    fn write<S: Serializer>(
        value: &Option<prost_types::Duration>,
        _: Naming,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(span) => serializer.collect_str(&Seconds(*span)),
            None => serializer.serialize_none(),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<prost_types::Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        // The mapping knows seconds only. Go's longer forms say what they mean just as well.
        let span: GoDuration = text.parse().map_err(de::Error::custom)?;
        Ok(Some(span.to_wire()))
    }
}

impl Kind<Option<prost_types::Duration>> for Span {
    fn write<S: Serializer>(
        value: &Option<prost_types::Duration>,
        naming: Naming,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        MaybeSpan::write(&Some(value.unwrap_or_default()), naming, serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<prost_types::Duration>, D::Error> {
        MaybeSpan::read(deserializer)
    }
}

/// Prints `1s`, `1.500s`, `1.000000001s`: seconds, and of their fraction three, six or nine digits.
struct Seconds(prost_types::Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prost_types::Duration { seconds, nanos } = self.0;
        if seconds < 0 || nanos < 0 {
            f.write_str("-")?;
        }
        write!(f, "{}", seconds.unsigned_abs())?;
        match nanos.unsigned_abs() {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1_000 == 0 => write!(f, ".{:06}", nanos / 1_000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("s")
    }
}

impl<T: Default, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn write<S: Serializer>(values: &Vec<T>, naming: Naming, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(values.len()))?;
        for value in values {
            list.serialize_element(&Write { value, naming, kind: PhantomData::<K> })?;
        }
        list.end()
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        struct Items<T, K>(PhantomData<(T, K)>);

        impl<'de, T: Default, K: Kind<T>> Visitor<'de> for Items<T, K> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(Read(value, PhantomData)) = list.next_element::<Read<T, K>>()? {
                    values.push(value);
                }
                Ok(values)
            }
        }

        deserializer.deserialize_any(Items::<T, K>(PhantomData))
    }
}
