//! Databases as operators have them: behind a pooler or a firewall, full, not theirs to change, newer, to be backed up.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};
use streamit_test_servers::{PgBouncer, Postgres, Proxy};

use crate::harness::{App, BUNDLED, Room, clock, episode, until};

/// The lock of whoever migrates: "streamit" as a number.
const MIGRATING: i64 = 0x7374_7265_616d_6974;

fn config(database: &str) -> String {
    format!("[database]\n{database}\n{BUNDLED}")
}

fn at(url: &str) -> String {
    config(&format!("url = \"{url}\""))
}

/// Exit code, and all that was said.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn run(app: &App, arguments: &[&str]) -> (Option<i32>, String) {
    said(&app.streamit(arguments).output().unwrap())
}

async fn create(app: &App) -> u16 {
    app.post("/api/v1/rooms", json!({ "source": clock() })).await.status.as_u16()
}

async fn creates(app: &App, count: usize) -> Vec<u16> {
    join_all((0..count).map(|_| create(app))).await
}

async fn ready(app: &App) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/readyz", app.admin_url)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn lines_that_died_in_silence_fail_nobody_who_comes_after() {
    let postgres = Postgres::start();
    let line = Proxy::to(&[&format!("127.0.0.1:{}", postgres.port())]);
    let app = App::with(&at(&format!("postgres://streamit@{}/postgres", line.address()))).await;
    let fill = async || {
        until(async || {
            creates(&app, 40).await;
            line.connections() == 16
        })
        .await;
    };
    // A firewall forgets the connections that rest.
    fill().await;
    line.forget();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(create(&app).await, 201);
    }
    assert!(start.elapsed() < Duration::from_secs(6), "each dead line was waited for: {:?}", start.elapsed());

    // Everything is swallowed while all lines are in use.
    line.cut();
    fill().await;
    line.silence(true);
    assert!(creates(&app, 40).await.iter().all(|status| *status == 503));
    line.forget();
    line.silence(false);
    for _ in 0..20 {
        assert_eq!(create(&app).await, 201);
    }
    line.cut();
    fill().await;
}

#[tokio::test]
async fn a_node_keeps_as_many_connections_as_it_is_allowed() {
    let postgres = Postgres::start();
    let app = App::with(&config(&format!("url = \"{}\"\nmax_connections = 3", postgres.url()))).await;
    assert!(creates(&app, 40).await.iter().all(|status| *status == 201));
    let count = postgres.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = '' AND state = 'idle'");
    assert_eq!(count.trim(), "3");
    let none = App::prepare(&config("max_connections = 0"));
    let (code, text) = run(&none, &["serve"]);
    assert!(code == Some(2) && text.contains("database.max_connections: 0 is out of range; expected 1 to"), "{text}");
    // One is enough for everything there is.
    let app = App::with(&config("max_connections = 1")).await;
    assert!(creates(&app, 40).await.iter().all(|status| *status == 201));
    assert_eq!(ready(&app).await.0, 200);
}

#[tokio::test]
async fn a_pooler_may_give_each_transaction_another_connection() {
    let postgres = Postgres::start();
    let bouncer = PgBouncer::start(&postgres, 2);
    let mut app = App::with(&config(&format!("url = \"{}\"\nprepared_statements = false", bouncer.url()))).await;
    let mut rooms: Vec<Room> = Vec::new();
    for _ in 0..3 {
        rooms.extend(join_all((0..30).map(|_| app.room())).await);
        let changed = join_all(rooms.iter().map(|room| app.put_source(room, episode()))).await;
        assert!(changed.iter().all(|answer| answer.status.as_u16() == 200), "{changed:?}");
        assert_eq!(ready(&app).await.0, 200);
        app.restart().await;
        for view in join_all(rooms.iter().map(|room| app.view(room))).await {
            assert_eq!(view["source"]["provider"], "vidking", "{view}");
        }
    }
    assert!(!app.log().contains("prepared statement"), "{}", app.log());
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    assert!(postgres.ask(connections).trim().parse::<u32>().unwrap() <= 3, "the two, and the one that asks");
    // What a node sets is not left behind for others.
    for _ in 0..4 {
        let mut other = PgConnection::connect(&bouncer.url()).await.unwrap();
        sqlx::raw_sql("DO $$ BEGIN ASSERT current_setting('statement_timeout') = '0'; END $$")
            .execute(&mut other)
            .await
            .unwrap();
    }
    // Who forgets to say so is told, once names collide.
    let forgetful = App::prepare(&at(&bouncer.url()));
    until(async || {
        let (code, text) = run(&forgetful, &["migrate"]);
        code == Some(1) && text.contains("set database.prepared_statements = false")
    })
    .await;
}

