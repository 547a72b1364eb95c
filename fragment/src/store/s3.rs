//! `s3://bucket/prefix/` stores, of Amazon and of everybody else who speaks its protocol.

mod acl;
mod credentials;
mod profile;

use std::sync::Arc;

use async_trait::async_trait;
use courant_proto::store::StoreUrl;
use http::HeaderValue;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::HttpRequest;
use object_store::{Attribute, Attributes};

use super::Cloud;
use super::arguments::Rewrite;
use super::bucket::{Bucket, Signing};
use super::error::{Cause, StoreError};
use super::page::Form;
use super::transport::{Heard, Manner};
use acl::Acl;
use credentials::Identity;

/// Bytes uploaded at a time. S3 takes no fewer than five mebibytes but for the last piece, and ten thousand of
/// them: this is room for objects of 80 GB.
const PIECE_SIZE: usize = 8 << 20;

/// The arguments of an `s3://` URL. What is not given is not sent.
#[derive(Debug, Default)]
struct Arguments {
    profile: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    acl: Option<String>,
    storage_class: Option<String>,
    sse: Option<String>,
    sse_kms_key_id: Option<String>,
}

impl Arguments {
    fn take(&mut self, name: &str, value: &str) -> bool {
        let place = match name {
            "profile" => &mut self.profile,
            "endpoint" => &mut self.endpoint,
            "region" => &mut self.region,
            "acl" => &mut self.acl,
            "storageclass" => &mut self.storage_class,
            "sse" => &mut self.sse,
            "ssekmskeyid" => &mut self.sse_kms_key_id,
            _ => return false,
        };
        *place = Some(value.to_owned()).filter(|value| !value.is_empty());
        true
    }
}

/// Opens the store of a URL. Nothing is asked of it yet.
pub(super) fn open(url: &StoreUrl, cloud: &Cloud) -> Result<Bucket, StoreError> {
    let mut arguments = Arguments::default();
    let rewrite = Rewrite::of(url, |name, value| arguments.take(name, value))?;
    let identity = Identity::read(&cloud.environment, arguments.profile.as_deref())?;
    let environment = &cloud.environment;

    let region = arguments
        .region
        .as_deref()
        .or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
        .or_else(|| identity.setting("region"));
    let Some(region) = region else {
        let profile = arguments.profile.unwrap_or_default();
        return Err(StoreError::Setup {
            text: format!("missing AWS region configuration for profile {profile:?}"),
        });
    };
    let endpoint = arguments
        .endpoint
        .as_deref()
        .or_else(|| environment.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]))
        .or_else(|| identity.setting("endpoint_url"));

    let heard = Arc::new(Heard::default());
    let connector = |manner: Arc<dyn Manner>| cloud.transport.connector(&heard, &manner);
    let builder = AmazonS3Builder::new()
        .with_bucket_name(url.bucket())
        .with_region(region)
        .with_retry(super::once())
        // One object at a time is removed, by the call that every store of this kind knows.
        .with_disable_bulk_delete(true)
        .with_http_connector(connector(Arc::new(AsSigned)));
    let builder = match endpoint {
        Some(endpoint) => builder.with_endpoint(with_scheme(endpoint)),
        // A name with a dot does not fit the certificate of its virtual host.
        None => builder.with_virtual_hosted_style_request(!url.bucket().contains('.')),
    };
    let builder = encrypted(identity.apply(builder)?, &arguments)?;
    let build = |builder: AmazonS3Builder| builder.build().map_err(unbuilt);
    let objects: AmazonS3 = match arguments.acl {
        None => build(builder)?,
        Some(acl) => {
            let credentials = Arc::clone(build(builder.clone())?.credentials());
            let acl = HeaderValue::try_from(acl).map_err(unbuilt)?;
            let acl = Acl { acl, region: region.to_owned(), credentials: Arc::clone(&credentials) };
            build(builder.with_credentials(credentials).with_http_connector(connector(Arc::new(acl))))?
        }
    };
    let storage_class = arguments.storage_class.map(|class| (Attribute::StorageClass, class));
    let objects = Arc::new(objects);
    Ok(Bucket {
        name: url.clone(),
        objects: Arc::clone(&objects) as _,
        folder: None,
        signing: Signing::Url(objects),
        prefix: url.prefix().to_owned(),
        rewrite,
        attributes: Some(storage_class.into_iter().collect::<Attributes>()),
        piece_size: PIECE_SIZE,
        heard,
    })
}

/// Encryption at rest. A key of KMS says which kind it is.
fn encrypted(builder: AmazonS3Builder, arguments: &Arguments) -> Result<AmazonS3Builder, StoreError> {
    let kind = arguments.sse.as_deref().or_else(|| arguments.sse_kms_key_id.as_ref().map(|_| "aws:kms"));
    let settings =
        [("aws_server_side_encryption", kind), ("aws_sse_kms_key_id", arguments.sse_kms_key_id.as_deref())];
    settings.into_iter().try_fold(builder, |builder, (name, value)| match value {
        None => Ok(builder),
        Some(value) => Ok(builder.with_config(name.parse::<AmazonS3ConfigKey>().map_err(unbuilt)?, value)),
    })
}

fn unbuilt(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Setup { text: format!("constructing S3 session: {reason}") }
}

/// An endpoint is a URL, or a host that is spoken to over TLS.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// Requests are right as the library signs them; their bodies are a part of what is signed, so S3 checks those.
#[derive(Debug)]
struct AsSigned;

#[async_trait]
impl Manner for AsSigned {
    fn pages(&self) -> Form {
        Form::S3
    }

    async fn finish(&self, _request: &mut HttpRequest) -> Result<(), Cause> {
        Ok(())
    }
}
