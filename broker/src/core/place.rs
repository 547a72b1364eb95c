//! Pure: this broker's part in a journal, as the assignments have it.

use std::sync::Arc;

use courant_proto::route::Route;

/// Who holds a journal, and as what this broker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// All members, without endpoints.
    pub(crate) route: Arc<Route>,
    pub(crate) is_primary: bool,
    /// The assignments say that the members were synchronised in this route.
    pub(crate) is_noted: bool,
    /// The revision at which it was so.
    pub(crate) revision: i64,
}

impl Place {
    /// Whether others hold the journal too.
    pub(crate) fn has_peers(&self) -> bool {
        self.route.members().len() > 1
    }
}