#[tokio::test]
async fn nodes_that_start_at_once_wait_for_whoever_migrates() {
    let postgres = Postgres::start();
    let mut migrating = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATING).execute(&mut migrating).await.unwrap();
    let (mut a, mut b) = (App::prepare(&at(&postgres.url())), App::prepare(&at(&postgres.url())));
    let migrated = async {
        // Longer than anything else may take.
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event = 'advisory' AND now() - query_start > interval '5.5 s'";
        until(async || postgres.ask(waiting).trim() == "2").await;
        migrating.close().await.unwrap();
    };
    tokio::join!(a.launch(), b.launch(), migrated);
    let room = a.room().await;
    assert_eq!(b.view(&room).await["code"], room.code);
    let applied = |app: &App| app.log().contains("schema was brought up to date");
    assert!(applied(&a) != applied(&b), "one of them did it");
}

#[tokio::test]
async fn migrate_says_what_it_did() {
    let postgres = Postgres::start();
    for url in [&postgres.url(), "sqlite://data/streamit.db"] {
        let app = App::prepare(&at(url));
        let (code, text) = run(&app, &["migrate", "--config", "config/streamit.toml"]);
        let applied = "applied 0001 rooms\napplied 0002 compatible closed rooms are found\n";
        assert_eq!((code, text), (Some(0), format!("{applied}the schema of {url} is current\n")));
        let (code, text) = run(&app, &["migrate"]);
        assert_eq!((code, text), (Some(0), format!("the schema of {url} is current\n")));
    }
    let port = streamit_test_servers::free_port();
    let (code, text) = run(&App::prepare(&at(&format!("postgres://a:hunter2@127.0.0.1:{port}/x"))), &["migrate"]);
    assert!(code == Some(1) && text.contains("cannot reach the database") && !text.contains("hunter2"), "{text}");
    assert_eq!(run(&App::prepare(&at("mysql://x")), &["migrate"]).0, Some(2));
}

#[tokio::test]
async fn a_node_that_may_not_change_the_schema_starts_on_one_that_is_current() {
    let postgres = Postgres::start();
    postgres.ask("CREATE ROLE node LOGIN");
    let node_url = postgres.url().replace("streamit@", "node@");
    let mut node = App::prepare(&at(&node_url));
    for command in ["serve", "migrate"] {
        let (code, text) = run(&node, &[command]);
        assert_eq!(code, Some(1));
        for words in ["its schema lacks `0001 rooms`", "run `streamit migrate --config FILE`", "permission denied"] {
            assert!(text.contains(words), "{text}");
        }
    }
    assert_eq!(run(&App::prepare(&at(&postgres.url())), &["migrate"]).0, Some(0));
    postgres.ask("GRANT SELECT, INSERT, UPDATE, DELETE ON rooms TO node; GRANT SELECT ON _sqlx_migrations TO node");
    node.launch().await;
    let room = node.room().await;
    assert_eq!(node.put_source(&room, episode()).await.status.as_u16(), 200);
    assert_eq!(ready(&node).await.0, 200);
}

