//! Acme: numeric ids, movies and episodes. Change what an id is and which URL plays it; `provider.toml` says the rest.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, NoConfig, Provider, Rejection, Shape, export_provider};

struct Acme;

impl Provider for Acme {
    // What the operator may write in `[providers.….config]`: any type that derives serde's Deserialize.
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Acme)
    }

    // Pure: the same identity gives the same URL, and an identity without one is refused field by field.
    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        let id = &*media.external_id;
        let is_id = (1..=10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
        let wrong_id = || Rejection::format(Field::ExternalId, "expected 1 to 10 digits, like 4711");
        match (is_id, media.shape()) {
            (true, Ok(Shape::Movie)) => Ok(format!("https://play.acme.example/movie/{id}")),
            (true, Ok(Shape::Tv { season, episode })) => {
                Ok(format!("https://play.acme.example/tv/{id}/{season}/{episode}"))
            }
            (true, Err(shape)) => Err(shape),
            (false, Ok(_)) => Err(wrong_id()),
            (false, Err(shape)) => Err(wrong_id().and(shape)),
        }
    }
}

export_provider!(Acme, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_examples_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).unwrap();
        manifest.check_examples::<Acme>().unwrap();
    }
}
