//! New files and new settings while rooms play: sockets stay open, and rooms notice nothing but a new URL.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use streamit_zoo::{CALLS, build};

use crate::harness::{App, browser::Browser, players, scene::press_play, until};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }\n";

/// What a reload did, provider by provider: id, change, state.
fn changes(reloaded: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let providers = reloaded["providers"].as_array().unwrap().iter();
    providers.map(|p| (text(&p["id"]), text(&p["change"]), text(&p["state"]))).collect()
}

fn change(id: &str, change: &str, state: &str) -> (String, String, String) {
    (id.to_owned(), change.to_owned(), state.to_owned())
}

#[tokio::test]
async fn providers_come_change_and_go_while_a_room_plays() {
    let app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    assert_eq!(changes(&app.reload().await), [change("mp4", "unchanged", "ready")]);

    app.write_config(&format!("{MP4}[providers.vimeo]\n"));
    let added = app.reload().await;
    assert_eq!(changes(&added), [change("mp4", "unchanged", "ready"), change("vimeo", "added", "ready")]);

    // New configuration: the same room has a new URL.
    app.write_config("[providers.mp4]\nconfig = { base_url = \"https://cdn.example/v/\" }\n[providers.vimeo]\n");
    let changed = app.reload().await;
    assert_eq!(changes(&changed), [change("mp4", "reloaded", "ready"), change("vimeo", "unchanged", "ready")]);
    assert_eq!(changed["providers"][0]["generation"], 2);
    assert_eq!(app.view(&room).await["embed_url"], "https://cdn.example/v/clock.webm");

    app.write_config("[providers.mp4]\nenabled = false\nconfig = { base_url = \"/media/\" }\n");
    let gone = app.reload().await;
    assert_eq!(changes(&gone), [change("mp4", "stopped", "disabled"), change("vimeo", "removed", "disabled")]);
    let view = app.view(&room).await;
    assert_eq!(view["embed_url"], Value::Null);
    assert!(view["source_error"].as_str().unwrap().contains("the room goes on when it is back"), "{view}");
    assert_eq!(app.get("/api/v1/providers/vimeo").await.problem(), "provider_not_found");

    app.write_config(MP4);
    assert_eq!(changes(&app.reload().await), [change("mp4", "reloaded", "ready")]);
    assert_eq!(app.view(&room).await["embed_url"], "/media/clock.webm");

    // All that time both sockets were open.
    ann.seek(4_000).await;
    ben.sees_position(4_000).await;
}

