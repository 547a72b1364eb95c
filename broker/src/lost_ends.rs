//! What this broker had of journals of another registry, that no store may have: how far it went, so that nobody gives those offsets out again.
//!
//! ```text
//!  spools of another cluster, before they are put aside ─┐
//!  content of unknown worth, when a broker is estranged ──┴─► the file `lost-ends` ─► lineage records of the registry that is there now
//! ```
//!
//! The file is of the data folder, and outlives registries: each one is told once, before this broker is a member there. Whoever begins an
//! epoch reads it in the journal's record (`lineage`). What the journal has gone on behind is dropped at the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use courant_fragment::disk::{Disk, Open};
use courant_fragment::spool::ClusterId;
use courant_fragment::spool::recover::ends_elsewhere;
use courant_keyspace::Error as KeyspaceError;
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::journal_space::Root;
use crate::lineage::{self, Lineage, Loss};
use crate::member::{REGISTRY_WITHIN, pause};
use crate::transaction::commit::{Registry, commit, read};
use crate::transaction::{Guard, MOST_WITNESSED, PutLease, Transaction, Write};

/// The file's name, beside the segments of the log.
const NAME: &str = "lost-ends";

/// Ends by journal, and the registry that knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostEnds {
    /// The incarnation that was told of all of them; empty if none was.
    told: String,
    pub(crate) ends: BTreeMap<JournalName, Loss>,
}

impl LostEnds {
    /// Takes in more. Whoever was told of the others has not heard of these.
    pub(crate) fn add(&mut self, ends: impl IntoIterator<Item = (JournalName, Loss)>) -> bool {
        let mut is_news = false;
        for (journal, loss) in ends {
            let known = self.ends.entry(journal).or_default();
            let both = known.and(loss);
            is_news |= both != *known;
            *known = both;
        }
        if is_news {
            self.told.clear();
        }
        is_news
    }

    fn text(&self) -> String {
        let line = |(journal, loss): (&JournalName, &Loss)| {
            let Loss { end, epoch, settled_end, settled_epoch } = loss;
            format!("{end} {epoch} {settled_end} {settled_epoch} {journal}\n")
        };
        format!("told {}\n{}", self.told, self.ends.iter().map(line).collect::<String>())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let told = lines.next()?.strip_prefix("told ")?.to_owned();
        let end = |line: &str| {
            let mut parts = line.splitn(5, ' ');
            let loss = Loss {
                end: parts.next()?.parse().ok()?,
                epoch: parts.next()?.parse().ok()?,
                settled_end: parts.next()?.parse().ok()?,
                settled_epoch: parts.next()?.parse().ok()?,
            };
            Some((JournalName::parse(parts.next()?).ok()?, loss))
        };
        Some(Self { told, ends: lines.map(end).collect::<Option<_>>()? })
    }
}

