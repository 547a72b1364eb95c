//! Pure: the transformations between a list of whole specs and a tree that says each thing once.
//! It does not know YAML, nor the wire.

use super::{Node, is_directory};

/// Most directories above a journal that are made of a listing: fewer than a reader of YAML takes, whatever the
/// names look like. Beneath the last, journals stand with their full names as ever.
const MAX_DIRECTORIES: usize = 24;

impl Node {
    /// Gives each journal what its directories say and it does not, and leaves the directories empty.
    pub fn push_down(&mut self) {
        if !self.is_directory() {
            return;
        }
        let (delete, fields) = (self.delete.take(), std::mem::take(&mut self.fields));
        for child in &mut self.children {
            child.fields = child.fields.or(&fields);
            child.delete = child.delete.or(delete);
            child.push_down();
        }
    }

    /// Moves what all children of a directory say up into the directory, from the journals to the root.
    pub fn hoist(&mut self) {
        let (delete, fields) = (self.delete.take(), std::mem::take(&mut self.fields));
        for child in &mut self.children {
            child.hoist();
            // What the directory said so far holds for its children, before they are compared.
            child.fields = child.fields.or(&fields);
            child.delete = child.delete.or(delete);
        }
        let Some((first, rest)) = self.children.split_first() else {
            (self.delete, self.fields) = (delete, fields);
            return;
        };
        self.fields = rest.iter().fold(first.fields.clone(), |common, child| common.common(&child.fields));
        self.delete = first.delete.filter(|_| rest.iter().all(|child| child.delete == first.delete));
        for child in &mut self.children {
            child.fields = child.fields.without(&self.fields);
            if self.delete.is_some() {
                child.delete = None;
            }
        }
    }

    /// Groups journals under the directories that their names share, the longest first. Several journals that
    /// share none stand under a root without a name. There is no tree of no journals.
    #[must_use]
    pub fn extract(mut journals: Vec<Self>) -> Option<Self> {
        journals.sort_by(|a, b| a.name.cmp(&b.name));
        // One shared prefix between each pair of neighbours holds the whole tree.
        let shared: Vec<usize> =
            journals.windows(2).map(|pair| shared_directory(&pair[0].name, &pair[1].name)).collect();
        (!journals.is_empty()).then(|| group(journals, &shared, 1))
    }
}

/// Makes one node of neighbours, given the length of the directory that each shares with the next.
fn group(mut nodes: Vec<Node>, shared: &[usize], depth: usize) -> Node {
    let Some(&shortest) = shared.iter().min() else {
        // One node has no neighbour to share with.
        return nodes.pop().unwrap_or_default();
    };
    let name = nodes[0].name[..shortest].to_owned();
    if depth == MAX_DIRECTORIES {
        return Node { name, children: nodes, ..Node::default() };
    }
    let mut children = Vec::new();
    let mut rest = nodes.into_iter();
    for run in shared.split(|length| *length == shortest) {
        children.push(group(rest.by_ref().take(run.len() + 1).collect(), run, depth + 1));
    }
    debug_assert!(is_directory(&name), "a shared directory ends where a name has a slash");
    Node { name, children, ..Node::default() }
}

/// Length of the longest directory that is a prefix of both names. A last component that both have is no
/// directory, however equal it is.
pub(super) fn shared_directory(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.as_bytes()[..equal].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
}
