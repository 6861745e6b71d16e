//! One field: what people paste or type into it is understood at once, or it is said why not.

use serde_json::json;

use crate::harness::{
    App,
    browser::{Browser, Window},
    players,
    scene::{Scene, VIDEO, can_play},
};

const LINK: &str = "document.querySelector('[name=link]')";
const SAID: &str = "document.querySelector('.said').textContent";

async fn key(window: &Window, letter: &str, editing: &str) {
    for kind in ["keyDown", "keyUp"] {
        let commands = if kind == "keyDown" { vec![editing] } else { Vec::new() };
        let code = format!("Key{}", letter.to_uppercase());
        let event = json!({ "type": kind, "key": letter, "code": code, "modifiers": 2, "commands": commands });
        window.command("Input.dispatchKeyEvent", event).await;
    }
}

/// Copies a text somewhere, and pastes it into the link's field in place of what is there.
async fn paste(window: &Window, text: &str) {
    window
        .run(&format!(
            "const somewhere = document.createElement('textarea');
             somewhere.id = 'somewhere';
             somewhere.value = {};
             document.body.append(somewhere);
             somewhere.select();
             return 0;",
            json!(text)
        ))
        .await;
    key(window, "c", "copy").await;
    window.run(&format!("somewhere.remove(); {LINK}.select(); return 0;")).await;
    key(window, "v", "paste").await;
    assert_eq!(window.eval(&format!("{LINK}.value")).await, text.trim_end(), "it was not pasted");
}

async fn says(window: &Window, words: &str) {
    window.until(&format!("{SAID} === {}", json!(words))).await;
}

async fn home(app: &App, browser: &Browser) -> Window {
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    window
}

