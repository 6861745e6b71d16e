//! A room's life over REST and across restarts.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{App, Member, Room, clock, episode};

#[tokio::test]
async fn create_join_play_and_a_late_joiner_starts_at_the_current_position() {
    let app = App::start().await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ann.send(json!({ "type": "PLAY", "position_ms": 60_000 })).await;
    ann.sees(|state| state["playback"]["is_playing"] == true).await;
    let anchor = ben.sees(|state| state["playback"]["is_playing"] == true).await["playback"].clone();
    assert_eq!(anchor["position_ms"], 60_000);

    let late = app.viewer(&room).await;
    assert_eq!(late.state["playback"], anchor, "the same anchor gives the same position at any moment");
    let lead_ms = 150;
    assert!(late.welcome["server_ms"].as_i64().unwrap() + lead_ms >= anchor["at_ms"].as_i64().unwrap());
    assert_eq!(app.view(&room).await["playback"]["position_ms"], 60_000);
}

#[tokio::test]
async fn a_room_view_has_the_contracts_fields() {
    let app = App::start().await;
    let answer = app
        .post("/api/v1/rooms", json!({ "title": " Friday film ", "visibility": "public", "source": episode() }))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let room = &answer.body["room"];
    assert_eq!(answer.headers["location"], format!("/api/v1/rooms/{}", room["code"].as_str().unwrap()));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(room["title"], "Friday film");
    assert_eq!(
        room["source"],
        json!({ "provider": "vidking", "media_type": "tv", "external_id": "119051", "season": 1, "episode": 8,
                "supports_events": true, "supports_progress": true,
                "capabilities": { "seek": true, "pause": true, "resume": true, "autoplay": true } })
    );
    assert_eq!(room["embed_url"], "https://www.vidking.net/embed/tv/119051/1/8");
    assert_eq!((&room["playback"]["is_playing"], &room["playback"]["position_ms"]), (&json!(false), &json!(0)));
    assert_eq!((&room["presence"]["viewers"], &room["presence"]["host"]), (&json!(0), &json!("away")));
    assert!(room["presence"]["host_away_until_ms"].is_i64(), "a room whose host never comes expires");
}

#[tokio::test]
async fn a_code_is_found_in_any_case() {
    let app = App::start().await;
    let room = app.room().await;
    let answer = app.get(&format!("/api/v1/rooms/{}", room.code.to_lowercase())).await;
    assert_eq!(answer.body["code"], room.code.as_str());
}

