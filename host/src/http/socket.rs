//! The upgrade to a WebSocket: the last place where the answer can be an HTTP status.

use std::sync::Arc;

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::HeaderMap,
    response::Response,
};
use tracing::{Instrument, info_span};

use super::{
    client::{Code, Origin},
    error::{Error, ErrorCode},
};
use crate::{config::Config, lifecycle::Lobby, session::Sessions};

/// What a socket reads at once. The default of 128 KiB is kept, and filled with zeros at each read, for every viewer.
const READ_BUFFER_BYTES: usize = 1024;

/// A client that takes nothing in may leave this much behind before its socket is given up.
const MAX_WRITE_BUFFER_BYTES: usize = 64 * 1024;

pub(super) async fn upgrade(
    State(config): State<Arc<Config>>,
    State(lobby): State<Lobby>,
    State(sessions): State<Sessions>,
    Code(code): Code,
    origin: Option<Origin>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    if origin.is_some_and(|origin| !origin.is_allowed(&headers, &config.server)) {
        let detail = "this page's origin is not this server's; the operator can allow it in server.allowed_origins";
        return Err(Error::new(ErrorCode::ForeignOrigin, detail));
    }
    if *lobby.live.cut_off().borrow() {
        return Err(Error::new(ErrorCode::Unavailable, "this node has lost its live store; another one may have it"));
    }
    let room = lobby.enter(code).await?;
    let upgrade = upgrade.map_err(|rejection| Error::new(ErrorCode::UpgradeRequired, rejection.body_text()))?;
    if room.members_here() >= config.rooms.max_viewers {
        let detail = format!("it has its {} viewers", config.rooms.max_viewers);
        return Err(Error::new(ErrorCode::RoomFull, detail));
    }
    let message_bytes = usize::try_from(config.limits.message_bytes).unwrap_or(usize::MAX);
    let tracker = sessions.tracker.clone();
    let span = info_span!("ws.session", room.code = %code);
    Ok(upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes)
        .on_upgrade(move |socket| tracker.track_future(sessions.run(socket, room).instrument(span))))
}
