//! Pure: whom to believe, of members that say of each other that they do not answer.
//!
//! A call needs both ways, so a link that one end finds broken is broken; which end is at fault, others know better than the two:
//!
//! - a member that more than half of all members report is cut off;
//! - so is one that reports, alone, more than half of all members that have shown life since: it hears nobody. Of those that show none it
//!   is believed: they are dead, and it is who is left;
//! - what a member says that is cut off counts for nothing, and it has failed for all of its items, those among them of which it is
//!   the primary;
//! - any other report is believed for the items of which the reporter is the primary: of two ends of a link, the follower goes.
//!
//! So one member alone, however wrong, takes nothing from another but its own items' replicas; of two sides of a cut the greater one
//! goes on, and of two of one size each goes on with the items whose primaries it has.

use std::collections::{HashMap, HashSet};

/// Reports `(member, by)`, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Members that have failed for everything.
    pub(crate) cut_off: HashSet<u32>,
    /// By reporter, the members that have failed for the items of which it is the primary.
    pub(crate) believed: HashMap<u32, Vec<u32>>,
}

/// Judges what is said among `live` members. With each report comes whether the member has shown life since.
pub(crate) fn judge(live: usize, reports: &HashMap<(u32, u32), bool>) -> Judged {
    let others = || reports.keys().filter(|(member, by)| member != by);
    let mut said_of = HashMap::<u32, usize>::new();
    others().for_each(|(member, _)| *said_of.entry(*member).or_default() += 1);
    let mut said_alone = HashMap::<u32, usize>::new();
    others()
        .filter(|report| reports.get(*report) == Some(&true))
        .filter(|(member, _)| said_of.get(member) == Some(&1))
        .for_each(|(_, by)| *said_alone.entry(*by).or_default() += 1);
    let is_most = |count: &usize| count * 2 > live;
    let most = |counts: &HashMap<u32, usize>| {
        counts.iter().filter(|(_, count)| is_most(count)).map(|(member, _)| *member).collect::<HashSet<_>>()
    };
    let mut cut_off = most(&said_of);
    cut_off.extend(most(&said_alone));
    let mut believed = HashMap::<u32, Vec<u32>>::new();
    for (member, by) in others().filter(|(_, by)| !cut_off.contains(by)) {
        believed.entry(*by).or_default().push(*member);
    }
    believed.values_mut().for_each(|members| members.sort_unstable());
    Judged { cut_off, believed }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports in words: `c:aB` is "c reports a and b", of which a has shown life since.
    fn reports(words: &str) -> HashMap<(u32, u32), bool> {
        let number = |c: char| u32::from(c.to_ascii_lowercase()) - u32::from('a');
        let said = words.split_whitespace().flat_map(|word| {
            let (by, members) = word.split_once(':').expect("who says what");
            let by = number(by.chars().next().expect("who"));
            members.chars().map(move |member| ((number(member), by), member.is_lowercase()))
        });
        said.collect()
    }

    fn check(live: usize, words: &str, cut_off: &str, believed: &str) {
        let name = |number: u32| char::from_u32(u32::from('a') + number).expect("a letter");
        let judged = judge(live, &reports(words));
        let mut found: Vec<char> = judged.cut_off.iter().map(|member| name(*member)).collect();
        found.sort_unstable();
        assert_eq!(found.into_iter().collect::<String>(), cut_off, "cut off, by {words:?} of {live}");
        let mut found: Vec<String> = judged
            .believed
            .iter()
            .map(|(by, members)| {
                let members: String = members.iter().map(|member| name(*member)).collect();
                format!("{}:{members}", name(*by))
            })
            .collect();
        found.sort();
        assert_eq!(found.join(" "), believed, "believed, of {words:?} of {live}");
    }

    #[test]
    fn one_link_is_the_followers_to_lose() {
        check(5, "a:b", "", "a:b");
        check(5, "a:b b:a", "", "a:b b:a");
        check(2, "a:b b:a", "", "a:b b:a");
    }

    #[test]
    fn who_is_cut_off_is_told_by_most_or_by_itself_alone() {
        check(5, "a:bcde b:a c:a d:a e:a", "a", "b:a c:a d:a e:a");
        // Its own word comes first, the others' word comes first, or nobody else noticed as only its calls are lost.
        check(5, "a:bcde", "a", "");
        check(5, "b:a c:a d:a", "a", "b:a c:a d:a");
        check(5, "b:a c:a", "", "b:a c:a");
        check(3, "a:bc b:a c:a", "a", "b:a c:a");
        check(4, "a:bcd b:a c:a d:a", "a", "b:a c:a d:a");
    }

    #[test]
    fn a_single_wrong_reporter_takes_nothing_from_others() {
        check(5, "a:bc", "", "a:bc");
        check(5, "a:bcd", "a", "");
        check(20, "a:bcdefghij", "", "a:bcdefghij");
        check(20, "a:bcdefghijkl", "a", "");
    }

    #[test]
    fn the_greater_side_goes_on_and_sides_of_one_size_both() {
        check(5, "a:cde b:cde c:ab d:ab e:ab", "ab", "c:ab d:ab e:ab");
        check(4, "a:cd b:cd c:ab d:ab", "", "a:cd b:cd c:ab d:ab");
        check(6, "a:def b:def c:def d:abc e:abc f:abc", "", "a:def b:def c:def d:abc e:abc f:abc");
    }

    #[test]
    fn in_a_ring_and_across_a_bridge_nobody_is_cut_off() {
        check(5, "a:cd b:de c:ae d:ab e:bc", "", "a:cd b:de c:ae d:ab e:bc");
        check(5, "a:de b:de d:ab e:ab", "", "a:de b:de d:ab e:ab");
    }

    #[test]
    fn who_is_left_of_most_that_have_died_is_believed() {
        check(3, "a:BC", "", "a:bc");
        check(3, "a:bC", "", "a:bc");
        check(5, "a:CDE", "", "a:cde");
        check(5, "a:CDE b:CDE", "", "a:cde b:cde");
        check(5, "a:de b:de c:de", "de", "a:de b:de c:de");
    }
}
