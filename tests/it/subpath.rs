//! Below a path of somebody's site, behind nginx as `config/nginx.conf` has it: with the path passed on, and taken off.

use std::fs;

use serde_json::{Value, json};
use streamit_test_servers::{Nginx, free_port};

use crate::harness::{
    App, BUNDLED, Member,
    browser::Browser,
    clock, repository,
    scene::{VIDEO, create_on_home_page, positions},
};

/// A host that people find at `http://…/watch`, and its own address.
async fn behind_nginx(is_stripped: bool) -> (App, Nginx, String) {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/watch");
    let server = format!("[server]\nbind = \"127.0.0.1:0\"\npublic_url = \"{url}/\"\n");
    let mut app = App::with(&format!("{server}{BUNDLED}")).await;
    let own = std::mem::replace(&mut app.url, url);

    let site = fs::read_to_string(repository().join("config/nginx.conf")).unwrap();
    let slash = if is_stripped { "/" } else { "" };
    let filled_in = [
        ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ("proxy_pass http://127.0.0.1:8080;", format!("proxy_pass {own}{slash};")),
    ];
    let site = filled_in.iter().fold(site, |site, (example, here)| {
        assert_eq!(site.matches(example).count(), 1, "{example}");
        site.replace(example, here)
    });
    (app, Nginx::start(&site, port), own)
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_that_the_proxy_passes_on_everything_works() {
    let (app, _nginx, _) = behind_nginx(false).await;
    everything_works(&app, "subpath").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_path_that_the_proxy_takes_off_everything_works() {
    let (app, _nginx, _) = behind_nginx(true).await;
    everything_works(&app, "subpath-stripped").await;
}

/// What two people do on a Friday evening, and what they mistype.
async fn everything_works(app: &App, name: &str) {
    let browser = Browser::start();
    let ann = browser.window().await;
    let link = create_on_home_page(&ann, &app.url).await;
    assert!(link.starts_with(&format!("{}/r/", app.url)), "{link}");
    ann.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }; return 0;").await;
    ann.click("#copy").await;
    ann.until(&format!("window.copied === {}", json!(link))).await;
    ann.join().await;
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    ann.run("document.querySelector('#manage').open = true; return 0;").await;
    ann.click("#copy-host").await;
    ann.until(&format!("window.copied.startsWith({})", json!(format!("{link}#key=")))).await;
    ann.until(&format!("{VIDEO}.readyState >= 2")).await;

    let ben = browser.window().await;
    ben.goto(&link).await;
    ben.join().await;
    ben.until(&format!("{VIDEO}.readyState >= 2")).await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 2")).await;
    }
    // What the server's own address says leads to its own file, wherever a proxy has put it.
    let pasted = app.post("/api/v1/links", json!({ "link": format!("{}/media/clock.webm", app.url) })).await;
    assert_eq!(pasted.body["matches"][0]["source"]["external_id"], "clock.webm", "{pasted:?}");
    let (a, b) = positions(&ann, &ben).await;
    println!("{name}: {:.0} ms apart", (a - b).abs() * 1000.0);
    assert!((a - b).abs() < 1.0, "{a} and {b}");
    ann.screenshot(&format!("{name}-room")).await;

    // A tab that is loaded anew is back in the room, as its host.
    ann.0.refresh().await.unwrap();
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    ann.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 2")).await;
    // Another server on this origin has its own.
    let keys = "[...Object.keys(localStorage), ...Object.keys(sessionStorage)]";
    ann.until(&format!("{keys}.length > 0 && {keys}.every((key) => key.startsWith('streamit/watch.'))")).await;

    // What a slash was put behind is the same room; what is no room is said to be none, and leads back.
    ben.goto(&format!("{link}/")).await;
    ben.until(&format!("location.href === {}", json!(link))).await;
    ben.goto(&format!("{}/r/AAAAAA", app.url)).await;
    ben.until("document.querySelector('#cover-text').textContent.startsWith('There is no such room')").await;
    ben.click("#home-link").await;
    ben.until(&format!("location.href === {}", json!(format!("{}/", app.url)))).await;
    ben.type_into("#code", &format!("{link}\n")).await;
    ben.until(&format!("location.href === {}", json!(link))).await;
    ben.goto(&format!("{}/rooms/of/typo", app.url)).await;
    ben.until("document.querySelector('h1').textContent === 'Nothing is here.'").await;
    ben.until("getComputedStyle(document.querySelector('.bar')).display === 'flex'").await;
    ben.until("document.querySelector('.brand img').naturalWidth > 0").await;
    ben.screenshot(&format!("{name}-not-found")).await;
    ben.click("main a").await;
    ben.until(&format!("location.href === {}", json!(format!("{}/", app.url)))).await;
    ben.until("document.querySelector('select[name=provider]').options.length > 0").await;
    ben.screenshot(&format!("{name}-home")).await;

    // Programs are told addresses that are true for them.
    let created = app.post("/api/v1/rooms", json!({ "source": clock() })).await;
    let room = &created.body["room"];
    let there = |path: &str| app.url.replace("/watch", path);
    let location = there(created.headers["location"].to_str().unwrap());
    let found: Value = reqwest::get(&location).await.unwrap().json().await.unwrap();
    assert_eq!(found["code"], room["code"], "{location}");
    let provider = app.get("/api/v1/providers/mp4").await.body;
    for address in [&room["embed_url"], &provider["bridge_url"], &app.resolve("mp4", "a.webm").await.body["embed_url"]]
    {
        assert!(address.as_str().unwrap().starts_with("/watch/"), "{address}");
    }
    let description = reqwest::Url::parse(&format!("{}/api/v1/openapi.json", app.url)).unwrap();
    let server = app.get("/api/v1/openapi.json").await.body["servers"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(description.join(&server).unwrap().as_str(), format!("{}/", app.url));
    let bridge = reqwest::get(there(provider["bridge_url"].as_str().unwrap())).await.unwrap();
    assert_eq!(bridge.headers()["content-type"], "text/javascript; charset=utf-8");
    for window in [ann, ben] {
        window.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_elses_is_in_the_room_wherever_it_is_told_the_server_is() {
    let (app, _nginx, _) = behind_nginx(false).await;
    let room = app.room().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{}/", app.url)).await;
    for base in ["undefined", "'/watch'", "'/watch/'", &json!(app.url).to_string()] {
        let welcome = window
            .run(&format!(
                "const {{ Connection }} = await import('./client/v1.js');
                 const room = new Connection('{}', {{ name: 'Ben', base: {base} }});
                 room.open();
                 await new Promise((resolve) => room.addEventListener('welcome', resolve));
                 room.close();
                 return 'welcome';",
                room.code
            ))
            .await;
        assert_eq!(welcome, "welcome", "{base}");
    }
    window.close().await;
}

#[tokio::test]
async fn the_server_itself_answers_with_the_path_and_without_it() {
    let (app, _nginx, own) = behind_nginx(false).await;
    for path in
        ["", "/", "/watch/", "/watch", "/watch?from=a-link", "/watch/r/K7QM2X", "/r/K7QM2X", "/watch/bridge/v1.js"]
    {
        let answer = reqwest::get(format!("{own}{path}")).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.url().path().ends_with("/watch"), "{}", answer.url());
    }
    for path in ["/watchful", "/watch/watch/", "/watch/nothing", "/watch//"] {
        assert_eq!(reqwest::get(format!("{own}{path}")).await.unwrap().status(), 404, "{path}");
    }
    // A page is this server's by the public address's origin, whatever Host the proxy says.
    let room = app.room().await;
    let origin = app.url.strip_suffix("/watch").unwrap();
    assert!(Member::connect(&app, &room.code, Some(origin)).await.is_ok());
    let refused = Member::connect(&app, &room.code, Some("http://127.0.0.1:1")).await.err().unwrap();
    assert_eq!(refused.problem["code"], "foreign_origin");
}
