//! The header for an object's access list, which the library cannot send: it is put on requests that make an
//! object, and those are signed once more.

use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::HttpRequest;

use crate::store::error::Cause;
use crate::store::page::Form;
use crate::store::transport::Manner;

const ACL: HeaderName = HeaderName::from_static("x-amz-acl");
const DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Gives the objects of a store an access list.
#[derive(Debug)]
pub(super) struct Acl {
    pub(super) acl: HeaderValue,
    pub(super) region: String,
    pub(super) credentials: AwsCredentialProvider,
}

#[async_trait]
impl Manner for Acl {
    fn pages(&self) -> Form {
        Form::S3
    }

    async fn finish(&self, request: &mut HttpRequest) -> Result<(), Cause> {
        // Others, among them what asks for credentials, stay as they are.
        if !makes_object(request.method(), request.uri().query())
            || !request.headers().contains_key(AUTHORIZATION)
        {
            return Ok(());
        }
        let digest = request.headers().get(&DIGEST).and_then(|digest| hex(digest.as_bytes()));
        request.headers_mut().remove(AUTHORIZATION);
        request.headers_mut().insert(ACL, self.acl.clone());
        let credential = self.credentials.get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(request, digest.as_deref())?;
        Ok(())
    }
}

/// Whether a request makes an object, or begins an upload that will.
fn makes_object(method: &Method, query: Option<&str>) -> bool {
    match *method {
        Method::PUT => query.is_none(),
        Method::POST => {
            query.is_some_and(|query| query.split('&').any(|part| part == "uploads" || part == "uploads="))
        }
        _ => false,
    }
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_make_objects_are_changed() {
        let check = |method: Method, query: Option<&str>, expected: bool| {
            assert_eq!(makes_object(&method, query), expected, "{method} {query:?}");
        };
        check(Method::PUT, None, true);
        check(Method::POST, Some("uploads="), true);
        check(Method::PUT, Some("partNumber=1&uploadId=x"), false);
        check(Method::POST, Some("uploadId=uploads"), false);
        check(Method::GET, None, false);
        check(Method::DELETE, None, false);
    }

    #[test]
    fn digests_are_read() {
        assert_eq!(hex(b"00ff1A"), Some(vec![0, 255, 26]));
        assert_eq!(hex(b"0"), None);
        assert_eq!(hex(b"UNSIGNED-PAYLOAD"), None);
    }
}
