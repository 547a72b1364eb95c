//! Objects under keys that the library would not make.

use courant_tests::http;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};

use crate::site::{Kind, Site, url};

/// Puts an object under each of some keys, where a server takes such keys.
pub(crate) async fn plant(site: &Site, keys: &[&str]) {
    let bucket = url(&site.access.store).bucket().to_owned();
    for key in keys {
        let key = format!("{}{key}", site.prefix);
        match site.kind {
            // They keep objects as files, which have no such names.
            Kind::File | Kind::S3 => {}
            Kind::Moto => put(site, &format!("/{bucket}/{}", escaped(&key, "/")), &[]).await,
            Kind::Gcs => {
                put(site, &format!("/{bucket}/{}", escaped(&key, "")), &[("Authorization", "Bearer x")]).await
            }
            // Whoever signs resolves dots.
            Kind::Azure if key.contains("/./") => {}
            Kind::Azure => put_signed(site, &escaped(&key, "/")).await,
        }
    }
}

async fn put(site: &Site, target: &str, headers: &[(&str, &str)]) {
    let address = site.access.endpoint.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let answer = http::once(address, "PUT", target, headers, b"x").await.expect("an answer");
    assert_eq!(answer.status, 200, "{target}");
}

async fn put_signed(site: &Site, key: &str) {
    let variable = |name: &str| {
        let found = site.access.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).expect("a variable")
    };
    let account = variable("AZURE_ACCOUNT_NAME");
    let credential =
        AzureCredential::AccessKey(AzureAccessKey::try_new(&variable("AZURE_ACCOUNT_KEY")).expect("a key"));
    let mut request = HttpRequest::new(HttpRequestBody::from(b"x".to_vec()));
    *request.method_mut() = ::http::Method::PUT;
    let target = format!("{}/{account}/{}/{key}", site.access.endpoint, url(&site.access.store).bucket());
    *request.uri_mut() = target.parse().expect("a URL");
    for (name, value) in [("content-length", "1"), ("x-ms-blob-type", "BlockBlob")] {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    AzureAuthorizer::new(&credential, &account).try_authorize(&mut request).expect("signed");
    let answer = reqwest::Client::new().call(request).await.expect("an answer");
    assert!(answer.status().is_success(), "{target}: {}", answer.status());
}

/// A key with escapes for all but letters, digits and what is to be left.
fn escaped(key: &str, left: &str) -> String {
    let escape = |byte: u8| {
        let character = char::from(byte);
        if byte.is_ascii_alphanumeric() || left.contains(character) {
            character.to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    key.bytes().map(escape).collect()
}
