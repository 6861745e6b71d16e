//! HTTP: every route in one list, the middleware in another, and the state the handlers share.

mod admin;
mod client;
mod error;
mod providers;
mod rooms;
mod socket;
mod web;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request},
    handler::HandlerWithoutStateExt,
    http::{HeaderName, HeaderValue, Method, header},
    response::Response,
    routing::{get, post, put},
};
use tower_http::{
    cors::CorsLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    services::ServeDir,
    set_header::{SetResponseHeader, SetResponseHeaderLayer},
    trace::TraceLayer,
};
use tracing::{Span, debug, info_span};

pub use self::admin::admin_router;
use crate::{
    config::Config,
    lifecycle::Lobby,
    limit::PerAddress,
    providers::{Providers, Reloader},
    session::Sessions,
    telemetry::Metrics,
};

/// The largest request body; the longest identity with its title is a tenth of it.
const MAX_BODY_BYTES: usize = 16 * 1024;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share; each asks for the part it needs.
#[derive(Clone, FromRef)]
pub struct AppState {
    pub config: Arc<Config>,
    pub providers: Providers,
    pub reloader: Reloader,
    pub lobby: Lobby,
    pub sessions: Sessions,
    pub metrics: Arc<Metrics>,
    pub creations: Arc<PerAddress>,
}

/// The public listener's routes.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new()
        .route("/api/v1/providers", get(providers::list))
        .route("/api/v1/providers/{id}", get(providers::show))
        .route("/api/v1/providers/{id}/bridge.js", get(providers::bridge))
        .route("/api/v1/providers/{id}/resolve", post(providers::resolve))
        .route("/api/v1/rooms", get(rooms::list).post(rooms::create))
        .route("/api/v1/rooms/{code}", get(rooms::show).delete(rooms::close))
        .route("/api/v1/rooms/{code}/source", put(rooms::set_source))
        .route("/api/v1/openapi.json", get(web::openapi))
        .route("/api/v1/asyncapi.json", get(web::asyncapi))
        .route("/ws/v1/rooms/{code}", get(socket::upgrade))
        .route("/", get(web::home))
        .route("/r/{code}", get(web::room))
        .route("/r/{code}/", get(web::room_slash))
        .route("/assets/{file}", get(web::asset))
        .route("/bridge/v1.js", get(web::bridge_helpers))
        .route("/client/{file}", get(web::client))
        .fallback(web::not_found)
        .method_not_allowed_fallback(error::method_not_allowed);
    let media = &state.config.media.dir;
    if !media.as_os_str().is_empty() {
        let files = ServeDir::new(media)
            .append_index_html_on_directories(false)
            .not_found_service(error::not_found.into_service());
        // Whatever lies there is played, never run: a page among the files gets no rights on this origin.
        let inert =
            HeaderValue::from_static("sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'");
        let inert = SetResponseHeader::overriding(files, header::CONTENT_SECURITY_POLICY, inert);
        router = router.nest_service("/media", inert);
    }
    let allowed = state.config.server.allowed_origins.iter().filter_map(|origin| origin.parse().ok());
    let cors = CorsLayer::new()
        .allow_origin(allowed.collect::<Vec<HeaderValue>>())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .max_age(Duration::from_secs(3600));
    // The last one is the outermost: a request meets it first.
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(cors)
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::X_FRAME_OPTIONS, "SAMEORIGIN"))
        .layer(fixed(header::REFERRER_POLICY, "strict-origin-when-cross-origin"))
        .layer(trace())
        .layer(PropagateRequestIdLayer::new(REQUEST_ID.clone()))
        .layer(SetRequestIdLayer::new(REQUEST_ID.clone(), MakeRequestUuid))
        .with_state(state)
}

fn fixed(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

type Tracing = TraceLayer<
    tower_http::classify::SharedClassifier<tower_http::classify::ServerErrorsAsFailures>,
    fn(&Request) -> Span,
    (),
    fn(&Response, Duration, &Span),
    (),
    (),
    (),
>;

/// A span for each request: the route, not the address, so that no room code is in it.
fn trace() -> Tracing {
    fn span(request: &Request) -> Span {
        let id = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let route = request.extensions().get::<axum::extract::MatchedPath>().map_or("", |path| path.as_str());
        info_span!("http.request", http.method = %request.method(), http.route = route, request.id = id)
    }
    fn answered(response: &Response, latency: Duration, _: &Span) {
        debug!(http.status = response.status().as_u16(), latency_ms = latency.as_millis() as u64, "answered");
    }
    TraceLayer::new_for_http()
        .make_span_with(span as fn(&Request) -> Span)
        .on_request(())
        .on_response(answered as fn(&Response, Duration, &Span))
        .on_body_chunk(())
        .on_eos(())
        .on_failure(())
}
