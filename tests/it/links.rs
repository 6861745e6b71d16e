//! Whatever people copy from their browser is understood, with where it starts, or refused in words.

mod tables;

use std::fs;

use proptest::prelude::*;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamit_plugin_api::{
    Manifest,
    links::{Address, Links},
};
use streamit_test_servers::Redis;

pub(crate) use self::tables::Means;
use self::tables::{FILES, ID, Means::*, VIDKING, VIMEO, YOUTUBE};
use crate::harness::{App, BUNDLED, episode, repository, until};

/// An identity in a few words.
fn identity(source: &Value) -> String {
    let id = source["external_id"].as_str().unwrap();
    match (source["provider"].as_str().unwrap(), source["media_type"].as_str().unwrap()) {
        ("vidking", "movie") => format!("movie {id}"),
        (_, "tv") => format!("tv {id} {} {}", source["season"], source["episode"]),
        (_, _) => id.to_owned(),
    }
}

pub(crate) async fn means(app: &App, link: &str, expected: &Means) -> Result<(), String> {
    let answer = app.post("/api/v1/links", json!({ "link": link })).await;
    let came = &answer.body;
    let is_so = match expected {
        Plays(provider, id, _) | Guesses(provider, id) => {
            let start_ms = if let Plays(_, _, start_s) = expected { (start_s * 1000.0) as i64 } else { 0 };
            let [only] = came["matches"].as_array().map_or(&[][..], Vec::as_slice) else {
                return Err(format!("{link}: {came}"));
            };
            only["source"]["provider"] == *provider
                && identity(&only["source"]) == *id
                && only["start_ms"] == start_ms
                && only["is_guess"] == matches!(expected, Guesses(..))
        }
        Refused(words) => answer.problem() == "refused_link" && came["detail"].as_str().unwrap().contains(words),
        Nobodys => answer.problem() == "unknown_link",
    };
    if is_so { Ok(()) } else { Err(format!("{link}: {came}")) }
}

