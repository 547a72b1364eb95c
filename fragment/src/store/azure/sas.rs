//! URLs that are signed by the key of an account.
//!
//! The library signs them as well, but over the path as the URL escapes it, where Azure checks the path that it
//! means; and from the moment on at which it signs, which a clock that is ahead makes a later one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use courant_proto::time::Clock;
use http::Method;
use object_store::path::Path;
use object_store::signer::Signer;
use url::Url;

/// The version of Azure's rules by which these are made.
const VERSION: &str = "2023-11-03";

/// Signs in the name of an account.
pub(super) struct AccountSigner {
    account: String,
    key: hmac::Key,
    /// Where the container is.
    container: Url,
    name: String,
    clock: Arc<dyn Clock>,
}

// It holds the key.
impl fmt::Debug for AccountSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountSigner").field("account", &self.account).finish_non_exhaustive()
    }
}

impl AccountSigner {
    /// A signer for a container, whose account's service is at an endpoint. None if the key is no base64, or the
    /// endpoint no URL.
    pub(super) fn new(
        (account, key): (&str, &str),
        endpoint: &str,
        container: &str,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(key).ok()?);
        let mut url = Url::parse(endpoint).ok()?;
        url.path_segments_mut().ok()?.pop_if_empty().push(container);
        Some(Self { account: account.to_owned(), key, container: url, name: container.to_owned(), clock })
    }

    fn sign(&self, permission: &str, path: &Path, life: Duration) -> Option<Url> {
        let mut url = self.container.clone();
        url.path_segments_mut().ok()?.extend(path.as_ref().split('/'));
        let life = i64::try_from(life.as_secs()).ok()?;
        let expiry = jiff::Timestamp::from_second(self.clock.now().secs().checked_add(life)?).ok()?;
        let expiry = expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let protocol = if url.scheme() == "https" { "https" } else { "" };
        let resource = format!("/blob/{}/{}/{path}", self.account, self.name);
        // Permission, start, expiry, resource, identifier, addresses, protocol, version, kind of resource; then a
        // snapshot, a scope of encryption and five headers, none of which is given.
        let text =
            format!("{permission}\n\n{expiry}\n{resource}\n\n\n{protocol}\n{VERSION}\nb\n\n\n\n\n\n\n");
        let signature = BASE64_STANDARD.encode(hmac::sign(&self.key, text.as_bytes()));
        let mut query = url.query_pairs_mut();
        query.extend_pairs([("sv", VERSION), ("sp", permission), ("se", &expiry), ("sr", "b")]);
        if !protocol.is_empty() {
            query.append_pair("spr", protocol);
        }
        query.append_pair("sig", &signature);
        drop(query);
        Some(url)
    }
}

#[async_trait]
impl Signer for AccountSigner {
    async fn signed_url(&self, method: Method, path: &Path, life: Duration) -> object_store::Result<Url> {
        let signed = (method == Method::GET).then(|| self.sign("r", path, life)).flatten();
        signed.ok_or_else(|| object_store::Error::NotSupported {
            source: format!("no URL can be signed for {method}, or for {life:?}").into(),
        })
    }
}