#[tokio::test]
async fn a_bad_identity_is_refused_field_by_field() {
    let app = App::start().await;
    let refused = async |source: Value| {
        let answer = app.post("/api/v1/rooms", json!({ "source": source })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
        assert_eq!(answer.problem(), "invalid_media");
        answer.fields()
    };
    let field = |field: &str, kind: &str| (field.to_owned(), kind.to_owned());

    let without = |name: &str| {
        let mut source = episode();
        source.as_object_mut().unwrap().remove(name);
        source
    };
    assert_eq!(refused(without("season")).await, [field("season", "missing")]);
    assert_eq!(refused(without("episode")).await, [field("episode", "missing")]);
    assert_eq!(refused(without("external_id")).await, [field("source", "format")]);
    let movie = json!({ "provider": "vidking", "media_type": "movie", "external_id": "1", "season": 1 });
    assert_eq!(refused(movie).await, [field("season", "unsupported")]);
    let wrong = json!({ "provider": "vidking", "media_type": "tv", "external_id": "tt1", "episode": 0 });
    assert_eq!(refused(wrong).await, [field("external_id", "format"), field("season", "missing")]);
    let unknown_type = json!({ "provider": "vidking", "media_type": "film", "external_id": "1" });
    assert_eq!(refused(unknown_type).await, [field("media_type", "format")]);
    let unknown_provider = json!({ "provider": "nobody", "media_type": "movie", "external_id": "1" });
    assert_eq!(refused(unknown_provider).await, [field("provider", "unsupported")]);
    let series =
        json!({ "provider": "youtube", "media_type": "tv", "external_id": "aqz-KE-bpKQ", "season": 1, "episode": 1 });
    assert_eq!(refused(series).await, [field("media_type", "unsupported")]);
    let too_large = json!({ "provider": "vidking", "media_type": "tv", "external_id": "1", "season": 4_294_967_296_i64, "episode": 1 });
    assert_eq!(refused(too_large).await, [field("season", "format")]);
    let long = json!({ "provider": "vidking", "media_type": "movie", "external_id": "1".repeat(2000) });
    assert_eq!(refused(long).await, [field("external_id", "range")]);
    let empty = json!({ "provider": "vidking", "media_type": "movie", "external_id": "" });
    assert_eq!(refused(empty).await, [field("external_id", "missing")]);
    let control = json!({ "provider": "mp4", "media_type": "movie", "external_id": "a\u{0}b" });
    assert_eq!(refused(control).await, [field("external_id", "format")]);

    let answer = app.post("/api/v1/rooms", json!({ "title": "x".repeat(121), "source": clock() })).await;
    assert_eq!(answer.fields(), [field("title", "range")]);
}

#[tokio::test]
async fn a_request_that_is_not_json_is_refused_with_the_place() {
    let app = App::start().await;
    let post = async |content_type: &str, body: &str| {
        let request = app.raw(Method::POST, "/api/v1/rooms").header("content-type", content_type).body(body.to_owned());
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let status = response.status();
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        (status, problem["code"].as_str().unwrap().to_owned(), problem["detail"].as_str().unwrap().to_owned())
    };
    let (status, code, detail) = post("application/json", "{\"source\": ").await;
    assert_eq!((status, code.as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert!(detail.contains("line 1 column"), "{detail}");
    assert_eq!(post("text/plain", "{}").await.1, "invalid_request");
    assert_eq!(post("application/json", "{} x").await.1, "invalid_request");
    assert_eq!(post("application/json", &format!("\"{}\"", "x".repeat(20_000))).await.1, "payload_too_large");
    let (_, code, detail) = post("application/json", r#"{"source":{},"colour":"red"}"#).await;
    assert_eq!(code, "invalid_media");
    assert!(detail.contains("provider") || detail.contains("colour"), "{detail}");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_documented_form() {
    let app = App::start().await;
    assert_eq!(app.get("/api/v1/rooms/AAAAAA").await.problem(), "room_not_found");
    assert_eq!(app.get("/api/v1/rooms/nonsense").await.problem(), "room_not_found");
    assert_eq!(app.get("/api/v1/providers/nobody").await.problem(), "provider_not_found");
    assert_eq!(app.get("/api/v1/nothing").await.problem(), "not_found");
    let answer = app.request(Method::PATCH, "/api/v1/rooms", None, None).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(app.get("/api/v1/rooms?cursor=garbage").await.problem(), "invalid_request");
    assert_eq!(app.get("/api/v1/rooms?limit=abc").await.problem(), "invalid_request");
    assert_eq!(app.get("/api/v1/rooms/%ff").await.problem(), "room_not_found");
    for path in ["api/v1/providers/%ff", "api/v1/providers/%ff/bridge.js", "assets/%ff", "client/%ff"] {
        assert_eq!(app.get(&format!("/{path}")).await.problem(), "not_found", "{path}");
    }
    assert!(app.get("/api/v1/rooms").await.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn only_the_host_changes_the_source_and_everyone_sees_it() {
    let app = App::start().await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ann.send(json!({ "type": "PLAY", "position_ms": 9_000 })).await;
    ben.sees(|state| state["playback"]["is_playing"] == true).await;

    let path = format!("/api/v1/rooms/{}/source", room.code);
    let put = async |key: Option<&str>, source: Value| app.request(Method::PUT, &path, key, Some(source)).await;
    let answer = put(None, episode()).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::UNAUTHORIZED, "host_key_required"));
    let answer = put(Some("wrong"), episode()).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "bad_host_key"));
    let answer =
        put(Some(&room.key), json!({ "provider": "vidking", "media_type": "movie", "external_id": "x" })).await;
    assert_eq!(answer.problem(), "invalid_media");
    assert_eq!(ben.sync().await["room"]["source"]["provider"], "mp4", "a refused source changes nothing");

    let answer = put(Some(&room.key), episode()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["embed_url"], "https://www.vidking.net/embed/tv/119051/1/8");
    let state = ben.sees(|state| state["room"]["source"]["provider"] == "vidking").await;
    assert_eq!(state["playback"]["is_playing"], false, "a new source starts paused");
    assert_eq!(state["playback"]["position_ms"], 0);
    assert_eq!(state["room"]["source"], episode(), "the socket carries identity only");
}

#[tokio::test]
async fn closing_tells_everyone_and_nobody_comes_back() {
    let app = App::start().await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    let path = format!("/api/v1/rooms/{}", room.code);
    let wrong = app.request(Method::DELETE, &path, Some("wrong"), None).await;
    assert_eq!(wrong.problem(), "bad_host_key");
    let closed = app.request(Method::DELETE, &path, Some(&room.key), None).await;
    assert_eq!(closed.status, StatusCode::NO_CONTENT);
    for member in [&mut ann, &mut ben] {
        let (code, said) = member.is_closed().await;
        assert_eq!(code, 4410);
        assert_eq!(said.last(), Some(&json!({ "type": "CLOSED", "reason": "closed_by_host" })));
    }
    assert_eq!(app.get(&path).await.problem(), "room_not_found");
    let refused = Member::connect(&app, &room.code, None).await.err().unwrap();
    assert_eq!((refused.status, &refused.problem["code"]), (StatusCode::NOT_FOUND, &json!("room_not_found")));
    assert_eq!(app.request(Method::DELETE, &path, Some(&room.key), None).await.problem(), "room_not_found");
}

#[tokio::test]
async fn a_room_outlives_its_host_by_the_grace_and_no_longer() {
    let app = App::with(
        "[rooms]\nhost_grace_secs = 1\ncreate_per_minute = 0\n[providers.mp4]\nconfig = { base_url = \"/media/\" }",
    )
    .await;
    let (_, ann, mut ben) = app.room_of_two().await;
    drop(ann);
    let state = ben.sees(|state| state["presence"]["host"] == "away").await;
    assert!(state["presence"]["host_away_until_ms"].is_i64());
    let (code, said) = ben.is_closed().await;
    assert_eq!(code, 4410);
    assert_eq!(said.last(), Some(&json!({ "type": "CLOSED", "reason": "host_gone" })));
}

#[tokio::test]
async fn the_list_has_public_rooms_whose_host_is_here() {
    let app = App::start().await;
    let public = |title: &str| json!({ "title": title, "visibility": "public", "source": clock() });
    let quiet = app.room_with(public("quiet")).await;
    let busy = app.room_with(public("busy")).await;
    let hidden = app.room_with(json!({ "title": "hidden", "source": clock() })).await;
    app.room_with(public("without its host")).await;
    let _quiet_host = app.host(&quiet).await;
    let _hidden_host = app.host(&hidden).await;
    let mut busy_host = app.host(&busy).await;
    let _viewer = app.viewer(&busy).await;
    busy_host.sees(|state| state["presence"]["viewers"] == 2).await;

    let first = app.get("/api/v1/rooms?limit=1").await.body;
    assert_eq!(first["rooms"][0]["title"], "busy");
    assert_eq!(first["rooms"][0]["presence"]["viewers"], 2);
    let second =
        app.get(&format!("/api/v1/rooms?limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await.body;
    assert_eq!(second["rooms"][0]["title"], "quiet");
    let all = app.get("/api/v1/rooms").await.body;
    assert_eq!(all["rooms"].as_array().unwrap().len(), 2);
    assert_eq!(all["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_room_survives_kill_9_with_its_identity_and_its_key() {
    let mut app = App::start().await;
    let room = app.room_with(json!({ "title": "still here", "source": clock() })).await;
    app.put_source(&room, episode()).await;
    let mut before = app.host(&room).await;
    let version = before.sync().await["version"].as_i64().unwrap();

    app.restart().await;
    let view = app.view(&room).await;
    assert_eq!((&view["title"], &view["source"]["external_id"]), (&json!("still here"), &json!("119051")));
    let mut host = app.host(&room).await;
    assert_eq!(host.welcome["you"]["role"], "host", "the key still opens the room");
    assert!(host.state["version"].as_i64().unwrap() > version, "a client with the old state takes the new one");
    host.seek(5_000).await;
    host.sees_position(5_000).await;
}

#[tokio::test]
async fn rooms_created_while_the_host_is_killed_are_there_or_were_never_promised() {
    let mut app = App::start().await;
    for _ in 0..3 {
        let url = format!("{}/api/v1/rooms", app.url);
        let creating = tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut promised = Vec::new();
            loop {
                let request = client.post(&url).json(&json!({ "source": clock() }));
                let Ok(response) = request.send().await else { return promised };
                let Ok(body) = response.json::<Value>().await else { return promised };
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                promised.push(Room { code: text(&body["room"]["code"]), key: text(&body["host_key"]) });
            }
        });
        // Some rooms exist before the blow falls.
        while !app
            .metrics()
            .await
            .lines()
            .any(|line| line.strip_prefix("streamit_rooms ").is_some_and(|count| count.parse::<u64>().unwrap() >= 20))
        {
        }
        app.restart().await;
        let promised = creating.await.unwrap();
        assert!(!promised.is_empty());
        for room in &promised {
            assert_eq!(app.view(room).await["code"], room.code.as_str());
        }
        let last = promised.last().unwrap();
        assert_eq!(app.host(last).await.welcome["you"]["role"], "host");
        for room in &promised {
            app.request(Method::DELETE, &format!("/api/v1/rooms/{}", room.code), Some(&room.key), None).await;
        }
        app.restart().await;
    }
}

#[tokio::test]
async fn too_many_rooms_from_one_address_are_refused_with_a_time_to_wait() {
    let app = App::with("[rooms]\ncreate_per_minute = 2\n[providers.mp4]\nconfig = { base_url = \"/media/\" }").await;
    app.room().await;
    let mistyped = json!({ "source": { "provider": "mp4", "media_type": "movie", "external_id": "../x" } });
    assert_eq!(app.post("/api/v1/rooms", mistyped).await.problem(), "invalid_media");
    app.room().await;
    let answer = app.post("/api/v1/rooms", json!({ "source": clock() })).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
}
