//! The one place that opens channels to brokers and draws entropy; everything else is handed both.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::Error;

/// How far a broker may run ahead of one reader.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// How far it may run ahead of all of them together. A multiple of the stream's, so that a reader which
/// stands still does not hold up the others of the same connection.
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Probes are TCP's own: brokers of the protocol may be strict about HTTP/2 pings and hang up on who sends them.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// A channel that connects when it is first used, and again when it must.
pub(crate) fn channel(address: &str) -> Result<Channel, Error> {
    let refuse = |reason: String| Error::Address { address: address.to_owned(), reason };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|err| refuse(err.to_string()))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(refuse("this build speaks no TLS".to_owned())),
        Some(scheme) => return Err(refuse(format!("unknown scheme {scheme:?}"))),
        None => return Err(refuse("the scheme is missing".to_owned())),
    }
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(refuse("the host is missing".to_owned()));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_IDLE))
        .tcp_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .tcp_keepalive_retries(Some(KEEPALIVE_PROBES))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_lazy())
}

/// A seed for the pauses between attempts, different in every process.
#[expect(
    clippy::disallowed_methods,
    reason = "the seam itself: whoever needs equal runs gives a seed of its own"
)]
pub(crate) fn entropy() -> u64 {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses() {
        let reason = |address: &str| match channel(address) {
            Ok(_) => String::new(),
            Err(Error::Address { reason, .. }) => reason,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(reason("http://localhost:8080"), "");
        assert_eq!(reason("https://localhost"), "this build speaks no TLS");
        assert_eq!(reason("ftp://localhost"), "unknown scheme \"ftp\"");
        assert_eq!(reason("localhost:8080"), "the scheme is missing");
        assert_ne!(reason(""), "");
        assert_ne!(reason("http://"), "");
        assert_ne!(reason("http://a b"), "");
    }
}
