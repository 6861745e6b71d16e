//! Links over REST: what an address that somebody pasted means here, and what a request says is to be played.

use axum::{
    Json as JsonAnswer,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use streamit_plugin_api::{
    MediaType, PlaybackSource, Rejection,
    links::{Address, Base, NotAnAddress},
};

use super::{
    AppState,
    client::Json,
    error::{Error, ErrorCode},
    rooms::playable,
};
use crate::{
    playback::MAX_POSITION_MS,
    providers::{Match, ProviderError, Understood},
    rooms::Source,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkQuestion {
    link: String,
}

#[derive(Serialize)]
struct Matches {
    matches: Vec<MatchView>,
}

#[derive(Serialize)]
struct MatchView {
    source: PlaybackSource,
    start_ms: i64,
    name: String,
    is_guess: bool,
}

/// What is to be played, as a request says it: an identity or an address.
pub(super) struct Wish {
    pub(super) source: Option<Source>,
    pub(super) link: Option<String>,
    pub(super) start_ms: Option<i64>,
}

/// What a room is given instead: an identity in the form of the request, or an address in its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSource {
    provider: Option<String>,
    media_type: Option<MediaType>,
    external_id: Option<String>,
    season: Option<u32>,
    episode: Option<u32>,
    link: Option<String>,
    start_ms: Option<i64>,
}

pub(super) async fn understand(
    State(state): State<AppState>,
    headers: HeaderMap,
    Json(LinkQuestion { link }): Json<LinkQuestion>,
) -> Result<Response, Error> {
    let Understood { matches, trouble, .. } = understood(&state, &headers, &link).await?;
    let matches = matches.into_iter().map(|Match { source, start_ms, name, is_guess }| MatchView {
        source: state.providers.describe(&source),
        start_ms: within_limit(start_ms),
        name,
        is_guess,
    });
    let mut response = JsonAnswer(Matches { matches: matches.collect() }).into_response();
    if let Some(ProviderError::Failed { .. } | ProviderError::FailedBefore { .. }) = trouble {
        // It counts against whoever asked, though another provider had an answer.
        response.extensions_mut().insert(ErrorCode::ProviderFailed);
    }
    Ok(response)
}

/// What an address means, if it means anything.
async fn understood(state: &AppState, headers: &HeaderMap, link: &str) -> Result<Understood, Error> {
    let address = match Address::parse(link) {
        Ok(address) => address,
        Err(NotAnAddress::Malformed) => {
            return Err(Error::new(ErrorCode::UnknownLink, takes(state, NotAnAddress::Malformed)));
        }
        Err(NotAnAddress::Empty) => return Err(Error::field("link", "missing", NotAnAddress::Empty.to_string())),
        Err(NotAnAddress::TooLong) => return Err(Error::field("link", "range", NotAnAddress::TooLong.to_string())),
    };
    let address = own_places(state, headers).iter().fold(address, Address::seen_from);
    let understood = state.providers.understand(&address).await;
    if !understood.matches.is_empty() {
        return Ok(understood);
    }
    match understood {
        Understood { trouble: Some(trouble), .. } => Err(trouble.into()),
        Understood { refusal: Some((name, reason)), .. } => {
            Err(Error::new(ErrorCode::RefusedLink, format!("{name}: {reason}")))
        }
        Understood { rejection: Some((name, rejection)), .. } => {
            let said = format!("{name} plays nothing at this address: {}", sentences(&rejection));
            Err(Error::new(ErrorCode::UnknownLink, said))
        }
        _ => Err(Error::new(ErrorCode::UnknownLink, takes(state, "this address is nobody's here"))),
    }
}

/// What is wrong, and whose addresses would be right.
fn takes(state: &AppState, wrong: impl std::fmt::Display) -> String {
    let names = state.providers.whose_links();
    match names.split_last() {
        None => format!("{wrong}; this server takes none"),
        Some((last, [])) => format!("{wrong}; this server takes those of {last}"),
        Some((last, others)) => format!("{wrong}; this server takes those of {} and {last}", others.join(", ")),
    }
}

fn sentences(rejection: &Rejection) -> String {
    rejection.problems().iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// Where this server is, as people see it: what they copy from its own pages begins so.
fn own_places(state: &AppState, headers: &HeaderMap) -> Vec<Base> {
    let path = state.config.server.public_path();
    let public = state.config.server.public_url.as_ref().map(|url| format!("{url}/"));
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = asked.map(|host| [format!("https://{host}{path}/"), format!("https://{host}/")]);
    public.into_iter().chain(asked.into_iter().flatten()).filter_map(|place| Base::parse(&place)).collect()
}

fn within_limit(start_ms: u64) -> i64 {
    i64::try_from(start_ms).unwrap_or(i64::MAX).min(MAX_POSITION_MS)
}

impl Wish {
    /// What to play and where to start; there is a URL for it. Of several providers that play what is at an address it is
    /// the first in the configuration's order.
    pub(super) async fn settle(self, state: &AppState, headers: &HeaderMap) -> Result<(Source, i64), Error> {
        let (source, start_ms) = match (self.source, self.link) {
            (Some(source), None) => (source, 0),
            (None, Some(link)) => {
                let first = understood(state, headers, &link).await?.matches.into_iter().next();
                let Match { source, start_ms, .. } = first.expect("somebody plays it");
                (source, within_limit(start_ms))
            }
            (Some(_), Some(_)) => {
                return Err(Error::field("link", "unsupported", "give a source or a link, not both"));
            }
            (None, None) => return Err(Error::field("source", "missing", "say what to play: a source or a link")),
        };
        playable(state, &source).await?;
        if self.start_ms.is_some_and(|start_ms| start_ms > 0) && !state.providers.abilities(&source.provider).seek {
            let problem = "this provider's player starts at the beginning and nowhere else";
            return Err(Error::field("start_ms", "unsupported", problem));
        }
        Ok((source, self.start_ms.unwrap_or(start_ms)))
    }
}

impl NewSource {
    pub(super) fn wish(self) -> Result<Wish, Error> {
        let NewSource { provider, media_type, external_id, season, episode, link, start_ms } = self;
        let source = match (provider, media_type, external_id) {
            (Some(provider), Some(media_type), Some(external_id)) => {
                Some(Source { provider, media_type, external_id, season, episode })
            }
            (None, None, None) if season.is_none() && episode.is_none() => None,
            (None, ..) => return Err(missing("provider")),
            (_, None, _) => return Err(missing("media_type")),
            (.., None) => return Err(missing("external_id")),
        };
        Ok(Wish { source, link, start_ms })
    }
}

fn missing(field: &str) -> Error {
    Error::field(field, "missing", "a source has a provider, a media_type and an external_id")
}
