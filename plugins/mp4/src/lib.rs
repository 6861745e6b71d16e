//! Self-hosted video: relative paths to files below a base URL of the operator's, by templates for movies and episodes.
#![forbid(unsafe_code)]

use serde::Deserialize;
use streamit_plugin_api::{ConfigError, Media, Provider, Rejection, export_provider, files::Files};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `/media/` (files the host serves itself) or `https://host/path/`; ends with a slash.
    base_url: String,
    /// Path of a movie below it; `{id}` stands for the external id.
    #[serde(default = "Config::default_movie")]
    movie: String,
    /// Path of an episode below it, from `{id}`, `{season}` and `{episode}`.
    #[serde(default = "Config::default_tv")]
    tv: String,
}

impl Config {
    fn default_movie() -> String {
        "{id}".into()
    }

    fn default_tv() -> String {
        "{id}/s{season}e{episode}.mp4".into()
    }
}

#[derive(Debug)]
struct Videos(Files);

impl Provider for Videos {
    type Config = Config;

    fn new(Config { base_url, movie, tv }: Config) -> Result<Self, ConfigError> {
        Files::new(base_url, movie, tv).map(Videos)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        self.0.url(media)
    }
}

export_provider!(Videos, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Videos>().expect("every case as written");
    }
}
