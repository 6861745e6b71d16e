//! A library's own files, as pages and operators meet them: compressed once, kept by browsers for ever, there after a reload.

use std::{fs, io::Read};

use flate2::read::GzDecoder;
use reqwest::{Method, Response, header::HeaderMap};
use serde_json::{Value, json};
use streamit_zoo::{CALLS, build};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::App;

const THEATRE: &str = "[providers.theatre]\nconfig = { title = \"Globe\" }\n";

const PLAYER: &str = include_str!("../fixtures/theatre/web/player.js");

async fn asset_of(app: &App, id: &str, name: &str) -> String {
    app.provider(id).await["assets"][name].as_str().unwrap_or_else(|| panic!("{id} has no {name}")).to_owned()
}

async fn ask(app: &App, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = app.raw(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_asset_is_the_file_itself_compressed_for_whoever_takes_that() {
    let app = App::with(THEATRE).await;
    let path = asset_of(&app, "theatre", "player.js").await;
    let plain = ask(&app, Method::GET, &path, &[]).await;
    let gzip = ask(&app, Method::GET, &path, &[("accept-encoding", "br, gzip;q=0.5")]).await;
    let mut etags = Vec::new();
    for answer in [&plain, &gzip] {
        let headers = answer.headers();
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("content-type", "text/javascript; charset=utf-8"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("x-content-type-options", "nosniff"),
            ("vary", "accept-encoding"),
        ] {
            assert!(header(headers, name).contains(value), "{name}: {headers:?}");
        }
        // As a document or a worker of its own it may do no more than the page.
        assert!(header(headers, "content-security-policy").starts_with("default-src 'self';"), "{headers:?}");
        etags.push(header(headers, "etag").to_owned());
    }
    assert_eq!((header(plain.headers(), "content-encoding"), header(gzip.headers(), "content-encoding")), ("", "gzip"));
    assert_ne!(etags[0], etags[1], "they are not the same byte for byte");
    let (plain, gzip) = (plain.bytes().await.unwrap(), gzip.bytes().await.unwrap());
    let mut unpacked = Vec::new();
    GzDecoder::new(&gzip[..]).read_to_end(&mut unpacked).unwrap();
    assert!(gzip.len() < plain.len());
    assert!(plain == PLAYER.as_bytes() && unpacked == PLAYER.as_bytes());

    // Who has it is told so, whichever they have; who only wants to know gets the length.
    for (n, encoding) in ["identity", "gzip"].into_iter().enumerate() {
        let again = ask(&app, Method::GET, &path, &[("accept-encoding", encoding), ("if-none-match", &etags[n])]).await;
        assert_eq!((again.status().as_u16(), header(again.headers(), "etag")), (304, etags[n].as_str()), "{encoding}");
        assert!(header(again.headers(), "cache-control").contains("immutable"));
        assert_eq!(header(again.headers(), "vary"), "accept-encoding", "for those who keep it for others");
        let head = ask(&app, Method::HEAD, &path, &[("accept-encoding", encoding)]).await;
        let length = [plain.len(), gzip.len()][n].to_string();
        assert_eq!((head.status().as_u16(), header(head.headers(), "content-length")), (200, length.as_str()));
    }
    let other = ask(&app, Method::GET, &path, &[("if-none-match", &etags[1])]).await;
    assert_eq!(other.status(), 200, "the other one is not this one");

    // What does not become smaller stays as it is.
    let wasm = asset_of(&app, "theatre", "forty-two.wasm").await;
    let wasm = ask(&app, Method::GET, &wasm, &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (header(wasm.headers(), "content-type"), header(wasm.headers(), "content-encoding")),
        ("application/wasm", "")
    );
}

#[tokio::test]
async fn what_is_not_exactly_there_is_not_there() {
    let app = App::with(&format!("{THEATRE}[providers.vimeo]\n")).await;
    let path = asset_of(&app, "theatre", "player.js").await;
    let (folder, _) = path.rsplit_once('/').unwrap();
    let style = asset_of(&app, "theatre", "player.css").await;
    let (other, _) = style.rsplit_once('/').unwrap();
    for wrong in [
        format!("{other}/player.js"),
        format!("{folder}/player.css"),
        format!("{folder}/Player.js"),
        format!("{folder}/..%2fplayer.js"),
        format!("{folder}/"),
        format!("{folder}/%ff"),
        folder.to_owned(),
        path.replace("theatre", "vimeo"),
        format!("{path}/more"),
        path.replace("/assets/", "/assets/0"),
    ] {
        let answer = app.get(&wrong).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not_found"), "{wrong}");
    }
    assert_eq!(app.get(&path.replace("theatre", "nobody")).await.problem(), "provider_not_found");
    assert_eq!(app.request(Method::DELETE, &path, None, None).await.status.as_u16(), 405);
    assert_eq!(app.provider("vimeo").await["assets"], json!({}));
}

#[tokio::test]
async fn pages_of_a_former_generation_go_on_with_its_files() {
    let config = format!("[providers.{CALLS}]\n");
    let mut app = App::prepare(&config);
    let folder = app.path("plugins");
    let version = |n: u32| {
        let text = format!("-DASSET_TEXT=\"export default {n};\"");
        build(&folder, CALLS, &[text.as_str()])
    };
    version(1);
    app.launch().await;
    let mut paths = Vec::new();
    for n in 1..=3 {
        if n > 1 {
            version(n);
            assert_eq!(app.reload().await["providers"][0]["change"], "reloaded");
        }
        paths.push(asset_of(&app, CALLS, "player.js").await);
    }
    for (n, path) in paths.iter().enumerate() {
        let answer = app.get(path).await;
        assert_eq!(answer.body, json!(format!("export default {};", n + 1)), "{answer:?}");
        assert!(header(&answer.headers, "cache-control").contains("immutable"));
    }
    // A new configuration is another generation with the same files, at the same addresses.
    app.write_config(&format!("[providers.{CALLS}]\nconfig = {{ n = 1 }}\n"));
    app.reload().await;
    assert_eq!(asset_of(&app, CALLS, "player.js").await, paths[2]);
    assert_eq!(app.get(&paths[0]).await.status.as_u16(), 200);
    // A reload that fails takes nothing away.
    fs::write(app.library(CALLS), "no library").unwrap();
    assert_eq!(app.reload().await["providers"][0]["change"], "kept");
    for path in &paths {
        assert_eq!(app.get(path).await.status.as_u16(), 200, "{path}");
    }
    // Whoever takes a provider away means all of it.
    app.write_config("");
    app.reload().await;
    assert_eq!(app.get(&paths[2]).await.problem(), "provider_not_found");
}

#[tokio::test]
async fn addresses_of_assets_are_true_below_a_path() {
    let server = "[server]\nbind = \"127.0.0.1:0\"\npublic_url = \"http://127.0.0.1:1/watch/\"\n";
    let app = App::with(&format!("{server}{THEATRE}")).await;
    let path = asset_of(&app, "theatre", "player.css").await;
    assert!(path.starts_with("/watch/api/v1/providers/theatre/assets/"), "{path}");
    assert_eq!(app.get(&path).await.status.as_u16(), 200);
}

/// Resident memory of a process, in MiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn strangers_who_ask_for_a_large_asset_and_do_not_read_it_share_one() {
    const STRANGERS: usize = 400;
    let mut app = App::prepare(&format!("[providers.{CALLS}]\n"));
    // 4 MiB each; what is in them does not matter.
    let flags = ["-DASSET_BYTES=4194304", "-DASSETS={\"player.js\",4194304,0},{\"\",0,0}"];
    build(&app.path("plugins"), CALLS, &flags);
    app.launch().await;
    let path = asset_of(&app, CALLS, "player.js").await;
    let address = app.url.strip_prefix("http://").unwrap();
    let before = resident(app.pid());
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        // The answer has begun.
        stream.readable().await.unwrap();
        strangers.push(stream);
    }
    let growth = resident(app.pid()).saturating_sub(before);
    println!("{STRANGERS} strangers wait for 4 MiB each; the host grew by {growth} MiB");
    assert!(growth < 100, "{growth} MiB for {STRANGERS} copies of 4 MiB");
    drop(strangers);
    // And asked for again and again.
    for _ in 0..50 {
        let answer = ask(&app, Method::GET, &path, &[("accept-encoding", "gzip")]).await;
        assert!(answer.bytes().await.unwrap().len() < 100_000);
    }
}

