//! Pure: how much of their limit members that leave give up, so that what they hold moves to others.
//!
//! Those that joined first leave first, and only as many at a time as leave enough members for the widest item. Nobody gives
//! up what the others have no room for.

use crate::state::{MemberSpec, Stamp};

/// What each member sheds of its limit.
pub(crate) fn shed(members: &[(MemberSpec, Stamp)], item_slots: u64, widest: u32) -> Vec<u32> {
    let mut shed = vec![0; members.len()];
    let slots: u64 = members.iter().map(|(spec, _)| u64::from(spec.limit)).sum();
    let mut excess = slots.saturating_sub(item_slots);
    let allowed = members.len().saturating_sub(usize::try_from(widest).unwrap_or(usize::MAX));
    let mut exiting: Vec<usize> = (0..members.len()).filter(|&at| members[at].0.exiting).collect();
    exiting.sort_by_key(|&at| members[at].1.create_revision);
    for at in exiting.into_iter().take(allowed) {
        let limit = members[at].0.limit;
        shed[at] = limit.min(u32::try_from(excess).unwrap_or(u32::MAX));
        excess -= u64::from(shed[at]);
    }
    shed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members as `(limit, exiting, create revision)`.
    fn check(members: &[(u32, bool, i64)], item_slots: u64, widest: u32, expected: &[u32]) {
        let members: Vec<_> = members
            .iter()
            .map(|&(limit, exiting, create_revision)| {
                (MemberSpec { limit, exiting }, Stamp { create_revision, ..Stamp::default() })
            })
            .collect();
        assert_eq!(shed(&members, item_slots, widest), expected);
    }

    #[test]
    fn those_who_leave_shed_what_others_can_take() {
        // Nobody leaves.
        check(&[(10, false, 1), (10, false, 2)], 5, 1, &[0, 0]);
        // There is room for all.
        check(&[(10, true, 1), (10, false, 2), (10, true, 3)], 5, 1, &[10, 0, 10]);
        // Two must stay for the widest item: the one that joined first goes.
        check(&[(10, true, 7), (10, true, 5), (10, false, 6)], 5, 2, &[0, 10, 0]);
        check(&[(10, true, 1), (10, true, 2)], 5, 2, &[0, 0]);
        // The others have room for some of it only.
        check(&[(10, true, 1), (10, true, 2), (10, false, 3)], 16, 1, &[10, 4, 0]);
        // Nobody has any room.
        check(&[(10, true, 1), (10, false, 2)], 20, 1, &[0, 0]);
        check(&[(10, true, 1), (10, false, 2)], 30, 1, &[0, 0]);
    }
}
