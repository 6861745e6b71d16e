//! Real answers and real messages against the published OpenAPI and AsyncAPI.

use std::{collections::BTreeSet, fs};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, App, Member, clock, episode, repository};

/// One published description.
struct Contract(Value);

impl Contract {
    async fn of(app: &App, name: &str) -> Contract {
        Contract(app.get(&format!("/api/v1/{name}.json")).await.body)
    }

    fn validator(&self, schema: &str) -> jsonschema::Validator {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}"), "components": self.0["components"] });
        jsonschema::validator_for(&schema).unwrap()
    }

    /// Whether a value is one of the description's schemas.
    fn fits(&self, schema: &str, value: &Value) -> bool {
        self.validator(schema).is_valid(value)
    }

    /// Holds a value against one of the description's schemas.
    fn holds(&self, schema: &str, value: &Value) {
        let validator = self.validator(schema);
        let problems: Vec<_> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(problems.is_empty(), "{value:#} is not as published: {problems:?}");
    }

    /// Holds an answer against what its path and method promise.
    fn answers(&self, method: &str, path: &str, answer: &Answer) {
        let responses = &self.0["paths"][path][method]["responses"];
        assert!(responses.is_object(), "{method} {path} is not described");
        let described = match &responses[answer.status.as_str()] {
            Value::Null => &responses["default"],
            described => described,
        };
        let content_type = answer.headers["content-type"].to_str().unwrap();
        let reference = described["content"][content_type]["schema"]["$ref"].as_str().unwrap_or_else(|| {
            panic!("{method} {path} answers {} with {content_type}, which is not described", answer.status)
        });
        self.holds(reference.rsplit('/').next().unwrap(), &answer.body);
    }
}

#[tokio::test]
async fn every_answer_is_as_published() {
    let app =
        App::with("[providers.mp4]\nconfig = { base_url = \"/media/\" }\n[providers.vidking]\n[providers.acme]\n[providers.theatre]\n")
            .await;
    let openapi = Contract::of(&app, "openapi").await;
    let key_of = |answer: &Answer| answer.body["host_key"].as_str().unwrap().to_owned();

    openapi.answers("get", "/api/v1/providers", &app.get("/api/v1/providers").await);
    for id in ["vidking", "acme", "theatre", "nobody"] {
        openapi.answers("get", "/api/v1/providers/{id}", &app.get(&format!("/api/v1/providers/{id}")).await);
    }
    for media in
        [json!({ "media_type": "movie", "external_id": "1" }), json!({ "media_type": "tv", "external_id": "x" })]
    {
        openapi.holds("Identity", &media);
        openapi.answers(
            "post",
            "/api/v1/providers/{id}/resolve",
            &app.post("/api/v1/providers/vidking/resolve", media).await,
        );
    }
    for request in [json!({ "source": clock() }), json!({ "title": "t", "visibility": "public", "source": episode() })]
    {
        openapi.holds("CreateRoom", &request);
        let created = app.post("/api/v1/rooms", request).await;
        openapi.answers("post", "/api/v1/rooms", &created);
        let code = created.body["room"]["code"].as_str().unwrap();
        let path = format!("/api/v1/rooms/{code}");
        let _host = Member::join(&app, code, json!({ "type": "HELLO", "key": key_of(&created) })).await;
        openapi.answers("get", "/api/v1/rooms/{code}", &app.get(&path).await);
        let put = app.request(Method::PUT, &format!("{path}/source"), Some(&key_of(&created)), Some(episode())).await;
        openapi.answers("put", "/api/v1/rooms/{code}/source", &put);
        let refused = app.request(Method::PUT, &format!("{path}/source"), None, Some(episode())).await;
        openapi.answers("put", "/api/v1/rooms/{code}/source", &refused);
        let refused = app.request(Method::DELETE, &path, Some("wrong"), None).await;
        openapi.answers("delete", "/api/v1/rooms/{code}", &refused);
        openapi.answers("get", "/api/v1/rooms", &app.get("/api/v1/rooms?limit=1").await);
    }
    for (link, start_ms) in
        [("/media/clock.webm#t=5", None), ("themoviedb.org/tv/1399", Some(7_000)), ("example.org/1", None)]
    {
        let question = json!({ "link": link });
        openapi.holds("LinkQuestion", &question);
        openapi.answers("post", "/api/v1/links", &app.post("/api/v1/links", question).await);
        let request = match start_ms {
            Some(start_ms) => json!({ "link": link, "start_ms": start_ms }),
            None => json!({ "link": link }),
        };
        openapi.holds("CreateRoom", &request);
        openapi.holds("NewSource", &request);
        openapi.answers("post", "/api/v1/rooms", &app.post("/api/v1/rooms", request).await);
    }
    std::fs::create_dir(app.path("media/more")).unwrap();
    std::fs::write(app.path("media/clock.en.srt"), "").unwrap();
    for query in ["", "?limit=1", "?folder=more", "?folder=nowhere"] {
        openapi.answers("get", "/api/v1/media", &app.get(&format!("/api/v1/media{query}")).await);
    }
    for file in ["clock.webm", "nothing.webm"] {
        let answer = app.get(&format!("/api/v1/media/tracks?file={file}")).await;
        openapi.answers("get", "/api/v1/media/tracks", &answer);
    }
    openapi.holds("NewSource", &json!({ "provider": "mp4", "media_type": "movie", "external_id": "a", "start_ms": 5 }));
    for odd in [json!({}), json!({ "link": "x", "provider": "mp4" })] {
        assert!(!openapi.fits("NewSource", &odd) && !openapi.fits("CreateRoom", &odd), "{odd}");
    }
    let missing = app.get("/api/v1/providers/theatre/assets/0123/player.js").await;
    openapi.answers("get", "/api/v1/providers/{id}/assets/{hash}/{name}", &missing);
    openapi.answers(
        "post",
        "/api/v1/rooms",
        &app.post("/api/v1/rooms", json!({ "source": { "provider": "acme" } })).await,
    );
    let not_ready = json!({ "source": { "provider": "acme", "media_type": "movie", "external_id": "1" } });
    openapi.answers("post", "/api/v1/rooms", &app.post("/api/v1/rooms", not_ready).await);
    openapi.answers("get", "/api/v1/rooms/{code}", &app.get("/api/v1/rooms/AAAAAA").await);
}

