//! Whatever happens to a page, to its line, its clock and its player: everyone is where the room is, nobody is moved by what
//! nobody wished, and whoever is out is told.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use streamit_test_servers::Proxy;

use crate::harness::{
    App, Member, PATIENCE,
    browser::{Window, reads_the_button},
    scene::{COUNTED, Scene, VIDEO, close, joined, notice_says, plays, positions, press_play, sent},
    until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_over_a_slow_line_is_attached_and_says_nothing() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 5_000 })).await;
    for delay_ms in [0, 80, 300] {
        let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
        line.delay(Duration::from_millis(delay_ms));
        line.throttle(Some(700_000));
        let ben = scene.viewer_at(&format!("http://{}", line.address())).await;
        plays(&ben).await;
        scene.is_in_place(&ben).await;
        assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true, "{delay_ms} ms");
        // One; on a machine that is busy with other scenes it may come more than a second late, and is made good for once.
        let seeks = ben.eval("counted.seeks.length").await;
        println!("over {delay_ms} ms: {seeks} seeks");
        assert!((1..=2).contains(&seeks.as_u64().unwrap()), "{seeks} seeks over {delay_ms} ms");
        assert_eq!(sent(&ben).await, json!(["HELLO"]), "{delay_ms} ms");
        ben.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_reloads_or_opens_another_tab_gives_no_order() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    ann.click("#play").await;
    plays(&ann).await;
    ann.click("#forward").await;
    ann.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 10")).await;
    let applied = scene.app.metric("streamit_commands_applied_total").await;
    for is_playing in [true, false] {
        if !is_playing {
            ann.click("#play").await;
            ann.until(&format!("{VIDEO}.paused")).await;
        }
        let orders = scene.app.metric("streamit_commands_applied_total").await;
        // Nobody has to press Join again.
        ann.0.refresh().await.unwrap();
        ann.until(&format!("{VIDEO}?.readyState >= 2 && {VIDEO}.paused === {}", !is_playing)).await;
        ann.until("document.querySelector('#role').textContent.includes('You control')").await;
        scene.is_in_place(&ann).await;
        assert_eq!(sent(&ann).await, json!(["HELLO"]));
        // A second tab of the same host, over a line on which the file is slow to come.
        let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
        line.throttle(Some(300_000));
        let tab = scene.window().await;
        tab.goto(&scene.host_link(&format!("http://{}", line.address()))).await;
        joined(&tab).await;
        scene.is_in_place(&tab).await;
        assert_eq!(sent(&tab).await, json!(["HELLO"]));
        tab.close().await;
        assert_eq!(scene.app.metric("streamit_commands_applied_total").await, orders);
    }
    assert!(scene.app.metric("streamit_commands_applied_total").await > applied, "pausing was one");
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_and_starts_again_moves_nobody() {
    let mut scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        plays(window).await;
    }
    // A film that was never sought; one that was; one that is paused.
    for step in ["as it is", "#forward", "#play"] {
        if step != "as it is" {
            ann.click(step).await;
        }
        let is_paused = step == "#play";
        ben.until(&format!("{VIDEO}.paused === {is_paused} && !{VIDEO}.seeking")).await;
        scene.is_in_place(&ben).await;
        let before = scene.position().await;
        scene.app.restart_in_place().await;
        for window in [&ann, &ben] {
            window.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        }
        let is_back = async || {
            let playback = scene.app.view(&scene.room).await["playback"].clone();
            playback["is_playing"] == !is_paused && scene.position().await >= before - 0.01
        };
        until(is_back).await;
        let label = if is_paused { "Play" } else { "Pause" };
        for window in [&ann, &ben] {
            window.until(&format!("document.querySelector('#play').textContent === '{label}'")).await;
            scene.is_in_place(window).await;
        }
        if is_paused {
            assert!((scene.position().await - before).abs() < 0.01, "paused where it was");
        }
        assert_eq!(
            ann.eval("counted.sent.filter((type) => type !== 'HELLO').length").await.as_u64().unwrap(),
            match step {
                "as it is" => 1,
                "#forward" => 2,
                _ => 3,
            },
            "nothing was said on the return but HELLO"
        );
    }
    close([ann, ben]).await;
}

