//! Rooms: the durable records of watch parties. All room SQL is here, and it stores identity only.

use std::{borrow::Cow, fmt, path::Path, str::FromStr, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{
    AnyPool, FromRow,
    any::{AnyPoolOptions, install_default_drivers},
    migrate::Migrator,
};
use streamit_plugin_api::{Media, MediaType};
use subtle::ConstantTimeEq;

use crate::config::without_password;

static MIGRATOR: Migrator = sqlx::migrate!();

/// SQLite has one writer at a time; more connections would only wait for it.
const FILE_CONNECTIONS: u32 = 8;
/// A share of the hundred that a Postgres server has by default, for each of some nodes.
const SERVER_CONNECTIONS: u32 = 16;
/// A database that gives no connection for so long is away.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(3);

/// A handle on the database of rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    pool: AnyPool,
}

/// One durable room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub code: RoomCode,
    pub title: Option<String>,
    pub visibility: Visibility,
    pub host_key: KeyHash,
    /// Grows when the key is replaced; a connection that authenticated with an older one has lost its authority.
    pub key_generation: i64,
    pub source: Source,
    /// Grows with each change of source.
    pub revision: i64,
    pub created_at_ms: i64,
}

/// Whether a room is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    Public,
    Unlisted,
}

/// What a room plays: a provider's name and an identity. The room does not know what either means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub provider: String,
    pub media_type: MediaType,
    pub external_id: String,
    #[serde(default)]
    pub season: Option<u32>,
    #[serde(default)]
    pub episode: Option<u32>,
}

/// What the creator of a room decides.
#[derive(Clone, Debug)]
pub struct NewRoom {
    pub title: Option<String>,
    pub visibility: Visibility,
    pub source: Source,
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    #[error("no free room code found")]
    NoFreeCode,
    #[error("room {0} has a record that this version cannot read: {1}")]
    Unreadable(String, &'static str),
}

impl Source {
    /// The identity a provider is asked about.
    pub fn media(&self) -> Media<'_> {
        Media {
            media_type: self.media_type,
            external_id: Cow::Borrowed(&self.external_id),
            season: self.season,
            episode: self.episode,
        }
    }
}

impl Visibility {
    fn as_str(self) -> &'static str {
        match self {
            Visibility::Public => "public",
            Visibility::Unlisted => "unlisted",
        }
    }
}

/// The letters of a room code: none that looks like another (no 0 O, 1 I L, U).
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A room's name in links: six characters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomCode([u8; 6]);

/// The text is not a room code.
#[derive(Debug, thiserror::Error)]
#[error("a room code has six letters or digits")]
pub struct NotACode;

impl RoomCode {
    fn random() -> Self {
        // 30 × 8 = 240: bytes above are drawn again, so that every letter is as likely.
        let mut code = [0; 6];
        for letter in &mut code {
            *letter = loop {
                let [byte] = random_bytes();
                if byte < 240 {
                    break ALPHABET[usize::from(byte % 30)];
                }
            };
        }
        RoomCode(code)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("made of ASCII letters")
    }
}

