//! PeerTube: videos of the instances that the operator names. An identity is an instance's host and the video's id there.
#![forbid(unsafe_code)]

use serde::Deserialize;
use streamit_plugin_api::{ConfigError, Field, Media, MediaType, Provider, Rejection, export_provider};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `https://host[:port]/`, one for each instance.
    instances: Vec<String>,
}

struct PeerTube {
    /// Without the slash at the end.
    instances: Vec<String>,
}

impl Provider for PeerTube {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        let instances: Vec<_> =
            config.instances.iter().map(|instance| instance.trim_end_matches('/').to_owned()).collect();
        if instances.is_empty() {
            return Err(ConfigError::new("instances", "name at least one, like \"https://video.example.org/\""));
        }
        for instance in &instances {
            if !is_site(host_of(instance)) {
                let message = format!("`{instance}`: expected \"https://host/\", in small letters and without a path");
                return Err(ConfigError::new("instances", message));
            }
        }
        Ok(PeerTube { instances })
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        if media.media_type == MediaType::Tv {
            let sentence = "PeerTube's videos have no seasons or episodes; choose movie";
            return Err(Rejection::unsupported(Field::MediaType, sentence));
        }
        media.shape()?;
        let refused = |message: &str| Rejection::format(Field::ExternalId, message);
        let Some((host, id)) = media.external_id.split_once('/') else {
            return Err(refused(
                "expected an instance and a video's id, like video.example.org/kkGMgK9ZtnKfYAgnEtQxbv",
            ));
        };
        // A UUID has 36 characters, its short form 22; neither needs an escape in a URL.
        if !(22..=36).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(refused("after the instance comes the id in the video's address, of 22 to 36 characters"));
        }
        let Some(instance) = self.instances.iter().find(|instance| host_of(instance) == host) else {
            return Err(refused("this server plays videos of some PeerTube instances only, and this is none of them"));
        };
        Ok(format!("{instance}/videos/embed/{id}"))
    }
}

/// Host and port, or nothing of something else. Whether it may be http the host judges.
fn host_of(instance: &str) -> &str {
    instance.strip_prefix("https://").or_else(|| instance.strip_prefix("http://")).unwrap_or_default()
}

fn is_site(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".:-".contains(&b))
}

export_provider!(PeerTube, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::Manifest;

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<PeerTube>().expect("every case as written");
    }

    #[test]
    fn what_is_no_site_is_no_instance() {
        for wrong in
            ["", "video.example.org", "https://", "https://a.example/tube/", "https://u@a.example", "ftp://a.example"]
        {
            assert_eq!(PeerTube::new(Config { instances: vec![wrong.into()] }).err().expect(wrong).key(), "instances");
        }
    }
}
