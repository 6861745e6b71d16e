//! What a plugin may answer: a URL on one of the origins it declared, and nothing that could surprise a browser.

use serde::{Deserialize, Serialize};
use streamit_plugin_api::{Manifest, manifest::config_place};
use url::Url;

/// Where a provider's URLs may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Destination {
    /// Another origin: scheme, host, and the port if it is not the usual one.
    Origin(String),
    /// This host, below a path that begins and ends with a slash.
    Here(String),
}

/// The destinations a manifest declares, with the operator's configuration filled in. With `allow_http` a place that the
/// operator names may be http on another machine.
pub(super) fn destinations(
    manifest: &Manifest,
    config: &toml::Table,
    allow_http: bool,
) -> Result<Vec<Destination>, String> {
    let found = places(&manifest.player.embed_origins, config, allow_http)?;
    if found.is_empty() {
        let keys = manifest.player.embed_origins.join(", ");
        return Err(format!(
            "config: no place to play from; set one of those that the provider's embed_origins name: {keys}"
        ));
    }
    Ok(found)
}

/// Where those may lead on to.
pub(super) fn redirects(
    manifest: &Manifest,
    config: &toml::Table,
    allow_http: bool,
) -> Result<Vec<Destination>, String> {
    places(&manifest.player.redirect_origins, config, allow_http)
}

fn places(origins: &[String], config: &toml::Table, allow_http: bool) -> Result<Vec<Destination>, String> {
    let mut places = Vec::new();
    for origin in origins {
        let Some((key, is_optional)) = config_place(origin) else {
            let url = Url::parse(origin).map_err(|error| format!("{origin}: {error}"))?;
            places.push(Destination::Origin(url.origin().ascii_serialization()));
            continue;
        };
        match config.get(key) {
            None if is_optional => {}
            None => return Err(format!("config.{key}: missing; the provider's origins name it")),
            Some(toml::Value::Array(list)) => {
                for value in list {
                    places.push(place(key, value, allow_http)?);
                }
            }
            Some(value) => places.push(place(key, value, allow_http)?),
        }
    }
    Ok(places)
}

/// One that the operator names.
fn place(key: &str, value: &toml::Value, allow_http: bool) -> Result<Destination, String> {
    let expected = || format!("config.{key}: {value}: expected \"/path/\" on this host or \"https://host/…\"");
    let value = value.as_str().ok_or_else(expected)?;
    if value.starts_with('/') && !value.starts_with("//") && value.ends_with('/') {
        return Ok(Destination::Here(value.to_owned()));
    }
    match Url::parse(value) {
        Ok(url) if is_safe(&url) => Ok(Destination::Origin(url.origin().ascii_serialization())),
        Ok(url) if url.scheme() == "http" && allow_http => Ok(Destination::Origin(url.origin().ascii_serialization())),
        Ok(url) if url.scheme() == "http" => {
            let how = "`allow_http = true` for this provider allows servers of one's own network, to pages that are http themselves";
            Err(format!("config.{key}: http is for this machine only; {how}"))
        }
        _ => Err(format!("config.{key}: `{value}`: expected \"/path/\" on this host or \"https://host/…\"")),
    }
}

/// https anywhere; http on this machine only.
pub(super) fn is_safe(url: &Url) -> bool {
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
    let is_allowed = destinations.iter().any(|place| match place {
        Destination::Here(path) => is_here && url.path().starts_with(path.as_str()),
        Destination::Origin(origin) => !is_here && url.origin().ascii_serialization() == *origin,
    });
    match is_allowed {
        true => Ok(()),
        false if is_safe(&url) => Err(format!("its URL is on none of its embed_origins: {}", shown())),
        false => Err(format!("its URL is neither https nor http on this machine: {}", shown())),
    }
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

    fn read(origins: &[&str], config: &str, allow_http: bool) -> Result<Vec<String>, String> {
        let origins: Vec<_> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let found = places(&origins, &config.parse().expect("TOML"), allow_http)?;
        Ok(found.iter().map(|place| place.as_source().to_owned()).collect())
    }

    #[test]
    fn a_place_of_the_operators_may_be_a_list_or_missing() {
        let origins = ["https://a.example", "{config.one}", "{config.more?}"];
        let all =
            read(&origins, "one = \"/media/\"\nmore = [\"https://b.example:444/x\", \"https://c.example/\"]", false);
        assert_eq!(
            all,
            Ok(["https://a.example", "'self'", "https://b.example:444", "https://c.example"].map(str::to_owned).into())
        );
        assert_eq!(read(&origins, "one = []", false), Ok(vec!["https://a.example".to_owned()]));
        for (config, problem) in [
            ("", "config.one: missing"),
            ("one = 5", "config.one: 5: expected"),
            ("one = [\"media\"]", "config.one: `media`: expected"),
            ("one = [[\"/media/\"]]", "config.one: [\"/media/\"]: expected"),
        ] {
            let refused = read(&origins, config, true).expect_err(config);
            assert!(refused.starts_with(problem), "{refused}");
        }
    }

    #[test]
    fn http_elsewhere_is_for_whom_the_operator_allows_it() {
        let config = "one = \"http://tv.lan:8096/\"";
        assert!(read(&["{config.one}"], config, false).expect_err("not allowed").contains("allow_http = true"));
        assert_eq!(read(&["{config.one}"], config, true), Ok(vec!["http://tv.lan:8096".to_owned()]));
        assert!(read(&["{config.one}"], "one = \"ftp://tv.lan/\"", true).is_err());
        let places = [Destination::Origin("http://tv.lan:8096".into())];
        for (url, is_allowed) in [
            ("http://tv.lan:8096/a", true),
            ("http://tv.lan/a", false),
            ("https://tv.lan:8096/a", false),
            ("http://elsewhere.lan:8096/a", false),
        ] {
            assert_eq!(check_url(url, &places).is_ok(), is_allowed, "{url}");
        }
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
