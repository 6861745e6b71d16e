//! Plugin libraries that load, those that do not, and what both do to the rest.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{App, until};

/// The reason a provider is refused for.
async fn refusal(app: &App, id: &str) -> String {
    let provider = app.provider(id).await;
    assert_eq!(provider["state"], "refused", "{provider}");
    provider["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_four_providers_are_ready_with_what_their_manifests_say() {
    let app = App::start().await;
    let list = app.get("/api/v1/providers").await.body;
    let ids: Vec<_> = list["providers"].as_array().unwrap().iter().map(|p| (&p["id"], &p["state"])).collect();
    let ready = json!("ready");
    assert_eq!(
        ids,
        [(&json!("mp4"), &ready), (&json!("vidking"), &ready), (&json!("youtube"), &ready), (&json!("vimeo"), &ready)]
    );

    let vidking = app.provider("vidking").await;
    assert_eq!(vidking["media_types"], json!(["movie", "tv"]));
    assert_eq!((&vidking["supports_events"], &vidking["supports_progress"]), (&json!(true), &json!(true)));
    assert_eq!(vidking["capabilities"], json!({ "seek": true, "pause": true, "resume": true, "autoplay": true }));
    let params: Vec<_> =
        vidking["render_params"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(params, ["color", "autoPlay", "nextEpisode", "episodeSelector", "progress"]);
    assert_eq!(vidking["player"]["control"], "reload");
    let own = &app.provider("mp4").await["player"]["embed_origins"];
    assert_eq!(own, &json!(["self"]), "configuration is filled in");
}

#[tokio::test]
async fn each_provider_derives_its_documented_urls() {
    let app = App::start().await;
    let resolve = async |id: &str, media: Value| app.post(&format!("/api/v1/providers/{id}/resolve"), media).await;
    for (id, media, url) in [
        (
            "vidking",
            json!({ "media_type": "movie", "external_id": "1078605" }),
            "https://www.vidking.net/embed/movie/1078605",
        ),
        (
            "vidking",
            json!({ "media_type": "tv", "external_id": "119051", "season": 0, "episode": 3 }),
            "https://www.vidking.net/embed/tv/119051/0/3",
        ),
        (
            "youtube",
            json!({ "media_type": "movie", "external_id": "aqz-KE-bpKQ" }),
            "https://www.youtube-nocookie.com/embed/aqz-KE-bpKQ",
        ),
        (
            "vimeo",
            json!({ "media_type": "movie", "external_id": "76979871/8272103f6e" }),
            "https://player.vimeo.com/video/76979871?h=8272103f6e",
        ),
        ("mp4", json!({ "media_type": "movie", "external_id": "a b/ü.webm" }), "/media/a%20b/%C3%BC.webm"),
    ] {
        let answer = resolve(id, media).await;
        assert_eq!(answer.body["embed_url"], url, "{answer:?}");
        assert_eq!(answer.body["source"]["provider"], id);
    }
    let answer = resolve("vidking", json!({ "media_type": "movie", "external_id": "1", "color": "red" })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "render parameters have no business here");
    assert_eq!(
        resolve("nobody", json!({ "media_type": "movie", "external_id": "1" })).await.problem(),
        "provider_not_found"
    );
}

#[tokio::test]
async fn a_bridge_is_immutable_under_its_hash() {
    let app = App::start().await;
    let url = app.provider("vimeo").await["bridge_url"].as_str().unwrap().to_owned();
    let by_hash = app.get(&url).await;
    assert_eq!(by_hash.headers["content-type"], "text/javascript; charset=utf-8");
    assert!(by_hash.headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert!(by_hash.body.as_str().unwrap().contains("export default"));
    let bare = app.get("/api/v1/providers/vimeo/bridge.js").await;
    assert_eq!(bare.headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn removing_a_library_removes_that_provider_and_nothing_else() {
    let mut app = App::start().await;
    let tube = json!({ "provider": "youtube", "media_type": "movie", "external_id": "aqz-KE-bpKQ" });
    let room = app.room_playing(tube.clone()).await;
    let library = app.library("youtube");
    let aside = app.path("aside");
    fs::rename(&library, &aside).unwrap();
    app.restart().await;

    assert!(refusal(&app, "youtube").await.contains("no such file"));
    for id in ["mp4", "vidking", "vimeo"] {
        assert_eq!(app.provider(id).await["state"], "ready");
    }
    let answer = app.post("/api/v1/rooms", json!({ "source": tube })).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::SERVICE_UNAVAILABLE, "provider_not_ready"));
    // Its rooms live on, without a picture.
    let view = app.view(&room).await;
    assert_eq!(view["embed_url"], Value::Null);
    assert!(view["source_error"].as_str().unwrap().contains("not ready"));
    let mut host = app.host(&room).await;
    host.seek(1_000).await;
    host.sees_position(1_000).await;

    fs::rename(&aside, &library).unwrap();
    app.restart().await;
    assert_eq!(app.view(&room).await["embed_url"], "https://www.youtube-nocookie.com/embed/aqz-KE-bpKQ");
}

#[tokio::test]
async fn a_provider_that_is_not_named_is_never_loaded() {
    let app = App::with("[providers.vimeo]").await;
    assert_eq!(app.get("/api/v1/providers").await.body["providers"].as_array().unwrap().len(), 1);
    assert!(!app.log().contains("vidking"));
}

#[tokio::test]
async fn a_disabled_provider_takes_no_rooms() {
    let app = App::with("[providers.vimeo]\nenabled = false").await;
    let vimeo = app.provider("vimeo").await;
    assert_eq!((&vimeo["state"], &vimeo["reason"]), (&json!("disabled"), &json!("turned off by `enabled = false`")));
    let source = json!({ "provider": "vimeo", "media_type": "movie", "external_id": "76979871" });
    assert_eq!(app.post("/api/v1/rooms", json!({ "source": source })).await.problem(), "provider_not_ready");
}

#[tokio::test]
async fn a_bad_provider_configuration_is_named_by_key() {
    let app = App::with(
        "[providers.mp4]\nconfig = { base_url = \"media\" }\n[providers.vimeo]\nconfig = { colour = \"red\" }",
    )
    .await;
    assert!(refusal(&app, "mp4").await.contains("config.base_url: `media`"));
    assert!(refusal(&app, "vimeo").await.contains("config.colour: unknown field `colour`"));
}

#[test]
fn a_required_provider_that_cannot_load_stops_the_start() {
    let app = App::prepare("[providers.acme]\nrequired = true");
    let output = app.streamit(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("the required provider `acme` is refused: plugins/"), "{text}");
}

const STRANGER: &str =
    "[providers.stranger]\ncall_timeout_ms = 200\n[providers.mp4]\nconfig = { base_url = \"/media/\" }";

#[tokio::test]
async fn what_a_plugin_must_not_answer_is_not_passed_on() {
    for (id, reason) in [
        ("http", "neither https nor http on this machine"),
        ("script", "neither https nor http on this machine"),
        ("elsewhere", "on none of its embed_origins"),
        ("user", "carries a user name"),
        ("long", "wrote more than 2048 bytes"),
    ] {
        let app = App::with(STRANGER).await;
        let answer = app.resolve("stranger", id).await;
        assert_eq!((answer.status, answer.problem()), (StatusCode::BAD_GATEWAY, "provider_failed"), "{id}");
        assert!(app.log().contains(reason), "{id}");
        assert_eq!(app.resolve("stranger", "fine").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let app = App::with(STRANGER).await;
    assert_eq!(app.resolve("stranger", "panic").await.problem(), "provider_failed");
    assert_eq!(app.resolve("stranger", "fine").await.status, StatusCode::OK);
    assert!(app.log().contains("plugin: panicked at tests/fixtures/stranger/src/lib.rs:"), "its text and place");
    assert!(app.log().contains("as the id asked"));
    assert_eq!(app.provider("stranger").await["state"], "ready");
    app.room().await;
}

#[tokio::test]
async fn a_panic_is_caught_wherever_it_starts() {
    for isolation in ["none", "process"] {
        let config =
            |more: &str| {
                format!("{STRANGER}\n[providers.stranger]\nisolation = \"{isolation}\"\nconfig = {{ {more} }}")
                    .replacen("[providers.stranger]\ncall_timeout_ms = 200\n", "", 1)
            };
        let app = App::with(&config("panics_in_new = true")).await;
        let stranger = app.provider("stranger").await;
        assert_eq!(stranger["state"], "refused");
        let reason = stranger["reason"].as_str().unwrap();
        assert!(reason.contains("create panicked; the plugin's own text is in the host's log"), "{reason}");
        assert!(app.log().contains("plugin: panicked at tests/fixtures/stranger/src/lib.rs:"), "its text and place");

        app.write_config(&config("panics_in_drop = true"));
        app.reload().await;
        assert_eq!(app.resolve("stranger", "trap").await.problem(), "provider_failed");
        assert_eq!(app.resolve("stranger", "fine").await.status, StatusCode::OK);
        app.write_config(&config("generation = 3"));
        assert_eq!(app.reload().await["providers"][1]["change"], "reloaded", "{isolation}");
        assert_eq!(app.resolve("stranger", "generation").await.body["embed_url"], "https://stranger.example/3");
        app.room().await;
    }
}

#[tokio::test]
async fn a_call_that_never_returns_takes_a_thread_and_nothing_else() {
    let app = App::with(STRANGER).await;
    for n in 1..=3 {
        let id = format!("hang {n}");
        let (hung, _room) = tokio::join!(app.resolve("stranger", &id), app.room());
        assert_eq!(hung.problem(), "provider_failed");
        assert!(app.log().contains("provider failed: a call did not come to an end within 200ms"), "{}", app.log());
        let next = app.resolve("stranger", &format!("fine {n}")).await;
        if n < 3 {
            assert_eq!(next.status, StatusCode::OK, "another thread goes on: {next:?}");
        } else {
            assert_eq!(next.problem(), "provider_not_ready");
        }
    }
    // Each time a thread is gone, and there is an end to that.
    let refused = refusal(&app, "stranger").await;
    assert!(refused.contains("3 of its calls never returned, each keeping a thread; restart the host"), "{refused}");
    assert_eq!(
        app.resolve("stranger", "fine 1").await.status,
        StatusCode::OK,
        "what it said before is true all the same"
    );
    let metrics = app.metrics().await;
    for line in ["streamit_provider_ready{provider=\"stranger\"} 0", "streamit_provider_ready{provider=\"mp4\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    app.reload().await;
    let refused = refusal(&app, "stranger").await;
    assert!(refused.contains("3 of its calls never returned"), "{refused}");
    app.room().await;
}

#[tokio::test]
async fn a_call_that_is_late_is_given_up_and_its_thread_comes_back() {
    let app = App::with(&STRANGER.replace("200", "50")).await;
    for n in 0..5 {
        assert_eq!(app.resolve("stranger", &format!("slow {n}")).await.problem(), "provider_failed");
        until(|| async { app.resolve("stranger", &format!("fine {n}")).await.status == StatusCode::OK }).await;
    }
}

#[tokio::test]
async fn places_that_the_operator_names_are_several_or_none_and_redirects_are_the_pages_alone() {
    let policy =
        async |app: &App| app.get("/r/K7QM2X").await.headers["content-security-policy"].to_str().unwrap().to_owned();
    let mut app = App::with("[providers.broadcast]\n").await;
    let frames = "frame-src https://broadcast.example https://cdn.broadcast.example;";
    assert!(policy(&app).await.contains(frames), "{}", policy(&app).await);
    let provider = app.provider("broadcast").await;
    assert_eq!(provider["player"]["embed_origins"], json!(["https://broadcast.example"]));
    assert!(provider["player"]["redirect_origins"].is_null(), "{provider}");

    let places = "mirrors = [\"https://a.example/\", \"https://b.example/\"], caches = [\"https://c.example/\"]";
    app.write_config(&format!("[providers.broadcast]\nconfig = {{ {places} }}\n"));
    app.restart().await;
    let all = policy(&app).await;
    for origin in ["https://a.example", "https://b.example", "https://c.example"] {
        assert!(all.contains(origin), "{origin} in {all}");
    }
    assert_eq!(app.resolve("broadcast", "mirror").await.body["embed_url"], "https://a.example/mirror");
    let provider = app.provider("broadcast").await;
    assert_eq!(
        provider["player"]["embed_origins"],
        json!(["https://broadcast.example", "https://a.example", "https://b.example"])
    );
    // Whoever is led there may not begin there.
    app.write_config(
        "[providers.broadcast]\nconfig = { mirrors = [\"/media/\"], caches = [\"https://c.example/\"] }\n",
    );
    app.restart().await;
    assert_eq!(app.resolve("broadcast", "mirror").await.body["embed_url"], "/media/mirror");
}

#[tokio::test]
async fn http_on_another_machine_is_for_whom_the_operator_allows_it() {
    let config =
        |more: &str| format!("[providers.mp4]\n{more}config = {{ base_url = \"http://films.lan:8096/v/\" }}\n");
    let mut app = App::with(&config("")).await;
    let refused = refusal(&app, "mp4").await;
    assert!(
        refused.contains("config.base_url: http is for this machine only") && refused.contains("allow_http = true"),
        "{refused}"
    );
    app.write_config(&config("allow_http = true\n"));
    app.restart().await;
    assert_eq!(app.resolve("mp4", "a.mp4").await.body["embed_url"], "http://films.lan:8096/v/a.mp4");
    let matches = app.post("/api/v1/links", json!({ "link": "http://films.lan:8096/v/a.mp4" })).await;
    assert_eq!(matches.body["matches"][0]["source"]["external_id"], "a.mp4", "{matches:?}");
    let policy = app.get("/").await.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("media-src 'self' blob: http://films.lan:8096;"), "{policy}");
}
