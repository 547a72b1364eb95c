//! Where the credentials of an `s3://` store come from, in the order in which AWS's own tools look: the
//! profile that the URL names, the environment, web identity, the default profile, and what the container or
//! the machine is given.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::profile::Profile;
use crate::store::environment::Environment;
use crate::store::error::StoreError;

/// Files are looked at again after so long: programs write new credentials into them.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Variables that the library knows how to turn into credentials.
const VARIABLES: [(&str, AmazonS3ConfigKey); 8] = [
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

/// What is known of whom to be, before the library is asked for a store.
pub(super) struct Identity {
    files: Files,
    environment: Environment,
    /// The profile that the URL names.
    named: Option<String>,
    profile: Option<(String, Profile)>,
}

impl Identity {
    /// Reads the profile that the URL names, or the environment, or else `default` if there is one.
    pub(super) fn read(environment: &Environment, named: Option<&str>) -> Result<Self, StoreError> {
        let files = Files::of(environment);
        let wanted = named.or_else(|| environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]));
        let name = wanted.unwrap_or("default");
        let found = files.find(name).map_err(|error| unfetched(name, &error))?;
        if found.is_none() && wanted.is_some() {
            let reason = format!("there is no such profile in {files}");
            return Err(unfetched(name, &reason));
        }
        Ok(Self {
            files,
            environment: environment.clone(),
            named: named.map(str::to_owned),
            profile: found.map(|profile| (name.to_owned(), profile)),
        })
    }

    /// A setting of the profile.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.profile.as_ref().and_then(|(_, profile)| profile.get(key))
    }

    /// Gives a store its credentials.
    pub(super) fn apply(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder, StoreError> {
        let environment = &self.environment;
        if self.named.is_none() {
            if let (Some(key_id), Some(secret)) =
                (environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"))
            {
                let builder = builder.with_access_key_id(key_id).with_secret_access_key(secret);
                return Ok(match environment.get("AWS_SESSION_TOKEN") {
                    Some(token) => builder.with_token(token),
                    None => builder,
                });
            }
            if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
                return Ok(self.apply_variables(builder));
            }
        }
        let Some((name, profile)) = &self.profile else { return Ok(self.apply_variables(builder)) };
        if let Some(credential) = credential(profile) {
            return Ok(builder.with_credentials(Arc::new(FileCredentials::new(
                self.files.clone(),
                name.clone(),
                credential,
            ))));
        }
        let builder = self.apply_variables(builder);
        if let (Some(role), Some(file)) = (profile.get("role_arn"), profile.get("web_identity_token_file")) {
            let builder = builder
                .with_config(AmazonS3ConfigKey::RoleArn, role)
                .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, file);
            return Ok(match profile.get("role_session_name") {
                Some(session) => builder.with_config(AmazonS3ConfigKey::RoleSessionName, session),
                None => builder,
            });
        }
        // Silence would make us somebody else than the operator means.
        for setting in
            ["source_profile", "credential_source", "credential_process", "sso_session", "sso_start_url"]
        {
            if profile.get(setting).is_some() {
                let reason = format!(
                    "its setting {setting} is not supported: give it keys, or role_arn and web_identity_token_file"
                );
                return Err(unfetched(name, &reason));
            }
        }
        Ok(builder)
    }

    fn apply_variables(&self, builder: AmazonS3Builder) -> AmazonS3Builder {
        VARIABLES.into_iter().fold(builder, |builder, (name, key)| match self.environment.get(name) {
            Some(value) => builder.with_config(key, value),
            None => builder,
        })
    }
}

fn unfetched(profile: &str, reason: &dyn fmt::Display) -> StoreError {
    StoreError::Setup { text: format!("fetching AWS credentials for profile {profile:?}: {reason}") }
}

/// The keys of a profile, if it has both.
fn credential(profile: &Profile) -> Option<AwsCredential> {
    Some(AwsCredential {
        key_id: profile.get("aws_access_key_id")?.to_owned(),
        secret_key: profile.get("aws_secret_access_key")?.to_owned(),
        token: profile.get("aws_session_token").map(str::to_owned),
    })
}

/// Where AWS's two files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Files {
    fn of(environment: &Environment) -> Self {
        let path = |variable: &str, name: &str| {
            let given = environment.get(variable).map(PathBuf::from);
            given.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".aws").join(name)))
        };
        Self {
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: path("AWS_CONFIG_FILE", "config"),
        }
    }

    fn find(&self, name: &str) -> Result<Option<Profile>, String> {
        Ok(Profile::find(name, &read(self.credentials.as_deref())?, &read(self.config.as_deref())?))
    }

    /// What changes when the files do.
    fn stamps(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.credentials, &self.config].map(|path| {
            let about = std::fs::metadata(path.as_deref()?).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Option<PathBuf>| {
            path.as_ref().map_or("(no file)".to_owned(), |path| path.display().to_string())
        };
        write!(f, "{} or {}", shown(&self.credentials), shown(&self.config))
    }
}

