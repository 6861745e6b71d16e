//! The operator's TOML file: loaded, checked and explained. Whatever is wrong is said at once, with file, line and key.

use std::{
    env, fmt, fs,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use streamit_plugin_api::manifest::is_provider_id;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

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
    #[serde(deserialize_with = "optional_origin", serialize_with = "or_empty")]
    pub public_url: Option<String>,
    #[serde(deserialize_with = "origins")]
    pub allowed_origins: Vec<String>,
    #[serde(deserialize_with = "ip_addresses")]
    pub trusted_proxies: Vec<IpAddr>,
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

/// One server, or some of a cluster's.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RedisUrls(pub Vec<String>);

impl Redis {
    /// The addresses without their passwords.
    pub fn shown(&self) -> String {
        self.url.0.iter().map(|url| without_password(url)).collect::<Vec<_>>().join(", ")
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
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    pub dir: PathBuf,
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
        Database { url: "sqlite://data/streamit.db".into() }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Redis { url: RedisUrls(vec!["redis://127.0.0.1:6379".into()]), prefix: "streamit".into(), away_secs: 60 }
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
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Media { dir: "media".into() }
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
            config: toml::Table::new(),
        }
    }
}

/// A configuration that cannot be used: every problem, in the order of the file.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    line: Option<usize>,
    key: String,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { line, key, message }) in self.problems.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
            write!(f, "{newline}{}{line}: {key}{message}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError {
            path: path.into(),
            problems: vec![Problem { line: None, key: String::new(), message: format!("cannot read it: {error}") }],
        })?;
        match Config::parse(&text, |name| env::var(name).ok()) {
            Ok(config) => Ok(Config { file: path.into(), ..config }),
            Err(problems) => Err(ConfigError { path: path.into(), problems }),
        }
    }

    /// The tables in which `other` differs, other than those of plugins and their providers.
    pub fn differing_tables(&self, other: &Config) -> Vec<&'static str> {
        let tables = [
            ("state_dir", self.state_dir != other.state_dir),
            ("server", self.server != other.server),
            ("admin", self.admin != other.admin),
            ("database", self.database != other.database),
            ("live", self.live != other.live),
            ("rooms", self.rooms != other.rooms),
            ("limits", self.limits != other.limits),
            ("media", self.media != other.media),
            ("log", self.log != other.log),
            ("plugins.watch", self.plugins.watch != other.plugins.watch),
            // Providers are loaded from the new folder; it is the old one that is watched.
            ("plugins.dir", self.plugins.watch && self.plugins.dir != other.plugins.dir),
        ];
        tables.into_iter().filter(|(_, differs)| *differs).map(|(table, _)| table).collect()
    }

    /// Parses a file's text; `lookup` is the environment.
    fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
        let mut document = Document { text, problems: Vec::new() };
        let (mut table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            document.problem(error.span(), "", error.message());
        }
        // A text that is not TOML would give follow-up errors that say nothing.
        if !document.problems.is_empty() {
            return Err(document.problems);
        }
        document.expand_table(table.get_mut(), "", &lookup);

        // serde stops at its first error. Taking the key it names out and asking again finds the others.
        let config = loop {
            match Config::deserialize(toml::de::Deserializer::from(table.clone())) {
                Ok(config) => break config,
                Err(error) => {
                    let span = error.span().unwrap_or(0..0);
                    let key = remove_at(table.get_mut(), &span);
                    document.problem(Some(span), key.as_deref().unwrap_or_default(), error.message());
                    if key.is_none() {
                        return Err(document.problems);
                    }
                }
            }
        };
        document.check(&config, table.get_ref());
        document.problems.sort_by_key(|problem| problem.line);
        if document.problems.is_empty() { Ok(config) } else { Err(document.problems) }
    }

    /// The effective settings as TOML. Values of providers' own configuration that look like secrets are masked.
    pub fn explain(&self) -> String {
        let mut shown = self.clone();
        shown.database.url = without_password(&shown.database.url);
        for url in &mut shown.live.redis.url.0 {
            *url = without_password(url);
        }
        for provider in shown.providers.values_mut() {
            mask(&mut provider.config);
        }
        toml::to_string(&shown).expect("the settings came from TOML")
    }
}

