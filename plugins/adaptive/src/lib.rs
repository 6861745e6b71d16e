//! HLS and DASH: manifests below a base URL of the operator's, by templates for movies and episodes. What is encrypted is
//! unlocked between the person's browser and the licence servers that the operator names; nothing of it comes through here.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use streamit_plugin_api::{ConfigError, Field, Media, Provider, Rejection, export_provider, files::Files};

/// Whether the library has its player in it (see `build.rs`). What is tested here needs none.
const HAS_PLAYER: bool = cfg!(any(has_player, test));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `https://host/path/`, or `/path/` on this host; ends with a slash.
    base_url: String,
    /// Path of a movie's manifest below it; `{id}` stands for the external id.
    #[serde(default = "Config::default_movie")]
    movie: String,
    /// Path of an episode's manifest below it, from `{id}`, `{season}` and `{episode}`.
    #[serde(default = "Config::default_tv")]
    tv: String,
    /// Other places that manifests lead to: where segments, keys or clocks are. The page's policy is made from them.
    #[serde(default, rename = "fetch_from")]
    _fetch_from: Vec<String>,
    /// Where licences come from, by key system: `"com.widevine.alpha" = "https://…"`. The page is told.
    #[serde(default)]
    licence: BTreeMap<String, String>,
    /// What those servers want to read in each request's head. The page is told, and so is everybody.
    #[serde(default)]
    licence_headers: BTreeMap<String, String>,
}

impl Config {
    fn default_movie() -> String {
        "{id}".into()
    }

    fn default_tv() -> String {
        "{id}/s{season}e{episode}/manifest.mpd".into()
    }
}

#[derive(Debug)]
struct Streams(Files);

impl Provider for Streams {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        if !HAS_PLAYER {
            let remedy = "fetch it with `cargo xtask vendor`, which needs npm, and build the library again";
            return Err(ConfigError::new("", format!("this library was built without its player; {remedy}")));
        }
        for (key, template) in [("movie", &config.movie), ("tv", &config.tv)] {
            if !template.ends_with("{id}") && !is_manifest(template) {
                let message = format!("`{template}` must end with .mpd (DASH), .m3u8 (HLS) or {{id}}");
                return Err(ConfigError::new(key, message));
            }
        }
        for system in config.licence.keys() {
            if !is_key_system(system) {
                let message = "expected the name of a key system, like \"com.widevine.alpha\" or \"org.w3.clearkey\"";
                return Err(ConfigError::new(format!("licence.{system}"), message));
            }
        }
        for (name, value) in &config.licence_headers {
            if !is_header(name, value) {
                return Err(ConfigError::new(format!("licence_headers.{name}"), "expected a header's name and a text"));
            }
        }
        Files::new(config.base_url, config.movie, config.tv).map(Streams)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        let url = self.0.url(media)?;
        if !is_manifest(&url) {
            let expected = "the path of a manifest is needed, which ends with .mpd (DASH) or .m3u8 (HLS)";
            return Err(Rejection::format(Field::ExternalId, expected));
        }
        Ok(url)
    }
}

/// Other files of the same place are another provider's.
fn is_manifest(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.ends_with(".mpd") || path.ends_with(".m3u8")
}

/// A domain's name, the other way round.
fn is_key_system(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

fn is_header(name: &str, value: &str) -> bool {
    let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    !name.is_empty() && is_token && !value.chars().any(char::is_control)
}

#[cfg(has_player)]
export_provider!(
    Streams,
    manifest: "../provider.toml",
    bridge: "../bridge.js",
    assets: [
        "../player.css",
        concat!(env!("VENDORED"), "/shaka-player.js"),
        concat!(env!("VENDORED"), "/shaka-player.licence.txt"),
    ],
);

#[cfg(not(has_player))]
export_provider!(Streams, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    fn streams(more: &str) -> Result<Streams, ConfigError> {
        let config = serde_json::from_str(&format!("{{ \"base_url\": \"https://cdn.example/\" {more} }}"));
        Streams::new(config.expect("of the right form"))
    }

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Streams>().expect("every case as written");
    }

    #[test]
    fn what_is_no_manifest_is_no_identity() {
        let streams = streams("").expect("a good configuration");
        for id in ["films/one.webm", "films/one", "manifest.mpd.mp4", "a.mpd?x=.m3u8x"] {
            let rejection = streams.embed_url(&Media::movie(id)).expect_err(id);
            assert_eq!(rejection.problems()[0].field, Field::ExternalId, "{id}");
        }
        for (id, url) in [("A.MPD", "https://cdn.example/A.MPD"), ("a/b.m3u8", "https://cdn.example/a/b.m3u8")] {
            assert_eq!(streams.embed_url(&Media::movie(id)).as_deref(), Ok(url));
        }
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (more, key) in [
            (r#", "movie": "{id}/manifest""#, "movie"),
            (r#", "movie": "../{id}""#, "movie"),
            (r#", "tv": "{id}/{season}/{episode}""#, "tv"),
            (r#", "licence": { "widevine": "https://l.example/" }"#, "licence.widevine"),
            (r#", "licence_headers": { "a b": "c" }"#, "licence_headers.a b"),
            (r#", "licence_headers": { "X-A": "c\nd" }"#, "licence_headers.X-A"),
        ] {
            assert_eq!(streams(more).expect_err(more).key(), key);
        }
    }
}