#[tokio::test]
async fn every_message_is_as_published() {
    let app = App::start().await;
    let asyncapi = Contract::of(&app, "asyncapi").await;
    let room = app.room_playing(episode()).await;
    let before = app.view(&room).await["playback"].clone();
    let seen = json!({ "version": before["version"], "source": episode(), "playback": before });
    let hello = json!({ "type": "HELLO", "name": "Ann", "key": room.key, "seen": seen });
    asyncapi.holds("HELLO", &hello);
    let mut ann = Member::join(&app, &room.code, hello).await;
    asyncapi.holds("WELCOME", &ann.welcome);
    let version = ann.sees(|state| state["presence"]["viewers"] == 1).await["version"].clone();
    for message in [
        json!({ "type": "PLAY", "position_ms": 1_000, "at_ms": 1, "version": version }),
        json!({ "type": "SEEK", "position_ms": 5_000, "version": version }),
        json!({ "type": "PROGRESS", "position_ms": 9_000 }),
        json!({ "type": "PAUSE", "because": "buffering", "version": version }),
        json!({ "type": "PAUSE" }),
        json!({ "type": "PLAY" }),
        json!({ "type": "SEEK", "position_ms": 6_000 }),
        json!({ "type": "PROGRESS", "position_ms": 7_000, "ended": true }),
        json!({ "type": "SYNC" }),
    ] {
        asyncapi.holds(message["type"].as_str().unwrap(), &message);
        ann.send(message).await;
        asyncapi.holds("STATE", &ann.next().await);
    }
    asyncapi.holds("PING", &json!({ "type": "PING", "client_ms": 4711 }));
    asyncapi.holds("PONG", &ann.ping().await.0);
    ann.send(json!({ "type": "NONSENSE" })).await;
    asyncapi.holds("ERROR", &ann.next().await);
    let held = App::with("[providers.broadcast]").await;
    let show = json!({ "provider": "broadcast", "media_type": "movie", "external_id": "show" });
    let mut cat = held.host(&held.room_playing(show).await).await;
    cat.outcome().await;
    cat.send(json!({ "type": "PAUSE" })).await;
    asyncapi.holds("ERROR", &cat.next().await);
    let mut ben = app.viewer(&room).await;
    drop(ann);
    asyncapi.holds("STATE", &ben.sees(|state| state["presence"]["host"] == "away").await);
    app.request(Method::DELETE, &format!("/api/v1/rooms/{}", room.code), Some(&room.key), None).await;
    asyncapi.holds("CLOSED", ben.is_closed().await.1.last().unwrap());
}

fn source(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The variants of an enum in the source, as serde writes them.
fn variants(path: &str, name: &str) -> BTreeSet<String> {
    let text = source(path);
    let (_, rest) = text.split_once(&format!("enum {name} {{")).unwrap();
    let body = rest.split_once("\n}").unwrap().0;
    let names = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let snake = |name: &str| {
        name.chars().enumerate().fold(String::new(), |mut word, (n, c)| {
            if c.is_uppercase() && n > 0 {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
            word
        })
    };
    names.map(snake).collect()
}

#[tokio::test]
async fn the_descriptions_are_complete() {
    let app = App::with("").await;
    let openapi = Contract::of(&app, "openapi").await.0;
    let asyncapi = Contract::of(&app, "asyncapi").await.0;
    let words = |list: &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let schemas = &openapi["components"]["schemas"];
    assert_eq!(
        variants("host/src/http/error.rs", "ErrorCode"),
        words(&schemas["Problem"]["properties"]["code"]["enum"])
    );
    let states = words(&schemas["Provider"]["properties"]["state"]["enum"]);
    assert_eq!(variants("host/src/providers/description.rs", "Status"), states);
    let messages = &asyncapi["components"]["schemas"];
    assert_eq!(variants("host/src/protocol.rs", "ErrorCode"), words(&messages["ERROR"]["properties"]["code"]["enum"]));

    let routes = source("host/src/http.rs");
    let routes = routes.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next());
    let described: BTreeSet<_> = openapi["paths"].as_object().unwrap().keys().cloned().collect();
    let existing = routes.filter(|path| path.starts_with("/api/v1/") && !path.ends_with(".json")).map(str::to_owned);
    assert_eq!(existing.collect::<BTreeSet<_>>(), described);

    // Every close code of the source is explained.
    let codes = source("host/src/protocol.rs");
    let codes = codes.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": u16 = "));
    let explained = asyncapi["info"]["description"].as_str().unwrap();
    for (name, code) in codes {
        assert!(explained.contains(code.trim_end_matches(';')), "{name}");
    }
}
