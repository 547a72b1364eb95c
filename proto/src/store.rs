//! Pure: URLs of fragment stores.
//!
//! Two stores are the same when their texts are, arguments included. It opens nothing and knows no credentials.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::invalid::Invalid;
use crate::uri::{self, Uri};

/// What kind of store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreScheme {
    /// `s3://bucket/prefix/`
    S3,
    /// `gs://bucket/prefix/`
    Gs,
    /// `azure://container/prefix/`
    Azure,
    /// `azure-ad://tenant/account/container/prefix/`
    AzureAd,
    /// `file:///prefix/`
    File,
}

#[derive(Debug)]
struct Parts {
    text: Box<str>,
    scheme: StoreScheme,
    host: Box<str>,
    path: Box<str>,
    query: Box<str>,
}

/// The URL of a fragment store. Cheap to clone; equal and ordered as its text.
#[derive(Clone)]
pub struct StoreUrl(Arc<Parts>);

impl StoreUrl {
    /// Checks a store's URL.
    ///
    /// # Errors
    /// When it is no URL, has no scheme or an unknown one, lacks what its scheme needs, or its path does not end
    /// in `/`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let Uri { scheme, host, path, query } = uri::parse(text).map_err(Invalid::new)?;
        let scheme = check_parts(text, &scheme, &host, &path)?;
        Ok(Self(Arc::new(Parts {
            text: text.into(),
            scheme,
            host: host.into(),
            path: path.into(),
            query: query.into(),
        })))
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// What kind of store it is.
    pub fn scheme(&self) -> StoreScheme {
        self.0.scheme
    }

    /// The bucket, or the container of an Azure store; empty for a folder.
    pub fn bucket(&self) -> &str {
        match self.azure_ad() {
            Some([_, container, _]) => container,
            None => &self.0.host,
        }
    }

    /// What stands in front of every path in the bucket or folder: empty, or ending in `/`; never beginning
    /// with one.
    pub fn prefix(&self) -> &str {
        match self.azure_ad() {
            Some([.., prefix]) => prefix,
            None => self.0.path.strip_prefix('/').unwrap_or(&self.0.path),
        }
    }

    /// The path of the URL, escapes resolved: it begins and ends with `/`.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The tenant and the account of an `azure-ad` store.
    pub fn azure_account(&self) -> Option<(&str, &str)> {
        self.azure_ad().map(|[account, ..]| (&*self.0.host, account))
    }

    /// The arguments behind the `?`, escapes resolved, in their order. Their names are for the store to know, and
    /// are compared without regard to case.
    pub fn arguments(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.0.query.as_bytes()).into_owned().collect()
    }

    /// Account, container and prefix of an `azure-ad` store.
    fn azure_ad(&self) -> Option<[&str; 3]> {
        if self.0.scheme != StoreScheme::AzureAd {
            return None;
        }
        let (account, rest) = self.0.path.get(1..)?.split_once('/')?;
        let (container, prefix) = rest.split_once('/')?;
        Some([account, container, prefix])
    }
}

fn check_parts(text: &str, scheme: &str, host: &str, path: &str) -> Result<StoreScheme, Invalid> {
    let refuse = |message: String| Err(Invalid::new(message));
    let scheme = match scheme {
        "" => return refuse(format!("not absolute ({text})")),
        "s3" => StoreScheme::S3,
        "gs" => StoreScheme::Gs,
        "azure" => StoreScheme::Azure,
        "azure-ad" => StoreScheme::AzureAd,
        "file" => StoreScheme::File,
        _ => return refuse(format!("invalid scheme ({scheme})")),
    };
    match scheme {
        StoreScheme::S3 | StoreScheme::Gs | StoreScheme::Azure if host.is_empty() => {
            return refuse(format!("missing bucket ({text})"));
        }
        StoreScheme::AzureAd => {
            // An absent part counts as an empty one; Gazette's process ends on some of those.
            let mut parts = path.split('/').skip(1);
            for (part, what) in [
                (Some(host), "tenant ID"),
                (parts.next(), "storage account"),
                (parts.next(), "storage container"),
            ] {
                if part.is_none_or(str::is_empty) {
                    return refuse(format!("missing {what} ({text})"));
                }
            }
        }
        StoreScheme::File if !host.is_empty() => {
            return refuse(format!("file scheme cannot have host ({text})"));
        }
        _ => {}
    }
    if !path.ends_with('/') {
        return refuse(format!("path component doesn't end in '/' ({path})"));
    }
    // Gazette would follow such a path out of the folder that all its file stores lie under.
    if scheme == StoreScheme::File && path.split('/').any(|part| part == "..") {
        return refuse(format!("file scheme cannot leave its root by a '..' component ({text})"));
    }
    Ok(scheme)
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({:?})", self.as_str())
    }
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for StoreUrl {}

