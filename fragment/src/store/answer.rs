//! What a store said when it refused or failed, as far as that is worth showing, and safe to show.
//!
//! Stores quote requests back at those who sent them, headers included, and among those may be keys. So of a
//! body nothing is kept but its code and its message.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use object_store::Error;

/// No more is kept of a text, in bytes.
const TEXT_MAX: usize = 600;

/// What a store, or the library in its place, said.
#[derive(Debug)]
pub struct Answer {
    kind: Kind,
    status: Option<u16>,
    code: Option<String>,
    io: Option<io::ErrorKind>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotFound,
    Denied,
    Unauthenticated,
    /// Something that no store of this kind does, or does with such a path.
    Unsupported,
    Other,
}

impl Answer {
    /// The status of HTTP, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The store's own name for what is wrong.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether there is no such object, in a bucket that is there as far as the store tells.
    pub(super) fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound && !self.is_no_bucket()
    }

    /// Whether the bucket itself is not there, or not in use.
    pub(super) fn is_no_bucket(&self) -> bool {
        let known = ["NoSuchBucket", "ContainerNotFound", "ContainerDisabled", "ContainerBeingDeleted"];
        // A batch of Azure's says so in words alone. They have blanks, so they are of no key.
        self.code().is_some_and(|code| known.contains(&code))
            || self.text.contains("The specified container does not exist")
    }

    /// Whether the store knows us, or need not, and does not let us.
    pub(super) fn is_denied(&self) -> bool {
        match (self.code(), self.status) {
            // Whoever that is, it is nobody.
            (Some("InvalidAccessKeyId"), _) => false,
            (Some("AccountIsDisabled" | "AccessDenied"), _) | (_, Some(403)) => true,
            (_, None) => self.kind == Kind::Denied || self.io == Some(io::ErrorKind::PermissionDenied),
            _ => false,
        }
    }

    /// Whether another attempt may do better with nothing changed by an operator.
    pub(super) fn is_transient(&self) -> bool {
        match (self.kind, self.status) {
            (Kind::NotFound | Kind::Denied | Kind::Unauthenticated | Kind::Unsupported, _) => false,
            // What conflicts with another's request does so in passing; S3 cuts off requests that take long with 400.
            (Kind::Other, Some(400)) => self.code() == Some("RequestTimeout"),
            (Kind::Other, Some(status)) => {
                !(300..500).contains(&status) || matches!(status, 408 | 409 | 412 | 425 | 429)
            }
            (Kind::Other, None) => true,
        }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotFound { .. } => Kind::NotFound,
            Error::PermissionDenied { .. } => Kind::Denied,
            Error::Unauthenticated { .. } => Kind::Unauthenticated,
            Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
                Kind::Unsupported
            }
            _ => Kind::Other,
        };
        let io = io_kind(&error);
        let told = error.to_string();
        let status = after(&told, "status code: ").and_then(|rest| rest.get(..3)?.parse().ok());
        // Paths are shown with escapes, so this begins a body.
        let body = ["<?xml", "<Error", "\u{feff}<"].iter().filter_map(|begin| told.find(begin)).min();
        let (head, body) = told.split_at(body.unwrap_or(told.len()));
        let code = element(body, "Code").filter(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let mut text = head.trim_end_matches([':', ' ']).to_owned();
        for part in [code, element(body, "Message")].into_iter().flatten() {
            text.push_str(": ");
            text.push_str(part.lines().next().unwrap_or_default());
        }
        // A status says what the library makes of it, as far as the path; what a listing says is all the rest.
        let kind = match (kind, status) {
            (Kind::Other, Some(404)) => Kind::NotFound,
            (Kind::Other, Some(403)) => Kind::Denied,
            (Kind::Other, Some(401)) => Kind::Unauthenticated,
            (kind, _) => kind,
        };
        Self { kind, status, code: code.map(str::to_owned), io, text: shortened(text) }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Answer {}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// The text of an element of XML, which holds no other.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let rest = after(body, &format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text.trim())
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The kind of the I/O error at the root of a chain of causes.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the library words it.
    fn failed(status: &str, body: &str) -> String {
        format!(
            "Error performing GET http://host/b/a%3CCode%3E in 1ms - Server returned non-2xx status code: {status}: {body}"
        )
    }

    fn generic(status: &str, body: &str) -> Answer {
        Error::Generic { store: "S3", source: failed(status, body).into() }.into()
    }

    fn xml(code: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as it is</Message><Secret>hidden</Secret></Error>"
        )
    }

    #[test]
    fn nothing_is_shown_of_a_body_but_code_and_message() {
        let body = xml("SignatureDoesNotMatch").replace("hidden", "x-amz-security-token:hidden");
        let answer = generic("403 Forbidden", &body);
        assert_eq!((answer.status(), answer.code()), (Some(403), Some("SignatureDoesNotMatch")));
        let shown = format!("{answer} {answer:?}");
        assert!(!shown.contains("hidden") && !shown.contains("security"), "{shown}");
        assert!(shown.contains("403 Forbidden: SignatureDoesNotMatch: as it is"), "{shown}");
        let long = generic("500", &"é".repeat(5000)).to_string();
        assert!(long.len() < TEXT_MAX + 10, "{}", long.len());
    }

    #[test]
    fn answers_are_told_apart() {
        // Not found, no bucket, denied, transient.
        let check = |answer: Answer, expected: [bool; 4]| {
            let found =
                [answer.is_not_found(), answer.is_no_bucket(), answer.is_denied(), answer.is_transient()];
            assert_eq!(found, expected, "{answer:?}");
        };
        const T: bool = true;
        const F: bool = false;
        let not_found = |body: &str| {
            Answer::from(Error::NotFound { path: "a".into(), source: failed("404 Not Found", body).into() })
        };
        check(not_found(""), [T, F, F, F]);
        check(not_found(&xml("NoSuchKey")), [T, F, F, F]);
        check(not_found(&xml("BlobNotFound")), [T, F, F, F]);
        check(not_found(&xml("NoSuchBucket")), [F, T, F, F]);
        check(not_found(&xml("ContainerNotFound")), [F, T, F, F]);
        // Listings fail without a kind.
        check(generic("404 Not Found", &xml("NoSuchBucket")), [F, T, F, F]);
        check(generic("403 Forbidden", &xml("AccessDenied")), [F, F, T, F]);
        check(generic("403 Forbidden", ""), [F, F, T, F]);
        check(generic("403 Forbidden", &xml("InvalidAccessKeyId")), [F, F, F, F]);
        check(generic("403 Forbidden", &xml("AccountIsDisabled")), [F, F, T, F]);
        check(generic("409 Conflict", &xml("ContainerBeingDeleted")), [F, T, F, T]);
        check(generic("401 Unauthorized", ""), [F, F, F, F]);
        check(generic("400 Bad Request", &xml("ExpiredToken")), [F, F, F, F]);
        check(generic("400 Bad Request", &xml("RequestTimeout")), [F, F, F, T]);
        check(generic("301 Moved Permanently", ""), [F, F, F, F]);
        for status in ["500 Internal", "503 Slow Down", "429 Too Many Requests", "409 Conflict", "200 OK"] {
            check(generic(status, &xml("SlowDown")), [F, F, F, T]);
        }
        let denied = Error::PermissionDenied { path: "a".into(), source: failed("403 Forbidden", "").into() };
        check(denied.into(), [F, F, T, F]);
        let unreachable = Error::Generic { store: "S3", source: "connection refused".into() };
        check(unreachable.into(), [F, F, F, T]);
        // A name says nothing of the answer.
        let named = Error::NotFound {
            path: "NoSuchBucket/<Code>".into(),
            source: failed("404 Not Found", "").into(),
        };
        check(named.into(), [T, F, F, F]);
    }
}
