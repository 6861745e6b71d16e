//! What axe-core finds on the pages, in the dark and in the light, in each of their states: nothing.

use std::{fs, time::Duration};

use serde_json::json;
use streamit_npm::Package;

use crate::harness::{
    App, BUNDLED,
    browser::{Browser, Window},
    npm, players,
    scene::{Scene, joined, notice_says, press_play},
};

const AXE: Package<'_> = Package {
    name: "axe-core",
    version: "4.14.1",
    integrity: "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
};

/// It looks at every element; on a busy machine that takes a while.
const LONGEST: Duration = Duration::from_secs(60);

/// Its script; nothing where it cannot be had.
fn axe() -> Option<String> {
    Some(fs::read_to_string(npm::fetch(&AXE)?.join("axe.min.js")).unwrap())
}

/// Holds what a window shows against every rule, in both schemes.
async fn is_accessible(window: &Window, axe: &str, state: &str) {
    for scheme in ["dark", "light"] {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        window.command("Emulation.setEmulatedMedia", media).await;
        if window.eval("typeof axe").await == "undefined" {
            window.0.execute(axe, vec![]).await.unwrap();
        }
        // It may take longer than a script is waited for.
        window
            .run(
                "window.found = null;
                 const rules = { 'label-content-name-mismatch': { enabled: true }, 'target-size': { enabled: true } };
                 axe.run(document, { iframes: false, rules }).then(({ violations }) => { window.found = violations; });
                 return 0;",
            )
            .await;
        window.until_within(LONGEST, "window.found").await;
        let found = window
            .eval(
                "window.found.map(({ id, help, nodes }) =>
                   `${id}: ${help}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`)",
            )
            .await;
        window.screenshot(&format!("axe-{state}-{scheme}")).await;
        assert_eq!(found, json!([]), "{state}, {scheme}: {found:#}");
    }
}

/// Opens whatever can be opened.
async fn open_all(window: &Window) {
    window
        .run("for (const details of document.querySelectorAll('details:not([hidden])')) details.open = true; return 0;")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_the_home_page() {
    let Some(axe) = axe() else { return };
    let app = App::start().await;
    let browser = Browser::start();
    let room = app
        .room_with(json!({ "title": "Friday film", "visibility": "public", "source": crate::harness::clock() }))
        .await;
    let _host = app.host(&room).await;
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelectorAll('#rooms li').length === 1").await;
    is_accessible(&window, &axe, "home").await;
    window.click("[name=files]").await;
    window.until("document.querySelectorAll('.files li').length === 1").await;
    is_accessible(&window, &axe, "home-files").await;
    window.type_into("[name=link]", "example.org/1").await;
    window.until("document.querySelector('.said').dataset.kind === 'wrong'").await;
    is_accessible(&window, &axe, "home-wrong").await;
    window.run("document.querySelector('[name=link]').value = ''; return 0;").await;
    window.type_into("[name=link]", "youtu.be/aqz-KE-bpKQ").await;
    window.until("document.querySelector('.said').dataset.kind === 'understood'").await;
    is_accessible(&window, &axe, "home-understood").await;
    window.click("[name=by_hand]").await;
    window.run("document.querySelector('[name=external_id]').value = ''; return 0;").await;
    window.click("#submit").await;
    window.until("document.querySelector('[name=external_id]').ariaInvalid === 'true'").await;
    is_accessible(&window, &axe, "home-by-hand").await;
    window.resize(400, 800).await;
    is_accessible(&window, &axe, "home-phone").await;
    window.goto(&format!("{}/nowhere", app.url)).await;
    is_accessible(&window, &axe, "not-found").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_the_room_page() {
    let Some(axe) = axe() else { return };
    let scene = Scene::new().await;
    let (ann, ben) = (scene.window().await, scene.window().await);
    ann.goto(&scene.host_link(&scene.app.url)).await;
    ann.until("!document.querySelector('#enter').hidden").await;
    is_accessible(&ann, &axe, "room-door").await;
    joined(&ann).await;
    open_all(&ann).await;
    ann.until("document.querySelector('#media select')?.options.length > 0").await;
    press_play(&ann).await;
    ann.until("document.querySelector('#play').textContent === 'Pause'").await;
    is_accessible(&ann, &axe, "room-host").await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    is_accessible(&ben, &axe, "room-viewer").await;
    // On their own, and with something to be read.
    ben.run("document.querySelector('#stage video').pause(); return 0;").await;
    ben.until("!document.querySelector('#away').hidden").await;
    is_accessible(&ben, &axe, "room-away").await;
    ben.resize(400, 800).await;
    is_accessible(&ben, &axe, "room-phone").await;
    fs::remove_file(scene.app.path("media/clock.webm")).unwrap();
    ann.run("document.querySelector('#stage video').src = '/media/gone.webm'; return 0;").await;
    notice_says(&ann, "The player says").await;
    is_accessible(&ann, &axe, "room-notice").await;
    // Over.
    ann.run("window.confirm = () => true; document.querySelector('#close').click(); return 0;").await;
    ben.until("!document.querySelector('#home-link').hidden").await;
    is_accessible(&ben, &axe, "room-over").await;
    ann.0.close().await.unwrap();
    ben.0.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_where_there_are_options_and_a_stream() {
    let Some(axe) = axe() else { return };
    let app = App::with(&format!("{BUNDLED}[providers.broadcast]\n")).await;
    let flags = players::serve().await;
    let browser = Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    for (provider, id) in [("broadcast", "show"), ("vidking", "119051")] {
        let source = json!({ "provider": provider, "media_type": "movie", "external_id": id });
        let room = app.room_playing(source).await;
        let window = browser.window().await;
        window.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
        window.join().await;
        window.until("document.querySelector('#stage').childElementCount > 0").await;
        open_all(&window).await;
        is_accessible(&window, &axe, &format!("room-{provider}")).await;
        window.0.close().await.unwrap();
    }
}
