//! One timeline: whose word about it still counts, when a start is, what holds it, and who brings it back.

use serde_json::{Value, json};

use crate::{
    harness::{App, Member, Room, episode},
    nodes::Nodes,
};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }";

/// The host in two tabs, and a viewer, who all know of each other.
struct Party {
    room: Room,
    ann: Member,
    tab: Member,
    ben: Member,
}

impl Party {
    /// The second tab and the viewer may be on another node.
    async fn at(here: &App, there: &App) -> Party {
        let room = here.room().await;
        let (ann, tab, ben) = (here.host(&room).await, there.host(&room).await, there.viewer(&room).await);
        let mut party = Party { room, ann, tab, ben };
        for member in [&mut party.ann, &mut party.tab, &mut party.ben] {
            member.sees(|state| state["presence"]["viewers"] == 3).await;
        }
        party
    }

    /// Something else to play. Everyone has seen it when this returns.
    async fn change_source(&mut self, app: &App) -> Value {
        let put = app.put_source(&self.room, episode()).await;
        assert_eq!(put.status.as_u16(), 200, "{put:?}");
        for member in [&mut self.ann, &mut self.tab, &mut self.ben] {
            member.sees(|state| state["room"]["source"] == episode()).await;
        }
        self.ben.state.clone()
    }

    /// The second tab says it, and nobody notices: no error, no effect, no STATE.
    async fn says_in_vain(&mut self, message: Value) {
        let before = self.tab.sync().await;
        self.tab.send(message.clone()).await;
        let (_, heard) = self.tab.ping().await;
        assert_eq!(heard, Vec::<Value>::new(), "after {message}");
        assert_eq!(self.tab.sync().await, before, "after {message}");
    }
}

fn at_ms(state: &Value) -> i64 {
    state["playback"]["at_ms"].as_i64().unwrap()
}

/// A message with something more in it.
fn with(mut message: Value, key: &str, value: &Value) -> Value {
    message[key] = value.clone();
    message
}

/// A seek is on its way to a tab that says meanwhile where its player was before it.
async fn a_late_report_does_not_undo_a_seek(here: &App, there: &App) {
    let mut party = Party::at(here, there).await;
    party.ann.play().await;
    let playing = party.tab.sees(|state| state["playback"]["is_playing"] == true).await;
    party.ann.seek(60_000).await;
    let sought = party.tab.sees_position(60_000).await;
    party.ben.sees_position(60_000).await;

    let report = json!({ "type": "PROGRESS", "position_ms": 1_000 });
    party.says_in_vain(with(report.clone(), "version", &playing["version"])).await;
    party.says_in_vain(with(report.clone(), "at_ms", &json!(at_ms(&sought) - 1))).await;
    party.says_in_vain(with(with(report.clone(), "ended", &json!(true)), "version", &playing["version"])).await;
    assert_eq!(there.metric("streamit_commands_stale_total").await, 3);

    party.tab.send(with(report, "version", &sought["version"])).await;
    party.ben.sees_position(1_000).await;
}

#[tokio::test]
async fn a_progress_of_the_old_position_after_a_seek_moves_nothing() {
    let app = App::with(MP4).await;
    a_late_report_does_not_undo_a_seek(&app, &app).await;
}

#[tokio::test]
async fn a_progress_of_the_old_position_after_a_seek_moves_nothing_on_another_node() {
    let shared = Nodes::start(2).await;
    a_late_report_does_not_undo_a_seek(&shared.nodes[0], &shared.nodes[1]).await;
}

/// The host chooses something else while a report about the former film is on its way.
async fn a_late_report_does_not_leak_into_the_next_film(here: &App, there: &App) {
    let mut party = Party::at(here, there).await;
    party.ann.play().await;
    let playing = party.tab.sees(|state| state["playback"]["is_playing"] == true).await;
    let changed = party.change_source(here).await;

    let report = json!({ "type": "PROGRESS", "position_ms": 60_000 });
    party.says_in_vain(with(report.clone(), "version", &playing["version"])).await;
    party.says_in_vain(with(report.clone(), "at_ms", &json!(at_ms(&changed) - 1))).await;
    party.tab.send(with(report, "version", &changed["version"])).await;
    party.ben.sees_position(60_000).await;
}

#[tokio::test]
async fn a_progress_of_the_old_position_after_a_new_source_moves_nothing() {
    let app = App::with(&format!("{MP4}\n[providers.vidking]")).await;
    a_late_report_does_not_leak_into_the_next_film(&app, &app).await;
}

#[tokio::test]
async fn a_progress_of_the_old_position_after_a_new_source_moves_nothing_on_another_node() {
    let shared = Nodes::start(2).await;
    a_late_report_does_not_leak_into_the_next_film(&shared.nodes[0], &shared.nodes[1]).await;
}

