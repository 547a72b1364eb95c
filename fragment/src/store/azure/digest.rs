//! The digest of a body, which the library does not send: it is put on requests that bring one, and those are signed
//! once more. Azure refuses what was damaged on the way.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use md5::{Digest, Md5};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::HttpRequest;

use crate::store::error::Cause;
use crate::store::page::Form;
use crate::store::transport::{Manner, body};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Says what the digests of bodies are, in the name of an account. Without one it leaves requests as they are.
#[derive(Default)]
pub(super) struct Digested {
    pub(super) signer: Option<(AzureCredentialProvider, String)>,
}

// The library shows keys.
impl std::fmt::Debug for Digested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digested").finish_non_exhaustive()
    }
}

#[async_trait]
impl Manner for Digested {
    fn pages(&self) -> Form {
        Form::AZURE
    }

    async fn finish(&self, request: &mut HttpRequest) -> Result<(), Cause> {
        let Some((credentials, account)) = &self.signer else { return Ok(()) };
        if request.method() != Method::PUT || !request.headers().contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let pieces = body::pieces(request.body()).await?;
        // It takes some milliseconds, on a thread that may be kept.
        let digesting =
            move || pieces.iter().fold(Md5::new(), |digest, piece| digest.chain_update(piece)).finalize();
        let digest = tokio::task::spawn_blocking(digesting).await?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_MD5, HeaderValue::try_from(BASE64_STANDARD.encode(digest))?);
        headers.remove(AUTHORIZATION);
        let credential = credentials.get_credential().await?;
        AzureAuthorizer::new(&credential, account).try_authorize(request)?;
        Ok(())
    }
}
