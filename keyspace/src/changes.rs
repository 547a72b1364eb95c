//! Pure: what differs between two versions of the entries.

use std::sync::Arc;

use crate::entries::Entries;
use crate::entry::Entry;

/// One key that differs between two snapshots. A key that was deleted and created again in between is an update
/// whose `create_revision` differs.
#[derive(Debug)]
pub enum Change<'a, V> {
    /// The key is new.
    Added(&'a Arc<Entry<V>>),
    /// The key was put again.
    Updated {
        /// As it was.
        old: &'a Arc<Entry<V>>,
        /// As it is.
        new: &'a Arc<Entry<V>>,
    },
    /// The key is gone.
    Removed(&'a Arc<Entry<V>>),
}

impl<'a, V> Change<'a, V> {
    /// The full key.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Added(entry) | Self::Removed(entry) | Self::Updated { new: entry, .. } => &entry.key,
        }
    }
}

pub(crate) fn between<'a, V>(old: &'a Entries<V>, new: &'a Entries<V>) -> Vec<Change<'a, V>> {
    let (old, new) = (old.chunks(), new.chunks());
    let mut changes = Vec::new();
    let (mut o, mut n) = ((0, 0), (0, 0));
    loop {
        // Where both stand at the beginning of the same chunk, nothing in it differs.
        if o.1 == 0
            && n.1 == 0
            && let (Some(a), Some(b)) = (old.get(o.0), new.get(n.0))
            && Arc::ptr_eq(a, b)
        {
            o.0 += 1;
            n.0 += 1;
            continue;
        }
        let order = match (old.get(o.0), new.get(n.0)) {
            (None, None) => return changes,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a[o.1].key.cmp(&b[n.1].key),
        };
        match order {
            std::cmp::Ordering::Less => changes.push(Change::Removed(&old[o.0][o.1])),
            std::cmp::Ordering::Greater => changes.push(Change::Added(&new[n.0][n.1])),
            std::cmp::Ordering::Equal => {
                let (old, new) = (&old[o.0][o.1], &new[n.0][n.1]);
                if !Arc::ptr_eq(old, new) && old.mod_revision != new.mod_revision {
                    changes.push(Change::Updated { old, new });
                }
            }
        }
        if order.is_le() {
            o = step(o, old[o.0].len());
        }
        if order.is_ge() {
            n = step(n, new[n.0].len());
        }
    }
}

const fn step((chunk, at): (usize, usize), len: usize) -> (usize, usize) {
    if at + 1 < len { (chunk, at + 1) } else { (chunk + 1, 0) }
}
