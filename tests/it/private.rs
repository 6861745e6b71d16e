//! URLs with the operator's key in them are told to those who are in a room, and to nobody else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{App, Room, browser::Browser};

const SECLUDED: &str = "[providers.secluded]\nconfig = { key = \"hunter2\" }\n";
const URL: &str = "https://secluded.example/film?key=hunter2";

fn film() -> Value {
    json!({ "provider": "secluded", "media_type": "movie", "external_id": "film" })
}

async fn seen_with(app: &App, room: &Room, shown: &str) -> (u16, Value) {
    let answer = app.request(Method::GET, &format!("/api/v1/rooms/{}", room.code), Some(shown), None).await;
    (answer.status.as_u16(), answer.body["embed_url"].clone())
}

#[tokio::test]
async fn who_is_not_in_the_room_is_not_told_where_its_video_is() {
    let app = App::with(&format!("[limits]\nguesses_per_minute = 3\n{SECLUDED}")).await;
    // To its maker a room says it at once: they have the key.
    let made = app.post("/api/v1/rooms", json!({ "source": film() })).await;
    assert_eq!(made.body["room"]["embed_url"], URL);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let room = Room { code: text(&made.body["room"]["code"]), key: text(&made.body["host_key"]) };

    for id in ["film", "1"] {
        let refused = app.resolve("secluded", id).await;
        assert_eq!((refused.status.as_u16(), refused.problem()), (403, "private_provider"));
    }
    let outside = app.view(&room).await;
    assert!(outside["embed_url"].is_null() && text(&outside["source_error"]).contains("in the room"), "{outside}");
    let matches = app.post("/api/v1/links", json!({ "link": "https://secluded.example/film" })).await.body;
    assert_eq!(matches["matches"][0]["source"]["external_id"], "film");
    for said in [outside, matches, app.get("/api/v1/providers/secluded").await.body] {
        assert!(!said.to_string().contains("hunter2"), "{said}");
    }

    let ben = app.viewer(&room).await;
    let pass = text(&ben.welcome["pass"]);
    for shown in [&pass, &room.key] {
        assert_eq!(seen_with(&app, &room, shown).await, (200, json!(URL)));
    }
    // The pass is the room's, and opens nothing else.
    let other = app.room_playing(film()).await;
    assert_eq!(seen_with(&app, &other, &pass).await, (200, Value::Null));
    let path = format!("/api/v1/rooms/{}", room.code);
    assert_eq!(app.request(Method::DELETE, &path, Some(&pass), None).await.problem(), "bad_host_key");
    // Whoever guesses is counted.
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(seen_with(&app, &room, "guess").await.0);
    }
    assert_eq!(answers.last(), Some(&429), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_room_everybody_sees_a_private_video() {
    let app = App::with(SECLUDED).await;
    let room = app.room_playing(film()).await;
    let browser = Browser::start();
    for fragment in [format!("#key={}", room.key), String::new()] {
        let window = browser.window().await;
        window.goto(&format!("{}/r/{}{fragment}", app.url, room.code)).await;
        window.join().await;
        window.until(&format!("window.secluded === {}", json!(URL))).await;
        window.close().await;
    }
}
