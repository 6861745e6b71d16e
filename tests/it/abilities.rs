//! What a provider's player cannot do is neither offered nor ordered; and a stream without an end has no position.

use serde_json::{Value, json};

use crate::{
    harness::{
        App, Member, Room,
        browser::{Browser, Window},
        scene::{COUNTED, Scene, press_play},
    },
    nodes::Nodes,
};

const BROADCAST: &str = "[providers.broadcast]\n";

fn broadcast(id: &str) -> Value {
    json!({ "provider": "broadcast", "media_type": "movie", "external_id": id })
}

/// Orders that are refused, each with a word of its sentence, and change nothing.
async fn refuses(member: &mut Member, orders: &[(Value, &str)]) {
    member.outcome().await;
    let before = member.state.clone();
    for (order, word) in orders {
        member.send(order.clone()).await;
        let said = member.hears_error("unsupported").await;
        assert!(said.contains(word) && said.contains("nothing has changed"), "{order}: {said}");
    }
    assert_eq!(member.sync().await, before, "something has changed");
}

#[tokio::test]
async fn an_order_that_no_player_would_follow_is_refused_and_changes_nothing() {
    let app = App::with(&format!("{BROADCAST}[providers.stranger]\n")).await;
    let room = app.room_playing(broadcast("show")).await;
    let mut ann = app.host(&room).await;
    let mut ben = app.viewer(&room).await;
    let (seek, pause, hold) = (
        json!({ "type": "SEEK", "position_ms": 5_000 }),
        json!({ "type": "PAUSE" }),
        json!({ "type": "PAUSE", "because": "buffering" }),
    );
    ann.sees(|state| state["presence"]["viewers"] == 2).await;
    refuses(&mut ann, &[(seek.clone(), "seek"), (pause.clone(), "pause"), (hold.clone(), "pause")]).await;
    assert_eq!(app.metric("streamit_commands_unsupported_total").await, 3);
    // It begins by itself, so it may be told to; where it is, is a report and no order.
    ann.send(json!({ "type": "PLAY", "position_ms": 7_000 })).await;
    let playing = ann.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(playing["playback"]["position_ms"], 7_000);
    refuses(&mut ann, &[(seek.clone(), "seek"), (pause.clone(), "pause"), (hold, "pause")]).await;
    // Before the start nobody can be off.
    while ann.state["playback"]["position_ms"] != 60_000 {
        ann.send(json!({ "type": "PROGRESS", "position_ms": 60_000 })).await;
        ann.outcome().await;
    }
    // Of somebody who is not the host nobody hears anything.
    ben.send(seek.clone()).await;
    assert!(ben.ping().await.1.iter().all(|message| message["type"] == "STATE"));

    // As soon as the room plays something else, its player counts.
    let stranger = json!({ "provider": "stranger", "media_type": "movie", "external_id": "fine" });
    assert_eq!(app.put_source(&room, stranger).await.status.as_u16(), 200);
    ann.sees(|state| state["room"]["source"]["provider"] == "stranger").await;
    refuses(&mut ann, &[(json!({ "type": "PLAY" }), "started"), (seek, "seek"), (pause, "pause")]).await;
}

#[tokio::test]
async fn a_provider_that_is_not_ready_refuses_nothing() {
    let mut app = App::with(BROADCAST).await;
    let room = app.room_playing(broadcast("show")).await;
    for config in ["[providers.broadcast]\nenabled = false\n", "[providers.stranger]\n"] {
        app.write_config(config);
        app.restart().await;
        let mut ann = app.host(&room).await;
        ann.seek(5_000).await;
        ann.sees_position(5_000).await;
        ann.send(json!({ "type": "PAUSE", "position_ms": 0 })).await;
        ann.sees_position(0).await;
    }
}

#[tokio::test]
async fn what_a_player_can_do_is_known_at_every_node() {
    let shared = Nodes::with(2, 300, BROADCAST).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut ann = b.host(&room).await;
    ann.seek(5_000).await;
    ann.sees_position(5_000).await;
    // Told to the other node.
    assert_eq!(a.put_source(&room, broadcast("show")).await.status.as_u16(), 200);
    ann.sees(|state| state["room"]["source"]["provider"] == "broadcast").await;
    refuses(&mut ann, &[(json!({ "type": "SEEK", "position_ms": 5_000 }), "seek")]).await;
}

#[tokio::test]
async fn where_to_start_is_refused_if_no_player_goes_there_and_a_links_own_time_is_dropped() {
    let app = App::with(BROADCAST).await;
    let link = "https://broadcast.example/show?t=90";
    let matches = app.post("/api/v1/links", json!({ "link": link })).await.body["matches"].clone();
    assert_eq!((matches.as_array().unwrap().len(), &matches[0]["start_ms"]), (1, &json!(0)));
    let room = app.room_with(json!({ "link": link })).await;
    assert_eq!(app.view(&room).await["playback"]["position_ms"], 0);
    app.room_with(json!({ "link": link, "start_ms": 0 })).await;
    let wrong = vec![("start_ms".to_owned(), "unsupported".to_owned())];
    for wish in [json!({ "link": link, "start_ms": 5 }), json!({ "source": broadcast("show"), "start_ms": 5 })] {
        assert_eq!(app.post("/api/v1/rooms", wish).await.fields(), wrong);
    }
    assert_eq!(app.put_source(&room, json!({ "link": link, "start_ms": 5 })).await.fields(), wrong);
}

