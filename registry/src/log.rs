//! The log and its snapshots in a folder: recovered at start, appended to, rolled, and cut behind a snapshot.
//!
//! Files are named by record numbers, which count every record ever written: `{first}.log` holds records from
//! `first` on, `{last}.snapshot` the state after record `last`, both in sixteen hex digits. Recovery takes the
//! newest snapshot and the records after it. Everything here blocks; it knows nothing of the records' meaning.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::Error;
use crate::frame::{self, Batch, HEADER_LEN, Kind};
use crate::record::{Fact, Record};
use crate::state::Identity;

/// Records of a snapshot that share a batch.
const SNAPSHOT_BATCH: usize = 512;

/// The end of the log, ready to be appended to.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    identity: Identity,
    file: Box<dyn File>,
    /// Name of `file`.
    name: String,
    /// Number of the next record.
    next: u64,
    /// Bytes of log since the last snapshot.
    len: u64,
    buffer: Vec<u8>,
    /// True once a write or sync failed: what the disk holds is unknown from then on.
    broken: bool,
}

/// What a folder held.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) identity: Identity,
    /// Everything remembered, oldest first.
    pub(crate) facts: Vec<Fact>,
    pub(crate) log: Log,
    /// Bytes of a torn write that were cut off the end.
    pub(crate) cut: u64,
}

/// Reads a folder and gets it ready for more. `fresh` is who a new registry is.
pub(crate) fn recover(disk: Arc<dyn Disk>, fresh: Identity) -> Result<Recovered, Error> {
    let names = disk.list().map_err(fault(&*disk, "", "list the folder"))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        // A snapshot that was not finished; its log is still there.
        disk.remove(name).map_err(fault(&*disk, name, "remove"))?;
    }
    let snapshots = numbered(&names, ".snapshot");
    let mut logs = numbered(&names, ".log");
    let mut facts = Vec::new();
    let mut identity = None;
    let mut next = 1;
    if let Some(&last) = snapshots.last() {
        identity = Some(read_snapshot(&*disk, last, &mut facts)?);
        next = last.saturating_add(1);
    }
    // Logs that end before the snapshot does are what a crash kept from being removed.
    while logs.get(1).is_some_and(|&second| second <= next) {
        let name = log_name(logs.remove(0));
        disk.remove(&name).map_err(fault(&*disk, &name, "remove"))?;
    }
    for &old in snapshots.iter().rev().skip(1) {
        let name = snapshot_name(old);
        disk.remove(&name).map_err(fault(&*disk, &name, "remove"))?;
    }
    if let Some(first) = logs.first().filter(|&&first| first > next) {
        let because = format!("{} goes on at record {first}", log_name(*first));
        return Err(Error::Missing { path: disk.path(&log_name(next)), because });
    }
    if logs.is_empty() && identity.is_some() {
        let because = "the snapshot before it exists".to_owned();
        return Err(Error::Missing { path: disk.path(&log_name(next)), because });
    }

    let wanted = next;
    let (mut len, mut cut) = (0, 0);
    let mut open: Option<(String, u64)> = None;
    for (index, &first) in logs.iter().enumerate() {
        let name = log_name(first);
        if index > 0 && first != next {
            let because = format!("{name} goes on at record {first}");
            return Err(Error::Missing { path: disk.path(&log_name(next)), because });
        }
        next = first;
        let is_last = index + 1 == logs.len();
        let bytes = disk.read(&name).map_err(fault(&*disk, &name, "read"))?;
        let damaged = |offset: usize, what: String| Error::Damaged {
            path: disk.path(&name),
            offset: offset as u64,
            what,
        };
        let owner = match frame::parse_header(Kind::Log, &bytes) {
            Ok((owner, named)) if named == first && identity.is_none_or(|known| known == owner) => owner,
            Ok(_) => return Err(damaged(0, "the header belongs to another registry's log".to_owned())),
            // The header is durable before the first batch is written: a lone, short one was never used.
            Err(_) if is_last && bytes.len() <= HEADER_LEN => {
                cut = bytes.len() as u64;
                open = None;
                break;
            }
            Err(what) => return Err(damaged(0, what.to_owned())),
        };
        identity = Some(owner);
        let mut at = HEADER_LEN;
        loop {
            match frame::read_batch(&bytes, at, owner, next) {
                Batch::Whole { records, next: after } => {
                    for record in records {
                        if next >= wanted {
                            let what = || damaged(at, format!("record {next} is of no known kind"));
                            facts.push(record.fact.ok_or_else(what)?);
                        }
                        next = next.saturating_add(1);
                    }
                    at = after;
                }
                Batch::End => break,
                Batch::Torn if is_last => {
                    cut = (bytes.len() - at) as u64;
                    break;
                }
                Batch::Torn => {
                    return Err(damaged(at, "the file ends within a batch, but its log goes on".to_owned()));
                }
                Batch::Damaged { later } => {
                    let what =
                        format!("a batch fails its checksum, although a sound one follows at byte {later}");
                    return Err(damaged(at, what));
                }
                Batch::Foreign(what) => return Err(damaged(at, what)),
            }
        }
        len += at as u64;
        open = Some((name, at as u64));
    }
    if next < wanted {
        let because = format!("{} includes it", snapshot_name(wanted.saturating_sub(1)));
        return Err(Error::Missing { path: disk.path(&log_name(next)), because });
    }

    let identity = identity.unwrap_or(fresh);
    let (name, file) = match open {
        Some((name, at)) => {
            let mut file = disk.open(&name, at).map_err(fault(&*disk, &name, "open"))?;
            if cut > 0 {
                file.sync().map_err(fault(&*disk, &name, "sync"))?;
            }
            (name, file)
        }
        None => create_log(&*disk, identity, next)?,
    };
    let log = Log { disk, identity, file, name, next, len, buffer: Vec::new(), broken: false };
    Ok(Recovered { identity, facts, log, cut })
}

