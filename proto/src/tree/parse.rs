//! Pure: from YAML to a tree. Strict: unknown and repeated keys, further documents and values of another type
//! are errors with their line and column, and the work is bounded however the text is built.
//! It does not know whether a spec is right, only whether it was understood.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_saphyr::{Location, Spanned};

use super::{Fields, Node, TreeError};
use crate::duration::GoDuration;
use crate::label::LabelSet;
use crate::wire::CompressionCodec;
use crate::wire::journal_spec::{Flag, Suspend, suspend::Level};

/// Largest text that is read: far more than the specs of a hundred thousand journals.
pub const MAX_YAML_BYTES: usize = 64 << 20;

/// Deepest nesting of YAML; two levels of it are one level of directories. The stack bounds it.
const MAX_DEPTH: usize = 64;

/// Most scalars, lists and maps in a text.
const MAX_NODES: usize = 8_000_000;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawNode {
    comment: Option<String>,
    delete: Option<bool>,
    name: Option<String>,
    replication: Option<i32>,
    labels: Option<Vec<RawLabel>>,
    fragment: Option<RawFragment>,
    flags: Option<Named<Flag>>,
    max_append_rate: Option<i64>,
    suspend: Option<RawSuspend>,
    revision: Option<i64>,
    children: Option<Vec<Spanned<Self>>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLabel {
    name: Option<String>,
    value: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawFragment {
    length: Option<i64>,
    compression_codec: Option<Named<CompressionCodec>>,
    stores: Option<Vec<String>>,
    refresh_interval: Option<RawDuration>,
    retention: Option<RawDuration>,
    flush_interval: Option<RawDuration>,
    path_postfix_template: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSuspend {
    level: Option<Named<Level>>,
    offset: Option<i64>,
}

impl Node {
    /// Reads a tree from YAML, and checks its shape.
    ///
    /// # Errors
    /// Where the text is not YAML, holds what a tree has not, or breaks a rule of [`Node::check`].
    pub fn parse(yaml: &str) -> Result<Self, TreeError> {
        node(raw(yaml)?)
    }

    /// Reads the part of a spec that journals share, from the same YAML without names, children and revisions:
    /// what a journal is made of that is created by its first append.
    ///
    /// # Errors
    /// Where the text is not YAML, or holds anything else.
    pub fn parse_fields(yaml: &str) -> Result<Fields, TreeError> {
        let mut raw = raw(yaml)?;
        let place = raw.referenced;
        let RawNode { delete, name, suspend, revision, children, .. } = &raw.value;
        for (given, key) in [
            (delete.is_some(), "delete"),
            (name.is_some(), "name"),
            (suspend.is_some(), "suspend"),
            (revision.is_some(), "revision"),
            (children.is_some(), "children"),
        ] {
            if given {
                return Err(error_at(
                    place,
                    format!("unexpected key `{key}` (expected what journals share)"),
                ));
            }
        }
        // A name that every leaf could have lets the rules of leaves pass.
        raw.value.name = Some("a/journal".to_owned());
        node(raw).map(|node| node.fields)
    }
}

/// Reads the form that YAML has, within bounds.
fn raw(yaml: &str) -> Result<Spanned<RawNode>, TreeError> {
    if yaml.len() > MAX_YAML_BYTES {
        let message = format!("the text has {} bytes (expected at most {MAX_YAML_BYTES})", yaml.len());
        return Err(TreeError { line: 1, column: 1, message });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_documents: 2,
        },
        with_snippet: false,
        emit_comments: false,
    };
    serde_saphyr::from_str_with_options(yaml.trim_start_matches('\u{feff}'), options)
        .map_err(|error| explain(&error))
}

/// Takes a node from the form it was read in, its children first.
fn node(raw: Spanned<RawNode>) -> Result<Node, TreeError> {
    let here = raw.referenced;
    let raw = raw.value;
    let mut children = Vec::new();
    let mut places = Vec::new();
    for child in raw.children.unwrap_or_default() {
        places.push(child.referenced);
        children.push(node(child)?);
    }
    let pairs = raw.labels.unwrap_or_default();
    let pairs = pairs.into_iter().map(|l| (l.name.unwrap_or_default(), l.value.unwrap_or_default()));
    let labels = LabelSet::from_pairs(pairs).map_err(|invalid| error_at(here, invalid.within("Labels")))?;
    let fragment = raw.fragment.unwrap_or_default();
    let duration = |raw: Option<RawDuration>| raw.map_or(GoDuration::ZERO, |raw| raw.0);
    let node = Node {
        comment: raw.comment.unwrap_or_default(),
        delete: raw.delete,
        name: raw.name.unwrap_or_default(),
        fields: Fields {
            replication: raw.replication.unwrap_or_default(),
            labels,
            length: fragment.length.unwrap_or_default(),
            compression_codec: fragment
                .compression_codec
                .and_then(|codec| CompressionCodec::try_from(codec.number).ok())
                .unwrap_or_default(),
            stores: fragment.stores,
            refresh_interval: duration(fragment.refresh_interval),
            retention: duration(fragment.retention),
            flush_interval: duration(fragment.flush_interval),
            path_postfix_template: fragment.path_postfix_template.unwrap_or_default(),
            flags: raw.flags.map_or(0, |flags| flags.number.cast_unsigned()),
            max_append_rate: raw.max_append_rate.unwrap_or_default(),
        },
        suspend: raw.suspend.map(|suspend| Suspend {
            level: suspend.level.map_or(0, |level| level.number),
            offset: suspend.offset.unwrap_or_default(),
        }),
        revision: raw.revision.unwrap_or_default(),
        children,
        patched: false,
    };
    node.check_here().map_err(|(child, invalid)| {
        error_at(child.and_then(|index| places.get(index).copied()).unwrap_or(here), invalid)
    })?;
    Ok(node)
}

fn error_at(place: Location, message: impl fmt::Display) -> TreeError {
    TreeError { line: place.line().max(1), column: place.column().max(1), message: message.to_string() }
}

/// Words the parser's error in the terms of a tree.
fn explain(error: &serde_saphyr::Error) -> TreeError {
    use serde_saphyr::Error;

    let place = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error.without_snippet() {
        Error::AliasError { error, .. } => explain(error).message,
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected),
        Error::MultipleDocuments { .. } => {
            "a second document begins (expected one; put its journals under one root)".to_owned()
        }
        Error::InvalidScalar { ty: "i32", .. } => "expected a whole number of 32 bits".to_owned(),
        Error::InvalidScalar { ty: "i64", .. } => "expected a whole number of 64 bits".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` is given twice"),
        Error::Budget { breach, .. } => format!("the text is too large or too deep ({breach:?})"),
        other => other.to_string(),
    };
    // The place is told once, in front.
    let message = match message.rfind(" at line ") {
        Some(end) if place != Location::UNKNOWN => message[..end].to_owned(),
        _ => message,
    };
    error_at(place, message)
}

/// Says that a key is none of those that are known, and which of them was probably meant.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    let key: String = key.chars().take(64).collect();
    let nearest = known.iter().map(|known| (distance(&key, known), *known)).min();
    match nearest {
        // Half of the letters may be wrong before a suggestion misleads.
        Some((far, known)) if far * 2 <= known.len() => {
            format!("unknown key `{key}` (did you mean `{known}`?)")
        }
        _ => format!("unknown key `{key}` (expected one of {})", known.join(", ")),
    }
}

/// How many letters are to be put in, taken out or changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A duration in Go's form, or a bare zero.
#[derive(Debug)]
struct RawDuration(GoDuration);

impl<'de> Deserialize<'de> for RawDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// The number of an enumeration's value, given by its name or, where that is usual, as a number.
#[derive(Debug)]
struct Named<E> {
    number: i32,
    marker: std::marker::PhantomData<E>,
}

/// An enumeration that YAML names.
trait Vocabulary {
    /// What an error calls it.
    const WHAT: &'static str;
    /// The names, for an error.
    const NAMES: &'static str;
    /// Whether numbers are taken too.
    const NUMBERS: bool;

    fn number(name: &str) -> Option<i32>;
}

impl Vocabulary for Flag {
    const WHAT: &'static str = "flags";
    const NAMES: &'static str = "NOT_SPECIFIED, O_RDONLY, O_WRONLY, O_RDWR";
    const NUMBERS: bool = true;

    fn number(name: &str) -> Option<i32> {
        Self::from_str_name(name).map(i32::from)
    }
}

impl Vocabulary for Level {
    const WHAT: &'static str = "suspend level";
    const NAMES: &'static str = "NONE, PARTIAL, FULL";
    const NUMBERS: bool = true;

    fn number(name: &str) -> Option<i32> {
        Self::from_str_name(name).map(i32::from)
    }
}

impl Vocabulary for CompressionCodec {
    const WHAT: &'static str = "compression codec";
    const NAMES: &'static str = "NONE, GZIP, ZSTANDARD, SNAPPY, GZIP_OFFLOAD_DECOMPRESSION";
    const NUMBERS: bool = false;

    fn number(name: &str) -> Option<i32> {
        Self::from_str_name(name).map(i32::from)
    }
}

impl<'de, E: Vocabulary> Deserialize<'de> for Named<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<E>(std::marker::PhantomData<E>);

        impl<E: Vocabulary> Visitor<'_> for Names<E> {
            type Value = i32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {}", E::NAMES)
            }

            fn visit_str<R: de::Error>(self, name: &str) -> Result<i32, R> {
                let number = E::number(name).or_else(|| name.parse().ok().filter(|_| E::NUMBERS));
                number.ok_or_else(|| {
                    let name: String = name.chars().take(64).collect();
                    R::custom(format!("unknown {} `{name}` (expected one of {})", E::WHAT, E::NAMES))
                })
            }
        }

        // As a string in any case: a plain scalar's text then decides, not YAML's guess at its type.
        deserializer
            .deserialize_str(Names::<E>(std::marker::PhantomData))
            .map(|number| Self { number, marker: std::marker::PhantomData })
    }
}
