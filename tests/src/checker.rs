//! Pure: whether what was asked, what was seen and what a journal holds agree. Offsets that a broker returns are the
//! order that it claims, so every rule is a sweep over sorted intervals.
//!
//! | rule | what it says |
//! |---|---|
//! | J1 | an append is there whole, as one run, or not at all |
//! | J2 | appends tile the journal, with no gap and no overlap |
//! | J3 | an offset never names other bytes than it did |
//! | J4 | every byte that was ever seen is in the journal |
//! | J5 | what was acknowledged is there, where it was acknowledged |
//! | J6 | what was acknowledged before another was sent stands before it; a writer's pieces stand in his order |
//! | J9 | what was refused is not there, what is there was sent, and nothing is there twice that was sent once |
//! | J15 | at one revision of the registry a journal has one primary, and it is the one that commits |

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Append, Outcome, Seen, differs};
use crate::payload::{self, Found, Id};

/// A rule that was broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name, like `J5`.
    pub rule: &'static str,
    /// The smallest set of facts that shows it.
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.evidence)
    }
}

/// Everything that is wrong with a journal that was written by this history alone, and that holds this content from
/// offset zero on.
pub fn check(history: &[Append], seen: &Seen, content: &[u8]) -> Vec<Violation> {
    let mut violations = seen_is_there(seen, content);
    let found = match payload::pieces(content) {
        Ok(found) => found,
        Err(torn) => {
            // Tiling is what decoding tests: a gap or an overlap is where no piece begins.
            violations.push(violation("J1", format!("no whole piece at {}: {}", torn.at, torn.reason)));
            payload::pieces(&content[..torn.at]).unwrap_or_default()
        }
    };
    violations.extend(acknowledged_is_there(history, &found));
    violations.extend(only_what_was_sent(history, &found));
    violations.extend(real_time_order(history, &found));
    violations.extend(order_of_writers(history, &found));
    violations.extend(one_primary(history));
    violations
}

/// J5 alone, for a journal that is still being written: everything that this history acknowledged is in the content.
pub fn check_acknowledged(history: &[Append], content: &[u8]) -> Vec<Violation> {
    match payload::pieces(content) {
        Ok(found) => acknowledged_is_there(history, &found),
        Err(torn) => vec![violation("J1", format!("no whole piece at {}: {}", torn.at, torn.reason))],
    }
}

fn violation(rule: &'static str, evidence: String) -> Violation {
    Violation { rule, evidence }
}

fn seen_is_there(seen: &Seen, content: &[u8]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (begin, bytes) in seen.spans() {
        let end = begin + bytes.len();
        let there = content.get(begin..end.min(content.len())).unwrap_or(&[]);
        if let Some(at) = differs(there, &bytes[..there.len()]) {
            violations.push(violation("J3", format!("offset {} names other bytes than it did", begin + at)));
        }
        if there.len() < bytes.len() {
            let lost = begin + there.len();
            violations.push(violation("J4", format!("[{lost}, {end}) was seen, and is not in the journal")));
        }
    }
    violations
}

fn acknowledged_is_there(history: &[Append], found: &[Found]) -> Vec<Violation> {
    let by_begin: HashMap<i64, &Found> = found.iter().map(|found| (offset(found.begin), found)).collect();
    let mut violations = Vec::new();
    for append in history {
        let Outcome::Done { begin, end } = append.outcome else { continue };
        let there =
            by_begin.get(&begin).is_some_and(|found| found.id == append.id && offset(found.end) == end);
        if !there {
            let instead = by_begin.get(&begin);
            let evidence = format!("{append:?} was acknowledged; at its offset there is {instead:?}");
            violations.push(violation("J5", evidence));
        }
    }
    violations
}

fn only_what_was_sent(history: &[Append], found: &[Found]) -> Vec<Violation> {
    let sent: HashMap<Id, &Append> = history.iter().map(|append| (append.id, append)).collect();
    let mut places = HashMap::<Id, usize>::new();
    let mut violations = Vec::new();
    for Found { id, begin, .. } in found {
        match sent.get(id).map(|append| append.outcome) {
            None => violations.push(violation("J9", format!("{id:?} at {begin} was never sent"))),
            Some(Outcome::Failed) => {
                violations.push(violation("J9", format!("{id:?} failed, and is at {begin}")));
            }
            Some(Outcome::Done { .. } | Outcome::Unknown) => {}
        }
        let repeats = sent.get(id).is_some_and(|append| append.repeats);
        if let Some(first) = places.insert(*id, *begin).filter(|_| !repeats) {
            violations.push(violation("J9", format!("{id:?} is at {first} and again at {begin}")));
        }
    }
    violations
}

