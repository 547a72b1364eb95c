//! Statuses of the protocol and faults of calls as statuses of HTTP, each with a line on what to do.
//!
//! The first line of a body is what Gazette's gateway would say, so that scripts written for it go on working.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use courant_client::{Error, Refusal};
use courant_proto::wire;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::headers;

/// After how many seconds a state is likely to have passed.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    /// The name of a status, or what is wrong with the request.
    pub(crate) reason: Cow<'static, str>,
    /// What to do about it. Empty where the reason says so.
    pub(crate) advice: Cow<'static, str>,
    /// Beyond those of every failure.
    pub(crate) headers: Box<HeaderMap>,
}

impl Failure {
    pub(crate) fn new(
        code: StatusCode,
        reason: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, reason: reason.into(), advice: advice.into(), headers: Box::default() }
    }

    /// The request is wrong in a way that its reason tells.
    pub(crate) fn bad_request(reason: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason.to_string(), "")
    }

    pub(crate) fn method_not_allowed(method: &http::Method, allowed: &'static str) -> Self {
        let mut failure = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("unknown method: {method}"),
            format!("here the methods are {allowed}"),
        );
        failure.headers.insert(ALLOW, HeaderValue::from_static(allowed));
        failure
    }

    pub(crate) fn body_too_large(limit: u64) -> Self {
        let mut failure = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is over the limit of {limit} bytes, and nothing was appended"),
            "split the content over several requests",
        );
        failure.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        failure
    }

    /// A broker's refusal, with the route it named, for a request with this path.
    pub(crate) fn refused(refusal: &Refusal, path: &str) -> Self {
        let advice = refusal.status.explain().remedy;
        let name = refusal.status.as_str_name();
        let reason = if refusal.store_health.is_empty() {
            Cow::Borrowed(name)
        } else {
            format!("{name}: {}", refusal.store_health).into()
        };
        let mut failure = Self {
            code: code_of(refusal.status),
            reason,
            advice: advice.into(),
            headers: Box::new(headers::of_refusal(refusal, path)),
        };
        failure.advise_retry();
        failure
    }

    /// A status that the gateway itself found.
    pub(crate) fn status(status: wire::Status) -> Self {
        Self::new(code_of(status), status.as_str_name(), status.explain().remedy)
    }

    /// Any error of a call, for a request with this path.
    pub(crate) fn of(error: &Error, path: &str) -> Self {
        let mut failure = match error {
            Error::Refused(refusal) => return Self::refused(refusal, path),
            Error::Rpc(status) => {
                let (code, advice) = meaning_of_code(status.code());
                let reason = match status.message() {
                    "" => format!("{:?}", status.code()),
                    message => message.to_owned(),
                };
                Self::new(code, reason, advice)
            }
            Error::Invalid(_) => Self::bad_request(error),
            Error::Content(_) => {
                Self::new(StatusCode::BAD_REQUEST, error.to_string(), "send it again, whole")
            }
            Error::Unanswered { .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                error.to_string(),
                "look whether it happened before repeating",
            ),
            Error::Malformed { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, error.to_string(), "check which brokers serve the journal")
            }
            Error::Address { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), ""),
        };
        failure.advise_retry();
        failure
    }

    fn advise_retry(&mut self) {
        if self.code == StatusCode::SERVICE_UNAVAILABLE {
            self.headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
    }

    /// The answer: plain text, or a problem document below `/v1`.
    pub(crate) fn into_response(self, versioned: bool) -> Response {
        let (content_type, body) = if versioned {
            ("application/problem+json", self.problem())
        } else {
            ("text/plain; charset=utf-8", self.text())
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code;
        *response.headers_mut() = *self.headers;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn text(&self) -> String {
        let reason = shown(&self.reason);
        match &*self.advice {
            "" => format!("{reason}\n"),
            advice => format!("{reason}\n{}\n", shown(advice)),
        }
    }

    fn problem(&self) -> String {
        let title = self.code.canonical_reason().unwrap_or("Error");
        let detail = match &*self.advice {
            "" => self.reason.to_string(),
            advice => format!("{}: {advice}", self.reason),
        };
        let mut problem =
            json!({ "type": "about:blank", "title": title, "status": self.code.as_u16(), "detail": detail });
        if let Some(status) = wire::Status::from_str_name(&self.reason) {
            problem["code"] = status.as_str_name().into();
        }
        problem.to_string()
    }
}

/// A text that may quote a request, on one line of bounded length, with nothing that a terminal would act on.
fn shown(text: &str) -> String {
    const MOST_CHARS: usize = 1_024;
    let mut shown = String::with_capacity(text.len().min(MOST_CHARS));
    for c in text.chars().take(MOST_CHARS) {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    if shown.len() < text.len() && text.chars().nth(MOST_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// The status of HTTP for a status of the protocol.
fn code_of(status: wire::Status) -> StatusCode {
    use wire::Status as S;
    match status {
        S::JournalNotFound => StatusCode::NOT_FOUND,
        S::NotAllowed => StatusCode::FORBIDDEN,
        S::OffsetNotYetAvailable => StatusCode::RANGE_NOT_SATISFIABLE,
        S::RegisterMismatch => StatusCode::PRECONDITION_FAILED,
        S::EtcdTransactionFailed | S::WrongAppendOffset | S::IndexHasGreaterOffset | S::Suspended => {
            StatusCode::CONFLICT
        }
        S::NoJournalPrimaryBroker
        | S::NotJournalPrimaryBroker
        | S::InsufficientJournalBrokers
        | S::NotJournalBroker
        | S::FragmentStoreUnhealthy => StatusCode::SERVICE_UNAVAILABLE,
        // The first is none to a client that failed, and brokers keep the others among themselves.
        S::Ok | S::WrongRoute | S::ProposalMismatch => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of HTTP for a gRPC code, and what to do.
pub(crate) fn meaning_of_code(code: tonic::Code) -> (StatusCode, &'static str) {
    use tonic::Code as C;
    match code {
        C::InvalidArgument | C::OutOfRange => (StatusCode::BAD_REQUEST, ""),
        C::NotFound => (StatusCode::NOT_FOUND, ""),
        C::AlreadyExists | C::Aborted | C::FailedPrecondition => (StatusCode::CONFLICT, ""),
        C::Unauthenticated => (StatusCode::UNAUTHORIZED, ""),
        C::PermissionDenied => (StatusCode::FORBIDDEN, ""),
        C::Unimplemented => (StatusCode::NOT_IMPLEMENTED, ""),
        C::Unavailable | C::ResourceExhausted | C::Cancelled => {
            (StatusCode::SERVICE_UNAVAILABLE, "the broker cannot answer now; try again")
        }
        C::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "look whether it happened before repeating"),
        C::Ok | C::Unknown | C::Internal | C::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, ""),
    }
}
