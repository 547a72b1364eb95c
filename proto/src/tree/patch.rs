//! Pure: a tree brought to a desired state: journals are patched in one by one, and what was never patched is
//! marked for deletion. It does not know where the desired state comes from.

use super::Node;

impl Node {
    /// Overlays what `leaf` says on the journal of its name, which is added if there is none, and marks it as
    /// visited. A name outside of the root's directory puts a root without a name above both.
    ///
    /// Returns the journal as it is now.
    pub fn patch(&mut self, leaf: Self) -> &mut Self {
        let inside =
            if self.is_directory() { leaf.name.starts_with(&self.name) } else { self.name == leaf.name };
        if !inside {
            let root = std::mem::take(self);
            // A tree of nothing is replaced rather than kept beside the first journal.
            self.children =
                if root.name.is_empty() && root.children.is_empty() { Vec::new() } else { vec![root] };
        }
        self.patch_beneath(leaf)
    }

    /// Marks every journal that was not patched for deletion.
    pub fn mark_unpatched(&mut self) {
        if !self.is_directory() && !self.patched {
            self.delete = Some(true);
        }
        for child in &mut self.children {
            child.mark_unpatched();
        }
    }

    fn patch_beneath(&mut self, leaf: Self) -> &mut Self {
        if !self.is_directory() {
            self.overlay(leaf);
            return self;
        }
        let after = self.children.partition_point(|child| child.name <= leaf.name);
        // The deepest directory among siblings is behind the others.
        let found = self.children[..after].iter().rposition(|child| {
            child.name == leaf.name || (child.is_directory() && leaf.name.starts_with(&child.name))
        });
        match found {
            Some(index) => self.children[index].patch_beneath(leaf),
            None => {
                self.children.insert(after, Self { patched: true, ..leaf });
                &mut self.children[after]
            }
        }
    }

    fn overlay(&mut self, leaf: Self) {
        self.fields = leaf.fields.or(&self.fields);
        if !leaf.comment.is_empty() {
            self.comment = leaf.comment;
        }
        if leaf.revision != 0 {
            self.revision = leaf.revision;
        }
        self.delete = leaf.delete.or(self.delete);
        self.suspend = leaf.suspend.or(self.suspend.take());
        self.patched = true;
    }
}
