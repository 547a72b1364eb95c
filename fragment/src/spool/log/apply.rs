//! What a turn changes: applied when it was written, taken back when it was not.

use std::sync::Arc;

use super::SpoolLog;
use crate::spool::segment::Segment;
use crate::spool::{State, content};

/// What becomes of a spool when its turn was written.
pub(super) enum Change {
    /// Its newest `open` lies in this turn.
    Pinned,
    /// It grew by content in the segment.
    Extent(Extent),
    /// Its content file holds more.
    File(FileChange),
    /// It was written anew: its content file holds more perhaps, and the rest of its content lies here.
    Carried { file: Option<FileChange>, extent: Option<Extent> },
    /// It lost content: all that is left lies in its content file, with these checks of its blocks.
    Cut { in_file: u64, checks: Vec<u32> },
    /// Nothing needs it any more.
    Gone,
}

#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) at: u32,
    pub(super) check: u32,
    pub(super) length: u64,
}

pub(super) struct FileChange {
    pub(super) in_file: u64,
    /// The first block that is new, or that grew.
    pub(super) first: usize,
    pub(super) checks: Vec<u32>,
}

/// How a turn that failed is taken back.
pub(super) enum Undo {
    Created,
    Changed(State),
}

impl SpoolLog {
    /// The turn was written: what it changed counts.
    pub(super) fn apply(&mut self) {
        let Some(own) = self.segments.back_mut() else { return };
        let mut unpinned = false;
        for (id, change) in self.changes.drain(..) {
            if matches!(change, Change::Gone) {
                if let Some(spool) = self.spools.remove(&id) {
                    self.held_bytes -= spool.counted;
                    if let Some(segment) = &spool.pin {
                        segment.unpin();
                        unpinned = true;
                    }
                    if spool.content.has_file() {
                        self.volume.discard_content(id, spool.content);
                    }
                }
                continue;
            }
            let Some(spool) = self.spools.get_mut(&id) else { continue };
            let length = spool.length();
            self.held_bytes = self.held_bytes - std::mem::replace(&mut spool.counted, length) + length;
            let pins = matches!(change, Change::Pinned | Change::Carried { .. } | Change::Cut { .. });
            let segment = &own.segment;
            match change {
                Change::Extent(extent) => spool.content.publish(|layout| extent.publish(layout, segment)),
                Change::File(file) => spool.content.publish(|layout| file.publish(layout)),
                Change::Carried { file, extent } => spool.content.publish(|layout| {
                    match file {
                        Some(file) => file.publish(layout),
                        None => layout.clear_extents(),
                    }
                    if let Some(extent) = extent {
                        extent.publish(layout, segment);
                    }
                }),
                Change::Cut { in_file, checks } => {
                    spool.content.publish(|layout| layout.cut(in_file, &checks));
                }
                Change::Pinned | Change::Gone => {}
            }
            if pins {
                segment.pin();
                own.opened.push(id);
                if let Some(before) = spool.pin.replace(Arc::clone(segment)) {
                    before.unpin();
                    unpinned = true;
                }
            }
        }
        self.undo.clear();
        self.carried.clear();
        self.heads.clear();
        while self.recovered.front().is_some_and(|(_, spools)| spools.is_empty()) {
            self.recovered.pop_front();
        }
        if unpinned {
            self.give_up_segments();
        }
    }

    /// The turn was not written: nothing happened.
    pub(super) fn revert(&mut self) {
        self.changes.clear();
        self.durable.clear();
        while let Some((id, undo)) = self.undo.pop() {
            match undo {
                Undo::Created => {
                    if let Some(spool) = self.spools.remove(&id)
                        && spool.content.has_file()
                    {
                        self.refused.push((id, spool.content));
                    }
                }
                Undo::Changed(state) => {
                    if let Some(spool) = self.spools.get_mut(&id) {
                        spool.state = state;
                        spool.turn = 0;
                    }
                }
            }
        }
        self.requeue();
        self.staging.clear();
        self.discard_refused();
    }

    /// Gives up the content files of spools that were refused. As long as their frames may lie in the segment a process that dies finds
    /// them, and would take content that is not there for damage.
    pub(super) fn discard_refused(&mut self) {
        if self.current.as_ref().is_some_and(|current| current.torn) {
            return;
        }
        for (id, content) in self.refused.drain(..) {
            self.volume.discard_content(id, content);
        }
    }

    /// Gives up the oldest segments that nothing pins.
    fn give_up_segments(&mut self) {
        // Those of earlier processes are older than all of ours.
        if !self.volume.drain_recovered() {
            if self.segments.len() > self.volume.layout().segments {
                self.volume.empty_recovered();
            }
            return;
        }
        while self.segments.len() > 1 && self.segments.front().is_some_and(|own| !own.segment.is_pinned()) {
            if let Some(own) = self.segments.pop_front() {
                self.volume.discard_segment(own.segment);
            }
        }
    }
}

impl Extent {
    fn publish(self, layout: &mut content::Layout, segment: &Arc<Segment>) {
        if self.length > 0 {
            layout.push_extent(segment, self.at, self.check, self.length);
        }
    }
}

impl FileChange {
    fn publish(self, layout: &mut content::Layout) {
        layout.set_file(self.in_file, self.first, &self.checks);
    }
}
