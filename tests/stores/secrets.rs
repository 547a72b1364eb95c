//! Where credentials come from, and that they go nowhere else.

use std::path::Path;
use std::sync::Arc;

use courant_fragment::store::{Config, StoreError};
use courant_proto::codec::Codec;
use courant_proto::offset::Offset;
use courant_tests::stores::{Access, Azure, S3};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::site::{Kind, Site, fragment, name, put, read, reader, text, url};

/// What is logged while a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Puts a store to all uses, and says all that it says of itself: errors, and what others print of it.
async fn said_by(site: &Site, store: &str) -> String {
    let content = text(1000);
    let fragment = fragment("a/journal", 0, Codec::Gzip, &content);
    let store = match site.stores.get(&url(store)) {
        Ok(store) => store,
        Err(error) => return format!("{error} {error:?}"),
    };
    let mut said = format!("{store:?} {:?}", site.stores);
    let errors = [
        store.put(&fragment, reader(content)).await.err(),
        store.open(&fragment, Offset::ZERO).await.err(),
        store.list(&name("a/journal"), &[]).await.err(),
        store.remove(&fragment).await.err(),
    ];
    for error in errors.into_iter().flatten() {
        said.push_str(&format!("{error} {error:?} "));
        said.push_str(&format!("{:#}", anyhow::Error::from(error)));
    }
    said.push_str(&store.check().await.err().unwrap_or_default());
    said
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let mut said = String::new();
    let server = S3::start();
    let mut servers = vec![(Kind::S3, server.access())];
    let azure = Azure::start().await;
    servers.extend(azure.as_ref().map(|azure| (Kind::Azure, azure.access())));
    for (kind, access) in servers {
        for with_secret in [true, false] {
            let environment = access.environment.iter().map(|(name, value)| {
                let is_wrong = !with_secret && (name.contains("SECRET") || name.ends_with("KEY"));
                // Base64, for those who insist on it.
                (
                    name.clone(),
                    if is_wrong { "d3Jvbmctc2VjcmV0LXRoYXQtaXMtbG9uZw==".to_owned() } else { value.clone() },
                )
            });
            let mut environment: Vec<_> = environment.collect();
            environment.push(("AWS_SESSION_TOKEN".to_owned(), "hidden-session-token".to_owned()));
            if with_secret {
                environment.retain(|(name, _)| name != "AWS_SESSION_TOKEN");
            }
            let access = Access { environment, ..access.clone() };
            let site = Site::at(kind, access.clone(), Config { attempts: 1, ..Config::default() });
            said.push_str(&format!("{:?}", Config::default()));
            said.push_str(&said_by(&site, &access.below(&site.prefix)).await);
            said.push_str(&said_by(&site, &access.store.replace("courant-test", "courant-missing")).await);
        }
    }
    drop(logging);
    said.push_str(&String::from_utf8_lossy(&log.0.lock()));
    assert!(said.len() > 1_000, "{said}");
    for secret in [
        "courant-secret-which",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6",
        "d3Jvbmctc2VjcmV0",
        "wrong-secret",
        "hidden-session-token",
        "X-Amz-Signature",
        "&sig=",
    ] {
        if let Some(at) = said.find(secret) {
            let around = said.get(at.saturating_sub(300)..(at + 100).min(said.len())).unwrap_or_default();
            panic!("{secret} is shown: {around}");
        }
    }
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let server = S3::start();
    let access = server.access();
    let environment = access.environment.iter().map(|(name, value)| {
        (name.clone(), if name == "AWS_SECRET_ACCESS_KEY" { "wrong".to_owned() } else { value.clone() })
    });
    let access = Access { environment: environment.collect(), ..access.clone() };
    let site = Site::at(Kind::S3, access, Config::default());
    let error = site.store().list(&name("a/journal"), &[]).await.expect_err("a wrong secret");
    assert!(error.is_authorization() && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
}

#[expect(clippy::disallowed_methods, reason = "the test writes the files that operators write")]
fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

#[tokio::test]
async fn profiles_are_read_from_their_files() {
    let server = S3::start();
    let access = server.access();
    let variable = |name: &str| {
        let found = access.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).expect("a variable")
    };
    let home = tempfile::tempdir().expect("a folder");
    let keys = format!(
        "aws_access_key_id = {}\naws_secret_access_key = {}\n",
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY")
    );
    write(
        &home.path().join(".aws/credentials"),
        &format!("[default]\n{keys}[wrong]\naws_access_key_id=x\naws_secret_access_key=y\n"),
    );
    write(
        &home.path().join(".aws/config"),
        "[profile wrong]\nregion=us-east-1\n[profile sso]\nsso_session=x\nregion=us-east-1\n[profile bare]\n",
    );
    write(&home.path().join("elsewhere"), &format!("[team]\n{keys}region = us-east-1\n"));

    let home_text = home.path().display().to_string();
    let elsewhere = home.path().join("elsewhere").display().to_string();
    let open = |variables: &[(&str, &str)], arguments: &str| {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let access = Access { environment: environment.collect(), ..access.clone() };
        let site = Site::at(Kind::S3, access.clone(), Config::default());
        let text = if arguments.is_empty() { access.below("p/") } else { access.with("p/", arguments) };
        let store = site.stores.get(&url(&text));
        (site, store)
    };
    let region = ("AWS_DEFAULT_REGION", "us-east-1");
    let content = text(100);
    let works = async |variables: &[(&str, &str)], arguments: &str| {
        let (_site, store) = open(variables, arguments);
        let store = store.expect("a store");
        let fragment = fragment("a/journal", 0, Codec::None, &content);
        put(&store, &fragment, &content).await;
        assert_eq!(read(&store, &fragment, 0).await.expect("content"), content);
    };
    works(&[("HOME", &home_text), region], "").await;
    works(&[("HOME", &home_text), region], "PROFILE=default").await;
    works(&[("AWS_SHARED_CREDENTIALS_FILE", &elsewhere)], "profile=team").await;
    works(&[("AWS_SHARED_CREDENTIALS_FILE", &elsewhere), ("AWS_PROFILE", "team")], "").await;
    works(&[("AWS_CONFIG_FILE", &elsewhere), ("HOME", &home_text)], "region=us-east-1").await;
    // What the URL names counts before the environment.
    let (_site, store) = open(
        &[("HOME", &home_text), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), region],
        "profile=default",
    );
    store.expect("a store").list(&name("a/journal"), &[]).await.expect("a listing");
    let (_site, store) = open(&[("HOME", &home_text)], "profile=wrong");
    let error = store.expect("a store").list(&name("a/journal"), &[]).await.expect_err("wrong keys");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");

    let refused = |variables: &[(&str, &str)], arguments: &str, expected: &str| {
        let error = open(variables, arguments).1.expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
    };
    refused(
        &[("HOME", &home_text)],
        "profile=default",
        "missing AWS region configuration for profile \"default\"",
    );
    refused(
        &[("HOME", &home_text)],
        "profile=none",
        "fetching AWS credentials for profile \"none\": there is no such profile in ",
    );
    refused(
        &[("HOME", &home_text), ("AWS_PROFILE", "none"), region],
        "",
        "fetching AWS credentials for profile \"none\"",
    );
    refused(&[("HOME", &home_text)], "profile=sso", "sso_session is not supported");
}