/// A file's text; a missing file is empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the seam to the operator's credentials, which are no data of ours"
)]
fn read(path: Option<&Path>) -> Result<String, String> {
    let Some(path) = path else { return Ok(String::new()) };
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| format!("cannot read {}: {error}", path.display())),
    }
}

/// The keys of a profile, read again when its files change.
#[derive(Debug)]
struct FileCredentials {
    source: Arc<(Files, String)>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    credential: Arc<AwsCredential>,
    stamps: [Option<(SystemTime, u64)>; 2],
    looked: Instant,
}

impl FileCredentials {
    fn new(files: Files, profile: String, credential: AwsCredential) -> Self {
        let known =
            Known { credential: Arc::new(credential), stamps: files.stamps(), looked: Instant::now() };
        Self { source: Arc::new((files, profile)), known: Mutex::new(known) }
    }

    /// Reads the keys if the files are others than they were.
    async fn look(&self, stamps: [Option<(SystemTime, u64)>; 2]) -> object_store::Result<()> {
        let source = Arc::clone(&self.source);
        let (found, stamps) = tokio::task::spawn_blocking(move || {
            let now = source.0.stamps();
            // Before reading: a file that is written meanwhile is read again.
            let found = (now != stamps).then(|| source.0.find(&source.1));
            (found, now)
        })
        .await?;
        let mut known = self.known.lock();
        match found {
            None => return Ok(()),
            Some(Ok(Some(profile))) if credential(&profile).is_some() => {
                if let Some(credential) = credential(&profile) {
                    known.credential = Arc::new(credential);
                }
            }
            // Perhaps it is just being written. The old keys may still do; if not, the store says so.
            Some(Ok(_)) => tracing::warn!(profile = self.source.1, "a profile of AWS has no keys any more"),
            Some(Err(error)) => {
                tracing::warn!(profile = self.source.1, error, "cannot read a profile of AWS again")
            }
        }
        known.stamps = stamps;
        Ok(())
    }
}

#[async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let due = {
            let mut known = self.known.lock();
            let is_due = known.looked.elapsed() >= LOOK_EVERY;
            if is_due {
                known.looked = Instant::now();
            }
            is_due.then_some(known.stamps)
        };
        if let Some(stamps) = due {
            self.look(stamps).await?;
        }
        Ok(Arc::clone(&self.known.lock().credential))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "the tests write the files that operators write")]

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_read_again_when_their_file_changes() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("credentials");
        let write = |key: &str| {
            let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n");
            std::fs::write(&path, text).expect("written");
        };
        write("FIRST");
        let files = Files { credentials: Some(path.clone()), config: None };
        let first = credential(&files.find("default").expect("read").expect("a profile")).expect("keys");
        let provider = FileCredentials::new(files, "default".to_owned(), first);
        let key = async || provider.get_credential().await.expect("keys").key_id.clone();
        assert_eq!(key().await, "FIRST");
        write("SECOND, LONGER");
        assert_eq!(key().await, "FIRST");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key().await, "SECOND, LONGER");
        // What cannot be read for now leaves what was read before.
        std::fs::write(&path, "[default]\n").expect("written");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key().await, "SECOND, LONGER");
        std::fs::remove_file(&path).expect("removed");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key().await, "SECOND, LONGER");
        write("THIRD");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(key().await, "THIRD");
        assert!(!format!("{provider:?}").contains("secret\""), "{provider:?}");
    }

    #[test]
    fn files_lie_where_tools_of_aws_look() {
        let check = |pairs: &[(&str, &str)], expected: [Option<&str>; 2]| {
            let files = Files::of(&environment(pairs));
            let found =
                [&files.credentials, &files.config].map(|path| path.as_deref().and_then(Path::to_str));
            assert_eq!(found, expected);
        };
        check(&[("HOME", "/h")], [Some("/h/.aws/credentials"), Some("/h/.aws/config")]);
        check(&[("HOME", "/h"), ("AWS_CONFIG_FILE", "/c")], [Some("/h/.aws/credentials"), Some("/c")]);
        check(&[("AWS_SHARED_CREDENTIALS_FILE", "/s")], [Some("/s"), None]);
    }
}