impl PartialOrd for StoreUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StoreUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for StoreUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl AsRef<str> for StoreUrl {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart() {
        let check = |text: &str, scheme: StoreScheme, bucket: &str, prefix: &str| {
            let url = StoreUrl::parse(text).expect(text);
            assert_eq!(
                (url.as_str(), url.scheme(), url.bucket(), url.prefix()),
                (text, scheme, bucket, prefix)
            );
        };
        check("s3://my-bucket/a/sub-path/?profile=p&x=%2F", StoreScheme::S3, "my-bucket", "a/sub-path/");
        check("gs://my-bucket/", StoreScheme::Gs, "my-bucket", "");
        check("azure://container/p/", StoreScheme::Azure, "container", "p/");
        check("azure-ad://tenant/account/container/", StoreScheme::AzureAd, "container", "");
        check("azure-ad://tenant/account/container/a/b/", StoreScheme::AzureAd, "container", "a/b/");
        check("file:///", StoreScheme::File, "", "");
        check("file:///my/prefix/", StoreScheme::File, "", "my/prefix/");
        let url = StoreUrl::parse("s3://b/?find=a%2Fb&REPLACE=c+d").expect("store");
        assert_eq!(url.arguments(), [("find".into(), "a/b".into()), ("REPLACE".into(), "c d".into())]);
        let url = StoreUrl::parse("azure-ad://tenant/account/container/").expect("store");
        assert_eq!(url.azure_account(), Some(("tenant", "account")));
    }

    #[test]
    fn refuses() {
        let check = |text: &str, expected: &str| {
            assert_eq!(StoreUrl::parse(text).map_err(|e| e.to_string()), Err(expected.to_owned()));
        };
        check("", "not absolute ()");
        check("my-bucket/path/", "not absolute (my-bucket/path/)");
        check(":garbage: :garbage:", r#"parse ":garbage: :garbage:": missing protocol scheme"#);
        check("foobar://my-bucket/path/", "invalid scheme (foobar)");
        check("s3:///path/", "missing bucket (s3:///path/)");
        check("gs:///path/", "missing bucket (gs:///path/)");
        check("azure:///path/", "missing bucket (azure:///path/)");
        check("s3://my-bucket", "path component doesn't end in '/' ()");
        check("s3://my-bucket/path", "path component doesn't end in '/' (/path)");
        check("file:///path", "path component doesn't end in '/' (/path)");
        check("file://host/path/", "file scheme cannot have host (file://host/path/)");
        check(
            "file:///a/../../b/",
            "file scheme cannot leave its root by a '..' component (file:///a/../../b/)",
        );
        check(
            "file:///%2e%2e/b/",
            "file scheme cannot leave its root by a '..' component (file:///%2e%2e/b/)",
        );
        check("azure-ad:///a/c/", "missing tenant ID (azure-ad:///a/c/)");
        check("azure-ad://t", "missing storage account (azure-ad://t)");
        check("azure-ad://t/", "missing storage account (azure-ad://t/)");
        check("azure-ad://t//c/", "missing storage account (azure-ad://t//c/)");
        check("azure-ad://t/acct", "missing storage container (azure-ad://t/acct)");
        check("azure-ad://t/acct/", "missing storage container (azure-ad://t/acct/)");
        check("azure-ad://t/acct/c", "path component doesn't end in '/' (/acct/c)");
    }
}
