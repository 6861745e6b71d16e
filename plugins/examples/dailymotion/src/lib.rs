//! Dailymotion: the id of a video to its embed player.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, MediaType, NoConfig, Provider, Rejection, export_provider};

struct Dailymotion;

impl Provider for Dailymotion {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Dailymotion)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        if media.media_type == MediaType::Tv {
            let sentence = "Dailymotion's videos have no seasons or episodes; choose movie";
            return Err(Rejection::unsupported(Field::MediaType, sentence));
        }
        media.shape()?;
        let id = &*media.external_id;
        // Public ones begin with x, private ones with k: how long they may be is written nowhere.
        if !(2..=32).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let sentence = "a Dailymotion id is a word of letters and digits, like x84sh87";
            return Err(Rejection::format(Field::ExternalId, sentence));
        }
        Ok(format!("https://www.dailymotion.com/embed/video/{id}"))
    }
}

export_provider!(Dailymotion, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Dailymotion>().expect("every case as written");
    }
}
