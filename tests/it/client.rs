//! The client library: its parts on their own, its types, and a page that somebody else makes with it.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use streamit_npm::Package;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{App, browser::Browser, npm, repository};

/// The tests of `tests/web/unit`, in a page of the host's: no player, no socket, and time is an argument.
#[tokio::test(flavor = "multi_thread")]
async fn the_parts_do_what_they_say_in_a_real_browser() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(repository().join("tests/web/unit")).unwrap() {
        let path = entry.unwrap().path();
        let tests = fs::read_to_string(&path).unwrap();
        let results = window
            .run(&format!(
                "const tests = [];
                 const test = (name, run) => tests.push([name, run]);
                 const equal = (came, expected, about = '') => {{
                   const [a, b] = [came, expected].map((value) => JSON.stringify(value));
                   if (a !== b) throw new Error(`${{about}} expected ${{b}}, came ${{a}}`);
                 }};
                 {tests}
                 const failed = [];
                 for (const [name, run] of tests) {{
                   try {{ await run(); }} catch (error) {{ failed.push(`${{name}}: ${{error.stack}}`); }}
                 }}
                 return {{ count: tests.length, failed }};"
            ))
            .await;
        count += results["count"].as_u64().unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        failures.extend(results["failed"].as_array().unwrap().iter().map(|failure| format!("{name}: {failure}")));
    }
    println!("{count} tests of the client's parts");
    assert!(count > 60, "{count} tests were found");
    assert!(failures.is_empty(), "{failures:#?}");
    window.close().await;
}

/// Held by the TypeScript compiler, which never becomes part of the repository.
#[test]
fn the_library_is_well_typed() {
    const TYPESCRIPT: Package<'_> = Package {
        name: "typescript",
        version: "5.9.3",
        integrity: "sha512-jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw==",
    };
    let Some(typescript) = npm::fetch(&TYPESCRIPT) else { return };
    let folder = repository().join("host/web/client");
    let modules = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let modules: Vec<PathBuf> = modules.filter(|path| path.extension().is_some_and(|kind| kind == "js")).collect();
    assert!(modules.len() >= 7);
    let checked = Command::new("node")
        .arg(typescript.join("lib/tsc.js"))
        .args(["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2023", "--module", "esnext"])
        .args(["--moduleResolution", "bundler", "--lib", "es2024,dom,dom.iterable"])
        .args(&modules)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// The page in the library's documentation, as its author would serve it: somewhere else.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_in_the_documentation_is_in_sync_with_the_hosts() {
    let readme = fs::read_to_string(repository().join("host/web/client/README.md")).unwrap();
    let page = readme.split_once("```html\n").unwrap().1.split_once("```").unwrap().0;
    assert!(page.lines().filter(|line| !line.trim().is_empty()).count() <= 40, "about thirty lines of script");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let config =
        format!("[server]\nbind = \"127.0.0.1:0\"\nallowed_origins = [\"{elsewhere}\"]\n{}", crate::harness::BUNDLED);
    let app = App::with(&config).await;
    let page = page.replace("https://party.example", &app.url);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = page.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    page.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(page.as_bytes()).await;
            });
        }
    });
    let room = app.room().await;
    let mut ann = app.host(&room).await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{elsewhere}/?room={}", room.code)).await;
    window.until("join.onclick").await;
    window.click("#join").await;
    window.until("who.value === '2 watching' && film.readyState >= 2").await;
    ann.send(json!({ "type": "PLAY", "position_ms": 30_000 })).await;
    window.until("!film.paused && film.currentTime > 31 && film.currentTime < 50").await;
    ann.send(json!({ "type": "PAUSE", "position_ms": 70_000 })).await;
    window.until("film.paused && film.currentTime === 70").await;

    // A second copy of the library in the same page is somebody else in the same room.
    let said = window
        .run(&format!(
            "const copy = await import('{}/client/v1.js?copy');
             window.other = new copy.Connection('{}', {{ name: 'Ben' }});
             other.open();
             return await new Promise((resolve) => other.addEventListener('welcome', ({{ detail }}) =>
               resolve({{ speaks: copy.PROTOCOL, server: detail.protocol, name: detail.you.name }})));",
            app.url, room.code
        ))
        .await;
    assert_eq!(said, json!({ "speaks": 1, "server": 1, "name": "Ben" }));
    window.until("who.value === '3 watching' && other.state.presence.viewers === 3").await;
    window.run("other.close(); return 0;").await;
    window.until("who.value === '2 watching'").await;
    assert_eq!(window.eval("other.isOpen").await, Value::Bool(false));
    window.close().await;
}
