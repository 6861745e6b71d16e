//! Choosing among the server's own files: what is listed, what is not, and what it costs; and the text tracks beside a film.

use std::{fs, time::Instant};

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Answer, App, BUNDLED,
    browser::Browser,
    scene::{Scene, VIDEO, press_play},
};

const MP4: &str = "[providers.mp4]\nconfig = { base_url = \"/media/\" }\n";

fn write(app: &App, names: &[&str]) {
    for name in names {
        let path = app.path("media").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
}

/// The answer to a question whose parameters are written as they are.
async fn ask(app: &App, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let url = reqwest::Url::parse_with_params(&format!("{}{path}", app.url), parameters).unwrap();
    app.get(&format!("{path}?{}", url.query().unwrap())).await
}

/// Names and kinds of a folder, in one page.
async fn listed(app: &App, folder: &str) -> Vec<(String, String)> {
    let answer = ask(app, "/api/v1/media", &[("folder", folder)]).await;
    assert_eq!(answer.status.as_u16(), 200, "{folder}");
    let page = answer.body;
    assert_eq!((&page["folder"], &page["next_cursor"]), (&json!(folder.trim_end_matches('/')), &Value::Null));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    page["entries"].as_array().unwrap().iter().map(|entry| (text(&entry["name"]), text(&entry["kind"]))).collect()
}

fn names(listed: &[(String, String)]) -> Vec<&str> {
    listed.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_folder_is_listed_as_people_sort_and_a_file_in_it_is_a_link() {
    let app = App::with(MP4).await;
    write(
        &app,
        &["Series/S1E10.webm", "Series/s1e2.webm", "b.MKV", "A.mp3", "part 10.webm", "Part 9.webm", "a #1?.en.srt"],
    );
    write(&app, &["notes.txt", "cover.jpg"]);
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
    };
    assert_eq!(
        listed(&app, "").await,
        pairs(&[
            ("Series", "folder"),
            ("a #1?.en.srt", "subtitles"),
            ("A.mp3", "audio"),
            ("b.MKV", "video"),
            ("clock.webm", "video"),
            ("Part 9.webm", "video"),
            ("part 10.webm", "video"),
        ])
    );
    assert_eq!(names(&listed(&app, "Series/").await), ["s1e2.webm", "S1E10.webm"]);

    let page = app.get("/api/v1/media").await;
    assert_eq!(page.headers["cache-control"], "no-store");
    let entries = page.body["entries"].as_array().unwrap();
    assert_eq!(entries[0], json!({ "name": "Series", "kind": "folder", "path": "Series" }));
    let clip = entries.iter().find(|entry| entry["name"] == "clock.webm").unwrap();
    assert_eq!(clip["size"], fs::metadata(app.path("media/clock.webm")).unwrap().len());
    for entry in &entries[1..] {
        let link = entry["link"].as_str().unwrap();
        assert_eq!(app.get(link).await.status.as_u16(), 200, "{link}");
        let matches = app.post("/api/v1/links", json!({ "link": link })).await.body["matches"].clone();
        if entry["kind"] == "video" {
            assert_eq!(matches[0]["source"]["external_id"], entry["path"], "{link}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_hidden_and_nothing_from_outside_is_listed() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};
    let app = App::with(MP4).await;
    let media = |name: &str| app.path("media").join(name);
    write(&app, &[".hidden.webm", ".git/inside.webm", "films/one.webm", "films/sub/two.webm", "odd\nname.webm"]);
    fs::write(app.path("outside.webm"), "no").unwrap();
    fs::create_dir(app.path("elsewhere")).unwrap();
    fs::write(app.path("elsewhere/three.webm"), "no").unwrap();
    symlink(app.path("outside.webm"), media("outside.webm")).unwrap();
    symlink(app.path("elsewhere"), media("elsewhere")).unwrap();
    symlink("/", media("root")).unwrap();
    symlink(".hidden.webm", media("shown.webm")).unwrap();
    symlink(".git", media("git")).unwrap();
    symlink("gone.webm", media("gone.webm")).unwrap();
    symlink("loop.webm", media("loop.webm")).unwrap();
    symlink("films/one.webm", media("inside.webm")).unwrap();
    symlink("../films", media("films/again")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(media("pipe.webm")).status().unwrap().success());
    let _socket = UnixListener::bind(media("socket.webm")).unwrap();
    fs::write(app.path("media").join(std::ffi::OsStr::from_bytes(b"odd\xff.webm")), "x").unwrap();

    assert_eq!(names(&listed(&app, "").await), ["films", "clock.webm", "inside.webm"]);
    assert_eq!(names(&listed(&app, "films").await), ["again", "sub", "one.webm"]);
    // Round in a circle one comes to the same place.
    assert_eq!(names(&listed(&app, "films/again/again").await), ["again", "sub", "one.webm"]);
    for folder in [
        ".git",
        "git",
        "elsewhere",
        "root",
        "root/etc",
        "..",
        "films/..",
        "/etc",
        "films//sub",
        "films/./sub",
        "./films",
        "nowhere",
        "clock.webm",
        "pipe.webm",
        "films\0",
        "loop.webm",
    ] {
        let answer = ask(&app, "/api/v1/media", &[("folder", folder)]).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (404, "not_found"), "{folder:?}");
    }
    // A file that becomes something else, or a link that leads elsewhere, is not listed for the sake of an older look.
    fs::remove_file(media("inside.webm")).unwrap();
    symlink(app.path("outside.webm"), media("inside.webm")).unwrap();
    assert_eq!(names(&listed(&app, "").await), ["films", "clock.webm"]);
    assert!(!app.log().contains("ERROR"), "{}", app.log());
}

#[tokio::test]
async fn a_list_is_read_page_by_page_however_it_changes_meanwhile() {
    let app = App::with(MP4).await;
    let all: Vec<_> = (1..=450).map(|n| format!("many/{n}.webm")).collect();
    write(&app, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut question = vec![("folder", "many"), ("limit", "100")];
        question.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = ask(&app, "/api/v1/media", &question).await.body;
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 100);
        seen.extend(entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()));
        match &page["next_cursor"] {
            Value::String(next) => cursor = Some(next.clone()),
            _ => break,
        }
        // What has been seen goes, the last one of the page too.
        fs::remove_file(app.path("media").join(seen.last().unwrap())).unwrap();
    }
    assert_eq!(seen, all);
    for (query, code) in [("cursor=x", 400), ("limit=x", 400), ("limit=0", 200), ("limit=100000", 200)] {
        let answer = app.get(&format!("/api/v1/media?folder=many&{query}")).await;
        assert_eq!(answer.status.as_u16(), code, "{query}");
        assert!(code == 400 || answer.body["entries"].as_array().unwrap().len() <= 200);
    }
}

#[tokio::test]
async fn ten_thousand_looks_at_a_large_folder_do_not_read_it_again() {
    let app = App::with(MP4).await;
    fs::create_dir(app.path("media/many")).unwrap();
    for n in 0..100_000 {
        fs::File::create(app.path(&format!("media/many/{n}.webm"))).unwrap();
    }
    let look = async || app.get("/api/v1/media?folder=many&limit=1&cursor=file/5.webm").await;
    let started = Instant::now();
    assert_eq!(look().await.body["entries"][0]["name"], "6.webm");
    let first = started.elapsed();
    let started = Instant::now();
    let looks: Vec<_> = stream::iter(0..10_000).map(|_| look()).buffer_unordered(50).collect().await;
    assert!(looks.iter().all(|look| look.body["entries"][0]["name"] == "6.webm"));
    let all = started.elapsed();
    println!("100,000 files: {first:?}, and then 10,000 more looks: {all:?}");
    assert!(all < first * 100, "{first:?} for the first, {all:?} for 10,000");
}

#[tokio::test]
async fn a_server_that_lists_nothing_says_so() {
    for media in ["list = false", "dir = \"\""] {
        let app = App::with(&format!("[media]\n{media}\n{MP4}")).await;
        assert_eq!(app.get("/api/v1/media").await.problem(), "not_found", "{media}");
        // What one knows the name of is there, if there is anything.
        let status = if media.starts_with("list") { 200 } else { 404 };
        assert_eq!(app.get("/api/v1/media/tracks?file=clock.webm").await.status.as_u16(), status);
        assert_eq!(app.get("/media/clock.webm").await.status.as_u16(), status);
    }
}

#[tokio::test]
async fn subtitles_beside_a_film_are_its_text_tracks() {
    let app = App::with(MP4).await;
    write(&app, &["films/a b.webm", "films/a b.vtt", "films/a b.de.srt", "films/a b.en.srt", "films/a b.EN.txt"]);
    write(
        &app,
        &["films/a b.en.vtt", "films/a b.forced.srt", "films/a bc.fr.vtt", "films/a b 2.webm", "films/.a b.it.vtt"],
    );
    let tracks = async |file: &str| {
        let answer = ask(&app, "/api/v1/media/tracks", &[("file", file)]).await;
        (answer.status.as_u16(), answer.body["tracks"].clone())
    };
    let (_, found) = tracks("films/a b.webm").await;
    assert_eq!(
        found,
        json!([
            { "url": "/media/films/a%20b.de.srt?as=vtt", "lang": "de" },
            { "url": "/media/films/a%20b.en.vtt", "lang": "en" },
            { "url": "/media/films/a%20b.vtt", "lang": null },
        ])
    );
    assert_eq!(tracks("films/a b 2.webm").await, (200, json!([])));
    for nothing in
        ["", "films", "films/", "films/none.webm", ".hidden.webm", "films/a b.vtt", "../config/streamit.toml"]
    {
        assert_eq!(tracks(nothing).await.0, 404, "{nothing}");
    }
    assert_eq!(app.get("/api/v1/media/tracks").await.problem(), "invalid_request");

    let srt = "1\r\n00:00:01,000 --> 00:00:02,500\r\nGr\u{fc}\u{df}e\r\n";
    fs::write(app.path("media/films/a b.de.srt"), srt).unwrap();
    let url = found[0]["url"].as_str().unwrap();
    let vtt = app.get(url).await;
    assert_eq!(vtt.headers["content-type"], "text/vtt; charset=utf-8");
    assert_eq!(vtt.body, "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\nGr\u{fc}\u{df}e\n");
    let etag = vtt.headers["etag"].clone();
    let again = app.raw(Method::GET, url).header("if-none-match", etag.clone()).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 304);
    // The file itself is another thing under another name.
    let file = app.get("/media/films/a%20b.de.srt").await;
    assert_eq!((&file.body, file.headers["etag"] == etag), (&json!(srt), false));
    fs::File::create(app.path("media/films/a b.de.srt")).unwrap().set_len(5 << 20).unwrap();
    assert_eq!(app.get(url).await.status.as_u16(), 404);
}

