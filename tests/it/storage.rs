//! What the database has, and what it never has.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::harness::{App, clock, episode};

async fn connect(app: &App) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", app.path("data/streamit.db").display())).await.unwrap()
}

#[tokio::test]
async fn a_room_stores_identity_and_nothing_else() {
    let mut app = App::start().await;
    let mut keys = Vec::new();
    for source in [
        clock(),
        episode(),
        json!({ "provider": "youtube", "media_type": "movie", "external_id": "aqz-KE-bpKQ" }),
        json!({ "provider": "vimeo", "media_type": "movie", "external_id": "76979871/8272103f6e" }),
    ] {
        // A busy evening: members, orders, a position that is easy to find, another source, a visit to the page.
        let room = app.room_with(json!({ "title": "busy", "visibility": "public", "source": source })).await;
        let mut ann = app.host(&room).await;
        let mut ben = app.viewer(&room).await;
        ann.send(json!({ "type": "PLAY", "position_ms": 77_123_456 })).await;
        ben.sees(|state| state["playback"]["is_playing"] == true).await;
        ann.send(json!({ "type": "PROGRESS", "position_ms": 77_654_321 })).await;
        ann.send(json!({ "type": "PAUSE", "position_ms": 77_777_777 })).await;
        ben.sees_position(77_777_777).await;
        app.view(&room).await;
        app.put_source(&room, episode()).await;
        app.get(&format!("/r/{}?color=e50914&autoPlay=true&progress=77", room.code)).await;
        keys.push(room.key);
    }

    let mut forbidden: Vec<String> = [
        "http",
        "://",
        "embed",
        "iframe",
        "autoPlay",
        "autoplay",
        "color",
        "e50914",
        "nextEpisode",
        "episodeSelector",
        "progress",
        "is_playing",
        "position",
        "77123456",
        "77654321",
        "77777777",
        "?h=",
        "/media/",
        "viewers",
    ]
    .map(str::to_owned)
    .into();
    forbidden.extend(keys);
    // While it runs, and after it was folded into one file.
    for stopped in [false, true] {
        if stopped {
            app.terminate();
            app.stopped().await;
        }
        let mut files = 0;
        for entry in fs::read_dir(app.path("data")).unwrap().map(Result::unwrap) {
            if !entry.file_name().to_string_lossy().starts_with("streamit.db") {
                continue;
            }
            files += 1;
            let bytes = fs::read(entry.path()).unwrap();
            // The schema's own text has the constraint names and comments; the rows must not add to it.
            for word in &forbidden {
                let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
                assert!(!found, "`{word}` is in {:?}", entry.file_name());
            }
        }
        assert!(files > 0);
    }
}

#[tokio::test]
async fn the_columns_are_those_that_are_documented() {
    let app = App::start().await;
    let mut database = connect(&app).await;
    let columns: Vec<(String,)> = sqlx::query_as("SELECT name FROM pragma_table_info('rooms') ORDER BY cid")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let columns: Vec<_> = columns.iter().map(|(name,)| name.as_str()).collect();
    assert_eq!(
        columns,
        [
            "code",
            "title",
            "visibility",
            "host_key_sha256",
            "key_generation",
            "playback_provider",
            "playback_external_id",
            "playback_media_type",
            "playback_season",
            "playback_episode",
            "revision",
            "created_at_ms",
            "closed_at_ms"
        ]
    );
}

#[tokio::test]
async fn a_row_that_no_request_could_make_is_impossible() {
    let app = App::start().await;
    let room = app.room_playing(episode()).await;
    let mut database = connect(&app).await;
    for (change, constraint) in [
        ("playback_season = NULL", "rooms_media_shape"),
        ("playback_episode = NULL", "rooms_media_shape"),
        ("playback_season = -1", "rooms_media_shape"),
        ("playback_media_type = 'movie'", "rooms_media_shape"),
        ("playback_media_type = 'film'", "rooms_media_shape"),
        ("playback_external_id = ''", "rooms_external_id_is_given"),
        ("playback_provider = ''", "rooms_provider_is_an_id"),
        ("visibility = 'secret'", "rooms_visibility_is_known"),
        ("code = 'SHORT'", "rooms_code_has_six_characters"),
        ("host_key_sha256 = 'plain'", "rooms_host_key_is_a_hash"),
        ("revision = 0", "rooms_counters_start_at_one"),
    ] {
        let statement = format!("UPDATE rooms SET {change} WHERE code = '{}'", room.code);
        let error = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap_err();
        assert!(error.to_string().contains(constraint), "{change}: {error}");
    }
}

#[tokio::test]
async fn a_database_that_fails_is_said_and_live_rooms_go_on() {
    let app = App::start().await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let mut database = connect(&app).await;
    sqlx::query("ALTER TABLE rooms RENAME TO elsewhere").execute(&mut database).await.unwrap();

    let answer = app.post("/api/v1/rooms", json!({ "source": clock() })).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (503, "unavailable"));
    assert!(!answer.body["detail"].as_str().unwrap().contains("elsewhere"), "the cause is the operator's");
    assert!(app.log().contains("no such table"), "and in the log");
    ann.seek(6_000).await;
    ben.sees_position(6_000).await;

    sqlx::query("ALTER TABLE elsewhere RENAME TO rooms").execute(&mut database).await.unwrap();
    app.room().await;
}

/// Only the database outlives this process: a room of which it has not taken the end is open.
#[tokio::test]
async fn a_room_that_the_database_does_not_close_is_not_said_to_be_closed() {
    let mut app = App::start().await;
    let (room, _ann, mut ben) = app.room_of_two().await;
    let path = format!("/api/v1/rooms/{}", room.code);
    let mut database = connect(&app).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let refused = app.request(Method::DELETE, &path, Some(&room.key), None).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "unavailable"));
    let (_, heard) = ben.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "nobody was sent away");
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();

    let closed = app.request(Method::DELETE, &path, Some(&room.key), None).await;
    assert_eq!(closed.status.as_u16(), 204, "{}", closed.body);
    assert_eq!(ben.is_closed().await.0, 4410);
    app.kill();
    app.launch().await;
    assert_eq!(app.get(&path).await.problem(), "room_not_found");
}
