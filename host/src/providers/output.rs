//! What a plugin may answer: a URL on one of the origins it declared, and nothing that could surprise a browser.

use serde::{Deserialize, Serialize};
use streamit_plugin_api::{Manifest, manifest::config_key};
use url::Url;

/// Where a provider's URLs may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Destination {
    /// Another origin: scheme, host, and the port if it is not the usual one.
    Origin(String),
    /// This host, below a path that begins and ends with a slash.
    Here(String),
}

/// The destinations a manifest declares, with the operator's configuration filled in.
pub(super) fn destinations(manifest: &Manifest, config: &toml::Table) -> Result<Vec<Destination>, String> {
    manifest.player.embed_origins.iter().map(|origin| destination(origin, config)).collect()
}

fn destination(origin: &str, config: &toml::Table) -> Result<Destination, String> {
    let Some(key) = config_key(origin) else {
        return Url::parse(origin)
            .map(|url| Destination::Origin(url.origin().ascii_serialization()))
            .map_err(|error| format!("{origin}: {error}"));
    };
    let Some(value) = config.get(key).and_then(|value| value.as_str()) else {
        return Err(format!("config.{key}: missing; the provider's embed_origins name it"));
    };
    if value.starts_with('/') && !value.starts_with("//") && value.ends_with('/') {
        return Ok(Destination::Here(value.to_owned()));
    }
    match Url::parse(value) {
        Ok(url) if is_safe(&url) => Ok(Destination::Origin(url.origin().ascii_serialization())),
        _ => Err(format!("config.{key}: `{value}`: expected \"/path/\" on this host or \"https://host/…\"")),
    }
}

/// https anywhere; http on this machine only.
fn is_safe(url: &Url) -> bool {
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// Whether a URL that a plugin wrote may be given to a browser.
pub(super) fn check_url(text: &str, destinations: &[Destination]) -> Result<(), String> {
    if text.is_empty() {
        return Err("its URL is empty".into());
    }
    let shown = || text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>();
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(format!("its URL has blanks, backslashes or control characters: {}", shown()));
    }
    let is_here = text.starts_with('/') && !text.starts_with("//");
    let here = Url::parse("https://here.invalid").expect("a constant URL");
    let url = if is_here { here.join(text) } else { Url::parse(text) };
    let url = url.map_err(|error| format!("its URL is not one ({error}): {}", shown()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("its URL carries a user name: {}", shown()));
    }
    if !is_safe(&url) {
        return Err(format!("its URL is neither https nor http on this machine: {}", shown()));
    }
    let allowed = destinations.iter().any(|place| match place {
        Destination::Here(path) => is_here && url.path().starts_with(path.as_str()),
        Destination::Origin(origin) => !is_here && url.origin().ascii_serialization() == *origin,
    });
    if allowed { Ok(()) } else { Err(format!("its URL is on none of its embed_origins: {}", shown())) }
}

impl Destination {
    /// As it stands in a Content-Security-Policy and in `event.origin` checks.
    pub(super) fn as_source(&self) -> &str {
        match self {
            Destination::Origin(origin) => origin,
            Destination::Here(_) => "'self'",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> bool {
        let [cdn, local] =
            ["https://cdn.example", "http://localhost:3000"].map(|origin| Destination::Origin(origin.into()));
        check_url(text, &[cdn, local, Destination::Here("/media/".into())]).is_ok()
    }

    #[test]
    fn urls_stay_on_the_declared_origins() {
        for good in ["https://cdn.example/a?b=c", "/media/a%20b.webm", "http://localhost:3000/x"] {
            assert!(allowed(good), "{good}");
        }
        let bad = [
            "http://cdn.example/a",
            "https://evil.example/",
            "https://cdn.example.evil/",
            "https://cdn.example:444/",
            "https://user@cdn.example/",
            "https://u:p@cdn.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//cdn.example/a",
            "/admin",
            "/media/../admin",
            "/media/%2e%2e/admin",
            "\\media\\a",
            "",
            "https://cdn.example/a b",
            "https://cdn.example/\n",
            "ftp://cdn.example/",
            "/\\evil.example/",
        ];
        for bad in bad {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
