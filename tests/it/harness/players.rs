//! Imitations of the providers' players. They speak the documented messages, over TLS, under the providers' own names:
//! the browser is told that every name is this machine. What they prove is our half of the conversation.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// Serves the imitations for as long as the runtime lives, and answers the browser flags that lead there.
pub(crate) async fn serve() -> Vec<String> {
    let names = ["www.vidking.net", "www.youtube-nocookie.com", "player.vimeo.com"];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names.map(String::from)).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                        return;
                    }
                }
                let request = String::from_utf8_lossy(&request).to_lowercase();
                let page = page(&request);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    page.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(page.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    vec![
        format!("--host-resolver-rules=MAP * 127.0.0.1:{port}, EXCLUDE 127.0.0.1"),
        "--ignore-certificate-errors".to_owned(),
    ]
}

fn page(request: &str) -> String {
    let player = match request {
        request if request.contains("host: www.vidking.net") => RELOADED,
        request if request.contains("host: www.youtube-nocookie.com") => JSON_STRINGS,
        _ => OBJECTS,
    };
    format!("<!doctype html><title>player</title><script>{CLOCK}{player}</script>")
}

/// A player's inside: a position that runs. `player.play()`, `pause()` and `seek(s)` are a person's clicks in the frame.
const CLOCK: &str = r#"
const query = new URLSearchParams(location.search);
const player = {
  base: 0, since: null, changed: () => {},
  get paused() { return this.since === null; },
  get time() { return this.base + (this.paused ? 0 : (performance.now() - this.since) / 1000); },
  play() { if (this.paused) { this.since = performance.now(); this.changed("play"); } },
  pause() { if (!this.paused) { this.base = this.time; this.since = null; this.changed("pause"); } },
  seek(seconds) { this.base = seconds; if (!this.paused) this.since = performance.now(); this.changed("seeked"); },
};
setInterval(() => { if (!player.paused) player.changed("timeupdate"); }, 250);
"#;

/// Reports as JSON strings, takes no commands: `progress` in seconds and `autoPlay` in the address are all there is.
const RELOADED: &str = r#"
player.base = Number(query.get("progress") ?? 0);
player.changed = (event) => parent.postMessage(JSON.stringify({ type: "PLAYER_EVENT", data: {
  event, currentTime: player.time, duration: 7200, progress: player.time / 72, id: "1078605", mediaType: "movie",
  season: 1, episode: 8, timestamp: Date.now() } }), "*");
if (query.get("autoPlay") === "true") setTimeout(() => player.play(), 100);
"#;

/// JSON strings both ways, after a handshake; reports fields when they change, and never says "seeked".
const JSON_STRINGS: &str = r#"
let listener = null;
const say = (event, info) => listener && parent.postMessage(JSON.stringify({ event, info, id: listener.id, channel: "widget" }), listener.origin);
const deliver = () => say("infoDelivery", { currentTime: player.time, duration: 212, playerState: player.paused ? 2 : 1 });
const wanted = new Set();
player.base = Number(query.get("start") ?? 0);
player.changed = (event) => {
  if (wanted.has("onStateChange") && event === "play") say("onStateChange", 1);
  if (wanted.has("onStateChange") && event === "pause") say("onStateChange", 2);
  deliver();
};
addEventListener("message", ({ data, origin }) => {
  if (typeof data !== "string") return;
  const { event, func, args, id, channel } = JSON.parse(data);
  if (channel !== "widget" || origin !== query.get("origin")) return;
  if (event === "listening" && !listener) {
    listener = { id, origin };
    say("initialDelivery", { duration: 212, playerState: -1 });
    say("onReady", null);
    if (query.get("autoplay") === "1") player.play();
  }
  if (event !== "command") return;
  if (func === "addEventListener") wanted.add(args[0]);
  if (func === "playVideo") player.play();
  if (func === "pauseVideo") player.pause();
  if (func === "seekTo") player.seek(args[0]);
});
"#;

/// Objects both ways; events only for those who asked for them by name.
const OBJECTS: &str = r##"
const wanted = new Set();
let listener = null;
const start = location.hash.match(/^#t=(\d+)s$/);
if (start) player.base = Number(start[1]);
player.changed = (event) => wanted.has(event) && parent.postMessage(
  { event, data: { seconds: player.time, percent: player.time / 61.857, duration: 61.857 } }, listener);
addEventListener("message", ({ data: { method, value }, origin }) => {
  listener = origin;
  if (method === "ping") {
    parent.postMessage({ event: "ready" }, listener);
    if (query.get("autoplay") === "1") setTimeout(() => player.play(), 50);
  }
  if (method === "addEventListener") wanted.add(value);
  if (method === "play") player.play();
  if (method === "pause") player.pause();
  if (method === "setCurrentTime") player.seek(value);
});
"##;
