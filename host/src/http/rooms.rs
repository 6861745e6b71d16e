//! Rooms over REST: created, listed, looked at, given another source, closed.

use std::{collections::HashMap, net::IpAddr};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use streamit_plugin_api::PlaybackSource;

use super::{
    AppState,
    client::{Address, BearerKey, Code, Json, Query, bearer, found, judge, no_store},
    error::{Error, ErrorCode},
    links::{NewSource, Wish},
};
use crate::{
    live::{Listed, LiveError, LiveRoom, Snapshot},
    lobby::{Lobby, LobbyError},
    playback::PlaybackState,
    protocol::{CloseReason, HostState, Presence},
    providers::{ProviderError, Providers},
    rooms::{NewRoom, Room, RoomCode, Source, Visibility},
    text::can_be_seen,
};

/// The database holds no longer id, and no provider has one.
const MAX_ID_BYTES: usize = 1024;
const MAX_TITLE_CHARS: usize = 120;

/// Rooms on one page of the list, at most and by default.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRoom {
    #[serde(default)]
    title: Option<String>,
    #[serde(default = "unlisted")]
    visibility: Visibility,
    #[serde(default)]
    source: Option<Source>,
    /// In place of a source: an address that means one.
    #[serde(default)]
    link: Option<String>,
    #[serde(default)]
    start_ms: Option<i64>,
}

