//! The built-in client: pages and modules from `host/web`, inside the binary, and the headers that fence them in.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    client::Name,
    conditional::is_known,
    error::{self, Error},
};
use crate::{
    config::Config,
    providers::{Needs, Providers},
    rooms::hex,
};

struct Asset {
    content_type: &'static str,
    body: &'static [u8],
    etag: String,
}

macro_rules! assets {
    ($folder:literal { $($name:literal: $content_type:expr),* $(,)? }) => {
        LazyLock::new(|| HashMap::from([$(($name, Asset::new($content_type, include_bytes!(concat!($folder, $name))))),*]))
    };
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = assets! { "../../web/" {
    "home.html": HTML,
    "room.html": HTML,
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "api.js": SCRIPT,
    "file-chooser.js": SCRIPT,
    "home.js": SCRIPT,
    "media-form.js": SCRIPT,
    "page.js": SCRIPT,
    "notices.js": SCRIPT,
    "params.js": SCRIPT,
    "policy.js": SCRIPT,
    "seen.js": SCRIPT,
    "stage.js": SCRIPT,
    "source-form.js": SCRIPT,
    "sync-panel.js": SCRIPT,
    "tracks.js": SCRIPT,
    "transport.js": SCRIPT,
    "room.js": SCRIPT,
    "bridge-v1.js": SCRIPT,
}};

/// The client library: what the pages use, for any other front end. `v1.js` is its door.
static CLIENT: LazyLock<HashMap<&'static str, Asset>> = assets! { "../../web/client/" {
    "v1.js": SCRIPT,
    "clock.js": SCRIPT,
    "connection.js": SCRIPT,
    "controller.js": SCRIPT,
    "follower.js": SCRIPT,
    "hunger.js": SCRIPT,
    "line.js": SCRIPT,
    "orders.js": SCRIPT,
    "timeline.js": SCRIPT,
}};

/// The contracts for other clients: REST as OpenAPI, the socket as AsyncAPI. The tests hold every answer against them.
static CONTRACTS: LazyLock<HashMap<&'static str, Asset>> = assets! { "../../api/" {
    "openapi.json": "application/json",
    "asyncapi.json": "application/json",
}};

/// The room page's import map, as its policy names it: the one script that cannot be a file. Bridges import
/// `/bridge/v1.js`, and the page knows where that is.
static IMPORTS: LazyLock<String> = LazyLock::new(|| {
    let page = include_str!("../../web/room.html");
    let map = page.split_once("<script type=\"importmap\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let (map, _) = map.expect("the page has an import map");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(map)))
});

impl Asset {
    fn new(content_type: &'static str, body: &'static [u8]) -> Self {
        let etag = format!("\"{}\"", hex(&Sha256::digest(body)[..16]));
        Asset { content_type, body, etag }
    }

    /// The file, or "unchanged": a page is asked for at each visit and sent only after an upgrade.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let fresh = match is_known(headers, &self.etag, None) {
            Ok(fresh) => fresh,
            Err(error) => return error.into_response(),
        };
        let head = [(header::ETAG, self.etag.as_str()), (header::CACHE_CONTROL, "no-cache")];
        if fresh {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        (head, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

pub(super) async fn home(State(providers): State<Providers>, headers: HeaderMap) -> Response {
    page("home.html", &providers, &headers)
}

pub(super) async fn room(State(providers): State<Providers>, headers: HeaderMap) -> Response {
    page("room.html", &providers, &headers)
}

/// The address of a room with something after it: people type, and programs that share links add, a slash.
pub(super) async fn room_slash(State(config): State<Arc<Config>>, Name(code): Name) -> Redirect {
    // Only what cannot lead anywhere else is put into an address.
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    Redirect::permanent(&format!("{}/r/{code}", config.server.public_path()))
}

/// A person who mistyped an address gets a page, a program the error it can read.
pub(super) async fn not_found(
    State(config): State<Arc<Config>>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_for_programs = uri.path().starts_with("/api/") || uri.path().starts_with("/ws/");
    if method != Method::GET || is_for_programs || !accepts.contains("text/html") {
        return error::not_found(uri).await.into_response();
    }
    let policy = (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'self'; base-uri 'none'");
    let head = [policy, (header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-store")];
    // This page may be at any depth, so it cannot name its files relative to itself as the others do.
    let page = include_str!("../../web/not-found.html").replace("{root}", &format!("{}/", config.server.public_path()));
    (StatusCode::NOT_FOUND, head, page).into_response()
}

pub(super) async fn asset(Name(file): Name, headers: HeaderMap, uri: Uri) -> Result<Response, Error> {
    file_or_error(ASSETS.get(file.as_str()).filter(|asset| asset.content_type != HTML), &headers, uri).await
}

pub(super) async fn client(Name(file): Name, headers: HeaderMap, uri: Uri) -> Result<Response, Error> {
    file_or_error(CLIENT.get(file.as_str()), &headers, uri).await
}

async fn file_or_error(file: Option<&Asset>, headers: &HeaderMap, uri: Uri) -> Result<Response, Error> {
    match file {
        Some(file) => Ok(file.answer(headers)),
        None => Err(error::not_found(uri).await),
    }
}

pub(super) async fn bridge_helpers(headers: HeaderMap) -> Response {
    ASSETS["bridge-v1.js"].answer(&headers)
}

pub(super) async fn openapi(headers: HeaderMap) -> Response {
    CONTRACTS["openapi.json"].answer(&headers)
}

pub(super) async fn asyncapi(headers: HeaderMap) -> Response {
    CONTRACTS["asyncapi.json"].answer(&headers)
}

/// A page may load its own files, and what ready providers said they need; nothing else.
fn page(name: &str, providers: &Providers, headers: &HeaderMap) -> Response {
    let mut response = ASSETS[name].answer(headers);
    let policy = HeaderValue::from_str(&policy(&providers.needs())).expect("origins are ASCII");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn policy(Needs { players, connections, workers, wasm }: &Needs) -> String {
    let list = |sources: &BTreeSet<String>| sources.iter().map(|source| format!(" {source}")).collect::<String>();
    let players = list(players);
    let frames = if players.is_empty() { " 'none'" } else { &players };
    let compiling = if *wasm { " 'wasm-unsafe-eval'" } else { "" };
    // Without a word about them, workers are scripts like others.
    let workers = if *workers { "worker-src 'self' blob:; " } else { "" };
    format!(
        "default-src 'self'; script-src 'self'{compiling} {imports}; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'{connections}; {workers}frame-src{frames}; media-src 'self' blob:{players}; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
        imports = *IMPORTS,
        connections = list(connections),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_do_what_a_provider_needs_and_no_more() {
        let closed = policy(&Needs::default());
        for directive in
            ["connect-src 'self';", "frame-src 'none';", "media-src 'self' blob:;", "script-src 'self' 'sha256-"]
        {
            assert!(closed.contains(directive), "{closed}");
        }
        assert!(!closed.contains("worker-src") && !closed.contains("wasm") && !closed.contains('*'), "{closed}");
        let open = policy(&Needs {
            players: ["https://b.example".to_owned(), "'self'".to_owned()].into(),
            connections: ["https://*.cdn.example".to_owned(), "https://a.example".to_owned()].into(),
            workers: true,
            wasm: true,
        });
        for directive in [
            "connect-src 'self' https://*.cdn.example https://a.example;",
            "worker-src 'self' blob:;",
            "script-src 'self' 'wasm-unsafe-eval' 'sha256-",
            "frame-src 'self' https://b.example;",
            "media-src 'self' blob: 'self' https://b.example;",
        ] {
            assert!(open.contains(directive), "{open}");
        }
    }
}