/// Whoever sees "reconnecting…" loads the page anew, or has closed it and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_is_told_where_the_room_was_by_the_hosts_next_page() {
    let mut scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.click("#play").await;
    ann.click("#forward").await;
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 10.3")).await;
    }
    // While it plays, and while it is paused.
    for is_playing in [true, false] {
        if !is_playing {
            ann.click("#play").await;
            until(async || scene.app.view(&scene.room).await["playback"]["is_playing"] == false).await;
            ann.until("document.querySelector('#play').textContent === 'Play'").await;
        }
        let before = scene.position().await;
        ann.goto("about:blank").await;
        ben.run(MOVES).await;
        scene.app.restart_in_place().await;
        ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        // Until a host is back, whoever saw more than the server knows goes on with that.
        let state = scene.app.viewer(&scene.room).await.sync().await;
        assert_eq!(state["playback"]["is_initial"], true);
        ben.until(&format!("{VIDEO}.paused !== {is_playing} && {VIDEO}.currentTime > {before} - 0.1")).await;
        ann.goto(&scene.link(&scene.app.url)).await;
        until(async || {
            let is_back = scene.app.view(&scene.room).await["playback"]["is_playing"] == is_playing;
            is_back && scene.position().await >= before - 0.01
        })
        .await;
        for window in [&ann, &ben] {
            window.until(&format!("{VIDEO}?.readyState >= 2")).await;
            scene.is_in_place(window).await;
        }
        if !is_playing {
            assert!((scene.position().await - before).abs() < 0.01, "paused where it was");
        }
        assert_eq!(sent(&ann).await, json!(["HELLO"]), "nobody gave an order");
        assert_eq!(ben.eval("moves").await, json!([]), "nobody who stayed has noticed");
    }
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_comes_back_to_a_new_node_without_a_memory_begins_anew_for_everyone() {
    let mut scene = Scene::new().await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    ann.click("#play").await;
    ann.click("#forward").await;
    ben.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 10.3")).await;
    ann.close().await;
    scene.app.restart_in_place().await;
    ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    ben.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 10.3")).await;
    // On another device, that never was here.
    let ann = scene.host().await;
    for window in [&ann, &ben] {
        window.until(&format!("{VIDEO}.paused && {VIDEO}.currentTime < 0.1")).await;
    }
    close([ann, ben]).await;
}

