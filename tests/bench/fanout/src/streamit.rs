//! StreamIt as it is released: in memory, with Redis, and on two nodes.

use std::{
    cell::OnceCell,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context;
use serde_json::{Value, json};
use streamit_test_servers::{Postgres, Redis};
use tempfile::TempDir;

use crate::{
    http::Http,
    process::Process,
    server::{HasRooms, Running, Serves},
    speech::{Line, Speech},
};

/// The release, as `cargo xtask dist` lays it out.
pub(crate) struct StreamIt {
    dist: PathBuf,
    how: How,
}

enum How {
    InMemory,
    Redis,
    /// The host is on the first node, every viewer on the second.
    TwoNodes(OnceCell<Postgres>),
}

impl StreamIt {
    pub(crate) fn in_memory(dist: &Path) -> StreamIt {
        StreamIt { dist: dist.to_owned(), how: How::InMemory }
    }

    pub(crate) fn with_redis(dist: &Path) -> StreamIt {
        StreamIt { dist: dist.to_owned(), how: How::Redis }
    }

    pub(crate) fn two_nodes(dist: &Path) -> StreamIt {
        StreamIt { dist: dist.to_owned(), how: How::TwoNodes(OnceCell::new()) }
    }

    fn node(&self, config: &str) -> anyhow::Result<Node> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("config"))?;
        fs::write(folder.path().join("config/streamit.toml"), self.config(config))?;
        let log = folder.path().join("log");
        let start = Instant::now();
        let mut command = Command::new(self.dist.join("streamit"));
        command.arg("serve").current_dir(&folder).env_remove("RUST_LOG");
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
        let mut process = Process::start(&mut command)?;
        let lines = BufReader::new(process.0.stdout.take().context("its standard output is a pipe")?).lines();
        let mut lines = lines.map_while(Result::ok);
        let address =
            lines.find_map(|line| Some(line.split_once("StreamIt is at http://")?.1.trim_end_matches('/').to_owned()));
        let address = address.with_context(|| {
            format!("StreamIt did not start: {}", fs::read_to_string(&log).unwrap_or_default().trim())
        })?;
        Ok(Node { address, process, folder, ready_ms: start.elapsed().as_secs_f64() * 1000.0 })
    }

    /// As shipped, but for free ports, a host who may give a hundred orders at once, and rooms by the hundred.
    fn config(&self, more: &str) -> String {
        // A basic string of TOML is one of JSON.
        let folder = |name: &str| Value::from(self.dist.join(name).to_string_lossy()).to_string();
        format!(
            "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[rooms]\ncreate_per_minute = 0\n\
             [limits]\nmessages_per_sec = 10000\nmessages_burst = 10000\n\
             [plugins]\ndir = {}\n[media]\ndir = {}\n{more}\
             [providers.mp4]\nconfig = {{ base_url = \"/media/\" }}\n\
             [providers.vidking]\n[providers.youtube]\n[providers.vimeo]\n",
            folder("plugins"),
            folder("media")
        )
    }
}

struct Node {
    address: String,
    process: Process,
    folder: TempDir,
    ready_ms: f64,
}

impl Serves for StreamIt {
    fn name(&self) -> &'static str {
        match self.how {
            How::InMemory => "StreamIt, in memory",
            How::Redis => "StreamIt, with Redis",
            How::TwoNodes(_) => "StreamIt, two nodes",
        }
    }

    /// Its messages have the size they have.
    fn start(&self, _: usize) -> anyhow::Result<Running> {
        let redis = if matches!(self.how, How::InMemory) { None } else { Some(Redis::start()) };
        let mut config = redis.as_ref().map_or(String::new(), |redis| {
            format!("[live]\nstore = \"redis\"\n[live.redis]\nurl = \"{}\"\n", redis.url())
        });
        if let How::TwoNodes(postgres) = &self.how {
            config += &format!("[database]\nurl = \"{}\"\n", postgres.get_or_init(Postgres::start).url());
        }
        let first = self.node(&config)?;
        let second = if matches!(self.how, How::TwoNodes(_)) { Some(self.node(&config)?) } else { None };
        let viewers = second.as_ref().map_or(&first.address, |second| &second.address);
        let (speech, ready_ms) = (room(&first.address, viewers)?, first.ready_ms);
        let mut running = Running { speech, ready_ms, redis, processes: Vec::new(), folders: Vec::new() };
        for node in [Some(first), second].into_iter().flatten() {
            running.processes.push(node.process);
            running.folders.push(node.folder);
        }
        Ok(running)
    }
}

impl HasRooms for StreamIt {
    fn another_room(&self, first: &Speech, _: usize) -> anyhow::Result<Speech> {
        room(&first.host_at.0, &first.viewers_at.0)
    }
}

/// A new room that plays the bundled clip, and how one speaks in it.
pub(crate) fn room(host: &str, viewers: &str) -> anyhow::Result<Speech> {
    let source = json!({ "provider": "mp4", "media_type": "movie", "external_id": "clock.webm" });
    let room = json!({ "title": "A room that is measured", "visibility": "public", "source": source });
    let created = Http::connect(host)?.ask("POST", "/api/v1/rooms", &room)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a room has a code and a key");
    let (code, key) = (text(&created["room"]["code"])?, text(&created["host_key"])?);
    let path = format!("/ws/v1/rooms/{code}");
    let hello = json!({ "type": "HELLO", "name": "Ann", "key": key }).to_string();
    Ok(Speech {
        host_at: (host.to_owned(), path.clone()),
        viewers_at: (viewers.to_owned(), path),
        host: vec![Line::new("", hello)],
        viewer: vec![Line::new("", r#"{"type":"HELLO","name":"Ben"}"#)],
        welcome: r#""type":"STATE""#.into(),
        order: (r#"{"type":"SEEK","position_ms":"#.into(), "}".into()),
        newest: (r#""position_ms":"#.into(), ",".into()),
        at_the_door: 500,
        // How many are here is told at most twice a second, and at last two seconds after the last one came.
        quiet_ms: 1_500,
    })
}
