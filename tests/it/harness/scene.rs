//! Two or more people in a room, each with a browser of their own, and what a page did to its player and said.

use std::time::Duration;

use serde_json::{Value, json};
use streamit_test_servers::Proxy;

use super::{
    App, BUNDLED, PATIENCE, Room,
    browser::{Browser, Window},
};

pub(crate) const VIDEO: &str = "document.querySelector('#stage video')";

/// Counts what a page does to its player and says to the room.
pub(crate) const COUNTED: &str = r#"
  window.counted = { seeks: [], rates: [], sent: [], said: [], heard: null };
  for (const [name, list] of [["currentTime", counted.seeks], ["playbackRate", counted.rates]]) {
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, name);
    Object.defineProperty(HTMLMediaElement.prototype, name, { get, set(value) { list.push(value); set.call(this, value); } });
  }
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    const message = JSON.parse(text);
    if (message.type !== "PING") {
      counted.sent.push(message.type);
      counted.said.push(message);
    }
    return send.call(this, text);
  };
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => { if (!data.includes(`"PONG"`)) counted.heard = data; });
    }
  };
"#;

/// The script of a page whose media come from this address, and nothing else does; its policy has to be set aside
/// (`Page.setBypassCSP`).
pub(crate) fn media_from(address: &str) -> String {
    format!(
        "{{
           const {{ get, set }} = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'src');
           const elsewhere = (url) => new URL(new URL(url, location).pathname, 'http://{address}').href;
           Object.defineProperty(HTMLMediaElement.prototype, 'src', {{ get, set(url) {{ set.call(this, elsewhere(url)); }} }});
         }}"
    )
}

/// A room, its host in a browser of their own, and whoever joins.
pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) browser: Browser,
    pub(crate) room: Room,
}

impl Scene {
    pub(crate) async fn new() -> Scene {
        Scene::with(&[]).await
    }

    pub(crate) async fn with(flags: &[&str]) -> Scene {
        Scene::of(App::start().await, Browser::with_flags(flags)).await
    }

    /// The same, in a whole browser.
    pub(crate) async fn whole(flags: &[&str]) -> Scene {
        Scene::of(App::start().await, Browser::whole(flags)).await
    }

    /// The same, whose server has these additions to its configuration.
    pub(crate) async fn with_config(config: &str) -> Scene {
        Scene::of(App::with(&format!("{config}\n{BUNDLED}")).await, Browser::start()).await
    }

    async fn of(app: App, browser: Browser) -> Scene {
        let room = app.room().await;
        Scene { app, browser, room }
    }

    /// The same, whose files alone come over a line of their own: this one.
    pub(crate) async fn with_media_line() -> (Scene, Proxy) {
        let mut scene = Scene::new().await;
        let line = Proxy::to(&[scene.app.url.strip_prefix("http://").unwrap()]);
        let base_url = format!("http://{}/media/", line.address());
        scene.app.write_config(&format!("[providers.mp4]\nconfig = {{ base_url = \"{base_url}\" }}"));
        scene.app.restart_in_place().await;
        (scene, line)
    }

    pub(crate) fn link(&self, url: &str) -> String {
        format!("{url}/r/{}", self.room.code)
    }

    pub(crate) fn host_link(&self, url: &str) -> String {
        format!("{}#key={}", self.link(url), self.room.key)
    }

    pub(crate) async fn window(&self) -> Window {
        let window = self.browser.window().await;
        window.before_pages(COUNTED).await;
        window
    }

    /// The host's window, joined and with its player up.
    pub(crate) async fn host(&self) -> Window {
        let window = self.window().await;
        window.goto(&self.host_link(&self.app.url)).await;
        joined(&window).await;
        window
    }

    pub(crate) async fn viewer(&self) -> Window {
        self.viewer_at(&self.app.url).await
    }

    pub(crate) async fn viewer_at(&self, url: &str) -> Window {
        let window = self.window().await;
        window.goto(&self.link(url)).await;
        joined(&window).await;
        window
    }