#[tokio::test]
async fn an_older_node_starts_on_a_newer_schema_that_it_can_live_with() {
    let postgres = Postgres::start();
    let mut node = App::with(&at(&postgres.url())).await;
    let later = |version: u32, description: &str| {
        postgres
            .ask(&format!("INSERT INTO _sqlx_migrations VALUES ({version}, '{description}', now(), true, '\\x00', 1)"));
    };
    later(9001, "compatible rooms by title");
    node.restart().await;
    node.room().await;
    assert_eq!(run(&node, &["migrate"]).0, Some(0));
    node.kill();
    later(9002, "rooms have two keys");
    for command in ["serve", "migrate"] {
        let (code, text) = run(&node, &[command]);
        assert_eq!(code, Some(1));
        assert!(text.contains("`9002 rooms have two keys`); start the newer StreamIt"), "{text}");
    }
    postgres.ask("DELETE FROM _sqlx_migrations WHERE version > 9001; UPDATE _sqlx_migrations SET checksum = '\\x00'");
    let (code, text) = run(&node, &["serve"]);
    assert!(code == Some(1) && text.contains("its migration `0001 rooms` is not the one this program has"), "{text}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost_by_it() {
    let mut app = App::prepare(BUNDLED);
    app.survive_full_files();
    app.launch().await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    // The last to close it would tidy up, and make room.
    let mut other = sqlite(&app.path("data/streamit.db")).await;
    sqlx::query("SELECT * FROM rooms").fetch_all(&mut other).await.unwrap();
    app.limit_files(Some(fs::metadata(app.path("data/streamit.db-wal")).unwrap().len()));
    let (status, said) = ready(&app).await;
    assert_eq!((status, &said["database"], &said["live"]), (503, &json!("unavailable"), &json!("ok")));
    assert!(said["causes"]["database"].as_str().is_some_and(|cause| cause.contains("disk")), "{said}");
    let refused = app.post("/api/v1/rooms", json!({ "source": clock() })).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "unavailable"));
    let refused = app.put_source(&room, episode()).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "unavailable"));
    ann.seek(5_000).await;
    let seen = ben.sees_position(5_000).await;
    assert_eq!(seen["room"]["source"]["provider"], "mp4", "what was refused nobody sees");
    assert_eq!(ready(&app).await.0, 503, "and it is not forgotten");

    app.limit_files(None);
    assert_eq!(ready(&app).await, (200, json!({ "database": "ok", "live": "ok" })));
    app.room().await;
    assert_eq!(app.view(&room).await["code"], room.code);
    let (intact,): (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut other).await.unwrap();
    assert_eq!(intact, "ok");
    let (left,): (i64,) = sqlx::query_as("SELECT count(*) FROM rooms").fetch_one(&mut other).await.unwrap();
    assert_eq!(left, 2, "what was tried out is taken back");
}

#[tokio::test]
async fn a_database_may_be_anywhere_and_still_has_one_host() {
    let app = App::with(&at("sqlite://My%20Rooms/100%25.db")).await;
    app.room().await;
    assert!(app.path("My Rooms/100%.db").is_file() && app.path("My Rooms/100%.db.lock").is_file());
    assert!(!app.path("My%20Rooms").exists());
    std::os::unix::fs::symlink(app.path("My Rooms/100%.db"), app.path("link.db")).unwrap();
    let absolute = format!("sqlite://{}", app.path("My%20Rooms/100%25.db").display());
    for url in ["sqlite://My Rooms/100%25.db", "sqlite:My%20Rooms/100%25.db", "sqlite://link.db", &absolute] {
        app.write_config(&at(url));
        let (code, text) = run(&app, &["serve"]);
        assert!(code == Some(1) && text.contains("another StreamIt uses the database"), "{url}: {text}");
    }
    let (_, text) = run(&app, &["config", "check", "config/streamit.toml"]);
    assert!(text.contains(&format!("url = \"{absolute}\"")), "{text}");
}

