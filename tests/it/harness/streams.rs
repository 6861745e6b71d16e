//! HLS and DASH to try the bridge for them with: media that ffmpeg makes, once; manifests that are written here; a server of
//! both that can fail, a licence server, and a broadcast that goes on while a scene runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use super::players::Request;

/// How long the stream is.
const SECONDS: u32 = 120;

const KEY: &[u8; 16] = b"sixteen bytes ok";
const KEY_ID: &[u8; 16] = b"which key it is.";

/// Whether the plugin has a player here. If not, it is said.
pub(crate) fn can_play() -> bool {
    let is_there = vendored().join("integrity").is_file();
    if !is_there {
        println!("not run: the plugin has no player here; `cargo xtask vendor` fetches it from npm");
    }
    is_there
}

/// What `cargo xtask vendor` leaves for the plugin.
pub(super) fn vendored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vendor/adaptive")
}

// ---- The media ---------------------------------------------------------------------------------------------------------

/// A picture in two sizes, a sound in two languages, and one of each under a key: fragmented MP4 with an index.
fn media() -> &'static Path {
    static MEDIA: OnceLock<PathBuf> = OnceLock::new();
    MEDIA.get_or_init(|| {
        // Kept from run to run: the number is another one when something else is made.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("streams-1");
        if !folder.is_dir() {
            let making = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            make(making.path());
            fs::rename(making.keep(), &folder).unwrap();
        }
        folder
    })
}

fn make(folder: &Path) {
    let picture = format!("testsrc=s=160x90:r=5:d={SECONDS}");
    let sound = |hertz: u32| format!("sine=f={hertz}:r=24000:d={SECONDS}");
    let (english, german) = (sound(440), sound(880));
    let fragments = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof+global_sidx"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-sc_threshold", "0", "-pix_fmt", "yuv420p"];
    let audio = ["-c:a", "aac", "-b:a", "32k", "-frag_duration", "1000000"];
    let mut ffmpeg = ffmpeg();
    ffmpeg.current_dir(folder);
    for input in [&picture, &english, &german] {
        ffmpeg.args(["-f", "lavfi", "-i", input]);
    }
    ffmpeg.args(["-map", "0"]).args(video).args(["-s", "96x54"]).args(fragments).arg("small.mp4");
    ffmpeg.args(["-map", "0"]).args(video).args(fragments).arg("large.mp4");
    ffmpeg.args(["-map", "1"]).args(audio).args(fragments).arg("en.mp4");
    ffmpeg.args(["-map", "2"]).args(audio).args(fragments).arg("de.mp4");
    succeeds(&mut ffmpeg);
    let [key, id] = [KEY, KEY_ID].map(|bytes| hex(bytes));
    for name in ["small", "en"] {
        let mut lock = self::ffmpeg();
        lock.current_dir(folder).args(["-i", &format!("{name}.mp4"), "-c", "copy"]).args(fragments);
        lock.args(["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", &key, "-encryption_kid", &id]);
        succeeds(lock.arg(format!("{name}-locked.mp4")));
    }
    for (lang, word) in [("en", "Hello"), ("de", "Guten Tag")] {
        let cue = format!("WEBVTT\n\n00:00:00.000 --> 00:{:02}:00.000\n{word}\n", SECONDS / 60);
        fs::write(folder.join(format!("{lang}.vtt")), cue).unwrap();
    }
}

fn ffmpeg() -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).stdin(Stdio::null());
    ffmpeg
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("ffmpeg is installed; `cargo xtask test` sees to it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's head, its index, and the pieces that the index lists: length in bytes and in seconds.
struct Track {
    head: usize,
    index: std::ops::Range<usize>,
    pieces: Vec<(usize, f64)>,
    codec: String,
}

impl Track {
    fn read(name: &str) -> Track {
        let bytes = fs::read(media().join(format!("{name}.mp4"))).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut index) = (0, 0..0);
        while index.is_empty() {
            if &bytes[at + 4..at + 8] == b"sidx" {
                index = at..at + number(at);
            }
            at += number(at);
        }
        // ISO 14496-12, 8.16.3: of version 1 the times have eight bytes.
        let (scale, list) = (number(index.start + 16) as f64, index.start + 36);
        let count = number(list) & 0xffff;
        let piece = |n: usize| (number(list + 4 + 12 * n), number(list + 8 + 12 * n) as f64 / scale);
        let avc = bytes.windows(4).position(|name| name == b"avcC");
        // The profile stands behind the record's version.
        let codec = avc.map_or("mp4a.40.2".into(), |at| format!("avc1.{}", hex(&bytes[at + 5..at + 8])));
        Track { head: index.start, index: index.clone(), pieces: (0..count).map(piece).collect(), codec }
    }
}

// ---- The manifests -----------------------------------------------------------------------------------------------------

