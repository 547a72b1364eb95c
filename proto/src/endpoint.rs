//! Pure: where a process is reached.

use std::fmt;
use std::sync::Arc;

use crate::invalid::Invalid;
use crate::uri::{self, Uri};

/// The URL of a process: absolute, with a host. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    /// Checks an endpoint.
    ///
    /// # Errors
    /// When it is no URL, has no scheme or no host.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_endpoint(text)?;
        Ok(Self(text.into()))
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether connections to it are over TLS.
    pub fn is_tls(&self) -> bool {
        self.uri().scheme == "https"
    }

    /// What to dial: `host:port`, with the port of the scheme where the URL has none, or `unix:///path`.
    pub fn dial_address(&self) -> String {
        let Uri { scheme, host, path, .. } = self.uri();
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        match &*scheme {
            "unix" => format!("unix://{path}"),
            "https" if !has_port => format!("{host}:443"),
            "http" if !has_port => format!("{host}:80"),
            _ => host,
        }
    }

    fn uri(&self) -> Uri {
        // It was taken apart when it was made.
        uri::parse(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn check_endpoint(text: &str) -> Result<(), Invalid> {
    let Uri { scheme, host, .. } = uri::parse(text).map_err(Invalid::new)?;
    if scheme.is_empty() {
        return Err(Invalid::new(format!("not absolute: {text}")));
    }
    if host.is_empty() {
        return Err(Invalid::new(format!("missing host: {text}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_endpoints() {
        let check = |text: &str, expected: Result<(), &str>| {
            let got = Endpoint::parse(text).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text:?}");
        };
        check("http://host:8080", Ok(()));
        check("unix://host/a/socket", Ok(()));
        check("/baz/bing", Err("not absolute: /baz/bing"));
        check("", Err("not absolute: "));
        check("http:///bar", Err("missing host: http:///bar"));
        check("http:bar", Err("missing host: http:bar"));
        check(":garbage:", Err(r#"parse ":garbage:": missing protocol scheme"#));
    }

    #[test]
    fn dials() {
        let check = |text: &str, address: &str, tls: bool| {
            let endpoint = Endpoint::parse(text).expect("endpoint");
            assert_eq!((endpoint.dial_address(), endpoint.is_tls()), (address.to_owned(), tls), "{text:?}");
        };
        check("http://host:8080/path", "host:8080", false);
        check("http://host/path", "host:80", false);
        check("https://host", "host:443", true);
        check("https://host:8443", "host:8443", true);
        check("http://[::1]", "[::1]:80", false);
        check("http://[::1]:80", "[::1]:80", false);
        check("unix://host/a/socket", "unix:///a/socket", false);
    }
}
