//! Pure: what is wrong with a journal, after what its brokers and its store have of it. It asks nobody.
//!
//! A *finding* is something that no journal in order shows, however busy it is. A *note* is a state that passes by itself: a replica
//! that came late holds nothing of what was written before, and is told of it by the next listing of the store.

use std::collections::BTreeMap;

use courant_proto::fragment::ContentSum;
use serde::{Serialize, Serializer};

use super::cuts::Reading;

/// What was learned of a journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) holders: Vec<Holder>,
    /// What could not be asked or looked at.
    pub(super) unknown: Vec<String>,
    /// Objects in the journal's folder that are no fragments of it: what they are called, and why.
    pub(super) strays: Vec<(String, String)>,
}

/// A broker or a store, with what it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Holder {
    pub(super) name: String,
    /// None for a store, which is asked for its listing, and was before brokers were asked for their heads.
    pub(super) broker: Option<Told>,
    /// What it holds itself.
    pub(super) extents: Vec<Extent>,
}

/// What a broker says of a journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) is_primary: bool,
    /// Where the journal ends. The primary was asked last of all.
    pub(super) head: Option<i64>,
    /// What it would send readers to in a store: offsets, and the name.
    pub(super) stored: Vec<(i64, i64, String)>,
}

/// A span of content that somebody holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Extent {
    pub(super) begin: i64,
    pub(super) end: i64,
    /// How it is called in its store; empty for what a broker has alone.
    pub(super) name: String,
    /// The SHA-1 that its name or its broker promises; none where nothing is promised.
    pub(super) promised: Option<ContentSum>,
    /// None where content was not read.
    pub(super) reading: Option<Reading>,
    /// Why it could not be read.
    pub(super) fault: Option<String>,
}

/// Something about a journal that is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// The offsets that it is about, if it is about some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<(i64, i64)>,
    pub(super) detail: String,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nobody holds what lies between two spans, or before the head.
    Gap,
    /// Two hold other bytes at the same offsets.
    Differs,
    /// Content has another SHA-1 than its name says.
    Digest,
    /// Content cannot be read.
    Unreadable,
    /// A broker sends readers to an object that is not there.
    Lost,
    /// Somebody holds content behind a broker's head.
    PastHead,
    /// An object in the journal's folder is none of its fragments.
    Stray,
    /// Objects are called as fragments are, and there is no such journal.
    Orphan,
    /// Somebody could not be asked.
    Unknown,
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Kind {
    /// As it is told.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gap => "GAP",
            Self::Differs => "DIFFERS",
            Self::Digest => "DIGEST",
            Self::Unreadable => "UNREADABLE",
            Self::Lost => "LOST",
            Self::PastHead => "PAST_HEAD",
            Self::Stray => "STRAY",
            Self::Orphan => "ORPHAN",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

/// Judges a journal.
pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let mut findings = Vec::new();
    for reason in &evidence.unknown {
        findings.push(Finding { kind: Kind::Unknown, span: None, detail: reason.clone() });
    }
    findings.extend(gaps(evidence));
    findings.extend(differences(evidence));
    for holder in &evidence.holders {
        findings.extend(holder.extents.iter().filter_map(|extent| damage(holder, extent)));
    }
    findings.extend(lost(evidence));
    findings.extend(past_heads(evidence));
    for (name, reason) in &evidence.strays {
        let detail = format!("{name} is no fragment of the journal: {reason}");
        findings.push(Finding { kind: Kind::Stray, span: None, detail });
    }
    findings.sort_by_key(|finding| (finding.kind, finding.span));
    Verdict { findings, notes: holes(evidence) }
}

/// The end of the journal as its primary knows it, or else as the broker does that knows most.
pub(super) fn head(evidence: &Evidence) -> Option<i64> {
    let told = || evidence.holders.iter().filter_map(|holder| holder.broker.as_ref());
    let primary = told().find(|told| told.is_primary).and_then(|told| told.head);
    primary.or_else(|| told().filter_map(|told| told.head).max())
}

/// What is between spans that ascend by their begins, from the first on and up to an end.
fn between(mut spans: Vec<(i64, i64)>, until: Option<i64>) -> Vec<(i64, i64)> {
    spans.sort_unstable();
    let Some(mut reached) = spans.first().map(|first| first.0) else {
        return until.filter(|until| *until > 0).map(|until| (0, until)).into_iter().collect();
    };
    let mut holes = Vec::new();
    for (begin, end) in spans {
        if begin > reached {
            holes.push((reached, begin));
        }
        reached = reached.max(end);
    }
    holes.extend(until.filter(|until| *until > reached).map(|until| (reached, until)));
    holes
}

fn gaps(evidence: &Evidence) -> impl Iterator<Item = Finding> {
    let extents = evidence.holders.iter().flat_map(|holder| &holder.extents);
    let spans = extents.map(|extent| (extent.begin, extent.end)).collect();
    between(spans, head(evidence)).into_iter().map(|(begin, end)| Finding {
        kind: Kind::Gap,
        span: Some((begin, end)),
        detail: format!("nobody holds {}", in_bytes(end - begin)),
    })
}

/// Who has read what, by digest.
type Sums<'a> = BTreeMap<[u8; 20], Vec<&'a str>>;