#[tokio::test]
async fn a_backup_of_a_busy_host_is_whole() {
    let app = App::start().await;
    let kept = app.room_playing(episode()).await;
    fs::create_dir(app.path("backups")).unwrap();
    let back_up = async |more: &'static [&'static str]| {
        let mut command = app.streamit(&["backup", "--config", "config/streamit.toml", "backups/rooms.db"]);
        command.args(more);
        let copying = tokio::task::spawn_blocking(move || said(&command.output().unwrap()));
        // Rooms are made all the while.
        loop {
            assert!(creates(&app, 8).await.iter().all(|status| *status == 201));
            if copying.is_finished() {
                break;
            }
        }
        copying.await.unwrap()
    };
    let (code, text) = back_up(&[]).await;
    assert!(code == Some(0) && text.starts_with("backups/rooms.db: "), "{text}");
    let copy = app.path("backups/rooms.db");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&copy).unwrap();
    let (code, text) = back_up(&[]).await;
    assert!(code == Some(1) && text.contains("exists; --overwrite replaces it"), "{text}");
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    assert_eq!(back_up(&["--overwrite"]).await.0, Some(0));
    assert!(fs::metadata(&copy).unwrap().len() >= bytes.len() as u64);
    assert_eq!(fs::read_dir(app.path("backups")).unwrap().count(), 1, "and nothing else is left there");

    let mut database = sqlite(&copy).await;
    let (intact,): (String,) = sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut database).await.unwrap();
    assert_eq!(intact, "ok");
    database.close().await.unwrap();
    let second = App::with(&at(&format!("sqlite://{}", copy.display()))).await;
    assert_eq!(second.view(&kept).await["source"]["external_id"], "119051");
    // The copy is somebody's database now, and the original is never a target.
    assert_eq!(back_up(&["--overwrite"]).await.0, Some(1));
    assert!(Command::new("mkfifo").arg(app.path("pipe")).status().unwrap().success());
    for name in ["pipe", "data"] {
        let (code, text) = run(&app, &["backup", "--overwrite", name]);
        assert!(code == Some(1) && text.contains("is no regular file, and is not replaced"), "{text}");
    }
    let (code, text) = run(&app, &["backup", "--overwrite", "data/streamit.db"]);
    assert!(code == Some(1) && text.contains("belongs to the database itself"), "{text}");
    app.room().await;

    let elsewhere = App::prepare(&at("postgres://ann:hunter2@127.0.0.1:1/x"));
    let (code, text) = run(&elsewhere, &["backup", "copy.db"]);
    assert!(code == Some(2) && text.contains("pg_dump") && !text.contains("hunter2"), "{text}");
    let (code, text) = run(&App::prepare(BUNDLED), &["backup", "copy.db"]);
    assert!(code == Some(1) && text.contains("there is no database at data/streamit.db"), "{text}");
}

async fn sqlite(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap()
}

#[tokio::test]
async fn a_database_that_takes_nothing_is_said_at_the_start() {
    let mut app = App::start().await;
    app.room().await;
    app.kill();
    app.write_config(&at("sqlite://data/streamit.db?mode=ro"));
    let (code, text) = run(&app, &["serve"]);
    assert_eq!(code, Some(1), "{text}");
    for words in ["data/streamit.db", "stores no rooms; is it read-only, or its disk full?"] {
        assert!(text.contains(words), "{text}");
    }
    let postgres = Postgres::start();
    let mut node = App::with(&at(&postgres.url())).await;
    node.kill();
    postgres.ask("ALTER SYSTEM SET default_transaction_read_only = on");
    postgres.ask("SELECT pg_reload_conf()");
    let (code, text) = run(&node, &["serve"]);
    assert!(code == Some(1) && text.contains("stores no rooms; is it read-only"), "{text}");
    assert!(text.contains("read-only transaction"), "{text}");
}