/// Hides values by the names people give to secrets, and passwords inside URLs.
fn mask(table: &mut toml::Table) {
    for (key, value) in table.iter_mut() {
        let key = key.to_ascii_lowercase();
        let secret = ["secret", "token", "password", "key", "credential"].iter().any(|word| key.contains(word));
        match value {
            toml::Value::Table(inner) => mask(inner),
            toml::Value::String(text) if !secret => {
                *text = without_password(text);
            }
            value if secret => *value = "********".into(),
            _ => {}
        }
    }
}

/// A URL with its password masked; any other text as it is.
pub(crate) fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => match url.set_password(Some("********")) {
            Ok(()) => url.into(),
            Err(()) => "********".into(),
        },
        _ => text.to_owned(),
    }
}

/// A file being checked: its text, for line numbers, and what was found.
struct Document<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Document<'_> {
    fn problem(&mut self, span: Option<Range<usize>>, key: &str, message: &str) {
        let line = span.map(|span| 1 + self.text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
        self.problems.push(Problem { line, key: key.into(), message: message.trim().replace('\n', " ") });
    }

    /// Puts the environment's values into strings.
    fn expand_table(&mut self, table: &mut DeTable<'_>, path: &str, lookup: &impl Fn(&str) -> Option<String>) {
        for (key, value) in table.iter_mut() {
            let path = joined(path, key.get_ref());
            self.expand_value(value, &path, lookup);
        }
    }

    fn expand_value(&mut self, value: &mut Spanned<DeValue<'_>>, path: &str, lookup: &impl Fn(&str) -> Option<String>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains("${") => match expand(text, lookup) {
                Ok(expanded) => *text = expanded.into(),
                Err(message) => self.problem(Some(span), path, &message),
            },
            DeValue::Array(array) => {
                for item in array.iter_mut() {
                    self.expand_value(item, path, lookup);
                }
            }
            DeValue::Table(table) => self.expand_table(table, path, lookup),
            _ => {}
        }
    }

    /// The rules that concern more than one value.
    fn check(&mut self, config: &Config, table: &DeTable<'_>) {
        for (id, provider) in &config.providers {
            let key = format!("providers.{id}");
            let span = span_of(table, &["providers", id]);
            if !is_provider_id(id) {
                let message = "a provider's id has 2 to 32 characters: a letter, then letters, digits or -, all small";
                self.problem(span.clone(), &key, message);
            }
            if !config.plugins.allow_unpinned && provider.enabled && provider.sha256.is_none() {
                let message = "has no sha256, and plugins.allow_unpinned is false; add the library's SHA-256";
                self.problem(span, &key, message);
            }
        }
        if config.limits.silence_secs <= config.limits.ping_secs {
            let span = span_of(table, &["limits", "silence_secs"]).or_else(|| span_of(table, &["limits", "ping_secs"]));
            let message = format!(
                "{} is not above ping_secs ({}): every quiet socket would be cut before its first ping",
                config.limits.silence_secs, config.limits.ping_secs
            );
            self.problem(span, "limits.silence_secs", &message);
        }
        if config.admin.bind.is_some_and(|bind| bind == config.server.bind && bind.port() != 0) {
            let span = span_of(table, &["admin", "bind"]);
            self.problem(span, "admin.bind", "is the same address as server.bind; it needs one of its own");
        }
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// `${NAME}` and `${NAME:-default}` from the environment; `$${` stands for `${`.
fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        expanded.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            return Err("`${` without its `}`; write `$${` for the two characters themselves".into());
        };
        let inner = &rest[start + 2..start + end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let found = lookup(name).filter(|value| !value.is_empty() || default.is_none());
        match found.as_deref().or(default) {
            Some(value) => expanded.push_str(value),
            None => {
                return Err(format!("the environment has no `{name}`; set it, or give a default: ${{{name}:-…}}"));
            }
        }
        rest = &rest[start + end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Takes out the innermost key whose name or value contains `span`, and answers its path.
fn remove_at(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    // Deeper first: a table's own span may be its header only, so its entries are always asked.
    for (key, value) in table.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut()
            && let Some(path) = remove_at(inner, span)
        {
            return Some(joined(key.get_ref(), &path));
        }
    }
    let (key, _) = table.iter().find(|(key, value)| within(key.span()) || within(value.span()))?;
    let key = key.clone();
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

/// Where the value at `path` is in the file.
fn span_of(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (rest, value.get_ref()) {
        ([], DeValue::Table(_)) => Some(key.span()),
        ([], _) => Some(value.span()),
        (_, DeValue::Table(inner)) => span_of(inner, rest),
        _ => None,
    }
}

fn between<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<u64, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u64::try_from(number) {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ => Err(D::Error::custom(format!("{number} is out of range; expected {MIN} to {MAX}"))),
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is not an address; expected IP:port, like 127.0.0.1:8080 or [::]:8080"))
    })
}

fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "expected IP:port, like 127.0.0.1:9090, or \"\" to turn it off";
    text.parse().map(Some).map_err(|_| D::Error::custom(format!("`{text}` is not an address; {expected}")))
}

fn origin(text: &str) -> Result<String, String> {
    let expected = "expected scheme and host, like https://watch.example";
    let url = Url::parse(text).map_err(|error| format!("`{text}`: {error}; {expected}"))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if plain { Ok(url.origin().ascii_serialization()) } else { Err(format!("`{text}`: {expected}")) }
}

fn optional_origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { origin(&text).map(Some).map_err(D::Error::custom) }
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| origin(text).map_err(D::Error::custom)).collect()
}

fn ip_addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not an IP address, like 10.0.0.2")))
    };
    texts.iter().map(parse).collect()
}

impl<'de> Deserialize<'de> for RedisUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"redis://host:port\", or a list of such for a cluster")]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let urls = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(url) => vec![url],
            OneOrMany::Many(urls) => urls,
        };
        let is_redis = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "redis" | "rediss"));
        match urls.iter().find(|url| !is_redis(url)) {
            None if !urls.is_empty() => Ok(RedisUrls(urls)),
            None => Err(D::Error::custom("the list is empty; name at least one server")),
            Some(url) => Err(D::Error::custom(format!(
                "`{}`: expected redis://host:port or rediss://host:port",
                without_password(url)
            ))),
        }
    }
}

fn key_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b)) {
        Ok(text)
    } else {
        Err(D::Error::custom(format!("`{text}`: expected letters, digits, -, _ or :")))
    }
}

fn database_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_file = text.strip_prefix("sqlite:").is_some_and(|path| !path.trim_start_matches('/').is_empty());
    let is_server = Url::parse(&text)
        .is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql") && url.host_str().is_some());
    if is_file || is_server {
        return Ok(text);
    }
    let expected = "expected sqlite://path/to/file.db or postgres://user:password@host/database";
    Err(D::Error::custom(format!("`{}`: {expected}", without_password(&text))))
}

/// A library is named by its file in `plugins.dir`, so that TOML cannot reach elsewhere.
fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if Path::new(&text).file_name().is_some_and(|name| name == text.as_str()) {
        Ok(Some(text))
    } else {
        Err(D::Error::custom(format!("`{text}`: expected a file name in plugins.dir, like libacme.so")))
    }
}

fn sha256_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("expected 64 hexadecimal digits, as `sha256sum` prints them"))
    }
}