/// The host's page in a room of this one's, with its player up.
async fn host_of(app: &App, browser: &Browser, id: &str) -> (Room, Window) {
    let room = app.room_playing(broadcast(id)).await;
    let window = browser.window().await;
    window.before_pages(COUNTED).await;
    window.goto(&format!("{}/r/{}#key={}", app.url, room.code, room.key)).await;
    window.join().await;
    window.until("window.broadcast").await;
    (room, window)
}

const SHOWN: &str =
    "['play', 'back', 'forward', 'edge', 'position'].filter((id) => !document.getElementById(id).hidden)";
const TIME: &str = "document.querySelector('#time').textContent";
const ORDERS: &str = "counted.sent.filter((type) => ['PLAY', 'PAUSE', 'SEEK'].includes(type))";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_offers_nothing_that_the_player_cannot() {
    let app = App::with(BROADCAST).await;
    let browser = Browser::start();
    let (room, ann) = host_of(&app, &browser, "film").await;
    ann.until(&format!("{TIME} === '0:00 / 10:00'")).await;
    assert_eq!(ann.eval(SHOWN).await, json!(["play"]));
    press_play(&ann).await;
    ann.until(&format!("!broadcast.paused && {SHOWN}.length === 0")).await;
    ann.screenshot("abilities-film").await;

    // The player's own buttons: it is brought to play again, and nobody else hears of it.
    ann.run("broadcast.halt(); return 0;").await;
    ann.until("!broadcast.paused").await;
    ann.run("broadcast.drag(300); return 0;").await;
    // A host who buffers is not waited for.
    ann.run("broadcast.starve(); await new Promise((resolve) => setTimeout(resolve, 1500)); return 0;").await;
    assert_eq!(ann.eval(ORDERS).await, json!(["PLAY"]));
    assert_eq!(app.view(&room).await["playback"]["is_playing"], true);
    assert_eq!(
        ann.eval("broadcast.asked.filter((order) => order !== 'play')").await,
        json!([]),
        "it was only told to play"
    );
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_an_end_shows_no_position() {
    let app = App::with(BROADCAST).await;
    let browser = Browser::start();
    let (_, ann) = host_of(&app, &browser, "show").await;
    ann.until(&format!("{TIME} === 'Live'")).await;
    press_play(&ann).await;
    ann.until("!broadcast.paused").await;
    assert_eq!(ann.eval(&format!("[{SHOWN}, {TIME}]")).await, json!([[], "Live"]));
    ann.close().await;
}

/// The clip, as a browser has a stream: without an end, and with what one can go back to from 100 s.
async fn host_of_a_stream(start: u32) -> (Scene, Window) {
    let stream = format!(
        "window.edge = 100;
        Object.defineProperty(HTMLMediaElement.prototype, 'duration', {{ get: () => Infinity }});
        const {{ get }} = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'seekable');
        Object.defineProperty(HTMLMediaElement.prototype, 'seekable', {{
          get() {{
            const real = get.call(this);
            return real.length === 0 ? real : {{ length: 1, start: () => {start}, end: () => window.edge }};
          }},
        }});"
    );
    let scene = Scene::new().await;
    let ann = scene.window().await;
    ann.before_pages(&stream).await;
    ann.goto(&scene.host_link(&scene.app.url)).await;
    crate::harness::scene::joined(&ann).await;
    ann.until(&format!("{TIME} === 'Live'")).await;
    (scene, ann)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_room_is_nowhere_in_begins_at_its_edge() {
    let (scene, ann) = host_of_a_stream(50).await;
    let mut ben = scene.app.viewer(&scene.room).await;
    press_play(&ann).await;
    let state = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(state["playback"]["position_ms"], 98_000);
    // It is in there now: it goes on where it was.
    ann.run("window.edge = 119; return 0;").await;
    press_play(&ann).await;
    let paused = ben.sees(|state| state["playback"]["is_playing"] == false).await;
    press_play(&ann).await;
    let state = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    assert_eq!(state["playback"]["position_ms"], paused["playback"]["position_ms"]);
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_to_the_live_edge_with_everybody() {
    let (scene, ann) = host_of_a_stream(0).await;
    assert_eq!(ann.eval(SHOWN).await, json!(["play", "back", "forward", "edge"]));
    ann.screenshot("abilities-live").await;
    let mut ben = scene.app.viewer(&scene.room).await;
    ann.click("#edge").await;
    ben.sees_position(98_000).await;
    // No step leads beyond it.
    ann.click("#forward").await;
    ann.click("#back").await;
    ben.sees_position(88_000).await;
    ann.resize(400, 800).await;
    ann.screenshot("abilities-live-phone").await;
    // Without an edge to go by nothing is offered that leads somewhere.
    ann.run("Object.defineProperty(HTMLMediaElement.prototype, 'seekable', { get: () => ({ length: 0 }) }); return 0;")
        .await;
    ann.until(&format!("JSON.stringify({SHOWN}) === '[\"play\"]'")).await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_among_a_players_parameters_is_made_in_the_page() {
    let app = App::with(BROADCAST).await;
    let browser = Browser::start();
    let (_, ann) = host_of(&app, &browser, "show").await;
    ann.run("document.querySelector('#options').open = true; return 0;").await;
    let choices = "[...document.querySelector('#params select').options].map(({ value }) => value)";
    assert_eq!(ann.eval(choices).await, json!(["", "small", "large"]));
    assert!(ann.eval("broadcast.params.size === undefined").await == true);
    ann.choose("#params select", "large").await;
    ann.until("broadcast.params.size === 'large'").await;
    // What is no choice any more was not made.
    ann.run("localStorage.setItem('streamit.params.broadcast', '{\"size\":\"huge\"}'); return 0;").await;
    ann.0.refresh().await.unwrap();
    ann.until("window.broadcast && broadcast.params.size === undefined").await;
    ann.close().await;
}
