//! Each provider's bridge drives its player in a real browser, under the provider's real origin.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{
    App, BUNDLED, PATIENCE, Room,
    browser::{Browser, Window, reads_the_button},
    players,
    scene::{self, COUNTED, can_play, press_play, sent},
    until,
};

/// A room whose player is imitated, its host and a viewer.
pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) room: Room,
    browser: Browser,
    pub(crate) ann: Window,
    pub(crate) ben: Window,
}

/// A browser whose players have these switches (see `tests/web/players/player.js`).
async fn browser_with(switches: Value) -> Browser {
    let flags = players::serve_with(switches).await;
    Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A window before a room's page, joined; with the room's key it is its host's.
async fn window_at(browser: &Browser, app: &App, room: &Room, is_host: bool) -> Window {
    let window = browser.window().await;
    window.before_pages(COUNTED).await;
    let key = if is_host { format!("#key={}", room.key) } else { String::new() };
    window.goto(&format!("{}/r/{}{key}", app.url, room.code)).await;
    window.join().await;
    window
}

impl Scene {
    /// A room that plays `source`, its host and a viewer, each before their own player.
    pub(crate) async fn of(source: Value) -> Scene {
        Scene::with(source, json!({})).await
    }

    /// The same, with players that have these switches (see `tests/web/players/player.js`).
    pub(crate) async fn with(source: Value, switches: Value) -> Scene {
        let app = App::with(BUNDLED).await;
        let browser = browser_with(switches).await;
        let room = app.room_playing(source).await;
        let ann = window_at(&browser, &app, &room, true).await;
        let ben = window_at(&browser, &app, &room, false).await;
        for window in [&ann, &ben] {
            window.until("document.querySelector('#viewers').textContent === '2 watching'").await;
        }
        Scene { app, room, browser, ann, ben }
    }

    /// Another viewer.
    async fn joiner(&self) -> Window {
        window_at(&self.browser, &self.app, &self.room, false).await
    }

    /// Where the room is said to be, and whether it plays.
    pub(crate) async fn playback(&self) -> Value {
        self.app.view(&self.room).await["playback"].clone()
    }

    /// Where the room is at this moment, in seconds.
    async fn position(&self) -> f64 {
        scene::position(&self.app, &self.room).await
    }

    /// Waits until a window's player plays and has not been sent anywhere for five seconds of the film; answers how often
    /// it was sent somewhere so far.
    async fn rests(&self, window: &Window) -> u64 {
        let deadline = Instant::now() + 3 * PATIENCE;
        let mut before = None;
        loop {
            inside(window, "player.isMoving && !player.seeking").await;
            let sought = sought(window).await;
            if before == Some(sought) {
                return sought;
            }
            assert!(Instant::now() < deadline, "it is sent somewhere again and again: {sought} times");
            before = Some(sought);
            let from = self.position().await;
            until(async || self.position().await > from + 5.0).await;
        }
    }

    /// Nobody is on their own.
    pub(crate) async fn all_are_together(&self) {
        for window in [&self.ann, &self.ben] {
            assert_eq!(window.eval("document.querySelector('#away').hidden").await, true, "watching on their own");
        }
    }

    pub(crate) async fn close(self) {
        for window in [self.ann, self.ben] {
            window.close().await;
        }
        drop(self.app);
    }
}

pub(crate) fn youtube() -> Value {
    json!({ "provider": "youtube", "media_type": "movie", "external_id": "aqz-KE-bpKQ" })
}

pub(crate) fn vimeo() -> Value {
    json!({ "provider": "vimeo", "media_type": "movie", "external_id": "76979871/8272103f6e" })
}

pub(crate) fn vidking() -> Value {
    json!({ "provider": "vidking", "media_type": "movie", "external_id": "1078605" })
}

/// Asks the player inside the frame. One that is loaded anew is another frame, to be entered again.
pub(crate) async fn inside(window: &Window, expression: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        window.until("document.querySelector('#stage iframe')").await;
        let seen = match window.0.enter_frame(0).await {
            Ok(()) => window.sees(expression).await,
            Err(_) => None,
        };
        let _ = window.0.enter_parent_frame().await;
        if let Some(value) = seen {
            return value;
        }
        assert!(Instant::now() < deadline, "never true in the frame: {expression}");
    }
}

/// How often a window's player was sent somewhere.
async fn sought(window: &Window) -> u64 {
    let calls = "String(player.told.filter(([call]) => call === 'seekTo' || call === 'setCurrentTime').length)";
    inside(window, calls).await.as_str().unwrap().parse().unwrap()
}