impl Log {
    /// Number of the last record written.
    pub(crate) const fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Bytes of log since the last snapshot.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Makes records durable, all of them by one sync. A failure is final: the log takes no more after it.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let fault = fault(&*self.disk, &self.name, "append to");
        if self.broken {
            return Err(fault(io::Error::other("an earlier write or sync failed")));
        }
        self.buffer.clear();
        frame::push_batch(&mut self.buffer, self.identity, self.next, records);
        self.broken = true;
        self.file.append(&self.buffer).map_err(fault)?;
        self.file.sync().map_err(|source| Error::Disk {
            path: self.disk.path(&self.name),
            action: "sync",
            source,
        })?;
        self.broken = false;
        self.next = self.next.saturating_add(records.len() as u64);
        self.len += self.buffer.len() as u64;
        // One great batch must not keep its memory for ever.
        self.buffer.shrink_to(1 << 20);
        Ok(())
    }

    /// Goes on in a new file, so that those before it can be dropped once a snapshot holds their records.
    /// Returns what writes that snapshot.
    pub(crate) fn roll(&mut self) -> Result<Snapshotter, Error> {
        let (name, file) = create_log(&*self.disk, self.identity, self.next)?;
        self.name = name;
        self.file = file;
        self.len = 0;
        Ok(Snapshotter { disk: Arc::clone(&self.disk), identity: self.identity, last: self.last() })
    }
}

/// Writes the state after the last record before a roll.
#[derive(Debug)]
pub(crate) struct Snapshotter {
    disk: Arc<dyn Disk>,
    identity: Identity,
    last: u64,
}

