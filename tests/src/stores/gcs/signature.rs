//! The fourth version of Google's signatures, checked as its documentation says that they are made.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Uri};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::answer::Refusal;
use super::unescaped;

const EMAIL: &str = "courant@test.iam.gserviceaccount.com";
/// The host that URLs are signed for, wherever the double listens.
const HOST: &str = "storage.googleapis.com";

/// A service account, with the key that signs in its name.
pub(super) struct Account(KeyPair);

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account")
    }
}

impl Account {
    /// One with a key of its own.
    pub(super) fn new() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    /// The file that Google gives to those who are to be this account.
    pub(super) fn key_file(&self) -> String {
        let der: Pkcs8V1Der<'_> = self.0.as_der().expect("an encoding");
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        serde_json::json!({
            "type": "service_account",
            "client_email": EMAIL,
            "client_id": "1",
            "private_key_id": "1",
            "private_key": pem,
        })
        .to_string()
    }

    /// Checks the signature of a URL, and that it is still valid.
    pub(super) fn check(&self, method: &Method, uri: &Uri) -> Result<(), Refusal> {
        let pairs: BTreeMap<&str, &str> =
            uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value =
            |name: &str| pairs.get(name).and_then(|value| unescaped(value)).ok_or(Refusal::WrongSignature);
        let (date, scope) = (value("X-Goog-Date")?, value("X-Goog-Credential")?);
        let scope = scope.strip_prefix(&format!("{EMAIL}/")).ok_or(Refusal::WrongSignature)?;
        if value("X-Goog-SignedHeaders")? != "host" {
            return Err(Refusal::WrongSignature);
        }
        let query: Vec<_> = pairs
            .iter()
            .filter(|(name, _)| **name != "X-Goog-Signature")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let canonical =
            format!("{method}\n{}\n{}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD", uri.path(), query.join("&"));
        let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let signed = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{hashed}");
        let signature = bytes(&value("X-Goog-Signature")?).ok_or(Refusal::WrongSignature)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.0.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Refusal::WrongSignature)?;
        let since = DateTime::strptime("%Y%m%dT%H%M%SZ", &date).map_err(|_| Refusal::WrongSignature)?;
        let since =
            since.to_zoned(TimeZone::UTC).map_err(|_| Refusal::WrongSignature)?.timestamp().as_second();
        let life: i64 = value("X-Goog-Expires")?.parse().map_err(|_| Refusal::WrongSignature)?;
        if life > 604_800 || now() > since + life { Err(Refusal::Expired) } else { Ok(()) }
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of tests tells the real time")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