/// Whatever the player does from here on that people see.
const MOVES: &str = "window.moves = []; for (const type of ['seeking', 'pause', 'play'])
    document.querySelector('#stage video').addEventListener(type, () => window.moves.push(type))";

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_file_stops_holds_the_room_once_and_plays_on_once() {
    // Only the file comes over this line, and hardly faster than it is shown: it is never far ahead.
    let (scene, line) = Scene::with_media_line().await;
    line.throttle(Some(12_000));
    let mut ben = scene.app.viewer(&scene.room).await;
    let ann = scene.host().await;
    ann.click("#play").await;
    plays(&ann).await;
    ann.until(&format!("{VIDEO}.currentTime > 3")).await;

    line.silence(true);
    let held = ben.sees(|state| state["playback"]["hold"] == "buffering").await;
    assert_eq!(held["playback"]["is_playing"], false);
    notice_says(&ann, "the room waits for it").await;
    let (_, heard) = ben.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "it stays held");
    line.throttle(None);
    line.silence(false);
    let on = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(on["playback"]["hold"], Value::Null);
    assert_eq!(on["playback"]["position_ms"], held["playback"]["position_ms"], "nobody jumps back");
    plays(&ann).await;
    scene.is_in_place(&ann).await;
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "PAUSE", "PLAY"]), "one hold, one resume");
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_room_goes_on_when_the_page_that_held_it_was_loaded_anew() {
    let (scene, line) = Scene::with_media_line().await;
    line.throttle(Some(12_000));
    let mut ben = scene.app.viewer(&scene.room).await;
    let ann = scene.host().await;
    ann.click("#play").await;
    plays(&ann).await;
    line.silence(true);
    let held = ben.sees(|state| state["playback"]["hold"] == "buffering").await;
    ann.0.refresh().await.unwrap();
    notice_says(&ann, "the room waits for it").await;
    line.throttle(None);
    line.silence(false);
    line.cut();
    let on = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(on["playback"]["position_ms"], held["playback"]["position_ms"], "nobody jumps");
    plays(&ann).await;
    scene.is_in_place(&ann).await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_on_the_players_own_bar_plays_on_over_a_slow_line_too() {
    let scene = Scene::new().await;
    let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
    let ann = scene.window().await;
    ann.goto(&scene.host_link(&format!("http://{}", line.address()))).await;
    joined(&ann).await;
    let mut ben = scene.app.viewer(&scene.room).await;
    ann.click("#play").await;
    plays(&ann).await;
    line.delay(Duration::from_millis(150));
    // As a browser does it: it pauses, seeks, and plays on when the hand is off.
    ann.run(&format!(
        "const video = {VIDEO}; video.pause(); video.currentTime = 60; setTimeout(() => video.play().catch(() => 0), 90); return 0;"
    ))
    .await;
    ben.sees(|state| {
        state["playback"]["is_playing"] == true && state["playback"]["position_ms"].as_i64() >= Some(60_000)
    })
    .await;
    ann.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 63")).await;
    let state = ben.sync().await;
    assert_eq!(state["playback"]["is_playing"], true, "{state}");
    assert!(state["playback"]["position_ms"].as_i64().unwrap() >= 60_000, "{state}");
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_full_screen_what_is_said_is_seen() {
    let scene = Scene::new().await;
    let ben = scene.viewer().await;
    ben.click("#fullscreen").await;
    ben.until("document.fullscreenElement?.id === 'screen'").await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.play().await;
    ann.send(json!({ "type": "PAUSE", "because": "buffering" })).await;
    notice_says(&ben, "The host is buffering").await;
    let is_on_top = "(() => { const { left, top, width, height } = document.querySelector('#notice').getBoundingClientRect();
        return document.querySelector('#notice').contains(document.elementFromPoint(left + width / 2, top + height / 2)); })()";
    ben.until(is_on_top).await;
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_dead_and_looks_open_is_found_out_for_host_and_viewer() {
    let scene = Scene::new().await;
    let [(anns, ann), (bens, ben)] = scene.in_play_over_lines().await;

    // The viewer's: what happens meanwhile is caught up with, and they are one member, not two.
    bens.silence(true);
    ann.click("#forward").await;
    ann.until(&format!("{VIDEO}.currentTime > 10")).await;
    ben.run("dispatchEvent(new Event('online')); return 0;").await;
    ben.until("document.querySelector('#connection').dataset.status !== 'connected'").await;
    bens.silence(false);
    ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    scene.is_in_place(&ben).await;
    until(async || scene.viewers().await == 2).await;

    // The host's: an order that nobody can have heard is said to be in doubt.
    anns.silence(true);
    ann.click("#play").await;
    notice_says(&ann, "The line was dead").await;
    anns.silence(false);
    ann.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    for window in [&ann, &ben] {
        scene.is_in_place(window).await;
    }
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    until(async || scene.viewers().await == 2).await;
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_was_frozen_is_where_the_room_is_and_nobody_was_moved() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        plays(window).await;
    }
    for window in [&ben, &ann] {
        // What a browser does to a tab that it freezes: it says so, and pauses the player. (A headless one that is told to
        // freeze never shows its page again.)
        window.run(&format!("document.dispatchEvent(new Event('freeze')); {VIDEO}.pause(); return 0;")).await;
        let before = scene.position().await;
        until(async || scene.position().await > before + 3.0).await;
        assert_eq!(window.eval(&format!("{VIDEO}.paused")).await, true, "frozen");
        window.run("document.dispatchEvent(new Event('resume')); return 0;").await;
        scene.is_in_place(window).await;
        assert_eq!(window.eval("document.querySelector('#away').hidden").await, true);
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]));
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_by_a_link_has_left_and_comes_back_with_hello_alone() {
    // A driven browser has that cache only if it is told to; a page that could not be kept would be loaded anew.
    let scene = Scene::whole(&["--enable-features=BackForwardCache"]).await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        plays(window).await;
    }
    for window in [&ben, &ann] {
        window
            .run("window.isKept = null; addEventListener('pageshow', ({ persisted }) => { isKept = persisted; }); return 0;")
            .await;
        window.goto(&format!("{}/", scene.app.url)).await;
        until(async || scene.viewers().await == 1).await;
        window.0.back().await.unwrap();
        until(async || scene.viewers().await == 2).await;
        let why = "JSON.stringify(performance.getEntriesByType('navigation')[0].notRestoredReasons)";
        assert_eq!(window.eval("window.isKept").await, true, "loaded anew: {}", window.eval(why).await);
        scene.is_in_place(window).await;
        assert_eq!(window.eval("document.querySelector('#away').hidden").await, true);
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "HELLO"]));
    assert_eq!(sent(&ben).await, json!(["HELLO", "HELLO"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_wants_a_click_is_asked_once_and_starts_where_the_room_is() {
    let scene = Scene::with(&["--autoplay-policy=user-gesture-required"]).await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 10_000 })).await;
    for button in ["#sound", "#muted"] {
        let ben = scene.viewer().await;
        plays(&ben).await;
        // Who was in comes back in; but this browser has not seen a click on this page.
        ben.0.refresh().await.unwrap();
        ben.until("!document.querySelector('#unblock').hidden").await;
        let seeks = ben.eval("counted.seeks.length").await;
        let before = scene.position().await;
        until(async || scene.position().await > before + 2.0).await;
        assert_eq!(ben.eval("counted.seeks.length").await, seeks, "it is not sought while it waits");
        ben.click(button).await;
        scene.is_in_place(&ben).await;
        assert_eq!(ben.eval(&format!("{VIDEO}.muted")).await, button == "#muted");
        assert_eq!(ben.eval("document.querySelector('#cover').hidden").await, true);
        ben.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_video_moves_nobody_and_play_begins_anew_for_all() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.run("const bar = document.querySelector('#position'); bar.value = 117; bar.dispatchEvent(new Event('input')); return 0;").await;
    ann.until(&format!("Math.abs({VIDEO}.currentTime - 117) < 0.1")).await;
    ann.click("#play").await;
    plays(&ben).await;
    let seeks = ben.eval("counted.seeks.length").await;
    for window in [&ann, &ben] {
        window.until(&format!("{VIDEO}.ended && document.querySelector('#time').textContent.includes('ended')")).await;
    }
    assert_eq!(ben.eval("counted.seeks.length").await, seeks, "no seek near the end");
    // What REST says does not run on past the film.
    until(async || scene.app.view(&scene.room).await["playback"]["is_playing"] == false).await;
    assert!((scene.position().await - 120.0).abs() < 0.5, "{}", scene.position().await);
    let late = scene.viewer().await;
    late.until("document.querySelector('#time').textContent.includes('ended')").await;
    late.until(&format!("{VIDEO}.currentTime > 119 && ({VIDEO}.paused || {VIDEO}.ended)")).await;

    assert_eq!(ann.eval("document.querySelector('#play').textContent").await, "Play");
    ann.click("#play").await;
    for window in [&ann, &ben, &late] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime < 20")).await;
    }
    // At the end again, and back by the player's own bar: it goes on from there.
    ann.run("const bar = document.querySelector('#position'); bar.value = 118; bar.dispatchEvent(new Event('input')); return 0;").await;
    ann.until(&format!("{VIDEO}.ended && document.querySelector('#time').textContent.includes('ended')")).await;
    until(async || scene.app.view(&scene.room).await["playback"]["is_playing"] == false).await;
    ann.run(&format!("{VIDEO}.currentTime = 60; return 0;")).await;
    until(async || (scene.position().await - 60.0).abs() < 0.5).await;
    ann.until("!document.querySelector('#time').textContent.includes('ended')").await;
    ann.click("#play").await;
    for window in [&ann, &ben, &late] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 60.3 && {VIDEO}.currentTime < 90")).await;
    }
    close([ann, ben, late]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_is_shorter_than_the_rooms_position_shows_its_end() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 5_000_000 })).await;
    let ben = scene.viewer().await;
    ben.until("document.querySelector('#time').textContent.includes('ended')").await;
    assert_eq!(ben.eval("counted.seeks.length <= 1").await, true);
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_wrong_clock_and_one_that_is_set_are_in_sync_all_the_same() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 10_000 })).await;
    let ben = scene.window().await;
    // An hour off; and later set by thirty seconds while the film plays.
    ben.before_pages(
        "window.off = 3600e3;
         const { timeOrigin } = performance;
         Object.defineProperty(performance, 'timeOrigin', { get: () => timeOrigin + 3600e3 });
         const real = Date.now;
         Date.now = () => real() + window.off;",
    )
    .await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    scene.is_in_place(&ben).await;
    let seeks = ben.eval("counted.seeks.length").await;
    for step in ["30e3", "-30e3"] {
        ben.run(&format!("window.off += {step}; return 0;")).await;
        let before = scene.position().await;
        until(async || scene.position().await > before + 2.0).await;
        scene.is_in_place(&ben).await;
    }
    assert_eq!(ben.eval("counted.seeks.length").await, seeks, "a clock that is set moves nobody");
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_is_where_the_room_is_as_soon_as_it_has_asked() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 10_000 })).await;
    let ben = scene.window().await;
    // A page's own clock stands still while its machine sleeps, the world's does not.
    ben.before_pages(
        "window.slept = 0; const now = performance.now.bind(performance); performance.now = () => now() - slept;",
    )
    .await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    scene.is_in_place(&ben).await;
    let seeks = ben.eval("counted.seeks.length").await;
    // It slept for forty seconds, and the socket survived. (Its player went on here: it is right, and the clock wrong.)
    ben.run("window.slept = 40_000; return 0;").await;
    let before = scene.position().await;
    until(async || scene.position().await > before + 2.0).await;
    scene.is_in_place(&ben).await;
    assert_eq!(ben.eval("counted.seeks.length").await, seeks, "a clock that stood still moves nobody");
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    assert_eq!(sent(&ben).await, json!(["HELLO"]), "on the same socket");
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_whose_line_is_too_slow_is_told_and_sought_less_and_less() {
    let scene = Scene::new().await;
    // Of the other one every second has its own number of bytes.
    scene.app.lay_bundled_clip();
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 1_000 })).await;
    let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
    let ben = scene.window().await;
    ben.goto(&scene.link(&format!("http://{}", line.address()))).await;
    ben.until("!document.querySelector('#enter').hidden").await;
    // Two thirds of what the clip needs: it runs dry however long it loads.
    line.throttle(Some(5_000));
    ben.join().await;
    ann.sees(|state| state["presence"]["viewers"] == 2).await;
    ben.until("/line is slower|cannot keep up/.test(document.querySelector('#notice').textContent)").await;
    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "nobody else notices");
    // It stands and loads ahead, until the room comes by; then there is a picture, in its place. A browser asks for nine
    // seconds of the clip at a time, so each of these takes half a minute.
    for sight in ["document.querySelector('#notice').textContent.includes('loads what comes next')", "!video.paused"] {
        ben.until_within(Duration::from_secs(90), &sight.replace("video", VIDEO)).await;
    }
    scene.is_in_place(&ben).await;
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    line.throttle(None);
    scene.is_in_place(&ben).await;
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_speed_chosen_in_the_players_menu_is_put_back_with_a_word() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    ann.click("#play").await;
    plays(&ann).await;
    ann.run(&format!("{VIDEO}.playbackRate = 2; return 0;")).await;
    notice_says(&ann, "one speed for all").await;
    ann.until(&format!("Math.abs({VIDEO}.playbackRate - 1) < 0.1")).await;
    scene.is_in_place(&ann).await;
    ann.close().await;
}

