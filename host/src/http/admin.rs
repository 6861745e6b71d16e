//! The operator's listener: metrics, health and reload. It is bound to this machine unless the configuration says otherwise.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use serde::Serialize;

use super::{
    AppState,
    error::{self, Error, ErrorCode},
};
use crate::{
    lobby::Lobby,
    providers::{self, Providers, Reloader},
};

pub fn admin_router(state: AppState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/admin/providers", get(providers))
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

/// Whether this node can do its work: each part is named, and tried out.
async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    let Lobby { rooms, live } = &state.lobby;
    let (database, live) = tokio::join!(rooms.check(), live.check());
    let causes = [("database", database.err().map(|error| error.to_string())), ("live", live.err())];
    let mut answer = serde_json::Map::new();
    for (part, cause) in &causes {
        answer.insert((*part).into(), if cause.is_none() { "ok".into() } else { "unavailable".into() });
    }
    let causes: serde_json::Map<_, _> =
        causes.into_iter().filter_map(|(part, cause)| Some((part.to_owned(), cause?.into()))).collect();
    let status = if causes.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !causes.is_empty() {
        answer.insert("causes".into(), causes.into());
    }
    (status, Json(answer))
}

/// Every provider with its state, and why it is not ready.
async fn providers(State(providers): State<Providers>) -> impl IntoResponse {
    #[derive(Serialize)]
    struct View {
        id: String,
        state: providers::Status,
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: String,
    }
    let providers = providers.list();
    let views = providers.values().map(|provider| {
        let (state, reason) = provider.status();
        View { id: provider.id.clone(), state, reason: reason.into_owned() }
    });
    Json(serde_json::json!({ "providers": views.collect::<Vec<_>>() }))
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
