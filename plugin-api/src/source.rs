//! What is being played: the identity a room stores ([`Media`]) and the description everyone else reads
//! ([`PlaybackSource`]). Pure data: no URL, no preference, no I/O.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Field, ProblemKind, Rejection};

/// A standalone movie or an episode of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaType {
    /// A standalone work; it has neither season nor episode.
    Movie,
    /// One episode of a series; it has a season and an episode.
    Tv,
}

impl MediaType {
    /// `"movie"` or `"tv"`: the word used on the wire, in TOML and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaType::Movie => "movie",
            MediaType::Tv => "tv",
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MediaType {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Rejection> {
        match text {
            "movie" => Ok(MediaType::Movie),
            "tv" => Ok(MediaType::Tv),
            _ => Err(Rejection::unsupported(Field::MediaType, "expected \"movie\" or \"tv\"")),
        }
    }
}

/// The identity of what is played, as a provider sees it.
///
/// Nothing but identity: a provider answers it with a URL or a [`Rejection`], and answers the same every time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media<'a> {
    /// Movie or episode.
    pub media_type: MediaType,
    /// The provider's own id for it: whatever the viewer's form delivered, unchecked.
    pub external_id: Cow<'a, str>,
    /// Season number; 0 is where specials live.
    #[serde(default)]
    pub season: Option<u32>,
    /// Episode number within the season.
    #[serde(default)]
    pub episode: Option<u32>,
}

/// A [`Media`] whose numbers fit its type: what [`Media::shape`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A movie, without season and episode.
    Movie,
    /// An episode, with both numbers.
    Tv {
        /// Season number; 0 is where specials live.
        season: u32,
        /// Episode number within the season.
        episode: u32,
    },
}

impl<'a> Media<'a> {
    /// A movie.
    pub fn movie(external_id: impl Into<Cow<'a, str>>) -> Self {
        Media { media_type: MediaType::Movie, external_id: external_id.into(), season: None, episode: None }
    }

    /// An episode of a series.
    pub fn tv(external_id: impl Into<Cow<'a, str>>, season: u32, episode: u32) -> Self {
        Media {
            media_type: MediaType::Tv,
            external_id: external_id.into(),
            season: Some(season),
            episode: Some(episode),
        }
    }

    /// The rule that holds for every provider: an episode has a season and an episode number, a movie has neither.
    ///
    /// # Errors
    /// Names each number that is missing, or that does not belong to a movie.
    pub fn shape(&self) -> Result<Shape, Rejection> {
        match (self.media_type, self.season, self.episode) {
            (MediaType::Movie, None, None) => Ok(Shape::Movie),
            (MediaType::Tv, Some(season), Some(episode)) => Ok(Shape::Tv { season, episode }),
            (media_type, season, episode) => {
                let numbers = [(Field::Season, season), (Field::Episode, episode)];
                let problems = numbers.into_iter().filter_map(|(field, number)| match (media_type, number) {
                    (MediaType::Movie, Some(_)) => Some((field, ProblemKind::Unsupported, "a movie has none")),
                    (MediaType::Tv, None) => Some((field, ProblemKind::Missing, "an episode of a series needs one")),
                    _ => None,
                });
                Err(problems.collect())
            }
        }
    }

    /// The same identity, borrowing nothing.
    pub fn into_owned(self) -> Media<'static> {
        Media {
            media_type: self.media_type,
            external_id: Cow::Owned(self.external_id.into_owned()),
            season: self.season,
            episode: self.episode,
        }
    }
}

impl fmt::Display for Media<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.media_type, self.external_id)?;
        for (name, number) in [("season", self.season), ("episode", self.episode)] {
            if let Some(number) = number {
                write!(f, " {name} {number}")?;
            }
        }
        Ok(())
    }
}

/// What a provider's player can be told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// It can jump to a position.
    pub seek: bool,
    /// It can be paused.
    pub pause: bool,
    /// It can go on after a pause.
    pub resume: bool,
    /// It can begin without a click inside the player.
    pub autoplay: bool,
}

/// What is being played in a room, independent of how it is rendered: identity, and what its provider can do.
///
/// Serialises to exactly the fields of the PlaybackSource contract; `season` and `episode` are `null` for a movie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaybackSource {
    /// The provider's id, as in its manifest.
    pub provider: String,
    /// Movie or episode.
    pub media_type: MediaType,
    /// The provider's own id for the work.
    pub external_id: String,
    /// Present exactly when `media_type` is tv.
    pub season: Option<u32>,
    /// Present exactly when `media_type` is tv.
    pub episode: Option<u32>,
    /// Whether the player reports play, pause and seek.
    pub supports_events: bool,
    /// Whether the player reports its position.
    pub supports_progress: bool,
    /// What the player can be told to do.
    pub capabilities: Capabilities,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playback_source_has_the_contracts_fields_and_nothing_else() {
        let source = PlaybackSource {
            provider: "vidking".into(),
            media_type: MediaType::Movie,
            external_id: "1078605".into(),
            season: None,
            episode: None,
            supports_events: true,
            supports_progress: true,
            capabilities: Capabilities { seek: true, pause: true, resume: true, autoplay: false },
        };
        let json = serde_json::to_string(&source).expect("plain data");
        assert_eq!(
            json,
            r#"{"provider":"vidking","media_type":"movie","external_id":"1078605","season":null,"episode":null,"supports_events":true,"supports_progress":true,"capabilities":{"seek":true,"pause":true,"resume":true,"autoplay":false}}"#
        );
    }

    #[test]
    fn season_and_episode_are_required_for_tv_and_refused_for_movies() {
        assert_eq!(Media::movie("1").shape(), Ok(Shape::Movie));
        assert_eq!(Media::tv("1", 0, 3).shape(), Ok(Shape::Tv { season: 0, episode: 3 }));

        let no_numbers = Media { season: None, episode: None, ..Media::tv("1", 1, 1) };
        let rejection = no_numbers.shape().expect_err("both numbers are missing");
        let fields: Vec<_> = rejection.problems().iter().map(|p| (p.field, p.kind)).collect();
        assert_eq!(fields, [(Field::Season, ProblemKind::Missing), (Field::Episode, ProblemKind::Missing)]);

        let movie = Media { episode: Some(4), ..Media::movie("1") };
        let rejection = movie.shape().expect_err("a movie has no episode");
        assert_eq!(rejection.problems()[0].field, Field::Episode);
    }
}
