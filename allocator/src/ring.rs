//! Pure: the first step out of a ring of full members.
//!
//! ```text
//!  A full of x, which is to go to B     B full of y, which is to go to A     neither has room, and nobody begins
//!  A: x y  B: y    y is added to A, one over its limit; once it is in step it leaves B; x goes to B, and leaves A
//! ```
//!
//! A limit is what the solution keeps to, and what every cluster is back at once it has converged; a broker refuses nothing that goes
//! beyond it. So one replica more, for as long as it takes another to leave, is what getting there costs, and no more than one.
//!
//! **It gets somewhere.** It is asked only when nothing else can be done. Then no item holds more than it wants, since it would let go of
//! that, so members hold no more in all than they are to. A member that lacks something and holds more than it is to would have to be
//! outweighed by one that holds less than it is to; that one lacks something as well, and has room for one more over its limit.
//! What is added is where it is to be, and is never taken from there again, so that it ends.

use crate::items::Item;
use crate::state::State;

impl State {
    /// Members that may take one replica over their limits: something that is to leave them waits for others that are full as well.
    /// None if the solution leaves something out, as then what is to leave may have to stay.
    pub(crate) fn ringed(&self) -> Vec<bool> {
        let count = self.members.all().len();
        let outcome = self.solution.outcome;
        if outcome.placed != outcome.wanted {
            return vec![false; count];
        }
        // Limits are split among batches, and rounded up.
        let mut desired = vec![0_u32; count];
        self.solution.members.iter().for_each(|&member| desired[member as usize] += 1);
        let (mut waits, mut leaves) = (vec![false; count], vec![false; count]);
        for &number in self.items.ordered() {
            let item = self.items.get(number);
            let wanted = self.desired_numbers(item);
            let is_on_its_way = is_held(item, wanted);
            for held in item.assigned.iter().filter(|held| !wanted.contains(&held.member)) {
                // What leaves as soon as it may is worth waiting for.
                let list = if is_on_its_way { &mut leaves } else { &mut waits };
                list[held.member as usize] = true;
            }
        }
        let may = |(at, member): (usize, &crate::members::Member)| {
            let limit = member.limit;
            waits[at] && !leaves[at] && desired[at] <= limit && member.total <= limit
        };
        self.members.all().iter().enumerate().map(may).collect()
    }
}

/// Whether all who are to hold an item do.
fn is_held(item: &Item, wanted: &[u32]) -> bool {
    wanted.iter().all(|member| item.assigned.iter().any(|held| held.member == *member))
}
