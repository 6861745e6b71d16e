//! What a browser keeps of what its device takes, and for which browser.

use serde_json::{Value, json};

use crate::harness::{
    browser::Window,
    scene::{Scene, VIDEO, joined, plays, sent},
};

/// A start that no device of a test's takes, so that it is known again.
const MARK: f64 = 0.4321;

async fn costs(window: &Window) -> Value {
    window.eval("JSON.parse(localStorage.getItem('streamit.costs.mp4'))").await
}

/// Whether a start that was kept is still among those of these costs.
fn knows_the_mark(costs: &Value) -> bool {
    costs["start"].as_array().unwrap().iter().any(|start| *start == MARK)
}

/// Loads the page anew and plays on; leaving the page again has it keep what it knows.
async fn again(window: &Window) -> Value {
    window.0.refresh().await.unwrap();
    window.until(&format!("{VIDEO}?.readyState >= 2")).await;
    plays(window).await;
    window.run("dispatchEvent(new Event('pagehide')); return 0;").await;
    costs(window).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_takes_is_kept_for_this_browser_and_no_other() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 5_000 })).await;
    let ben = scene.window().await;
    // Another version of the browser, when the scene says so.
    ben.before_pages(
        "{ const { userAgent } = navigator;
           Object.defineProperty(navigator, 'userAgent', { get: () => userAgent + (localStorage.version ?? '') }); }",
    )
    .await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    plays(&ben).await;
    // Stored, with the browser that it was learned by.
    let learned = again(&ben).await;
    assert_eq!(learned["browser"], ben.eval("navigator.userAgent").await);
    assert!(learned["seek"].as_f64().unwrap() > 0.0, "what it took to be ready is the first that is known: {learned}");
    assert!(learned["start"].as_array().unwrap().len() >= 2 && learned["resume"].is_array(), "{learned}");

    // Read after a reload, and used: who is known to seek for three seconds is sent further ahead than that.
    let mark = format!(
        "{{ ...JSON.parse(localStorage.getItem('streamit.costs.mp4')), seek: 3, start: [{MARK}, {MARK}, {MARK}] }}"
    );
    ben.run(&format!(
        "const marked = JSON.stringify({mark});
         addEventListener('pagehide', () => localStorage.setItem('streamit.costs.mp4', marked));
         return 0;"
    ))
    .await;
    let before = scene.position().await;
    let kept = again(&ben).await;
    let (first, after) = (ben.eval("counted.seeks[0]").await.as_f64().unwrap(), scene.position().await);
    assert!(first > before + 3.0 && first < after + 5.0, "sent to {first}, and the room was at {before} to {after}");
    assert!(knows_the_mark(&kept), "{kept}");

    // Another version of the browser begins anew, and keeps its own.
    ben.run("localStorage.version = ' Next/2'; return 0;").await;
    let anew = again(&ben).await;
    assert!(!knows_the_mark(&anew), "{anew}");
    assert!(anew["seek"].as_f64().unwrap() < 3.0, "{anew}");
    assert!(anew["browser"].as_str().unwrap().ends_with(" Next/2"), "{anew}");
    assert_eq!(sent(&ben).await[0], "HELLO");
    ben.close().await;
}
