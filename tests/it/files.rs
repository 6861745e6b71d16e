//! What a browser's own player does with a file: it breaks, ends early, seeks slowly.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{
    browser::Window,
    scene::{Scene, VIDEO, close, joined, notice_says, plays, press_play, sent},
    until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_before_its_time_ends_for_all_and_nobody_is_moved() {
    let scene = Scene::new().await;
    let clip = fs::read(scene.app.path("media/clock.webm")).unwrap();
    // Half a download: the header says two minutes.
    fs::write(scene.app.path("media/cut.webm"), &clip[..clip.len() / 2]).unwrap();
    let source = json!({ "provider": "mp4", "media_type": "movie", "external_id": "cut.webm" });
    scene.app.put_source(&scene.room, source).await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    ann.click("#play").await;
    plays(&ann).await;
    ann.run("const bar = document.querySelector('#position'); bar.value = 54; bar.dispatchEvent(new Event('input')); return 0;")
        .await;
    for window in [&ann, &ben] {
        window.until("document.querySelector('#time').textContent.includes('ended')").await;
        window.until("document.querySelector('#play').textContent === 'Play'").await;
    }
    notice_says(&ann, "although it says that it is 2:00 long").await;
    let mut cat = scene.app.viewer(&scene.room).await;
    cat.sees(|state| state["playback"]["is_playing"] == false).await;
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "SEEK", "PROGRESS"]));
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    ann.click("#play").await;
    cat.sees(|state| state["playback"]["is_playing"] == true && state["playback"]["position_ms"] == 0).await;
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 0.3 && {VIDEO}.currentTime < 20")).await;
    }
    close([ann, ben]).await;
}

/// What a browser does when it gives a file up, for one of its four reasons.
async fn gives_up(window: &Window, code: u8) {
    window
        .run(&format!(
            "const video = {VIDEO};
             Object.defineProperty(video, 'error', {{ configurable: true, get: () => ({{ code: {code} }}) }});
             video.addEventListener('loadstart', () => delete video.error, {{ once: true }});
             video.pause(); video.dispatchEvent(new Event('error')); return 0;"
        ))
        .await;
}

/// What was said is taken back.
async fn is_unsaid(window: &Window, words: &str) {
    window.until(&format!("!document.querySelector('#notice').textContent.includes({})", json!(words))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_line_breaks_comes_back_with_it_and_nobody_is_moved() {
    let (scene, line) = Scene::with_media_line().await;
    line.throttle(Some(12_000));
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    let mut cat = scene.app.viewer(&scene.room).await;
    ann.click("#play").await;
    plays(&ann).await;
    plays(&ben).await;
    for window in [&ann, &ben] {
        gives_up(window, 2).await;
        notice_says(window, "the connection to the file was lost").await;
    }
    cat.sees(|state| state["playback"]["hold"] == "buffering").await;
    line.throttle(None);
    let on = cat.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(on["playback"]["hold"], Value::Null);
    for window in [&ann, &ben] {
        plays(window).await;
        scene.is_in_place(window).await;
        is_unsaid(window, "connection to the file").await;
        assert_eq!(window.eval("document.querySelector('#away').hidden").await, true);
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "PAUSE", "PLAY"]), "one hold, one resume");
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_file_cannot_be_played_is_said_to_whom_it_concerns_and_the_room_goes_on() {
    let scene = Scene::new().await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    press_play(&ann).await;
    plays(&ann).await;
    plays(&ben).await;
    let reasons = [
        (1, "loading was stopped"),
        (2, "the connection to the file was lost"),
        (3, "the file is damaged, or this browser cannot decode it"),
        (4, "there is no such file, or this browser cannot play its format"),
    ];
    for (code, words) in reasons {
        gives_up(&ben, code).await;
        notice_says(&ben, words).await;
        assert_eq!(ann.eval("document.querySelector('#notice').hidden").await, true, "{code} is not the host's");
        is_unsaid(&ben, words).await;
        scene.is_in_place(&ben).await;
    }
    assert_eq!(ben.eval("document.querySelector('#notice').hidden").await, true, "it is no slow line, either");
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]), "the room did not wait for a viewer");
    for (code, words) in reasons {
        gives_up(&ann, code).await;
        notice_says(&ann, words).await;
        notice_says(&ben, "The host is buffering").await;
        assert_eq!(
            ben.eval(&format!("document.querySelector('#notice').textContent.includes({})", json!(words))).await,
            false
        );
        // The room can be moved all the same.
        let at = scene.position().await;
        ann.click("#forward").await;
        until(async || scene.position().await > at + 9.0).await;
        is_unsaid(&ben, "The host is buffering").await;
        for window in [&ann, &ben] {
            plays(window).await;
            scene.is_in_place(window).await;
        }
        // Who starves again and again is waited for longer and longer; a page that is loaded anew begins anew.
        ann.0.refresh().await.unwrap();
        plays(&ann).await;
        // For whoever only joins nobody waits: it has been where the room is by then.
        let at = ann.eval(&format!("{VIDEO}.currentTime")).await;
        ann.until(&format!("{VIDEO}.currentTime > {at} + 2")).await;
    }
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}

/// A file that comes slowly: wherever one goes, the picture is there a second and a half later.
const SEEKS_SLOWLY: &str = "
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'currentTime');
  const seeking = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'seeking').get;
  const under_way = new WeakMap();
  Object.defineProperty(HTMLMediaElement.prototype, 'seeking', { get() { return under_way.has(this) || seeking.call(this); } });
  Object.defineProperty(HTMLMediaElement.prototype, 'currentTime', {
    get() { return under_way.get(this)?.to ?? get.call(this); },
    set(to) {
      clearTimeout(under_way.get(this)?.timer);
      const timer = setTimeout(() => { under_way.delete(this); set.call(this, to); }, 1500);
      under_way.set(this, { to, timer });
    },
  });
";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_seek_in_a_file_is_one_for_each_order_and_sets_nobody_back() {
    let scene = Scene::new().await;
    let enter = async |link: String| {
        let window = scene.window().await;
        window.before_pages(SEEKS_SLOWLY).await;
        window.goto(&link).await;
        joined(&window).await;
        window
    };
    let ann = enter(scene.host_link(&scene.app.url)).await;
    let ben = enter(scene.link(&scene.app.url)).await;
    press_play(&ann).await;
    plays(&ann).await;
    plays(&ben).await;
    let seeks = async |window: &Window| window.eval("counted.seeks.length").await.as_u64().unwrap();
    let mut before = (seeks(&ann).await, seeks(&ben).await);
    for (n, to) in [60.0, 30.0, 90.0].into_iter().enumerate() {
        let asked = format!(
            "const bar = document.querySelector('#position'); bar.value = {to};
             bar.dispatchEvent(new Event('input')); return 0;"
        );
        ann.run(&asked).await;
        let is_there = format!("!{VIDEO}.paused && !{VIDEO}.seeking && Math.abs({VIDEO}.currentTime - {to}) < 15");
        for window in [&ann, &ben] {
            window.until(&is_there).await;
            scene.is_in_place(window).await;
        }
        let after = (seeks(&ann).await, seeks(&ben).await);
        let made = (after.0 - before.0, after.1 - before.1);
        println!("order {n}: {made:?} seeks");
        // The first comes too late: what a seek takes here is found out by it.
        let most = if n == 0 { 2 } else { 1 };
        assert!((1..=most).contains(&made.0) && (1..=most).contains(&made.1), "order {n}: {made:?}");
        before = after;
    }
    let said = sent(&ann).await;
    assert!(!said.as_array().unwrap().contains(&json!("PAUSE")), "nobody was made to wait: {said}");
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}
