//! Pure: where the URL of a fragment leads. A broker names it, and a broker may be anybody: a path leads down, or nowhere.

use std::path::{Component, Path, PathBuf};

/// Where the object of a fragment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// To be fetched by GET.
    Http {
        url: String,
        /// Scheme, host and port.
        store: String,
    },
    /// A file.
    File(PathBuf),
}

impl Place {
    /// Reads a URL. Files lie below the root, if there is one.
    pub(crate) fn of(url: &str, file_root: Option<&Path>) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("file://") {
            let root = file_root.ok_or("no folder was named that its store lies in (--file-root)")?;
            let path = unescaped(path).ok_or("its path is no text")?;
            let relative = Path::new(path.trim_start_matches('/'));
            let leads_down = relative.components().all(|part| matches!(part, Component::Normal(_)));
            if !leads_down || path.contains('\0') {
                return Err("its path does not lead down from the root".to_owned());
            }
            return Ok(Self::File(root.join(relative)));
        }
        let (scheme, rest) = url.split_once("://").ok_or("it is no URL")?;
        if !matches!(scheme, "http" | "https") {
            return Err(format!("this client fetches nothing by {scheme:?}"));
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // What stands before a host is a secret, and no store's name.
        let host = host.rsplit('@').next().unwrap_or_default();
        if host.is_empty() {
            return Err("its host is missing".to_owned());
        }
        Ok(Self::Http { url: url.to_owned(), store: format!("{scheme}://{host}") })
    }

    /// What stands for all that can or cannot be reached together.
    pub(crate) fn store(&self) -> &str {
        match self {
            Self::Http { store, .. } => store,
            Self::File(_) => "file://",
        }
    }
}

/// A path with its percent escapes decoded.
fn unescaped(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.get(..2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_down_or_nowhere() {
        let root = Path::new("/data");
        let file = |path: &str| Ok(Place::File(PathBuf::from(path)));
        let of = |url| Place::of(url, Some(root));
        assert_eq!(of("file:///a/b%25c/name.gz"), file("/data/a/b%c/name.gz"));
        for bad in
            ["file:///../etc", "file:///a/../../b", "file:///a/%2e%2e/b", "file:///a%00b", "file:///%zz"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(Place::of("file:///a/b", None).is_err());
    }

    #[test]
    fn stores_are_told_apart_by_their_hosts() {
        let store = |url| Place::of(url, None).map(|place| place.store().to_owned());
        assert_eq!(store("https://b.s3.test:9000/k?X-Sig=1").as_deref(), Ok("https://b.s3.test:9000"));
        assert_eq!(store("http://user:pw@host/k").as_deref(), Ok("http://host"));
        for bad in ["ftp://host/k", "http:///k", "nonsense", "gopher://x"] {
            assert!(Place::of(bad, None).is_err(), "{bad}");
        }
    }
}