    /// Host and viewer of a film that plays, each over a line of their own.
    pub(crate) async fn in_play_over_lines(&self) -> [(Proxy, Window); 2] {
        let line = || Proxy::to(&[self.app.url.strip_prefix("http://").unwrap()]);
        let (anns, bens) = (line(), line());
        let ann = self.window().await;
        ann.goto(&self.host_link(&format!("http://{}", anns.address()))).await;
        joined(&ann).await;
        let ben = self.viewer_at(&format!("http://{}", bens.address())).await;
        ann.click("#play").await;
        for window in [&ann, &ben] {
            plays(window).await;
        }
        [(anns, ann), (bens, ben)]
    }

    /// What the room says at this moment, in seconds.
    pub(crate) async fn position(&self) -> f64 {
        position(&self.app, &self.room).await
    }

    /// Waits until a window's player is where the room is.
    pub(crate) async fn is_in_place(&self, window: &Window) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (room, shown) = (self.position().await, window.eval(&format!("{VIDEO}.currentTime")).await);
            let is_playing = self.app.view(&self.room).await["playback"]["is_playing"].clone();
            let paused = window.eval(&format!("{VIDEO}.paused")).await;
            if (room - shown.as_f64().unwrap()).abs() < 0.3 && is_playing != paused {
                return;
            }
            if tokio::time::Instant::now() > deadline {
                let page = window.eval("[document.visibilityState, document.body.innerText, counted]").await;
                panic!("the room is at {room}, the player at {shown}, paused: {paused}; {page}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn viewers(&self) -> Value {
        self.app.view(&self.room).await["presence"]["viewers"].clone()
    }
}

/// What a room says where it is at this moment, in seconds.
pub(crate) async fn position(app: &App, room: &Room) -> f64 {
    let playback = app.view(room).await["playback"].clone();
    let number = |key: &str| playback[key].as_f64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as f64;
    let ran = if playback["is_playing"] == true { (now - number("at_ms")).max(0.0) } else { 0.0 };
    (number("position_ms") + ran) / 1000.0
}

pub(crate) async fn joined(window: &Window) {
    window.join().await;
    window.until(&format!("{VIDEO}?.readyState >= 2")).await;
}

/// Waits until a host's page says that there is something to be played.
pub(crate) async fn can_play(window: &Window) {
    window.until("document.querySelector('#play')?.getAttribute('aria-disabled') === 'false'").await;
}

/// Presses Play, when there is.
pub(crate) async fn press_play(window: &Window) {
    can_play(window).await;
    window.click("#play").await;
}

pub(crate) async fn sent(window: &Window) -> Value {
    window.eval("counted.sent").await
}

pub(crate) async fn plays(window: &Window) {
    window.until(&format!("!{VIDEO}.paused && !{VIDEO}.seeking && {VIDEO}.currentTime > 0.3")).await;
}

pub(crate) async fn notice_says(window: &Window, words: &str) {
    window.until(&format!("document.querySelector('#notice').textContent.includes({})", json!(words))).await;
}

pub(crate) async fn close<const N: usize>(windows: [Window; N]) {
    for window in windows {
        window.close().await;
    }
}

/// Takes the first provider's example, by hand.
pub(crate) async fn choose_example(window: &Window) {
    window.click("button[name=by_hand]").await;
    window.click("button[name=example]").await;
}

/// Creates a room by hand on the home page at `url`, and answers its link.
pub(crate) async fn create_on_home_page(window: &Window, url: &str) -> String {
    window.goto(url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    choose_example(window).await;
    window.type_into("#title", "Friday film").await;
    window.click("#submit").await;
    let link = window.until("location.pathname.includes('/r/') && location.hash === '' && location.href").await;
    link.as_str().unwrap().to_owned()
}

/// The two players' positions, as close to one moment as two browsers can be asked, in seconds.
pub(crate) async fn positions(ann: &Window, ben: &Window) -> (f64, f64) {
    let script = format!("[{VIDEO}.currentTime, Date.now()]");
    let (a, b) = tokio::join!(ann.eval(&script), ben.eval(&script));
    let read = |value: &Value| (value[0].as_f64().unwrap(), value[1].as_f64().unwrap() / 1000.0);
    let ((a, a_at), (b, b_at)) = (read(&a), read(&b));
    // Both ran on until the later of the two was asked.
    let later = a_at.max(b_at);
    (a + later - a_at, b + later - b_at)
}
