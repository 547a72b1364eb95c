//! The entries of a view in order, out of all of its layers.

use std::collections::btree_map;
use std::fmt;
use std::iter::Peekable;

use bytes::Bytes;

use super::disk;
use crate::Error;

type Layer<'a> = Peekable<btree_map::Range<'a, Bytes, Option<Bytes>>>;

/// Entries in the order of their keys. See [`View::scan`](super::View::scan).
pub struct Scan<'a> {
    prefix: &'a [u8],
    open: Layer<'a>,
    frozen: Option<Layer<'a>>,
    disk: Peekable<disk::Entries>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        prefix: &'a [u8],
        open: btree_map::Range<'a, Bytes, Option<Bytes>>,
        frozen: Option<btree_map::Range<'a, Bytes, Option<Bytes>>>,
        disk: disk::Entries,
    ) -> Self {
        Self { prefix, open: open.peekable(), frozen: frozen.map(Iterator::peekable), disk: disk.peekable() }
    }

    /// The next entry, with none for one that was removed.
    fn step(&mut self) -> Option<Result<(Bytes, Option<Bytes>), Error>> {
        if let Some(Err(_)) = self.disk.peek() {
            return self.disk.next().map(|failed| failed.map(|(key, value)| (key, Some(value))));
        }
        let open = self.open.peek().map(|(key, _)| (*key).clone());
        let frozen = self.frozen.as_mut().and_then(|layer| layer.peek()).map(|(key, _)| (*key).clone());
        let disk = self.disk.peek().and_then(|entry| entry.as_ref().ok()).map(|(key, _)| key.clone());
        let first = [&open, &frozen, &disk].into_iter().flatten().min()?.clone();
        // All layers move on behind the key; the uppermost one that has it says what it is.
        let of_disk = if disk.as_ref() == Some(&first) { self.disk.next() } else { None };
        let of_frozen = match &mut self.frozen {
            Some(layer) if frozen.as_ref() == Some(&first) => layer.next(),
            _ => None,
        };
        let of_open = if open.as_ref() == Some(&first) { self.open.next() } else { None };
        let change = of_open.or(of_frozen).map(|(_, change)| change.clone());
        Some(Ok((first, change.unwrap_or_else(|| of_disk.and_then(Result::ok).map(|(_, value)| value)))))
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Err(error) => return Some(Err(error)),
                Ok((key, _)) if !key.starts_with(self.prefix) => return None,
                Ok((key, Some(value))) => return Some(Ok((key, value))),
                Ok((_, None)) => {}
            }
        }
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("prefix", &Bytes::copy_from_slice(self.prefix)).finish_non_exhaustive()
    }
}
