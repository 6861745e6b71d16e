//! Players that cannot be held to the timeline, imitated: the room goes by the host's, which says where it is when it is off,
//! and no more often than that.

use serde_json::{Value, json};

use crate::{
    bridges::{Scene, inside, plays_from, vidking, vimeo, youtube},
    harness::{browser::Window, until},
};

/// What the host's page said of its player by itself.
const PROGRESS: &str = "counted.said.filter(({ type }) => type === 'PROGRESS')";

/// Where the room is at this moment, in seconds.
async fn position(scene: &Scene) -> f64 {
    let playback = scene.playback().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as f64;
    (playback["position_ms"].as_f64().unwrap() + (now - playback["at_ms"].as_f64().unwrap()).max(0.0)) / 1000.0
}

async fn time_inside(window: &Window) -> f64 {
    inside(window, "player.time").await.as_f64().unwrap()
}

/// Waits until its player has gone on for so long.
async fn goes_on(window: &Window, seconds: u32) {
    let from = time_inside(window).await;
    inside(window, &format!("player.time > {from} + {seconds}")).await;
}

/// Waits until the room is where the host's player is, and answers how far it is off.
async fn room_is_where_the_host_is(scene: &Scene) {
    until(async || {
        let before = position(scene).await;
        let shown = time_inside(&scene.ann).await;
        before - 0.25 < shown && shown < position(scene).await + 0.25
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_follows_a_host_whose_player_cannot_be_held() {
    let scene = Scene::of(youtube()).await;
    let Scene { app, room, ann, ben, .. } = &scene;
    let mut cat = app.viewer(room).await;
    ann.click("#play").await;
    for window in [ann, ben] {
        plays_from(window, 1, 20).await;
    }
    room_is_where_the_host_is(&scene).await;
    // In place it has nothing to say.
    let quiet = ann.eval(PROGRESS).await.as_array().unwrap().len();
    goes_on(ann, 7).await;
    assert_eq!(ann.eval(PROGRESS).await.as_array().unwrap().len(), quiet, "{}", ann.eval("counted.said").await);

    // A hiccup, too short for the room to wait.
    cat.ping().await;
    let before = cat.sync().await;
    inside(ann, "(player.stall(), setTimeout(() => player.feed(), 500), true)").await;
    let followed = cat.sees(|state| state["playback"] != before["playback"]).await;
    assert_eq!(followed["playback"]["is_playing"], true, "{before} {followed}");
    let said = ann.eval(&format!("{PROGRESS}.slice({quiet})")).await;
    assert_eq!(said[0]["version"], before["version"], "the STATE that it saw: {said} {before} {followed}");
    let place = |message: &Value| message["position_ms"].as_f64().unwrap() - message["at_ms"].as_f64().unwrap();
    assert!((place(&said[0]) - place(&followed["playback"])).abs() < 50.0, "where it says: {said} {followed}");
    room_is_where_the_host_is(&scene).await;
    // Once, and then it is in place again.
    goes_on(ann, 7).await;
    let said = ann.eval(&format!("{PROGRESS}.slice({quiet})")).await;
    assert_eq!(said.as_array().unwrap().len(), 1, "{said}");
    assert_eq!(
        ben.eval("counted.said.map(({ type }) => type)").await,
        json!(["HELLO"]),
        "a viewer's player is nobody's measure"
    );
    scene.all_are_together().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_player_is_always_late_says_so_now_and_then() {
    for source in [youtube(), vimeo()] {
        let scene = Scene::of(source).await;
        let Scene { ann, ben, .. } = &scene;
        ann.click("#play").await;
        for window in [ann, ben] {
            plays_from(window, 1, 20).await;
        }
        // Nine tenths of the speed that it tells.
        inside(ann, "(move(() => { player.rate = 0.9; }), true)").await;
        let begun = ann.eval(PROGRESS).await.as_array().unwrap().len();
        goes_on(ann, 14).await;
        let said = ann.eval(&format!("{PROGRESS}.slice({begun})")).await;
        let at: Vec<f64> = said.as_array().unwrap().iter().map(|said| said["at_ms"].as_f64().unwrap()).collect();
        println!("it said where it is at {at:?}");
        assert!((2..=4).contains(&at.len()) && at.windows(2).all(|pair| pair[1] - pair[0] > 4_500.0), "{at:?}");
        assert!(said.as_array().unwrap().iter().all(|said| said["version"].is_i64()), "{said}");
        // Five seconds at that speed are half a second.
        let off = position(&scene).await - time_inside(ann).await;
        assert!(off.abs() < 1.2, "the room is {off} s from its host");
        assert_eq!(ben.eval("counted.said.map(({ type }) => type)").await, json!(["HELLO"]));
        scene.all_are_together().await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_follows_a_host_whose_player_is_loaded_anew() {
    let scene = Scene::with(vidking(), json!({ "startMs": 2500 })).await;
    let Scene { ann, ben, .. } = &scene;
    ann.click("#play").await;
    inside(ann, "player.hasPlayed && player.time > 1").await;
    room_is_where_the_host_is(&scene).await;
    let said = ann.eval("counted.said").await;
    let told: Vec<&Value> = said.as_array().unwrap().iter().filter(|said| said["type"] == "PROGRESS").collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0]["version"].is_i64(), "{said}");
    goes_on(ann, 7).await;
    assert_eq!(ann.eval(&format!("{PROGRESS}.length")).await, 1, "once");
    assert_eq!(ben.eval("counted.said.length").await, 1);
    scene.all_are_together().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_speed_chosen_in_an_embedded_players_menu_is_put_back_with_a_word() {
    let scene = Scene::of(youtube()).await;
    let Scene { ann, ben, .. } = &scene;
    ann.click("#play").await;
    for window in [ann, ben] {
        plays_from(window, 1, 20).await;
    }
    for window in [ann, ben] {
        inside(window, "(player.setRate(2), true)").await;
        window.until("document.querySelector('#notice').textContent.includes('one speed for all')").await;
        inside(window, "player.rate === 1 && !player.paused").await;
    }
    room_is_where_the_host_is(&scene).await;
    let kinds = ann.eval("counted.said.map(({ type }) => type).filter((type) => type !== 'PROGRESS')").await;
    assert_eq!(kinds, json!(["HELLO", "PLAY"]), "a speed is no order");
    scene.all_are_together().await;
    scene.close().await;
}