#[tokio::test]
async fn an_order_about_the_former_film_moves_nothing_in_the_new_one() {
    let app = App::with(&format!("{MP4}\n[providers.vidking]")).await;
    let mut party = Party::at(&app, &app).await;
    party.ann.play().await;
    let playing = party.tab.sees(|state| state["playback"]["is_playing"] == true).await;
    let changed = party.change_source(&app).await;

    for order in ["PLAY", "SEEK", "PAUSE"] {
        let order = json!({ "type": order, "position_ms": 60_000 });
        party.says_in_vain(with(order.clone(), "version", &playing["version"])).await;
        party.says_in_vain(with(order, "at_ms", &json!(at_ms(&changed) - 1))).await;
    }
    party.ann.send(json!({ "type": "PLAY", "version": changed["version"] })).await;
    party.tab.sees(|state| state["playback"]["is_playing"] == true).await;
    party.says_in_vain(json!({ "type": "PAUSE", "version": playing["version"] })).await;
    // Of two orders about the same film the last that arrives counts, whatever its sender had seen.
    party.tab.send(json!({ "type": "PAUSE", "version": changed["version"] })).await;
    party.ben.sees(|state| state["version"] != changed["version"] && state["playback"]["is_playing"] == false).await;
}

#[tokio::test]
async fn play_is_an_appointment() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let lead_ms = 150;
    let server_ms = |pong: Value| pong["server_ms"].as_i64().unwrap();
    let before = server_ms(ann.ping().await.0);
    ann.send(json!({ "type": "PLAY", "position_ms": 30_000 })).await;
    let state = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    let after = server_ms(ann.ping().await.0);
    assert_eq!(state["playback"]["position_ms"], 30_000, "there, when it begins");
    assert!((before + lead_ms..=after + lead_ms).contains(&at_ms(&state)), "{before} {state} {after}");

    ann.play().await;
    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "it plays already");
    ann.send(json!({ "type": "PAUSE", "position_ms": 30_000 })).await;
    let paused = ben.sees(|state| state["playback"]["is_playing"] == false).await;
    let now = server_ms(ben.ping().await.0);
    assert!(at_ms(&paused) <= now, "a pause is no appointment");
}

#[tokio::test]
async fn a_host_that_buffers_holds_the_room_and_plays_on() {
    let app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let starve = json!({ "type": "PAUSE", "because": "buffering" });
    ann.send(starve.clone()).await;
    assert_eq!(ann.ping().await.1, Vec::<Value>::new(), "a paused room is paused for a better reason");

    ann.play().await;
    ben.sees(|state| state["playback"]["is_playing"] == true).await;
    ann.send(starve.clone()).await;
    let held = ben.sees(|state| state["playback"]["is_playing"] == false).await;
    assert_eq!(held["playback"]["hold"], "buffering");
    assert_eq!(app.view(&room).await["playback"]["hold"], "buffering");
    ann.send(starve.clone()).await;
    ann.seek(9_000).await;
    assert_eq!(ben.next().await["playback"]["hold"], "buffering", "a jump does not feed it");
    assert_eq!(ben.state["playback"]["position_ms"], 9_000, "and holding twice is nothing");
    ann.play().await;
    let playing = ben.next().await["playback"].clone();
    assert_eq!((&playing["is_playing"], &playing["position_ms"]), (&json!(true), &json!(9_000)), "it goes on there");
    assert_eq!(playing["hold"], Value::Null);

    ann.send(starve.clone()).await;
    ben.sees(|state| state["playback"]["hold"] == "buffering").await;
    ann.send(json!({ "type": "PAUSE", "because": "the door bell" })).await;
    let paused = ben.next().await;
    assert_eq!((&paused["playback"]["is_playing"], &paused["playback"]["hold"]), (&json!(false), &Value::Null));
    ann.sees(|state| state["version"] == paused["version"]).await;
    ann.send(starve).await;
    assert_eq!(ann.sync().await["version"], paused["version"], "somebody wants it paused");
}

/// What a client says of what it saw last.
fn seen(state: &Value) -> Value {
    json!({ "version": state["version"], "source": state["room"]["source"], "playback": state["playback"] })
}

fn hello(room: &Room, seen: &Value) -> Value {
    json!({ "type": "HELLO", "name": "Ann", "key": room.key, "seen": seen })
}

#[tokio::test]
async fn a_host_who_comes_back_to_a_restarted_node_brings_the_room_back() {
    let mut app = App::with(MP4).await;
    let mut parties = Vec::new();
    for orders in [
        vec![json!({ "type": "PLAY" })],
        vec![json!({ "type": "PLAY" }), json!({ "type": "SEEK", "position_ms": 60_000 })],
        vec![json!({ "type": "PLAY" }), json!({ "type": "PAUSE", "position_ms": 30_000 })],
        vec![json!({ "type": "PLAY" }), json!({ "type": "PAUSE", "because": "buffering" })],
    ] {
        let room = app.room().await;
        let mut ann = app.host(&room).await;
        for order in orders {
            ann.send(order).await;
        }
        ann.ping().await;
        parties.push((room, ann.sync().await));
    }
    app.restart_in_place().await;
    for (room, before) in &parties {
        let mut ben = Member::join(&app, &room.code, json!({ "type": "HELLO", "seen": seen(before) })).await;
        assert_eq!(ben.state["playback"]["position_ms"], 0, "a viewer says nothing about the room");
        assert_eq!(ben.sync().await["playback"]["is_playing"], false);

        let ann = Member::join(&app, &room.code, hello(room, &seen(before))).await;
        assert_eq!(ann.state["playback"], before["playback"], "the first STATE is the right one");
        assert!(ann.state["version"].as_i64() > before["version"].as_i64());
        ben.sees(|state| state["playback"] == before["playback"]).await;
        assert_eq!(app.view(room).await["playback"]["is_playing"], before["playback"]["is_playing"]);
    }
}