#[tokio::test]
async fn what_is_sent_is_what_the_url_says() {
    let server = S3::start();
    let proxy = courant_tests::stores::Proxy::before(&server.access().endpoint);
    let site = Site::at(Kind::S3, server.access().at(&proxy.endpoint()), Config::default());
    let sent = async |arguments: &str, content: &[u8]| {
        let store = site.get(&site.access.with(&site.prefix, arguments));
        let fragment = fragment("a/journal", 0, Codec::None, content);
        store.remove(&fragment).await.expect("removed");
        proxy.seen_headers();
        put(&store, &fragment, content).await;
        store.list(&name("a/journal"), &[]).await.expect("a listing");
        proxy.seen_headers()
    };
    let small = text(100);
    let large = crate::site::noise(9 << 20);
    for content in [small, large] {
        for (arguments, header, value) in [
            ("ACL=bucket-owner-full-control", "x-amz-acl", "bucket-owner-full-control"),
            ("StorageClass=STANDARD", "x-amz-storage-class", "STANDARD"),
            ("sse=AES256", "x-amz-server-side-encryption", "AES256"),
            ("sse=aws:kms&SSEKMSKeyId=some-key", "x-amz-server-side-encryption-aws-kms-key-id", "some-key"),
        ] {
            let with = sent(arguments, &content).await;
            let makes = |line: &(String, http::HeaderMap)| {
                let (request, _) = line;
                (request.starts_with("PUT") && !request.contains('?')) || request.contains("?uploads")
            };
            assert!(with.iter().any(makes), "{with:?}");
            for line in &with {
                // What is given is sent where an object is made, is part of what is signed, and is sent nowhere else.
                let found = line.1.get(header).map(|value| value.to_str().expect("text").to_owned());
                assert_eq!(found.as_deref(), makes(line).then_some(value), "{arguments}: {line:?}");
                if makes(line) {
                    let signed = line.1["authorization"].to_str().expect("text").to_owned();
                    assert!(signed.contains(header), "{arguments}: {signed}");
                }
            }
            let without = sent("region=us-east-1", &content).await;
            assert!(without.iter().all(|(_, headers)| !headers.contains_key(header)), "{header}");
        }
    }
}
