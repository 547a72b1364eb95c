//! Pages of listings, as they come over the wire.
//!
//! The library gives up a whole listing for one key that it takes for no path, and takes a page that says there is
//! more, and not where, for the last one. So its pages are looked through before it gets them: whoever may write to
//! a bucket must not be able to end its listings, and a listing that lacks something must not look whole.

use object_store::path::Path;

/// How a kind of store writes its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Stands in the query of a request for a page.
    request: &'static str,
    root: &'static str,
    entry: &'static str,
    key: &'static str,
    next: &'static str,
    /// Where a request says which page it asks for.
    from: &'static str,
}

impl Form {
    /// S3's pages, and those of Google's that look like them.
    pub(super) const S3: Self = Self {
        request: "list-type=2",
        root: "ListBucketResult",
        entry: "Contents",
        key: "Key",
        next: "NextContinuationToken",
        from: "continuation-token",
    };
    /// Azure's.
    pub(super) const AZURE: Self = Self {
        request: "comp=list",
        root: "EnumerationResults",
        entry: "Blob",
        key: "Name",
        next: "NextMarker",
        from: "marker",
    };

    /// Whether a query asks for a page.
    pub(super) fn is_asked_for(&self, query: &str) -> bool {
        query.split('&').any(|part| part == self.request)
    }

    /// The page without what the library cannot read, and how many entries those were.
    ///
    /// # Errors
    /// The page is not whole, or leads nowhere. It is answered to `query`.
    pub(super) fn readable(&self, page: &str, query: &str) -> Result<(String, u64), &'static str> {
        if !page.trim_end().ends_with(&format!("</{}>", self.root)) {
            return Err("a page of the listing is cut off");
        }
        let next = element(page, self.next).filter(|next| !next.is_empty());
        if next.is_none() && element(page, "IsTruncated") == Some("true") {
            return Err("a page of the listing says that there is more, and not where");
        }
        if let Some(next) = next {
            let next = unescaped(next);
            let asked = url::form_urlencoded::parse(query.as_bytes());
            if asked.into_iter().any(|(name, value)| name == self.from && value == next) {
                return Err("a page of the listing leads back to itself");
            }
        }
        Ok(self.without_strays(page))
    }

    fn without_strays(&self, page: &str) -> (String, u64) {
        let (open, close) = (format!("<{}>", self.entry), format!("</{}>", self.entry));
        let mut kept = String::with_capacity(page.len());
        let (mut rest, mut strays) = (page, 0);
        while let Some(begin) = rest.find(&open) {
            // A page that is whole closes its entries; what does not is the library's to refuse.
            let Some(length) = rest[begin..].find(&close) else { break };
            let end = begin + length + close.len();
            let is_path = element(&rest[begin..end], self.key).is_some_and(|key| is_path(&unescaped(key)));
            if is_path {
                kept.push_str(&rest[..end]);
            } else {
                kept.push_str(&rest[..begin]);
                strays += 1;
            }
            rest = &rest[end..];
        }
        kept.push_str(rest);
        (kept, strays)
    }
}

/// Whether a key comes back from the library as it is.
fn is_path(key: &str) -> bool {
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
}

/// The text of the first element of a name. Within text, `<` is escaped.
fn element<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text)
}

/// The text that an escaped one stands for. What is no escape is left as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let known = after.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        match known {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], more: &str) -> String {
        let entries: String =
            keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
        format!("<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\">{more}{entries}</ListBucketResult>\n")
    }

    #[test]
    fn what_is_no_path_is_left_out() {
        let (kept, strays) = Form::S3
            .readable(
                &page(&["a/b", "a//b", "a/../b", "c &amp; d", "a/&#x9;", "e/", "/f", "&#10;", "g"], ""),
                "",
            )
            .expect("whole");
        assert_eq!((kept, strays), (page(&["a/b", "c &amp; d", "g"], ""), 6));
        assert_eq!(Form::S3.readable(&page(&[], ""), "").expect("whole"), (page(&[], ""), 0));
    }

    #[test]
    fn azure_writes_its_own() {
        let page = |names: &[&str], marker: &str| {
            let blobs: String =
                names.iter().map(|name| format!("<Blob><Name>{name}</Name><Properties/></Blob>")).collect();
            format!(
                "<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
            )
        };
        let asked = "restype=container&comp=list&marker=m%2F1";
        assert!(Form::AZURE.is_asked_for(asked) && !Form::S3.is_asked_for(asked));
        let read = Form::AZURE.readable(&page(&["a", "b//c"], "m/2"), asked).expect("whole");
        assert_eq!(read, (page(&["a"], "m/2"), 1));
        assert_eq!(
            Form::AZURE.readable(&page(&["a"], "m/1"), asked),
            Err("a page of the listing leads back to itself")
        );
        assert!(
            Form::AZURE
                .readable("<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>", asked)
                .is_ok()
        );
    }

    #[test]
    fn a_page_is_whole_or_none() {
        let check = |page: &str, query: &str, expected: &str| {
            let error = Form::S3.readable(page, query).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        };
        let whole = page(
            &["a"],
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>",
        );
        assert!(Form::S3.readable(&whole, "list-type=2").is_ok());
        check(&whole, "list-type=2&continuation-token=t%261", "back to itself");
        check(&page(&["a"], "<IsTruncated>true</IsTruncated>"), "", "and not where");
        check(&whole[..whole.len() - 3], "", "cut off");
        check("", "", "cut off");
        check("<Error/>", "", "cut off");
    }

    #[test]
    fn escapes_are_resolved_as_far_as_they_are_some() {
        assert_eq!(unescaped("a&amp;b&#x41;&#66;&quot;&nope;&&#xD800;&"), "a&bAB\"&nope;&&#xD800;&");
    }
}
