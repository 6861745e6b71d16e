//! The operator's listener: metrics and health. It is bound to this machine unless the configuration says otherwise.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use super::{AppState, error};

pub fn admin_router(state: AppState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(error::not_found)
        .with_state(state)
}

async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
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
