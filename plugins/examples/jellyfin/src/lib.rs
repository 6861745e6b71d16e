//! Jellyfin: films and episodes of a server on the operator's network, by the id of the item.
#![forbid(unsafe_code)]

use serde::Deserialize;
use streamit_plugin_api::{ConfigError, Field, Media, MediaType, Provider, Rejection, export_provider};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jellyfin {
    /// Where the server is, with a slash at the end: `http://jellyfin.lan:8096/`.
    base_url: String,
    /// A key that the server's dashboard gave. It is in each URL, so everybody in a room has it: one for StreamIt alone.
    api_key: String,
}

impl Provider for Jellyfin {
    type Config = Jellyfin;

    fn new(config: Jellyfin) -> Result<Self, ConfigError> {
        // What else may be wrong with the place the host says, which also knows whether its operator allows http.
        if !config.base_url.contains("://") || !config.base_url.ends_with('/') || config.base_url.contains(['?', '#']) {
            let expected =
                "expected \"https://host/\", or \"http://host:8096/\" with allow_http, with a slash at its end";
            return Err(ConfigError::new("base_url", expected));
        }
        // Its value is not repeated: the message is shown in logs.
        if config.api_key.is_empty() || !config.api_key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(ConfigError::new(
                "api_key",
                "expected the letters and digits that the server's dashboard gave",
            ));
        }
        Ok(config)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        if media.media_type == MediaType::Tv {
            let sentence = "each episode has an id of its own in Jellyfin; choose movie";
            return Err(Rejection::unsupported(Field::MediaType, sentence));
        }
        media.shape()?;
        let id = &*media.external_id;
        if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            let sentence =
                "a Jellyfin id has 32 digits and letters from a to f; it is in the address of the film's page";
            return Err(Rejection::format(Field::ExternalId, sentence));
        }
        // `static`: the file as it is. What a browser cannot play would need a session of its own for each person.
        let Jellyfin { base_url, api_key } = self;
        Ok(format!("{base_url}Videos/{id}/stream?static=true&ApiKey={api_key}"))
    }
}

export_provider!(Jellyfin, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Jellyfin>().expect("every case as written");
    }

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        let config = Jellyfin { base_url: "https://jellyfin.example/".into(), api_key: "hunter 2".into() };
        let error = Jellyfin::new(config).err().expect("no key");
        assert_eq!(error.key(), "api_key");
        assert!(!error.message().contains("hunter"));
    }
}
