//! Pure: whether the others can take over what an exiting member holds.
//!
//! The allocator's leader lets members go one after the other, those first that came first, and only while enough members stay for the
//! journal with the most replicas, and enough room for all of them (Gazette's rule of shed capacity). Who is not let go keeps
//! what it holds, however long it waits; then it is better to say so than to wait.

use std::fmt;

/// A member, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) is_me: bool,
    /// Most replicas that it holds.
    pub(crate) limit: u64,
    pub(crate) exiting: bool,
    /// The revision at which it joined.
    pub(crate) joined: i64,
}

/// Why nobody takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// The members that would be left are fewer than the replicas that a journal is to have.
    TooFew { members: usize, exiting_before: usize, replicas: usize },
    /// The members that would be left have no room.
    NoRoom { limits: u64, wanted: u64 },
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { members, exiting_before, replicas } => write!(
                f,
                "of {members} members, {exiting_before} of them exiting before this one, no further one can be spared for journals of \
                 {replicas} replicas"
            ),
            Self::NoRoom { limits, wanted } => {
                write!(f, "the members' limits add up to {limits}, and {wanted} replicas are wanted of them")
            }
        }
    }
}

/// Why an exiting member is not let go, if it is not. `wanted` are the replicas that all journals together are to have, `most` those of
/// the journal that has the most.
pub(crate) fn hindrance(members: &[Candidate], wanted: u64, most: usize) -> Option<Hindrance> {
    let me = members.iter().find(|member| member.is_me)?;
    let limits = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.limit));
    let before = |other: &&Candidate| other.exiting && !other.is_me && other.joined < me.joined;
    let earlier: Vec<&Candidate> = members.iter().filter(before).collect();
    if earlier.len() >= members.len().saturating_sub(most) {
        let exiting_before = earlier.len();
        return Some(Hindrance::TooFew { members: members.len(), exiting_before, replicas: most });
    }
    let excess = limits.saturating_sub(wanted);
    let taken = earlier.iter().fold(0_u64, |sum, member| sum.saturating_add(member.limit));
    (excess <= taken).then_some(Hindrance::NoRoom { limits, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members in the order in which they joined: limit, and whether they exit. The last argument is whose outlook it is.
    fn check(members: &[(u64, bool)], wanted: u64, most: usize, me: usize, expected: Option<&str>) {
        let members: Vec<Candidate> = members
            .iter()
            .zip(0..)
            .map(|((limit, exiting), joined)| Candidate {
                is_me: joined == i64::try_from(me).expect("small"),
                limit: *limit,
                exiting: *exiting,
                joined,
            })
            .collect();
        let found = hindrance(&members, wanted, most).map(|hindrance| hindrance.to_string());
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) if found.contains(expected) => {}
            _ => panic!("{members:?}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn members_are_spared_while_enough_of_them_stay() {
        check(&[(10, true)], 3, 1, 0, Some("of 1 members, 0 of them exiting before this one"));
        check(&[(10, true), (10, false)], 3, 1, 0, None);
        check(&[(10, true), (10, false), (10, false)], 9, 3, 0, Some("journals of 3 replicas"));
        check(&[(10, false), (10, false), (10, true), (10, false)], 9, 3, 2, None);
        let two = [(10, true), (10, true), (10, false), (10, false)];
        check(&two, 9, 3, 0, None);
        check(&two, 9, 3, 1, Some("1 of them exiting before"));
        check(&two, 9, 2, 1, None);
        check(&[(10, true)], 0, 0, 0, None);
    }

    #[test]
    fn members_are_spared_while_the_others_have_room() {
        check(&[(10, true), (10, false)], 20, 1, 0, Some("add up to 20, and 20 replicas"));
        check(&[(10, true), (10, false)], 30, 1, 0, Some("add up to 20, and 30 replicas"));
        check(&[(10, true), (10, false)], 19, 1, 0, None);
        let two = [(10, true), (10, true), (10, false), (10, false)];
        check(&two, 29, 1, 1, None);
        check(&two, 30, 1, 1, Some("add up to 40"));
        check(&two, 30, 1, 0, None);
    }

    #[test]
    fn who_is_no_member_any_more_has_nothing_to_hand_over() {
        assert_eq!(hindrance(&[], 5, 3), None);
    }
}