#[tokio::test]
async fn an_order_given_since_a_restart_wins_over_what_was_seen_before_it() {
    let mut app = App::with(MP4).await;
    let (room, mut ann, ben) = app.room_of_two().await;
    ann.seek(60_000).await;
    let before = ann.sees_position(60_000).await;
    drop((ann, ben));
    app.restart_in_place().await;
    let mut tab = app.host(&room).await;
    tab.seek(5_000).await;
    tab.sees_position(5_000).await;
    let mut ann = Member::join(&app, &room.code, hello(&room, &seen(&before))).await;
    assert_eq!(ann.sync().await["playback"]["position_ms"], 5_000);
}

#[tokio::test]
async fn what_was_seen_of_another_film_or_with_a_wrong_key_is_not_taken() {
    let mut app = App::with(MP4).await;
    let (room, mut ann, ben) = app.room_of_two().await;
    ann.seek(60_000).await;
    let before = seen(&ann.sees_position(60_000).await);
    drop((ann, ben));
    app.restart_in_place().await;
    let mut stranger = Member::connect(&app, &room.code, None).await.unwrap();
    stranger.send(json!({ "type": "HELLO", "key": "wrong", "seen": before })).await;
    assert_eq!(stranger.is_closed().await.0, 4401);
    let ann = Member::join(&app, &room.code, hello(&room, &with(before.clone(), "source", &episode()))).await;
    assert_eq!(ann.state["playback"]["position_ms"], 0);

    // What is no memory is a bad message, and can be said again.
    let mut confused = Member::connect(&app, &room.code, None).await.unwrap();
    confused.send(hello(&room, &json!("everything"))).await;
    assert!(!confused.hears_error("bad_message").await.is_empty());
    confused.send(hello(&room, &before)).await;
    assert_eq!(confused.next().await["type"], "WELCOME");
    confused.sees_position(60_000).await;
}

#[tokio::test]
async fn the_end_of_a_video_rests_the_room() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ann.play().await;
    let playing = ann.sees(|state| state["playback"]["is_playing"] == true).await;
    ann.seek(59_000).await;
    let near = ann.sees_position(59_000).await;
    let end = json!({ "type": "PROGRESS", "position_ms": 60_000, "ended": true });
    ann.send(with(end.clone(), "version", &playing["version"])).await;
    assert_eq!(ann.sync().await["playback"], near["playback"], "somebody went back before the end was heard of");

    ann.send(with(end, "version", &near["version"])).await;
    let state = ben.sees_position(60_000).await;
    ann.sees_position(60_000).await;
    assert_eq!((&state["playback"]["is_playing"], &state["playback"]["hold"]), (&json!(false), &Value::Null));
    let late = json!({ "type": "PROGRESS", "position_ms": 59_950, "version": near["version"] });
    ann.send(late).await;
    assert_eq!(ann.sync().await["version"], state["version"], "a last report changes nothing any more");
    ann.send(json!({ "type": "PLAY", "position_ms": 0, "version": state["version"] })).await;
    ben.sees(|state| state["playback"]["is_playing"] == true).await;
}

#[tokio::test]
async fn welcome_says_how_often_something_is_heard() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    assert_eq!(app.viewer(&room).await.welcome["ping_secs"], 25);
    let app = App::with(&format!("[limits]\nping_secs = 7\n{MP4}")).await;
    let room = app.room().await;
    assert_eq!(app.host(&room).await.welcome["ping_secs"], 7);
}

#[tokio::test]
async fn old_clients_send_none_of_it() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let (pong, _) = ann.ping().await;
    let now = pong["server_ms"].clone();
    for (message, is_playing) in [
        (json!({ "type": "PLAY", "position_ms": 10_000 }), true),
        (json!({ "type": "SEEK", "position_ms": 20_000 }), true),
        (json!({ "type": "PROGRESS", "position_ms": 30_000 }), true),
        (json!({ "type": "PAUSE", "position_ms": 40_000, "at_ms": now }), false),
        (json!({ "type": "SEEK", "position_ms": 50_000 }), false),
        (json!({ "type": "PROGRESS", "position_ms": 60_000 }), false),
    ] {
        ann.send(message.clone()).await;
        let playback = ben.sees_position(message["position_ms"].as_i64().unwrap()).await["playback"].clone();
        assert_eq!((&playback["is_playing"], &playback["hold"]), (&json!(is_playing), &Value::Null), "{message}");
    }
    assert_eq!(app.metric("streamit_commands_stale_total").await, 0);
}
