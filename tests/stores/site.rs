//! A place in a store: a server, and a prefix in it that one test alone uses.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use courant_fragment::store::{Cause, Config, Environment, PutOutcome, Store, StoreError, Stores};
use courant_proto::codec::Codec;
use courant_proto::fragment::{ContentSum, Fragment};
use courant_proto::name::JournalName;
use courant_proto::offset::Offset;
use courant_proto::store::StoreUrl;
use courant_proto::time::{Clock, Timestamp};
use courant_tests::stores::{Access, Azure, Gcs, Moto, S3};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt as _, PutOptions, RetryConfig,
    StaticCredentialProvider,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sha1::{Digest as _, Sha1};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    S3,
    Moto,
    Gcs,
    Azure,
}

/// Servers are started once, and end with this process.
static S3_SERVER: OnceCell<S3> = OnceCell::const_new();
static MOTO: OnceCell<Option<Moto>> = OnceCell::const_new();
static GCS: OnceCell<Gcs> = OnceCell::const_new();
static AZURE: OnceCell<Option<Azure>> = OnceCell::const_new();

/// Prefixes are numbered.
static SITES: AtomicUsize = AtomicUsize::new(0);

/// A place in a store.
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    /// Ends in `/`.
    pub(crate) prefix: String,
    pub(crate) stores: Stores,
    root: TempDir,
}

impl Site {
    /// A place in a server of a kind. None if there need not be one.
    pub(crate) async fn open(kind: Kind) -> Option<Self> {
        let access = match kind {
            Kind::File => {
                Access { endpoint: String::new(), store: "file:///".to_owned(), environment: Vec::new() }
            }
            Kind::S3 => S3_SERVER.get_or_init(|| async { S3::start() }).await.access(),
            Kind::Moto => MOTO.get_or_init(Moto::start).await.as_ref()?.access(),
            Kind::Gcs => GCS.get_or_init(|| async { Gcs::start() }).await.access(),
            Kind::Azure => AZURE.get_or_init(Azure::start).await.as_ref()?.access(),
        };
        Some(Self::at(kind, access, Config::default()))
    }

    /// A place in a server that is reached so.
    pub(crate) fn at(kind: Kind, access: Access, config: Config) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let config = Config {
            file_root: Some(root.path().to_owned()),
            environment: Environment::of(access.environment.clone()),
            ..config
        };
        let prefix = format!("site {}/", SITES.fetch_add(1, Ordering::Relaxed)).replace(' ', "-");
        Self {
            kind,
            access,
            prefix,
            stores: Stores::new(config, Arc::new(Now), StdRng::seed_from_u64(7)),
            root,
        }
    }

    /// Its store.
    pub(crate) fn store(&self) -> Arc<Store> {
        self.get(&self.access.below(&self.prefix))
    }

    pub(crate) fn get(&self, text: &str) -> Arc<Store> {
        self.stores.get(&url(text)).expect("a store")
    }

    /// The folder in which `file://` stores lie.
    pub(crate) fn root(&self) -> &FilePath {
        self.root.path()
    }

    /// Codecs that its store takes.
    pub(crate) fn codecs(&self) -> Vec<Codec> {
        let is_file = self.kind == Kind::File;
        Codec::ALL.into_iter().filter(|codec| !is_file || *codec != Codec::GzipOffload).collect()
    }

    /// Puts an object as others would who know nothing of us.
    pub(crate) async fn plant(&self, path: &str, content: impl Into<Bytes>, encoding: Option<&'static str>) {
        let mut attributes = Attributes::new();
        if let Some(encoding) = encoding {
            attributes.insert(Attribute::ContentEncoding, encoding.into());
        }
        let key = Path::parse(format!("{}{path}", self.prefix)).expect("a path");
        let options = PutOptions::from(attributes);
        self.raw().put_opts(&key, content.into().into(), options).await.expect("planted");
    }

    /// An object as it lies there.
    pub(crate) async fn bytes(&self, path: &str) -> Bytes {
        let key = Path::parse(format!("{}{path}", self.prefix)).expect("a path");
        self.raw().get(&key).await.expect("an object").bytes().await.expect("its content")
    }

    /// The server, as the library alone reaches it.
    pub(crate) fn raw(&self) -> Arc<dyn ObjectStore> {
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let variable = |name: &str| {
            let found = self.access.environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let url = url(&self.access.store);
        match self.kind {
            Kind::File => Arc::new(LocalFileSystem::new_with_prefix(self.root()).expect("a folder")),
            Kind::S3 | Kind::Moto => Arc::new(
                AmazonS3Builder::new()
                    .with_bucket_name(url.bucket())
                    .with_endpoint(&self.access.endpoint)
                    .with_allow_http(true)
                    .with_region(variable("AWS_REGION"))
                    .with_access_key_id(variable("AWS_ACCESS_KEY_ID"))
                    .with_secret_access_key(variable("AWS_SECRET_ACCESS_KEY"))
                    .with_retry(retry)
                    .build()
                    .expect("a client"),
            ),
            Kind::Gcs => {
                // As it is stored: the server unpacks for those who do not ask for that.
                let headers = [(http::header::ACCEPT_ENCODING, "gzip".parse().expect("a value"))];
                let options = object_store::ClientOptions::new().with_allow_http(true);
                let options = options.with_default_headers(headers.into_iter().collect());
                let nobody = StaticCredentialProvider::new(GcpCredential { bearer: "anybody".to_owned() });
                Arc::new(
                    GoogleCloudStorageBuilder::new()
                        .with_bucket_name(url.bucket())
                        .with_base_url(&self.access.endpoint)
                        .with_credentials(Arc::new(nobody))
                        .with_client_options(options)
                        .with_retry(retry)
                        .build()
                        .expect("a client"),
                )
            }
            Kind::Azure => Arc::new(
                MicrosoftAzureBuilder::new()
                    .with_container_name(url.bucket())
                    .with_account(variable("AZURE_ACCOUNT_NAME"))
                    .with_access_key(variable("AZURE_ACCOUNT_KEY"))
                    .with_endpoint(format!("{}/{}", self.access.endpoint, variable("AZURE_ACCOUNT_NAME")))
                    .with_allow_http(true)
                    .with_retry(retry)
                    .build()
                    .expect("a client"),
            ),
        }
    }
}