/// Pieces of which there is more than one reading. Neighbours about which the same holders differ are one finding.
fn differences(evidence: &Evidence) -> Vec<Finding> {
    let mut pieces: BTreeMap<(i64, i64), Sums<'_>> = BTreeMap::new();
    for holder in &evidence.holders {
        for extent in &holder.extents {
            let name = if extent.name.is_empty() { &*holder.name } else { &*extent.name };
            for piece in extent.reading.iter().flat_map(|reading| &reading.pieces) {
                let sums = pieces.entry((piece.begin, piece.end)).or_default();
                let names = sums.entry(*piece.sum.as_bytes()).or_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
    let mut findings: Vec<Finding> = Vec::new();
    for ((begin, end), sums) in pieces {
        if sums.len() < 2 {
            continue;
        }
        // In the order of names: which digest is smaller says nothing.
        let mut camps: Vec<String> = sums.into_values().map(|names| names.join(" and ")).collect();
        camps.sort_unstable();
        let detail = format!("{} hold different bytes", camps.join(", against "));
        match findings.last_mut() {
            Some(Finding { span: Some((_, until)), detail: before, .. })
                if *until == begin && *before == detail =>
            {
                *until = end;
            }
            _ => findings.push(Finding { kind: Kind::Differs, span: Some((begin, end)), detail }),
        }
    }
    findings
}

fn damage(holder: &Holder, extent: &Extent) -> Option<Finding> {
    let span = Some((extent.begin, extent.end));
    let what = if extent.name.is_empty() {
        holder.name.clone()
    } else {
        format!("{} in {}", extent.name, holder.name)
    };
    if let Some(fault) = &extent.fault {
        return Some(Finding { kind: Kind::Unreadable, span, detail: format!("{what}: {fault}") });
    }
    let found = extent.reading.as_ref()?.sum?;
    let promised = extent.promised.filter(|promised| *promised != found)?;
    let detail = format!("{what}: its SHA-1 is {found}, and {promised} is promised");
    Some(Finding { kind: Kind::Digest, span, detail })
}

/// Objects that brokers tell of and a store has not. Only where a store was looked at.
fn lost(evidence: &Evidence) -> Vec<Finding> {
    let stores: Vec<&Holder> = evidence.holders.iter().filter(|holder| holder.broker.is_none()).collect();
    if stores.is_empty() {
        return Vec::new();
    }
    let is_there =
        |name: &str| stores.iter().any(|store| store.extents.iter().any(|extent| extent.name == name));
    let mut missing: BTreeMap<(i64, i64, &str), Vec<&str>> = BTreeMap::new();
    for holder in &evidence.holders {
        let stored = holder.broker.iter().flat_map(|told| &told.stored);
        for (begin, end, name) in stored.filter(|(_, _, name)| !is_there(name)) {
            missing.entry((*begin, *end, name)).or_default().push(&holder.name);
        }
    }
    let finding = |((begin, end, name), by): ((i64, i64, &str), Vec<&str>)| Finding {
        kind: Kind::Lost,
        span: Some((begin, end)),
        detail: format!("{name} is not in the store, and {} would read it there", by.join(" and ")),
    };
    missing.into_iter().map(finding).collect()
}

fn past_heads(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (holder, told) in brokers(evidence) {
        let Some(head) = told.head else { continue };
        for other in evidence.holders.iter().filter(|other| other.name != holder.name) {
            // Followers may hear of a commit a little later than they were asked, so a follower is held against the store alone.
            if other.broker.is_some() && !told.is_primary {
                continue;
            }
            let end = other.extents.iter().map(|extent| extent.end).max().unwrap_or(0);
            if end > head {
                let detail =
                    format!("{} holds what lies behind the head of {}, {head}", other.name, holder.name);
                findings.push(Finding { kind: Kind::PastHead, span: Some((head, end)), detail });
            }
        }
    }
    findings
}

/// What single brokers cannot serve yet and others can.
fn holes(evidence: &Evidence) -> Vec<String> {
    let all = evidence.holders.iter().flat_map(|holder| &holder.extents);
    let Some(first) = all.map(|extent| extent.begin).min() else { return Vec::new() };
    let mut notes = Vec::new();
    for (holder, told) in brokers(evidence) {
        let held = holder.extents.iter().map(|extent| (extent.begin, extent.end));
        let stored = told.stored.iter().map(|(begin, end, _)| (*begin, *end));
        // Whatever begins where the journal does makes what is missing there a hole.
        let spans = held.chain(stored).chain([(first, first)]).collect();
        let holes = between(spans, told.head);
        if !holes.is_empty() {
            let holes: Vec<String> = holes.iter().map(|(begin, end)| format!("[{begin}, {end})")).collect();
            notes.push(format!("{} does not know of {} yet", holder.name, holes.join(", ")));
        }
    }
    notes
}

fn brokers(evidence: &Evidence) -> impl Iterator<Item = (&Holder, &Told)> {
    evidence.holders.iter().filter_map(|holder| Some((holder, holder.broker.as_ref()?)))
}

fn in_bytes(count: i64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} byte{plural}")
}

#[cfg(test)]
mod tests;