#[tokio::test]
async fn every_link_that_people_paste_means_what_it_should() {
    let app = App::with(
        "[providers.mp4]\nconfig = { base_url = \"https://cdn.example:8443/v/\" }\n\
         [providers.vidking]\n[providers.youtube]\n[providers.vimeo]\n",
    )
    .await;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (link, expected) in [YOUTUBE, VIMEO, VIDKING, FILES].into_iter().flatten() {
        count += 1;
        wrong.extend(means(&app, &link.replace("ID", ID), expected).await.err());
    }
    println!("{count} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_file_of_the_servers_own_is_pasted_as_its_own_pages_have_it() {
    let app = App::start().await;
    for link in [format!("{}/media/clock.webm#t=30", app.url), "/media/clock.webm#t=30".into()] {
        assert_eq!(means(&app, &link, &Plays("mp4", "clock.webm", 30.0)).await, Ok(()));
    }
    for link in ["https://evil.example/media/clock.webm", "/r/K7QM2X", "/media/../clock.webm", "//media/clock.webm"] {
        assert_eq!(means(&app, link, &Nobodys).await, Ok(()));
    }
}

#[tokio::test]
async fn a_file_that_a_template_puts_elsewhere_is_not_taken_for_another() {
    let config = "{ base_url = \"https://cdn.example/\", movie = \"films/{id}.mp4\" }";
    let app = App::with(&format!("[providers.mp4]\nconfig = {config}")).await;
    assert_eq!(means(&app, "https://cdn.example/films/a.mp4", &Nobodys).await, Ok(()));
}

fn manifest(id: &str) -> Manifest {
    let file = repository().join("plugins").join(id).join("provider.toml");
    Manifest::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Ways to write a host that looks like another one, and is not.
fn look_alike() -> impl Strategy<Value = (usize, String)> {
    (0..16_usize, "[a-z0-9]{1,8}")
}

fn disguised(host: &str, way: usize, letters: &str) -> String {
    let end = host.rsplit('.').next().unwrap();
    let site = &host[..host.len() - end.len() - 1];
    let at = letters.len() % site.len();
    let doubled = format!("{}{}", &host[..=at], &host[at..]);
    // Letters that no browser takes for their look-alikes.
    let foreign = |from: char, to: &str| match host.contains(from) {
        true => host.replacen(from, to, 1),
        false => format!("{letters}.{host}"),
    };
    match way {
        0 => format!("{letters}{host}"),
        1 => format!("{letters}-{host}"),
        2 => format!("{host}.{letters}"),
        3 => format!("{host}.{letters}.com"),
        4 => format!("{host}{letters}"),
        5 => format!("{host}-{letters}.com"),
        6 => format!("{site}.{end}{letters}"),
        7 => format!("{site}{letters}.{end}"),
        8 => doubled,
        9 => foreign('e', "е"),
        10 => foreign('o', "ο"),
        11 => foreign('i', "ı"),
        12 => format!("{host}@{letters}.com"),
        13 => format!("{host}:{letters}@{letters}.com"),
        14 => format!("{letters}@{host}"),
        15 => format!("{host}:{}", 1024 + letters.bytes().map(u32::from).sum::<u32>()),
        _ => unreachable!(),
    }
}

#[test]
fn a_look_alike_host_never_matches() {
    let table: toml::Table = "base_url = \"https://cdn.example/v/\"".parse().unwrap();
    let manifests = ["youtube", "vimeo", "vidking", "mp4"].map(manifest);
    let links = manifests.each_ref().map(|manifest| Links::new(&manifest.links, &table).unwrap());
    let known: Vec<String> =
        manifests.iter().flat_map(|manifest| &manifest.links).flat_map(|link| link.hosts.clone()).collect();
    // Addresses that are good, as a host and what follows it.
    let examples =
        manifests.iter().flat_map(|manifest| &manifest.link_examples).filter(|example| example.media.is_some());
    let good: Vec<(String, String)> = examples
        .filter_map(|example| {
            let (host, rest) = example.link.strip_prefix("https://")?.split_once('/')?;
            Some((host.to_owned(), format!("/{rest}")))
        })
        .collect();
    let is_claimed = |text: &str| {
        let address = Address::parse(text).ok();
        let claims = address.map(|address| {
            links.each_ref().map(|links| links.claims(&address)).map(|c| (c.claims.len(), c.refusal.is_some()))
        });
        claims.is_some_and(|claims| claims.iter().any(|claim| *claim != (0, false)))
    };
    for (host, rest) in &good {
        assert!(is_claimed(&format!("https://{host}{rest}")), "{host}{rest}");
    }
    proptest!(ProptestConfig { cases: 4000, ..ProptestConfig::default() }, |(
        n in any::<prop::sample::Index>(),
        (way, letters) in look_alike(),
        scheme in prop::sample::select(vec!["https://", "http://", "//", ""]),
    )| {
        let (host, rest) = n.get(&good);
        let other = disguised(host, way, &letters);
        prop_assume!(!known.contains(&other) && other != "cdn.example");
        let disguised = format!("{scheme}{other}{rest}");
        prop_assert!(!is_claimed(&disguised), "{disguised}");
        // Nor does a good address that stands in somebody else's.
        for place in ["/", "/?u=", "/#", "/?q=x&url="] {
            let inside = format!("{scheme}{letters}.evil.example{place}https://{host}{rest}");
            prop_assert!(!is_claimed(&inside), "{inside}");
        }
    });
}

#[test]
fn whatever_is_pasted_is_an_address_or_none_and_every_id_is_plain() {
    let table: toml::Table = "base_url = \"https://cdn.example/v/\"".parse().unwrap();
    let links = ["youtube", "vimeo", "vidking", "mp4"].map(|id| Links::new(&manifest(id).links, &table).unwrap());
    let signs = prop::sample::select(vec![
        "https://", "//", "/", "\\", "@", ":", ":443", "?", "&", "=", "#", "%", "%2F", "%2e%2e", "..", "%00", "%ff",
        "+", "[::1]",
    ]);
    let words = prop::sample::select(vec![
        "www.youtube.com",
        "/watch",
        "v=",
        "u=",
        "t=1h",
        "youtu.be",
        "vimeo.com",
        "76979871",
        ID,
        "www.google.com/url?q=",
        "themoviedb.org/tv/",
        "/season/",
        "cdn.example/v/",
        "www.youtube.com/attribution_link?u=",
    ]);
    let piece =
        prop_oneof![3 => signs.prop_map(str::to_owned), 3 => words.prop_map(str::to_owned), 1 => any::<String>()];
    proptest!(ProptestConfig { cases: 4000, ..ProptestConfig::default() }, |(
        pieces in prop::collection::vec(piece, 0..12),
    )| {
        let text = pieces.concat();
        let Ok(address) = Address::parse(&text) else { return Ok(()) };
        for claim in links.iter().flat_map(|links| links.claims(&address).claims) {
            let id = &*claim.media.external_id;
            let is_plain = (1..=1025).contains(&id.len()) && !id.chars().any(char::is_control);
            let stays = id.split('/').all(|segment| segment != ".." && segment != ".");
            prop_assert!(is_plain && stays && claim.media.shape().is_ok(), "{text}: {}", claim.media);
        }
    });
}

#[tokio::test]
async fn what_is_no_link_is_said_in_words() {
    let app = App::start().await;
    let ask = async |link: Value| app.post("/api/v1/links", json!({ "link": link })).await;
    let field = |kind: &str| [("link".to_owned(), kind.to_owned())];
    assert_eq!(ask(json!("")).await.fields(), field("missing"));
    assert_eq!(ask(json!(" \n ")).await.fields(), field("missing"));
    let long = format!("https://youtu.be/{ID}?x={}", "x".repeat(8_000));
    assert_eq!(ask(json!(long)).await.fields(), field("range"));
    assert_eq!(ask(json!(7)).await.fields(), field("format"));
    assert_eq!(app.post("/api/v1/links", json!({ "url": "x" })).await.problem(), "invalid_media");
    let unknown = ask(json!("https://example.org/watch/1")).await;
    assert_eq!((unknown.status, unknown.problem()), (StatusCode::UNPROCESSABLE_ENTITY, "unknown_link"));
    let said = unknown.body["detail"].as_str().unwrap().to_owned();
    assert_eq!(
        said,
        "this address is nobody's here; this server takes those of Video file, Vidking, YouTube and Vimeo"
    );
    let nothing = ask(json!("what was it called")).await;
    assert!(nothing.body["detail"].as_str().unwrap().starts_with("this is no address of the web"), "{nothing:?}");
    let wrong = ask(json!("https://youtu.be/short")).await;
    assert_eq!(wrong.problem(), "unknown_link");
    let said = wrong.body["detail"].as_str().unwrap().to_owned();
    assert!(said.starts_with("YouTube plays nothing at this address: a YouTube id has 11"), "{said}");
    let refused = ask(json!("https://www.youtube.com/playlist?list=PLx")).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::UNPROCESSABLE_ENTITY, "refused_link"));
    assert_eq!(refused.body["detail"], "YouTube: this is a playlist; open one of its videos and paste that address");
    let none = App::with("[providers.acme]").await;
    let said = none.post("/api/v1/links", json!({ "link": "https://youtu.be/x" })).await.body["detail"].clone();
    assert_eq!(said, "this address is nobody's here; this server takes none");
}

