//! A tab, a machine, a line or a person was away for a while: back in the room they are one member and where everyone is,
//! and nobody was moved by it.

use std::time::{Duration, Instant};

use serde_json::json;
use streamit_test_servers::Proxy;

use crate::harness::{
    App,
    browser::{Browser, Window},
    scene::{Scene, VIDEO, choose_example, close, joined, notice_says, plays, sent},
    until,
};

/// Nobody stands beside the room, and nobody is in it twice; `others` have no window.
async fn is_once_in_the_room(scene: &Scene, windows: &[&Window], others: usize) {
    for window in windows {
        scene.is_in_place(window).await;
        assert_eq!(window.eval("document.querySelector('#away').hidden").await, true, "watching on their own");
    }
    until(async || scene.viewers().await == windows.len() + others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_nobody_saw_is_where_the_room_is() {
    let scene = Scene::whole(&[]).await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    for is_playing in [false, true] {
        if is_playing {
            ann.click("#play").await;
            for window in [&ann, &ben] {
                plays(window).await;
            }
        }
        for tab in [&ben, &ann] {
            let hidden = tab.hide().await;
            // Meanwhile the room goes elsewhere; the host's page is moved by its second device.
            let mut second = scene.app.host(&scene.room).await;
            let place = if is_playing { 20_000 } else { 40_000 };
            second.seek(place).await;
            second.sees_position(place).await;
            let at = scene.position().await;
            until(async || !is_playing || scene.position().await > at + 5.0).await;
            drop(second);
            until(async || scene.viewers().await == 2).await;
            tab.show(hidden).await;
            is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
        }
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY"]));
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_forgot_everyone_is_found_out_without_a_word_from_the_browser() {
    // What is quiet for three seconds is asked about.
    let scene = Scene::with_config("[limits]\nping_secs = 2\nsilence_secs = 5").await;
    let [(anns, ann), (bens, ben)] = scene.in_play_over_lines().await;
    for (line, window) in [(&bens, &ben), (&anns, &ann)] {
        let hellos = "counted.sent.filter((type) => type === 'HELLO').length";
        let before = window.eval(hellos).await;
        line.forget();
        // What happens meanwhile does not reach it.
        let mut second = scene.app.host(&scene.room).await;
        second.seek(30_000).await;
        second.sees(|state| state["playback"]["position_ms"].as_i64() >= Some(30_000)).await;
        drop(second);
        window.until(&format!("{hellos} > {before}")).await;
        window.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
        assert_eq!(window.eval(hellos).await.as_u64(), before.as_u64().map(|n| n + 1), "one new socket");
    }
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "HELLO"]));
    assert_eq!(sent(&ben).await, json!(["HELLO", "HELLO"]));

    // Nothing at all comes through for a while, not the next tries either: what waits for those does not wait for ever.
    let known = bens.connections();
    bens.swallow(true);
    until(async || bens.connections() >= known + 3).await;
    bens.swallow(false);
    ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
    assert_eq!(sent(&ben).await, json!(["HELLO", "HELLO", "HELLO"]));

    // An order that was lost with its line is not said later; the person is told.
    anns.forget();
    ann.click("#play").await;
    notice_says(&ann, "The line was dead").await;
    ann.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
    assert_eq!(scene.app.view(&scene.room).await["playback"]["is_playing"], true);
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "HELLO", "PAUSE", "HELLO"]));
    close([ann, ben]).await;
}

/// What a machine's sleep is to its page: no script runs, the page's own clock and the film stand still, and the world's
/// clock does not.
const SLEEPY: &str = "
  window.sleptMs = 0;
  const now = performance.now.bind(performance);
  performance.now = () => now() - sleptMs;
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'currentTime');
  Object.defineProperty(HTMLMediaElement.prototype, 'currentTime', {
    configurable: true,
    get() { return get.call(this) - sleptMs / 1000; },
    set(seconds) { set.call(this, seconds + sleptMs / 1000); },
  });
  window.sleep = (ms) => {
    const until = now() + ms;
    while (now() < until);
    sleptMs += ms;
  };";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_with_its_film_catches_up_on_the_socket_it_had() {
    let scene = Scene::new().await;
    let mut dan = scene.app.host(&scene.room).await;
    let seats =
        [(scene.window().await, scene.host_link(&scene.app.url)), (scene.window().await, scene.link(&scene.app.url))];
    for (window, link) in &seats {
        window.before_pages(SLEEPY).await;
        window.goto(link).await;
        joined(window).await;
    }
    let [(ann, _), (ben, _)] = seats;
    dan.send(json!({ "type": "PLAY", "position_ms": 30_000 })).await;
    for window in [&ann, &ben] {
        plays(window).await;
        scene.is_in_place(window).await;
    }
    drop(dan);
    for window in [&ben, &ann] {
        let seeks = window.eval("counted.seeks.length").await.as_u64().unwrap();
        window.run("sleep(6000); return 0;").await;
        let woke = Instant::now();
        is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
        println!("in place {:?} after it woke", woke.elapsed());
        let sought = window.eval("counted.seeks.length").await.as_u64().unwrap() - seeks;
        assert!((1..=2).contains(&sought), "it was six seconds behind, and sought {sought} times");
    }
    for window in [&ann, &ben] {
        assert_eq!(sent(window).await, json!(["HELLO"]), "on the same socket, and nobody gave an order");
    }
    close([ann, ben]).await;
}