/// The room that the window is in by now, or on the way into.
async fn room(window: &Window, app: &App) -> serde_json::Value {
    let code = window.until("location.pathname.startsWith('/r/') && location.pathname.slice(3)").await;
    app.get(&format!("/api/v1/rooms/{}", code.as_str().unwrap())).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_link_with_a_time_makes_a_room_that_starts_there() {
    let app = App::start().await;
    let flags = players::serve().await;
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let browser = Browser::with_flags(&flags);
    let window = home(&app, &browser).await;
    paste(&window, "https://youtu.be/aqz-KE-bpKQ?si=x&t=1h2m3s").await;
    says(&window, "YouTube · aqz-KE-bpKQ · from 1:02:03").await;
    window.screenshot("link-understood").await;
    window.click("#submit").await;
    let made = room(&window, &app).await;
    assert_eq!((&made["playback"]["position_ms"], &made["playback"]["is_playing"]), (&json!(3_723_000), &json!(false)));
    window.join().await;
    window.until("document.querySelector('#time').textContent.startsWith('1:02:03')").await;
    // The stand-in of the player was brought there, too.
    can_play(&window).await;
    window.0.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pasted_and_sent_at_once_is_understood_first() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = home(&app, &browser).await;
    paste(&window, &format!("{}/media/clock.webm#t=1:30\n", app.url)).await;
    window.type_into("[name=link]", "\n").await;
    let made = room(&window, &app).await;
    assert_eq!(
        (&made["source"]["external_id"], &made["playback"]["position_ms"]),
        (&json!("clock.webm"), &json!(90_000))
    );
    window.join().await;
    window.until(&format!("Math.abs({VIDEO}?.currentTime - 90) < 0.1 && {VIDEO}.paused")).await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_understood_after_a_pause_and_late_answers_are_dropped() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = browser.window().await;
    // The answer about a text with `slow` in it comes when the scene says so.
    window
        .before_pages(
            "window.asked = [];
             window.release = null;
             const fetched = window.fetch;
             window.fetch = async (address, options) => {
               const answer = await fetched(address, options);
               if (!String(address).endsWith('/links')) return answer;
               const { link } = JSON.parse(options.body);
               asked.push(link);
               if (link.includes('slow')) await new Promise((resolve) => { window.release = resolve; });
               return answer;
             };",
        )
        .await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    window.type_into("[name=link]", "vimeo.com/76979871#t=5").await;
    says(&window, "Vimeo · 76979871 · from 0:05").await;
    assert!(
        window.eval("asked.length").await.as_u64().unwrap() < 8,
        "not at each letter: {}",
        window.eval("asked").await
    );

    paste(&window, "https://vimeo.com/111111?slow").await;
    window.until("window.release").await;
    let before = window.eval(SAID).await;
    paste(&window, "https://youtu.be/aqz-KE-bpKQ").await;
    says(&window, "YouTube · aqz-KE-bpKQ").await;
    window.run("window.release(); await new Promise((resolve) => setTimeout(resolve, 200)); return 0;").await;
    says(&window, "YouTube · aqz-KE-bpKQ").await;
    assert!(
        before.as_str().unwrap().starts_with("As it stands"),
        "what was understood is not said of another text: {before}"
    );
    window.click("#submit").await;
    assert_eq!(room(&window, &app).await["source"]["external_id"], "aqz-KE-bpKQ");
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_played_is_said_in_words() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = home(&app, &browser).await;
    let is_marked = format!("{LINK}.getAttribute('aria-invalid') === 'true'");
    window.click("#submit").await;
    says(&window, "Paste the address of what you want to watch, or choose by hand.").await;
    assert_eq!(window.eval("document.activeElement.name").await, "link");
    for (link, words) in [
        (
            "https://www.youtube.com/playlist?list=PLx",
            "YouTube: this is a playlist; open one of its videos and paste that address.",
        ),
        (
            "https://example.org/watch/1",
            "This address is nobody's here; this server takes those of Video file, Vidking, YouTube and Vimeo.",
        ),
    ] {
        paste(&window, link).await;
        says(&window, words).await;
        window.until(&is_marked).await;
        // Pressing the button says the same, and makes no room.
        window.click("#submit").await;
        window.until("!document.querySelector('#submit').disabled").await;
        says(&window, words).await;
    }
    window.screenshot("link-unknown").await;
    assert_eq!(window.eval("document.querySelector('.said').getAttribute('role')").await, "status");
    let described =
        format!("document.getElementById({LINK}.getAttribute('aria-describedby')) === document.querySelector('.said')");
    assert_eq!(window.eval(&described).await, true);
    paste(&window, "youtu.be/aqz-KE-bpKQ").await;
    says(&window, "YouTube · aqz-KE-bpKQ").await;
    window.until(&format!("!({is_marked})")).await;

    window.as_phone(320, 640).await;
    for link in ["https://example.org/".to_owned(), format!("/media/{}", "x".repeat(300))] {
        paste(&window, &link).await;
        window.until("document.querySelector('.said').dataset.kind !== 'hint'").await;
        window.until("document.documentElement.scrollWidth <= 320").await;
        window.screenshot("link-phone").await;
    }
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_providers_people_choose_with_the_keyboard() {
    let app = App::with("[providers.stranger]\n[providers.grown]\n").await;
    let browser = Browser::start();
    let window = home(&app, &browser).await;
    paste(&window, "https://both.example/fine").await;
    says(&window, "2 providers play this; the first is chosen.").await;
    let labels = "[...document.querySelectorAll('.choices label')].map(({ textContent }) => textContent)";
    assert_eq!(window.eval(labels).await, json!(["Stranger · fine", "Grown · fine"]));
    window.screenshot("link-several").await;
    // Tab to the choice, and one down.
    window.type_into("[name=link]", "\u{e004}").await;
    assert_eq!(window.eval("document.activeElement.type").await, "radio");
    window.type_into(".choices input:checked", "\u{e015}").await;
    window.click("#submit").await;
    assert_eq!(room(&window, &app).await["source"]["provider"], "grown");
    window.0.back().await.unwrap();
    // A text that only one plays takes the choice away.
    let window = home(&app, &browser).await;
    paste(&window, "https://both.example/fine").await;
    window.until("!document.querySelector('.choices').hidden").await;
    paste(&window, "https://both.example/other/fine").await;
    says(&window, "Grown · fine").await;
    window.until("document.querySelector('.choices').hidden").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_link_leaves_open_is_put_right_by_hand() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = home(&app, &browser).await;
    paste(&window, "https://www.themoviedb.org/tv/1399-x").await;
    says(&window, "Vidking · 1399 · S1 E1 – a guess: the address does not say which episode").await;
    let toggle = "document.querySelector('[name=by_hand]')";
    let state = format!("[{toggle}.textContent, {toggle}.ariaExpanded]");
    assert_eq!(window.eval(&state).await, json!(["Choose by hand instead", "false"]));
    window.click("[name=by_hand]").await;
    assert_eq!(window.eval(&state).await, json!(["Paste a link instead", "true"]));
    assert_eq!(window.eval("document.activeElement.name").await, "provider");
    let fields = "['provider', 'media_type', 'external_id', 'season', 'episode'].map((name) => document.querySelector(`[name=${name}]`).value)";
    assert_eq!(window.eval(fields).await, json!(["vidking", "tv", "1399", "1", "1"]));
    window.run("document.querySelector('[name=episode]').value = ''; return 0;").await;
    window.type_into("[name=episode]", "5").await;
    window.click("#submit").await;
    assert_eq!(room(&window, &app).await["source"]["episode"], 5);

    let window = home(&app, &browser).await;
    for focused in ["provider", "link"] {
        window.click("[name=by_hand]").await;
        assert_eq!(window.eval("document.activeElement.name").await, focused);
    }
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_pastes_what_comes_next() {
    let scene = Scene::new().await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    std::fs::copy(scene.app.path("media/clock.webm"), scene.app.path("media/next.webm")).unwrap();
    ann.click("#change summary").await;
    ann.until("document.querySelector('select[name=provider]').options.length > 0").await;
    paste(&ann, "https://vimeo.com/staff").await;
    ann.until(&format!("{SAID}.startsWith('Vimeo: this is a page with several videos or none')")).await;
    ann.click("#change-form button.primary").await;
    ann.until("document.querySelector('#change').open").await;
    paste(&ann, "/media/next.webm#t=0:30").await;
    says(&ann, "Video file · next.webm · from 0:30").await;
    ann.screenshot("link-room").await;
    ann.click("#change-form button.primary").await;
    for window in [&ann, &ben] {
        window.until("document.querySelector('#room-title').textContent === 'next.webm'").await;
        window.until(&format!("Math.abs({VIDEO}?.currentTime - 30) < 0.1 && {VIDEO}.paused")).await;
    }
    ann.until("!document.querySelector('#change').open").await;
    ann.click("#change summary").await;
    ann.until(&format!("{LINK}.value === ''")).await;
    ann.close().await;
    ben.close().await;
}
