//! Pure: which processes serve a journal, and which of them is its primary.

#[cfg(test)]
mod tests;
mod text;

use prost::Message;

use crate::endpoint::{self, Endpoint};
use crate::id::{self, ProcessId};
use crate::invalid::{Context, Invalid};
use crate::wire;

/// The members that serve a journal, in ascending order; an index says which is primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    members: Vec<ProcessId>,
    primary: Option<usize>,
    // Empty, or one for each member; none where the member's endpoint is unknown.
    endpoints: Vec<Option<Endpoint>>,
}

impl Route {
    /// The route without members, which an unrouted answer carries.
    pub const fn empty() -> Self {
        Self { members: Vec::new(), primary: None, endpoints: Vec::new() }
    }

    /// A route without endpoints.
    ///
    /// # Errors
    /// When the members are not in ascending order, each once, or the primary is none of them.
    pub fn new(members: Vec<ProcessId>, primary: Option<usize>) -> Result<Self, Invalid> {
        if let Some(index) = members.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(unsorted(index + 1, &members[index + 1], &members[index]));
        }
        if let Some(primary) = primary.filter(|primary| *primary >= members.len()) {
            return Err(bad_primary(primary, members.len()));
        }
        Ok(Self { members, primary, endpoints: Vec::new() })
    }

    /// This route with the endpoint of each member, where it is known.
    #[must_use]
    pub fn with_endpoints(mut self, endpoint_of: impl FnMut(&ProcessId) -> Option<Endpoint>) -> Self {
        self.endpoints = self.members.iter().map(endpoint_of).collect();
        self
    }

    /// This route as the registry keeps it.
    #[must_use]
    pub fn without_endpoints(mut self) -> Self {
        self.endpoints.clear();
        self
    }

    /// The members, ascending.
    pub fn members(&self) -> &[ProcessId] {
        &self.members
    }

    /// The index of the primary among the members.
    pub fn primary(&self) -> Option<usize> {
        self.primary
    }

    /// Who is primary.
    pub fn primary_member(&self) -> Option<&ProcessId> {
        self.members.get(self.primary?)
    }

    /// The endpoint of the primary, where it is known.
    pub fn primary_endpoint(&self) -> Option<&Endpoint> {
        self.endpoint(self.primary?)
    }

    /// The endpoint of a member, where it is known.
    pub fn endpoint(&self, index: usize) -> Option<&Endpoint> {
        self.endpoints.get(index)?.as_ref()
    }

    /// Whether two routes have the same members and the same primary; endpoints do not count.
    pub fn equivalent(&self, other: &Self) -> bool {
        self.members == other.members && self.primary == other.primary
    }

    /// Reads the registry's value: nothing yet, or a route.
    ///
    /// # Errors
    /// When the bytes are no such message, or the route is refused.
    pub fn decode(value: &[u8]) -> Result<Self, Invalid> {
        if value.is_empty() {
            return Ok(Self::empty());
        }
        let route = wire::Route::decode(value).map_err(|error| Invalid::new(error.to_string()))?;
        Self::try_from(route)
    }

    /// The registry's value, without endpoints.
    pub fn encode(&self) -> Vec<u8> {
        wire::Route { endpoints: Vec::new(), ..self.into() }.encode_to_vec()
    }

    /// The compact text form of the message, as HTTP answers carry it in `X-Route-Token`.
    pub fn to_token(&self) -> String {
        text::compact(&self.into())
    }
}

impl wire::Route {
    /// The compact text form of the message, as HTTP answers carry it in `X-Route-Token`.
    pub fn to_token(&self) -> String {
        text::compact(self)
    }
}

impl TryFrom<wire::Route> for Route {
    type Error = Invalid;

    fn try_from(route: wire::Route) -> Result<Self, Invalid> {
        check_wire_route(&route)?;
        let members = route.members.iter().enumerate();
        let endpoint = |text: &String| Endpoint::parse(text).ok();
        Ok(Self {
            members: members
                .map(|(i, id)| ProcessId::try_from(id).at("Members", i))
                .collect::<Result<_, _>>()?,
            primary: usize::try_from(route.primary).ok(),
            endpoints: route.endpoints.iter().map(endpoint).collect(),
        })
    }
}

impl From<&Route> for wire::Route {
    fn from(route: &Route) -> Self {
        let endpoint =
            |endpoint: &Option<Endpoint>| endpoint.as_ref().map_or_else(String::new, Endpoint::to_string);
        Self {
            members: route.members.iter().map(Into::into).collect(),
            // Zero would name a first member, so that a route without primary must say so.
            primary: route.primary.and_then(|primary| i32::try_from(primary).ok()).unwrap_or(-1),
            endpoints: route.endpoints.iter().map(endpoint).collect(),
        }
    }
}

pub(crate) fn check_wire_route(route: &wire::Route) -> Result<(), Invalid> {
    let key = |id: &wire::process_spec::Id| format!("{}#{}", id.zone, id.suffix);
    for (index, id) in route.members.iter().enumerate() {
        id::check_process_id(&id.zone, &id.suffix).at("Members", index)?;
        if let Some(before) = index.checked_sub(1).and_then(|before| route.members.get(before))
            && (&before.zone, &before.suffix) >= (&id.zone, &id.suffix)
        {
            return Err(unsorted(index, key(id), key(before)));
        }
    }
    let count = route.members.len();
    if route.primary < -1 || usize::try_from(route.primary).is_ok_and(|primary| primary >= count) {
        return Err(bad_primary(route.primary, count));
    }
    if !route.endpoints.is_empty() && route.endpoints.len() != count {
        return Err(Invalid::new(format!(
            "len(Endpoints) != 0, and != len(Members) ({} vs {count})",
            route.endpoints.len()
        )));
    }
    for (index, text) in route.endpoints.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        endpoint::check_endpoint(text).at("Endpoints", index)?;
    }
    Ok(())
}

fn unsorted(index: usize, member: impl std::fmt::Display, before: impl std::fmt::Display) -> Invalid {
    Invalid::new(format!("Members not in unique, sorted order (index {index}; {member} <= {before})"))
}

fn bad_primary(primary: impl std::fmt::Display, count: usize) -> Invalid {
    Invalid::new(format!("invalid Primary ({primary}; expected -1 <= Primary < {count})"))
}
