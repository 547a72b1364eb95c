//! Azurite's blob service.

use std::time::Duration;

use http::Method;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};

use super::child::Child;
use super::{Access, are_skipped, variables};

const CONTAINER: &str = "courant-test";
/// The account that every Azurite has, and that its documentation names.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server of Azure's blob API in a process of its own, with one container. It checks signatures.
#[derive(Debug)]
pub struct Azure(Child);

impl Azure {
    /// Starts it on an empty container. None if `COURANT_SKIP_STORES=1` says that there need not be one.
    pub async fn start() -> Option<Self> {
        if are_skipped() {
            return None;
        }
        let child = Child::start(
            "node_modules/azurite/dist/src/blob/main.js",
            &[
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "PORT",
                "--inMemoryPersistence",
                "--skipApiVersionCheck",
                "--disableTelemetry",
                "--silent",
            ],
        );
        make_container(&child.endpoint()).await;
        Some(Self(child))
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        let endpoint = self.0.endpoint();
        Access {
            store: format!("azure://{CONTAINER}/"),
            environment: variables([
                ("AZURE_ACCOUNT_NAME", ACCOUNT),
                ("AZURE_ACCOUNT_KEY", KEY),
                ("AZURITE_BLOB_STORAGE_URL", &endpoint),
            ]),
            endpoint,
        }
    }
}

async fn make_container(endpoint: &str) {
    let key = AzureAccessKey::try_new(KEY).expect("a key");
    let credential = AzureCredential::AccessKey(key);
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = Method::PUT;
    let url = format!("{endpoint}/{ACCOUNT}/{CONTAINER}?restype=container");
    *request.uri_mut() = url.parse().expect("a URL");
    request.headers_mut().insert("content-length", "0".parse().expect("a value"));
    AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request).expect("a signature");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
    let answer = client.call(request).await.expect("it answers");
    assert!(answer.status().is_success(), "the container is made: {}", answer.status());
}
