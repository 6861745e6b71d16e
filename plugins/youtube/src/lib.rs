//! YouTube: video ids to the privacy-enhanced embed player.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, MediaType, NoConfig, Provider, Rejection, export_provider};

struct YouTube;

/// As long as an id, and none: what the player's address has in its place for lists and channels.
const NOT_IDS: [&str; 2] = ["videoseries", "live_stream"];

impl Provider for YouTube {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(YouTube)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        if media.media_type == MediaType::Tv {
            let sentence = "YouTube videos have no seasons or episodes; choose movie";
            return Err(Rejection::unsupported(Field::MediaType, sentence));
        }
        media.shape()?;
        let id = &*media.external_id;
        let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if id.len() != 11 || !is_plain || NOT_IDS.contains(&id) {
            let sentence = "a YouTube id has 11 letters, digits, - or _, as after watch?v=, like aqz-KE-bpKQ";
            return Err(Rejection::format(Field::ExternalId, sentence));
        }
        Ok(format!("https://www.youtube-nocookie.com/embed/{id}"))
    }
}

export_provider!(YouTube, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<YouTube>().expect("every case as written");
    }

    #[test]
    fn only_eleven_plain_characters_are_an_id() {
        for id in [
            "",
            "aqz-KE-bpK",
            "aqz-KE-bpKQQ",
            "aqz-KE-bpK/",
            "aqz-KE-bp?Q",
            "https://yo",
            "ÄÖÜ-KE-bp",
            "videoseries",
            "live_stream",
        ] {
            let rejection = YouTube.embed_url(&Media::movie(id)).expect_err(id);
            assert_eq!(rejection.problems()[0].field, Field::ExternalId, "{id}");
        }
    }
}
