//! Rooms: the durable records of watch parties. All room SQL is here, and it stores identity only.

mod line;
mod record;
mod schema;
mod sqlite;

use std::{fs::File, sync::Arc, time::Duration};

use anyhow::Context;
use futures_util::{StreamExt, stream::BoxStream};
use sqlx::{
    AssertSqlSafe,
    Error::{ColumnDecode, Decode},
    FromRow, Row as _,
    any::AnyRow,
};
use streamit_plugin_api::MediaType;
use tracing::{info, warn};

use crate::{
    config::{self, without_password},
    telemetry,
};
use line::{Line, Lines};
use record::Row;
pub use record::{HostKey, KeyHash, NewRoom, NotACode, Room, RoomCode, Source, Visibility};
pub(crate) use record::{hex, random_bytes, random_share};
use sqlite::SqliteFile;
pub use sqlite::back_up;

/// So many closed rooms are deleted by one statement: within its limit of time, and in nobody's way.
const DELETED_AT_ONCE: i64 = 1000;

/// So many open rooms are read by one.
const READ_AT_ONCE: i64 = 1000;

/// A handle on the database of rooms.
#[derive(Clone, Debug)]
pub struct Rooms {
    lines: Lines,
    /// Nobody else uses the file while this is held.
    _lock: Option<Arc<File>>,
}

/// How far the open rooms were read; the beginning, by default.
#[derive(Clone, Debug)]
pub struct Cursor {
    created_at_ms: i64,
    code: String,
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor { created_at_ms: i64::MIN, code: String::new() }
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Nothing of what was asked for is stored, unless it was one statement.
    #[error("the database did not answer in time")]
    Silent,
    /// What was to be stored may be.
    #[error("the database did not say whether it has stored a change")]
    Unanswered,
    #[error("no free room code found")]
    NoFreeCode,
    #[error("a room has a record that this version cannot read: {0}")]
    Unreadable(&'static str),
}

/// Whatever a line that fell silent has begun is stored after this, or never: the database has given it up.
pub const STORED_OR_NOT: Duration = Duration::from_secs(11);

impl RoomError {
    /// Whether a row is the reason: it will be as unreadable whenever it is asked for.
    pub fn is_of_the_row(&self) -> bool {
        matches!(self, RoomError::Unreadable(_) | RoomError::Database(Decode(_) | ColumnDecode { .. }))
    }
}

impl Rooms {
    /// Connects, brings the schema up to date, and tries whether rooms can be stored.
    pub async fn open(database: &config::Database) -> anyhow::Result<Rooms> {
        let (rooms, applied) = Rooms::migrate(database).await?;
        if !applied.is_empty() {
            info!(migrations = applied.join(", "), "the database's schema was brought up to date");
        }
        rooms.check().await.with_context(|| {
            let shown = without_password(&database.url);
            format!("the database {shown} can be read, and stores no rooms; is it read-only, or its disk full?")
        })?;
        Ok(rooms)
    }

    /// The same, with what was applied to the schema.
    pub async fn migrate(database: &config::Database) -> anyhow::Result<(Rooms, Vec<String>)> {
        let url = database.url.as_str();
        let shown = without_password(url);
        let file = sqlite::is_sqlite(url).then(|| SqliteFile::of(url)).transpose()?;
        let (target, lock) = match &file {
            Some(file) => (file.prepare()?, file.lock()?),
            None => (url.to_owned(), None),
        };
        let lines = Lines::open(&target, file.is_some(), database).await.with_context(|| match file {
            Some(_) => format!("cannot open the database {shown}; is the folder writable, and is it a SQLite file?"),
            None => format!(
                "cannot reach the database at {shown}; is it running, and are user, password and database right? \
                 database.url sets them"
            ),
        })?;
        let applied =
            schema::bring_up_to_date(&lines).await.with_context(|| format!("cannot use the database {shown}"))?;
        Ok((Rooms { lines, _lock: lock }, applied))
    }

