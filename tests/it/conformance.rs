//! One list of promises (`tests/web/conformance.js`), kept by every bridge in a real browser, against a stand-in that
//! speaks as its provider's player is documented to.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    browser::{Browser, Window},
    npm, players, streams,
};

/// The whole list takes about a minute and a half; a case that never ends fails long before.
const LIST_PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_json_strings_keeps_the_list() {
    keeps_the_list("youtube").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_objects_keeps_the_list() {
    keeps_the_list("vimeo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_that_loads_anew_keeps_the_list() {
    keeps_the_list("vidking").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_files_keeps_the_list() {
    keeps_the_list("mp4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_of_streams_keeps_the_list() {
    if streams::can_play() {
        keeps_the_list("adaptive").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_as_they_were_keeps_what_was_asked_of_it() {
    keeps_the_list("old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_that_authors_begin_with_keeps_the_list() {
    keeps_the_list("acme").await;
}

pub(crate) async fn keeps_the_list(bridge: &str) {
    let pages = players::serve_pages().await;
    let flags = players::serve().await;
    let browser = Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let window = browser.window().await;
    // For the work on a bridge: `ONLY="a person" cargo test -p streamit-tests -- conformance --nocapture`.
    let only = std::env::var("ONLY").unwrap_or_default().replace(' ', "%20");
    window.goto(&format!("{pages}/conformance.html?bridge={bridge}&only={only}")).await;
    all_is_well(bridge, &report(&window).await);
    window.close().await;
}

/// What became of each case of a page, when all have ended.
async fn report(window: &Window) -> Vec<Value> {
    let deadline = Instant::now() + LIST_PATIENCE;
    loop {
        let look = "const done = arguments[0]; const until = performance.now() + 2000;
            const look = () => window.report || performance.now() > until ? done(window.report ?? null) : setTimeout(look, 50);
            look();";
        match window.0.execute_async(look, vec![]).await {
            Ok(Value::Array(report)) => return report,
            last => assert!(Instant::now() < deadline, "the list never ended ({last:?})"),
        }
    }
}

fn all_is_well(what: &str, report: &[Value]) {
    let mut table = String::new();
    let mut failed = Vec::new();
    for case in report {
        let [name, status, words] = ["name", "status", "words"].map(|field| case[field].as_str().unwrap());
        table.push_str(&format!("{what:<8} {status:<6} {name} ({words})\n"));
        if status == "failed" {
            failed.push(format!("{name}: {words}"));
        }
    }
    println!("{table}");
    assert!(failed.is_empty(), "{what}: {} of {} cases failed:\n{}", failed.len(), report.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn vimeos_own_sdk_understands_the_stand_in() {
    if npm::fetch(&players::VIMEO_SDK).is_none() {
        return;
    }
    let pages = players::serve_pages().await;
    let flags = players::serve().await;
    let browser = Browser::with_flags(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let window = browser.window().await;
    window.goto(&format!("{pages}/vimeo-sdk.html")).await;
    all_is_well("sdk", &report(&window).await);
    window.close().await;
}
