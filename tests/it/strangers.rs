//! What strangers can take, and what they are told.

use std::io::ErrorKind;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{App, Member, until};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }";

#[tokio::test]
async fn who_guesses_at_codes_and_keys_has_to_wait_whatever_they_name_next() {
    let app = App::with(&format!("[limits]\nguesses_per_minute = 10\n{MP4}")).await;
    let room = app.room().await;
    let path = format!("/api/v1/rooms/{}", room.code);
    for n in 0..3 {
        assert_eq!(app.get(&format!("/api/v1/rooms/AAAAA{}", n + 2)).await.problem(), "room_not_found");
        assert_eq!(app.request(Method::DELETE, &path, Some("wrong"), None).await.problem(), "bad_host_key");
        let mut guest = Member::connect(&app, &room.code, None).await.unwrap();
        guest.send(json!({ "type": "HELLO", "key": "wrong" })).await;
        assert_eq!(guest.is_closed().await.0, 4401);
    }
    // Looking at a room that is there is no guess.
    for _ in 0..20 {
        assert_eq!(app.get(&path).await.status.as_u16(), 200);
    }
    assert_eq!(Member::connect(&app, "ZZZZZZ", None).await.err().unwrap().status.as_u16(), 404);
    let answer = app.get(&path).await;
    assert_eq!(answer.problem(), "rate_limited", "whether it is there is not told either");
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(Member::connect(&app, &room.code, None).await.err().unwrap().status.as_u16(), 429);
    assert_eq!(app.get("/api/v1/rooms").await.status.as_u16(), 200);
}

#[tokio::test]
async fn guesses_side_by_side_are_answered_no_more_than_one_after_another() {
    let server = "[server]\nbind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let app = App::with(&format!("{server}[limits]\nguesses_per_minute = 20\n{MP4}")).await;
    let room = app.room().await;
    // Ten seconds are enough for three more.
    let few = 20..=23;

    // On sockets that were open before the first guess.
    let mut sockets = Vec::new();
    for _ in 0..150 {
        sockets.push(Member::connect(&app, &room.code, None).await.unwrap());
    }
    let hello = json!({ "type": "HELLO", "key": "wrong" });
    let ends = join_all(sockets.iter_mut().map(|socket| async {
        socket.send(hello.clone()).await;
        socket.is_closed().await.0
    }))
    .await;
    let answered = ends.iter().filter(|end| **end == 4401).count();
    assert!(few.contains(&answered) && ends.iter().all(|end| [4401, 4429].contains(end)), "{answered}: {ends:?}");
    // The right one is not told apart, either.
    let mut late = Member::connect(&app, &room.code, None).await;
    if let Ok(late) = &mut late {
        late.send(json!({ "type": "HELLO", "key": room.key })).await;
        assert_eq!(late.is_closed().await.0, 4429);
    }

    // Over REST, from elsewhere.
    let asks = |from: &'static str, method: Method, path: String, key: &str| {
        let request = app.raw(method, &path).header("x-forwarded-for", from).bearer_auth(key);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let code = |n: u8| format!("/api/v1/rooms/AAA{}AA", char::from(b'A' + n % 8));
    let codes = join_all((0..150).map(|n| asks("10.0.0.1", Method::GET, code(n), ""))).await;
    let upgrades = join_all((0..150).map(|n| asks("10.0.0.2", Method::GET, code(n).replace("api", "ws"), ""))).await;
    let path = format!("/api/v1/rooms/{}", room.code);
    let keys = join_all((0..150).map(|_| asks("10.0.0.3", Method::DELETE, path.clone(), "wrong"))).await;
    for (guesses, wrong) in [(codes, 404), (upgrades, 404), (keys, 403)] {
        let answered = guesses.iter().filter(|status| **status == wrong).count();
        assert!(few.contains(&answered), "{answered} of {wrong}");
        assert!(guesses.iter().all(|status| [wrong, 429].contains(status)), "{guesses:?}");
    }

    // Who has the key is never kept out by having it.
    let right = join_all((0..50).map(|_| {
        let request = app.raw(Method::PUT, &format!("{path}/source")).header("x-forwarded-for", "10.0.0.4");
        let request = request.bearer_auth(&room.key).json(&crate::harness::clock());
        async move { request.send().await.unwrap().status().as_u16() }
    }))
    .await;
    assert!(right.iter().all(|status| *status == 200), "{right:?}");
}