    /// Whether the database takes new rooms: one is stored and taken back, in one step that nobody sees. A change of
    /// nothing would need no room on the disk.
    pub async fn check(&self) -> Result<(), RoomError> {
        const TAKE_BACK: &str = "DELETE FROM rooms WHERE code = $1";
        let source = Source {
            provider: "none".into(),
            media_type: MediaType::Movie,
            external_id: "none".into(),
            season: None,
            episode: None,
        };
        let tried = NewRoom { title: None, visibility: Visibility::Unlisted, source };
        let (Pending { mut line, room }, _) = self.create(tried, 0).await?;
        let taken_back = async {
            let delete = line.query(TAKE_BACK).bind(room.code.as_str());
            Ok(delete.execute(line.connection()).await.map(drop)?)
        };
        self.lines.in_time(taken_back).await?;
        line.commit().await
    }

    /// A new room under a code of its own, with the only copy of its key. It is stored when that is committed.
    pub async fn create(&self, new: NewRoom, now_ms: i64) -> Result<(Pending, HostKey), RoomError> {
        let key = HostKey::random();
        let mut room = Room {
            code: RoomCode::random(),
            title: new.title,
            visibility: new.visibility,
            host_key: KeyHash::of(key.reveal()),
            source: new.source,
            revision: 1,
            created_at_ms: now_ms,
        };
        // 729 million codes: with a million rooms one draw in 729 is taken.
        for _ in 0..16 {
            let mut line = self.lines.begin().await?;
            match self.lines.in_time(async { Ok(insert(&mut line, &room).await) }).await? {
                Ok(()) => return Ok((Pending { line, room }, key)),
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => room.code = RoomCode::random(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(RoomError::NoFreeCode)
    }

    /// The open room of that code.
    pub async fn find(&self, code: RoomCode) -> Result<Option<Room>, RoomError> {
        let row = self.lines.ask(async |line| find(line, code).await).await?;
        row.map(Room::try_from).transpose()
    }

    /// Those of these rooms that are open, in no order.
    pub async fn find_all(&self, codes: &[RoomCode]) -> Result<Vec<Room>, RoomError> {
        let places: Vec<_> = (1..=codes.len()).map(|n| format!("${n}")).collect();
        let sql = format!("SELECT * FROM rooms WHERE closed_at_ms IS NULL AND code IN ({})", places.join(", "));
        if codes.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.lines.ask(async |line| {
            let query = line.query(AssertSqlSafe(sql));
            let query = codes.iter().fold(query, |query, code| query.bind(code.as_str()));
            readable(query.fetch(line.connection())).await
        });
        Ok(found.await?.rooms)
    }

    /// The next of all open rooms, oldest first, from there on; nothing is left if `from` has become `None`. However many
    /// there are, one statement reads a few.
    pub async fn open_rooms(&self, from: &mut Option<Cursor>) -> Result<Vec<Room>, RoomError> {
        const NEXT: &str = "SELECT * FROM rooms WHERE closed_at_ms IS NULL AND created_at_ms >= $1
            AND (created_at_ms > $1 OR code > $2) ORDER BY created_at_ms, code LIMIT $3";
        let Some(Cursor { created_at_ms, code }) = from.take() else { return Ok(Vec::new()) };
        let next = self.lines.ask(async |line| {
            let query = line.query(NEXT).bind(created_at_ms).bind(code.as_str()).bind(READ_AT_ONCE);
            readable(query.fetch(line.connection())).await
        });
        let Readable { rooms, rows, last } = next.await?;
        *from = last.filter(|_| rows == READ_AT_ONCE);
        Ok(rooms)
    }

    /// Gives an open room something else to play, when that is committed; `None` if the room is gone. Its revision is above
    /// that of any earlier try, whatever became of it.
    pub async fn set_source(&self, code: RoomCode, source: &Source, now_ms: i64) -> Result<Option<Pending>, RoomError> {
        let mut line = self.lines.begin().await?;
        let changed = self.lines.in_time(async {
            line.query(
                "UPDATE rooms SET playback_provider = $2, playback_external_id = $3, playback_media_type = $4,
                    playback_season = $5, playback_episode = $6,
                    revision = CASE WHEN revision < $7 THEN $7 ELSE revision + 1 END
                 WHERE code = $1 AND closed_at_ms IS NULL",
            )
            .bind(code.as_str())
            .bind(source.provider.as_str())
            .bind(source.external_id.as_str())
            .bind(source.media_type.as_str())
            .bind(source.season.map(i64::from))
            .bind(source.episode.map(i64::from))
            .bind(now_ms)
            .execute(line.connection())
            .await?;
            Ok(find(&mut line, code).await?)
        });
        match changed.await? {
            Some(row) => Ok(Some(Pending { line, room: Room::try_from(row)? })),
            None => Ok(None),
        }
    }

    /// Closes a room; `false` if it was closed already.
    pub async fn close(&self, code: RoomCode, now_ms: i64) -> Result<bool, RoomError> {
        const CLOSE: &str = "UPDATE rooms SET closed_at_ms = $2 WHERE code = $1 AND closed_at_ms IS NULL";
        let mut line = self.lines.begin().await?;
        let closed = self.lines.in_time(async {
            let close = line.query(CLOSE).bind(code.as_str()).bind(now_ms);
            Ok(close.execute(line.connection()).await?)
        });
        let closed = closed.await?;
        line.commit().await?;
        Ok(closed.rows_affected() > 0)
    }

    /// Deletes the rooms that were closed before that moment; answers how many.
    pub async fn delete_closed_before(&self, ms: i64) -> Result<u64, RoomError> {
        const DELETE: &str =
            "DELETE FROM rooms WHERE code IN (SELECT code FROM rooms WHERE closed_at_ms < $1 LIMIT $2)";
        let mut deleted = 0;
        loop {
            let batch = self
                .lines
                .ask(async |line| line.query(DELETE).bind(ms).bind(DELETED_AT_ONCE).execute(line.connection()).await);
            let batch = batch.await?.rows_affected();
            deleted += batch;
            if batch < DELETED_AT_ONCE.unsigned_abs() {
                return Ok(deleted);
            }
        }
    }

    /// Ends every connection; with SQLite this also folds the write-ahead log into the file.
    pub async fn shut_down(&self) {
        self.lines.close().await;
    }
}

/// A change that is stored when it is committed, and otherwise not at all.
pub struct Pending {
    line: Line,
    room: Room,
}

impl Pending {
    /// The room as it is to be.
    pub fn room(&self) -> &Room {
        &self.room
    }

    pub async fn commit(self) -> Result<(), RoomError> {
        self.line.commit().await
    }
}

/// Of `key_generation` nothing is read. It stays, and is written, until another change builds the table anew: SQLite drops
/// no column that a constraint names, and programs from before that change could not insert without it.
async fn insert(line: &mut Line, room: &Room) -> Result<(), sqlx::Error> {
    line.query(
        "INSERT INTO rooms (code, title, visibility, host_key_sha256, key_generation, playback_provider,
            playback_external_id, playback_media_type, playback_season, playback_episode, revision, created_at_ms)
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(room.code.as_str())
    .bind(room.title.as_deref())
    .bind(room.visibility.as_str())
    .bind(room.host_key.to_hex())
    .bind(room.source.provider.as_str())
    .bind(room.source.external_id.as_str())
    .bind(room.source.media_type.as_str())
    .bind(room.source.season.map(i64::from))
    .bind(room.source.episode.map(i64::from))
    .bind(room.revision)
    .bind(room.created_at_ms)
    .execute(line.connection())
    .await?;
    Ok(())
}

async fn find(line: &mut Line, code: RoomCode) -> Result<Option<Row>, sqlx::Error> {
    let query = line.query("SELECT * FROM rooms WHERE code = $1 AND closed_at_ms IS NULL").bind(code.as_str());
    query.fetch_optional(line.connection()).await?.as_ref().map(Row::from_row).transpose()
}

/// What was found, and where that ended.
#[derive(Default)]
struct Readable {
    rooms: Vec<Room>,
    rows: i64,
    last: Option<Cursor>,
}

/// The rooms of these rows. One that cannot be read is no reason to do without the others.
async fn readable(mut found: BoxStream<'_, Result<AnyRow, sqlx::Error>>) -> Result<Readable, sqlx::Error> {
    let Readable { mut rooms, mut rows, mut last } = Readable::default();
    while let Some(row) = found.next().await {
        rows += 1;
        let place = row.as_ref().ok().and_then(|row| {
            Some(Cursor { created_at_ms: row.try_get("created_at_ms").ok()?, code: row.try_get("code").ok()? })
        });
        let code = row.as_ref().ok().and_then(|row| row.try_get::<String, _>("code").ok()).unwrap_or_default();
        last = place.or(last);
        match row.and_then(|row| Row::from_row(&row)).map_err(RoomError::from).and_then(Room::try_from) {
            Ok(room) => rooms.push(room),
            Err(error) if error.is_of_the_row() => {
                warn!(room = %telemetry::alias(&code), %error, "a stored room cannot be read, and is left out");
            }
            Err(RoomError::Database(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Readable { rooms, rows, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(url: &str) -> anyhow::Result<Rooms> {
        Rooms::open(&config::Database { url: url.into(), ..config::Database::default() }).await
    }

    async fn all_open(rooms: &Rooms) -> Result<Vec<Room>, RoomError> {
        let (mut from, mut all) = (Some(Cursor::default()), Vec::new());
        while from.is_some() {
            all.extend(rooms.open_rooms(&mut from).await?);
        }
        Ok(all)
    }

    fn episode(season: u32) -> Source {
        let (provider, external_id) = ("acme".into(), "1".into());
        Source { provider, media_type: MediaType::Tv, external_id, season: Some(season), episode: Some(u32::MAX) }
    }

    const NOW: i64 = 1_790_000_000_000;

    async fn stored(pending: Pending) -> Room {
        let room = pending.room().clone();
        pending.commit().await.expect("stored");
        room
    }

    /// Every statement there is, on either database.
    async fn contract(url: &str) {
        let rooms = open(url).await.expect("open");
        rooms.check().await.expect("it takes changes");
        let title = Some("Grüße 🎬".to_owned());
        let new = NewRoom { title, visibility: Visibility::Public, source: episode(0) };
        let (refused, _) = rooms.create(new.clone(), NOW).await.expect("created");
        let code = refused.room().code;
        drop(refused);
        assert_eq!(rooms.find(code).await.expect("asked"), None, "what is not committed is not stored");

        let (pending, key) = rooms.create(new.clone(), NOW).await.expect("created");
        let room = stored(pending).await;
        assert!(room.host_key.matches(key.reveal()));
        assert_eq!(rooms.find(room.code).await.expect("found"), Some(room.clone()));
        let insert = async |room: &Room| {
            let mut line = rooms.lines.begin().await.expect("a line");
            insert(&mut line, room).await
        };
        assert!(matches!(insert(&room).await, Err(sqlx::Error::Database(error)) if error.is_unique_violation()));

        let movie = Source { media_type: MediaType::Movie, season: None, episode: None, ..episode(1) };
        drop(rooms.set_source(room.code, &movie, NOW + 5).await.expect("changed"));
        assert_eq!(rooms.find(room.code).await.expect("found").expect("open").source, room.source);
        let changed = rooms.set_source(room.code, &movie, NOW + 6).await.expect("changed").expect("open");
        let changed = stored(changed).await;
        assert_eq!((&changed.source, changed.revision), (&movie, NOW + 6));
        assert_eq!(changed.title, room.title);
        let again = rooms.set_source(room.code, &episode(0), NOW - 6).await.expect("changed").expect("open");
        assert_eq!(again.room().revision, NOW + 7, "it only grows");
        drop(again);
        let broken =
            Room { source: Source { season: None, ..episode(1) }, code: "AAAAAA".parse().expect("a code"), ..room };
        let refused = insert(&broken).await.expect_err("an episode without its season").to_string();
        assert!(refused.contains("rooms_media_shape"), "{refused}");

        let (second, _) = rooms.create(NewRoom { title: None, ..new }, NOW + 1).await.expect("created");
        let second = stored(second).await;
        assert_eq!(all_open(&rooms).await.expect("listed"), [changed.clone(), second.clone()]);
        assert_eq!(rooms.find_all(&[second.code, broken.code]).await.expect("found"), std::slice::from_ref(&second));
        assert_eq!(rooms.find_all(&[]).await.expect("found"), []);
        assert!(rooms.close(changed.code, NOW + 2).await.expect("closed"));
        assert!(!rooms.close(changed.code, NOW + 3).await.expect("closed already"));
        assert_eq!(rooms.find(changed.code).await.expect("asked"), None);
        assert!(rooms.set_source(changed.code, &movie, NOW + 9).await.expect("asked").is_none());
        assert_eq!(rooms.find_all(&[changed.code]).await.expect("found"), []);
        assert_eq!(all_open(&rooms).await.expect("listed").len(), 1);
        assert_eq!(rooms.delete_closed_before(NOW + 2).await.expect("asked"), 0);
        assert_eq!(rooms.delete_closed_before(NOW + 3).await.expect("deleted"), 1);
        rooms.shut_down().await;
        if url.starts_with("sqlite:") {
            let refused = format!("{:#}", open(url).await.expect_err("it is in use"));
            assert!(refused.contains("another StreamIt uses the database"), "{refused}");
        }
        drop(rooms);
        // Opened again it has what it had.
        let again = open(url).await.expect("open");
        assert_eq!(all_open(&again).await.expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn sqlite_keeps_the_contract() {
        let folder = tempfile::tempdir().expect("a folder");
        contract(&format!("sqlite://{}/rooms.db", folder.path().display())).await;
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/rooms.db", folder.path().display());
        let rooms = open(&url).await.expect("open");
        let mut codes = Vec::new();
        for n in 0..8 {
            let new = NewRoom { title: None, visibility: Visibility::Public, source: episode(n) };
            codes.push(stored(rooms.create(new, NOW).await.expect("created").0).await.code);
        }
        for (code, damage) in codes.iter().zip([
            "revision = 'seven'",
            "created_at_ms = 'yesterday'",
            "title = CAST(x'ff' AS TEXT)",
            "host_key_sha256 = x'ff'",
            "visibility = 'secret'",
            "playback_season = 1.5",
            "code = '??????'",
        ]) {
            let sql = format!("PRAGMA ignore_check_constraints = ON; UPDATE rooms SET {damage} WHERE code = '{code}'");
            let mut line = rooms.lines.take().await.expect("a line");
            line.run(&sql).await.expect(damage);
        }
        let readable = |rooms: Vec<Room>| rooms.into_iter().map(|room| room.code).collect::<Vec<_>>();
        assert_eq!(readable(all_open(&rooms).await.expect("read")), codes[7..]);
        assert_eq!(readable(rooms.find_all(&codes).await.expect("read")), codes[7..]);
        assert!(rooms.find(codes[0]).await.is_err(), "it is there, and nobody knows what it is");
    }

    #[tokio::test]
    async fn postgres_keeps_the_contract() {
        let server = streamit_test_servers::Postgres::start();
        contract(&server.url()).await;
    }

    #[tokio::test]
    async fn a_postgres_that_is_not_there_is_said_without_its_password() {
        let port = streamit_test_servers::free_port();
        let error = open(&format!("postgres://ann:hunter2@127.0.0.1:{port}/x")).await.expect_err("nobody listens");
        let text = format!("{error:#}");
        assert!(
            text.contains(&format!("cannot reach the database at postgres://ann:********@127.0.0.1:{port}/x")),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
