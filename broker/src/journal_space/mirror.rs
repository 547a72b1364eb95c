//! The cluster's keys as they become: the mirror, in this crate's words.

use std::sync::Arc;

use courant_keyspace::{Config, Error, Feed, Mirror, Snapshot};
use etcd_client::Client;
use tokio::sync::watch;

use super::Space;
use super::decode::{SpaceDecoder, Value};
use super::key::Root;

/// A handle on the picture of a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SpaceMirror {
    root: Arc<Root>,
    mirror: Mirror<Value>,
}

impl SpaceMirror {
    /// Reads the cluster's keys. The feed must run to keep them current.
    pub(crate) async fn load(
        etcd: Client,
        root: Arc<Root>,
        config: Config,
    ) -> Result<(Self, Feed<SpaceDecoder>), Error> {
        let folder = root.folder().as_bytes().to_vec();
        let (mirror, feed) = Mirror::load(etcd, folder, SpaceDecoder::new(Arc::clone(&root)), config).await?;
        Ok((Self { root, mirror }, feed))
    }

    /// A picture that never changes.
    #[cfg(test)]
    pub(crate) fn fixed(space: Space) -> Self {
        Self { root: Arc::clone(space.root()), mirror: Mirror::fixed((**space.snapshot()).clone()) }
    }

    /// The newest picture.
    pub(crate) fn snapshot(&self) -> Arc<Space> {
        Arc::new(Space::new(Arc::clone(&self.root), self.mirror.snapshot()))
    }

    /// The mirror of the keys themselves.
    pub(crate) fn keys(&self) -> &Mirror<Value> {
        &self.mirror
    }

    /// Where the cluster's keys lie.
    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// News of each picture from now on. It closes when the feed ends.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot<Value>>> {
        self.mirror.subscribe()
    }

    /// The first picture that is known to reflect a revision.
    pub(crate) async fn at_least(&self, revision: i64) -> Result<Arc<Space>, Error> {
        let snapshot = self.mirror.at_least(revision).await?;
        Ok(Arc::new(Space::new(Arc::clone(&self.root), snapshot)))
    }
}
