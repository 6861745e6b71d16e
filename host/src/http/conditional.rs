//! Requests under a condition: whether the client has what it asks for already, and whether it asks for what is there.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::{Error, ErrorCode};

/// Whether a client has this already, by the order of RFC 9110, 13.2.2; an error if it wants another than there is. An ETag
/// says more than a date: where the one is named the other is not looked at.
pub(super) fn is_known(headers: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> Result<bool, Error> {
    let date = |name| Some((read_date(headers.get(name)?)?, whole_secs(modified?)));
    let is_wanted = match names(headers, &header::IF_MATCH, |tag| tag == etag) {
        // What is weakly the same may differ in bytes.
        Some(is_named) => is_named,
        None => date(header::IF_UNMODIFIED_SINCE).is_none_or(|(since, modified)| modified <= since),
    };
    if !is_wanted {
        return Err(Error::new(ErrorCode::PreconditionFailed, "this is not the one that is asked for any more"));
    }
    let bare = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    Ok(match names(headers, &header::IF_NONE_MATCH, |tag| bare(tag) == bare(etag)) {
        Some(is_named) => is_named,
        None => date(header::IF_MODIFIED_SINCE).is_some_and(|(since, modified)| modified <= since),
    })
}

/// Whether a header names one like this, or any with `*`; nothing if it is not there.
fn names(headers: &HeaderMap, name: &HeaderName, is_it: impl Fn(&str) -> bool) -> Option<bool> {
    let lists = headers.get_all(name).iter().map(|list| list.to_str().unwrap_or_default());
    // No ETag of ours has a comma in it.
    let is_named = lists.flat_map(|list| list.split(',')).map(str::trim).any(|tag| tag == "*" || is_it(tag));
    headers.contains_key(name).then_some(is_named)
}

/// A date that is none says nothing.
fn read_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// As it is told: in Last-Modified there are no fractions.
fn whole_secs(modified: SystemTime) -> SystemTime {
    let told = httpdate::parse_http_date(&httpdate::fmt_http_date(modified));
    told.unwrap_or(modified)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const BEFORE: &str = "Fri, 13 Feb 2009 23:31:29 GMT";
    const THEN: &str = "Fri, 13 Feb 2009 23:31:30 GMT";

    fn judged(conditions: &[(HeaderName, &'static str)]) -> Result<bool, ErrorCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in conditions {
            headers.append(name, HeaderValue::from_static(value));
        }
        let modified = UNIX_EPOCH + Duration::from_millis(1_234_567_890_700);
        is_known(&headers, "\"a1\"", Some(modified)).map_err(|error| error.code())
    }

    #[test]
    fn weak_tags_lists_and_the_star_are_known() {
        let known = |value| judged(&[(header::IF_NONE_MATCH, value)]) == Ok(true);
        assert!(known("\"a1\"") && known("W/\"a1\"") && known("\"b\", W/\"a1\"") && known("*"));
        assert!(!known("\"a\"") && !known("a1") && !known("\"b\", \"c\""));
        assert_eq!(judged(&[]), Ok(false));
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, THEN)]), Ok(true));
        assert_eq!(judged(&[(header::IF_MODIFIED_SINCE, BEFORE)]), Ok(false));
        assert_eq!(judged(&[(header::IF_NONE_MATCH, "\"b\""), (header::IF_MODIFIED_SINCE, THEN)]), Ok(false));
    }

    #[test]
    fn who_wants_another_is_told_so_and_the_tag_counts_before_the_date() {
        let refused = Err(ErrorCode::PreconditionFailed);
        let wanted = |value| judged(&[(header::IF_MATCH, value)]);
        assert_eq!([wanted("\"a1\""), wanted("\"b\", \"a1\""), wanted("*")], [Ok(false); 3]);
        assert_eq!([wanted("\"b\""), wanted("W/\"a1\""), wanted("")], [refused; 3]);
        let since = |value| judged(&[(header::IF_UNMODIFIED_SINCE, value)]);
        assert_eq!([since(THEN), since(BEFORE), since("some day")], [Ok(false), refused, Ok(false)]);
        assert_eq!(judged(&[(header::IF_MATCH, "\"a1\""), (header::IF_UNMODIFIED_SINCE, BEFORE)]), Ok(false));
        assert_eq!(judged(&[(header::IF_MATCH, "\"b\""), (header::IF_NONE_MATCH, "\"a1\"")]), refused);
        assert_eq!(judged(&[(header::IF_MATCH, "\"a1\""), (header::IF_NONE_MATCH, "\"a1\"")]), Ok(true));
    }
}
