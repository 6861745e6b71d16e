//! Three real providers that are not bundled (`plugins/examples`), written from the guide alone: they pass what every plugin
//! passes, understand what people paste, and their players are moved like any other.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    conformance::keeps_the_list,
    harness::{
        App, Room,
        browser::{Browser, Window},
        players,
        scene::{COUNTED, joined, plays, positions, press_play},
    },
    links::{
        Means::{Nobodys, Plays, Refused},
        means,
    },
};

const FILM: &str = "0123456789abcdef0123456789abcdef";
/// The same video's place on two instances.
const HERE: &str = "video.example.org/kkGMgK9ZtnKfYAgnEtQxbv";
const THERE: &str = "tube.example:8443/kkGMgK9ZtnKfYAgnEtQxbv";
const KEY: &str = "hunter2hunter2";

#[tokio::test]
async fn the_examples_pass_the_suite_and_understand_what_people_paste() {
    let app = App::with(&format!(
        "[providers.dailymotion]\n\
         [providers.peertube]\nconfig = {{ instances = [\"https://video.example.org/\", \"https://tube.example:8443\"] }}\n\
         [providers.jellyfin]\nallow_http = true\n\
         config = {{ base_url = \"http://jellyfin.lan:8096/\", api_key = \"{KEY}\" }}\n",
    ))
    .await;
    for id in ["dailymotion", "peertube", "jellyfin"] {
        let checked = app.streamit(&["plugin", "check", app.library(id).to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && said.contains(" passed, 0 not, "), "{id}: {said}");
    }

    let mut wrong = Vec::new();
    for (link, expected) in [
        ("https://www.dailymotion.com/video/x84sh87?start=1m30s", Plays("dailymotion", "x84sh87", 90.0)),
        ("dailymotion.com/video/x84sh87_a-title", Plays("dailymotion", "x84sh87", 0.0)),
        ("https://dai.ly/x84sh87", Plays("dailymotion", "x84sh87", 0.0)),
        ("https://geo.dailymotion.com/player.html?video=x84sh87", Plays("dailymotion", "x84sh87", 0.0)),
        ("https://www.dailymotion.com/somebody", Refused("several videos or none")),
        ("https://dailymotion.com.evil.example/video/x84sh87", Nobodys),
        ("https://evildailymotion.com/video/x84sh87", Nobodys),
        ("https://dailymotion.com@evil.example/video/x84sh87", Nobodys),
        ("https://video.example.org/w/kkGMgK9ZtnKfYAgnEtQxbv", Plays("peertube", HERE, 0.0)),
        ("https://video.example.org/videos/watch/kkGMgK9ZtnKfYAgnEtQxbv?start=1m2s", Plays("peertube", HERE, 62.0)),
        ("https://tube.example:8443/w/kkGMgK9ZtnKfYAgnEtQxbv?start=90", Plays("peertube", THERE, 90.0)),
        ("https://video.example.org/c/films/videos", Refused("several videos or none")),
        ("https://tube.example/w/kkGMgK9ZtnKfYAgnEtQxbv", Nobodys),
        ("https://video.example.org.evil.example/w/kkGMgK9ZtnKfYAgnEtQxbv", Nobodys),
        (&format!("http://jellyfin.lan:8096/web/#/details?id={FILM}&serverId=5"), Plays("jellyfin", FILM, 0.0)),
        (&format!("jellyfin.lan:8096/web/index.html#!/details?id={FILM}"), Plays("jellyfin", FILM, 0.0)),
        ("http://jellyfin.lan:8096/web/#/home.html", Refused("the film's own page")),
        (&format!("http://jellyfin.lan/web/#/details?id={FILM}"), Nobodys),
        (&format!("http://jellyfin.lan.evil.example:8096/web/#/details?id={FILM}"), Nobodys),
    ] {
        wrong.extend(means(&app, link, &expected).await.err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_query_texts_keeps_the_list() {
    keeps_the_list("dailymotion").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_a_player_that_says_little_keeps_the_list() {
    keeps_the_list("peertube").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_a_servers_file_keeps_the_list() {
    keeps_the_list("jellyfin").await;
}

async fn window_of(browser: &Browser, app: &App, room: &Room, fragment: &str) -> Window {
    let window = browser.window().await;
    window.before_pages(COUNTED).await;
    window.goto(&format!("{}/r/{}{fragment}", app.url, room.code)).await;
    joined(&window).await;
    window
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_the_lan_plays_in_a_room_and_its_key_stays_there() {
    let port = players::serve_jellyfin(FILM, KEY).await;
    let config = |more: &str| {
        let base_url = format!("http://jellyfin.lan:{port}/");
        format!("[providers.jellyfin]\n{more}config = {{ base_url = \"{base_url}\", api_key = \"{KEY}\" }}\n")
    };
    let app = App::with(&config("")).await;
    let refused = app.provider("jellyfin").await["reason"].as_str().unwrap().to_owned();
    let is_said = refused.contains("http is for this machine only") && refused.contains("allow_http = true");
    assert!(is_said && !refused.contains(KEY), "{refused}");
    app.write_config(&config("allow_http = true\n"));
    assert_eq!(app.reload().await["providers"][0]["state"], "ready");

    let room = app.room_playing(json!({ "provider": "jellyfin", "media_type": "movie", "external_id": FILM })).await;
    let browser = Browser::with_flags(&["--host-resolver-rules=MAP jellyfin.lan 127.0.0.1"]);
    let ann = window_of(&browser, &app, &room, &format!("#key={}", room.key)).await;
    let ben = window_of(&browser, &app, &room, "").await;
    press_play(&ann).await;
    for window in [&ann, &ben] {
        plays(window).await;
    }
    let (anns, bens) = positions(&ann, &ben).await;
    assert!((anns - bens).abs() < 0.5, "the host is at {anns}, the viewer at {bens}");

    // Who is not in the room is told no URL, and the server gives nothing without the key.
    let stranger = app.view(&room).await;
    assert_eq!((&stranger["embed_url"], stranger["source"]["external_id"].as_str()), (&Value::Null, Some(FILM)));
    assert_eq!(app.resolve("jellyfin", FILM).await.problem(), "private_provider");
    let without = reqwest::get(format!("http://127.0.0.1:{port}/Videos/{FILM}/stream?static=true")).await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);

    let link = json!({ "link": format!("http://jellyfin.lan:{port}/web/#/details?id={FILM}") });
    let mut said = vec![stranger.to_string(), app.post("/api/v1/links", link).await.body.to_string(), app.log()];
    for path in ["/api/v1/providers", "/api/v1/providers/jellyfin"] {
        said.push(app.get(path).await.body.to_string());
    }
    for command in [["config", "check", "config/streamit.toml"].as_slice(), &["plugin", "list"]] {
        let output = app.streamit(command).output().unwrap();
        said.push(String::from_utf8([output.stdout, output.stderr].concat()).unwrap());
    }
    for text in said {
        assert!(text.len() > 50 && !text.contains(KEY), "{text}");
    }
    for window in [ann, ben] {
        window.close().await;
    }
}
