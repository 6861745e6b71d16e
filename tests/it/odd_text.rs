//! Odd text in names and titles: the page and the API count alike, and what is shown turns nothing around it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    App,
    browser::{Browser, Window},
    clock,
    scene::{Scene, joined},
};

/// What follows is written from right to left, until something ends it.
const OVERRIDE: char = '\u{202e}';

/// Titles as somebody types them, as JSON has them, and what becomes of them: the title that is shown (`clock.webm` where
/// there is none), or nothing if it is refused.
fn titles() -> Vec<(String, Option<String>)> {
    let fine = |title: String| (title.clone(), Some(title));
    let none = || Some("clock.webm".to_owned());
    vec![
        fine(format!("{}😀", "b".repeat(119))),
        (format!("{}😀", "b".repeat(120)), None),
        fine("😀".repeat(120)),
        ("😀".repeat(121), None),
        (format!("   {}   ", "b".repeat(120)), Some("b".repeat(120))),
        ("    ".to_owned(), none()),
        ("\u{a0}\u{2003}\u{3000}".to_owned(), none()),
        (String::new(), none()),
        fine(format!("{OVERRIDE}gnp.exe")),
        fine("\u{2067}ab\u{2069}c".to_owned()),
    ]
}

/// Fills the form of the home page and sends it; answers where that led, or what was said.
async fn create(window: &Window, app: &App, title: &str) -> Result<(), String> {
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    window.click("button[name=example]").await;
    window.run(&format!("document.querySelector('#title').value = {title}; return 0;")).await;
    window.click("#submit").await;
    let said = "document.querySelector('[data-error=title]').textContent";
    let end = window.until(&format!("location.pathname.startsWith('/r/') ? 'made' : {said}")).await;
    if end == "made" { Ok(()) } else { Err(end.as_str().unwrap().to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_api_count_a_title_alike() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = browser.window().await;
    for (title, shown) in titles() {
        let answer = app.post("/api/v1/rooms", json!({ "title": title, "source": clock() })).await;
        let made = create(&window, &app, &Value::from(title.clone()).to_string()).await;
        let Some(shown) = shown else {
            assert_eq!(answer.fields(), [("title".to_owned(), "range".to_owned())], "{title}");
            assert_eq!(made, Err("A title has at most 120 characters.".to_owned()), "{title}");
            continue;
        };
        assert_eq!(made, Ok(()), "{title}");
        let of_api = &answer.body["room"]["title"];
        assert_eq!(of_api.as_str().unwrap_or("clock.webm"), shown, "{}", answer.body);
        window.until(&format!("document.querySelector('#room-title').textContent === {}", json!(shown))).await;
    }
    // Half a character is none: the page sends the sign for that, and the API refuses what is no text.
    assert_eq!(create(&window, &app, "'half \\ud83d'").await, Ok(()));
    window.until("document.querySelector('#room-title').textContent === 'half \u{fffd}'").await;
    let body = format!(r#"{{ "title": "half \ud83d", "source": {} }}"#, clock());
    let answer = app.raw(Method::POST, "/api/v1/rooms").header("content-type", "application/json").body(body);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "invalid_request", "{problem}");
    assert!(problem["detail"].as_str().unwrap().starts_with("the body is not JSON"), "{problem}");
    window.close().await;
}

/// Whether the text of an element is written from left to right: its last character is right of its first.
fn reads_on(css: &str) -> String {
    format!(
        "(() => {{
           const text = document.createTreeWalker(document.querySelector('{css}'), NodeFilter.SHOW_TEXT).nextNode();
           const at = (n) => {{
             const range = document.createRange();
             range.setStart(text, n);
             range.setEnd(text, n + 1);
             return range.getBoundingClientRect().left;
           }};
           return at(text.length - 1) > at(0);
         }})()"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_that_turns_turns_nothing_but_itself() {
    let app = App::start().await;
    let title = format!("{OVERRIDE}exe.mlif");
    let room = app.room_with(json!({ "title": title, "visibility": "public", "source": clock() })).await;
    let _host = app.host(&room).await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('#rooms a')?.innerText.includes('1 watching')").await;
    assert_eq!(window.eval(&reads_on("#rooms strong")).await, false, "the title itself is as it was typed");
    for rest in ["#rooms strong + span", "#rooms .pill"] {
        assert_eq!(window.eval(&reads_on(rest)).await, true, "{rest} is turned");
    }
    window.goto(&format!("{}/r/{}", app.url, room.code)).await;
    window.until("document.querySelector('#room-title').textContent.includes('mlif')").await;
    for rest in ["#viewers", "#copy", ".brand"] {
        assert_eq!(window.eval(&reads_on(rest)).await, true, "{rest} is turned");
    }
    let bidi = window.eval("getComputedStyle(document.querySelector('#room-title')).unicodeBidi").await;
    assert!(bidi == "isolate" || bidi == "plaintext", "{bidi}");
    // A browser writes the page's title into its own lines: nothing in it turns what follows.
    let title = window.eval("document.title").await;
    assert!(title.as_str().unwrap().ends_with("exe.mlif – StreamIt"), "{title}");
    assert_eq!(window.eval("/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.title)").await, false, "{title}");
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_socket_count_a_name_alike() {
    let scene = Scene::new().await;
    let names = [
        (format!("{}😀", "a".repeat(39)), true),
        (format!("{}😀", "a".repeat(40)), false),
        ("😀".repeat(40), true),
        (format!("  {}  ", "a".repeat(40)), true),
        (format!("{OVERRIDE}nnA"), true),
    ];
    let window = scene.window().await;
    for (name, is_fine) in names {
        let mut member = crate::harness::Member::connect(&scene.app, &scene.room.code, None).await.unwrap();
        member.send(json!({ "type": "HELLO", "name": name })).await;
        let answer = member.next().await;
        assert_eq!(answer["type"] == "WELCOME", is_fine, "{name}: {answer}");
        if is_fine {
            assert_eq!(answer["you"]["name"], name.trim());
        }
        drop(member);
        window.goto(&scene.app.url).await;
        window.run("sessionStorage.clear(); localStorage.clear(); return 0;").await;
        window.goto(&scene.link(&scene.app.url)).await;
        window.until("!document.querySelector('#enter').hidden").await;
        window.run(&format!("document.querySelector('#name').value = {}; return 0;", json!(name))).await;
        if is_fine {
            joined(&window).await;
        } else {
            window.click("#join").await;
            window
                .until("document.querySelector('#name-error').textContent === 'A name has at most 40 characters.'")
                .await;
        }
    }
    window.close().await;
}
