//! Content that arrives in chunks, kept whole until it is committed: in the buffers it came in, as long as the process's budget has
//! room for it, else in a scratch file.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::receive::Content;
use crate::scratch::{Budget, Scratch};

/// Content so far.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    chunks: Vec<Bytes>,
    share: Option<OwnedSemaphorePermit>,
    scratch: Option<Scratch>,
    length: u64,
}

impl Gathering {
    /// Adds content.
    ///
    /// # Errors
    /// When memory has no room for it and the disk refuses: what was gathered is of no use any more.
    pub(crate) fn push(&mut self, content: Bytes, budget: &Budget) -> Result<(), Status> {
        self.length += content.len() as u64;
        if let Some(scratch) = &mut self.scratch {
            return scratch.write(&content);
        }
        if budget.take(&mut self.share, self.length) {
            self.chunks.push(content);
            return Ok(());
        }
        let mut scratch = budget.scratch()?;
        for chunk in self.chunks.drain(..) {
            scratch.write(&chunk)?;
        }
        self.share = None;
        scratch.write(&content)?;
        self.scratch = Some(scratch);
        Ok(())
    }

    /// Bytes so far.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// All of it.
    pub(crate) fn finish(self) -> Content {
        match self.scratch {
            Some(scratch) => Content::Scratch { file: scratch.into_file() },
            None => Content::Memory { chunks: self.chunks, share: self.share },
        }
    }
}