impl FromStr for RoomCode {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        let code: [u8; 6] = text.as_bytes().try_into().map_err(|_| NotACode)?;
        let code = code.map(|letter| letter.to_ascii_uppercase());
        if code.iter().all(|letter| ALPHABET.contains(letter)) { Ok(RoomCode(code)) } else { Err(NotACode) }
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RoomCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The secret that makes its bearer the host: shown once, at creation.
pub struct HostKey(String);

impl HostKey {
    fn random() -> Self {
        HostKey(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
    }

    /// The key itself, for its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a host key: all that is kept of it. A key has 256 random bits, so a plain hash is enough.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(key: &str) -> Self {
        KeyHash(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether `key` is the one, in constant time.
    pub fn matches(&self, key: &str) -> bool {
        self.0.ct_eq(&KeyHash::of(key).0).into()
    }

    /// The hash of no key.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        KeyHash([0; 32])
    }

    fn to_hex(self) -> String {
        hex(&self.0)
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(KeyHash(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}

/// A number from 0 to 1: what parts those who would otherwise all act at the same moment.
pub(crate) fn random_share() -> f64 {
    let [byte] = random_bytes();
    f64::from(byte) / 255.0
}

/// A row as it is stored; `Room::try_from` makes it a room.
#[derive(FromRow)]
struct Row {
    code: String,
    title: Option<String>,
    visibility: String,
    host_key_sha256: String,
    key_generation: i64,
    playback_provider: String,
    playback_external_id: String,
    playback_media_type: String,
    playback_season: Option<i64>,
    playback_episode: Option<i64>,
    revision: i64,
    created_at_ms: i64,
}

impl TryFrom<Row> for Room {
    type Error = RoomError;

    fn try_from(row: Row) -> Result<Room, RoomError> {
        let unreadable = |what| RoomError::Unreadable(row.code.clone(), what);
        let number = |value: Option<i64>| value.map(u32::try_from).transpose();
        Ok(Room {
            code: row.code.parse().map_err(|_| unreadable("code"))?,
            visibility: match row.visibility.as_str() {
                "public" => Visibility::Public,
                "unlisted" => Visibility::Unlisted,
                _ => return Err(unreadable("visibility")),
            },
            host_key: KeyHash::from_hex(&row.host_key_sha256).ok_or_else(|| unreadable("host_key_sha256"))?,
            source: Source {
                media_type: row.playback_media_type.parse().map_err(|_| unreadable("playback_media_type"))?,
                season: number(row.playback_season).map_err(|_| unreadable("playback_season"))?,
                episode: number(row.playback_episode).map_err(|_| unreadable("playback_episode"))?,
                provider: row.playback_provider,
                external_id: row.playback_external_id,
            },
            title: row.title,
            key_generation: row.key_generation,
            revision: row.revision,
            created_at_ms: row.created_at_ms,
        })
    }
}

impl Rooms {
    /// Connects, and brings the schema up to date.
    pub async fn open(url: &str) -> anyhow::Result<Rooms> {
        install_default_drivers();
        let is_file = url.starts_with("sqlite:");
        let target = if is_file { sqlite_create_url(url)? } else { url.to_owned() };
        let pool = AnyPoolOptions::new()
            .max_connections(if is_file { FILE_CONNECTIONS } else { SERVER_CONNECTIONS })
            .acquire_timeout(ACQUIRE_DEADLINE)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let settings: &[&'static str] = if is_file {
                        // A room that was answered with 201 is on the disk, whatever happens to process or machine.
                        &["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"]
                    } else {
                        &["SET statement_timeout = '3s'", "SET lock_timeout = '3s'"]
                    };
                    for setting in settings {
                        sqlx::query(*setting).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .connect(&target)
            .await
            .with_context(|| match is_file {
                true => format!("cannot open the database {url}; is the folder writable, and is it a SQLite file?"),
                false => format!(
                    "cannot reach the database at {}; is it running, and are user, password and database right? \
                     database.url sets them",
                    without_password(url)
                ),
            })?;
        MIGRATOR
            .run(&pool)
            .await
            .with_context(|| format!("cannot bring the schema of {} up to date", without_password(url)))?;
        Ok(Rooms { pool })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), RoomError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Stores a new room under a code of its own, and answers the only copy of its key.
    pub async fn create(&self, new: NewRoom, now_ms: i64) -> Result<(Room, HostKey), RoomError> {
        let key = HostKey::random();
        let mut room = Room {
            code: RoomCode::random(),
            title: new.title,
            visibility: new.visibility,
            host_key: KeyHash::of(key.reveal()),
            key_generation: 1,
            source: new.source,
            revision: 1,
            created_at_ms: now_ms,
        };
        // 729 million codes: with a million rooms one draw in 729 is taken.
        for _ in 0..16 {
            match self.insert(&room).await {
                Ok(()) => return Ok((room, key)),
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => room.code = RoomCode::random(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(RoomError::NoFreeCode)
    }

    async fn insert(&self, room: &Room) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO rooms (code, title, visibility, host_key_sha256, key_generation, playback_provider,
                playback_external_id, playback_media_type, playback_season, playback_episode, revision, created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(room.code.as_str())
        .bind(room.title.as_deref())
        .bind(room.visibility.as_str())
        .bind(room.host_key.to_hex())
        .bind(room.key_generation)
        .bind(room.source.provider.as_str())
        .bind(room.source.external_id.as_str())
        .bind(room.source.media_type.as_str())
        .bind(room.source.season.map(i64::from))
        .bind(room.source.episode.map(i64::from))
        .bind(room.revision)
        .bind(room.created_at_ms)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The open room of that code.
    pub async fn find(&self, code: RoomCode) -> Result<Option<Room>, RoomError> {
        let row: Option<Row> = sqlx::query_as("SELECT * FROM rooms WHERE code = $1 AND closed_at_ms IS NULL")
            .bind(code.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.map(Room::try_from).transpose()
    }

    /// Every open room: read once, at start-up.
    pub async fn all_open(&self) -> Result<Vec<Room>, RoomError> {
        let rows: Vec<Row> = sqlx::query_as("SELECT * FROM rooms WHERE closed_at_ms IS NULL ORDER BY created_at_ms")
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(Room::try_from).collect()
    }

    /// Gives an open room something else to play; `None` if it is gone.
    pub async fn set_source(&self, code: RoomCode, source: &Source) -> Result<Option<Room>, RoomError> {
        sqlx::query(
            "UPDATE rooms SET playback_provider = $2, playback_external_id = $3, playback_media_type = $4,
                playback_season = $5, playback_episode = $6, revision = revision + 1
             WHERE code = $1 AND closed_at_ms IS NULL",
        )
        .bind(code.as_str())
        .bind(source.provider.as_str())
        .bind(source.external_id.as_str())
        .bind(source.media_type.as_str())
        .bind(source.season.map(i64::from))
        .bind(source.episode.map(i64::from))
        .execute(&self.pool)
        .await?;
        self.find(code).await
    }

    /// Closes a room; `false` if it was closed already.
    pub async fn close(&self, code: RoomCode, now_ms: i64) -> Result<bool, RoomError> {
        let closed = sqlx::query("UPDATE rooms SET closed_at_ms = $2 WHERE code = $1 AND closed_at_ms IS NULL")
            .bind(code.as_str())
            .bind(now_ms)
            .execute(&self.pool)
            .await?;
        Ok(closed.rows_affected() > 0)
    }

    /// Ends every connection; with SQLite this also folds the write-ahead log into the file.
    pub async fn shut_down(&self) {
        self.pool.close().await;
    }
}

/// The URL with permission to create the file, whose folder is made here.
fn sqlite_create_url(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {} for the database", folder.display()))?;
    }
    match query {
        "" => Ok(format!("sqlite://{path}?mode=rwc")),
        query if query.contains("mode=") => Ok(url.into()),
        query => Ok(format!("sqlite://{path}?{query}&mode=rwc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(season: u32) -> Source {
        let (provider, external_id) = ("acme".into(), "1".into());
        Source { provider, media_type: MediaType::Tv, external_id, season: Some(season), episode: Some(u32::MAX) }
    }

    /// Every statement there is, on either database.
    async fn contract(url: &str) {
        let rooms = Rooms::open(url).await.expect("open");
        rooms.ping().await.expect("it answers");
        let title = Some("Grüße 🎬".to_owned());
        let new = NewRoom { title, visibility: Visibility::Public, source: episode(0) };
        let (room, key) = rooms.create(new.clone(), 1_790_000_000_000).await.expect("created");
        assert!(room.host_key.matches(key.reveal()));
        assert_eq!(rooms.find(room.code).await.expect("found"), Some(room.clone()));
        assert!(matches!(rooms.insert(&room).await, Err(sqlx::Error::Database(error)) if error.is_unique_violation()));

        let movie = Source { media_type: MediaType::Movie, season: None, episode: None, ..episode(1) };
        let changed = rooms.set_source(room.code, &movie).await.expect("changed").expect("open");
        assert_eq!((&changed.source, changed.revision), (&movie, 2));
        assert_eq!(changed.title, room.title);
        let broken =
            Room { source: Source { season: None, ..episode(1) }, code: "AAAAAA".parse().expect("a code"), ..room };
        let refused = rooms.insert(&broken).await.expect_err("an episode without its season").to_string();
        assert!(refused.contains("rooms_media_shape"), "{refused}");

        let (second, _) = rooms.create(NewRoom { title: None, ..new }, 1_790_000_000_001).await.expect("created");
        let open = rooms.all_open().await.expect("listed");
        assert_eq!(open, [changed.clone(), second]);
        assert!(rooms.close(changed.code, 1_790_000_000_002).await.expect("closed"));
        assert!(!rooms.close(changed.code, 1_790_000_000_003).await.expect("closed already"));
        assert_eq!(rooms.find(changed.code).await.expect("asked"), None);
        assert_eq!(rooms.set_source(changed.code, &movie).await.expect("asked"), None);
        assert_eq!(rooms.all_open().await.expect("listed").len(), 1);
        rooms.shut_down().await;
        // Opened again it has what it had.
        let again = Rooms::open(url).await.expect("open");
        assert_eq!(again.all_open().await.expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn sqlite_keeps_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        contract(&format!("sqlite://{}/rooms.db", folder.path().display())).await;
    }

    #[tokio::test]
    async fn postgres_keeps_the_contract() {
        let server = streamit_test_servers::Postgres::start();
        contract(&server.url()).await;
    }

    #[tokio::test]
    async fn a_postgres_that_is_not_there_is_said_without_its_password() {
        let port = streamit_test_servers::free_port();
        let error =
            Rooms::open(&format!("postgres://ann:hunter2@127.0.0.1:{port}/x")).await.expect_err("nobody listens");
        let text = format!("{error:#}");
        assert!(
            text.contains(&format!("cannot reach the database at postgres://ann:********@127.0.0.1:{port}/x")),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn codes_are_read_in_any_case_and_have_no_look_alikes() {
        let code: RoomCode = "k7qm2x".parse().expect("a code");
        assert_eq!(code.as_str(), "K7QM2X");
        for bad in ["", "K7QM2", "K7QM2XX", "K7QM20", "K7QM2O", "K7QM21", "K7QM2I", "K7QM2L", "K7QM2U", "K7QM2Ä"] {
            assert!(bad.parse::<RoomCode>().is_err(), "{bad}");
        }
        assert!(RoomCode::random().as_str().parse::<RoomCode>().is_ok());
    }

    #[test]
    fn a_key_matches_its_hash_and_no_other() {
        let key = HostKey::random();
        assert_eq!(key.reveal().len(), 43);
        let hash = KeyHash::from_hex(&KeyHash::of(key.reveal()).to_hex()).expect("hex");
        assert!(hash.matches(key.reveal()));
        assert!(!hash.matches(HostKey::random().reveal()));
        assert!(!hash.matches(""));
    }
}
