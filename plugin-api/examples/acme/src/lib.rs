//! Acme: numeric ids, movies and episodes. Change what an id is and which URL plays it; `provider.toml` says the rest.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, NoConfig, Provider, Rejection, Shape, export_provider};

struct AcmeProvider;

impl Provider for AcmeProvider {
    // What the operator may write in `[providers.….config]`: any type that derives serde's Deserialize.
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(AcmeProvider)
    }

    // Pure: the same identity gives the same URL, and an identity without one is refused, field by field.
    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        let id = &*media.external_id;
        if !(1..=10).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Rejection::format(Field::ExternalId, "expected 1 to 10 digits, like 4711"));
        }
        match media.shape()? {
            Shape::Movie => Ok(format!("https://play.acme.example/movie/{id}")),
            Shape::Tv { season, episode } => Ok(format!("https://play.acme.example/tv/{id}/{season}/{episode}")),
        }
    }
}

export_provider!(AcmeProvider, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_examples_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).unwrap();
        manifest.check_examples::<AcmeProvider>().unwrap();
    }
}