pub(crate) async fn plays_from(window: &Window, seconds: u32, until: u32) {
    inside(window, &format!("!player.paused && player.time > {seconds} && player.time < {until}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_json_commands_follows_the_host() {
    follows_commands(youtube(), 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_object_commands_follows_the_host() {
    follows_commands(vimeo(), 30).await;
}

async fn follows_commands(source: Value, far: u32) {
    let scene = Scene::of(source).await;
    let Scene { ann, ben, .. } = &scene;
    // The page's button.
    press_play(ann).await;
    plays_from(ann, 1, 15).await;
    plays_from(ben, 1, 15).await;
    // The host's own clicks in the player are orders.
    inside(ann, &format!("(player.seek({far}), true)")).await;
    plays_from(ben, far, far + 15).await;
    // Two clicks of a viewer's on the picture are a pause of their own, and the way back.
    inside(ben, "(player.pause(), true)").await;
    ben.until("!document.querySelector('#away').hidden").await;
    inside(ben, "(player.play(), true)").await;
    ben.until("document.querySelector('#away').hidden").await;
    // What a frame says at once when its person is back they did before.
    reads_the_button().await;
    plays_from(ben, far, far + 20).await;
    inside(ann, "(player.pause(), true)").await;
    inside(ben, "player.paused").await;
    let (a, b) = tokio::join!(inside(ann, "player.time"), inside(ben, "player.time"));
    assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1.0, "{a} and {b}");
    // A viewer's clicks are nobody else's business, and can be taken back.
    reads_the_button().await;
    inside(ben, "(player.play(), player.seek(5), true)").await;
    ben.until("!document.querySelector('#away').hidden").await;
    assert_eq!(inside(ann, "player.paused").await, true);
    // A frame tells the page some moments later where it was sent.
    reads_the_button().await;
    ben.click("#rejoin").await;
    inside(ben, &format!("player.paused && player.time > {}", far - 2)).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_no_commands_is_loaded_where_it_should_be() {
    let scene = Scene::of(vidking()).await;
    let Scene { ann, ben, .. } = &scene;
    assert_eq!(ben.eval("document.querySelector('#stage iframe')").await, Value::Null, "paused: nothing is loaded");
    // The host presses play in the player: its message is the order.
    inside(ann, "(player.seek(600), player.play(), true)").await;
    plays_from(ben, 600, 615).await;
    let address = ben.eval("document.querySelector('#stage iframe').src").await;
    let address = address.as_str().unwrap();
    assert!(address.starts_with("https://www.vidking.net/embed/movie/1078605?"), "{address}");
    assert!(address.contains("autoPlay=true") && address.contains("progress=60"), "{address}");
    // The host's player was left alone: it had been there already.
    assert!(inside(ann, "location.search.includes('autoPlay=false') && player.time > 600").await == true);

    inside(ann, "(player.pause(), true)").await;
    ben.until("!document.querySelector('#stage iframe')").await;
    ann.until("document.querySelector('#play').textContent === 'Play'").await;
    // The page's own buttons work for it too.
    press_play(ann).await;
    plays_from(ann, 599, 620).await;
    plays_from(ben, 599, 620).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_chooses_of_the_players_parameters_stays_in_the_browser() {
    let scene = Scene::of(vidking()).await;
    let Scene { app, ann, ben, .. } = &scene;
    ann.click("#options summary").await;
    assert_eq!(
        ann.eval("[...document.querySelectorAll('#params [name]')].map((input) => input.name)").await,
        json!(["color"])
    );
    ann.type_into("#params [name=color]", "e50914\n").await;
    ann.until("document.querySelector('#stage iframe').src.includes('color=e50914')").await;
    ann.until("!document.querySelector('#stage iframe').src.includes('autoPlay=true')").await;
    // Nobody else's player has it, and no server has heard of it.
    press_play(ann).await;
    ben.until("document.querySelector('#stage iframe').src.includes('autoPlay=true')").await;
    assert_eq!(ben.eval("document.querySelector('#stage iframe').src.includes('color')").await, false);
    assert!(!app.log().contains("e50914"));
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advert_at_the_host_moves_nobody() {
    let scene = Scene::of(youtube()).await;
    let Scene { ann, ben, .. } = &scene;
    press_play(ann).await;
    plays_from(ann, 3, 15).await;
    plays_from(ben, 2, 15).await;
    let from = inside(ben, "player.time").await.as_f64().unwrap();
    let told = inside(ben, "player.told.length").await.as_u64().unwrap();
    // An advert with a time and a length of its own: what it says is not about the room's video. The room waits for it.
    inside(ann, "(player.advertise('other'), true)").await;
    ann.until("document.querySelector('#notice').textContent.includes('buffering')").await;
    inside(ben, "player.paused").await;
    inside(ann, "performance.now() - player.advert.fromMs > 5000").await;
    let held = scene.playback().await;
    assert_eq!(held["hold"], "buffering", "{held}");
    let at = held["position_ms"].as_f64().unwrap() / 1000.0;
    assert!((from - 1.0..from + 4.0).contains(&at), "held at {at}, and the advert came at {from}");
    inside(ann, "(player.resume(), true)").await;
    inside(ben, "!player.paused").await;
    let sought = format!(
        "JSON.stringify(player.told.slice({told}).filter(([call]) => call === 'seekTo').map(([, seconds]) => seconds))"
    );
    let sought = inside(ben, &sought).await;
    let sought: Vec<f64> = serde_json::from_str(sought.as_str().unwrap()).unwrap();
    assert!(sought.iter().all(|place| (from - 1.0..from + 8.0).contains(place)), "moved to {sought:?} from {from}");
    scene.all_are_together().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_messages_detach_nobody_in_ten_jumps() {
    jumps_ten_times(youtube()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_detach_nobody_in_ten_jumps() {
    jumps_ten_times(vimeo()).await;
}

async fn jumps_ten_times(source: Value) {
    let scene = Scene::with(source, json!({ "delayMs": 40, "lagMs": 40, "seekMs": 100 })).await;
    let Scene { ann, ben, .. } = &scene;
    press_play(ann).await;
    plays_from(ann, 0, 20).await;
    plays_from(ben, 0, 20).await;
    for button in
        ["#forward", "#forward", "#back", "#forward", "#back", "#back", "#forward", "#forward", "#back", "#back"]
    {
        let before = inside(ben, "player.time").await.as_f64().unwrap();
        ann.click(button).await;
        let is_there = if button == "#forward" {
            format!("player.time > {}", before + 7.0)
        } else {
            format!("player.time < {}", before - 4.0)
        };
        inside(ben, &format!("!player.paused && {is_there}")).await;
        inside(ann, &format!("!player.paused && {is_there}")).await;
        scene.all_are_together().await;
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_seek_by_json_commands_is_one_for_each_order_and_sets_nobody_back() {
    seeks_slowly(youtube(), 4000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_seek_by_object_commands_is_one_for_each_order_and_sets_nobody_back() {
    seeks_slowly(vimeo(), 1500).await;
}

/// At the host and at a guest. What a seek takes is found out at the first, which lands too late and is made good for.
async fn seeks_slowly(source: Value, seek_ms: u32) {
    let scene = Scene::with(source, json!({ "seekMs": seek_ms })).await;
    let Scene { ann, ben, .. } = &scene;
    press_play(ann).await;
    plays_from(ann, 0, 20).await;
    plays_from(ben, 0, 20).await;
    let mut before = (scene.rests(ann).await, scene.rests(ben).await);
    for (n, (button, way)) in [("#forward", 10.0), ("#back", -10.0), ("#forward", 10.0)].iter().enumerate() {
        let (from, clicked) = (scene.position().await, Instant::now());
        ann.click(button).await;
        for (window, told) in [(ann, before.0), (ben, before.1)] {
            until(async || sought(window).await > told).await;
        }
        let after = tokio::join!(scene.rests(ann), scene.rests(ben));
        let seeks = (after.0 - before.0, after.1 - before.1);
        println!("{seek_ms} ms, order {n}: {seeks:?} seeks");
        let most = if n == 0 { 2 } else { 1 };
        assert!((1..=most).contains(&seeks.0) && (1..=most).contains(&seeks.1), "order {n}, {seek_ms} ms: {seeks:?}");
        before = after;
        // Nobody was set back by what the host's player took.
        let late = from + way + clicked.elapsed().as_secs_f64() - scene.position().await;
        assert!(late.abs() < 1.2, "order {n}, {seek_ms} ms: the room is {late} s behind");
    }
    let said = sent(ann).await;
    let holds = said.as_array().unwrap().iter().filter(|kind| **kind == "PAUSE").count();
    assert_eq!(holds, 0, "{said}");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    scene.all_are_together().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_who_seeks_in_a_slow_player_itself_takes_everyone_there() {
    for (source, far) in [(youtube(), 100), (vimeo(), 30)] {
        let scene = Scene::with(source, json!({ "seekMs": 1500 })).await;
        let Scene { ann, ben, .. } = &scene;
        press_play(ann).await;
        plays_from(ann, 1, 15).await;
        plays_from(ben, 0, 15).await;
        inside(ann, &format!("(player.seek({far}), true)")).await;
        plays_from(ben, far, far + 20).await;
        plays_from(ann, far, far + 20).await;
        scene.rests(ann).await;
        plays_from(ben, far, far + 30).await;
        assert!(scene.position().await > f64::from(far));
        scene.all_are_together().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_frame_is_slow_to_come_again_gives_no_order_by_loading_anew() {
    let slow = json!({ "readyMs": 2500, "seekMs": 1000, "startMs": 1500 });
    for source in [youtube(), vimeo(), vidking()] {
        let scene = Scene::with(source, slow.clone()).await;
        let Scene { app, ann, ben, .. } = &scene;
        press_play(ann).await;
        plays_from(ann, 1, 25).await;
        plays_from(ben, 1, 25).await;
        scene.rests(ann).await;
        for is_playing in [true, false] {
            if !is_playing {
                ann.click("#play").await;
                until(async || scene.playback().await["is_playing"] == false).await;
            }
            let orders = app.metric("streamit_commands_applied_total").await;
            ann.0.refresh().await.unwrap();
            ann.until("document.querySelector('#role').textContent.includes('You control')").await;
            if is_playing {
                scene.rests(ann).await;
            } else {
                can_play(ann).await;
                inside(ann, "performance.now() > 5000 && player.paused").await;
            }
            assert_eq!(sent(ann).await, json!(["HELLO"]), "playing: {is_playing}");
            assert_eq!(app.metric("streamit_commands_applied_total").await, orders, "playing: {is_playing}");
        }
        scene.all_are_together().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_needs_two_seconds_joins_all_the_same() {
    for source in [youtube(), vimeo()] {
        let scene = Scene::with(source, json!({ "readyMs": 2000 })).await;
        let Scene { ann, ben, .. } = &scene;
        press_play(ann).await;
        plays_from(ann, 1, 20).await;
        plays_from(ben, 1, 20).await;
        let cat = scene.joiner().await;
        plays_from(&cat, 1, 30).await;
        assert_eq!(cat.eval("document.querySelector('#away').hidden").await, true);
        scene.all_are_together().await;
        assert_eq!(scene.playback().await["is_playing"], true);
        cat.close().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_report_of_zero_moves_nobody() {
    for (source, far) in [(youtube(), 100), (vimeo(), 30), (vidking(), 600)] {
        let scene = Scene::with(source, json!({ "saysZeroFirst": true })).await;
        let Scene { ann, ben, .. } = &scene;
        inside(ann, "(player.play(), true)").await;
        plays_from(ben, 0, 20).await;
        inside(ann, &format!("(player.seek({far}), true)")).await;
        plays_from(ben, far, far + 15).await;
        // Whoever joins now has a player whose first word is 0.
        let cat = scene.joiner().await;
        plays_from(&cat, far, far + 25).await;
        inside(&cat, "player.hasSaidZero && player.time").await;
        plays_from(ann, far, far + 25).await;
        plays_from(ben, far, far + 25).await;
        assert_eq!(cat.eval("document.querySelector('#away').hidden").await, true, "watching on their own");
        // A host loaded anew says 0 as well, and the room goes by its host.
        ann.0.refresh().await.unwrap();
        inside(ann, "player.hasSaidZero && player.time").await;
        plays_from(ann, far, far + 40).await;
        plays_from(ben, far, far + 40).await;
        scene.all_are_together().await;
        cat.close().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_starts_when_its_time_is_set_starts_nobody() {
    for source in [youtube(), vimeo()] {
        let scene = Scene::of(source).await;
        let Scene { ann, ben, .. } = &scene;
        // The room is moved before anybody has played; whoever joins is put up where it is.
        for seconds in [10, 20, 30] {
            ann.click("#forward").await;
            let text = format!("document.querySelector('#time').textContent.startsWith('0:{seconds}')");
            ben.until(&text).await;
        }
        let cat = scene.joiner().await;
        for window in [ann, ben, &cat] {
            // Its answers have come: a place that was set late would have started it.
            inside(window, "performance.now() > 3000").await;
            inside(window, "player.paused && !player.hasPlayed").await;
        }
        assert_eq!(scene.playback().await["is_playing"], false);
        press_play(ann).await;
        for window in [ann, ben, &cat] {
            plays_from(window, 29, 45).await;
        }
        scene.all_are_together().await;
        cat.close().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_is_loaded_anew_and_starts_late_is_loaded_once() {
    // Later than the pause between two corrections (15 s): whoever judged it by its silence would load it again and again.
    let scene = Scene::with(vidking(), json!({ "startMs": 17_000 })).await;
    let Scene { ann, ben, .. } = &scene;
    press_play(ann).await;
    inside(ann, "player.hasPlayed && player.time > 1").await;
    for window in [ann, ben] {
        // Having started so late a player may be brought to the room; while it started it was left alone.
        let loads = window
            .eval(
                "performance.getEntriesByType('resource').filter(({ name }) => name.includes('autoPlay=true'))
                 .map(({ startTime }) => startTime)",
            )
            .await;
        let loads: Vec<f64> = serde_json::from_value(loads).unwrap();
        let is_patient = loads.windows(2).all(|pair| pair[1] - pair[0] > 17_000.0);
        assert!(!loads.is_empty() && is_patient, "loaded at {loads:?} ms");
    }
    scene.all_are_together().await;
    scene.close().await;
}

const COMPLAINS: &str = "document.querySelector('#notice').textContent.includes('The player says: ')";
const IS_SILENT: &str = "document.querySelector('#notice').textContent.includes('has not answered for 20 seconds')";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_player_cannot_do_is_said_to_whom_it_concerns_and_the_room_goes_on() {
    let errors =
        [(youtube(), vec!["2", "5", "100", "101", "150", "153"]), (vimeo(), vec!["'PasswordError'", "'PrivacyError'"])];
    for (source, codes) in errors {
        let scene = Scene::of(source).await;
        let Scene { ann, ben, .. } = &scene;
        press_play(ann).await;
        plays_from(ann, 0, 60).await;
        plays_from(ben, 0, 60).await;
        for code in &codes {
            // On a viewer's page only; when it plays after all, the words are taken back.
            inside(ben, &format!("(player.stall(), player.fail({code}), true)")).await;
            ben.until(COMPLAINS).await;
            assert_eq!(ann.eval("document.querySelector('#notice').hidden").await, true, "{code} is not the host's");
            inside(ben, "(player.feed(), true)").await;
            ben.until(&format!("!{COMPLAINS}")).await;
        }
        assert_eq!(scene.playback().await["is_playing"], true);
        for code in &codes {
            // On the host's page only: the room waits, and can be controlled all the same.
            inside(ann, &format!("(player.stall(), player.fail({code}), true)")).await;
            ann.until(COMPLAINS).await;
            ben.until("document.querySelector('#notice').textContent.includes('The host is buffering')").await;
            assert_eq!(ben.eval(COMPLAINS).await, false, "{code} is not the viewer's");
            let at = scene.position().await;
            ann.click("#forward").await;
            until(async || scene.position().await > at + 9.0).await;
            ann.click("#back").await;
            until(async || scene.position().await < at + 1.0).await;
            inside(ann, "(player.feed(), true)").await;
            ann.until(&format!("!{COMPLAINS}")).await;
            // Who starves again and again is waited for longer and longer; a page that is loaded anew begins anew.
            ann.0.refresh().await.unwrap();
            until(async || scene.playback().await["is_playing"] == true).await;
            inside(ann, "player.isMoving").await;
            inside(ben, "player.isMoving").await;
        }
        inside(ann, &format!("(player.stall(), player.fail({}), true)", codes[0])).await;
        ann.until(COMPLAINS).await;
        put_on_something_else(&scene).await;
        scene.close().await;
    }
}

/// Frames that answer, and say nothing that a player says: each status is tried with one provider or another.
fn mutes(status: u16) -> [Value; 2] {
    [json!({ "isSilent": true }), json!({ "answer": status.to_string() })]
}

async fn is_told(window: &Window) {
    window.until_within(2 * PATIENCE, IS_SILENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_frame_that_is_no_player_at_a_viewers_is_told_to_them_alone() {
    viewers_frames_are_mute(youtube(), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_frame_that_is_no_player_at_a_viewers_is_told_to_them_alone() {
    viewers_frames_are_mute(vimeo(), 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_takes_no_orders_and_is_no_player_at_a_viewers_is_told_to_them_alone() {
    viewers_frames_are_mute(vidking(), 404).await;
}

async fn viewers_frames_are_mute(source: Value, status: u16) {
    let scene = Scene::of(source).await;
    let Scene { app, room, ann, ben, .. } = &scene;
    let (mut browsers, mut others) = (Vec::new(), Vec::new());
    for switches in mutes(status) {
        let browser = browser_with(switches).await;
        others.push(window_at(&browser, app, room, false).await);
        browsers.push(browser);
    }
    inside(ann, "player.isMoving || (player.play(), false)").await;
    inside(ben, "player.isMoving").await;
    for window in &others {
        is_told(window).await;
        assert_eq!(sent(window).await, json!(["HELLO"]));
    }
    for window in [ann, ben] {
        assert_eq!(window.eval("document.querySelector('#notice').hidden").await, true, "it is not theirs");
        inside(window, "player.isMoving").await;
    }
    assert_eq!(scene.playback().await["is_playing"], true);
    put_on_something_else(&scene).await;
    for window in others {
        window.until("document.querySelector('#stage video')?.currentTime > 0.5").await;
        window.until("document.querySelector('#notice').hidden").await;
        window.close().await;
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_frame_that_is_no_player_at_the_hosts_runs_no_clock() {
    hosts_frame_is_mute(youtube(), 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_frame_that_is_no_player_at_the_hosts_runs_no_clock() {
    hosts_frame_is_mute(vimeo(), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_takes_no_orders_and_is_no_player_at_the_hosts_runs_no_clock_for_long() {
    hosts_frame_is_mute(vidking(), 500).await;
}

async fn hosts_frame_is_mute(source: Value, status: u16) {
    let app = App::with(BUNDLED).await;
    let fine = browser_with(json!({})).await;
    let (mut browsers, mut rooms) = (Vec::new(), Vec::new());
    for switches in mutes(status) {
        let browser = browser_with(switches).await;
        let room = app.room_playing(source.clone()).await;
        let ann = window_at(&browser, &app, &room, true).await;
        let ben = window_at(&fine, &app, &room, false).await;
        browsers.push(browser);
        rooms.push((ann, ben, room));
    }
    for (ann, ..) in &rooms {
        // A frame that takes no orders is believed to be a player until it has been asked for something.
        ann.until("document.querySelector('#stage iframe')").await;
        let pressed = "counted.sent.includes('PLAY') || !document.querySelector('#notice').hidden
            || (document.querySelector('#play').click(), false)";
        ann.until(pressed).await;
    }
    for (ann, ben, room) in &rooms {
        is_told(ann).await;
        until(async || app.view(room).await["playback"]["is_playing"] == false).await;
        assert_eq!(ben.eval(IS_SILENT).await, false, "it is the host's");
        // The room can be controlled, and what the host cannot see is not started.
        let at = scene::position(&app, room).await;
        ann.click("#forward").await;
        until(async || scene::position(&app, room).await > at + 9.0).await;
        let is_refused = "document.querySelector('#notice').textContent.includes('Nothing was started')";
        ann.until("document.querySelector('#play').textContent === 'Play'").await;
        reads_the_button().await;
        let press = "(() => { const before = counted.sent.length; document.querySelector('#play').click(); return counted.sent.length - before; })()";
        assert_eq!(ann.eval(press).await, 0);
        ann.until(is_refused).await;
        // It was loaded anew, as far as it can be.
        ann.until(&format!("!{IS_SILENT}")).await;
    }
    for (ann, ben, room) in rooms {
        put_on(&app, &room, [&ann, &ben]).await;
        ann.close().await;
        ben.close().await;
    }
}

/// The host puts a file on: it plays for both, and of the player before nothing is said any more.
async fn put_on_something_else(scene: &Scene) {
    let Scene { app, room, ann, ben, .. } = scene;
    put_on(app, room, [ann, ben]).await;
}

async fn put_on(app: &App, room: &Room, [ann, ben]: [&Window; 2]) {
    let file = json!({ "provider": "mp4", "media_type": "movie", "external_id": "clock.webm" });
    let answer = app.put_source(room, file).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for window in [ann, ben] {
        window.until("document.querySelector('#stage video')?.readyState >= 2").await;
        window.until("!document.querySelector('#notice').textContent.includes('player')").await;
    }
    press_play(ann).await;
    for window in [ann, ben] {
        window.until("document.querySelector('#stage video').currentTime > 0.5").await;
    }
}