/// A room's source and where it starts.
fn started(room: &Value) -> (String, i64) {
    let playback = &room["playback"];
    assert_eq!((&playback["is_playing"], &playback["hold"]), (&json!(false), &Value::Null));
    (identity(&room["source"]), playback["position_ms"].as_i64().unwrap())
}

#[tokio::test]
async fn a_room_is_made_of_a_link_and_starts_where_it_says() {
    let redis = Redis::start();
    let in_redis = format!("[live]\nstore = \"redis\"\n[live.redis]\nurl = \"{}\"\n{BUNDLED}", redis.url());
    for config in [BUNDLED, &in_redis] {
        let app = App::with(config).await;
        let create = async |request: Value| app.post("/api/v1/rooms", request).await;
        let link = format!("https://youtu.be/{ID}?t=1h2m3s");
        let created = create(json!({ "link": link, "title": "Bunny" })).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        assert_eq!(started(&created.body["room"]), (ID.to_owned(), 3_723_000));
        assert_eq!(created.body["room"]["embed_url"], format!("https://www.youtube-nocookie.com/embed/{ID}"));
        let room = crate::harness::Room {
            code: created.body["room"]["code"].as_str().unwrap().into(),
            key: created.body["host_key"].as_str().unwrap().into(),
        };
        let ann = app.host(&room).await;
        assert_eq!(ann.state["playback"]["position_ms"], 3_723_000, "whoever comes is there");
        assert!(!ann.state.to_string().contains("youtu.be"), "the link itself is not kept");

        for (request, start_ms) in [
            (json!({ "link": link, "start_ms": 5_000 }), 5_000),
            (json!({ "link": link, "start_ms": 0 }), 0),
            (json!({ "source": episode(), "start_ms": 90_000 }), 90_000),
            (json!({ "source": episode() }), 0),
            (json!({ "source": episode(), "start_ms": null }), 0),
            // As a SEEK is limited.
            (json!({ "source": episode(), "start_ms": -5 }), 0),
            (json!({ "source": episode(), "start_ms": i64::MAX }), 7 * 24 * 3_600_000),
            (json!({ "link": format!("https://youtu.be/{ID}?t=9999999h") }), 7 * 24 * 3_600_000),
        ] {
            let created = create(request.clone()).await;
            assert_eq!(started(&created.body["room"]).1, start_ms, "{request}");
        }

        let mut ben = app.viewer(&room).await;
        for (request, id, start_ms) in [
            (json!({ "link": "https://vimeo.com/76979871#t=1m5s" }), "76979871", 65_000),
            (json!({ "link": "https://vimeo.com/76979871#t=1m5s", "start_ms": 7 }), "76979871", 7),
            (json!({ "link": "themoviedb.org/tv/1399" }), "tv 1399 1 1", 0),
        ] {
            let answer = app.put_source(&room, request.clone()).await;
            assert_eq!(started(&answer.body), (id.to_owned(), start_ms), "{request}");
            ben.sees(|state| identity(&state["room"]["source"]) == id && state["playback"]["position_ms"] == start_ms)
                .await;
        }
        let mut source = episode();
        source["start_ms"] = json!(3_000);
        assert_eq!(started(&app.put_source(&room, source).await.body), ("tv 119051 1 8".to_owned(), 3_000));
        assert_eq!(started(&app.put_source(&room, episode()).await.body).1, 0, "again is from the beginning");
    }
}

