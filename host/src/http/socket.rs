//! The upgrade to a WebSocket: the last place where the answer can be an HTTP status.

use std::time::Instant;

use axum::{
    extract::{FromRequestParts, State, WebSocketUpgrade},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span};
use tungstenite::handshake::derive_accept_key;

use super::{
    AppState,
    client::{Address, Code, Origin, found},
    error::{Error, ErrorCode},
};
use crate::{line::Line, server::Held, telemetry};

/// An upgrade that is asked for as it should be.
pub(super) struct Upgrade {
    accept: HeaderValue,
    upgraded: OnUpgrade,
}

pub(super) async fn upgrade(
    State(state): State<AppState>,
    Address(address): Address,
    Code(code): Code,
    origin: Option<Origin>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Error>,
) -> Result<Response, Error> {
    if let Some(origin) = origin.filter(|origin| !origin.is_allowed(&headers, &state.config.server)) {
        state.foreign.warn_once(&origin);
        let detail = "this page's origin is not this server's; the operator can allow it in server.allowed_origins";
        return Err(Error::new(ErrorCode::ForeignOrigin, detail));
    }
    if *state.lobby.live.cut_off().borrow() {
        return Err(Error::new(ErrorCode::Unavailable, "this node has lost its live store; another one may have it"));
    }
    let room = found(&state, address, state.lobby.enter(code).await)?;
    let upgrade = upgrade?;
    let (sessions, tracker) = (state.sessions.clone(), state.sessions.tracker.clone());
    // Whether there is a place is known when the client has said who it is: a host always has one.
    let judge = move |is_right| state.guesses.judge(address, is_right, Instant::now()).ok();
    // At the usual level there is none: what a subscriber keeps of a span it would keep for every viewer.
    let span = debug_span!("ws.session", room = %telemetry::alias(code));
    Ok(upgrade.answer(tracker, move |line, first| sessions.run(line, first, room, judge).instrument(span)))
}

impl Upgrade {
    /// The answer that ends HTTP; after it the connection is the session's.
    fn answer<F>(self, tracker: TaskTracker, session: impl FnOnce(Line, Vec<u8>) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Upgrade { accept, upgraded } = self;
        tracker.clone().spawn(async move {
            match upgraded.await {
                // A task of its own, so that nothing is kept of what the upgrade took.
                Ok(upgraded) => {
                    let (line, first) = open(upgraded);
                    tracker.spawn(session(line, first));
                }
                Err(error) => debug!(%error, "a connection ended before it became a socket"),
            }
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// Takes the stream out of HTTP, whose buffers would stay with it, and what has been read of it already.
fn open(upgraded: Upgraded) -> (Line, Vec<u8>) {
    match upgraded.downcast::<TokioIo<Held>>() {
        Ok(parts) => (Line::over_tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => (Line::over(TokioIo::new(upgraded)), Vec::new()),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let upgraded = parts.extensions.get::<OnUpgrade>().cloned();
        // It looks at every header, and takes the upgrade out.
        let looked_at = WebSocketUpgrade::from_request_parts(parts, state).await;
        let refused = |detail: String| Error::new(ErrorCode::UpgradeRequired, detail);
        let _ = looked_at.map_err(|rejection| refused(rejection.body_text()))?;
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
        let (Some(upgraded), Some(key)) = (upgraded, key) else {
            return Err(refused("this connection cannot be upgraded".into()));
        };
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is plain");
        Ok(Upgrade { accept, upgraded })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::{Router, routing::get};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        server::{Places, serve},
        session::echo::echoing,
    };

    /// What `cargo xtask autobahn` asks: until its input ends, every message comes back.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "cargo xtask autobahn runs it"]
    #[expect(clippy::print_stdout, reason = "who runs it reads where it is")]
    async fn echo() {
        let stop = CancellationToken::new();
        let sessions = echoing(stop.clone());
        let tracker = sessions.tracker.clone();
        let route = async move |upgrade: Result<Upgrade, Error>| {
            let tracker = sessions.tracker.clone();
            upgrade.map(|upgrade| upgrade.answer(tracker, move |line, first| sessions.echo(line, first)))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let places = Places::new(1000, 0, |_| true);
        let serving = serve(listener, Router::new().route("/", get(route)), places, stop.clone(), tracker.clone());
        let serving = tokio::spawn(serving);
        println!("ws://{address}");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = end.await;
        stop.cancel();
        serving.await.expect("served");
        tracker.close();
        tracker.wait().await;
    }
}
