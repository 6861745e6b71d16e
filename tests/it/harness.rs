//! `App`: a real host process with real plugins; `Member`: a real socket in one of its rooms.

pub(crate) mod browser;
mod build;
pub(crate) mod film;
mod member;
pub(crate) mod npm;
pub(crate) mod players;
pub(crate) mod scene;
pub(crate) mod streams;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use build::artifacts;
pub(crate) use member::Member;

/// Nothing in a scene takes this long, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where all of StreamIt's source is.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The four providers that come with StreamIt.
pub(crate) const BUNDLED: &str = r#"
[providers.mp4]
config = { base_url = "/media/" }
[providers.vidking]
[providers.youtube]
[providers.vimeo]
"#;

/// A host, in a folder laid out like a release.
pub(crate) struct App {
    folder: TempDir,
    host: Option<Child>,
    pub(crate) url: String,
    pub(crate) admin_url: String,
    http: reqwest::Client,
    environment: Vec<(&'static str, String)>,
    survives_full_files: bool,
}

/// A room and what its creator got.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) code: String,
    pub(crate) key: String,
}

/// An answer: its status and its JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl App {
    /// A host with the four bundled providers.
    pub(crate) async fn start() -> App {
        App::with(BUNDLED).await
    }

    /// A host with these additions to its configuration; tables of [`base_config`] may be extended but not repeated.
    pub(crate) async fn with(config: &str) -> App {
        let mut app = App::prepare(config);
        app.launch().await;
        app
    }

    /// A folder that is ready to be started.
    pub(crate) fn prepare(config: &str) -> App {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plugins", "config", "media"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for library in &artifacts().libraries {
            let target = folder.path().join("plugins").join(library.file_name().unwrap());
            fs::copy(library, target).unwrap();
        }
        fs::copy(film::light(), folder.path().join("media/clock.webm")).unwrap();
        // The host ends what has been idle for half a minute: no request shall meet that end.
        let http = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(10)).build().unwrap();
        let app = App {
            folder,
            host: None,
            url: String::new(),
            admin_url: String::new(),
            environment: Vec::new(),
            survives_full_files: false,
            http,
        };
        app.write_config(config);
        app
    }

    /// Has the clip that is there on first run in its media folder, and not the light one.
    pub(crate) fn lay_bundled_clip(&self) {
        fs::copy(film::bundled(), self.path("media/clock.webm")).unwrap();
    }

    pub(crate) fn write_config(&self, config: &str) {
        fs::write(self.path("config/streamit.toml"), format!("{}{config}", base_config(config))).unwrap();
    }

    /// Starts the host with this in its environment.
    pub(crate) fn set_env(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// From its next start on, a file that cannot grow is an error to the host, like a full disk, and not its end.
    pub(crate) fn survive_full_files(&mut self) {
        self.survives_full_files = true;
    }

    /// No file of the host's becomes longer than that, from now on; `None`: there is room again.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
        let arguments = [format!("--pid={}", self.pid()), format!("--fsize={limit}:")];
        assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    }

    /// A path in the host's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The `streamit` program, in the host's folder.
    pub(crate) fn streamit(&self, arguments: &[&str]) -> Command {
        let mut command = if self.survives_full_files {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(&artifacts().streamit);
            shell
        } else {
            Command::new(&artifacts().streamit)
        };
        command.args(arguments).current_dir(self.folder.path()).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the host, and returns when it serves.
    pub(crate) async fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.launch_into(log.into()).await;
    }

    /// As [`App::launch`], with the log elsewhere: answers its other end if it is a pipe.
    pub(crate) async fn launch_into(&mut self, log: Stdio) -> Option<ChildStderr> {
        let mut command = self.streamit(&["serve"]);
        let mut host = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let log = host.stderr.take();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        self.host = Some(host);
        let (url, admin_url) = tokio::task::spawn_blocking(move || {
            // A plugin may have printed something before it.
            let mut line = |label: &str| {
                lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once(label)?.1.to_owned()))
            };
            Some((line("StreamIt is at ")?, line("Its metrics are at ")?))
        })
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("the host did not start:\n{}", self.log()));
        self.url = url.trim_end_matches('/').to_owned();
        self.admin_url = admin_url.trim_end_matches("/metrics").to_owned();
        log
    }

    /// What the host has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Ends the host at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut host = self.host.take().unwrap();
        host.kill().unwrap();
        host.wait().unwrap();
    }

    /// Asks the host to stop, as an operator does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends the host a signal: `-HUP`.
    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
        // On a busy machine a process runs on for a moment.
        while signal == "-STOP" && !self.has_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether none of its threads runs, as the kernel sees it.
    fn has_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            rest.starts_with('T')
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.host.as_ref().unwrap().id()
    }

    /// What the metric `name` counts at this moment.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name} in {metrics}")).parse().unwrap()
    }

    /// Waits until the host has stopped by itself.
    pub(crate) async fn stopped(&mut self) -> ExitStatus {
        let mut host = self.host.take().unwrap();
        tokio::task::spawn_blocking(move || host.wait().unwrap()).await.unwrap()
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.launch().await;
    }

    /// Restarts at the address it has now, as a server with a name does.
    pub(crate) async fn restart_in_place(&mut self) {
        let config = fs::read_to_string(self.path("config/streamit.toml")).unwrap();
        let address = self.url.strip_prefix("http://").unwrap();
        let config = config.replace("[server]\nbind = \"127.0.0.1:0\"", &format!("[server]\nbind = \"{address}\""));
        fs::write(self.path("config/streamit.toml"), config).unwrap();
        self.restart().await;
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None, None).await
    }

    /// Whether it is answered at all.
    pub(crate) async fn try_get(&self, path: &str) -> bool {
        self.raw(Method::GET, path).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, None, Some(body)).await
    }

    pub(crate) async fn request(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Asks for a reload, as an operator does, and answers what became of each provider.
    pub(crate) async fn reload(&self) -> Value {
        let answer = self.http.post(format!("{}/admin/reload", self.admin_url)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Where the library of a provider is looked for.
    pub(crate) fn library(&self, id: &str) -> PathBuf {
        use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
        self.path(&format!("plugins/{DLL_PREFIX}{}{DLL_SUFFIX}", id.replace('-', "_")))
    }

    /// A provider as the API shows it, with the reason that only the operator is told.
    pub(crate) async fn provider(&self, id: &str) -> Value {
        let mut provider = self.get(&format!("/api/v1/providers/{id}")).await.body;
        assert!(provider["reason"].is_null(), "{provider}");
        let all: Value =
            reqwest::get(format!("{}/admin/providers", self.admin_url)).await.unwrap().json().await.unwrap();
        let known = all["providers"].as_array().unwrap().iter().find(|known| known["id"] == id);
        if let Some(reason) = known.map(|known| &known["reason"]).filter(|reason| reason.is_string()) {
            provider["reason"] = reason.clone();
        }
        provider
    }

    /// The URL of an identity, or what is wrong with it.
    pub(crate) async fn resolve(&self, provider: &str, id: &str) -> Answer {
        let media = json!({ "media_type": "movie", "external_id": id });
        self.post(&format!("/api/v1/providers/{provider}/resolve"), media).await
    }

    /// A request as one likes it.
    pub(crate) fn raw(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn metrics(&self) -> String {
        let response = self.http.get(format!("{}/metrics", self.admin_url)).send().await.unwrap();
        response.text().await.unwrap()
    }

    /// A room that plays the clip.
    pub(crate) async fn room(&self) -> Room {
        self.room_playing(clock()).await
    }

    pub(crate) async fn room_playing(&self, source: Value) -> Room {
        self.room_with(json!({ "source": source })).await
    }

    pub(crate) async fn room_with(&self, request: Value) -> Room {
        let answer = self.post("/api/v1/rooms", request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Room { code: text(&answer.body["room"]["code"]), key: text(&answer.body["host_key"]) }
    }

    /// Has the room play something else, as its host does.
    pub(crate) async fn put_source(&self, room: &Room, source: Value) -> Answer {
        let path = format!("/api/v1/rooms/{}/source", room.code);
        self.request(Method::PUT, &path, Some(&room.key), Some(source)).await
    }

    /// Everything the room's code shows.
    pub(crate) async fn view(&self, room: &Room) -> Value {
        let answer = self.get(&format!("/api/v1/rooms/{}", room.code)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body
    }

    /// The room's host, at the socket.
    pub(crate) async fn host(&self, room: &Room) -> Member {
        Member::join(self, &room.code, json!({ "type": "HELLO", "name": "Ann", "key": room.key })).await
    }

    /// A viewer of the room, at the socket.
    pub(crate) async fn viewer(&self, room: &Room) -> Member {
        Member::join(self, &room.code, json!({ "type": "HELLO", "name": "Ben" })).await
    }

    /// A new room with its host and one viewer, who both see each other.
    pub(crate) async fn room_of_two(&self) -> (Room, Member, Member) {
        let room = self.room().await;
        let mut ann = self.host(&room).await;
        let mut ben = self.viewer(&room).await;
        ann.sees(|state| state["presence"]["viewers"] == 2).await;
        ben.sees(|state| state["presence"]["viewers"] == 2 && state["presence"]["host"] == "connected").await;
        (room, ann, ben)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            let _ = host.kill();
            let _ = host.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- the host's log ----\n{}", self.log());
        }
    }
}

impl Answer {
    /// The error's code, from a body that has the documented form.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        self.body["code"].as_str().unwrap()
    }

    /// The fields that are wrong, and how.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let errors = self.body["errors"].as_array().unwrap();
        errors.iter().map(|error| (text(&error["field"]), text(&error["kind"]))).collect()
    }
}

/// Free ports and a small log; everything else as shipped.
fn base_config(additions: &str) -> String {
    let mut config = String::new();
    for (table, settings) in [
        ("server", "bind = \"127.0.0.1:0\""),
        ("admin", "bind = \"127.0.0.1:0\""),
        ("rooms", "create_per_minute = 0"),
        ("log", "filter = \"info,streamit=debug\""),
    ] {
        if !additions.contains(&format!("[{table}]")) {
            config.push_str(&format!("[{table}]\n{settings}\n"));
        }
    }
    config
}

/// The clip, of which `App::prepare` lays a copy into the media folder.
pub(crate) fn clock() -> Value {
    json!({ "provider": "mp4", "media_type": "movie", "external_id": "clock.webm" })
}

/// An episode.
pub(crate) fn episode() -> Value {
    json!({ "provider": "vidking", "media_type": "tv", "external_id": "119051", "season": 1, "episode": 8 })
}

/// Waits until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
