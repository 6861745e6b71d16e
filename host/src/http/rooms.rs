//! Rooms over REST: created, listed, looked at, given another source, closed.

use axum::{
    Json as JsonAnswer,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use streamit_plugin_api::PlaybackSource;

use super::{
    AppState,
    client::{Address, BearerKey, Code, Json},
    error::{Error, ErrorCode},
};
use crate::{
    lifecycle::{Lobby, LobbyError},
    live::{ListError, LiveRoom, Place, Snapshot},
    playback::PlaybackState,
    protocol::{CloseReason, HostState, Presence},
    providers::{ProviderError, Providers},
    rooms::{NewRoom, RoomCode, Source, Visibility},
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
    source: Source,
}

fn unlisted() -> Visibility {
    Visibility::Unlisted
}

#[derive(Deserialize)]
pub(super) struct Page {
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
    Json(request): Json<CreateRoom>,
) -> Result<impl IntoResponse, Error> {
    let title = request.title.as_deref().map(checked_title).transpose()?.flatten();
    playable(&state.providers, &request.source).await?;
    // Only a room that would be made counts: somebody who mistypes an id is not punished for it.
    state.creations.take(address, std::time::Instant::now()).map_err(Error::rate_limited)?;
    let new = NewRoom { title, visibility: request.visibility, source: request.source };
    let (room, key) = state.lobby.create(new).await?;
    let location = format!("/api/v1/rooms/{}", room.code());
    let view = view(&state.lobby, &state.providers, &room).await?;
    let created = Created { room: view, host_key: key.reveal().to_owned() };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], no_store(created)))
}

pub(super) async fn list(State(state): State<AppState>, Query(page): Query<Page>) -> Result<impl IntoResponse, Error> {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let place = page.cursor.as_deref().map(read_cursor).transpose()?;
    let live = &state.lobby.live;
    let listed = live.list(place, limit).await.map_err(|error| match error {
        ListError::Expired => Error::new(ErrorCode::InvalidRequest, "cursor: this list is too old; begin anew"),
        ListError::Live(error) => LobbyError::from(error).into(),
    })?;
    let mut rooms = Vec::with_capacity(listed.rooms.len());
    for code in listed.rooms {
        // A room may be closed, or lose its host, between the list and here: then it is simply not there.
        if let (Ok(room), Ok(current)) = (state.lobby.enter(code).await, live.read(code).await)
            && current.snapshot.presence.host == HostState::Connected
        {
            rooms.push(ListedRoom { card: card(&state.providers, &room), presence: current.snapshot.presence });
        }
    }
    Ok(no_store(RoomList { rooms, next_cursor: listed.next.as_ref().map(write_cursor) }))
}

pub(super) async fn show(State(state): State<AppState>, Code(code): Code) -> Result<impl IntoResponse, Error> {
    let room = state.lobby.enter(code).await?;
    Ok(no_store(view(&state.lobby, &state.providers, &room).await?))
}

pub(super) async fn set_source(
    State(state): State<AppState>,
    Code(code): Code,
    BearerKey(key): BearerKey,
    Json(source): Json<Source>,
) -> Result<impl IntoResponse, Error> {
    let room = state.lobby.enter(code).await?;
    check_key(&room, &key)?;
    playable(&state.providers, &source).await?;
    let room = state.lobby.set_source(code, &source).await?;
    Ok(no_store(view(&state.lobby, &state.providers, &room).await?))
}

pub(super) async fn close(
    State(state): State<AppState>,
    Code(code): Code,
    BearerKey(key): BearerKey,
) -> Result<StatusCode, Error> {
    let room = state.lobby.enter(code).await?;
    check_key(&room, &key)?;
    state.lobby.close(code, CloseReason::ClosedByHost).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a provider has a URL for it: then, and only then, a room may play it.
pub(super) async fn playable(providers: &Providers, source: &Source) -> Result<String, Error> {
    if source.external_id.len() > MAX_ID_BYTES {
        return Err(Error::field("external_id", "range", format!("an id has at most {MAX_ID_BYTES} bytes")));
    }
    if source.external_id.is_empty() {
        return Err(Error::field("external_id", "missing", "an id is needed"));
    }
    if source.external_id.chars().any(char::is_control) {
        return Err(Error::field("external_id", "format", "an id has no control characters"));
    }
    Ok(providers.embed_url(&source.provider, &source.media()).await?.to_string())
}

fn check_key(room: &LiveRoom, key: &str) -> Result<(), Error> {
    if room.record().host_key.matches(key) {
        Ok(())
    } else {
        Err(Error::new(ErrorCode::BadHostKey, "the key in `Authorization` is not this room's"))
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
    Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
}

fn card(providers: &Providers, room: &LiveRoom) -> RoomCard {
    let record = room.record();
    RoomCard {
        code: record.code,
        title: record.title.clone(),
        visibility: record.visibility,
        created_at_ms: record.created_at_ms,
        source: providers.describe(&record.source),
    }
}

async fn view(lobby: &Lobby, providers: &Providers, room: &LiveRoom) -> Result<RoomView, Error> {
    let record = room.record();
    let (embed_url, source_error) = match providers.embed_url(&record.source.provider, &record.source.media()).await {
        Ok(url) => (Some(url.to_string()), None),
        Err(error) => (None, Some(source_error(&error))),
    };
    let snapshot = match (lobby.live.read(record.code).await, room.snapshot()) {
        (Ok(current), _) => current.snapshot,
        // Away, or emptied and not yet mended: what this node saw last is still true.
        (Err(_), Some(seen)) => seen,
        (Err(error), _) => return Err(LobbyError::from(error).into()),
    };
    let Snapshot { version, playback, presence } = snapshot;
    Ok(RoomView {
        card: card(providers, room),
        embed_url,
        source_error,
        playback: PlaybackView { state: playback, version },
        presence,
    })
}

/// Why the room's video cannot be shown, for its members: no path, no word of the plugin's.
fn source_error(error: &ProviderError) -> String {
    match error {
        ProviderError::Unknown(id) | ProviderError::NotReady { id, .. } => {
            format!("the provider `{id}` is not ready on this server; the room goes on when it is back")
        }
        ProviderError::Rejected(rejection) => rejection.to_string(),
        ProviderError::Failed { id, .. } => format!("the provider `{id}` failed; try again"),
    }
}

fn no_store<T: Serialize>(body: T) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], JsonAnswer(body))
}

fn write_cursor(Place { id, offset }: &Place) -> String {
    format!("{id}.{offset}")
}

fn read_cursor(cursor: &str) -> Result<Place, Error> {
    let read = || {
        let (id, offset) = cursor.split_once('.')?;
        let is_id = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        Some(Place { id: is_id.then(|| id.to_owned())?, offset: offset.parse().ok()? })
    };
    read().ok_or_else(|| Error::new(ErrorCode::InvalidRequest, "cursor: use the next_cursor of an earlier answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let place = Place { id: "0123456789abcdef".into(), offset: 40 };
        assert_eq!(read_cursor(&write_cursor(&place)).ok(), Some(place));
        for bad in ["garbage", "", ".", "x.1", "0123456789abcdef.", "0123456789abcdef.-1", "0123456789abcde*.1"] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