#[tokio::test]
async fn a_source_or_a_link_and_not_both() {
    let app = App::start().await;
    let room = app.room().await;
    let field = |field: &str, kind: &str| [(field.to_owned(), kind.to_owned())];
    let create = async |request: Value| app.post("/api/v1/rooms", request).await;
    let link = format!("https://youtu.be/{ID}");
    assert_eq!(create(json!({})).await.fields(), field("source", "missing"));
    assert_eq!(create(json!({ "link": link, "source": episode() })).await.fields(), field("link", "unsupported"));
    assert_eq!(create(json!({ "link": "https://vimeo.com/staff" })).await.problem(), "refused_link");
    assert_eq!(create(json!({ "link": "https://example.org/" })).await.problem(), "unknown_link");
    assert_eq!(create(json!({ "link": "" })).await.fields(), field("link", "missing"));
    assert_eq!(create(json!({ "link": link, "start_ms": "1:30" })).await.fields(), field("start_ms", "format"));
    let mut both = episode();
    both["link"] = json!(link);
    assert_eq!(app.put_source(&room, json!({})).await.fields(), field("source", "missing"));
    assert_eq!(app.put_source(&room, both).await.fields(), field("link", "unsupported"));
    assert_eq!(
        app.put_source(&room, json!({ "link": link, "season": 1 })).await.fields(),
        field("provider", "missing")
    );
    assert_eq!(app.put_source(&room, json!({ "provider": "mp4" })).await.fields(), field("media_type", "missing"));
    assert_eq!(app.put_source(&room, json!({ "link": link, "colour": 1 })).await.problem(), "invalid_media");
    assert_eq!(app.view(&room).await["source"]["external_id"], "clock.webm", "a refused one changes nothing");
    let path = format!("/api/v1/rooms/{}/source", room.code);
    let stranger = app.request(Method::PUT, &path, Some("wrong"), Some(json!({ "link": link }))).await;
    assert_eq!(stranger.problem(), "bad_host_key");
}

