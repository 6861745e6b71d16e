//! Stand-ins for the providers' players (`tests/web/players`), and the small server of the pages that are tried with
//! them. The stand-ins speak the documented messages, over TLS, under the providers' own names: the browser is told that
//! every name is this machine. What they prove is our half of the conversation.

use std::{
    collections::HashMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use streamit_npm::Package;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::{film, npm, repository, streams};

/// Vimeo's SDK as it is published.
pub(crate) const VIMEO_SDK: Package<'_> = Package {
    name: "@vimeo/player",
    version: "2.30.4",
    integrity: "sha512-M8m1UAhJSb+KCWuXDLWHViwj+3YY/0ogwFquRfMHs9e9LYjXT9iB7n+sOCKwUusbiXuU2HKmXx+FEGHtYZfUSg==",
};

/// Each name, and the stand-in that answers under it.
const PLAYERS: [(&str, &str); 6] = [
    ("www.vidking.net", "vidking"),
    ("www.youtube-nocookie.com", "youtube"),
    ("player.vimeo.com", "vimeo"),
    ("play.acme.example", "acme"),
    ("www.dailymotion.com", "dailymotion"),
    ("video.example.org", "peertube"),
];

/// Serves the stand-ins for as long as the runtime lives, and answers the browser flags that lead there.
pub(crate) async fn serve() -> Vec<String> {
    serve_with(json!({})).await
}

/// As [`serve`], with these switches (see `tests/web/players/player.js`) for every player.
pub(crate) async fn serve_with(switches: Value) -> Vec<String> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(PLAYERS.map(|(name, _)| name.to_owned())).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, switches) = (acceptor.clone(), switches.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Some(request) = Request::read(&mut stream).await else { return };
                stand_in(&request, &switches, stream).await;
            });
        }
    });
    vec![
        format!("--host-resolver-rules=MAP * 127.0.0.1:{port}, EXCLUDE 127.0.0.1"),
        "--ignore-certificate-errors".to_owned(),
    ]
}

/// The player of the name that was asked for; `answer=404`, `answer=500` and `answer=never` in its address are obeyed, and
/// `answer` among the switches.
async fn stand_in(request: &Request, switches: &Value, stream: impl AsyncWrite + Unpin) {
    if let Some(script) = request.path.strip_prefix("/standin/") {
        file(stream, &web("players").join(script)).await;
        return;
    }
    match request.query.get("answer").map(String::as_str).or(switches["answer"].as_str()) {
        Some("never") => std::future::pending().await,
        Some("404") => respond(stream, "404 Not Found", "text/html", b"no such video").await,
        Some("500") => respond(stream, "500 Internal Server Error", "text/html", b"out of order").await,
        _ => {
            let player = PLAYERS.iter().find(|(name, _)| *name == request.host).map_or("vimeo", |(_, player)| player);
            let page = format!(
                "<!doctype html><meta charset=utf-8><title>player</title><script>globalThis.SCENE = {switches};</script>\
                 <script src=/standin/player.js></script><script src=/standin/{player}.js></script>"
            );
            respond(stream, "200 OK", "text/html", page.as_bytes()).await;
        }
    }
}

// ---- The pages -----------------------------------------------------------------------------------------------------

/// How long a silence of the clip's lasts at most; a scene ends it before.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// Serves the pages of `tests/web`, the bridges and what they import from the source, and the clip, on 127.0.0.1;
/// answers its address.
pub(crate) async fn serve_pages() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let holds = Arc::new(Mutex::new(HashMap::new()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let holds = holds.clone();
            tokio::spawn(async move {
                let Some(request) = Request::read(&mut stream).await else { return };
                page(&request, stream, &holds).await;
            });
        }
    });
    address
}

/// Serves the clip as a Jellyfin server would: the film `id`, to whoever has the key, as it is. Answers the port.
pub(crate) async fn serve_jellyfin(id: &'static str, key: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(request) = Request::read(&mut stream).await else { return };
                let asks_with = |name: &str| request.query.get(name).map(String::as_str);
                if asks_with("ApiKey") != Some(key) {
                    respond(stream, "401 Unauthorized", "text/plain", b"").await;
                } else if request.path != format!("/Videos/{id}/stream") || asks_with("static") != Some("true") {
                    respond(stream, "404 Not Found", "text/plain", b"").await;
                } else {
                    media(&request, stream, &Holds::default(), fs::read(film::bundled()).unwrap(), "video/webm").await;
                }
            });
        }
    });
    port
}

type Holds = Mutex<HashMap<String, watch::Sender<bool>>>;

