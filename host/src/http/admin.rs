//! The operator's listener: metrics, health and reload. It is bound to this machine unless the configuration says otherwise.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    AppState,
    error::{self, Error, ErrorCode},
};
use crate::providers::Reloader;

pub fn admin_router(state: AppState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/admin/reload", post(reload))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(state)
}

async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    state.providers.observe();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.metrics.encode())
}

/// Whether this node can do its work; each part is named.
async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    let database = match state.lobby.rooms.ping().await {
        Ok(()) => "ok",
        Err(_) => "unavailable",
    };
    let live = if state.lobby.live.is_up() { "ok" } else { "unavailable" };
    let is_ready = database == "ok" && live == "ok";
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "database": database, "live": live })))
}

/// Reads the providers' files and settings again, and answers what became of each.
async fn reload(State(reloader): State<Reloader>, headers: HeaderMap) -> Result<Response, Error> {
    // A page that somebody on the operator's machine has open must not do this behind their back.
    if headers.contains_key(header::ORIGIN) {
        return Err(Error::new(
            ErrorCode::ForeignOrigin,
            "no web page may ask for this; use a program, like curl -X POST",
        ));
    }
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload()).await;
    Ok(match reloaded.expect("a reload does not panic") {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(error) => {
            let detail = format!("the configuration cannot be used, so nothing was changed:\n{error}");
            Error::new(ErrorCode::InvalidRequest, detail).into_response()
        }
    })
}
