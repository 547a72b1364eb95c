//! Fragments read from a store's folder with nothing of ours: by the programs that people have, or by the libraries
//! that those are made of.
#![expect(clippy::disallowed_methods, reason = "the seam at which tests read a store's folder")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha1::{Digest as _, Sha1};

/// A fragment as its file says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Of its first byte.
    pub begin: u64,
    /// Of the byte after its last.
    pub end: u64,
    /// Of its content, as 40 digits.
    pub sum: String,
    /// With its dot, or empty.
    pub extension: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// The fragments of a journal in a store's folder, by their offsets, the longer first.
pub fn fragments(root: &Path, journal: &str) -> Vec<Stored> {
    let mut stored = Vec::new();
    walk(&root.join(journal), &mut stored);
    stored.sort_by_key(|fragment| (fragment.begin, std::cmp::Reverse(fragment.end)));
    stored
}

/// Offsets of the fragments of a journal, while others may be staging more of them.
pub fn spans(root: &Path, journal: &str) -> BTreeSet<(u64, u64)> {
    let mut paths = Vec::new();
    files(&root.join(journal), &mut paths);
    paths.iter().filter_map(|path| parse(path)).map(|stored| (stored.begin, stored.end)).collect()
}

fn walk(folder: &Path, stored: &mut Vec<Stored>) {
    let mut paths = Vec::new();
    files(folder, &mut paths);
    let parsed =
        |path: &PathBuf| parse(path).unwrap_or_else(|| panic!("{} is no name of a fragment", path.display()));
    stored.extend(paths.iter().map(parsed));
}

fn files(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, paths) } else { paths.push(path) }
    }
}

/// `begin-end-sum.ext`, the offsets as 16 digits in base 16.
fn parse(path: &Path) -> Option<Stored> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = name.split_at(name.find('.').unwrap_or(name.len()));
    let [begin, end, sum] = stem.split('-').collect::<Vec<_>>().try_into().ok()?;
    let offset = |digits: &str| (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?;
    (sum.len() == 40).then_some(())?;
    Some(Stored {
        begin: offset(begin)?,
        end: offset(end)?,
        sum: sum.to_owned(),
        extension: extension.to_owned(),
        path: path.to_owned(),
    })
}

/// A file as it is.
pub fn bytes(stored: &Stored) -> Vec<u8> {
    std::fs::read(&stored.path).expect("a fragment")
}

/// The content of a file, by the program of its extension if this machine has it.
pub fn decoded(stored: &Stored) -> Vec<u8> {
    let program = match &*stored.extension {
        "" | ".raw" => "cat",
        ".gz" => "zcat",
        ".zst" => "zstdcat",
        _ => return by_library(stored),
    };
    match Command::new(program).arg(&stored.path).stderr(Stdio::piped()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        }
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => by_library(stored),
        Err(error) => panic!("{program}: {error}"),
    }
}

fn by_library(stored: &Stored) -> Vec<u8> {
    let file = std::fs::File::open(&stored.path).expect("a fragment");
    let mut content = Vec::new();
    let read = match &*stored.extension {
        "" | ".raw" => { file }.read_to_end(&mut content),
        ".gz" => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut content),
        ".zst" => zstd::Decoder::new(file).and_then(|mut decoder| decoder.read_to_end(&mut content)),
        ".sz" => snap::read::FrameDecoder::new(file).read_to_end(&mut content),
        other => panic!("no program for {other}"),
    };
    read.unwrap_or_else(|error| panic!("{}: {error}", stored.path.display()));
    content
}

/// All fragments, each checked against its name: where they begin, and what they hold.
pub fn stored(root: &Path, journal: &str) -> Vec<(u64, Vec<u8>)> {
    let checked = |stored: Stored| {
        let part = decoded(&stored);
        assert_eq!(stored.end - stored.begin, part.len() as u64, "the length of {stored:?}");
        let sum: String = Sha1::digest(&part).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(stored.sum, sum, "the SHA-1 of {stored:?}");
        (stored.begin, part)
    };
    fragments(root, journal).into_iter().map(checked).collect()
}

/// Joins all fragments, each checked against its name. They must tile the journal from offset zero on.
pub fn concatenated(root: &Path, journal: &str) -> Vec<u8> {
    let mut content = Vec::new();
    for (begin, part) in stored(root, journal) {
        assert_eq!(begin, content.len() as u64, "a fragment of {journal} does not follow the one before it");
        content.extend(part);
    }
    content
}

/// What all fragments together hold, from offset zero on. Brokers that store at the same time may leave fragments that overlap;
/// each must hold what its name says, and all must agree.
///
/// # Errors
/// A fragment that is not what its name says, that differs from another, or that leaves a gap before it.
pub fn assembled(root: &Path, journal: &str) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    for stored in fragments(root, journal) {
        let part = decoded(&stored);
        let (begin, end) = (place(stored.begin), place(stored.end));
        let sum: String = Sha1::digest(&part).iter().map(|byte| format!("{byte:02x}")).collect();
        if end - begin != part.len() || stored.sum != sum {
            return Err(format!(
                "{} holds {} bytes with the digest {sum}",
                stored.path.display(),
                part.len()
            ));
        }
        if begin > content.len() {
            return Err(format!("nothing is stored from {} to {begin}", content.len()));
        }
        let known = content.len().min(end) - begin;
        if content[begin..begin + known] != part[..known] {
            return Err(format!("{} differs from the fragments before it", stored.path.display()));
        }
        content.extend(&part[known..]);
    }
    Ok(content)
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("journals of tests fit into memory")
}