const ENTRIES: &str = "[...document.querySelectorAll('.files li button bdi')].map(({ textContent }) => textContent)";
const FOCUSED: &str = "document.activeElement.textContent";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_servers_is_chosen_with_the_keyboard() {
    let app = App::start().await;
    let clip = fs::read(app.path("media/clock.webm")).unwrap();
    write(&app, &["Films/sub/nothing.txt", "clock.en.vtt"]);
    for name in ["Films/one 100%.webm", "Films/two.webm"] {
        fs::write(app.path("media").join(name), &clip).unwrap();
    }
    for n in 0..150 {
        write(&app, &[&format!("Shelf/{n}.webm")]);
    }
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("!document.querySelector('.file-chooser').hidden").await;
    let (tab, enter, down, up, escape) = ("\u{e004}", "\u{e007}", "\u{e015}", "\u{e013}", "\u{e00c}");
    let press = async |key: &str| window.0.active_element().await.unwrap().send_keys(key).await.unwrap();
    window.click("[name=link]").await;
    press(tab).await;
    assert_eq!(window.eval(FOCUSED).await, "Choose from this server’s files");
    press(enter).await;
    window.until(&format!("{ENTRIES}.length === 3 && {FOCUSED} === 'Films/'")).await;
    assert_eq!(window.eval(ENTRIES).await, json!(["Films/", "Shelf/", "clock.webm"]));
    assert_eq!(window.eval("document.querySelector('[name=files]').ariaExpanded").await, "true");
    window.screenshot("files-home").await;

    // Page by page.
    press(down).await;
    press(enter).await;
    window.until(&format!("{ENTRIES}.length === 100 && {FOCUSED}.startsWith('0.webm')")).await;
    window.click("[name=more]").await;
    window.until(&format!("{ENTRIES}.length === 150 && {FOCUSED}.startsWith('100.webm')")).await;
    assert_eq!(window.eval("document.querySelector('[name=more]').hidden").await, true);
    window.click("[name=up]").await;
    window.until(&format!("{ENTRIES}.length === 3 && {FOCUSED} === 'Shelf/'")).await;

    press(up).await;
    press(enter).await;
    window.until(&format!("{FOCUSED} === 'sub/'")).await;
    press(enter).await;
    window.until("document.querySelector('.files-where').textContent === 'Films/sub: nothing to play here'").await;
    assert_eq!(window.eval(FOCUSED).await, "Up");
    press(enter).await;
    window.until(&format!("{FOCUSED} === 'sub/'")).await;
    press(escape).await;
    window.until("document.querySelector('.files').hidden && document.activeElement.name === 'files'").await;
    press(enter).await;
    window.until(&format!("{FOCUSED} === 'sub/'")).await;
    press(down).await;
    window.as_phone(360, 740).await;
    window.until("document.documentElement.scrollWidth <= 360").await;
    window.screenshot("files-phone").await;
    press(enter).await;
    window.until("document.querySelector('.said').textContent === 'Video file · Films/one 100%.webm'").await;
    assert_eq!(
        window.eval("[document.activeElement.name, document.activeElement.value]").await,
        json!(["link", "/media/Films/one%20100%25.webm"])
    );
    press(enter).await;
    window.until("location.pathname.startsWith('/r/')").await;
    window.join().await;
    window.until(&format!("{VIDEO}?.readyState >= 2")).await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_nothing_is_offered() {
    let app = App::with(&format!("[media]\nlist = false\n{BUNDLED}")).await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    assert!(window.sees("!document.querySelector('.file-chooser').hidden").await.is_none());
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subtitles_are_shown_by_whoever_wants_them() {
    let scene = Scene::new().await;
    let cue = |text: &str| format!("1\n00:00:00,000 --> 00:20:00,000\n{text}\n");
    fs::write(scene.app.path("media/clock.de.srt"), cue("Grüße")).unwrap();
    fs::write(scene.app.path("media/clock.en.vtt"), cue("Hello").replace(',', ".").replacen("1\n", "WEBVTT\n\n", 1))
        .unwrap();
    let (ann, ben) = (scene.host().await, scene.viewer().await);
    let tracks = format!("[...{VIDEO}.textTracks]");
    for window in [&ann, &ben] {
        window.until(&format!("{tracks}.length === 2")).await;
    }
    let about = format!("{tracks}.map(({{ kind, label, language, mode }}) => [kind, label, language, mode])");
    assert_eq!(
        ann.eval(&about).await,
        json!([["subtitles", "German", "de", "disabled"], ["subtitles", "English", "en", "disabled"]])
    );
    press_play(&ann).await;
    for (n, text) in [(0, "Grüße"), (1, "Hello")] {
        ann.run(&format!(
            "{tracks}.forEach((track, n) => {{ track.mode = n === {n} ? 'showing' : 'disabled'; }}); return 0;"
        ))
        .await;
        ann.until(&format!("{tracks}[{n}].activeCues?.[0]?.text === {}", json!(text))).await;
    }
    ann.screenshot("subtitles").await;
    // For themselves alone.
    assert_eq!(ben.eval(&about).await[1][3], "disabled");
    ann.close().await;
    ben.close().await;
}
