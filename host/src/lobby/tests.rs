//! What becomes of a room when one of its halves fails, or is slow.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use sqlx::{Connection, SqliteConnection};
use streamit_plugin_api::MediaType;

use super::*;
use crate::{config, rooms::Visibility};

const NOW: i64 = 1_790_000_000_000;

/// A lobby over a file and this process's memory, whose clock the test moves.
struct Bench {
    lobby: Lobby,
    clock: Arc<AtomicI64>,
    /// The same file, as somebody else sees it.
    file: SqliteConnection,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/rooms.db", folder.path().display());
        let database = config::Database { url: url.clone(), ..config::Database::default() };
        let rooms = Rooms::open(&database).await.expect("opened");
        let clock = Arc::new(AtomicI64::new(NOW));
        let read = clock.clone();
        let read = Arc::new(move || read.load(Ordering::SeqCst));
        let live = Live::in_memory(Duration::from_secs(300), 100, read, Arc::default());
        let file = SqliteConnection::connect(&url).await.expect("the same file");
        Bench { lobby: Lobby { rooms, live }, clock, file, _folder: folder }
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.file).await.expect(sql);
    }

    async fn count(&mut self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM rooms").fetch_one(&mut self.file).await.expect("counted")
    }
}

fn film(external_id: &str) -> Source {
    Source {
        provider: "acme".into(),
        media_type: MediaType::Movie,
        external_id: external_id.into(),
        season: None,
        episode: None,
    }
}

fn new() -> NewRoom {
    NewRoom { title: None, visibility: Visibility::Public, source: film("first") }
}

/// Everything is taken, and nothing stored: as with a disk that is full, or a server that ends in that moment.
const BREAKS_AT_COMMIT: &str = "
    CREATE TABLE parents (id INTEGER PRIMARY KEY);
    CREATE TABLE children (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER breaks_update AFTER UPDATE ON rooms BEGIN INSERT INTO children VALUES (1); END;
    CREATE TRIGGER breaks_insert AFTER INSERT ON rooms BEGIN INSERT INTO children VALUES (1); END;";

#[tokio::test]
async fn what_the_database_refuses_in_the_end_nobody_has_seen() {
    let mut bench = Bench::start().await;
    let (room, _) = bench.lobby.create(new(), 0).await.expect("created");
    bench.run(BREAKS_AT_COMMIT).await;
    let refused = bench.lobby.set_source(room.code(), &film("second"), 0).await.err();
    assert!(matches!(refused, Some(LobbyError::Room(RoomError::Database(_)))), "{refused:?}");
    let refused = bench.lobby.create(new(), 0).await.err();
    assert!(matches!(refused, Some(LobbyError::Room(RoomError::Database(_)))), "{refused:?}");
    assert_eq!(room.record().source, film("first"));
    let shown = bench.lobby.live.read(room.code()).await.expect("live").frame;
    assert!(shown.text.contains("first"), "{}", shown.text);
    bench.run("DROP TRIGGER breaks_update").await;
    bench.lobby.set_source(room.code(), &film("third"), 0).await.expect("changed");
    assert_eq!(room.record().source, film("third"));
    assert_eq!(bench.count().await, 1);
}

#[tokio::test]
async fn closed_rooms_are_deleted_a_day_later_however_many() {
    let mut bench = Bench::start().await;
    let (kept, _) = bench.lobby.create(new(), 0).await.expect("created");
    bench.run(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
         INSERT INTO rooms SELECT printf('%06d', n), title, visibility, host_key_sha256, key_generation, playback_provider,
            playback_external_id, playback_media_type, playback_season, playback_episode, revision, created_at_ms,
            created_at_ms FROM rooms, numbers",
    )
    .await;
    let day_ms = i64::try_from(CLOSED_KEPT.as_millis()).expect("a day");
    bench.clock.store(NOW + day_ms, Ordering::SeqCst);
    bench.lobby.delete_closed().await;
    assert_eq!(bench.count().await, 2501, "not yet");
    bench.clock.store(NOW + day_ms + 1, Ordering::SeqCst);
    let stop = CancellationToken::new();
    let sweeping = tokio::spawn(bench.lobby.clone().sweep(stop.clone()));
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.count().await > 1 {
        assert!(Instant::now() < deadline, "{} are left", bench.count().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    sweeping.await.expect("ended");
    assert_eq!(kept.record().source, film("first"));
}

/// A page of them may end among those that were made in one millisecond; some cannot be read.
#[tokio::test]
async fn however_many_rooms_are_open_all_are_remembered() {
    let mut bench = Bench::start().await;
    let (first, _) = bench.lobby.create(new(), 0).await.expect("created");
    bench
        .run(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
             INSERT INTO rooms SELECT replace(replace(printf('%06d', n), '0', 'A'), '1', 'B'), title, visibility,
                host_key_sha256, key_generation, playback_provider, playback_external_id, playback_media_type, playback_season,
                playback_episode, revision, created_at_ms + n / 1500, NULL FROM rooms, numbers;
             UPDATE rooms SET host_key_sha256 = replace(hex(zeroblob(32)), '0', '?') WHERE code IN ('AABAAA', 'AABAAB')",
        )
        .await;
    assert_eq!(bench.lobby.remember().await.expect("remembered"), 2499);
    for code in ["AAAAAB", "AAB999", "AA2499", "AA25AA"] {
        assert!(bench.lobby.live.room(code.parse().expect("a code")).is_some(), "{code}");
    }
    assert_eq!(first.record().source, film("first"));
}
