//! `gs://bucket/prefix/` stores: Google's, through the XML form of its API.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use courant_proto::store::StoreUrl;
use http::header::ACCEPT_ENCODING;
use http::{HeaderName, HeaderValue, Method};
use object_store::client::HttpRequest;
use object_store::gcp::{GcpCredential, GcpSigningCredential, GoogleCloudStorageBuilder, ServiceAccountKey};
use object_store::{Attributes, StaticCredentialProvider};

use super::Cloud;
use super::arguments::Rewrite;
use super::bucket::{Bucket, Signing};
use super::environment::Environment;
use super::error::{Cause, StoreError};
use super::page::Form;
use super::transport::{Heard, Manner, body};

/// Bytes uploaded at a time; the rules are those of S3.
const PIECE_SIZE: usize = 8 << 20;

/// What a body's digest is, told to Google.
const HASH: HeaderName = HeaderName::from_static("x-goog-hash");

/// Opens the store of a URL. Nothing is asked of it yet.
pub(super) fn open(url: &StoreUrl, cloud: &Cloud) -> Result<Bucket, StoreError> {
    let rewrite = Rewrite::of(url, |_, _| false)?;
    let heard = Arc::new(Heard::default());
    let manner: Arc<dyn Manner> = Arc::new(AsStored);
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(url.bucket())
        .with_retry(super::once())
        .with_http_connector(cloud.transport.connector(&heard, &manner));
    let builder = match cloud.environment.get("STORAGE_EMULATOR_HOST") {
        Some(host) => emulated(builder, host, &cloud.environment)?,
        None => match credentials_file(&cloud.environment) {
            Some(path) => builder.with_application_credentials(path.display().to_string()),
            None => builder,
        },
    };
    let objects = Arc::new(builder.build().map_err(unbuilt)?);
    Ok(Bucket {
        name: url.clone(),
        objects: Arc::clone(&objects) as _,
        folder: None,
        signing: Signing::EscapedUrl(objects),
        prefix: url.prefix().to_owned(),
        rewrite,
        attributes: Some(Attributes::new()),
        piece_size: PIECE_SIZE,
        heard,
    })
}

fn unbuilt(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Setup { text: format!("constructing GCS client: {reason}") }
}

/// The application default credentials: a file that is named, or the one that Google's own tools leave. None:
/// the machine's own are asked for.
fn credentials_file(environment: &Environment) -> Option<PathBuf> {
    let named = environment.get("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    named.or_else(|| {
        let home = PathBuf::from(environment.get("HOME")?);
        Some(home.join(".config/gcloud/application_default_credentials.json")).filter(|path| path.exists())
    })
}

/// An emulator asks nobody who they are. URLs are signed by the key that is named, if there is one.
fn emulated(
    builder: GoogleCloudStorageBuilder,
    host: &str,
    environment: &Environment,
) -> Result<GoogleCloudStorageBuilder, StoreError> {
    let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    // Without a token the library sends no header, and some emulators ask for one.
    let nobody = GcpCredential { bearer: "emulator".to_owned() };
    let builder = builder
        .with_base_url(base.trim_end_matches('/'))
        .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    let signing = match environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(path) => key_file(path)?,
        None => GcpSigningCredential { email: String::new(), private_key: None },
    };
    Ok(builder.with_signing_credentials(Arc::new(StaticCredentialProvider::new(signing))))
}

/// The key in a service account's file.
#[expect(
    clippy::disallowed_methods,
    reason = "the seam to the operator's credentials, which are no data of ours"
)]
fn key_file(path: &str) -> Result<GcpSigningCredential, StoreError> {
    let unread = |reason: &dyn std::fmt::Display| unbuilt(format!("service account file {path}: {reason}"));
    let text = std::fs::read_to_string(path).map_err(|error| unread(&error))?;
    // A parser's words about a key would show parts of it.
    let account: serde_json::Value = serde_json::from_str(&text).map_err(|_| unread(&"it is no JSON"))?;
    let field = |name: &str| account.get(name).and_then(serde_json::Value::as_str);
    let (Some(email), Some(key)) = (field("client_email"), field("private_key")) else {
        return Err(unread(&"it has no client_email and private_key"));
    };
    let key = ServiceAccountKey::from_pem(key.as_bytes()).map_err(|_| unread(&"its private_key is none"))?;
    Ok(GcpSigningCredential { email: email.to_owned(), private_key: Some(key) })
}

/// Asks for objects as they are stored: without it Google takes the codec off some of them on the way, and says no
/// length then. And says what the digest of a body is, so that Google refuses one that was damaged on the way.
#[derive(Debug)]
struct AsStored;

#[async_trait]
impl Manner for AsStored {
    fn pages(&self) -> Form {
        Form::S3
    }

    async fn finish(&self, request: &mut HttpRequest) -> Result<(), Cause> {
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if request.method() == Method::PUT {
            let pieces = body::pieces(request.body()).await?;
            let sum = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
            let hash = format!("crc32c={}", BASE64_STANDARD.encode(sum.to_be_bytes()));
            request.headers_mut().insert(HASH, HeaderValue::try_from(hash)?);
        }
        Ok(())
    }
}
