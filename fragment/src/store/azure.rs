//! `azure://container/prefix/` and `azure-ad://tenant/account/container/prefix/` stores: Microsoft's, by the key
//! of an account, or as an application that a tenant knows.

mod digest;
mod sas;

use std::sync::Arc;

use courant_proto::store::StoreUrl;
use object_store::Attributes;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::Cloud;
use super::arguments::Rewrite;
use super::bucket::{Bucket, Signing};
use super::environment::Environment;
use super::error::StoreError;
use super::transport::{Heard, Manner};
use digest::Digested;
use sas::AccountSigner;

/// Bytes uploaded at a time; an object has at most fifty thousand such blocks.
const PIECE_SIZE: usize = 8 << 20;

/// Opens the store of an `azure://` URL. Nothing is asked of it yet.
pub(super) fn open(url: &StoreUrl, cloud: &Cloud) -> Result<Bucket, StoreError> {
    let environment = &cloud.environment;
    let (Some(account), Some(key)) =
        (environment.get("AZURE_ACCOUNT_NAME"), environment.get("AZURE_ACCOUNT_KEY"))
    else {
        let text = "AZURE_ACCOUNT_NAME and AZURE_ACCOUNT_KEY must be set for azure:// URLs";
        return Err(StoreError::Setup { text: text.to_owned() });
    };
    let builder = MicrosoftAzureBuilder::new().with_account(account).with_access_key(key);
    let bucket = build(url, cloud, builder, account)?;
    let service =
        endpoint(environment, account).unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
    // What the library has taken is a key and a URL.
    let signer = AccountSigner::new((account, key), &service, url.bucket(), Arc::clone(&cloud.clock));
    Ok(match signer {
        Some(signer) => Bucket { signing: Signing::Url(Arc::new(signer)), ..bucket },
        None => bucket,
    })
}

/// Opens the store of an `azure-ad://` URL. Nothing is asked of it yet.
pub(super) fn open_as_application(url: &StoreUrl, cloud: &Cloud) -> Result<Bucket, StoreError> {
    let environment = &cloud.environment;
    let (Some(client), Some(secret)) =
        (environment.get("AZURE_CLIENT_ID"), environment.get("AZURE_CLIENT_SECRET"))
    else {
        let text = "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET must be set for azure-ad:// URLs";
        return Err(StoreError::Setup { text: text.to_owned() });
    };
    // A URL that was taken apart has all its parts.
    let (tenant, account) = url.azure_account().unwrap_or_default();
    let builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_client_id(client)
        .with_client_secret(secret)
        .with_tenant_id(tenant);
    let builder = match environment.get("AZURE_AUTHORITY_HOST") {
        Some(host) => builder.with_authority_host(host),
        None => builder,
    };
    build(url, cloud, builder, account)
}

fn build(
    url: &StoreUrl,
    cloud: &Cloud,
    builder: MicrosoftAzureBuilder,
    account: &str,
) -> Result<Bucket, StoreError> {
    let rewrite = Rewrite::of(url, |_, _| false)?;
    let heard = Arc::new(Heard::default());
    let builder = builder.with_container_name(url.bucket()).with_retry(super::once());
    let builder = match endpoint(&cloud.environment, account) {
        Some(endpoint) => builder.with_config(AzureConfigKey::Endpoint, endpoint),
        None => builder,
    };
    let build = |builder: MicrosoftAzureBuilder, manner: Digested| {
        let manner: Arc<dyn Manner> = Arc::new(manner);
        let built = builder.with_http_connector(cloud.transport.connector(&heard, &manner)).build();
        built.map_err(|error| StoreError::Setup { text: format!("constructing Azure client: {error}") })
    };
    // The first one only to have its credentials, which sign what the second one sends.
    let credentials = Arc::clone(build(builder.clone(), Digested::default())?.credentials());
    let digested = Digested { signer: Some((Arc::clone(&credentials), account.to_owned())) };
    let objects = Arc::new(build(builder.with_credentials(credentials), digested)?);
    Ok(Bucket {
        name: url.clone(),
        objects: Arc::clone(&objects) as _,
        folder: None,
        signing: Signing::Url(objects),
        prefix: url.prefix().to_owned(),
        rewrite,
        attributes: Some(Attributes::new()),
        piece_size: PIECE_SIZE,
        heard,
    })
}

/// Where the account's service is, if it is not where Microsoft has it. Azurite has the account in its path.
fn endpoint(environment: &Environment, account: &str) -> Option<String> {
    if let Some(endpoint) = environment.first(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]) {
        return Some(endpoint.to_owned());
    }
    let azurite = environment.get("AZURITE_BLOB_STORAGE_URL")?;
    Some(format!("{}/{account}", azurite.trim_end_matches('/')))
}