/// The time of day: servers compare it with theirs.
#[derive(Debug)]
struct Now;

impl Clock for Now {
    #[expect(clippy::disallowed_methods, reason = "the seam at which these tests read the time of day")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Timestamp::from_secs(i64::try_from(since.as_secs()).expect("a time"))
    }
}

pub(crate) fn url(text: &str) -> StoreUrl {
    StoreUrl::parse(text).expect("a store's URL")
}

pub(crate) fn name(text: &str) -> JournalName {
    JournalName::parse(text).expect("a journal's name")
}

/// Content that compresses.
pub(crate) fn text(length: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {n} of a log\n").into_bytes()).take(length).collect()
}

/// Content that does not.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    bytes.take(length).collect()
}

/// The fragment that holds `content` from `begin` on, not stored yet.
pub(crate) fn fragment(journal: &str, begin: i64, codec: Codec, content: &[u8]) -> Fragment {
    let begin = Offset::new(begin).expect("not negative");
    Fragment {
        end: begin.plus(content.len() as u64).expect("an offset"),
        sum: ContentSum::from(<[u8; 20]>::from(Sha1::digest(content))),
        ..Fragment::empty_at(name(journal), begin, codec)
    }
}

/// Reads content as a spool does, a few bytes less than asked for.
pub(crate) fn reader(
    content: Vec<u8>,
) -> impl FnMut(u64, &mut [u8]) -> Result<usize, Cause> + Send + 'static {
    move |position, buffer| {
        let rest = &content[usize::try_from(position)?..];
        let count = rest.len().min(buffer.len().max(2) - 1);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

pub(crate) async fn put(store: &Arc<Store>, fragment: &Fragment, content: &[u8]) -> PutOutcome {
    store.put(fragment, reader(content.to_vec())).await.expect("stored")
}

/// All content from an offset on.
pub(crate) async fn read(store: &Arc<Store>, fragment: &Fragment, from: i64) -> Result<Vec<u8>, StoreError> {
    let mut reader = store.open(fragment, Offset::new(from).expect("an offset")).await?;
    let mut content = Vec::new();
    while let Some(piece) = reader.next().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}
