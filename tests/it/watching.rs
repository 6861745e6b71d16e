//! Two people, two browsers, one picture.

use crate::harness::{
    App,
    browser::Browser,
    scene::{VIDEO, create_on_home_page, positions},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_windows_watch_the_same_picture() {
    let app = App::start().await;
    app.lay_bundled_clip();
    let browser = Browser::whole(&[]);
    let ann = browser.window().await;
    let link = create_on_home_page(&ann, &app.url).await;
    ann.join().await;
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    ann.until(&format!("{VIDEO}.readyState >= 2")).await;

    let ben = browser.window().await;
    ben.goto(&link).await;
    ben.join().await;
    ben.until(&format!("{VIDEO}.readyState >= 2 && document.querySelector('#viewers').textContent === '2 watching'"))
        .await;
    assert_eq!(ben.eval("document.querySelector('#transport').hidden").await, true);

    // Ann presses play: Ben's player follows.
    ann.click("#play").await;
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 2")).await;
    }
    let (a, b) = positions(&ann, &ben).await;
    println!("playing: {:.0} ms apart ({a:.3} s and {b:.3} s)", (a - b).abs() * 1000.0);
    assert!((a - b).abs() < 1.0, "{a} and {b}");

    // She seeks with the player's own controls: it keeps playing, for both.
    ann.eval(&format!("{VIDEO}.currentTime = 60")).await;
    for window in [&ann, &ben] {
        window.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 61 && {VIDEO}.currentTime < 90")).await;
    }
    let (a, b) = positions(&ann, &ben).await;
    println!("after a seek: {:.0} ms apart", (a - b).abs() * 1000.0);
    assert!((a - b).abs() < 1.0, "{a} and {b}");
    ann.screenshot("host").await;
    ben.screenshot("viewer").await;
    ben.resize(400, 860).await;
    ben.screenshot("viewer-phone").await;
    ann.resize(400, 860).await;
    ann.screenshot("host-phone").await;
    ann.resize(1280, 900).await;

    // She pauses in the player itself.
    ann.eval(&format!("{VIDEO}.pause()")).await;
    ben.until(&format!("{VIDEO}.paused")).await;
    ben.until("document.querySelector('#play').textContent === 'Play'").await;
    let (a, b) = positions(&ann, &ben).await;
    println!("paused: {:.0} ms apart", (a - b).abs() * 1000.0);
    assert!((a - b).abs() < 1.0, "{a} and {b}");

    for window in [ann, ben] {
        window.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_page_says_what_is_wrong_beside_the_field() {
    let app = App::start().await;
    let browser = Browser::whole(&[]);
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length === 4").await;
    let error = |field: &str| format!("document.querySelector('[data-error=\"{field}\"]').textContent");
    window.click("button[name=by_hand]").await;
    window.choose("select[name=provider]", "vidking").await;
    window.choose("select[name=media_type]", "tv").await;
    window.type_into("input[name=external_id]", "tt1234567").await;
    window.click("#submit").await;
    window.until(&format!("{} === 'TMDB id: like 1078605'", error("external_id"))).await;
    window.until(&format!("{} === 'A whole number is needed.'", error("season"))).await;
    window.screenshot("home-errors").await;

    // What only the provider itself can tell comes back to the same place.
    window.click("button[name=example]").await;
    window.type_into("input[name=season]", "1").await;
    window.type_into("input[name=episode]", "0").await;
    window.click("#submit").await;
    window.until(&format!("{} === 'episodes are numbered from 1'", error("episode"))).await;
    window.resize(400, 860).await;
    window.screenshot("home-phone").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_room_is_found_on_the_home_page_in_the_dark() {
    let app = App::start().await;
    let room = app.room_with(serde_json::json!({
        "title": "Friday film", "visibility": "public", "source": crate::harness::clock(),
    }));
    let room = room.await;
    let _host = app.host(&room).await;
    let browser = Browser::whole(&["--blink-settings=preferredColorScheme=0"]);
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('#rooms a')?.innerText.includes('Friday film')").await;
    window.until("document.querySelector('select[name=provider]').options.length === 4").await;
    window.screenshot("home").await;
    window.click("#rooms a").await;
    window.until(&format!("location.pathname === '/r/{}'", room.code)).await;
    window.join().await;
    window.until("document.querySelector('#viewers').textContent === '2 watching'").await;
    window.until(&format!("{VIDEO}.readyState >= 2")).await;
    window.screenshot("viewer-dark").await;

    // The host closes it while she watches.
    let path = format!("/api/v1/rooms/{}", room.code);
    app.request(reqwest::Method::DELETE, &path, Some(&room.key), None).await;
    window.until("document.querySelector('#cover-text').textContent === 'The host has closed this room.'").await;
    window.goto(&format!("{}/r/{}", app.url, room.code)).await;
    window.until("document.querySelector('#cover-text').textContent.startsWith('There is no such room')").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_costs_nobody_their_place() {
    let mut app = App::start().await;
    let browser = Browser::whole(&[]);
    let ann = browser.window().await;
    let link = create_on_home_page(&ann, &app.url).await;
    ann.join().await;
    let ben = browser.window().await;
    ben.goto(&link).await;
    ben.join().await;
    ann.until(&format!("{VIDEO}.readyState >= 2")).await;
    ann.click("#play").await;
    ann.until(&format!("{VIDEO}.currentTime > 0.5")).await;
    ann.eval(&format!("{VIDEO}.currentTime = 50")).await;
    ben.until(&format!("!{VIDEO}.paused && {VIDEO}.currentTime > 51")).await;

    app.restart_in_place().await;
    for window in [&ann, &ben] {
        window.until("document.querySelector('#connection').dataset.status === 'connected'").await;
        window
            .until(&format!(
                "!{VIDEO}.paused && {VIDEO}.currentTime > 52 && document.querySelector('#play').textContent === 'Pause'"
            ))
            .await;
    }
    let (a, b) = positions(&ann, &ben).await;
    println!("after a restart: {:.0} ms apart, at {a:.1} s", (a - b).abs() * 1000.0);
    assert!((a - b).abs() < 1.0 && a < 80.0, "{a} and {b}");
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    for window in [ann, ben] {
        window.close().await;
    }
}