async fn page(request: &Request, stream: impl AsyncWrite + Unpin, holds: &Holds) {
    let parts: Vec<_> = request.path.split('/').skip(1).collect();
    match parts[..] {
        ["bridge", "v1.js"] => file(stream, &repository().join("host/web/bridge-v1.js")).await,
        ["client", name] => file(stream, &repository().join("host/web/client").join(name)).await,
        ["plugins", "old", "bridge.js"] => file(stream, &web("old-bridge.js")).await,
        ["plugins", "acme" | "old", name] => {
            file(stream, &repository().join("plugin-api/examples/acme").join(name)).await;
        }
        ["plugins", id, name] => {
            let bundled = repository().join("plugins").join(id);
            let folder = if bundled.exists() { bundled } else { repository().join("plugins/examples").join(id) };
            file(stream, &folder.join(name)).await;
        }
        ["sdk", name] => match npm::fetch(&VIMEO_SDK) {
            Some(package) => file(stream, &package.join("dist").join(name)).await,
            None => respond(stream, "404 Not Found", "text/plain", b"").await,
        },
        ["assets", "adaptive", "player.css"] => file(stream, &repository().join("plugins/adaptive/player.css")).await,
        ["assets", "adaptive", name] => file(stream, &streams::vendored().join(name)).await,
        ["media", "clock.webm"] => {
            media(request, stream, holds, fs::read(film::bundled()).unwrap(), "video/webm").await;
        }
        ["streams", ref path @ ..] => {
            let query = if request.asked.is_empty() { String::new() } else { format!("?{}", request.asked) };
            match streams::find(path, &query.replace('&', "&amp;"), "") {
                Some((bytes, kind)) => media(request, stream, holds, bytes, kind).await,
                None => respond(stream, "404 Not Found", "text/plain", b"").await,
            }
        }
        ["release", hold] => {
            // The page may ask before the clip's reader has come to the hold.
            holds.lock().unwrap().entry(hold.to_owned()).or_insert_with(|| watch::channel(true).0).send_replace(false);
            respond(stream, "200 OK", "text/plain", b"released").await;
        }
        [name] => file(stream, &web(name)).await,
        _ => respond(stream, "404 Not Found", "text/plain", b"").await,
    }
}

/// The clip's index is at its end: without it there is no seeking.
const INDEX_BYTES: usize = 20_000;

/// A media file, by ranges. `answer` as for the stand-ins; `delay=MS`: each answer begins so late; `hold=NAME&after=BYTES`:
/// nothing beyond that byte comes until `/release/NAME`; `garble=1`: no video.
async fn media(request: &Request, mut stream: impl AsyncWrite + Unpin, holds: &Holds, mut body: Vec<u8>, kind: &str) {
    match request.query.get("answer").map(String::as_str) {
        Some("never") => std::future::pending().await,
        Some("404") => return respond(stream, "404 Not Found", "text/plain", b"").await,
        Some("500") => return respond(stream, "500 Internal Server Error", "text/plain", b"").await,
        _ => {}
    }
    let number = |name: &str| request.query.get(name).and_then(|text| text.parse::<u64>().ok());
    tokio::time::sleep(Duration::from_millis(number("delay").unwrap_or(0))).await;
    if request.query.contains_key("garble") {
        body.fill(b'x');
    }
    let whole = body.len();
    let Range { start, end } = request.range.clone().unwrap_or(0..whole);
    let end = end.min(whole);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Type: {kind}\r\nAccept-Ranges: bytes\r\n\
         Content-Range: bytes {start}-{}/{whole}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        end - 1,
        end - start
    );
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let mut sent = start;
    if let (Some(name), Some(after)) = (request.query.get("hold"), number("after"))
        && start < whole.saturating_sub(INDEX_BYTES)
    {
        let mut held = {
            let mut holds = holds.lock().unwrap();
            holds.entry(name.clone()).or_insert_with(|| watch::channel(true).0).subscribe()
        };
        let until = end.min((after as usize).max(start));
        if stream.write_all(&body[start..until]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        sent = until;
        let _ = tokio::time::timeout(HOLD_LIMIT, held.wait_for(|is_held| !is_held)).await;
    }
    let _ = stream.write_all(&body[sent..end]).await;
    let _ = stream.shutdown().await;
}

// ---- HTTP, as much as a browser needs ------------------------------------------------------------------------------

pub(super) struct Request {
    pub(super) method: String,
    host: String,
    pub(super) path: String,
    /// All that stands behind the question mark, and the parameters in it.
    asked: String,
    query: HashMap<String, String>,
    pub(super) headers: HashMap<String, String>,
    pub(super) range: Option<Range<usize>>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return None;
            }
        };
        let mut body = bytes.split_off(head);
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while body.len() < length {
            if !matches!(stream.read_buf(&mut body).await, Ok(1..)) {
                return None;
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let range = headers.get("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some(start.parse().ok()?..end.parse::<usize>().map_or(usize::MAX, |last| last + 1))
        });
        Some(Request {
            method: method.to_owned(),
            host: headers.get("host").map(|host| host.to_lowercase()).unwrap_or_default(),
            path: path.to_owned(),
            asked: query.to_owned(),
            query: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            range,
            body,
            headers,
        })
    }
}

async fn file(stream: impl AsyncWrite + Unpin, path: &Path) {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        _ => "text/plain",
    };
    match fs::read(path) {
        Ok(body) => respond(stream, "200 OK", kind, &body).await,
        Err(_) => respond(stream, "404 Not Found", "text/plain", b"").await,
    }
}

async fn respond(mut stream: impl AsyncWrite + Unpin, status: &str, kind: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let _ = stream.shutdown().await;
}

fn web(name: &str) -> PathBuf {
    repository().join("tests/web").join(name)
}