/// Its line is down and says so: what is asked of it is refused, and nobody opens another.
async fn cut_off(line: &Proxy, window: &Window) {
    line.silence(true);
    line.cut();
    window.until("document.querySelector('#connection').dataset.status !== 'connected'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_device_that_was_offline_says_hello_and_nothing_else() {
    let scene = Scene::new().await;
    let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
    let tablet = scene.window().await;
    tablet.goto(&scene.host_link(&format!("http://{}", line.address()))).await;
    joined(&tablet).await;
    let laptop = scene.host().await;
    let mut ben = scene.app.viewer(&scene.room).await;
    laptop.click("#play").await;
    for window in [&laptop, &tablet] {
        plays(window).await;
    }
    // A room that plays, and one that is paused.
    for is_playing in [true, false] {
        let hello = tablet.eval("counted.sent.length").await.as_u64().unwrap();
        cut_off(&line, &tablet).await;
        // The page's own button, and a hand on the player: each is refused in words.
        tablet.click("#play").await;
        notice_says(&tablet, "this was not sent").await;
        tablet.until("!document.querySelector('#notice').textContent.includes('this was not sent')").await;
        let hand = if is_playing { "pause()" } else { "play()" };
        tablet.run(&format!("await {VIDEO}.{hand}; return 0;")).await;
        notice_says(&tablet, "this was not sent").await;
        assert_eq!(tablet.eval("counted.sent.length").await, hello, "said into a line that is down");

        // The other device does something else meanwhile.
        ben.ping().await;
        let before = ben.sync().await["playback"]["position_ms"].clone();
        laptop.click("#forward").await;
        let moved = ben.sees(|state| state["playback"]["position_ms"] != before).await;
        assert_eq!(moved["playback"]["is_playing"], is_playing);
        line.silence(false);
        tablet.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        // True of the line that was down, and of no other.
        assert_eq!(
            tablet.eval("document.querySelector('#notice').textContent.includes('this was not sent')").await,
            false
        );
        is_once_in_the_room(&scene, &[&laptop, &tablet], 1).await;
        let said = tablet.eval(&format!("counted.sent.slice({hello})")).await;
        assert_eq!(said, json!(["HELLO"]));
        ben.ping().await;
        assert_eq!(ben.sync().await["playback"], moved["playback"], "nobody was moved");
        if is_playing {
            laptop.click("#play").await;
            for window in [&laptop, &tablet] {
                window.until(&format!("{VIDEO}.paused")).await;
            }
        }
    }
    close([laptop, tablet]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_pauses_and_leaves_finds_the_room_as_it_was() {
    let scene = Scene::with_config("[rooms]\ncreate_per_minute = 0\nhost_grace_secs = 45").await;
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    ann.click("#forward").await;
    ann.click("#play").await;
    plays(&ben).await;
    ann.until(&format!("{VIDEO}.currentTime > 11")).await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        window.until(&format!("{VIDEO}.paused")).await;
        scene.is_in_place(window).await;
    }
    let held = scene.position().await;
    let playback = async || {
        let playback = &scene.app.view(&scene.room).await["playback"];
        (playback["is_playing"].clone(), playback["position_ms"].clone())
    };
    let before = playback().await;
    assert_eq!(before.0, false);
    let seeks = ben.eval("counted.seeks.length").await;
    let role = |words: &str| format!("document.querySelector('#role').textContent.includes('{words}')");
    ann.close().await;
    // Briefly, for a while, and for longer; coming back takes its time on a busy machine.
    for gone_secs in [0, 4, 12] {
        ben.until("document.querySelector('#host-state').textContent.includes('host is away')").await;
        tokio::time::sleep(Duration::from_secs(gone_secs)).await;
        let ann = scene.host().await;
        ann.until(&role("You control")).await;
        ben.until("document.querySelector('#host-state').textContent === 'host is here'").await;
        ben.until(&role("The host controls")).await;
        is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
        assert_eq!(playback().await, before, "paused where it was, after {gone_secs} s");
        assert_eq!(sent(&ann).await, json!(["HELLO"]));
        ann.close().await;
    }
    assert_eq!(ben.eval("counted.seeks.length").await, seeks, "the viewer's picture was not moved");
    assert_eq!(sent(&ben).await, json!(["HELLO"]));

    // The last one leaves, too; somebody comes back within the grace, and then the host.
    ben.close().await;
    until(async || scene.viewers().await == 0).await;
    let ben = scene.viewer().await;
    ben.until(&role("The host controls")).await;
    scene.is_in_place(&ben).await;
    let ann = scene.host().await;
    ann.until(&role("You control")).await;
    ann.until(&format!("{VIDEO}.paused && Math.abs({VIDEO}.currentTime - {held}) < 0.1")).await;
    is_once_in_the_room(&scene, &[&ann, &ben], 0).await;
    assert_eq!(playback().await, before);
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_room_works_again_after_back() {
    // As above: a driven browser has to be told to keep pages.
    let browser = Browser::whole(&["--enable-features=BackForwardCache"]);
    let app = App::start().await;
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    window.run("addEventListener('pageshow', ({ persisted }) => { window.isKept = persisted; }); return 0;").await;
    choose_example(&window).await;
    window.type_into("#title", "Friday film").await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        window.click("#submit").await;
        codes.push(
            window
                .until("document.querySelector('#room-title')?.textContent === 'Friday film' && location.pathname")
                .await,
        );
        // In the room or not, Back leads to the form as it was left.
        if codes.len() == 2 {
            window.join().await;
        }
        window.0.back().await.unwrap();
        window.until("document.querySelector('#create')").await;
        assert_eq!(window.eval("window.isKept").await, true, "loaded anew");
        window.until("!document.querySelector('#submit').disabled").await;
        assert_eq!(window.eval("document.querySelector('#title').value").await, "Friday film");
    }
    assert!(codes[0] != codes[1] && codes[1] != codes[2], "{codes:?}");
    window.close().await;
}
