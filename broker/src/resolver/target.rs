//! Pure: which peers can serve a request that is passed on, and which of them first.

use courant_proto::endpoint::Endpoint;
use courant_proto::id::ProcessId;

use super::resolve::Resolution;
use crate::journal_space::Space;

/// A peer that a request can be passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: ProcessId,
    pub(crate) endpoint: Endpoint,
}

/// The peers that a resolution leaves, best first: the one that it names; or all members, those that answer nothing last, those of our own
/// zone first, and of a zone those first that could be reached when they were tried last. A member whose key is gone is none.
pub(crate) fn targets(
    space: &Space,
    resolution: &Resolution,
    me: &ProcessId,
    is_silent: impl Fn(&ProcessId) -> bool,
    has_failed: impl Fn(&Endpoint) -> bool,
) -> Vec<Target> {
    let header = &resolution.header;
    let named = header.process_id.as_ref().map(std::slice::from_ref);
    let candidates = named.unwrap_or_else(|| header.route.members()).iter().filter(|id| *id != me);
    let mut targets: Vec<Target> = candidates
        .filter_map(|id| {
            let endpoint = space.member(id)?.endpoint.clone();
            Some(Target { id: id.clone(), endpoint })
        })
        .collect();
    targets.sort_by_key(|target| {
        (is_silent(&target.id), target.id.zone() != me.zone(), has_failed(&target.endpoint))
    });
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_space::fixture::{Keys, id, me, name, spec};
    use crate::resolver::resolve::{self, Ask};

    #[test]
    fn near_and_reachable_members_come_first() {
        let check = |members: &[&str],
                     gone: &[&str],
                     primary: bool,
                     failed: &[&str],
                     silent: &[&str],
                     expected: &[&str]| {
            let mut keys = Keys::with_members(&["zone-a/self"]);
            keys.item(&spec("a/journal"));
            for (slot, member) in members.iter().enumerate() {
                if !gone.contains(member) {
                    keys.member(&crate::journal_space::fixture::broker(&id(member)));
                }
                keys.assign("a/journal", member, u32::try_from(slot).expect("a slot"), None);
            }
            let space = keys.space();
            let ask =
                Ask { journal: &name("a/journal"), may_proxy: true, require_primary: primary, me: &me() };
            let resolution = resolve::resolve(&space, &ask);
            let has_failed =
                |endpoint: &Endpoint| failed.iter().any(|suffix| endpoint.as_str().contains(suffix));
            let is_silent = |id: &ProcessId| silent.contains(&id.suffix());
            let targets = targets(&space, &resolution, &me(), is_silent, has_failed);
            let ids: Vec<String> = targets.iter().map(|target| target.id.to_string()).collect();
            assert_eq!(ids, expected, "{members:?}");
        };
        let two_zones = ["zone-b/four", "zone-a/five", "zone-a/sixx"];
        check(&two_zones, &[], false, &[], &[], &["zone-a#five", "zone-a#sixx", "zone-b#four"]);
        check(&two_zones, &[], false, &["five"], &[], &["zone-a#sixx", "zone-a#five", "zone-b#four"]);
        check(&two_zones, &[], false, &["five", "sixx"], &[], &["zone-a#five", "zone-a#sixx", "zone-b#four"]);
        check(&two_zones, &[], false, &["sixx"], &["five"], &["zone-a#sixx", "zone-b#four", "zone-a#five"]);
        check(&two_zones, &["zone-a/five"], false, &[], &[], &["zone-a#sixx", "zone-b#four"]);
        check(&two_zones, &[], true, &[], &[], &["zone-b#four"]);
        check(&two_zones, &["zone-b/four"], true, &[], &[], &[]);
    }
}
