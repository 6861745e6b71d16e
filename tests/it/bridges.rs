//! Each provider's bridge drives its player in a real browser, under the provider's real origin.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{
    App, BUNDLED, PATIENCE,
    browser::{Browser, Window},
    players,
};

struct Scene {
    app: App,
    _browser: Browser,
    ann: Window,
    ben: Window,
}

impl Scene {
    /// A room that plays `source`, its host and a viewer, each before their own player.
    async fn of(source: Value) -> Scene {
        let app = App::with(BUNDLED).await;
        let flags = players::serve().await;
        let browser = Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let room = app.room_playing(source).await;
        let ann = browser.window().await;
        ann.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
        ann.join().await;
        let ben = browser.window().await;
        ben.goto(&format!("{}/r/{}", app.url, room.code)).await;
        ben.join().await;
        for window in [&ann, &ben] {
            window.until("document.querySelector('#viewers').textContent === '2 watching'").await;
        }
        Scene { app, _browser: browser, ann, ben }
    }

    async fn close(self) {
        for window in [self.ann, self.ben] {
            window.close().await;
        }
        drop(self.app);
    }
}

/// Asks the player inside the frame. One that is loaded anew is another frame, to be entered again.
async fn inside(window: &Window, expression: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        window.until("document.querySelector('#stage iframe')").await;
        let seen = match window.0.clone().enter_frame(0).await {
            Ok(()) => window.sees(expression).await,
            Err(_) => None,
        };
        window.0.clone().enter_parent_frame().await.unwrap();
        if let Some(value) = seen {
            return value;
        }
        assert!(Instant::now() < deadline, "never true in the frame: {expression}");
    }
}

async fn plays_from(window: &Window, seconds: u32, until: u32) {
    inside(window, &format!("!player.paused && player.time > {seconds} && player.time < {until}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_json_commands_follows_the_host() {
    follows_commands(json!({ "provider": "youtube", "media_type": "movie", "external_id": "aqz-KE-bpKQ" }), 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_object_commands_follows_the_host() {
    follows_commands(json!({ "provider": "vimeo", "media_type": "movie", "external_id": "76979871/8272103f6e" }), 30)
        .await;
}

async fn follows_commands(source: Value, far: u32) {
    let scene = Scene::of(source).await;
    let Scene { ann, ben, .. } = &scene;
    // The page's button.
    ann.click("#play").await;
    plays_from(ann, 1, 15).await;
    plays_from(ben, 1, 15).await;
    // The host's own clicks in the player are orders.
    inside(ann, &format!("(player.seek({far}), true)")).await;
    plays_from(ben, far, far + 15).await;
    inside(ann, "(player.pause(), true)").await;
    inside(ben, "player.paused").await;
    let (a, b) = tokio::join!(inside(ann, "player.time"), inside(ben, "player.time"));
    assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1.0, "{a} and {b}");
    // A viewer's clicks are nobody else's business, and can be taken back.
    inside(ben, "(player.play(), player.seek(5), true)").await;
    ben.until("!document.querySelector('#rejoin').hidden").await;
    assert_eq!(inside(ann, "player.paused").await, true);
    ben.click("#rejoin").await;
    inside(ben, &format!("player.paused && player.time > {}", far - 2)).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_takes_no_commands_is_loaded_where_it_should_be() {
    let scene = Scene::of(json!({ "provider": "vidking", "media_type": "movie", "external_id": "1078605" })).await;
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
    ann.click("#play").await;
    plays_from(ann, 599, 620).await;
    plays_from(ben, 599, 620).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_chooses_of_the_players_parameters_stays_in_the_browser() {
    let scene = Scene::of(json!({ "provider": "vidking", "media_type": "movie", "external_id": "1078605" })).await;
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
    ann.click("#play").await;
    ben.until("document.querySelector('#stage iframe').src.includes('autoPlay=true')").await;
    assert_eq!(ben.eval("document.querySelector('#stage iframe').src.includes('color')").await, false);
    assert!(!app.log().contains("e50914"));
    scene.close().await;
}