fn or_empty<T: fmt::Display, S: serde::Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str(""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every key written in a table, as a path.
    fn keys(table: &toml::Table, path: &str) -> HashSet<String> {
        let mut found = HashSet::new();
        for (key, value) in table {
            let path = joined(path, key);
            match value {
                toml::Value::Table(inner) if path != "providers" => found.extend(keys(inner, &path)),
                _ => {
                    found.insert(path);
                }
            }
        }
        found
    }

    const SHIPPED: &str = include_str!("../../config/streamit.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let lookup = |name: &str| (name == "SET").then(|| "10.1.2.3:80".to_owned());
        Config::parse(text, lookup).map_err(|problems| ConfigError { path: "x.toml".into(), problems })
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn the_shipped_file_states_every_key_with_its_default() {
        let shipped = parse(SHIPPED).expect("valid");
        assert_eq!(Config { providers: IndexMap::new(), ..shipped.clone() }, Config::default());
        assert_eq!(shipped.providers.len(), 4);

        let written = keys(&toml::from_str(SHIPPED).expect("valid"), "");
        let defaults = keys(&toml::from_str(&Config::default().explain()).expect("valid"), "");
        assert_eq!(defaults.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn every_problem_is_reported_at_once_with_line_and_key() {
        let text = r#"
stat_dir = "x"
[server]
bind = "nowhere"
allowed_origins = ["https://ok.example", "https://no.example/path"]
[rooms]
host_grace_secs = 0
max_viewers = "many"
[limits]
silence_secs = 20
[nonsense]
a = 1
[providers.Bad]
[providers.acme]
sha256 = "abc"
library = "../x.so"
"#;
        let refused = refused(text);
        let lines: Vec<_> = refused.lines().collect();
        let expected = [
            "x.toml:2: stat_dir: unknown field `stat_dir`",
            "x.toml:4: server.bind: `nowhere` is not an address",
            "x.toml:5: server.allowed_origins: `https://no.example/path`: expected scheme and host",
            "x.toml:7: rooms.host_grace_secs: 0 is out of range; expected 1 to 604800",
            "x.toml:8: rooms.max_viewers: invalid type: string \"many\", expected i64",
            "x.toml:10: limits.silence_secs: 20 is not above ping_secs (25)",
            "x.toml:11: nonsense: unknown field `nonsense`",
            "x.toml:13: providers.Bad: a provider's id has",
            "x.toml:15: providers.acme.sha256: expected 64 hexadecimal digits",
            "x.toml:16: providers.acme.library: `../x.so`: expected a file name",
        ];
        assert_eq!(lines.len(), expected.len(), "{refused}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}\nshould begin with\n{expected}");
        }
    }

    #[test]
    fn a_text_that_is_not_toml_is_refused_with_its_line() {
        let refused = refused("[server]\nbind = \n");
        assert!(refused.starts_with("x.toml:2: "), "{refused}");
    }

    #[test]
    fn values_come_from_the_environment() {
        let config = parse("[server]\nbind = \"${SET}\"\n[admin]\nbind = \"${UNSET:-127.0.0.1:1}\"").expect("valid");
        assert_eq!(config.server.bind.to_string(), "10.1.2.3:80");
        assert_eq!(config.admin.bind.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:1"));
        assert!(
            refused("[database]\nurl = \"${UNSET}\"")
                .contains("x.toml:2: database.url: the environment has no `UNSET`")
        );
        assert_eq!(expand("a$${b}", |_| None).as_deref(), Ok("a${b}"));
    }

    #[test]
    fn secrets_are_masked_in_the_effective_settings() {
        let config =
            parse("[providers.acme]\nconfig = { api_key = \"hunter2\", url = \"https://u:hunter2@x.example/\" }");
        let shown = config.expect("valid").explain();
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_pin_can_be_made_mandatory() {
        let refused = refused("[plugins]\nallow_unpinned = false\n[providers.acme]");
        assert!(refused.starts_with("x.toml:3: providers.acme: has no sha256"), "{refused}");
    }
}
