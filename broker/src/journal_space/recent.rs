//! Values that were seen lately, so that equal ones become one: thousands of journals have the same labels, stores and routes.
//!
//! It keeps a few, of which a new one takes the place of another, and does not know who else holds them.

use std::array;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

use parking_lot::Mutex;

/// How many values are kept. More that are in use at once are shared less.
const SLOTS: usize = 64;

/// A few values that are cheap to clone. Cloning it shares them.
#[derive(Clone, Debug)]
pub(super) struct Recent<T>(Arc<Mutex<[Option<T>; SLOTS]>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(array::from_fn(|_| None))))
    }
}

impl<T: Clone + Eq + Hash> Recent<T> {
    /// The value that was seen before, if it is equal and still here, or else the one given.
    pub(super) fn share(&self, value: T) -> T {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&value);
        let at = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        let slot = &mut self.0.lock()[at];
        match slot {
            Some(seen) if *seen == value => seen.clone(),
            _ => slot.insert(value).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_become_one_and_others_stay_what_they_are() {
        let recent = Recent::default();
        let first = recent.share(Arc::new(0));
        assert!(Arc::ptr_eq(&first, &recent.share(Arc::new(0))));
        for number in 0..10 * SLOTS {
            assert_eq!(*recent.share(Arc::new(number)), number);
        }
    }
}
