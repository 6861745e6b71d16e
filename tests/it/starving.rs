//! Media that stop coming, or come slower than they are shown. A host's room waits for it once; a viewer is left behind more
//! and more calmly; nobody is thrown back.

use std::time::Duration;

use serde_json::{Value, json};
use streamit_test_servers::Proxy;

use crate::harness::scene::{Scene, VIDEO, close, joined, media_from, notice_says, plays, sent};

/// Notes where the film is, twenty times a second, and when it was sought. A host holds a room after 0.7 s without a
/// picture: whoever is put where that picture stood goes back by as much.
const NOTED: &str = "
  window.noted = { back: [], soughtMs: [] };
  let was = 0;
  setInterval(() => {
    const video = document.querySelector('#stage video');
    if (!video || video.seeking) return;
    if (video.currentTime < was - 0.65) noted.back.push([was, video.currentTime]);
    was = video.currentTime;
  }, 50);
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'currentTime');
  Object.defineProperty(HTMLMediaElement.prototype, 'currentTime', {
    configurable: true, get, set(seconds) { noted.soughtMs.push(performance.now()); set.call(this, seconds); },
  });";

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_file_stops_for_long_throws_nobody_back() {
    let scene = Scene::new().await;
    // Only the host's file comes over this line, and hardly faster than it is shown.
    let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
    line.throttle(Some(12_000));
    let ann = scene.window().await;
    ann.before_pages(&media_from(&line.address())).await;
    ann.command("Page.setBypassCSP", json!({ "enabled": true })).await;
    ann.goto(&scene.host_link(&scene.app.url)).await;
    joined(&ann).await;
    let ben = scene.window().await;
    ben.before_pages(NOTED).await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    ann.click("#play").await;
    for window in [&ann, &ben] {
        plays(window).await;
    }
    ann.until(&format!("{VIDEO}.currentTime > 3")).await;

    line.silence(true);
    notice_says(&ann, "the room waits for it").await;
    notice_says(&ben, "The host is buffering").await;
    ben.until(&format!("{VIDEO}.paused")).await;
    let held = scene.position().await;
    // Much longer than it takes to hold a room, or to give a line up.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(scene.position().await, held, "the room waits where it is");
    line.throttle(None);
    line.silence(false);
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > {held} + 3")).await;
        scene.is_in_place(window).await;
    }
    assert_eq!(ben.eval("noted.back").await, json!([]), "thrown back");
    assert_eq!(sent(&ann).await, json!(["HELLO", "PLAY", "PAUSE", "PLAY"]), "one hold, one resume");
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    close([ann, ben]).await;
}

/// A device that shows one picture in the time of four, whatever speed it is told: each seek is spoilt within seconds.
const SLOW_DEVICE: &str = "
  {
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'playbackRate');
    const told = new WeakMap();
    Object.defineProperty(HTMLMediaElement.prototype, 'playbackRate', {
      configurable: true,
      get() { return told.get(this) ?? 1; },
      set(rate) { told.set(this, rate); set.call(this, rate * 0.25); },
    });
    document.addEventListener('play', ({ target }) => { if (get.call(target) === 1) target.playbackRate = 1; }, true);
  }";

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_cannot_keep_up_is_sought_less_and_less_and_told() {
    let scene = Scene::new().await;
    let mut ann = scene.app.host(&scene.room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 1_000 })).await;
    let ben = scene.window().await;
    ben.before_pages(NOTED).await;
    ben.before_pages(SLOW_DEVICE).await;
    ben.goto(&scene.link(&scene.app.url)).await;
    joined(&ben).await;
    plays(&ben).await;
    ann.sees(|state| state["presence"]["viewers"] == 2).await;
    let spans = "(() => {
        const [begin] = noted.soughtMs;
        const counts = [0, 0, 0];
        for (const atMs of noted.soughtMs) counts[Math.floor((atMs - begin) / 15_000)] += 1;
        return performance.now() > begin + 45_000 && counts.slice(0, 3);
      })()";
    let counts = ben.until_within(Duration::from_secs(80), spans).await;
    println!("seeks in each quarter of a minute: {counts}; {}", ben.eval("noted.soughtMs").await);
    let [first, second, third]: [u64; 3] = serde_json::from_value(counts.clone()).unwrap();
    assert!(first > second && second >= third && third <= 1, "{counts}");
    notice_says(&ben, "cannot keep up").await;
    let (_, heard) = ann.ping().await;
    assert_eq!(heard, Vec::<Value>::new(), "nobody else notices");
    assert_eq!(sent(&ben).await, json!(["HELLO"]));
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true, "it is not their wish");
    ben.close().await;
}
