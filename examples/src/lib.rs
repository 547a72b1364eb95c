//! Programs that use the client, one file each beside this crate's manifest; `stream_sum`, in a folder of its own, is one that consumes.
//!
//! ```console
//! $ cargo run -p courant-examples --example append_lines -- examples/foobar < access.log
//! $ cargo run -p courant-examples --example tail -- examples/foobar
//! $ cargo run -p courant-examples --example watch_selector -- app=shop
//! $ cargo run -p courant-examples --example exactly_once -- examples/foobar examples/copy
//! $ cargo run -p courant-examples --example stream_sum
//! ```
//!
//! They speak to the broker that `COURANT_BROKER` names, by default the one on this machine.

use courant_client::{Client, Error};

/// A client of the broker that `COURANT_BROKER` names.
///
/// # Errors
///
/// When it names none.
pub fn client() -> Result<Client, Error> {
    let broker = std::env::var("COURANT_BROKER").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    Client::connect(&broker)
}
