//! What this process was started with, for stores to find their credentials in.

use courant_fragment::store::Environment;

/// All variables that are text. What is none is no credential.
pub(crate) fn environment() -> Environment {
    let variables = std::env::vars_os();
    Environment::of(
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )
}