#[test]
fn inspect_and_config_check_say_what_a_library_brings_and_shows() {
    let app = App::prepare(
        "[providers.theatre]\nconfig = { title = \"Globe\", archive = \"https://a.example/\", backstage = \"hunter2\" }",
    );
    let run = |arguments: &[&str]| {
        let output = app.streamit(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let library = app.library("theatre");
    let text = run(&["plugin", "inspect", library.to_str().unwrap()]);
    for line in [
        &format!("asset          player.js: {} bytes, text/javascript; charset=utf-8, sha256 ", PLAYER.len()),
        "asset          licence.txt: ",
        "speed          steps",
        "live           no",
        "blob workers   yes",
        "fetches from   https://*.theatre.example, {config.archive}",
        "settings       title = \"{config.title}\", greeting = ",
        "public config  archive, hall, title",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} in\n{text}");
    }
    let json: Value = serde_json::from_str(&run(&["plugin", "inspect", library.to_str().unwrap(), "--json"])).unwrap();
    let names: Vec<_> = json["assets"].as_array().unwrap().iter().map(|asset| asset["name"].clone()).collect();
    assert_eq!(names, ["player.js", "player.css", "counting.js", "forty-two.wasm", "licence.txt"]);
    assert_eq!(json["public_config"], json!(["archive", "hall", "title"]));

    let checked = run(&["config", "check", "config/streamit.toml"]);
    for key in ["title", "archive"] {
        assert!(checked.contains(&format!("# providers.theatre.config.{key} is public: ")), "{checked}");
    }
    assert!(!checked.contains("config.hall is public"), "it is not there: {checked}");
    assert!(!checked.contains("backstage is public") && !checked.contains("hunter2"), "{checked}");
}

#[tokio::test]
async fn a_page_is_told_what_the_manifest_names_and_nothing_else() {
    let config = |config: &str| format!("[providers.theatre]\nconfig = {{ {config} }}\n");
    let app = App::with(&config("title = \"Globe\", hall = 2, backstage = \"hunter2\"")).await;
    let view = app.provider("theatre").await;
    assert_eq!(
        view["settings"],
        json!({ "title": "Globe", "greeting": "Welcome to the Globe, hall 2", "mode": "fixed" })
    );
    assert_eq!(view["player"]["connect_origins"], json!(["https://*.theatre.example"]));
    assert_eq!((&view["player"]["worker"], &view["player"]["rate"]), (&json!(true), &json!("steps")));
    assert!(!view.to_string().contains("hunter2") && view["player"]["settings"].is_null(), "{view}");

    // What cannot be shown is refused, and the one before goes on.
    for (bad, reason) in [
        ("archive = \"https://ann:hunter2@a.example/\"", "config.archive: has a password in it"),
        ("archive = \"http://a.example/\"", "config.archive: `http://a.example/`: expected \"https://host/path/\""),
    ] {
        app.write_config(&config(bad));
        let kept = &app.reload().await["providers"][0];
        assert_eq!(kept["change"], "kept", "{kept}");
        assert!(kept["reason"].as_str().unwrap().contains(reason), "{kept}");
        assert!(!kept.to_string().contains("hunter2"), "{kept}");
    }
    app.write_config(&config("archive = \"https://a.example:444/films/\""));
    app.reload().await;
    let view = app.provider("theatre").await;
    assert_eq!(view["settings"], json!({ "archive": "https://a.example:444/films/", "mode": "fixed" }));
    assert_eq!(view["player"]["connect_origins"], json!(["https://*.theatre.example", "https://a.example:444"]));
}

#[tokio::test]
async fn a_pages_policy_allows_what_ready_providers_need_for_as_long_as_they_do() {
    let app = App::with("[providers.vimeo]\n").await;
    let policy = async || {
        let page = app.get("/r/K7QM2X").await;
        header(&page.headers, "content-security-policy").to_owned()
    };
    let closed = policy().await;
    assert!(closed.contains("connect-src 'self';"), "{closed}");
    assert!(!closed.contains("worker-src") && !closed.contains("wasm") && !closed.contains("theatre"), "{closed}");

    app.write_config("[providers.vimeo]\n[providers.theatre]\nconfig = { archive = \"https://archive.example/x\" }\n");
    app.reload().await;
    let open = policy().await;
    for directive in [
        "connect-src 'self' https://*.theatre.example https://archive.example;",
        "worker-src 'self' blob:;",
        "script-src 'self' 'wasm-unsafe-eval' 'sha256-",
    ] {
        assert!(open.contains(directive), "{directive} in {open}");
    }
    for off in ["[providers.vimeo]\n[providers.theatre]\nenabled = false\n", "[providers.vimeo]\n"] {
        app.write_config(off);
        app.reload().await;
        assert_eq!(policy().await, closed, "{off}");
    }
}
