//! HTTP: every route in one list, the middleware in another, and the state the handlers share.

mod admin;
mod assets;
mod client;
mod conditional;
mod error;
mod links;
mod media;
mod providers;
mod rooms;
mod socket;
mod web;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef, Request, State},
    http::{self, HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post, put},
};
use tower::ServiceBuilder;
use tower_http::{
    cors::CorsLayer,
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};
use tracing::{Span, debug, info_span};

pub use self::{admin::admin_router, client::ForeignOrigins, media::MediaFolder};
use crate::{
    config::Config,
    limit::PerAddress,
    lobby::Lobby,
    providers::{Providers, Reloader},
    rooms::{hex, random_bytes},
    session::Sessions,
    telemetry::Metrics,
};

/// The largest request body; the longest identity with its title is a tenth of it.
const MAX_BODY_BYTES: usize = 16 * 1024;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share, behind one pointer: each request takes it several times.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

pub struct Parts {
    pub config: Arc<Config>,
    pub providers: Providers,
    pub reloader: Reloader,
    pub lobby: Lobby,
    pub sessions: Arc<Sessions>,
    pub metrics: Arc<Metrics>,
    pub creations: PerAddress,
    pub guesses: PerAddress,
    pub foreign: ForeignOrigins,
    pub media: Arc<MediaFolder>,
}

impl AppState {
    pub fn new(parts: Parts) -> AppState {
        AppState(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<AppState> for Arc<Config> {
    fn from_ref(state: &AppState) -> Self {
        state.config.clone()
    }
}

impl FromRef<AppState> for Providers {
    fn from_ref(state: &AppState) -> Self {
        state.providers.clone()
    }
}

impl FromRef<AppState> for Reloader {
    fn from_ref(state: &AppState) -> Self {
        state.reloader.clone()
    }
}

impl FromRef<AppState> for Arc<MediaFolder> {
    fn from_ref(state: &AppState) -> Self {
        state.media.clone()
    }
}

/// The public listener's routes.
pub fn router(state: AppState) -> Router {
    // Who may be guessing at codes and keys, or trying what a plugin fails at.
    let guarded = Router::new()
        .route("/api/v1/rooms", post(rooms::create))
        .route("/api/v1/rooms/{code}", get(rooms::show).delete(rooms::close))
        .route("/api/v1/rooms/{code}/source", put(rooms::set_source))
        .route("/ws/v1/rooms/{code}", get(socket::upgrade))
        .route("/api/v1/providers/{id}/resolve", post(providers::resolve))
        .route("/api/v1/links", post(links::understand))
        .route_layer(middleware::from_fn_with_state(state.clone(), client::guarded));
    let mut router = Router::new()
        .merge(guarded)
        .route("/api/v1/providers", get(providers::list))
        .route("/api/v1/providers/{id}", get(providers::show))
        .route("/api/v1/providers/{id}/bridge.js", get(providers::bridge))
        .route("/api/v1/providers/{id}/assets/{hash}/{name}", get(assets::asset))
        .route("/api/v1/rooms", get(rooms::list))
        .route("/api/v1/media", get(media::list))
        .route("/api/v1/media/tracks", get(media::tracks))
        .route("/api/v1/openapi.json", get(web::openapi))
        .route("/api/v1/asyncapi.json", get(web::asyncapi))
        .route("/", get(web::home))
        .route("/r/{code}", get(web::room))
        .route("/r/{code}/", get(web::room_slash))
        .route("/assets/{file}", get(web::asset))
        .route("/bridge/v1.js", get(web::bridge_helpers))
        .route("/client/{file}", get(web::client));
    if !state.config.media.dir.as_os_str().is_empty() {
        router = router.route("/media/{*path}", get(media::file));
    }
    let allowed = state.config.server.allowed_origins.iter().filter_map(|origin| origin.parse().ok());
    let cors = CorsLayer::new()
        .allow_origin(allowed.collect::<Vec<HeaderValue>>())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([header::LOCATION, header::RETRY_AFTER])
        .max_age(Duration::from_secs(3600));
    let public_path: Arc<str> = state.config.server.public_path().into();
    // The first one is the outermost: a request meets it first. One stack, since each layer of a router costs every request
    // a box of its own.
    let layers = ServiceBuilder::new()
        .layer(middleware::map_request(without_odd_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID.clone(), Numbered::new()))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID.clone()))
        .layer(trace())
        .layer(fixed(header::REFERRER_POLICY, "strict-origin-when-cross-origin"))
        .layer(fixed(header::X_FRAME_OPTIONS, "SAMEORIGIN"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(cors)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    let router = router
        .fallback(web::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(layers)
        .with_state(state);
    if public_path.is_empty() {
        return router;
    }
    // Around the router: what is meant by a path is known before a route is looked for.
    Router::new().fallback_service(router).layer(middleware::from_fn_with_state(public_path, without_public_path))
}

/// A proxy may take the public address's path off or leave it on, and whoever looks after this server comes without it:
/// all of them mean the same.
async fn without_public_path(State(path): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    let asked = request.uri().path_and_query().and_then(|asked| asked.as_str().strip_prefix(&*path));
    match asked.map(str::to_owned) {
        Some(rest) if rest.starts_with('/') => {
            *request.uri_mut() = rest.parse().expect("the end of a path is one");
            next.run(request).await
        }
        // What a page names is beside its address: without the slash that is another folder.
        Some(rest) if rest.is_empty() || rest.starts_with('?') => {
            Redirect::permanent(&format!("{path}/{rest}")).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whoever asks may bring an id for the log, if it is one.
async fn without_odd_id(mut request: Request) -> Request {
    let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let id = request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes);
    if id.is_some_and(|id| id.is_empty() || id.len() > 64 || !id.iter().all(is_id)) {
        request.headers_mut().remove(&REQUEST_ID);
    }
    request
}

/// Ids for the log: which start of which node, and which request of it.
#[derive(Clone)]
struct Numbered {
    start: Arc<str>,
    last: Arc<AtomicU64>,
}

impl Numbered {
    fn new() -> Numbered {
        Numbered { start: hex(&random_bytes::<6>()).into(), last: Arc::default() }
    }
}

impl MakeRequestId for Numbered {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{}-{number}", self.start)).ok().map(RequestId::new)
    }
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
