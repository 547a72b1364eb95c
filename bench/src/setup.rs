//! What every bench is given: how long, how often, with what, and where. Knows no bench.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::args::{Common, Generator};
use crate::files;

/// Where memory is a file system on Linux.
const TMPFS: &str = "/dev/shm";

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The program that is measured.
    pub(crate) courant: PathBuf,
    /// How many brokers are measured as one.
    pub(crate) brokers: u8,
    /// The etcd of several.
    pub(crate) etcd: PathBuf,
    /// Of each broker, if it was given.
    pub(crate) cores: Option<u32>,
    pub(crate) generator: Generator,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    /// How long one measurement is to last.
    pub(crate) window: Duration,
    parent: PathBuf,
}

/// The settings as they are reported.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    quick: bool,
    rounds: u32,
    seconds: f64,
    brokers: u8,
    generator: Generator,
    cores: Option<u32>,
    data_below: PathBuf,
    release_build: bool,
}

impl Setup {
    /// `measures_broker`: whether the program that is measured must be there.
    pub(crate) fn new(common: &Common, measures_broker: bool) -> Result<Self> {
        let courant = match &common.courant {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .context("cannot tell where this program lies")?
                .with_file_name("courant"),
        };
        ensure!(
            courant.is_file() || !measures_broker,
            "there is no {}: build it with `cargo build --release -p courant-cli`, or say where it is with --courant",
            courant.display()
        );
        ensure!(common.rounds.is_none_or(|rounds| rounds > 0), "--rounds 0: expected at least 1");
        let seconds = common.seconds.unwrap_or(if common.quick { 0.5 } else { 2.0 });
        ensure!(
            seconds.is_finite() && (0.05..=600.0).contains(&seconds),
            "--seconds {seconds}: expected 0.05 to 600"
        );
        let parent = match (&common.data_dir, common.tmpfs) {
            (Some(_), true) => bail!("--data-dir and --tmpfs: leave one of them out"),
            (Some(folder), false) => folder.clone(),
            (None, true) => PathBuf::from(TMPFS),
            (None, false) => std::env::temp_dir(),
        };
        ensure!(parent.is_dir(), "{} is not a folder: make it first", parent.display());
        Ok(Self {
            courant,
            brokers: common.brokers,
            etcd: common.etcd.clone().unwrap_or_else(|| "etcd".into()),
            cores: common.cores,
            generator: common.generator,
            rounds: common.rounds.unwrap_or(3),
            quick: common.quick,
            window: Duration::from_secs_f64(seconds),
            parent,
        })
    }

    /// A folder for the brokers of one run and the files of its generator. It is removed when this is dropped.
    pub(crate) fn home(&self) -> Result<Home> {
        let folder = tempfile::Builder::new()
            .prefix("courant-bench-")
            .tempdir_in(&self.parent)
            .with_context(|| format!("cannot create a folder in {}", self.parent.display()))?;
        files::create_folder(&folder.path().join("data"))?;
        Ok(Home { folder })
    }

    /// What there is to say below a table if several brokers were measured.
    pub(crate) fn cluster_note(&self) -> Option<String> {
        (self.brokers > 1).then(|| {
            format!(
                "{0} brokers, and every journal has {0} replicas: CPU and RSS are those of all of them, without the etcd's.",
                self.brokers
            )
        })
    }

    pub(crate) fn described(&self) -> Described {
        Described {
            quick: self.quick,
            rounds: self.rounds,
            seconds: self.window.as_secs_f64(),
            brokers: self.brokers,
            generator: self.generator,
            cores: self.cores,
            data_below: self.parent.clone(),
            release_build: !cfg!(debug_assertions),
        }
    }
}

/// A folder of our own.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// Where the broker keeps its state.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder of our own beside it, which is made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.file(name);
        files::create_folder(&folder)?;
        Ok(folder)
    }

    /// A file beside it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
