//! Places: origins that a manifest names, or leaves to the operator's configuration.

/// The key named by an origin that comes from configuration: `{config.base_url}` → `base_url`.
pub fn config_key(origin: &str) -> Option<&str> {
    config_place(origin).filter(|(_, is_optional)| !is_optional).map(|(key, _)| key)
}

/// The same, and whether the key may be missing: `{config.mirrors?}` → `mirrors`, true.
pub fn config_place(origin: &str) -> Option<(&str, bool)> {
    let key = origin.strip_prefix("{config.")?.strip_suffix('}')?;
    let (key, is_optional) = key.strip_suffix('?').map_or((key, false), |key| (key, true));
    is_key(key).then_some((key, is_optional))
}

/// Whether a manifest can name this key of the configuration.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `https://host[:port]`, or the same with http for this machine itself.
pub(super) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let loopback = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(|port| port.is_empty() || port.starts_with(':')));
    plain && (scheme == "https" || (scheme == "http" && loopback))
}

/// Whether a page's policy can name this as a place to fetch from: an origin, or `https://*.site.example` for any name below
/// that site's.
pub fn is_fetch_origin(text: &str) -> bool {
    let is_below_a_site = |site: &str| {
        let name = site.split(':').next().unwrap_or_default();
        name.contains('.') && !name.starts_with('.') && is_origin(&format!("https://{site}"))
    };
    is_origin(text) || text.strip_prefix("https://*.").is_some_and(is_below_a_site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_https_or_this_machine() {
        for good in ["https://a.example", "https://a.example:8443", "http://localhost:3000", "http://127.0.0.1"] {
            assert!(is_origin(good) && is_fetch_origin(good), "{good}");
        }
        for bad in ["http://a.example", "http://localhost.evil", "https://", "https://a.example/", "https://u@a", "x"] {
            assert!(!is_origin(bad) && !is_fetch_origin(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_fetched_may_be_on_any_name_of_a_site() {
        for good in ["https://*.cdn.example", "https://*.a.cdn.example:8443"] {
            assert!(is_fetch_origin(good) && !is_origin(good), "{good}");
        }
        for bad in [
            "https://*",
            "https://*.example",
            "https://*..example",
            "https://*.example:443.x",
            "https://a.*.example",
            "https://**.cdn.example",
            "http://*.cdn.example",
            "https://*.cdn.example/",
            "https://*.cdn.example; script-src *",
            "*.cdn.example",
            "https:",
            "'self'",
            "blob:",
        ] {
            assert!(!is_fetch_origin(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_of_the_configuration_may_be_optional() {
        assert_eq!(config_place("{config.a_1}"), Some(("a_1", false)));
        assert_eq!(config_place("{config.a?}"), Some(("a", true)));
        assert_eq!((config_key("{config.a}"), config_key("{config.a?}")), (Some("a"), None));
        for bad in ["{config.}", "{config.?}", "{config.a??}", "{config.a", "config.a", "{config.a.b}", "{other.a}"] {
            assert_eq!(config_place(bad), None, "{bad}");
        }
    }
}
