//! A player that is made of its library's files, in a real browser: fetched, run, told its settings; and the tracks that people
//! choose for themselves.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{
    App, Room,
    browser::{Browser, Window},
};

const BOX: &str = "document.querySelector('#stage .theatre')";

fn hamlet() -> Value {
    json!({ "provider": "theatre", "media_type": "movie", "external_id": "hamlet" })
}

fn config(config: &str) -> String {
    format!("[providers.theatre]\nconfig = {{ {config} }}\n")
}

async fn at(app: &App, browser: &Browser, room: &Room) -> Window {
    let window = browser.window().await;
    window.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
    window.join().await;
    window
}

async fn options(window: &Window, id: &str) -> Value {
    window.eval(&format!("[...document.querySelector('#{id}').options].map((option) => option.textContent)")).await
}

/// A place that pages may fetch from; answers its address.
async fn archive() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/plays/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 8\r\nConnection: close\r\n\r\nto be or";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_of_several_files_is_fetched_and_run_and_told_its_settings() {
    let app = App::with(&config("title = \"Globe\", hall = 2")).await;
    let room = app.room_playing(hamlet()).await;
    let browser = Browser::start();
    let ann = at(&app, &browser, &room).await;
    ann.until(&format!("{BOX}?.textContent.startsWith('Welcome to the Globe, hall 2')")).await;
    let found = ann.eval(&format!("({{ ...{BOX}.dataset }})")).await;
    assert_eq!(found["wasm"], "42", "compiled, for a provider that brings WebAssembly");
    assert_eq!((&found["worker"], &found["blob"]), (&json!("counted"), &json!("counted")));
    assert_eq!(found["missing"], "the library of theatre has no file nothing.js");
    let settings: Value = serde_json::from_str(found["settings"].as_str().unwrap()).unwrap();
    assert_eq!(settings, app.provider("theatre").await["settings"]);
    ann.until(&format!("getComputedStyle({BOX}).color === 'rgb(1, 2, 3)'")).await;
    ann.screenshot("theatre").await;
    ann.click("#play").await;
    ann.until("!theatre.paused && theatre.currentTime > 1").await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_open_before_a_place_was_named_fetches_from_it() {
    let app = App::with(&config("title = \"Globe\"")).await;
    let room = app.room_playing(hamlet()).await;
    let browser = Browser::start();
    let ann = at(&app, &browser, &room).await;
    ann.until(&format!("{BOX} && !{BOX}.dataset.archive")).await;
    let archive = archive().await;
    app.write_config(&config(&format!("title = \"Globe\", archive = \"{archive}\"")));
    app.reload().await;
    let other = json!({ "provider": "theatre", "media_type": "movie", "external_id": "macbeth" });
    app.put_source(&room, other).await;
    ann.until(&format!("{BOX}?.dataset.archive === 'to be or'")).await;
    // It tried once, and the browser told it that it may not.
    let complaints = ann.complaints().await;
    assert!(complaints.len() <= 2 && complaints.iter().all(|line| line.contains(&archive)), "{complaints:?}");
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_chooses_among_the_tracks_that_a_player_has() {
    let app = App::with(&config("title = \"Globe\"")).await;
    let room = app.room_playing(hamlet()).await;
    let browser = Browser::start();
    let ann = at(&app, &browser, &room).await;
    ann.until("!document.querySelector('#tracks').hidden").await;
    // A language says its own name where the player gives none.
    assert_eq!(options(&ann, "text-track").await, json!(["Off", "German", "English", "Klingon"]));
    assert_eq!(options(&ann, "audio-track").await, json!(["Stage", "Audience"]));
    assert_eq!(options(&ann, "quality").await, json!(["Automatic", "Gallery", "Box"]));
    ann.screenshot("tracks").await;
    ann.choose("#text-track", "en").await;
    ann.until("theatre.textTrack === 'en'").await;
    ann.choose("#quality", "high").await;
    ann.until("theatre.quality === 'high'").await;

    // What a bridge throws, or rejects with, is said, and nothing else is lost.
    for (menu, value, said, holds) in [
        ("text-track", "bad", "could not change the subtitles", "en"),
        ("audio-track", "2", "could not change the sound", "1"),
    ] {
        ann.choose(&format!("#{menu}"), value).await;
        ann.until(&format!("document.querySelector('#notice').textContent.includes('{said}')")).await;
        ann.until(&format!("document.querySelector('#{menu}').value === '{holds}'")).await;
    }
    assert_eq!(ann.eval("theatre.textTrack").await, "en");

    // The player comes to another part, with others; a list that is none is none.
    ann.run("theatre.become({ textTracks: [{ id: 7, lang: 'fr' }, { id: 7, label: 'twice' }, null, { id: {} }], textTrack: 7 }); return 0;")
        .await;
    ann.until("document.querySelector('#text-track').value === '7'").await;
    assert_eq!(options(&ann, "text-track").await, json!(["Off", "French"]));
    ann.run("theatre.become({ textTracks: 'none', audioTracks: [{ id: 1, label: 'Only' }], qualities: undefined }); return 0;")
        .await;
    ann.until("document.querySelector('#tracks').hidden").await;

    // The language is chosen again for the next film, by its name; the quality is not. Nobody else's page has changed.
    let ben = browser.window().await;
    ben.goto(&format!("{}/r/{}", app.url, room.code)).await;
    ben.join().await;
    ben.until("!document.querySelector('#tracks').hidden").await;
    assert_eq!(ben.eval("theatre.textTrack").await, Value::Null);
    let other = json!({ "provider": "theatre", "media_type": "movie", "external_id": "macbeth" });
    ann.run("window.before = theatre; return 0;").await;
    app.put_source(&room, other).await;
    ann.until("theatre !== before && theatre.textTrack === 'en' && theatre.quality === null").await;
    ann.until("document.querySelector('#text-track').value === 'en'").await;
    ann.choose("#text-track", "").await;
    ann.until("theatre.textTrack === null").await;
    ann.0.refresh().await.unwrap();
    ann.until("!document.querySelector('#tracks').hidden && theatre.textTrack === null").await;
    for window in [ann, ben] {
        window.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_c_brings_files_as_the_guide_says() {
    let app = App::prepare("");
    let written = app.streamit(&["plugin", "new", "acme", "--c"]).output().unwrap();
    assert!(written.status.success());
    let folder = app.path("acme");
    let edit = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from} in {file}");
        fs::write(folder.join(file), text.replace(from, to)).unwrap();
    };
    // As the header shows it.
    let assets = "STREAMIT_ASSET(0);\nconst uint8_t streamit_asset_0[] = {\n#include \"player.js.inc\"\n};\n\
                  const StreamitAsset streamit_assets[] = {{\"player.js\", sizeof streamit_asset_0, 0}, {\"\", 0, 0}};\n";
    edit("acme.c", "const StreamitAbiInfo", &format!("{assets}const StreamitAbiInfo"));
    edit("Makefile", "bridge.js.inc $(HEADER)", "bridge.js.inc player.js.inc $(HEADER)");
    edit(
        "provider.toml",
        "cooldown_ms = 5000                   # corrections come at most this often\n",
        "cooldown_ms = 5000\nlive = true\n[player.settings]\ncolour = \"rgb(0, 100, 0)\"\n",
    );
    fs::write(
        folder.join("bridge.js"),
        "import { Player } from '/bridge/v1.js';
         class Acme extends Player {
           constructor(stage, options) {
             super();
             import(options.assets('player.js')).then(({ draw }) => { draw(stage, options.settings); this.emit('ready'); });
           }
         }
         export default (stage, options) => new Acme(stage, options);",
    )
    .unwrap();
    fs::write(
        folder.join("player.js"),
        "export function draw(stage, { colour }) { stage.style.backgroundColor = colour; stage.textContent = 'drawn in C'; }",
    )
    .unwrap();
    let made = Command::new("make").arg("CFLAGS=-O2 -Werror").current_dir(&folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let library = folder.join("libacme.so");
    let checked = app.streamit(&["plugin", "check", library.to_str().unwrap()]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    fs::copy(library, app.library("acme")).unwrap();
    app.write_config("[providers.acme]\n");
    let mut app = app;
    app.launch().await;

    let film = json!({ "provider": "acme", "media_type": "movie", "external_id": "4711" });
    let room = app.room_playing(film).await;
    let browser = Browser::start();
    let ann = at(&app, &browser, &room).await;
    ann.until("document.querySelector('#stage').textContent === 'drawn in C'").await;
    ann.until("document.querySelector('#stage').style.backgroundColor === 'rgb(0, 100, 0)'").await;
    // Its manifest says that it is live, and its bridge nothing else.
    ann.until("document.querySelector('#time').textContent === 'Live' && document.querySelector('#position').hidden")
        .await;
    ann.close().await;
}
