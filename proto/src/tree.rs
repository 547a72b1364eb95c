//! Pure: journal specs as a tree, the form in which people write them and tools print them.
//!
//! Journals are leaves; a directory (a node whose name is empty or ends in `/`) says once what the journals
//! beneath it share. [`Node::parse`] and [`Node::to_yaml`] read and print YAML, [`Node::push_down`] gives every
//! leaf its whole spec, [`Node::hoist`] does the reverse, and [`Node::extract`] finds the directories that a
//! listing of journals implies. It does not know brokers, files, or what is in force.
//!
//! ```
//! use courant_proto::tree::Node;
//!
//! let mut root = Node::parse(
//!     "name: acme/\n\
//!      replication: 3\n\
//!      children:\n\
//!      - name: acme/one\n\
//!      - name: acme/two\n  replication: 1\n",
//! )?;
//! root.push_down();
//! let replications: Vec<_> = root.leaves().map(|leaf| (leaf.name.as_str(), leaf.fields.replication)).collect();
//! assert_eq!(replications, [("acme/one", 3), ("acme/two", 1)]);
//! # Ok::<(), courant_proto::tree::TreeError>(())
//! ```

use thiserror::Error;

use crate::invalid::Invalid;
use crate::name::JournalName;
use crate::wire::journal_spec::Suspend;
pub use fields::Fields;

mod convert;
mod fields;
mod parse;
mod patch;
mod print;
mod shape;
#[cfg(test)]
mod tests;

pub use parse::{MAX_YAML_BYTES, unknown_key};

/// One node: a journal, or a directory of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Free text of whoever wrote the tree.
    pub comment: String,
    /// The journal, or each listed beneath the directory, is to be deleted. Without a value, as the parent.
    pub delete: Option<bool>,
    /// Full name. A directory's is empty or ends in `/`.
    pub name: String,
    /// What a child inherits where it says nothing.
    pub fields: Fields,
    /// Suspension, which belongs to its journal alone and is never inherited.
    pub suspend: Option<Suspend>,
    /// Expected revision of the journal's last change: 0 creates, -1 does not look.
    pub revision: i64,
    /// Of a directory, at least one, in strictly ascending order of names.
    pub children: Vec<Self>,
    /// Whether [`Node::patch`] came by.
    patched: bool,
}

/// Why a text is not a tree of journal specs, and where in the text. Prints as `line:column: reason`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{line}:{column}: {message}")]
pub struct TreeError {
    /// Line, from one.
    pub line: u64,
    /// Column, from one.
    pub column: u64,
    /// What was wrong and what was expected.
    pub message: String,
}

impl Node {
    /// Whether the node holds other nodes rather than being a journal.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        is_directory(&self.name)
    }

    /// The journals of the tree, in order of their names.
    pub fn leaves(&self) -> impl Iterator<Item = &Self> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            loop {
                let node = stack.pop()?;
                if !node.is_directory() {
                    return Some(node);
                }
                stack.extend(node.children.iter().rev());
            }
        })
    }

    /// Checks the rules of shape: where revisions and children may be, how names nest and how they are ordered.
    ///
    /// # Errors
    /// Names the first rule that does not hold, in the context of the children that lead to it.
    pub fn check(&self) -> Result<(), Invalid> {
        for (index, child) in self.children.iter().enumerate() {
            child.check().map_err(|invalid| invalid.at("Children", index))?;
        }
        self.check_here().map_err(|(_, invalid)| invalid)
    }

    /// Checks this node alone, against its children's names. Tells the child that is at fault, if one is.
    fn check_here(&self) -> Result<(), (Option<usize>, Invalid)> {
        if !self.is_directory() {
            JournalName::parse(&self.name).map_err(|invalid| (None, invalid.within("Name")))?;
            if !self.children.is_empty() {
                let text = format!("expected no Children with non-directory Node ({})", self.name);
                return Err((None, Invalid::new(text)));
            }
            return Ok(());
        }
        if self.revision != 0 {
            return Err((None, Invalid::new(format!("unexpected Revision ({})", self.revision))));
        }
        if self.suspend.is_some() {
            return Err((None, Invalid::new("unexpected Suspend (expected it on a journal)")));
        }
        if self.children.is_empty() {
            return Err((None, Invalid::new("expected one or more Children")));
        }
        let mut last: Option<&str> = None;
        for (index, child) in self.children.iter().enumerate() {
            let refuse = |text: String| Err((Some(index), Invalid::new(text)));
            if !child.name.starts_with(&self.name) {
                return refuse(format!(
                    "expected parent Name to prefix child ({} vs {})",
                    self.name, child.name
                ));
            }
            if let Some(last) = last
                && last >= child.name.as_str()
            {
                return refuse(format!(
                    "expected Children to be ordered (ind {index}; {last} vs {})",
                    child.name
                ));
            }
            last = Some(&child.name);
        }
        Ok(())
    }
}

fn is_directory(name: &str) -> bool {
    name.is_empty() || name.ends_with('/')
}