/// Where they are kept.
#[derive(Clone, Debug)]
pub(crate) struct LostEndsFile {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl LostEndsFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: impl Into<PathBuf>) -> Self {
        Self { disk, folder: folder.into() }
    }

    /// What is kept; nothing if there is no file. It blocks.
    pub(crate) fn read(&self) -> Result<LostEnds, Error> {
        let path = self.folder.join(NAME);
        let fault = |source| courant_fragment::error::Error::Disk {
            doing: "read what was lost with another registry from",
            path: path.clone(),
            source,
        };
        let file = match self.disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LostEnds::default()),
            opened => opened.map_err(fault)?,
        };
        let mut bytes = vec![0; usize::try_from(file.length().map_err(fault)?).unwrap_or(0)];
        let read = file.read_at(&mut bytes, 0).map_err(fault)?;
        bytes.truncate(read);
        let kept = std::str::from_utf8(&bytes).ok().and_then(LostEnds::parse);
        kept.ok_or_else(|| {
            let why = "it is not as it was written; restore it, or remove it where nobody can miss what was lost with another registry";
            fault(io::Error::new(io::ErrorKind::InvalidData, why)).into()
        })
    }

    /// Keeps them, in place of what was kept, whole or not at all. It blocks.
    pub(crate) fn write(&self, lost: &LostEnds) -> Result<(), Error> {
        let (path, draft) = (self.folder.join(NAME), self.folder.join(format!(".{NAME}.draft")));
        let text = lost.text();
        let keep = || {
            let file = self.disk.open(&draft, Open::Write)?;
            file.write_all_at(text.as_bytes(), 0)?;
            file.truncate(text.len() as u64)?;
            file.sync_data()?;
            self.disk.rename(&draft, &path)?;
            self.disk.sync_dir(&self.folder)
        };
        keep().map_err(|source| {
            let doing = "keep what was lost with another registry in";
            courant_fragment::error::Error::Disk { doing, path: path.clone(), source }.into()
        })
    }

    /// Adds to what is kept.
    pub(crate) async fn add(&self, ends: BTreeMap<JournalName, Loss>) -> Result<LostEnds, Error> {
        self.blocking(move |file| {
            let mut lost = file.read()?;
            if lost.add(ends) {
                file.write(&lost)?;
            }
            Ok(lost)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = self.clone();
        tokio::task::spawn_blocking(move || work(&file)).await.map_err(|panic| Error::Ended {
            part: "keeping what was lost with another registry",
            reason: panic.to_string(),
        })?
    }

    /// Sees to it that this registry knows what was lost with others, be it kept, or lying here still in spools of another cluster.
    pub(crate) async fn settle(
        &self,
        registry: &Registry,
        root: &Root,
        cluster: ClusterId,
        seed: u64,
    ) -> Result<(), Error> {
        let left = self.blocking(move |file| Ok(ends_elsewhere(&*file.disk, &file.folder, cluster)?)).await?;
        for (journal, (end, _)) in &left {
            tracing::warn!(%journal, %end, "spools of another registry hold content of the journal that no store may have");
        }
        let left = left.into_iter().map(|(journal, (end, epoch))| (journal, Loss::up_to(end, epoch)));
        let lost = self.add(left.collect()).await?;
        self.tell(registry, root, lost, seed).await
    }

    /// Tells a registry what was lost, unless it knows; what it does not have to know any more is dropped.
    pub(crate) async fn tell(
        &self,
        registry: &Registry,
        root: &Root,
        mut lost: LostEnds,
        seed: u64,
    ) -> Result<(), Error> {
        if lost.ends.is_empty() {
            return Ok(());
        }
        let witness = registry.witness.as_ref().map(|witness| witness.value.as_slice()).unwrap_or_default();
        let witness = String::from_utf8_lossy(witness).into_owned();
        let before = lost.clone();
        if lost.told == witness {
            let records = lineage::load(registry, root, lost.ends.keys().cloned()).await?;
            // A record that says nothing of it any more is of a journal that has gone on behind it; without one the journal was deleted.
            lost.ends.retain(|journal, _| {
                records.get(journal).is_some_and(|record| record.lost_end() > Offset::ZERO)
            });
        } else {
            tell(registry, root, &lost.ends, seed).await?;
            lost.told = witness;
        }
        if lost == before { Ok(()) } else { self.blocking(move |file| file.write(&lost)).await }
    }
}

/// Writes ends into the lineage of their journals.
async fn tell(
    registry: &Registry,
    root: &Root,
    ends: &BTreeMap<JournalName, Loss>,
    seed: u64,
) -> Result<(), KeyspaceError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let give_up = Instant::now() + REGISTRY_WITHIN;
    let ends: Vec<(&JournalName, Loss)> = ends.iter().map(|(journal, loss)| (journal, *loss)).collect();
    for some in ends.chunks(MOST_WITNESSED) {
        let mut tries = 0;
        loop {
            let error = match tell_some(registry, root, some).await {
                Ok(true) => break,
                // Others tell the same at the same time.
                Ok(false) => KeyspaceError::TimedOut { action: telling(), waited: REGISTRY_WITHIN },
                Err(error) => error,
            };
            if !error.is_transient() || Instant::now() >= give_up {
                return Err(error);
            }
            tracing::warn!(%error, "could not tell the registry yet what was lost with another");
            sleep(pause(tries, rng.random())).await;
            tries += 1;
        }
    }
    Ok(())
}

fn telling() -> String {
    "telling what was lost with another registry".to_owned()
}

/// One transaction. False: a record changed under it.
async fn tell_some(
    registry: &Registry,
    root: &Root,
    ends: &[(&JournalName, Loss)],
) -> Result<bool, KeyspaceError> {
    let keys = ends.iter().map(|(journal, _)| root.lineage(journal)).collect();
    let found = read(registry, keys, telling).await?;
    let mut transaction = Transaction::default();
    for ((journal, end), found) in ends.iter().zip(found) {
        let record = match &found {
            None => Lineage::default(),
            Some(found) => match Lineage::read(found.value()) {
                Ok(record) => record,
                // Nothing begins on a record that cannot be read.
                Err(error) => {
                    tracing::error!(%journal, %error, "the lineage of a journal cannot be read");
                    continue;
                }
            },
        };
        let Some(next) = record.losing(*end) else { continue };
        let key = root.lineage(journal);
        let mod_revision = found.map_or(0, |found| found.mod_revision());
        transaction.guards.push(Guard::Unchanged { key: key.clone(), mod_revision });
        transaction.writes.push(Write::Put { key, value: next.encode_to_vec(), lease: PutLease::None });
    }
    if transaction.writes.is_empty() {
        return Ok(true);
    }
    Ok(commit(registry, transaction, telling).await?.succeeded)
}