fn unlisted() -> Visibility {
    Visibility::Unlisted
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A room as anyone with its code sees it. Everything after `source` is derived at that moment.
#[derive(Serialize)]
struct RoomView {
    #[serde(flatten)]
    card: RoomCard,
    embed_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_error: Option<String>,
    playback: PlaybackView,
    presence: Presence,
}

/// What the list shows of a room, too.
#[derive(Serialize)]
struct RoomCard {
    code: RoomCode,
    title: Option<String>,
    visibility: Visibility,
    created_at_ms: i64,
    source: PlaybackSource,
}

#[derive(Serialize)]
struct PlaybackView {
    #[serde(flatten)]
    state: PlaybackState,
    version: i64,
}

/// The answer to a creation: the only one that ever has the key.
#[derive(Serialize)]
struct Created {
    room: RoomView,
    host_key: String,
}

#[derive(Serialize)]
struct RoomList {
    rooms: Vec<ListedRoom>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct ListedRoom {
    #[serde(flatten)]
    card: RoomCard,
    presence: Presence,
}

pub(super) async fn create(
    State(state): State<AppState>,
    Address(address): Address,
    headers: HeaderMap,
    Json(request): Json<CreateRoom>,
) -> Result<impl IntoResponse, Error> {
    let CreateRoom { title, visibility, source, link, start_ms } = request;
    let title = title.as_deref().map(checked_title).transpose()?.flatten();
    let (source, start_ms) = Wish { source, link, start_ms }.settle(&state, &headers).await?;
    // Only a room that would be made counts: somebody who mistypes an id is not punished for it.
    let take = state.creations.take(address, std::time::Instant::now());
    take.map_err(|wait| Error::rate_limited("new rooms", wait))?;
    let (room, key) = state.lobby.create(NewRoom { title, visibility, source }, start_ms).await?;
    let location = format!("{}/api/v1/rooms/{}", state.config.server.public_path(), room.code());
    let view = view(&state, &room.record(), newest(&room)?).await?;
    let created = Created { room: view, host_key: key.reveal().to_owned() };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], no_store(created)))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Query(page): Query<ListQuery>,
) -> Result<impl IntoResponse, Error> {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let after = page.cursor.as_deref().map(read_cursor).transpose()?;
    let Lobby { live, rooms } = &state.lobby;
    // One more says whether there is another page.
    let mut listed = live.list(after, limit + 1).await.map_err(LobbyError::from)?;
    let has_more = listed.len() > limit;
    listed.truncate(limit);
    let codes: Vec<_> = listed.iter().map(|listed| listed.code).collect();
    let records = rooms.find_all(&codes).await.map_err(LobbyError::from)?;
    let records: HashMap<_, _> = records.into_iter().map(|record| (record.code, record)).collect();
    let next_cursor = listed.last().filter(|_| has_more).copied().map(write_cursor);
    // A room that was closed between the one read and the other is simply not there.
    let rooms = listed.into_iter().filter_map(|Listed { viewers, code }| {
        let presence = Presence { viewers, host: HostState::Connected, host_away_until_ms: None };
        Some(ListedRoom { card: card(&state.providers, records.get(&code)?), presence })
    });
    Ok(no_store(RoomList { rooms: rooms.collect(), next_cursor }))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Address(address): Address,
    Code(code): Code,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Error> {
    let (record, snapshot) = found(&state, address, state.lobby.look(code).await)?;
    let mut view = view(&state, &record, snapshot).await?;
    if view.embed_url.is_some() && state.providers.is_private(&record.source.provider) {
        let is_inside = match bearer(&headers) {
            Some(shown) => judge(&state, address, record.host_key.lets_in(shown))?,
            None => false,
        };
        if !is_inside {
            view.embed_url = None;
            view.source_error = Some("the address of this video is told to those who are in the room".into());
        }
    }
    Ok(no_store(view))
}

pub(super) async fn set_source(
    State(state): State<AppState>,
    Address(address): Address,
    Code(code): Code,
    BearerKey(key): BearerKey,
    headers: HeaderMap,
    Json(request): Json<NewSource>,
) -> Result<impl IntoResponse, Error> {
    check_key(&state, address, code, &key).await?;
    let (source, start_ms) = request.wish()?.settle(&state, &headers).await?;
    let room = state.lobby.set_source(code, &source, start_ms).await?;
    Ok(no_store(view(&state, &room.record(), newest(&room)?).await?))
}

pub(super) async fn close(
    State(state): State<AppState>,
    Address(address): Address,
    Code(code): Code,
    BearerKey(key): BearerKey,
) -> Result<StatusCode, Error> {
    check_key(&state, address, code, &key).await?;
    state.lobby.close(code, CloseReason::ClosedByHost).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a provider has a URL for it: then, and only then, a room may play it.
pub(super) async fn playable(state: &AppState, source: &Source) -> Result<String, Error> {
    if source.external_id.len() > MAX_ID_BYTES {
        return Err(Error::field("external_id", "range", format!("an id has at most {MAX_ID_BYTES} bytes")));
    }
    if source.external_id.is_empty() {
        return Err(Error::field("external_id", "missing", "an id is needed"));
    }
    if source.external_id.chars().any(char::is_control) {
        return Err(Error::field("external_id", "format", "an id has no control characters"));
    }
    Ok(embed_url(state, source).await?)
}

/// A provider's URL as browsers need it. A path on this server is one below its public address: providers know nothing of that.
async fn embed_url(state: &AppState, source: &Source) -> Result<String, ProviderError> {
    let url = state.providers.embed_url(&source.provider, &source.media()).await?;
    let public_path = if url.starts_with('/') { state.config.server.public_path() } else { "" };
    Ok(format!("{public_path}{url}"))
}

async fn check_key(state: &AppState, address: IpAddr, code: RoomCode, key: &str) -> Result<(), Error> {
    let room = found(state, address, state.lobby.enter(code).await)?;
    match judge(state, address, room.record().host_key.matches(key))? {
        true => Ok(()),
        false => Err(Error::new(ErrorCode::BadHostKey, "the key in `Authorization` is not this room's")),
    }
}

fn checked_title(title: &str) -> Result<Option<String>, Error> {
    let trimmed = title.trim();
    if trimmed.chars().count() > MAX_TITLE_CHARS {
        return Err(Error::field("title", "range", format!("a title has at most {MAX_TITLE_CHARS} characters")));
    }
    if trimmed.chars().any(char::is_control) {
        return Err(Error::field("title", "format", "a title has no control characters"));
    }
    if !trimmed.is_empty() && !can_be_seen(trimmed) {
        return Err(Error::field("title", "format", "there is nothing to see in this title"));
    }
    Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
}

fn card(providers: &Providers, record: &Room) -> RoomCard {
    RoomCard {
        code: record.code,
        title: record.title.clone(),
        visibility: record.visibility,
        created_at_ms: record.created_at_ms,
        source: providers.describe(&record.source),
    }
}

/// What a room that has just been opened here is like.
fn newest(room: &LiveRoom) -> Result<Snapshot, Error> {
    room.snapshot().ok_or_else(|| LobbyError::Live(LiveError::Closed).into())
}

async fn view(state: &AppState, record: &Room, snapshot: Snapshot) -> Result<RoomView, Error> {
    let (embed_url, source_error) = match embed_url(state, &record.source).await {
        Ok(url) => (Some(url), None),
        Err(error) => (None, Some(source_error(&error))),
    };
    let Snapshot { version, playback, presence } = snapshot;
    Ok(RoomView {
        card: card(&state.providers, record),
        embed_url,
        source_error,
        playback: PlaybackView { state: playback, version },
        presence,
    })
}

/// Why the room's video cannot be shown, for its members: no path, no word of the plugin's.
fn source_error(error: &ProviderError) -> String {
    match error {
        ProviderError::Unknown(id) | ProviderError::NotReady { id, .. } | ProviderError::Resting { id, .. } => {
            format!("the provider `{id}` is not ready on this server; the room goes on when it is back")
        }
        ProviderError::Rejected(rejection) => rejection.to_string(),
        ProviderError::Failed { id, .. } | ProviderError::FailedBefore { id, .. } => {
            format!("the provider `{id}` failed; try again")
        }
    }
}

fn write_cursor(Listed { viewers, code }: Listed) -> String {
    format!("{viewers}.{code}")
}

fn read_cursor(cursor: &str) -> Result<Listed, Error> {
    let read = || {
        let (viewers, code) = cursor.split_once('.')?;
        Some(Listed { viewers: viewers.parse().ok()?, code: code.parse().ok()? })
    };
    read().ok_or_else(Error::unknown_cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let listed = Listed { viewers: 40, code: "K7QM2X".parse().expect("a code") };
        assert_eq!(read_cursor(&write_cursor(listed)).ok(), Some(listed));
        for bad in ["garbage", "", ".", "1.", "x.K7QM2X", "-1.K7QM2X", "1.K7QM2", "1.K7QM2X.2"] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
