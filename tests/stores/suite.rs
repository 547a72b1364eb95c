//! The cases, for each server.

use crate::cases;
use crate::site::{Kind, Site};

macro_rules! suite {
    ($($server:ident: $kind:ident [$($case:ident)*])*) => {$(
        mod $server {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(site) = Site::open(Kind::$kind).await {
                        cases::$case(site).await;
                    }
                }
            )*
        }
    )*};
}

macro_rules! every_server {
    ($($case:ident)*) => {
        suite! {
            file: File [$($case)*]
            s3: S3 [$($case)*]
            moto: Moto [$($case)*]
            gcs: Gcs [$($case)*]
            azure: Azure [$($case)*]
        }
    };
}

every_server! {
    content_comes_back_from_every_offset
    large_content_goes_in_parts
    what_is_there_is_not_written_again
    what_is_there_and_wrong_is_written_over
    content_that_is_not_the_fragments_is_not_stored
    many_may_put_the_same
    a_listing_has_all_pages
    a_listing_is_of_one_journal
    what_is_removed_is_gone
    a_signed_url_reads_the_object
    checks_pass
    paths_are_rewritten
    names_may_hold_what_urls_escape
    gzip_may_have_several_members
    damage_is_found
    a_missing_bucket_is_no_missing_object
    keys_that_are_no_paths_end_no_listing
}
