//! HLS and DASH to try the bridge for them with: a film that is made here, a server of it that can fail, a licence server, and
//! a broadcast that goes on while a scene runs.

mod cenc;
mod manifests;
mod media;

use std::{
    path::PathBuf,
    process::Child,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

pub(super) use self::manifests::find;
use self::manifests::read_from;
use super::{film, players::Request, repository};

const KEY: &[u8; 16] = b"sixteen bytes ok";
const KEY_ID: &[u8; 16] = b"which key it is.";

/// Whether the plugin has a player here. If not, it is said.
pub(crate) fn can_play() -> bool {
    if !has_player() {
        println!("not run: the plugin has no player here; `cargo xtask vendor` fetches it from npm");
    }
    has_player()
}

pub(crate) fn has_player() -> bool {
    // Of another version it would not be in the library.
    let lock = include_str!("../../../plugins/adaptive/vendor.lock");
    let integrity = std::fs::read_to_string(vendored().join("integrity"));
    integrity.is_ok_and(|integrity| lock.contains(&format!("integrity = \"{integrity}\"")))
}

/// What `cargo xtask vendor` leaves for the plugin.
pub(super) fn vendored() -> PathBuf {
    repository().join("target/vendor/adaptive")
}

// ---- The servers -------------------------------------------------------------------------------------------------------

/// A server of its own origin, which any page may read from. Dropped, it is away.
struct Server {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Server {
    async fn start<F>(port: u16, answer: impl Fn(Request) -> F + Clone + Send + 'static) -> Server
    where
        F: Future<Output = Answer> + Send,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let Some(request) = Request::read(&mut stream).await else { return };
                    let range = request.range.clone();
                    let answer = if request.method == "OPTIONS" { Answer::of(204) } else { answer(request).await };
                    answer.write(stream, range).await;
                });
            }
        });
        Server { port, accepting }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    /// Whether pages of other sites may read it.
    is_open: bool,
}

impl Answer {
    fn of(status: u16) -> Answer {
        Answer { status, ..Answer::found(Vec::new(), "text/plain") }
    }

    fn found(body: Vec<u8>, kind: &'static str) -> Answer {
        Answer { status: 200, kind, body, is_open: true }
    }

    async fn write(self, mut stream: impl AsyncWrite + Unpin, range: Option<std::ops::Range<usize>>) {
        let Answer { status, kind, body, is_open } = self;
        let open = if is_open { "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\n" } else { "" };
        let whole = body.len();
        let (status, part, place) = match range.filter(|range| status == 200 && range.start < whole) {
            Some(range) => {
                let end = range.end.min(whole);
                (206, range.start..end, format!("Content-Range: bytes {}-{}/{whole}\r\n", range.start, end - 1))
            }
            None => (status, 0..whole, String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status} as asked\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{place}{open}Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            part.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body[part]).await;
        let _ = stream.shutdown().await;
    }
}

/// How a request goes wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Out of order: a 503.
    Down,
    /// As much as should come, and none of it what it should be.
    Garbage,
    /// Pages of other sites may not read it.
    Closed,
    /// Its picture is in a format that no browser knows.
    Odd,
}

/// The server of the streams: `clear/`, `locked/`, and `live/` if there is a broadcast; each has `manifest.mpd` and `master.m3u8`.
pub(crate) struct Streams {
    server: Server,
    /// What is in the path of requests that go wrong, and how they do.
    fault: Arc<Mutex<Option<(&'static str, Fault)>>>,
    /// The paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Streams {
    pub(crate) async fn start(key_server: &str, live: Option<&Broadcast>) -> Streams {
        let fault = Arc::new(Mutex::new(None::<(&str, Fault)>));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (faults, asking, key_server) = (fault.clone(), asked.clone(), key_server.to_owned());
        let live = live.map(|live| live.folder.path().to_owned());
        // Before anybody waits for it.
        tokio::task::spawn_blocking(media::folder).await.unwrap();
        let server = Server::start(0, move |request| {
            asking.lock().unwrap().push(request.path.clone());
            let fault = faults.lock().unwrap().filter(|(what, _)| request.path.contains(what)).map(|(_, fault)| fault);
            let path: Vec<&str> = request.path.split('/').skip(1).collect();
            let found = match (&path[..], &live) {
                _ if fault == Some(Fault::Down) => return std::future::ready(Answer::of(503)),
                (["live", file], Some(folder)) => read_from(folder, file),
                (path, _) => find(path, "", &key_server),
            };
            std::future::ready(found.map_or(Answer::of(404), |(mut body, kind)| {
                match fault {
                    Some(Fault::Garbage) => body.fill(0),
                    Some(Fault::Odd) => body = String::from_utf8_lossy(&body).replace("avc1", "odd1").into_bytes(),
                    _ => {}
                }
                Answer { is_open: fault != Some(Fault::Closed), ..Answer::found(body, kind) }
            }))
        })
        .await;
        Streams { server, fault, asked }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// From now on what has this in its path goes wrong.
    pub(crate) fn break_down(&self, what: &'static str, fault: Fault) {
        *self.fault.lock().unwrap() = Some((what, fault));
    }

    pub(crate) fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// How often what has this in its path was asked for.
    pub(crate) fn asked_for(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(what)).count()
    }
}

/// What a licence server does.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Licences {
    Right,
    WrongKey,
    OtherKeys,
    Nonsense,
    Refused,
}

