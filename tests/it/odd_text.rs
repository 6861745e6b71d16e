//! Odd text in names and titles: the page and the API count alike, and what is shown turns nothing around it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    App,
    browser::{Browser, Window},
    clock,
    scene::{Scene, choose_example, joined},
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
        fine("👨\u{200d}👩".to_owned()),
        fine("\u{200b}a".to_owned()),
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
    choose_example(window).await;
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

/// The first and the last of each kind of them; white space on its own is no title rather than a bad one.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_is_no_title_and_no_name() {
    let scene = Scene::new().await;
    let window = scene.window().await;
    window.goto(&scene.app.url).await;
    // The page's own idea of them, from the browser's tables of Unicode.
    let ranges = window
        .run(
            "const { typed } = await import('/assets/page.js');
             const ranges = [];
             for (let code = 0x80; code <= 0x10ffff; code += 1) {
               if (!typed(`\\u200b${String.fromCodePoint(code)}\\u200b`, 3, 'title').wrong) continue;
               const last = ranges.at(-1);
               if (last?.[1] === code - 1) last[1] = code;
               else ranges.push([code, code]);
             }
             return ranges;",
        )
        .await;
    let ends = |range: &Value| [0, 1].map(|end| u32::try_from(range[end].as_u64().unwrap()).unwrap());
    let ranges: Vec<[u32; 2]> = ranges.as_array().unwrap().iter().map(ends).collect();
    assert!(ranges.len() > 20, "{ranges:x?}");
    let title = |letter: char| json!({ "title": format!("\u{200b}{letter}\u{200b}"), "source": clock() });
    for [first, last] in ranges {
        for (code, is_seen) in [(first - 1, true), (first, false), (last, false), (last + 1, true)] {
            let Some(letter) = char::from_u32(code).filter(|letter| !letter.is_control()) else { continue };
            let answer = scene.app.post("/api/v1/rooms", title(letter)).await;
            assert_eq!(answer.status.as_u16() == 201, is_seen, "{code:x}: {}", answer.body);
            if !is_seen {
                assert_eq!(answer.fields(), [("title".to_owned(), "format".to_owned())], "{code:x}");
            }
        }
    }
    let unseen = "\u{200b}\u{3164}";
    assert_eq!(
        create(&window, &scene.app, &json!(unseen).to_string()).await,
        Err("There is nothing to see in this title.".into())
    );
    let mut member = crate::harness::Member::connect(&scene.app, &scene.room.code, None).await.unwrap();
    member.send(json!({ "type": "HELLO", "name": unseen })).await;
    assert_eq!(member.next().await["code"], "bad_message");
    window.goto(&scene.link(&scene.app.url)).await;
    window.until("!document.querySelector('#enter').hidden").await;
    window.run(&format!("document.querySelector('#name').value = {}; return 0;", json!(unseen))).await;
    window.click("#join").await;
    window.until("document.querySelector('#name-error').textContent === 'There is nothing to see in this name.'").await;
    window.close().await;
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
