//! The operator's TOML file: loaded, checked and explained. Whatever is wrong is said at once, with file, line and key.

mod read;
mod secrets;
#[cfg(test)]
mod tests;
mod values;

use std::{fmt, net::SocketAddr, path::PathBuf, slice};

use indexmap::IndexMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::values::{
    address, between, database_url, file_name, key_prefix, networks, optional_address, or_empty, origins, public_url,
    sha256_hex,
};
pub use self::{
    read::ConfigError,
    secrets::{without_password, without_passwords},
};

/// Everything an operator can set. Defaults are here and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file it was read from.
    #[serde(skip)]
    pub file: PathBuf,
    pub state_dir: PathBuf,
    pub server: Server,
    pub admin: Admin,
    pub database: Database,
    pub live: Live,
    pub rooms: Rooms,
    pub limits: Limits,
    pub media: Media,
    pub log: Log,
    pub plugins: Plugins,
    pub providers: IndexMap<String, Provider>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
    #[serde(deserialize_with = "public_url", serialize_with = "or_empty")]
    pub public_url: Option<PublicUrl>,
    #[serde(deserialize_with = "origins")]
    pub allowed_origins: Vec<String>,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

/// Where people find the server, as its pages and links say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Scheme, host, and the port if it is not the usual one.
    pub origin: String,
    /// What stands before every path of the server's: `/watch`, or nothing.
    pub path: String,
}

impl Server {
    /// The path of the public address, without a slash at its end.
    pub fn public_path(&self) -> &str {
        self.public_url.as_ref().map_or("", |url| &url.path)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    #[serde(deserialize_with = "optional_address", serialize_with = "or_empty")]
    pub bind: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    #[serde(deserialize_with = "database_url")]
    pub url: String,
    #[serde(deserialize_with = "between::<_, 1, 1_000>")]
    pub max_connections: u64,
    /// Whether a connection is a session of the database's own, which keeps what was prepared and set.
    pub prepared_statements: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Live {
    pub store: LiveStore,
    pub redis: Redis,
}

/// Where live state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveStore {
    /// In this process: one node.
    #[default]
    Memory,
    /// In Redis: any number of nodes.
    Redis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    pub url: RedisUrls,
    #[serde(deserialize_with = "key_prefix")]
    pub prefix: String,
    #[serde(deserialize_with = "between::<_, 1, 86_400>")]
    pub away_secs: u64,
}

/// One server; or, as a list, some of a cluster's: one is enough, if it tells of the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RedisUrls {
    One(String),
    Cluster(Vec<String>),
}

impl RedisUrls {
    pub fn is_cluster(&self) -> bool {
        matches!(self, RedisUrls::Cluster(_))
    }

    pub fn list(&self) -> &[String] {
        match self {
            RedisUrls::One(url) => slice::from_ref(url),
            RedisUrls::Cluster(urls) => urls,
        }
    }

    fn list_mut(&mut self) -> &mut [String] {
        match self {
            RedisUrls::One(url) => slice::from_mut(url),
            RedisUrls::Cluster(urls) => urls,
        }
    }
}

impl Redis {
    /// The addresses without their passwords.
    pub fn shown(&self) -> String {
        self.url.list().iter().map(|url| without_password(url)).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    #[serde(deserialize_with = "between::<_, 1, 604_800>")]
    pub host_grace_secs: u64,
    #[serde(deserialize_with = "between::<_, 1, 1_000_000>")]
    pub max_viewers: u64,
    #[serde(deserialize_with = "between::<_, 0, 1_000_000>")]
    pub create_per_minute: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    #[serde(deserialize_with = "between::<_, 256, 65_536>")]
    pub message_bytes: u64,
    #[serde(deserialize_with = "between::<_, 1, 10_000>")]
    pub messages_per_sec: u64,
    #[serde(deserialize_with = "between::<_, 1, 100_000>")]
    pub messages_burst: u64,
    #[serde(deserialize_with = "between::<_, 1, 60>")]
    pub hello_secs: u64,
    #[serde(deserialize_with = "between::<_, 1, 3_600>")]
    pub ping_secs: u64,
    #[serde(deserialize_with = "between::<_, 2, 7_200>")]
    pub silence_secs: u64,
    #[serde(deserialize_with = "between::<_, 0, 1_000_000>")]
    pub guesses_per_minute: u64,
    #[serde(deserialize_with = "between::<_, 0, 10_000_000>")]
    pub connections: u64,
    #[serde(deserialize_with = "between::<_, 0, 10_000_000>")]
    pub connections_per_address: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    pub dir: PathBuf,
    pub list: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    pub dir: PathBuf,
    pub allow_unpinned: bool,
    pub watch: bool,
}

/// One `[providers.<id>]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    pub enabled: bool,
    #[serde(deserialize_with = "file_name", skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    #[serde(deserialize_with = "sha256_hex", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub required: bool,
    #[serde(deserialize_with = "between::<_, 1, 60_000>")]
    pub call_timeout_ms: u64,
    pub isolation: Isolation,
    pub allow_http: bool,
    pub config: toml::Table,
}

/// Where a provider's library runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the host: the fastest, and trusted like it.
    #[default]
    None,
    /// In a process of its own, which may crash.
    Process,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            file: PathBuf::new(),
            state_dir: "data".into(),
            server: Server::default(),
            admin: Admin::default(),
            database: Database::default(),
            live: Live::default(),
            rooms: Rooms::default(),
            limits: Limits::default(),
            media: Media::default(),
            log: Log::default(),
            plugins: Plugins::default(),
            providers: IndexMap::new(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { bind: Some(SocketAddr::from(([127, 0, 0, 1], 9090))) }
    }
}

impl Default for Database {
    fn default() -> Self {
        Database { url: "sqlite://data/streamit.db".into(), max_connections: 16, prepared_statements: true }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Redis { url: RedisUrls::One("redis://127.0.0.1:6379".into()), prefix: "streamit".into(), away_secs: 60 }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms { host_grace_secs: 300, max_viewers: 10_000, create_per_minute: 30 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 4096,
            messages_per_sec: 20,
            messages_burst: 40,
            hello_secs: 5,
            ping_secs: 25,
            silence_secs: 60,
            guesses_per_minute: 120,
            connections: 0,
            connections_per_address: 512,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Media { dir: "media".into(), list: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, filter: "info".into() }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Plugins { dir: "plugins".into(), allow_unpinned: true, watch: false }
    }
}

impl Default for Provider {
    fn default() -> Self {
        Provider {
            enabled: true,
            library: None,
            sha256: None,
            required: false,
            call_timeout_ms: 250,
            isolation: Isolation::None,
            allow_http: false,
            config: toml::Table::new(),
        }
    }
}
