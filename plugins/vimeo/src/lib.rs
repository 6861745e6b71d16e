//! Vimeo: video numbers, with the hash that unlisted videos need, to the embed player.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, MediaType, NoConfig, Provider, Rejection, export_provider};

struct Vimeo;

impl Provider for Vimeo {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Vimeo)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        if media.media_type == MediaType::Tv {
            let sentence = "Vimeo videos have no seasons or episodes; choose movie";
            return Err(Rejection::unsupported(Field::MediaType, sentence));
        }
        media.shape()?;
        let id = &*media.external_id;
        let (number, hash) = match id.split_once('/') {
            Some((number, hash)) => (number, Some(hash)),
            None => (id, None),
        };
        let number_fits = (1..=12).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        let hash_fits =
            hash.is_none_or(|h| (6..=32).contains(&h.len()) && h.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !number_fits || !hash_fits {
            let sentence =
                "a Vimeo id is a number, for unlisted videos with its hash, like 76979871 or 76979871/8272103f6e";
            return Err(Rejection::format(Field::ExternalId, sentence));
        }
        Ok(match hash {
            None => format!("https://player.vimeo.com/video/{number}"),
            Some(hash) => format!("https://player.vimeo.com/video/{number}?h={hash}"),
        })
    }
}

export_provider!(Vimeo, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Vimeo>().expect("every case as written");
    }

    #[test]
    fn numbers_and_hashes_are_checked() {
        for id in
            ["", "/", "76979871/", "76979871/short", "76979871/8272103f6e/x", "x", "1234567890123", "7697?h=82721"]
        {
            let rejection = Vimeo.embed_url(&Media::movie(id)).expect_err(id);
            assert_eq!(rejection.problems()[0].field, Field::ExternalId, "{id}");
        }
    }
}