/// A licence server for Clear Key, as Encrypted Media Extensions describe it (9.1.4), and of the bare key for HLS.
pub(crate) struct LicenceServer {
    server: Option<Server>,
    port: u16,
    gives: Arc<Mutex<Licences>>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl LicenceServer {
    pub(crate) async fn start() -> LicenceServer {
        let (gives, requests) = (Arc::new(Mutex::new(Licences::Right)), Arc::new(Mutex::new(Vec::new())));
        let mut server = LicenceServer { server: None, port: 0, gives, requests };
        server.comes_back().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn gives(&self, licences: Licences) {
        *self.gives.lock().unwrap() = licences;
    }

    pub(crate) fn goes_away(&mut self) {
        self.server = None;
    }

    pub(crate) async fn comes_back(&mut self) {
        let (gives, requests) = (self.gives.clone(), self.requests.clone());
        let server = Server::start(self.port, move |request| {
            let said = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            requests.lock().unwrap().push(json!({ "said": said, "for": request.headers.get("x-licence-for") }));
            std::future::ready(licence(&request, *gives.lock().unwrap()))
        })
        .await;
        self.port = server.port;
        self.server = Some(server);
    }

    /// What was said in each request, and in its header `X-Licence-For`.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

fn licence(request: &Request, gives: Licences) -> Answer {
    let key = if gives == Licences::WrongKey { b"another sixteen." } else { KEY };
    let id = if gives == Licences::OtherKeys { b"of another film." } else { KEY_ID };
    let [key_text, id] = [key, id].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    match gives {
        Licences::Refused => Answer::of(403),
        Licences::Nonsense => Answer::found(b"no licence".into(), "application/json"),
        _ if request.path == "/key" => Answer::found(key.into(), "application/octet-stream"),
        _ => {
            let keys = json!({ "keys": [{ "kty": "oct", "kid": id, "k": key_text }], "type": "temporary" });
            Answer::found(keys.to_string().into_bytes(), "application/json")
        }
    }
}

// ---- A broadcast -------------------------------------------------------------------------------------------------------

/// A live stream, in both forms, by ffmpeg; over when dropped.
pub(crate) struct Broadcast {
    ffmpeg: Child,
    folder: TempDir,
}

impl Broadcast {
    pub(crate) async fn start() -> Broadcast {
        tokio::task::spawn_blocking(media::folder).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut ffmpeg = film::ffmpeg();
        ffmpeg.current_dir(folder.path());
        for name in ["small.mp4", "en.mp4"] {
            ffmpeg.args(["-re", "-stream_loop", "-1", "-i"]).arg(media::folder().join(name));
        }
        // Nothing is encoded: it costs next to nothing.
        let copies = ["-map", "0", "-map", "1", "-c", "copy"];
        ffmpeg.args(copies).args([
            "-f",
            "dash",
            "-seg_duration",
            "1",
            "-window_size",
            "20",
            "-extra_window_size",
            "10",
        ]);
        ffmpeg.args(["-use_timeline", "1", "-use_template", "1", "manifest.mpd"]);
        ffmpeg.args(copies).args(["-f", "hls", "-hls_time", "1", "-hls_list_size", "20", "-hls_segment_type", "fmp4"]);
        ffmpeg.args([
            "-hls_flags",
            "program_date_time+independent_segments",
            "-hls_segment_filename",
            "hls%d.m4s",
            "master.m3u8",
        ]);
        let ffmpeg = ffmpeg.spawn().expect("ffmpeg is installed; `cargo xtask test` sees to it");
        Broadcast { ffmpeg, folder }
    }

    /// Whether it has gone on for some seconds, in both forms.
    pub(crate) fn has_begun(&self) -> bool {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("master.m3u8").matches("#EXTINF").count() >= 5 && read("manifest.mpd").contains("<S ")
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
    }
}
