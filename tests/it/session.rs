//! The socket: who may do what, what is said to whom, and when it ends.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::harness::{App, Member, until};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }";

#[tokio::test]
async fn seek_while_playing_keeps_playing_and_pause_stays() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ann.play().await;
    ben.sees(|state| state["playback"]["is_playing"] == true).await;
    ann.seek(30_000).await;
    assert_eq!(ben.sees_position(30_000).await["playback"]["is_playing"], true);
    ann.send(json!({ "type": "PAUSE", "position_ms": 31_000 })).await;
    assert_eq!(ben.sees_position(31_000).await["playback"]["is_playing"], false);
    ann.seek(5_000).await;
    assert_eq!(ben.sees_position(5_000).await["playback"]["is_playing"], false);
    ann.seek(-1).await;
    ben.sees_position(0).await;
    ann.seek(i64::MAX).await;
    ben.sees_position(7 * 24 * 3600 * 1000).await;
}

#[tokio::test]
async fn progress_re_anchors_only_when_it_is_off() {
    let app = App::with(MP4).await;
    let (_, mut ann, _ben) = app.room_of_two().await;
    ann.send(json!({ "type": "PAUSE", "position_ms": 10_000 })).await;
    let version = ann.sees_position(10_000).await["version"].clone();
    ann.send(json!({ "type": "PROGRESS", "position_ms": 10_080 })).await;
    assert_eq!(ann.sync().await["version"], version, "players jitter by as much");
    ann.send(json!({ "type": "PROGRESS", "position_ms": 10_081 })).await;
    ann.sees_position(10_081).await;
}

#[tokio::test]
async fn a_viewers_commands_change_nothing_and_get_no_answer() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ann.send(json!({ "type": "PAUSE", "position_ms": 10_000 })).await;
    ann.sees_position(10_000).await;
    ben.sees_position(10_000).await;
    let before = ben.sync().await;

    for command in ["PLAY", "PAUSE", "SEEK", "PROGRESS"] {
        ben.send(json!({ "type": command, "position_ms": 99_000 })).await;
        ben.send(json!({ "type": command })).await;
        ben.send(json!({ "type": command, "position_ms": "nonsense", "key": "stolen?" })).await;
    }
    let (_, heard) = ben.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "no error, no answer");
    assert_eq!(ben.sync().await, before, "no effect");
    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "no broadcast");
    assert!(app.metrics().await.contains("streamit_commands_ignored_total 12"), "but counted");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_nobody_notices() {
    let app = App::with(MP4).await;
    let (room, mut ann, _ben) = app.room_of_two().await;
    let other = app.room().await;
    for key in ["", "wrong", &other.key] {
        let mut stranger = Member::connect(&app, &room.code, None).await.unwrap();
        stranger.send(json!({ "type": "HELLO", "key": key })).await;
        let (code, said) = stranger.is_closed().await;
        assert_eq!(code, 4401);
        assert_eq!(said[0]["code"], "bad_host_key");
    }
    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new());
    assert_eq!(ann.sync().await["presence"]["viewers"], 2);
}

/// A line can be dead for half a minute before its server can know.
#[tokio::test]
async fn who_comes_back_over_another_line_is_there_once() {
    let app = App::with(MP4).await;
    let (room, mut ann, ben) = app.room_of_two().await;
    let id = ben.welcome["you"]["id"].as_str().unwrap().to_owned();
    // Nobody is ended by an id that is nobody's, or of another room.
    let other = app.room().await;
    let stranger = json!({ "type": "HELLO", "name": "Ben", "was": id });
    let _stranger = Member::join(&app, &other.code, stranger.clone()).await;
    for was in ["", "x", "0000000000000000", &id.to_uppercase()[1..]] {
        let mut cat = Member::join(&app, &room.code, json!({ "type": "HELLO", "name": "Cat", "was": was })).await;
        cat.sees(|state| state["presence"]["viewers"] == 3).await;
        drop(cat);
        ann.sees(|state| state["presence"]["viewers"] == 2).await;
    }
    // The former line is as open as before: nobody has read from it.
    let mut ben = (ben, Member::join(&app, &room.code, stranger).await);
    ben.1.sees(|state| state["presence"]["viewers"] == 2).await;
    assert!(ben.0.has_ended().await, "without a word: there is nobody to hear it");
    assert_ne!(ben.1.welcome["you"]["id"], id.as_str());
    ann.seek(7_000).await;
    ben.1.sees_position(7_000).await;
}

#[tokio::test]
async fn the_hosts_second_tab_closing_does_not_make_the_host_away() {
    let app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let tab = app.host(&room).await;
    ben.sees(|state| state["presence"]["viewers"] == 3).await;
    drop(tab);
    let state = ben.sees(|state| state["presence"]["viewers"] == 2).await;
    assert_eq!(state["presence"], json!({ "viewers": 2, "host": "connected", "host_away_until_ms": null }));
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
}

