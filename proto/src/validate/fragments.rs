//! Pure: rules of `ListFragments` and `FragmentStoreHealth`.

use super::{Validate, optional, refuse, required, status, url};
use crate::duration::GoDuration;
use crate::invalid::{Context, Invalid};
use crate::name::{MAX_NAME_LENGTH, check_request_name};
use crate::store::StoreUrl;
use crate::token::check_path;
use crate::wire;

/// Most fragments that one answer may be asked for.
const MAX_PAGE_LIMIT: i32 = 10_000;

impl Validate for wire::FragmentsRequest {
    fn validate(&self) -> Result<(), Invalid> {
        optional(self.header.as_ref(), "Header")?;
        check_request_name(&self.journal).within("Journal")?;
        let (begin, end) = (self.begin_mod_time, self.end_mod_time);
        if end != 0 && end < begin {
            return refuse(format!("invalid EndModTime ({end} must be after {begin})"));
        }
        if self.next_page_token < 0 {
            return refuse(format!("invalid NextPageToken ({}; must be >= 0)", self.next_page_token));
        }
        if !(0..=MAX_PAGE_LIMIT).contains(&self.page_limit) {
            return refuse(format!(
                "invalid PageLimit ({}; must be >= 0 and <= {MAX_PAGE_LIMIT})",
                self.page_limit
            ));
        }
        if let Some(wire) = &self.signature_ttl {
            match GoDuration::from_wire(wire) {
                Some(ttl) if ttl > GoDuration::ZERO => {}
                Some(ttl) => return refuse(format!("invalid SignatureTTL ({ttl}; must be > 0s)")),
                None => {
                    let (seconds, nanos) = (wire.seconds, wire.nanos);
                    return refuse(format!(
                        "invalid SignatureTTL ({seconds} s and {nanos} ns; must be > 0s)"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Validate for wire::FragmentsResponse {
    fn validate(&self) -> Result<(), Invalid> {
        status(self.status)?;
        required(self.header.as_ref(), "Header")?;
        for (index, fragment) in self.fragments.iter().enumerate() {
            fragment.validate().at("Fragments", index)?;
        }
        if self.next_page_token < 0 {
            return refuse(format!("invalid NextPageToken ({}; must be >= 0)", self.next_page_token));
        }
        Ok(())
    }
}

impl Validate for wire::fragments_response::Fragment {
    fn validate(&self) -> Result<(), Invalid> {
        required(self.spec.as_ref(), "Spec")?;
        url(&self.signed_url, "SignedUrl")
    }
}

impl Validate for wire::FragmentStoreHealthRequest {
    fn validate(&self) -> Result<(), Invalid> {
        StoreUrl::parse(&self.fragment_store).within("FragmentStore")?;
        check_delete_prefix(&self.check_delete_prefix, self.check_delete).within("CheckDeletePrefix")
    }
}

fn check_delete_prefix(prefix: &str, check_delete: bool) -> Result<(), Invalid> {
    if prefix.is_empty() {
        return Ok(());
    }
    if !check_delete {
        return refuse("cannot be set when CheckDelete is false");
    }
    let Some(folder) = prefix.strip_suffix('/') else {
        return refuse(format!("must end in '/' ({prefix})"));
    };
    if folder == ".." || folder.starts_with("../") {
        return refuse(format!("cannot traverse outside the store ({prefix})"));
    }
    check_path(folder, 1, MAX_NAME_LENGTH)
}

impl Validate for wire::FragmentStoreHealthResponse {
    fn validate(&self) -> Result<(), Invalid> {
        status(self.status)?;
        required(self.header.as_ref(), "Header")
    }
}