#[cfg(test)]
mod tests {
    use courant_fragment::disk::MemoryDisk;

    use super::*;
    use crate::journal_space::fixture::*;
    use crate::lineage::record::Epoch;

    fn at(offset: i64) -> Offset {
        Offset::new(offset).expect("not negative")
    }

    fn file() -> LostEndsFile {
        let disk = MemoryDisk::new();
        disk.create_dir_all(std::path::Path::new("spools")).expect("a folder");
        LostEndsFile::new(Arc::new(disk), "spools")
    }

    fn ends(pairs: &[(&str, i64)]) -> BTreeMap<JournalName, Loss> {
        pairs.iter().map(|(journal, end)| (name(journal), Loss::up_to(at(*end), 3))).collect()
    }

    #[tokio::test]
    async fn what_was_lost_is_kept_and_a_second_loss_overwrites_nothing() {
        let file = file();
        assert_eq!(file.read().expect("no file"), LostEnds::default());
        file.add(ends(&[("the/one", 500), ("the/other", 7)])).await.expect("kept");
        file.add(ends(&[("the/one", 300), ("the/third", 1)])).await.expect("kept");
        let kept = file.read().expect("kept").ends;
        assert_eq!(kept, ends(&[("the/one", 500), ("the/other", 7), ("the/third", 1)]));
        let broken = file.disk.open(&file.folder.join(NAME), Open::Write).expect("there");
        broken.truncate(9).expect("cut");
        let refused = file.read().expect_err("it is not whole").to_string();
        assert!(refused.contains("lost-ends") && refused.contains("restore it, or remove it"), "{refused}");
    }

    #[tokio::test]
    async fn each_registry_is_told_once_and_what_was_gone_behind_is_dropped() {
        let (cluster, file) = (Cluster::start().await, file());
        let witness = |value: &str| {
            let registry: Registry = cluster.as_registry();
            let key = b"/courant-x/incarnation".to_vec();
            Registry { witness: Some(courant_keyspace::Witness { key, value: value.into() }), ..registry }
        };
        let registry = witness("0a");
        cluster.put(b"/courant-x/incarnation".to_vec(), b"0a".to_vec()).await;
        let lost_end = async |journal: &str| {
            let found = lineage::load(&cluster.as_registry(), &root(), [name(journal)]).await.expect("read");
            found.get(&name(journal)).map(|record| record.lost_end().get())
        };
        // One that has an epoch already, behind what was lost; and one that is still below.
        for (journal, begin) in [("is/behind", 900), ("is/below", 100)] {
            let epochs = vec![Epoch { number: 1, begin, ..Epoch::default() }];
            let record = Lineage { create_revision: 5, epochs, ..Lineage::default() };
            cluster.put(root().lineage(&name(journal)), record.encode_to_vec()).await;
        }
        let lost = file.add(ends(&[("is/behind", 500), ("is/below", 500), ("is/gone", 500)])).await;
        file.tell(&registry, &root(), lost.expect("kept"), 1).await.expect("told");
        assert_eq!(lost_end("is/behind").await, Some(0));
        assert_eq!(lost_end("is/below").await, Some(500));
        assert_eq!(lost_end("is/gone").await, Some(500));
        // An operator lets the one go on; the next start finds nothing left to keep of it, and tells nothing again.
        let record = Lineage { create_revision: 9, ..Lineage::default() };
        cluster.put(root().lineage(&name("is/below")), record.encode_to_vec()).await;
        let kept = file.read().expect("kept");
        file.tell(&registry, &root(), kept, 1).await.expect("told");
        assert_eq!(file.read().expect("kept").ends, ends(&[("is/gone", 500)]));
        assert_eq!(lost_end("is/below").await, Some(0));
        // Another registry has not heard of it; and nothing is written into one that was exchanged.
        let kept = file.read().expect("kept");
        let exchanged = file.tell(&witness("0b"), &root(), kept.clone(), 1).await.expect_err("another");
        assert!(matches!(&exchanged, Error::Registry(error) if error.is_exchanged()), "{exchanged}");
        cluster.put(b"/courant-x/incarnation".to_vec(), b"0b".to_vec()).await;
        cluster.delete(root().lineage(&name("is/gone"))).await;
        file.tell(&witness("0b"), &root(), kept, 1).await.expect("told");
        assert_eq!(lost_end("is/gone").await, Some(500));
        cluster.stop().await;
    }
}