#[tokio::test]
async fn both_of_the_hosts_tabs_control_the_room() {
    let app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let mut tab = app.host(&room).await;
    tab.seek(2_000).await;
    ben.sees_position(2_000).await;
    ann.seek(3_000).await;
    tab.sees_position(3_000).await;
}

#[tokio::test]
async fn a_host_who_leaves_is_away_and_comes_back() {
    let app = App::with(MP4).await;
    let (room, ann, mut ben) = app.room_of_two().await;
    drop(ann);
    let state = ben.sees(|state| state["presence"]["host"] == "away").await;
    assert_eq!(state["presence"]["viewers"], 1);
    assert!(state["presence"]["host_away_until_ms"].is_i64());
    let _back = app.host(&room).await;
    let state = ben.sees(|state| state["presence"]["host"] == "connected").await;
    assert_eq!(state["presence"]["host_away_until_ms"], Value::Null);
}

#[tokio::test]
async fn a_refused_upgrade_does_not_change_the_count() {
    let app = App::with(MP4).await;
    let (room, mut ann, _ben) = app.room_of_two().await;
    let foreign = ["https://evil.example", "null", "http://127.0.0.1:1"];
    for origin in foreign.into_iter().chain(foreign) {
        let refused = Member::connect(&app, &room.code, Some(origin)).await.err().unwrap();
        assert_eq!((refused.status, &refused.problem["code"]), (StatusCode::FORBIDDEN, &json!("foreign_origin")));
    }
    let refused = Member::connect(&app, "AAAAAA", None).await.err().unwrap();
    assert_eq!((refused.status, &refused.problem["code"]), (StatusCode::NOT_FOUND, &json!("room_not_found")));
    let plain = app.get(&format!("/ws/v1/rooms/{}", room.code)).await;
    assert_eq!((plain.status, plain.problem()), (StatusCode::UPGRADE_REQUIRED, "upgrade_required"));
    let head = |name: &str| plain.headers[name].to_str().unwrap().to_owned();
    assert_eq!((head("upgrade"), head("sec-websocket-version")), ("websocket".into(), "13".into()));
    // One that connects and says nothing is no member either.
    let _silent = Member::connect(&app, &room.code, None).await.unwrap();

    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new());
    assert_eq!(ann.sync().await["presence"]["viewers"], 2);
    let own = Member::connect(&app, &room.code, Some(&app.url)).await;
    assert!(own.is_ok(), "the server's own pages may connect");
    let told = app.log().matches("a page's socket was refused").count();
    assert_eq!(told, 3, "each origin once, with what sets it right: {}", app.log());
    assert!(app.log().contains("set server.public_url"));
}

#[tokio::test]
async fn an_allowed_origin_may_connect() {
    let app =
        App::with(&format!("[server]\nbind = \"127.0.0.1:0\"\nallowed_origins = [\"https://app.example\"]\n{MP4}"))
            .await;
    let room = app.room().await;
    assert!(Member::connect(&app, &room.code, Some("https://app.example")).await.is_ok());
    assert!(Member::connect(&app, &room.code, Some("https://evil.example")).await.is_err());
    let request = app.raw(reqwest::Method::GET, "/api/v1/rooms").header("origin", "https://app.example");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example");
    let request = app.raw(reqwest::Method::GET, "/api/v1/rooms").header("origin", "https://evil.example");
    assert!(!request.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_full_room_takes_no_more_viewers_and_always_its_host() {
    let app = App::with(&format!("[rooms]\nmax_viewers = 2\ncreate_per_minute = 0\n{MP4}")).await;
    let (room, mut ann, ben) = app.room_of_two().await;
    let mut refused = Member::connect(&app, &room.code, None).await.unwrap();
    refused.send(json!({ "type": "HELLO" })).await;
    let (code, said) = refused.is_closed().await;
    assert_eq!((code, &said[0]["code"]), (1013, &json!("room_full")));
    let second_tab = app.host(&room).await;
    ann.sees(|state| state["presence"]["viewers"] == 3).await;
    drop((ben, second_tab));
    ann.sees(|state| state["presence"]["viewers"] == 1).await;
    app.viewer(&room).await;
}

#[tokio::test]
async fn two_at_the_door_of_the_last_place_get_one() {
    let app = App::with(&format!("[rooms]\nmax_viewers = 1\ncreate_per_minute = 0\n{MP4}")).await;
    let room = app.room().await;
    let mut first = Member::connect(&app, &room.code, None).await.unwrap();
    let mut second = Member::connect(&app, &room.code, None).await.unwrap();
    first.send(json!({ "type": "HELLO" })).await;
    assert_eq!(first.next().await["type"], "WELCOME");
    second.send(json!({ "type": "HELLO" })).await;
    let (code, said) = second.is_closed().await;
    assert_eq!((code, &said[0]["code"]), (1013, &json!("room_full")));
}

#[tokio::test]
async fn hello_comes_first_and_in_time() {
    let app = App::with(&format!("[limits]\nhello_secs = 1\n{MP4}")).await;
    let room = app.room().await;
    let mut silent = Member::connect(&app, &room.code, None).await.unwrap();
    assert_eq!(silent.is_closed().await.0, 4408);
    let mut rude = Member::connect(&app, &room.code, None).await.unwrap();
    rude.play().await;
    assert_eq!(rude.is_closed().await.0, 4408);
}

#[tokio::test]
async fn a_room_that_closes_on_the_doorstep_is_gone() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    let mut late = Member::connect(&app, &room.code, None).await.unwrap();
    app.request(reqwest::Method::DELETE, &format!("/api/v1/rooms/{}", room.code), Some(&room.key), None).await;
    late.send(json!({ "type": "HELLO" })).await;
    assert_eq!(late.is_closed().await.0, 4404);
}

#[tokio::test]
async fn welcome_says_who_one_is() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    let ann = app.host(&room).await;
    assert_eq!((&ann.welcome["protocol"], &ann.welcome["you"]["role"]), (&json!(1), &json!("host")));
    assert_eq!(ann.welcome["you"]["name"], "Ann");
    let nameless = Member::join(&app, &room.code, json!({ "type": "HELLO" })).await;
    assert_eq!(
        (&nameless.welcome["you"]["name"], &nameless.welcome["you"]["role"]),
        (&json!("Guest"), &json!("viewer"))
    );
    assert_ne!(ann.welcome["you"]["id"], nameless.welcome["you"]["id"]);
}

