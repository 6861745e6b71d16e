//! Vidking: TMDB ids to `https://www.vidking.net/embed/…`.
//!
//! Vidking is a passive embed: it offers no metadata and takes no commands, so the URL is all there is to derive.
#![forbid(unsafe_code)]

use streamit_plugin_api::{ConfigError, Field, Media, NoConfig, Provider, Rejection, Shape, export_provider};

pub(crate) struct Vidking;

impl Provider for Vidking {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Vidking)
    }

    fn embed_url(&self, media: &Media<'_>) -> Result<String, Rejection> {
        let id = &*media.external_id;
        let (id_problem, shape) = (check_tmdb_id(id), media.shape().and_then(check_episode));
        match (id_problem, shape) {
            (Ok(()), Ok(Shape::Movie)) => Ok(format!("https://www.vidking.net/embed/movie/{id}")),
            (Ok(()), Ok(Shape::Tv { season, episode })) => {
                Ok(format!("https://www.vidking.net/embed/tv/{id}/{season}/{episode}"))
            }
            (Err(id_problem), Err(shape)) => Err(id_problem.and(shape)),
            (Err(rejection), Ok(_)) | (Ok(()), Err(rejection)) => Err(rejection),
        }
    }
}

/// TMDB numbers its works from 1; ten digits leave room for every one it will ever have.
fn check_tmdb_id(id: &str) -> Result<(), Rejection> {
    let plain = (1..=10).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) && !id.starts_with('0');
    match plain {
        true => Ok(()),
        false if id.is_empty() => Err(Rejection::missing(Field::ExternalId, "a TMDB id is needed, like 1078605")),
        false => Err(Rejection::format(
            Field::ExternalId,
            "a TMDB id has 1 to 10 digits and does not begin with 0, like 1078605",
        )),
    }
}

/// Season 0 holds a series' specials; episodes are numbered from 1.
fn check_episode(shape: Shape) -> Result<Shape, Rejection> {
    match shape {
        Shape::Tv { episode: 0, .. } => Err(Rejection::range(Field::Episode, "episodes are numbered from 1")),
        shape => Ok(shape),
    }
}

export_provider!(Vidking, manifest: "../provider.toml", bridge: "../bridge.js");

#[cfg(test)]
mod tests {
    use streamit_plugin_api::{Manifest, ProblemKind};

    use super::*;

    #[test]
    fn the_manifests_golden_cases_hold() {
        let manifest = Manifest::parse(include_str!("../provider.toml")).expect("a valid manifest");
        manifest.check_examples::<Vidking>().expect("every case as written");
    }

    #[test]
    fn specials_live_in_season_0() {
        let url = Vidking.embed_url(&Media::tv("119051", 0, 1));
        assert_eq!(url.as_deref(), Ok("https://www.vidking.net/embed/tv/119051/0/1"));
    }

    #[test]
    fn ids_that_are_not_tmdb_ids_are_refused() {
        for id in ["", "0", "012", "tt1234567", "12345678901", "1/2", "../1", "1?autoPlay=true", "1#x", "１", " 1"] {
            let rejection = Vidking.embed_url(&Media::movie(id)).expect_err(id);
            assert_eq!(rejection.problems()[0].field, Field::ExternalId, "{id}");
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let media = Media { season: None, ..Media::tv("x", 1, 1) };
        let rejection = Vidking.embed_url(&media).expect_err("id and season are wrong");
        let found: Vec<_> = rejection.problems().iter().map(|p| (p.field, p.kind)).collect();
        assert_eq!(found, [(Field::ExternalId, ProblemKind::Format), (Field::Season, ProblemKind::Missing)]);
    }
}
