//! Whether a client has what it asks for already.

use axum::http::{HeaderMap, header};

/// Whether If-None-Match names this ETag: in a list, weak or strong, or any with `*`.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().strip_prefix("W/").unwrap_or(tag.trim()).to_owned();
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    // No ETag of ours has a comma in it.
    lists.flat_map(|list| list.split(',')).any(|tag| tag.trim() == "*" || bare(tag) == bare(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_tags_lists_and_the_star_are_known() {
        let known = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().expect("a value"));
            is_known(&headers, "\"a1\"")
        };
        assert!(known("\"a1\"") && known("W/\"a1\"") && known("\"b\", W/\"a1\"") && known("*"));
        assert!(!known("\"a\"") && !known("a1") && !known("\"b\", \"c\""));
        assert!(!is_known(&HeaderMap::new(), "\"a1\""));
    }
}