#[tokio::test]
async fn why_a_provider_is_not_ready_is_told_to_the_operator_alone() {
    let config = "[providers.mp4]\nconfig = { base_url = \"https://ann:hunter2@[films/\" }\n[providers.nobody]\n";
    let app = App::with(config).await;
    let public = app.get("/api/v1/providers").await.body.to_string();
    for word in ["hunter2", "plugins/", "reason"] {
        assert!(!public.contains(word), "{word} in {public}");
    }
    assert!(!app.log().contains("hunter2"), "{}", app.log());
    let admin: Value = reqwest::get(format!("{}/admin/providers", app.admin_url)).await.unwrap().json().await.unwrap();
    let reason = |id: &str| {
        let providers = admin["providers"].as_array().unwrap();
        providers.iter().find(|provider| provider["id"] == id).unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("nobody").contains("plugins/"), "{admin}");
    assert!(reason("mp4").contains("base_url"), "{admin}");
    assert!(!admin.to_string().contains("hunter2"), "{admin}");
}

#[tokio::test]
async fn an_id_that_somebody_brings_is_kept_only_if_it_is_one() {
    let app = App::start().await;
    let id_of = async |id: &str| {
        let answer = app.raw(Method::GET, "/api/v1/providers").header("x-request-id", id).send().await.unwrap();
        answer.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id_of("abc-123").await, "abc-123");
    for odd in ["a b", "x\" forged=\"yes", &"x".repeat(65)] {
        let id = id_of(odd).await;
        let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        assert!(is_plain && (8..=64).contains(&id.len()) && id != odd, "{id}");
    }
}

#[tokio::test]
async fn a_log_that_is_turned_off_is_silent_and_no_filter_writes_out_keys() {
    for (filter, is_silent) in [("off", true), ("trace", false)] {
        let app = App::with(&format!("[log]\nfilter = \"{filter}\"\n{MP4}")).await;
        let room = app.room().await;
        let mut ann = app.host(&room).await;
        ann.send_raw(tokio_tungstenite::tungstenite::Message::Binary(vec![0; 10].into())).await;
        ann.hears_error("bad_message").await;
        drop(ann);
        app.get("/api/v1/rooms").await;
        let log = app.log();
        assert!(!log.contains(&room.key), "a key is in the log at `{filter}`");
        let said: Vec<_> =
            log.lines().filter(|line| !line.contains(" is at http://") && !line.contains("metrics are at")).collect();
        assert_eq!(said.is_empty(), is_silent, "at `{filter}`: {said:?}");
    }
}

#[tokio::test]
async fn whoever_holds_connections_leaves_some_for_the_operator_and_frees_them_at_the_end() {
    let app = App::with(&format!("[limits]\nconnections = 20\n{MP4}")).await;
    let address = app.url.strip_prefix("http://").unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // One that is turned away is closed at once; those that have a place are waited for.
    let (mut held, mut turned_away) = (Vec::new(), 0);
    for mut stream in silent {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.ok();
        let ended = tokio::time::timeout(std::time::Duration::from_millis(300), stream.read(&mut [0; 1])).await;
        match ended {
            Ok(_) => turned_away += 1,
            Err(_) => held.push(stream),
        }
    }
    assert!((15..=20).contains(&held.len()) && turned_away >= 20, "{} held, {turned_away} not", held.len());
    assert!(app.log().contains("limits.connections in the configuration"), "{}", app.log());
    assert_eq!(reqwest::get(format!("{}/healthz", app.admin_url)).await.unwrap().status().as_u16(), 200);
    drop(held);
    until(|| async { app.try_get("/api/v1/rooms").await }).await;
    let room = app.room().await;
    // A socket counts for as long as it lives, and not longer.
    for _ in 0..3 {
        let mut members = Vec::new();
        for _ in 0..12 {
            members.push(app.viewer(&room).await);
        }
        until(|| async { app.view(&room).await["presence"]["viewers"] == 12 }).await;
        drop(members);
        until(|| async { app.view(&room).await["presence"]["viewers"] == 0 }).await;
    }
}

/// Whoever stops half way keeps nobody from it.
#[tokio::test]
async fn whoever_stops_in_the_middle_of_a_request_keeps_nobody_out() {
    let app = App::start().await;
    let mut halves = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        halves.push(stream);
    }
    let room = app.room().await;
    app.viewer(&room).await;
    for half in halves {
        let ended = half.try_read(&mut [0; 1]);
        assert!(matches!(&ended, Err(error) if error.kind() == ErrorKind::WouldBlock), "given up before: {ended:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_said_to_be_too_large() {
    let app = App::start().await;
    let head = "POST /api/v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
    let large = format!("20000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x20000));
    for (body, status) in [("5\r\n{\"a\":\r\nnonsense\r\n", 400), (large.as_str(), 413)] {
        let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await.ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

/// They are answered before anything of ours sees them: as documented, without a problem in the body.
#[tokio::test]
async fn what_is_no_request_and_a_head_that_is_too_long_are_refused_bare() {
    let app = App::start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    for (said, status) in [(long.as_str(), 431), ("GET  /\r\n\r\n", 400), ("nonsense\r\n\r\n", 400)] {
        let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(said.as_bytes()).await.ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}