#[tokio::test]
async fn an_address_that_several_providers_play_is_offered_by_all_in_their_order() {
    for (first, second) in [("stranger", "grown"), ("grown", "stranger")] {
        let app = App::with(&format!("[providers.{first}]\n[providers.{second}]\n")).await;
        let answer = app.post("/api/v1/links", json!({ "link": "https://both.example/fine" })).await;
        let matches = answer.body["matches"].as_array().unwrap();
        let providers: Vec<_> = matches.iter().map(|found| found["source"]["provider"].as_str().unwrap()).collect();
        assert_eq!(providers, [first, second]);
        let names: Vec<_> = matches.iter().map(|found| found["name"].as_str().unwrap().to_lowercase()).collect();
        assert_eq!(names, [first, second]);
        let created = app.post("/api/v1/rooms", json!({ "link": "https://both.example/fine" })).await;
        assert_eq!(created.body["room"]["source"]["provider"], first);
        // What one of them refuses the other may play, and what one does not know, too.
        let other = app.post("/api/v1/links", json!({ "link": "https://both.example/other/fine" })).await;
        assert_eq!(other.body["matches"][0]["source"]["provider"], "grown", "{other:?}");
        // One that fails takes nothing from the other, and it counts against whoever asked.
        let odd = app.post("/api/v1/links", json!({ "link": "https://both.example/panic" })).await;
        assert_eq!(odd.body["matches"].as_array().unwrap().len(), 1, "{odd:?}");
        assert_eq!(odd.body["matches"][0]["source"]["provider"], "grown");
    }
}

#[tokio::test]
async fn a_provider_that_fails_or_rests_is_said_and_comes_back() {
    let app = App::with("[limits]\nguesses_per_minute = 1000\n[providers.stranger]\n").await;
    let ask =
        async |path: &str, id: &str| app.post(path, json!({ "link": format!("https://stranger.example/{id}") })).await;
    assert_eq!(ask("/api/v1/links", "panic").await.problem(), "provider_failed");
    let again = ask("/api/v1/rooms", "panic").await;
    assert_eq!(again.problem(), "provider_failed");
    assert!(again.headers.contains_key("retry-after"), "{again:?}");
    for n in 0..9 {
        ask("/api/v1/links", &format!("panic%20{n}")).await;
    }
    let resting = ask("/api/v1/rooms", "fine").await;
    assert_eq!((resting.status, resting.problem()), (StatusCode::SERVICE_UNAVAILABLE, "provider_not_ready"));
    assert!(resting.headers.contains_key("retry-after"), "{resting:?}");
    assert_eq!(ask("/api/v1/links", "fine").await.problem(), "provider_not_ready");
    until(|| async { ask("/api/v1/rooms", "fine").await.status == StatusCode::CREATED }).await;
}

#[tokio::test]
async fn whoever_asks_about_ids_that_make_a_plugin_fail_has_to_wait() {
    let app = App::with("[limits]\nguesses_per_minute = 4\n[providers.stranger]\n[providers.grown]\n").await;
    let ask = async |link: &str| app.post("/api/v1/links", json!({ "link": link })).await;
    // However many that nobody knows, or that are played, cost nothing but themselves.
    for n in 0..200 {
        assert_eq!(ask(&format!("https://example.org/{n}")).await.problem(), "unknown_link");
        assert_eq!(ask("https://both.example/fine").await.status, StatusCode::OK);
    }
    for n in 0..2 {
        assert_eq!(ask(&format!("https://stranger.example/panic%20{n}")).await.problem(), "provider_failed");
        // Another provider plays it; it still is one that makes a plugin fail.
        assert_eq!(ask(&format!("https://both.example/user{n}")).await.status, StatusCode::OK);
        assert_eq!(ask("https://both.example/trap").await.status, StatusCode::OK);
    }
    let answer = ask("https://both.example/fine").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
}

#[tokio::test]
async fn a_provider_that_is_not_ready_is_said_where_it_is_known_whose_the_address_is() {
    let mut app = App::with("[providers.stranger]\nconfig = { panics_in_new = true }\n").await;
    let answer = app.post("/api/v1/links", json!({ "link": "https://stranger.example/fine" })).await;
    assert_eq!(answer.problem(), "provider_not_ready");
    // Of a library that is not the pinned one nobody believes anything.
    app.write_config(&format!("[providers.youtube]\nsha256 = \"{}\"\n", "0".repeat(64)));
    app.restart().await;
    assert_eq!(app.post("/api/v1/links", json!({ "link": "https://youtu.be/x" })).await.problem(), "unknown_link");
}