/// What the folders have: `clear` all of it, `locked` a picture and a sound under a key.
fn tracks(folder: &str) -> Option<(&'static [&'static str], &'static [&'static str], &'static [&'static str])> {
    match folder {
        "clear" => Some((&["small", "large"], &["en", "de"], &["en", "de"])),
        "locked" => Some((&["small-locked"], &["en-locked"], &[])),
        _ => None,
    }
}

const NAMES: [(&str, &str); 2] = [("en", "English"), ("de", "Deutsch")];

fn size(name: &str) -> &'static str {
    if name == "large" { "160x90" } else { "96x54" }
}

/// `query` goes with each address: what is asked of the server for the manifest counts for all that it names.
fn dash(folder: &str, query: &str) -> Option<String> {
    let (videos, sounds, texts) = tracks(folder)?;
    let uuid = {
        let id = hex(KEY_ID);
        [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
    };
    let protection = if folder == "locked" {
        format!(
            "<ContentProtection schemeIdUri=\"urn:mpeg:dash:mp4protection:2011\" value=\"cenc\" cenc:default_KID=\"{uuid}\"/>\
             <ContentProtection schemeIdUri=\"urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e\" value=\"ClearKey1.0\"/>"
        )
    } else {
        String::new()
    };
    let representation = |name: &str, bandwidth: u32, more: &str| {
        let Track { head, index, codec, .. } = Track::read(name);
        format!(
            "<Representation id=\"{name}\" codecs=\"{codec}\" bandwidth=\"{bandwidth}\"{more}>\
             <BaseURL>{name}.mp4{query}</BaseURL><SegmentBase indexRange=\"{}-{}\"><Initialization range=\"0-{}\"/>\
             </SegmentBase></Representation>",
            index.start,
            index.end - 1,
            head - 1
        )
    };
    let mut sets = format!("<AdaptationSet contentType=\"video\" mimeType=\"video/mp4\">{protection}");
    for name in videos {
        let (width, height) = size(name).split_once('x').unwrap();
        let bandwidth = if *name == "large" { 60_000 } else { 30_000 };
        sets += &representation(name, bandwidth, &format!(" width=\"{width}\" height=\"{height}\""));
    }
    sets += "</AdaptationSet>";
    for name in sounds {
        let lang = &name[..2];
        sets += &format!("<AdaptationSet contentType=\"audio\" mimeType=\"audio/mp4\" lang=\"{lang}\">{protection}");
        sets += &representation(name, 32_000, "");
        sets += "</AdaptationSet>";
    }
    for lang in texts {
        sets += &format!(
            "<AdaptationSet contentType=\"text\" mimeType=\"text/vtt\" lang=\"{lang}\"><Representation id=\"text-{lang}\" \
             bandwidth=\"100\"><BaseURL>{lang}.vtt{query}</BaseURL></Representation></AdaptationSet>"
        );
    }
    Some(format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:cenc=\"urn:mpeg:cenc:2013\" type=\"static\" \
         mediaPresentationDuration=\"PT{SECONDS}S\" minBufferTime=\"PT2S\" \
         profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\"><Period>{sets}</Period></MPD>"
    ))
}

fn hls_master(folder: &str) -> Option<String> {
    let (videos, sounds, texts) = tracks(folder)?;
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for (kind, group, list, prefix) in [("AUDIO", "sound", sounds, ""), ("SUBTITLES", "text", texts, "text-")] {
        for name in list {
            let (lang, label) = NAMES.iter().find(|(lang, _)| name.starts_with(lang)).unwrap();
            let is_first = if kind == "AUDIO" && *lang == "en" { "YES" } else { "NO" };
            text += &format!(
                "#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{label}\",LANGUAGE=\"{lang}\",DEFAULT={is_first},\
                 AUTOSELECT=YES,URI=\"{prefix}{name}.m3u8\"\n"
            );
        }
    }
    let subtitles = if texts.is_empty() { "" } else { ",SUBTITLES=\"text\"" };
    for name in videos {
        let (codec, bandwidth) = (Track::read(name).codec, if *name == "large" { 92_000 } else { 62_000 });
        let size = size(name);
        text += &format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={size},CODECS=\"{codec},mp4a.40.2\",AUDIO=\"sound\"{subtitles}\n\
             {name}.m3u8\n"
        );
    }
    Some(text)
}

fn hls_media(name: &str, key_server: &str) -> Option<String> {
    let end = "#EXT-X-ENDLIST\n";
    let head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n";
    if let Some(lang) = name.strip_prefix("text-") {
        return Some(format!("{head}#EXT-X-TARGETDURATION:{SECONDS}\n#EXTINF:{SECONDS},\n{lang}.vtt\n{end}"));
    }
    if !media().join(format!("{name}.mp4")).is_file() {
        return None;
    }
    let Track { head: first, index, pieces, .. } = Track::read(name);
    let mut text = format!("{head}#EXT-X-TARGETDURATION:2\n");
    if name.ends_with("-locked") {
        text += &format!("#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI=\"{key_server}key\",KEYFORMAT=\"identity\"\n");
    }
    text += &format!("#EXT-X-MAP:URI=\"{name}.mp4\",BYTERANGE=\"{first}@0\"\n");
    let mut at = index.end;
    for (bytes, seconds) in pieces {
        text += &format!("#EXTINF:{seconds:.5},\n#EXT-X-BYTERANGE:{bytes}@{at}\n{name}.mp4\n");
        at += bytes;
    }
    Some(text + end)
}

