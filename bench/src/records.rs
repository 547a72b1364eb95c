//! Pure: records of one size that begin with the time at which they were written, and how they are found again
//! in a journal that comes in pieces.

/// Bytes of the time at a record's begin.
const STAMP_BYTES: usize = 8;

/// A record of `size` bytes that was written at this many nanoseconds. Time zero marks one that is not counted.
pub(crate) fn record(size: usize, nanos: u64) -> Vec<u8> {
    let mut record = vec![b'.'; size.max(STAMP_BYTES)];
    record[..STAMP_BYTES].copy_from_slice(&nanos.to_be_bytes());
    record
}

/// Where in a journal of such records a reader is.
#[derive(Debug)]
pub(crate) struct Cursor {
    size: usize,
    within: usize,
    stamp: [u8; STAMP_BYTES],
}

impl Cursor {
    /// At the begin of a record.
    pub(crate) fn new(size: usize) -> Self {
        Self { size: size.max(STAMP_BYTES), within: 0, stamp: [0; STAMP_BYTES] }
    }

    /// Takes the next bytes, and tells the time of each record that is complete with them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut complete: impl FnMut(u64)) {
        while !bytes.is_empty() {
            let taken = bytes.len().min(self.size - self.within);
            let (part, rest) = bytes.split_at(taken);
            if self.within < STAMP_BYTES {
                let stamped = part.len().min(STAMP_BYTES - self.within);
                self.stamp[self.within..self.within + stamped].copy_from_slice(&part[..stamped]);
            }
            self.within += taken;
            if self.within == self.size {
                self.within = 0;
                complete(u64::from_be_bytes(self.stamp));
            }
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_however_they_are_cut() {
        let stamps = [1, 0, 77, u64::MAX, 5];
        let journal: Vec<u8> = stamps.iter().flat_map(|stamp| record(20, *stamp)).collect();
        for cut in 1..=journal.len() {
            let (mut cursor, mut found) = (Cursor::new(20), Vec::new());
            for piece in journal.chunks(cut) {
                cursor.feed(piece, |stamp| found.push(stamp));
            }
            assert_eq!(found, stamps, "pieces of {cut}");
        }
    }

    #[test]
    fn a_part_is_no_record() {
        let mut found = Vec::new();
        Cursor::new(20).feed(&record(20, 9)[..19], |stamp| found.push(stamp));
        assert!(found.is_empty());
    }
}
