//! HLS and DASH, by two people in two browsers: in the same place, each with their own sound, subtitles and quality; as a
//! broadcast; under a key; and when something fails.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    App, PATIENCE,
    browser::{Browser, Window},
    scene::{Scene, VIDEO, close, notice_says, plays, press_play, sent},
    streams::{self, Broadcast, Fault, LicenceServer, Licences, Streams},
    until,
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

/// The same in a room of such a server, and what it plays has begun.
async fn in_play(streams: &Streams, more: &str, path: &str) -> (Scene, [Window; 2]) {
    let scene = scene(streams, more, path).await;
    let windows = two(&scene).await;
    press_play(&windows[0]).await;
    are_in_place(&scene, &windows).await;
    (scene, windows)
}

/// The same for a film that anybody may watch, and where it comes from; nothing where the plugin has no player.
async fn a_film_in_play(path: &str) -> Option<(Streams, Scene, [Window; 2])> {
    if !streams::can_play() {
        return None;
    }
    let streams = Streams::start("", None).await;
    let (scene, windows) = in_play(&streams, "", path).await;
    Some((streams, scene, windows))
}

/// Both have as much in hand as they will.
async fn have_in_hand(windows: &[Window]) {
    for window in windows {
        window.until(&format!("{VIDEO}.buffered.end(0) > {VIDEO}.currentTime + 15")).await;
    }
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

/// Waits until the room's playback is so. A library that was refused asks again some seconds later, and on a busy machine
/// fills its buffer for longer.
async fn becomes(scene: &Scene, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !is_so(&scene.app.view(&scene.room).await["playback"]) {
        assert!(Instant::now() < deadline, "{}", scene.app.view(&scene.room).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn seeks_to(host: &Window, seconds: u32) {
    host.run(&format!(
        "const bar = document.querySelector('#position'); bar.value = {seconds}; bar.dispatchEvent(new Event('input')); return 0;"
    ))
    .await;
}

#[tokio::test]
async fn streams_and_files_below_one_place_are_each_the_right_players() {
    if !streams::can_play() {
        return;
    }
    let place = "config = { base_url = \"/media/\" }";
    let app = App::with(&format!("[providers.adaptive]\n{place}\n[providers.mp4]\n{place}\n")).await;
    for (link, provider, id) in [
        ("/media/films/manifest.mpd", "adaptive", "films/manifest.mpd"),
        ("/media/films/a%20b/MASTER.M3U8#t=1m", "adaptive", "films/a b/MASTER.M3U8"),
        ("/media/clock.webm", "mp4", "clock.webm"),
    ] {
        let matches = app.post("/api/v1/links", json!({ "link": link })).await.body["matches"].clone();
        assert_eq!(matches[0]["source"]["provider"], provider, "{link}: {matches}");
        assert_eq!(matches[0]["source"]["external_id"], id, "{link}");
    }
    let refused = app.resolve("adaptive", "clock.webm").await;
    assert_eq!(refused.fields(), [("external_id".to_owned(), "format".to_owned())]);
}

#[tokio::test]
async fn a_page_is_told_where_streams_and_licences_are_and_may_fetch_from_there() {
    if !streams::can_play() {
        return;
    }
    let app = App::with(
        "[providers.adaptive]\nconfig.base_url = \"https://cdn.example/streams/\"\n\
         config.fetch_from = [\"https://*.segments.example/\"]\nconfig.licence_headers = { X-Customer = \"42\" }\n\
         config.licence = { \"com.widevine.alpha\" = \"https://licence.example/wv\", \"org.w3.clearkey\" = \"/keys\" }\n",
    )
    .await;
    let view = app.provider("adaptive").await;
    assert_eq!(
        view["settings"],
        json!({
            "licence": { "com.widevine.alpha": "https://licence.example/wv", "org.w3.clearkey": "/keys" },
            "licence_headers": { "X-Customer": "42" },
        })
    );
    let names: Vec<_> = view["assets"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["player.css", "shaka-player.js", "shaka-player.licence.txt"]);
    let licence = app.get(view["assets"]["shaka-player.licence.txt"].as_str().unwrap()).await;
    assert!(licence.body.as_str().unwrap().contains("Apache License"), "what others wrote keeps its licence");
    let page = app.get("/r/K7QM2X").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    let places = "connect-src 'self' https://*.segments.example https://cdn.example https://licence.example;";
    assert!(policy.contains(places) && policy.contains("media-src 'self' blob: https://cdn.example;"), "{policy}");
    assert!(!policy.contains("worker-src") && !policy.contains("unsafe"), "{policy}");
}

/// Where there is no npm, this is the only scene of these that runs.
#[tokio::test]
async fn a_library_that_was_built_without_its_player_is_refused_and_says_so() {
    if streams::has_player() {
        println!("not run: the plugin has its player here");
        return;
    }
    let app = App::with("[providers.adaptive]\nconfig = { base_url = \"/media/\" }\n").await;
    let provider = app.provider("adaptive").await;
    assert_eq!(provider["state"], "refused", "{provider}");
    let reason = provider["reason"].as_str().unwrap();
    assert!(reason.contains("built without its player") && reason.contains("cargo xtask vendor"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_are_in_the_same_place_of_a_stream_each_with_their_own_tracks() {
    let Some((streams, scene, windows)) = a_film_in_play("clear/manifest.mpd").await else { return };
    let [ann, ben] = &windows;
    seeks_to(ann, 60).await;
    for window in &windows {
        window.until(&format!("{VIDEO}.currentTime > 60")).await;
    }
    are_in_place(&scene, &windows).await;

    assert_eq!(options(ben, "text-track").await, json!(["Off", "English", "German"]));
    assert_eq!(options(ben, "audio-track").await, json!(["English", "German"]));
    assert_eq!(options(ben, "quality").await, json!(["Automatic", "90p", "54p"]));
    // Subtitles that do not come are no reason to stop.
    streams.break_down("en.vtt", Fault::Down);
    choose(ben, "text-track", "English").await;
    until(async || streams.asked_for("en.vtt") > 0).await;
    streams.mend();
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

    // What the library does to its element, as where a stream has a gap, is nobody's wish.
    ann.run(&format!("{VIDEO}.currentTime += 3; return 0;")).await;
    ann.until(&format!("counted.seeks.length > 0 && !{VIDEO}.seeking")).await;
    are_in_place(&scene, &windows).await;

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

/// How old what a window shows is, by the dates of the stream, in seconds.
async fn age(window: &Window) -> f64 {
    window.eval("(Date.now() - player.getPlayheadTimeAsDate()) / 1000").await.as_f64().unwrap()
}

/// Both play, and show the same moment.
async fn see_the_same_moment(windows: &[Window; 2]) {
    for window in windows {
        window.until(&format!("!{VIDEO}.paused && !{VIDEO}.seeking && {VIDEO}.readyState > 2")).await;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (ann, ben) = (age(&windows[0]).await, age(&windows[1]).await);
        if (ann - ben).abs() < 0.3 {
            println!("{ann:.3} and {ben:.3} s after it was");
            assert!((0.0..20.0).contains(&ann), "it is {ann} s old");
            return;
        }
        assert!(Instant::now() < deadline, "one is {ann} s behind, the other {ben} s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_joined_at_its_edge_and_everybody_sees_the_same_moment() {
    if !streams::can_play() {
        return;
    }
    let broadcast = Broadcast::start().await;
    let streams = Streams::start("", Some(&broadcast)).await;
    let scene = scene(&streams, "", "live/manifest.mpd").await;
    until(async || broadcast.has_begun()).await;
    let windows = two(&scene).await;
    let [ann, ben] = &windows;
    for path in ["live/manifest.mpd", "live/master.m3u8"] {
        if path.ends_with(".m3u8") {
            scene.app.put_source(&scene.room, film(path)).await;
        }
        for window in &windows {
            window.until("document.querySelector('#time').textContent === 'Live'").await;
        }
        // Nobody has watched it yet: the room is nowhere in it.
        press_play(ann).await;
        see_the_same_moment(&windows).await;
        // Back, and to where it is now. What she is told of the edge is some moments old by then.
        let before = age(ann).await;
        ann.click("#back").await;
        until(async || age(ann).await > before + 2.0).await;
        see_the_same_moment(&windows).await;
        ann.click("#edge").await;
        until(async || age(ann).await < before + 2.0).await;
        see_the_same_moment(&windows).await;
        // Who comes later has another beginning of the stream than they.
        ben.0.refresh().await.unwrap();
        ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        see_the_same_moment(&windows).await;
    }
    // A room that has gone on for days counts from an earlier moment than whoever comes now.
    let days_ms = 3 * 86_400_000;
    let mut host = scene.app.host(&scene.room).await;
    let now_ms = (scene.position().await * 1000.0) as i64;
    host.seek(now_ms - 3000 + days_ms).await;
    until(async || scene.position().await * 1000.0 > (days_ms + now_ms) as f64).await;
    see_the_same_moment(&windows).await;
    ben.0.refresh().await.unwrap();
    ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    see_the_same_moment(&windows).await;
    // On a busy machine the edge may come late, and the room waits for her: a pause for want of data, and what ends it.
    let wishes =
        "counted.said.filter(({ type, because }, n, all) => !because && !(type === 'PLAY' && all[n - 1]?.because))";
    assert_eq!(
        ann.eval(&format!("{wishes}.map(({{ type }}) => type)")).await,
        json!(["HELLO", "PLAY", "SEEK", "SEEK", "PLAY", "SEEK", "SEEK"])
    );
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_a_key_plays_with_a_licence_and_without_one_it_is_said_why() {
    if !streams::can_play() {
        return;
    }
    let mut licences = LicenceServer::start().await;
    let streams = Streams::start(&licences.url(), None).await;
    let more = format!(
        ", licence = {{ \"org.w3.clearkey\" = \"{}licence\" }}, licence_headers = {{ X-Licence-For = \"ann & ben\" }}",
        licences.url()
    );
    let (scene, windows) = in_play(&streams, &more, "locked/manifest.mpd").await;
    let [ann, ben] = &windows;
    let unlocked = "[player.keySystem(), player.drmInfo().licenseServerUri.startsWith('http')]";
    assert_eq!(ann.eval(unlocked).await, json!(["org.w3.clearkey", true]));
    let asked = licences.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request["for"] == "ann & ben"), "{asked:?}");
    assert_eq!(asked[0]["said"]["kids"].as_array().map(Vec::len), Some(1), "{asked:?}");
    // Seeks need no other licence.
    seeks_to(ann, 70).await;
    for window in &windows {
        window.until(&format!("{VIDEO}.currentTime > 70")).await;
    }
    are_in_place(&scene, &windows).await;
    assert_eq!(licences.requests().len(), asked.len());

    // For whom there is no licence is told why; the others watch on, and so does he when there is one.
    for (gives, words) in [
        (Some(Licences::WrongKey), "cannot be decrypted with the key that the licence server gave"),
        (Some(Licences::OtherKeys), "the licence has no key for this video"),
        (Some(Licences::Nonsense), "what the licence server answered is no licence"),
        (Some(Licences::Refused), "the licence server answered 403: it refuses"),
        (None, "the licence server cannot be reached"),
    ] {
        match gives {
            Some(gives) => licences.gives(gives),
            None => licences.goes_away(),
        }
        ben.0.refresh().await.unwrap();
        ben.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        notice_says(ben, words).await;
        println!("said: {words}");
        assert_eq!(ann.eval("document.querySelector('#notice').hidden").await, true, "it is not hers");
    }
    licences.gives(Licences::Right);
    licences.comes_back().await;
    are_in_place(&scene, &windows).await;
    ben.until("document.querySelector('#notice').hidden").await;

    scene.app.put_source(&scene.room, film("locked/master.m3u8")).await;
    press_play(ann).await;
    are_in_place(&scene, &windows).await;
    assert_eq!(ann.eval("player.keySystem()").await, "org.w3.clearkey");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_a_key_needs_a_page_of_https_and_says_so() {
    if !streams::can_play() {
        return;
    }
    let licences = LicenceServer::start().await;
    let streams = Streams::start(&licences.url(), None).await;
    let more = format!(", licence = {{ \"org.w3.clearkey\" = \"{}licence\" }}", licences.url());
    let mut scene = scene(&streams, &more, "locked/manifest.mpd").await;
    // On the machine itself http is as good as https; under any other name it is not.
    scene.browser = Browser::with_flags(&["--host-resolver-rules=MAP watch.example 127.0.0.1"]);
    let ann = scene.window().await;
    ann.goto(&scene.host_link(&scene.app.url.replace("127.0.0.1", "watch.example"))).await;
    ann.join().await;
    notice_says(&ann, "browsers unlock that only on pages of https").await;
    assert!(licences.requests().is_empty());
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_do_not_come_are_waited_for_and_nobody_is_moved() {
    let Some((streams, scene, windows)) = a_film_in_play("clear/manifest.mpd").await else { return };
    let [ann, ben] = &windows;
    have_in_hand(&windows).await;
    streams.break_down(".mp4", Fault::Down);
    // What has come already is shown, and nobody learns of it.
    let (asked, at) = (streams.asked_for(".mp4"), scene.position().await);
    until(async || streams.asked_for(".mp4") >= asked + 12 && scene.position().await > at + 7.0).await;
    for window in &windows {
        assert_eq!(
            window.eval(&format!("[{VIDEO}.paused, document.querySelector('#notice').hidden]")).await,
            json!([false, true])
        );
    }
    // What has not is missed.
    seeks_to(ann, 60).await;
    becomes(&scene, |playback| playback["hold"] == "buffering").await;
    for window in &windows {
        notice_says(window, "the server of the stream's segments answered 503").await;
    }
    // For longer than a player has something to answer.
    let asked = streams.asked_for(".mp4");
    until(async || streams.asked_for(".mp4") >= asked + 12).await;
    streams.mend();
    becomes(&scene, |playback| playback["is_playing"] == true).await;
    assert!(scene.position().await >= 60.0);
    are_in_place(&scene, &windows).await;
    for window in &windows {
        window.until("document.querySelector('#notice').hidden").await;
        assert_eq!(window.eval("document.querySelector('#away').hidden").await, true);
    }
    assert_eq!(sent(ann).await, json!(["HELLO", "PLAY", "SEEK", "PAUSE", "PLAY"]), "one hold, one resume");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_library_asks_for_nothing_any_more_is_loaded_anew() {
    let Some((streams, scene, windows)) = a_film_in_play("clear/manifest.mpd").await else { return };
    let [ann, ben] = &windows;
    have_in_hand(&windows).await;
    // So it is where it was asked while it was throwing away what it had, or has forgotten what failed.
    ann.eval("(globalThis.asked = 0, player.retryStreaming = () => { asked += 1; return true; }, true)").await;
    streams.break_down(".mp4", Fault::Down);
    ann.until("asked > 0").await;
    // To where there is little left to show.
    let end = ann.eval(&format!("Math.floor({VIDEO}.buffered.end(0))")).await.as_f64().unwrap();
    seeks_to(ann, end as u32 - 3).await;
    becomes(&scene, |playback| playback["hold"] == "buffering").await;
    notice_says(ann, "the server of the stream's segments answered 503").await;
    streams.mend();
    becomes(&scene, |playback| playback["is_playing"] == true).await;
    are_in_place(&scene, &windows).await;
    ann.until("document.querySelector('#notice').hidden").await;
    let orders = sent(ann).await;
    assert_eq!(orders.as_array().unwrap().iter().filter(|order| *order == "SEEK").count(), 1, "{orders}");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_library_falls_silent_is_loaded_anew() {
    let Some((_streams, scene, windows)) = a_film_in_play("clear/manifest.mpd").await else { return };
    let [ann, ben] = &windows;
    ben.eval(
        "(() => {
           const network = player.getNetworkingEngine();
           network.request = () => ({ promise: new Promise(() => {}), abort: async () => {}, getBytesRemaining: () => 0 });
           globalThis.wake = () => delete network.request;
         })()",
    )
    .await;
    seeks_to(ann, 60).await;
    notice_says(ben, "the stream has stopped").await;
    ben.eval("wake()").await;
    are_in_place(&scene, &windows).await;
    ben.until("document.querySelector('#notice').hidden").await;
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    assert_eq!(sent(ann).await, json!(["HELLO", "PLAY", "SEEK"]), "nobody waited for him");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_stream_cannot_be_played_is_said_in_words() {
    if !streams::can_play() {
        return;
    }
    let streams = Streams::start("", None).await;
    let scene = scene(&streams, "", "nothing/manifest.mpd").await;
    let ann = scene.window().await;
    ann.goto(&scene.host_link(&scene.app.url)).await;
    ann.join().await;
    notice_says(&ann, "the server of the stream answered 404: there is no such thing").await;
    for (fault, path, words) in [
        (Some(Fault::Closed), "clear/manifest.mpd", "does not allow pages of this site to read from it"),
        (Some(Fault::Garbage), "clear/master.m3u8", "the manifest is damaged"),
        (Some(Fault::Odd), "clear/manifest.mpd", "this browser can decode none of the stream's formats"),
        (None, "locked/manifest.mpd", "this server's operator has named no licence server"),
    ] {
        match fault {
            Some(fault) => streams.break_down("/clear/", fault),
            None => streams.mend(),
        }
        scene.app.put_source(&scene.room, film(path)).await;
        notice_says(&ann, words).await;
    }
    // What may be better later is tried again.
    streams.break_down("/clear/", Fault::Down);
    scene.app.put_source(&scene.room, film("clear/master.m3u8")).await;
    notice_says(&ann, "the server of the stream answered 503").await;
    streams.mend();
    press_play(&ann).await;
    plays(&ann).await;
    ann.until("document.querySelector('#notice').hidden").await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_damaged_is_loaded_anew_as_the_person_had_it() {
    let Some((streams, scene, windows)) = a_film_in_play("clear/master.m3u8").await else { return };
    let [ann, ben] = &windows;
    let shown = "(document.querySelector('#stage .shaka-text-container')?.textContent ?? '')";
    choose(ben, "text-track", "Deutsch").await;
    choose(ben, "audio-track", "Deutsch").await;
    choose(ben, "quality", "90p").await;
    choose(ann, "quality", "54p").await;
    ann.until(&format!("{VIDEO}.videoHeight === 54")).await;
    ben.until(&format!("{shown} === 'Guten Tag' && {VIDEO}.videoHeight === 90")).await;
    // What he sees, and nobody else, comes damaged.
    streams.break_down("large.mp4", Fault::Garbage);
    seeks_to(ann, 60).await;
    notice_says(ben, "the stream is damaged, or this browser cannot decode it").await;
    are_in_place(&scene, &windows[..1]).await;
    streams.mend();
    are_in_place(&scene, &windows).await;
    let heard = "player.getAudioTracks().find((track) => track.active).language === 'de'";
    ben.until(&format!("{shown} === 'Guten Tag' && {VIDEO}.videoHeight === 90 && {heard}")).await;
    ben.until("document.querySelector('#notice').hidden").await;
    assert_eq!(ben.eval("document.querySelector('#away').hidden").await, true);
    assert_eq!(sent(ann).await, json!(["HELLO", "PLAY", "SEEK"]), "nobody waited for him");
    assert_eq!(sent(ben).await, json!(["HELLO"]));
    close(windows).await;
}