impl Snapshotter {
    /// Writes and syncs the snapshot under a name that does not count yet, then names it, then drops what it
    /// makes superfluous. An error leaves the log as it was, longer than need be.
    pub(crate) fn write(self, facts: Vec<Fact>) -> Result<u64, Error> {
        let disk = &*self.disk;
        let name = snapshot_name(self.last);
        let temporary = format!("{name}.tmp");
        let mut file = disk.create(&temporary).map_err(fault(disk, &temporary, "create"))?;
        let mut bytes = frame::header(Kind::Snapshot, self.identity, self.last);
        let mut len = 0;
        let mut number = 1_u64;
        let end = Fact::End(facts.len() as u64);
        let mut facts = facts.into_iter().chain([end]).map(Record::from).peekable();
        while facts.peek().is_some() {
            let batch: Vec<Record> = facts.by_ref().take(SNAPSHOT_BATCH).collect();
            frame::push_batch(&mut bytes, self.identity, number, &batch);
            number = number.saturating_add(batch.len() as u64);
            file.append(&bytes).map_err(fault(disk, &temporary, "write"))?;
            len += bytes.len() as u64;
            bytes.clear();
        }
        file.sync().map_err(fault(disk, &temporary, "sync"))?;
        disk.rename(&temporary, &name).map_err(fault(disk, &temporary, "rename"))?;
        disk.sync_folder().map_err(fault(disk, "", "sync the folder"))?;

        let names = disk.list().map_err(fault(disk, "", "list the folder"))?;
        let logs = numbered(&names, ".log").into_iter().filter(|&first| first <= self.last).map(log_name);
        let snapshots =
            numbered(&names, ".snapshot").into_iter().filter(|&last| last < self.last).map(snapshot_name);
        for name in logs.chain(snapshots) {
            disk.remove(&name).map_err(fault(disk, &name, "remove"))?;
        }
        Ok(len)
    }
}

fn read_snapshot(disk: &dyn Disk, last: u64, facts: &mut Vec<Fact>) -> Result<Identity, Error> {
    let name = snapshot_name(last);
    let bytes = disk.read(&name).map_err(fault(disk, &name, "read"))?;
    let damaged =
        |offset: usize, what: String| Error::Damaged { path: disk.path(&name), offset: offset as u64, what };
    let identity = match frame::parse_header(Kind::Snapshot, &bytes) {
        Ok((identity, named)) if named == last => identity,
        Ok(_) => return Err(damaged(0, "the header and the file's name disagree".to_owned())),
        Err(what) => return Err(damaged(0, what.to_owned())),
    };
    let mut at = HEADER_LEN;
    let mut number = 1_u64;
    loop {
        match frame::read_batch(&bytes, at, identity, number) {
            Batch::Whole { records, next } => {
                number = number.saturating_add(records.len() as u64);
                for record in records {
                    let what = || damaged(at, "a record is of no known kind".to_owned());
                    facts.push(record.fact.ok_or_else(what)?);
                }
                at = next;
            }
            Batch::End => break,
            // A snapshot gets its name when all of it is durable: nothing in it may be torn.
            Batch::Torn | Batch::Damaged { .. } => {
                return Err(damaged(at, "a batch fails its checksum".to_owned()));
            }
            Batch::Foreign(what) => return Err(damaged(at, what)),
        }
    }
    match facts.pop() {
        Some(Fact::End(count)) if count == facts.len() as u64 => Ok(identity),
        _ => Err(damaged(at, "the snapshot ends too early".to_owned())),
    }
}

fn create_log(disk: &dyn Disk, identity: Identity, first: u64) -> Result<(String, Box<dyn File>), Error> {
    let name = log_name(first);
    let mut file = disk.create(&name).map_err(fault(disk, &name, "create"))?;
    file.append(&frame::header(Kind::Log, identity, first)).map_err(fault(disk, &name, "write"))?;
    file.sync().map_err(fault(disk, &name, "sync"))?;
    disk.sync_folder().map_err(fault(disk, "", "sync the folder"))?;
    Ok((name, file))
}

fn log_name(first: u64) -> String {
    format!("{first:016x}.log")
}

fn snapshot_name(last: u64) -> String {
    format!("{last:016x}.snapshot")
}

/// The numbers of the files with an ending, sorted. Other files in the folder are none of ours.
fn numbered(names: &[String], ending: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(ending).filter(|digits| digits.len() == 16))
        .filter_map(|digits| u64::from_str_radix(digits, 16).ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn fault(disk: &dyn Disk, name: &str, action: &'static str) -> impl Fn(io::Error) -> Error + use<> {
    let path = disk.path(name);
    move |source| Error::Disk { path: path.clone(), action, source }
}

#[cfg(test)]
mod tests;