/// Of all that was settled before an append was sent, none may end behind its beginning, wherever it is there.
fn real_time_order(history: &[Append], found: &[Found]) -> Vec<Violation> {
    let mut begins = HashMap::<Id, i64>::new();
    for found in found {
        let begin = begins.entry(found.id).or_insert(i64::MAX);
        *begin = offset(found.begin).min(*begin);
    }
    let mut settled: Vec<(&Append, i64)> = Vec::new();
    let mut sent: Vec<(&Append, i64)> = Vec::new();
    for append in history {
        let found = begins.get(&append.id).copied();
        match append.outcome {
            Outcome::Done { begin, end } => {
                settled.push((append, end));
                sent.push((append, found.map_or(begin, |found| found.min(begin))));
            }
            Outcome::Failed => {}
            Outcome::Unknown => sent.extend(found.map(|begin| (append, begin))),
        }
    }
    settled.sort_by_key(|(append, _)| append.settled);
    sent.sort_by_key(|(append, _)| append.sent);
    let mut violations = Vec::new();
    let mut settled = settled.into_iter().peekable();
    let mut furthest: Option<(Id, Duration, i64)> = None;
    for (append, begin) in sent {
        while let Some((earlier, end)) = settled.next_if(|(earlier, _)| earlier.settled < append.sent) {
            if furthest.is_none_or(|(_, _, furthest)| end > furthest) {
                furthest = Some((earlier.id, earlier.settled, end));
            }
        }
        if let Some((id, at, end)) = furthest.filter(|(_, _, end)| *end > begin) {
            let evidence = format!(
                "{id:?} was settled at {at:?} and ends at {end}; {append:?} was sent after and begins before, at {begin}"
            );
            violations.push(violation("J6", evidence));
        }
    }
    violations
}

/// A writer sends a piece when the attempts before it are settled. What became of an unknown one may come at any time.
fn order_of_writers(history: &[Append], found: &[Found]) -> Vec<Violation> {
    let done: HashMap<i64, Id> = history
        .iter()
        .filter_map(|append| match append.outcome {
            Outcome::Done { begin, .. } => Some((begin, append.id)),
            Outcome::Failed | Outcome::Unknown => None,
        })
        .collect();
    let mut last = HashMap::<u32, Id>::new();
    let mut violations = Vec::new();
    for Found { id, begin, .. } in
        found.iter().filter(|found| done.get(&offset(found.begin)) == Some(&found.id))
    {
        if let Some(before) = last.insert(id.writer, *id).filter(|before| before > id) {
            violations.push(violation("J6", format!("{id:?} at {begin} stands behind {before:?}")));
        }
    }
    violations
}

/// All answers of one revision name the same primary, and whoever commits is the primary that it names.
fn one_primary(history: &[Append]) -> Vec<Violation> {
    let mut primaries = HashMap::<i64, &str>::new();
    let mut violations = Vec::new();
    for append in history {
        let (Some(witness), Outcome::Done { .. }) = (&append.witness, append.outcome) else { continue };
        if witness.primary != witness.committer {
            violations
                .push(violation("J15", format!("{append:?} was committed by another than the primary")));
        }
        let first = *primaries.entry(witness.revision).or_insert(&witness.primary);
        if first != witness.primary {
            let evidence = format!("{append:?} names another primary at its revision than {first}");
            violations.push(violation("J15", evidence));
        }
    }
    violations
}