/// A file of the stream's: its bytes and their kind.
pub(super) fn find(path: &[&str], query: &str, key_server: &str) -> Option<(Vec<u8>, &'static str)> {
    let [folder, file] = path else { return None };
    let (stem, kind) = file.rsplit_once('.')?;
    match kind {
        "mpd" => Some((dash(folder, query)?.into_bytes(), "application/dash+xml")),
        "m3u8" if stem == "master" => Some((hls_master(folder)?.into_bytes(), "application/vnd.apple.mpegurl")),
        "m3u8" => Some((hls_media(stem, key_server)?.into_bytes(), "application/vnd.apple.mpegurl")),
        _ => tracks(folder).and_then(|_| read_from(media(), file)),
    }
}

/// A file of a folder. Its name has no slash: it was a segment of a path.
fn read_from(folder: &Path, file: &str) -> Option<(Vec<u8>, &'static str)> {
    let kind = match file.rsplit_once('.')?.1 {
        "mpd" => "application/dash+xml",
        "m3u8" => "application/vnd.apple.mpegurl",
        "vtt" => "text/vtt",
        _ => "video/mp4",
    };
    Some((fs::read(folder.join(file)).ok()?, kind))
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
}

impl Answer {
    fn of(status: u16) -> Answer {
        Answer { status, kind: "text/plain", body: Vec::new() }
    }

    async fn write(self, mut stream: impl AsyncWrite + Unpin, range: Option<std::ops::Range<usize>>) {
        let Answer { status, kind, body } = self;
        let whole = body.len();
        let (status, part, place) = match range.filter(|range| status == 200 && range.start < whole) {
            Some(range) => {
                let end = range.end.min(whole);
                (206, range.start..end, format!("Content-Range: bytes {}-{}/{whole}\r\n", range.start, end - 1))
            }
            None => (status, 0..whole, String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status} as asked\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{place}Cache-Control: no-store\r\n\
             Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\nConnection: close\r\n\r\n",
            part.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body[part]).await;
        let _ = stream.shutdown().await;
    }
}

/// The server of the streams: `clear/`, `locked/`, and `live/` if there is a broadcast; each has `manifest.mpd` and `master.m3u8`.
pub(crate) struct Streams {
    server: Server,
    /// What is in the path of requests that fail.
    broken: Arc<Mutex<Option<&'static str>>>,
    /// The paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Streams {
    pub(crate) async fn start(key_server: &str, live: Option<&Broadcast>) -> Streams {
        let broken = Arc::new(Mutex::new(None::<&str>));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (now_broken, asking, key_server) = (broken.clone(), asked.clone(), key_server.to_owned());
        let live = live.map(|live| live.folder.path().to_owned());
        // Before anybody waits for it.
        tokio::task::spawn_blocking(media).await.unwrap();
        let server = Server::start(0, move |request| {
            asking.lock().unwrap().push(request.path.clone());
            let is_broken = now_broken.lock().unwrap().is_some_and(|broken| request.path.contains(broken));
            let path: Vec<&str> = request.path.split('/').skip(1).collect();
            let found = match (&path[..], &live) {
                _ if is_broken => return std::future::ready(Answer::of(503)),
                (["live", file], Some(folder)) => read_from(folder, file),
                (path, _) => find(path, "", &key_server),
            };
            std::future::ready(found.map_or(Answer::of(404), |(body, kind)| Answer { status: 200, kind, body }))
        })
        .await;
        Streams { server, broken, asked }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// From now on what has this in its path is out of order; `None`: nothing is.
    pub(crate) fn break_down(&self, what: Option<&'static str>) {
        *self.broken.lock().unwrap() = what;
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
        Licences::Nonsense => Answer { status: 200, kind: "application/json", body: b"no licence".into() },
        _ if request.path == "/key" => Answer { status: 200, kind: "application/octet-stream", body: key.into() },
        _ => {
            let keys = json!({ "keys": [{ "kty": "oct", "kid": id, "k": key_text }], "type": "temporary" });
            Answer { status: 200, kind: "application/json", body: keys.to_string().into_bytes() }
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
        tokio::task::spawn_blocking(media).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut ffmpeg = ffmpeg();
        ffmpeg.current_dir(folder.path());
        for name in ["small.mp4", "en.mp4"] {
            ffmpeg.args(["-re", "-stream_loop", "-1", "-i"]).arg(media().join(name));
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
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("master.m3u8").matches("#EXTINF").count() >= 5 && read("manifest.mpd").contains("<S ")
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
    }
}
