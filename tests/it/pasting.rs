//! One field: what people paste or type into it is understood at once, or it is said why not.

use serde_json::{Value, json};

use crate::harness::{
    App, BUNDLED,
    browser::{Browser, Window},
    players,
    scene::{Scene, VIDEO, choose_example, joined},
};

const SAID: &str = "document.querySelector('.said').textContent";

/// Pastes a text into the link's field, as a browser does it.
async fn paste(window: &Window, text: &str) {
    window.until("!document.querySelector('#submit, #change-form button.primary').disabled").await;
    let field = "document.querySelector('[name=link]')";
    window
        .run(&format!(
            "const field = {field};
             field.focus();
             field.select();
             const pasted = {{ inputType: 'insertFromPaste', data: {text}, bubbles: true }};
             field.setRangeText({text}, 0, field.value.length, 'end');
             field.dispatchEvent(new InputEvent('input', pasted));
             return 0;",
            text = json!(text)
        ))
        .await;
}

async fn says(window: &Window, words: &str) {
    window.until(&format!("{SAID} === {}", json!(words))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_link_with_a_time_makes_a_room_that_starts_there() {
    let app = App::start().await;
    let flags = players::serve().await;
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let browser = Browser::with_flags(&flags);
    let window = browser.window().await;
    window.goto(&app.url).await;
    paste(&window, "https://youtu.be/aqz-KE-bpKQ?si=x&t=1h2m3s").await;
    says(&window, "YouTube · aqz-KE-bpKQ · from 1:02:03").await;
    window.screenshot("link-understood").await;
    window.click("#submit").await;
    window.until("location.pathname.startsWith('/r/') && location.hash === ''").await;
    window.join().await;
    window.until("document.querySelector('#time').textContent === '1:02:03'").await;
    let code = window.eval("location.pathname.slice(3)").await;
    let room = app.get(&format!("/api/v1/rooms/{}", code.as_str().unwrap())).await.body;
    assert_eq!((&room["playback"]["position_ms"], &room["playback"]["is_playing"]), (&json!(3_723_000), &json!(false)));
    window.0.close().await.unwrap();
}