fn offset(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Witness;

    fn id(writer: u32, sequence: u32) -> Id {
        Id { writer, sequence, attempt: 0 }
    }

    /// Appends one after the other, each settled before the next is sent.
    fn sequential(ids: &[Id]) -> (Vec<Append>, Vec<u8>) {
        let (mut history, mut content) = (Vec::new(), Vec::new());
        for (at, id) in (0_u64..).zip(ids) {
            let begin = offset(content.len());
            content.extend(payload::piece(*id, id.sequence));
            let outcome = Outcome::Done { begin, end: offset(content.len()) };
            let (sent, settled) = (Duration::from_millis(10 * at), Duration::from_millis(10 * at + 5));
            let witness = Witness { revision: 7, primary: "a".to_owned(), committer: "a".to_owned() };
            history.push(Append { id: *id, sent, settled, outcome, repeats: false, witness: Some(witness) });
        }
        (history, content)
    }

    /// Plants a fault in a sound history and returns the rules that it breaks.
    #[track_caller]
    fn check_planted(plant: impl FnOnce(&mut Vec<Append>, &mut Seen, &mut Vec<u8>), expected: &[&str]) {
        let (mut history, mut content) = sequential(&[id(0, 0), id(1, 0), id(0, 1), id(1, 1)]);
        let mut seen = Seen::default();
        seen.add(0, &content).expect("nothing was seen before");
        assert_eq!(check(&history, &seen, &content), []);
        plant(&mut history, &mut seen, &mut content);
        let mut rules: Vec<&str> =
            check(&history, &seen, &content).iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(rules, expected);
    }

    fn end(append: &Append) -> usize {
        match append.outcome {
            Outcome::Done { end, .. } => usize::try_from(end).expect("an offset"),
            Outcome::Failed | Outcome::Unknown => 0,
        }
    }

    #[test]
    fn every_planted_fault_is_found() {
        check_planted(|_, _, _| {}, &[]);
        check_planted(|history, _, _| history[1].outcome = Outcome::Unknown, &[]);
        // A byte is another one.
        check_planted(|_, _, content| content[300] ^= 1, &["J1", "J3", "J5"]);
        // The end is lost, and was seen.
        check_planted(|history, _, content| content.truncate(end(&history[2])), &["J4", "J5"]);
        // The end is lost, and was not seen.
        check_planted(
            |history, seen, content| {
                content.truncate(end(&history[2]));
                *seen = Seen::default();
            },
            &["J5"],
        );
        // An unknown one that is half there.
        check_planted(
            |history, seen, content| {
                content.truncate(end(&history[2]) + 200);
                history[3].outcome = Outcome::Unknown;
                *seen = Seen::default();
            },
            &["J1"],
        );
        // A refused one that is there, one that nobody sent, and one that is there twice.
        check_planted(|history, _, _| history[3].outcome = Outcome::Failed, &["J9"]);
        check_planted(|history, _, _| history.truncate(3), &["J9"]);
        check_planted(
            |_, _, content| {
                let again = payload::piece(id(1, 1), 1);
                content.extend(again);
            },
            &["J9"],
        );
        // One that may be there twice.
        check_planted(
            |history, _, content| {
                history[3].repeats = true;
                content.extend(payload::piece(id(1, 1), 1));
            },
            &[],
        );
        // One of unknown outcome that comes late, and one that stands before what was settled when it was sent.
        check_planted(|history, _, _| history[3].outcome = Outcome::Unknown, &[]);
        check_planted(
            |history, _, _| {
                history[1].outcome = Outcome::Unknown;
                history[1].sent = Duration::from_secs(1);
            },
            &["J6"],
        );
        // Two primaries at one revision, and a commit by one who is none.
        check_planted(
            |history, _, _| {
                let witness = Witness { revision: 7, primary: "b".to_owned(), committer: "b".to_owned() };
                history[3].witness = Some(witness);
            },
            &["J15"],
        );
        check_planted(
            |history, _, _| {
                let witness = Witness { revision: 8, primary: "a".to_owned(), committer: "b".to_owned() };
                history[3].witness = Some(witness);
            },
            &["J15"],
        );
        // Acknowledged elsewhere than it is.
        check_planted(
            |history, _, _| {
                let (a, b) = (history[0].outcome, history[1].outcome);
                (history[0].outcome, history[1].outcome) = (b, a);
            },
            &["J5", "J6"],
        );
        // Sent after the last was settled, and yet before it in the journal.
        check_planted(
            |history, _, _| {
                (history[2].sent, history[2].settled) = (Duration::from_secs(1), Duration::from_secs(2))
            },
            &["J6"],
        );
    }

    #[test]
    fn a_writers_pieces_stand_in_his_order() {
        let (history, content) = sequential(&[id(0, 1), id(1, 0), id(0, 0)]);
        let rules: Vec<_> = check(&history, &Seen::default(), &content).iter().map(|v| v.rule).collect();
        assert_eq!(rules, ["J6"]);
    }
}