#[tokio::test]
async fn bad_messages_are_explained_five_times_and_then_the_socket_is_closed() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let bad = [
        Message::text("nonsense"),
        Message::text("[1, 2]"),
        Message::text(r#"{"type":"JUMP"}"#),
        Message::binary(vec![1, 2, 3]),
        Message::text(r#"{"type":"SEEK","position_ms":"far"}"#),
    ];
    for message in bad {
        ann.send_raw(message).await;
        assert!(!ann.hears_error("bad_message").await.is_empty());
    }
    ann.seek(7_000).await;
    ben.sees_position(7_000).await;
    ann.send(json!({ "type": "HELLO" })).await;
    assert_eq!(ann.is_closed().await.0, 4400);
    ben.sees(|state| state["presence"]["viewers"] == 1).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_the_socket() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    let mut fits = app.viewer(&room).await;
    let padding = "x".repeat(4096 - r#"{"type":"SYNC","x":""}"#.len());
    fits.send(json!({ "type": "SYNC", "x": padding })).await;
    assert_eq!(fits.next().await["type"], "STATE");
    fits.send(json!({ "type": "SYNC", "x": format!("{padding}x") })).await;
    assert_eq!(fits.is_closed().await.0, 1009);
}

#[tokio::test]
async fn too_many_messages_close_the_socket() {
    let app = App::with(MP4).await;
    let (_, _ann, mut ben) = app.room_of_two().await;
    for _ in 0..60 {
        if !ben.try_send(Message::text(r#"{"type":"PLAY"}"#)).await {
            break;
        }
    }
    assert_eq!(ben.is_closed().await.0, 4429);
}

#[tokio::test]
async fn a_silent_socket_is_dropped_and_a_living_one_is_asked() {
    let app = App::with(&format!("[limits]\nping_secs = 1\nsilence_secs = 2\n{MP4}")).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    // A socket whose owner never reads answers no ping: it says HELLO over a bare connection and then rests.
    let deaf = deaf_member(&app, &room.code).await;
    // Waiting reads, and reading answers pings: the two who live have to wait side by side.
    for viewers in [3, 2] {
        let seen = |state: &Value| state["presence"]["viewers"] == viewers;
        tokio::join!(ann.sees(seen), ben.sees(seen));
    }
    drop(deaf);
}

/// A member on a bare TCP connection that never answers anything.
async fn deaf_member(app: &App, code: &str) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = app.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let upgrade = format!(
        "GET /ws/v1/rooms/{code} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // A masked text frame, with a mask of zeros.
    let hello = br#"{"type":"HELLO"}"#;
    let mut frame = vec![0x81, 0x80 | hello.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(hello);
    stream.write_all(&frame).await.unwrap();
    stream
}

#[tokio::test]
async fn what_breaks_the_websocket_protocol_is_closed_and_hurts_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let mut stream = deaf_member(&app, &room.code).await;
    // An unmasked frame with a reserved opcode.
    stream.write_all(&[0x8f, 0x01, 0x00]).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let close_1002 = [0x03, 0xea];
    assert!(rest.windows(2).any(|pair| pair == close_1002), "closed with 1002");
    ann.seek(4_000).await;
    ben.sees_position(4_000).await;
}

#[tokio::test]
async fn ping_tells_the_servers_clock() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    let mut viewer = app.viewer(&room).await;
    let (pong, _) = viewer.ping().await;
    assert_eq!(pong["client_ms"], 4711);
    assert!(pong["server_ms"].as_i64() >= viewer.welcome["server_ms"].as_i64());
}

#[tokio::test]
async fn the_hosts_uplink_delay_does_not_become_everyones_lag() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let (pong, _) = ann.ping().await;
    let now = pong["server_ms"].as_i64().unwrap();
    ann.send(json!({ "type": "PLAY", "position_ms": 10_000, "at_ms": now - 1_000 })).await;
    let state = ben.sees(|state| state["playback"]["is_playing"] == true).await;
    let playback = &state["playback"];
    let at_report = playback["position_ms"].as_i64().unwrap() - (playback["at_ms"].as_i64().unwrap() - (now - 1_000));
    assert_eq!(at_report, 10_000, "where it was when she said it was");
}

#[tokio::test]
async fn a_burst_of_joins_is_a_handful_of_states() {
    let app = App::with(MP4).await;
    let room = app.room().await;
    let mut ann = app.host(&room).await;
    let joins = (0..60).map(|_| app.viewer(&room));
    let viewers = futures_util::future::join_all(joins).await;
    let mut states = 0;
    while ann.state["presence"]["viewers"] != 61 {
        ann.next().await;
        states += 1;
    }
    assert!(states <= 10, "{states} states for 60 joins");
    drop(viewers);
    ann.sees(|state| state["presence"]["viewers"] == 1).await;
}

#[tokio::test]
async fn a_stalled_viewer_delays_nobody_and_gets_the_newest_state() {
    let app = App::with(&format!("[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000\n{MP4}")).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let mut stalled = app.viewer(&room).await;
    for position in 1..=2_000 {
        ann.seek(position * 10).await;
    }
    ben.sees_position(20_000).await;
    // It has read nothing all the while: what it reads now ends with the newest, and versions only grow.
    stalled.sees_position(20_000).await;
}

#[tokio::test]
async fn a_stopping_host_closes_its_sockets_with_1012_and_loses_nothing() {
    let mut app = App::with(MP4).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ann.seek(8_000).await;
    ben.sees_position(8_000).await;
    app.terminate();
    let ((ann_code, _), (ben_code, _)) = tokio::join!(ann.is_closed(), ben.is_closed());
    assert_eq!((ann_code, ben_code), (1012, 1012));
    assert!(app.stopped().await.success());
    app.launch().await;
    assert_eq!(app.host(&room).await.welcome["you"]["role"], "host");
}

/// A page has given its order up by then, says so, and is elsewhere: it is not carried out behind everybody's back.
#[tokio::test]
async fn what_was_ordered_while_the_node_was_stopped_is_not_carried_out_when_it_goes_on() {
    let app = App::with(MP4).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    let other = app.room().await;
    app.signal("-STOP");
    ann.seek(9_000).await;
    ann.send(json!({ "type": "PAUSE", "position_ms": 9_000 })).await;
    // So over REST: whoever asked has given it up by the time it is read.
    let path = format!("/api/v1/rooms/{}", other.code);
    let (refused, ()) = tokio::join!(app.request(Method::DELETE, &path, Some(&other.key), None), async {
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        app.signal("-CONT");
    });
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    assert_eq!(refused.problem(), "unavailable");
    assert_eq!(app.view(&other).await["code"], other.code);
    for _ in 0..2 {
        assert!(ann.hears_error("live_unavailable").await.contains("will not be later"));
    }
    // From then on what is ordered is done, and nothing else was.
    ann.seek(5_000).await;
    while ben.state["playback"]["position_ms"] != 5_000 {
        ben.next().await;
        assert_ne!(ben.state["playback"]["position_ms"], 9_000, "{}", ben.state);
    }
    assert!(ann.outcome().await.iter().all(|message| message["type"] == "STATE"));
}

#[tokio::test]
async fn who_says_goodbye_is_answered() {
    let app = App::start().await;
    let room = app.room().await;
    let mut ann = app.host(&room).await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    ann.send_raw(Message::Close(Some(frame))).await;
    assert_eq!(ann.is_closed().await.0, 1000);
    until(|| async { app.view(&room).await["presence"]["viewers"] == 0 }).await;
}