#[tokio::test]
async fn a_reload_that_fails_keeps_what_served_before() {
    let app = App::with(MP4).await;
    let good = fs::read(app.library("mp4")).unwrap();
    let kept = |reloaded: &Value, reason: &str| {
        assert_eq!(changes(reloaded), [change("mp4", "kept", "ready")]);
        let said = reloaded["providers"][0]["reason"].as_str().unwrap();
        assert!(said.contains(reason) && said.ends_with("; generation 1 goes on"), "{said}");
    };
    // Written over in place: what is loaded is a copy.
    fs::write(app.library("mp4"), &good[..good.len() / 2]).unwrap();
    kept(&app.reload().await, "plugins/libmp4.so: ");
    fs::write(app.library("mp4"), "hello world").unwrap();
    kept(&app.reload().await, "not a shared library");
    assert!(app.resolve("mp4", "another.webm").await.status.is_success(), "the former one still runs");

    fs::write(app.library("mp4"), &good).unwrap();
    app.write_config("[providers.mp4]\nconfig = { base_url = \"media\" }\n");
    kept(&app.reload().await, "config.base_url: `media`");

    // A configuration that cannot be read changes nothing at all.
    app.write_config("[providers.mp4\n");
    let answer = reqwest::Client::new().post(format!("{}/admin/reload", app.admin_url)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let text = answer.text().await.unwrap();
    assert!(text.contains("config/streamit.toml:"), "{text}");
    app.room().await;

    // A file that is taken away is meant.
    app.write_config(MP4);
    fs::remove_file(app.library("mp4")).unwrap();
    assert_eq!(changes(&app.reload().await), [change("mp4", "stopped", "refused")]);
    fs::write(app.library("mp4"), &good).unwrap();
    assert_eq!(changes(&app.reload().await), [change("mp4", "reloaded", "ready")]);
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named() {
    let app = App::with(&format!("[rooms]\nhost_grace_secs = 60\ncreate_per_minute = 0\n{MP4}")).await;
    app.write_config(&format!("[rooms]\nhost_grace_secs = 61\ncreate_per_minute = 0\n{MP4}"));
    assert_eq!(app.reload().await["needs_restart"], json!(["rooms"]));
}

#[tokio::test]
async fn no_web_page_may_ask_for_a_reload() {
    let app = App::with(MP4).await;
    let request = reqwest::Client::new().post(format!("{}/admin/reload", app.admin_url));
    assert_eq!(request.header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(app.raw(reqwest::Method::POST, "/admin/reload").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn sighup_reloads() {
    let app = App::with(MP4).await;
    app.write_config(&format!("{MP4}[providers.vimeo]\n"));
    app.signal("-HUP");
    until(|| async { app.provider("vimeo").await["state"] == "ready" }).await;
    app.room().await;
}

#[tokio::test]
async fn a_watched_folder_needs_nobody_to_ask() {
    let watch = "[plugins]\nwatch = true\n";
    let app = App::with(&format!("{watch}{MP4}")).await;
    let seconds = fs::read(app.library("vimeo")).unwrap();
    fs::remove_file(app.library("vimeo")).unwrap();
    app.write_config(&format!("{watch}{MP4}[providers.vimeo]\n"));
    until(|| async { app.provider("vimeo").await["state"] == "refused" }).await;

    // Slowly, in pieces: taken when it is whole, and not looked at before.
    let generation = |log: &str| log.matches("vimeo").count();
    let before = generation(&app.log());
    let mut file = fs::File::create(app.library("vimeo")).unwrap();
    for piece in seconds.chunks(seconds.len() / 3 + 1) {
        std::io::Write::write_all(&mut file, piece).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(generation(&app.log()), before, "half a file is nobody's business:\n{}", app.log());
    drop(file);
    until(|| async { app.provider("vimeo").await["state"] == "ready" }).await;

    fs::remove_file(app.library("vimeo")).unwrap();
    until(|| async { app.provider("vimeo").await["state"] == "refused" }).await;
}

#[tokio::test]
async fn a_generation_ends_after_its_last_call() {
    let config = |n: u32| format!("{MP4}[providers.stranger]\nconfig = {{ generation = {n} }}\n");
    let app = App::with(&config(1)).await;
    let (slow, ()) = tokio::join!(app.resolve("stranger", "slow"), async {
        app.write_config(&config(2));
        app.reload().await;
    });
    // Whichever came first, the answer is of the generation that was asked.
    let url = slow.body["embed_url"].as_str().unwrap();
    assert!(url.ends_with("/1") || url.ends_with("/2"), "{url}");
    until(|| async { app.log().contains("plugin: generation 1 ends") }).await;
    assert_eq!(app.resolve("stranger", "slow").await.body["embed_url"], "https://stranger.example/slow/2");
}

#[tokio::test]
async fn after_32_versions_the_host_asks_for_a_restart() {
    let app = App::with(MP4).await;
    let original = fs::read(app.library("mp4")).unwrap();
    let version = |n: u8| {
        let mut bytes = original.clone();
        // Bytes beyond the end are nobody's, and make another file.
        bytes.push(n);
        fs::write(app.library("mp4"), bytes).unwrap();
    };
    for n in 1..32 {
        version(n);
        assert_eq!(changes(&app.reload().await), [change("mp4", "reloaded", "ready")], "{n}");
    }
    version(32);
    let refused = app.reload().await;
    assert_eq!(changes(&refused), [change("mp4", "kept", "ready")]);
    let reason = refused["providers"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("32 versions of it are in this process already"), "{reason}");
    assert!(reason.contains("restart the host, or give the provider isolation = \"process\""), "{reason}");
    // A version it has had is no new one.
    version(7);
    assert_eq!(changes(&app.reload().await), [change("mp4", "reloaded", "ready")]);
    app.room().await;
}

#[tokio::test]
async fn copies_that_no_host_uses_any_more_are_removed_at_a_start() {
    let vimeo = "[providers.vimeo]\n";
    let copies = |app: &App| -> HashSet<String> {
        let folder = fs::read_dir(app.path("data/plugins")).unwrap().flatten();
        let names = folder.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".so") || name.ends_with(".part")).collect()
    };
    let mut app = App::with(&format!("{MP4}{vimeo}")).await;
    let first = copies(&app);
    assert_eq!(first.len(), 2);
    // Left behind by a host that ended while it copied.
    fs::write(app.path("data/plugins/0123.4567.part"), "half").unwrap();

    // Another host of the same folder, which knows nothing of Vimeo, takes nothing away from the one that runs.
    fs::create_dir(app.path("other")).unwrap();
    let config = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"\"\n[database]\nurl = \"sqlite://other/rooms.db\"\n{MP4}"
    );
    fs::write(app.path("config/other.toml"), config).unwrap();
    let mut other = app.streamit(&["serve", "--config", "config/other.toml"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(other.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("StreamIt is at"), "{said}");
    assert!(copies(&app).is_superset(&first));
    other.kill().unwrap();
    other.wait().unwrap();

    // A new version of one, none of the other.
    let mut bytes = fs::read(app.library("mp4")).unwrap();
    bytes.push(0);
    fs::write(app.library("mp4"), bytes).unwrap();
    app.write_config(MP4);
    app.restart().await;
    let last = copies(&app);
    assert_eq!((last.len(), last.is_disjoint(&first)), (1, true), "{last:?}");
    app.room().await;
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_interrupt_nobody() {
    const RELOADS: u32 = 1000;
    const MORE: u32 = 200;
    let config = |n: u32| format!("{MP4}[providers.{CALLS}]\nconfig = {{ n = {n} }}\n");
    let mut app = App::prepare(&config(0));
    build(&app.path("plugins"), CALLS, &[]);
    app.launch().await;
    let app = Arc::new(app);
    let room = app.room().await;
    let mut ann = app.host(&room).await;
    let mut viewers = Vec::new();
    for _ in 0..200 {
        viewers.push(app.viewer(&room).await);
    }
    ann.sees(|s| s["presence"]["viewers"] == 201).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (shop, over) = (app.clone(), stop.clone());
    let creating = tokio::spawn(async move {
        let mut created = 0;
        while !over.load(Ordering::Relaxed) {
            let source = json!({ "provider": CALLS, "media_type": "movie", "external_id": format!("n{created}") });
            shop.room_playing(source).await;
            created += 1;
        }
        created
    });
    let version = |flags: &[&str]| fs::read(build(&app.path("."), CALLS, flags)).unwrap();
    let (first, second) = (version(&[]), version(&["-DURL=\"https://zoo.example/2\""]));
    let reload = async |n: u32| {
        // Every other time another file, every time another configuration.
        let staged = app.path("plugins/staged");
        fs::write(&staged, if n.is_multiple_of(2) { &first } else { &second }).unwrap();
        fs::rename(&staged, app.library(CALLS)).unwrap();
        app.write_config(&config(n));
        assert_eq!(changes(&app.reload().await)[1], change(CALLS, "reloaded", "ready"));
    };
    for n in 1..=RELOADS {
        reload(n).await;
        if n % 100 == 0 {
            ann.seek(i64::from(n) * 1000).await;
            for viewer in &mut viewers {
                viewer.sees_position(i64::from(n) * 1000).await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let created = creating.await.unwrap();
    // What rooms cost is another matter: a few more generations without new ones.
    let before = resident(app.pid());
    for n in 1..=MORE {
        reload(RELOADS + n).await;
    }
    let growth = resident(app.pid()).saturating_sub(before) as f64 / f64::from(MORE);
    println!(
        "{RELOADS} reloads under 201 sockets and {created} new rooms: none closed, none failed; \
         {growth:.2} KiB of memory per generation over {MORE} more"
    );
    assert!(!app.log().contains("socket closed"), "a socket was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_asks_again_until_its_provider_is_back() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    app.write_config(&format!("{}\nenabled = false\n", MP4.trim()));
    app.reload().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
    window.join().await;
    let says = "document.querySelector('#cover-text').textContent";
    window.until(&format!("{says}.includes('is not ready on this server') && {says}.includes('Trying again')")).await;
    window.screenshot("provider-away").await;
    // The room itself works; but no clock runs without a picture.
    window.click("#forward").await;
    window.until("document.querySelector('#time').textContent.startsWith('0:10')").await;
    window.click("#play").await;
    window.until("document.querySelector('#notice').textContent.includes('not ready yet')").await;

    app.write_config(MP4);
    app.reload().await;
    press_play(&window).await;
    window.until("document.querySelector('#stage video').currentTime > 11").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_open_before_a_provider_came_plays_it() {
    let app = App::with(MP4).await;
    let flags = players::serve().await;
    let browser = Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let room = app.room().await;
    let window = browser.window().await;
    window.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
    window.join().await;
    window.until("document.querySelector('#stage video').readyState >= 2").await;

    app.write_config(&format!("{MP4}[providers.vimeo]\n"));
    app.reload().await;
    let source = json!({ "provider": "vimeo", "media_type": "movie", "external_id": "76979871/8272103f6e" });
    app.put_source(&room, source).await;
    window
        .until("document.querySelector('#stage iframe')?.src.startsWith('https://player.vimeo.com/video/76979871')")
        .await;
    window.until("document.querySelector('#viewers').textContent === '1 watching'").await;
    press_play(&window).await;
    window.0.enter_frame(0).await.unwrap();
    window.until("!player.paused && player.time > 1").await;
    window.0.enter_parent_frame().await.unwrap();
    // The page tried once, and the browser told it that it may not.
    let complaints = window.complaints().await;
    assert!(complaints.len() <= 1 && complaints.iter().all(|line| line.contains("player.vimeo.com")), "{complaints:?}");
    window.close().await;
}
