//! Journals over plain HTTP, for anyone with `curl`.
//!
//! Any path whose first segment is not reserved names a journal:
//!
//! ```console
//! $ curl -X PUT --data-binary @events.ndjson http://localhost:8080/acme/events     # one append, whole or not at all
//! $ curl  'http://localhost:8080/acme/events?offset=7'                             # from byte 7 to the end
//! $ curl -N 'http://localhost:8080/acme/events?offset=-1&block=true'               # from the end on, as it comes
//! $ curl -I 'http://localhost:8080/acme/events'                                    # where it is, and how long
//! ```
//!
//! Journals that begin with a reserved segment (`v1`, `healthz`, `alive`, `metrics`, `debug`, `console`) are
//! reached below `/v1/journals/`, as every journal is:
//!
//! ```console
//! $ curl 'http://localhost:8080/v1/journals?selector=app=shop'                     # a listing, as JSON
//! $ curl 'http://localhost:8080/v1/journals/acme/events?offset=7'                  # the same as /acme/events
//! $ curl 'http://localhost:8080/v1/journals/acme/events:spec'
//! $ curl 'http://localhost:8080/v1/journals/acme/events:fragments'
//! $ curl -X POST http://localhost:8080/v1/journals/list -d '{"watch":true}'        # one JSON object per line
//! $ curl -X POST http://localhost:8080/v1/journals/read -d '{"journal":"acme/events"}'
//! ```
//!
//! A [`Gateway`] is a client that speaks HTTP: it reaches brokers through `courant_client` alone, knows no
//! sockets, and lays no limits on connections; whoever serves its [`router`](Gateway::router) does.

mod append;
mod config;
mod error;
mod headers;
mod listing;
mod metrics;
mod query;
mod read;
mod router;
mod rows;
mod target;

pub use self::config::{Config, Readiness};
pub use self::metrics::Metrics;
pub use self::router::Gateway;