/// What the panel of a page says about something.
fn row(term: &str) -> String {
    let terms = "[...document.querySelectorAll('#sync-rows dt')]";
    format!("{terms}.find((dt) => dt.textContent === \"{term}\")?.nextElementSibling.textContent")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sync_panel_says_what_was_done_and_its_slider_moves_the_picture() {
    let scene = Scene::new().await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    ann.click("#play").await;
    plays(&ben).await;
    ben.click("#sync summary").await;
    ben.until(&format!("/^-?\\d+ ms$/.test({})", row("Off by"))).await;
    ben.until(&format!("/^known to \\d+\\.\\d ms$/.test({})", row("Server's clock"))).await;
    ben.until(&format!("/ ms to start, .* ms to seek$/.test({})", row("This device takes"))).await;
    let is_ahead = async |window| {
        let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
        loop {
            let (a, b) = positions(&ann, window).await;
            if (b - a - 0.5).abs() < 0.1 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{b} is not half a second ahead of {a}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    ben.run("const bar = document.querySelector('#offset'); bar.value = 500; bar.dispatchEvent(new Event('input')); return 0;")
        .await;
    ben.until(&format!("{} === 'bent at the moment'", row("Speed"))).await;
    is_ahead(&ben).await;
    ben.until(&format!(
        "{} === 'normal' && document.querySelector('#offset-value').textContent === '500 ms'",
        row("Speed")
    ))
    .await;
    // What it counts is what its player was told.
    ben.until(&format!(
        "(() => {{ const [seeks, bends, writes] = {}.split(', ').map(Number);
         return bends > 0 && seeks === counted.seeks.length && writes === counted.rates.length; }})()",
        row("Seeks, bends, speeds set")
    ))
    .await;
    ben.0.refresh().await.unwrap();
    ben.until(&format!("{VIDEO}?.readyState >= 2 && document.querySelector('#offset').value === '500'")).await;
    is_ahead(&ben).await;
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sync_panel_says_why_a_player_is_sought() {
    let scene = Scene::new().await;
    let ben = scene.window().await;
    // This browser has found earlier that another speed does not help.
    ben.before_pages(
        "localStorage.setItem('streamit.costs.mp4', JSON.stringify({ isRateless: true, browser: navigator.userAgent }));",
    )
    .await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    ben.click("#sync summary").await;
    ben.until(&format!("{} === 'bending it did not help here: it is sought'", row("Speed"))).await;
    let source = json!({ "provider": "vidking", "media_type": "movie", "external_id": "1078605" });
    scene.app.put_source(&scene.room, source).await;
    ben.until(&format!("{} === 'this player has no fine speeds: it is sought'", row("Speed"))).await;
    ben.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_film_ten_times_in_a_row_leaves_one_player_in_place() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    // Files of their own: a click on Play counts for the film that the page shows, and it is to be the last.
    let film = |n: usize| format!("film-{n}.webm");
    for n in 0..10 {
        let source = if n % 2 == 0 {
            json!({ "provider": "vidking", "media_type": "movie", "external_id": "1078605" })
        } else {
            fs::copy(scene.app.path("media/clock.webm"), scene.app.path(&format!("media/{}", film(n)))).unwrap();
            json!({ "provider": "mp4", "media_type": "movie", "external_id": film(n) })
        };
        scene.app.put_source(&scene.room, source).await;
    }
    for window in [&ann, &ben] {
        window
            .until(&format!(
                "document.querySelectorAll('#stage > *').length === 1 && {VIDEO}?.readyState >= 2
                 && {VIDEO}.currentSrc.endsWith('{}')",
                film(9)
            ))
            .await;
    }
    ann.click("#play").await;
    for window in [&ann, &ben] {
        plays(window).await;
        scene.is_in_place(window).await;
    }
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_pauses_is_told_that_they_are_out_and_comes_back_with_play() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let ben = scene.viewer().await;
    ann.click("#play").await;
    plays(&ben).await;
    scene.is_in_place(&ben).await;
    // Two clicks on the picture.
    ben.run(&format!("{VIDEO}.pause(); return 0;")).await;
    ben.until("!document.querySelector('#away').hidden").await;
    ben.screenshot("viewer-away").await;
    ben.run(&format!("{VIDEO}.play(); return 0;")).await;
    ben.until("document.querySelector('#away').hidden").await;
    // What a player says at once when its person is back they did before.
    reads_the_button().await;
    scene.is_in_place(&ben).await;
    // A seek takes them out as well, and the button takes them back.
    ben.run(&format!("{VIDEO}.currentTime = 100; return 0;")).await;
    ben.until("!document.querySelector('#away').hidden").await;
    ben.click("#rejoin").await;
    scene.is_in_place(&ben).await;
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_length_shows_no_bar_and_says_no_null() {
    let scene = Scene::new().await;
    // The length is one element of the file's head: made a void, it is as if it had been piped.
    let mut clip = fs::read(scene.app.path("media/clock.webm")).unwrap();
    let at = clip.windows(3).position(|bytes| bytes == [0x44, 0x89, 0x88]).unwrap();
    clip[at..at + 2].copy_from_slice(&[0xec, 0x89]);
    fs::write(scene.app.path("media/endless.webm"), clip).unwrap();
    let source = json!({ "provider": "mp4", "media_type": "movie", "external_id": "endless.webm" });
    scene.app.put_source(&scene.room, source).await;
    let ann = scene.window().await;
    ann.before_pages(
        "window.nulls = []; const was = WebSocket.prototype.send;
         WebSocket.prototype.send = function (text) { if (/null|NaN/.test(text) && !text.includes('HELLO')) nulls.push(text); return was.call(this, text); };",
    )
    .await;
    ann.goto(&scene.host_link(&scene.app.url)).await;
    joined(&ann).await;
    let mut ben: Member = scene.app.viewer(&scene.room).await;
    ann.click("#play").await;
    plays(&ann).await;
    assert_eq!(ann.eval(&format!("Number.isFinite({VIDEO}.duration)")).await, false, "it has no length");
    assert_eq!(ann.eval("document.querySelector('#position').hidden").await, true);
    ann.run(&format!("{VIDEO}.pause(); return 0;")).await;
    ben.sees(|state| state["playback"]["is_playing"] == false && state["playback"]["position_ms"] != 0).await;
    assert_eq!(ann.eval("nulls").await, json!([]));
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_for_a_while_finds_the_room_as_it_was() {
    let app = App::start().await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ann.send(json!({ "type": "PAUSE", "position_ms": 42_000 })).await;
    ben.sees_position(42_000).await;
    drop(ann);
    ben.sees(|state| state["presence"]["host"] == "away").await;
    assert_eq!(ben.sync().await["playback"]["position_ms"], 42_000);
    // The last one leaves, too; somebody comes back within the grace.
    drop(ben);
    until(async || app.view(&room).await["presence"]["viewers"] == 0).await;
    let ben = app.viewer(&room).await;
    assert_eq!(
        (&ben.state["playback"]["position_ms"], &ben.welcome["you"]["role"]),
        (&json!(42_000), &json!("viewer"))
    );
    let ann = app.host(&room).await;
    assert_eq!((&ann.state["playback"]["position_ms"], &ann.welcome["you"]["role"]), (&json!(42_000), &json!("host")));
}

/// A film that plays for its host, whose file comes over a line of its own, and for somebody without a player.
async fn in_play_over_a_media_line() -> (Scene, Proxy, Window, Member) {
    let (scene, line) = Scene::with_media_line().await;
    let ann = scene.host().await;
    let ben = scene.app.viewer(&scene.room).await;
    press_play(&ann).await;
    plays(&ann).await;
    (scene, line, ann, ben)
}

/// A press on Play that is no order: the page says why.
async fn play_is_refused(scene: &Scene, window: &Window, words: &str) {
    // A version tells of people who came, too.
    let playback = async || {
        let playback = scene.app.view(&scene.room).await["playback"].clone();
        (playback["is_playing"].clone(), playback["position_ms"].clone())
    };
    let before = (sent(window).await, playback().await);
    window.until("document.querySelector('#play').textContent === 'Play'").await;
    window.click("#play").await;
    notice_says(window, words).await;
    assert_eq!((sent(window).await, playback().await), before, "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn play_is_no_order_of_a_host_whose_file_has_not_come() {
    let (scene, line) = Scene::with_media_line().await;
    line.silence(true);
    let ann = scene.window().await;
    ann.goto(&scene.host_link(&scene.app.url)).await;
    ann.join().await;
    let ben = scene.app.viewer(&scene.room).await;
    play_is_refused(&scene, &ann, "not ready yet").await;
    line.silence(false);
    press_play(&ann).await;
    plays(&ann).await;
    scene.is_in_place(&ann).await;
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]));
    drop(ben);
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn play_is_no_order_of_a_host_whose_player_has_failed_and_works_when_it_is_mended() {
    let scene = Scene::new().await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    let film = |id: &str| json!({ "provider": "mp4", "media_type": "movie", "external_id": id });
    // No player can read the one; of the other there is no file yet.
    fs::write(scene.app.path("media/garbled.webm"), vec![b'x'; 100_000]).unwrap();
    for id in ["garbled.webm", "late.webm"] {
        scene.app.put_source(&scene.room, film(id)).await;
        ann.until(&format!("document.querySelector('#room-title').textContent === '{id}'")).await;
        notice_says(&ann, "The player says: ").await;
        play_is_refused(&scene, &ann, "Nothing was started").await;
        ann.until("!document.querySelector('#notice').textContent.includes('Nothing was started')").await;
    }
    fs::copy(scene.app.path("media/clock.webm"), scene.app.path("media/late.webm")).unwrap();
    // It is loaded anew, by itself or by a press.
    press_play(&ann).await;
    for window in [&ann, &ben] {
        plays(window).await;
        scene.is_in_place(window).await;
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_while_the_room_waits_for_them_is_obeyed() {
    let (scene, line) = Scene::with_media_line().await;
    line.throttle(Some(12_000));
    let ann = scene.host().await;
    let mut ben = scene.app.viewer(&scene.room).await;
    press_play(&ann).await;
    plays(&ann).await;
    // With the page's button, and with the player's own.
    for is_buttons in [true, false] {
        line.silence(true);
        ben.sees(|state| state["playback"]["hold"] == "buffering").await;
        ann.until("document.querySelector('#play').textContent === 'Pause'").await;
        if is_buttons {
            ann.click("#play").await;
        } else {
            ann.until(&format!("!{VIDEO}.paused")).await;
            ann.run(&format!("{VIDEO}.pause()")).await;
        }
        ben.sees(|state| state["playback"]["hold"].is_null() && state["playback"]["is_playing"] == false).await;
        line.silence(false);
        ann.until(&format!("{VIDEO}.readyState >= 3")).await;
        let (_, heard) = ben.ping().await;
        assert!(heard.iter().all(|message| message["type"] != "STATE"), "nobody sets it going again: {heard:?}");
        press_play(&ann).await;
        plays(&ann).await;
    }
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_file_is_slow_to_come_again_gives_no_order_by_loading_anew() {
    let (scene, line, ann, mut ben) = in_play_over_a_media_line().await;
    ann.click("#forward").await;
    ben.sees(|state| state["playback"]["position_ms"].as_i64() > Some(10_000)).await;
    for is_playing in [true, false] {
        if !is_playing {
            ann.click("#play").await;
            ben.sees(|state| state["playback"]["is_playing"] == false).await;
        }
        let orders = scene.app.metric("streamit_commands_applied_total").await;
        // Its browser has forgotten the file; and the file comes so slowly that finding the place takes seconds.
        ann.command("Network.clearBrowserCache", json!({})).await;
        line.throttle(Some(60_000));
        line.delay(Duration::from_millis(500));
        ann.0.refresh().await.unwrap();
        ann.until("document.querySelector('#role').textContent.includes('You control')").await;
        ann.until(VIDEO).await;
        scene.is_in_place(&ann).await;
        assert_eq!(sent(&ann).await, json!(["HELLO"]), "playing: {is_playing}");
        assert_eq!(scene.app.metric("streamit_commands_applied_total").await, orders, "playing: {is_playing}");
        line.throttle(None);
        line.delay(Duration::ZERO);
    }
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_closes_the_tab_and_comes_back_gives_no_order() {
    let (scene, line, ann, mut ben) = in_play_over_a_media_line().await;
    for is_playing in [true, false] {
        if !is_playing {
            ann.click("#play").await;
            ben.sees(|state| state["playback"]["is_playing"] == false).await;
        }
        let orders = scene.app.metric("streamit_commands_applied_total").await;
        // Another tab of the browser; the first is closed, and the host is away.
        let first = ann.0.window().await.unwrap();
        let second = ann.0.new_window(true).await.unwrap().handle;
        ann.0.switch_to_window(first).await.unwrap();
        ann.0.close_window().await.unwrap();
        ben.sees(|state| state["presence"]["host"] == "away").await;
        ann.0.switch_to_window(second).await.unwrap();
        ann.before_pages(COUNTED).await;
        ann.command("Network.clearBrowserCache", json!({})).await;
        line.throttle(Some(50_000));
        ann.goto(&scene.link(&scene.app.url)).await;
        ann.join().await;
        ben.sees(|state| state["presence"]["host"] == "connected").await;
        ann.until(VIDEO).await;
        scene.is_in_place(&ann).await;
        assert_eq!(sent(&ann).await, json!(["HELLO"]), "playing: {is_playing}");
        assert_eq!(scene.app.metric("streamit_commands_applied_total").await, orders, "playing: {is_playing}");
        line.throttle(None);
    }
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_is_duplicated_leads_nothing() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let mut ben = scene.app.viewer(&scene.room).await;
    press_play(&ann).await;
    plays(&ann).await;
    let applied = scene.app.metric("streamit_commands_applied_total").await;
    // A tab that this one opens begins with what this one keeps, as a duplicate does: it joins by itself, and says nothing.
    let first = ann.0.window().await.unwrap();
    ann.eval("(window.open(location.href), true)").await;
    until(async || ann.0.windows().await.unwrap().len() == 2).await;
    let second = ann.0.windows().await.unwrap().into_iter().find(|handle| *handle != first).unwrap();
    ann.0.switch_to_window(second.clone()).await.unwrap();
    ann.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    ann.until(&format!("{VIDEO}?.readyState >= 2")).await;
    scene.is_in_place(&ann).await;
    assert_eq!(scene.app.metric("streamit_commands_applied_total").await, applied);
    // Both run dry; the room waits for the one by whose order it plays.
    let runs_dry = format!(
        "(() => {{ const video = {VIDEO}; Object.defineProperty(video, 'readyState', {{ configurable: true, get: () => 1 }});
         video.dispatchEvent(new Event('waiting')); return true; }})()"
    );
    ann.eval(&runs_dry).await;
    notice_says(&ann, "Waiting for the video").await;
    let leads = "document.querySelector('#notice').textContent.includes('the room waits for it')";
    assert_eq!(ann.eval(leads).await, false, "two leaders");
    ann.eval(&format!("delete {VIDEO}.readyState")).await;
    ann.0.switch_to_window(first.clone()).await.unwrap();
    ann.eval(&runs_dry).await;
    ben.sees(|state| state["playback"]["hold"] == "buffering").await;
    ann.eval(&format!("delete {VIDEO}.readyState")).await;
    ben.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "PAUSE", "PLAY"]));
    ann.0.switch_to_window(second).await.unwrap();
    ann.0.close_window().await.unwrap();
    ann.0.switch_to_window(first).await.unwrap();
    ann.close().await;
}
