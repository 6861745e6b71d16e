//! HLS and DASH, by two people in two browsers: in the same place, each with their own sound, subtitles and quality; as a
//! broadcast; under a key; and when something fails.

use serde_json::{Value, json};

use crate::harness::{
    App,
    browser::{Browser, Window},
    scene::{Scene, VIDEO, close, plays, press_play, sent},
    streams::{self, Streams},
};

/// The window has the library's player at hand.
const LIBRARY: &str = "
  let library;
  Object.defineProperty(globalThis, 'shaka', {
    configurable: true,
    get: () => library,
    set(value) {
      library = value;
      const { Player } = value;
      value.Player = class extends Player {
        constructor(...given) { super(...given); globalThis.player = this; }
      };
    },
  });
";

fn film(path: &str) -> Value {
    json!({ "provider": "adaptive", "media_type": "movie", "external_id": path })
}

/// A room of a server that takes streams from there, with this in the provider's configuration beside it.
async fn scene(streams: &Streams, more: &str, path: &str) -> Scene {
    let base_url = streams.url();
    let app = App::with(&format!("[providers.adaptive]\nconfig = {{ base_url = \"{base_url}\"{more} }}\n")).await;
    let room = app.room_playing(film(path)).await;
    Scene { app, browser: Browser::start(), room }
}

/// The host and a viewer, in the room.
async fn two(scene: &Scene) -> [Window; 2] {
    let enter = async |link: String| {
        let window = scene.window().await;
        window.before_pages(LIBRARY).await;
        window.goto(&link).await;
        window.join().await;
        window
    };
    [enter(scene.host_link(&scene.app.url)).await, enter(scene.link(&scene.app.url)).await]
}

async fn options(window: &Window, id: &str) -> Value {
    window.eval(&format!("[...document.querySelector('#{id}').options].map((option) => option.textContent)")).await
}

async fn choose(window: &Window, id: &str, label: &str) {
    let find = format!(
        "[...document.querySelector('#{id}').options].find((option) => option.textContent === '{label}')?.value"
    );
    let value = window.until(&find).await;
    window.choose(&format!("#{id}"), value.as_str().unwrap()).await;
}

/// Both are where the room is, and play.
async fn are_in_place(scene: &Scene, windows: &[Window]) {
    for window in windows {
        plays(window).await;
        scene.is_in_place(window).await;
    }
}

async fn seeks_to(host: &Window, seconds: u32) {
    host.run(&format!(
        "const bar = document.querySelector('#position'); bar.value = {seconds}; bar.dispatchEvent(new Event('input')); return 0;"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_in_the_same_place_of_a_stream_each_with_their_own_tracks() {
    if !streams::can_play() {
        return;
    }
    let streams = Streams::start("", None).await;
    let scene = scene(&streams, "", "clear/manifest.mpd").await;
    let windows = two(&scene).await;
    let [ann, ben] = &windows;
    press_play(ann).await;
    are_in_place(&scene, &windows).await;
    seeks_to(ann, 60).await;
    for window in &windows {
        window.until(&format!("{VIDEO}.currentTime > 60")).await;
    }
    are_in_place(&scene, &windows).await;

    assert_eq!(options(ben, "text-track").await, json!(["Off", "English", "German"]));
    assert_eq!(options(ben, "audio-track").await, json!(["English", "German"]));
    assert_eq!(options(ben, "quality").await, json!(["Automatic", "90p", "54p"]));
    choose(ben, "text-track", "German").await;
    let shown = "(document.querySelector('#stage .shaka-text-container')?.textContent ?? '')";
    ben.until(&format!("{shown} === 'Guten Tag'")).await;
    let heard = "player.getAudioTracks().find((track) => track.active).language";
    choose(ben, "audio-track", "German").await;
    ben.until(&format!("{heard} === 'de'")).await;
    for (label, height) in [("90p", 90), ("54p", 54)] {
        choose(ben, "quality", label).await;
        ben.until(&format!("{VIDEO}.videoHeight === {height}")).await;
    }
    are_in_place(&scene, &windows).await;
    ben.screenshot("adaptive").await;
    assert_eq!(ann.eval(&format!("[{heard}, {shown}]")).await, json!(["en", ""]), "hers are as they were");

    // The same film in the other form: what Ben chose he has again.
    scene.app.put_source(&scene.room, film("clear/master.m3u8")).await;
    press_play(ann).await;
    ben.until(&format!("{heard} === 'de' && {shown} === 'Guten Tag'")).await;
    assert_eq!(options(ben, "text-track").await, json!(["Off", "English", "Deutsch"]));
    are_in_place(&scene, &windows).await;
    seeks_to(ann, 90).await;
    for window in &windows {
        window.until(&format!("{VIDEO}.currentTime > 90")).await;
    }
    are_in_place(&scene, &windows).await;
    assert_eq!(sent(ann).await, json!(["HELLO", "PLAY", "SEEK", "PLAY", "SEEK"]));
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}
