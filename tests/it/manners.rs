//! How the pages treat people: what they type, press and open is understood, or refused in words.

use serde_json::json;

use crate::harness::{
    App,
    browser::Browser,
    clock,
    scene::{Scene, VIDEO, can_play, choose_example, close, joined, notice_says},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_rooms_takes_nobodys_good_key_away() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    // A link that anybody who knows the code can send.
    ann.goto(&format!("{}#key=wrong", scene.link(&scene.app.url))).await;
    notice_says(&ann, "The key in the link is not this room's").await;
    ann.until("document.querySelector('#role').textContent.includes('You control')").await;
    // Whoever has no other key watches, and is told why.
    let ben = scene.window().await;
    ben.goto(&format!("{}#key=wrong", scene.link(&scene.app.url))).await;
    ben.join().await;
    ben.until("document.querySelector('#role').textContent.includes('The host controls')").await;
    ben.until(&format!("{VIDEO}?.readyState >= 2")).await;
    notice_says(&ben, "You are watching as a guest").await;
    close([ann, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_is_dragged_or_a_key_that_is_held_is_a_handful_of_orders() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let mut ben = scene.app.viewer(&scene.room).await;
    let took_ms = ann.run(
        "const bar = document.querySelector('#position');
         const startedAt = performance.now();
         for (let n = 0; n < 150; n += 1) {
           bar.dispatchEvent(new KeyboardEvent('keydown', { key: n < 140 ? 'ArrowRight' : 'ArrowLeft', bubbles: true, cancelable: true }));
           await new Promise((resolve) => setTimeout(resolve, 10));
         }
         return Math.round(performance.now() - startedAt);",
    )
    .await;
    // 140 presses of five seconds lead to the end of the clip, ten back from there.
    ben.sees(|state| (69_000..71_000).contains(&state["playback"]["position_ms"].as_i64().unwrap())).await;
    let orders = ann.eval("counted.sent.filter((type) => type === 'SEEK').length").await;
    // Three a second, and the last.
    let most = took_ms.as_u64().unwrap() / 300 + 3;
    assert!(orders.as_u64().unwrap() <= most, "{orders} orders in {took_ms} ms");
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_at_rest_has_nothing_laid_out_and_painted_again() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    can_play(&ann).await;
    // It looks at its player ten times a second.
    ann.run(
        "window.looks = 0;
         window.changes = [];
         const bar = document.querySelector('#position');
         const { get } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
         const all = { subtree: true, attributes: true, childList: true, characterData: true };
         new MutationObserver((list) => changes.push(...list.map(({ type, target, attributeName }) =>
           `${type} ${target.id} ${attributeName}`))).observe(document, all);
         Object.defineProperty(bar, 'value', {
           get() { looks += 1; return get.call(this); },
           set() { looks += 1; changes.push('value'); },
         });
         return 0;",
    )
    .await;
    // Whatever was still on its way when it was first looked at comes to an end.
    let rests = "(() => { if (looks < 20) return false; if (changes.length === 0) return true; looks = 0; changes.length = 0; return false; })()";
    ann.until(rests).await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_titles_are_counted_alike_and_refused_in_words() {
    let scene = Scene::new().await;
    let window = scene.window().await;
    let name = "document.querySelector('#name')";
    let try_name = async |text: String| {
        // A page that is left still hears what it was told; only then is it forgotten who joined.
        window.goto(&scene.app.url).await;
        window.run("sessionStorage.clear(); localStorage.clear(); return 0;").await;
        window.goto(&scene.link(&scene.app.url)).await;
        window.until("!document.querySelector('#enter').hidden").await;
        window.run(&format!("{name}.value = {text}; return 0;")).await;
        window.click("#join").await;
    };
    // Forty characters, the last of them outside of the first plane: both sides count it as one.
    for fine in ["'a'.repeat(39) + '😀'", "'half \\ud83d'", "'\\u202egnp.exe'", "'   '", "''"] {
        try_name(fine.to_owned()).await;
        window.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    }
    try_name("'a'.repeat(40) + '😀'".to_owned()).await;
    window.until("document.querySelector('#name-error').textContent === 'A name has at most 40 characters.'").await;
    // What only the server refuses is said too, not waited for.
    try_name("'tab\\u0007bell'".to_owned()).await;
    window.until("document.querySelector('#name-error').textContent.includes('control character')").await;
    window.until("!document.querySelector('#enter').hidden").await;

    window.goto(&scene.app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    choose_example(&window).await;
    window.run("document.querySelector('#title').value = 'b'.repeat(121); return 0;").await;
    window.click("#submit").await;
    window
        .until("document.querySelector('[data-error=title]').textContent === 'A title has at most 120 characters.'")
        .await;
    window.run("document.querySelector('#title').value = 'b'.repeat(119) + '😀'; return 0;").await;
    window.click("#submit").await;
    window.until("location.pathname.startsWith('/r/')").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_mistype_an_address_get_a_page_and_programs_an_error() {
    let app = App::start().await;
    let room = app.room().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{}/r/{}/", app.url, room.code)).await;
    window
        .until(&format!("location.pathname === '/r/{}' && !document.querySelector('#enter').hidden", room.code))
        .await;
    window.goto(&format!("{}/rooms/typo", app.url)).await;
    window.until("document.querySelector('h1').textContent === 'Nothing is here.'").await;
    assert_eq!(app.get("/rooms/typo").await.problem(), "not_found");
    // A whole link is as good as a code.
    window.goto(&app.url).await;
    window.type_into("#code", &format!("{}/r/{}\n", app.url, room.code.to_lowercase())).await;
    window.until(&format!("location.pathname === '/r/{}'", room.code)).await;
    // And Back from there is a page that works.
    window.0.back().await.unwrap();
    window.until("document.querySelector('select[name=provider]').options.length > 0").await;
    window.until("!document.querySelector('#submit').disabled").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_sticks_out_of_the_narrowest_phone() {
    let scene = Scene::new().await;
    let window = scene.window().await;
    for width in [320, 360] {
        window.as_phone(width, 640).await;
        let fits = format!("document.documentElement.scrollWidth <= {width}");
        window.goto(&scene.app.url).await;
        window.until("document.querySelector('select[name=provider]').options.length > 0").await;
        window.until(&fits).await;
        window.until("document.querySelector('[name=link]').offsetWidth > 150").await;
        window.click("button[name=by_hand]").await;
        window.until(&fits).await;
        window.until("document.querySelector('[name=external_id]').offsetWidth > 150").await;
        window.goto(&scene.host_link(&scene.app.url)).await;
        window.run("sessionStorage.clear(); return 0;").await;
        window.0.refresh().await.unwrap();
        window.until("!document.querySelector('#enter').hidden").await;
        window
            .until(
                "(() => { const [button, box] = ['#join', '#cover'].map((css) => document.querySelector(css).getBoundingClientRect());
                 return button.bottom <= box.bottom && button.right <= box.right; })()",
            )
            .await;
        joined(&window).await;
        window.run("for (const part of document.querySelectorAll('details')) part.open = true; return 0;").await;
        window.until(&fits).await;
        window.screenshot(&format!("host-{width}")).await;
        window.goto(&format!("{}/", scene.app.url)).await;
        window.run("sessionStorage.clear(); return 0;").await;
    }
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_list_leaves_the_keyboard_where_it_is() {
    let app = App::start().await;
    let room = app.room_with(json!({ "title": "One", "visibility": "public", "source": clock() })).await;
    let _host = app.host(&room).await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('#rooms a')").await;
    window.run("window.entry = document.querySelector('#rooms a'); entry.focus(); return 0;").await;
    // Another viewer, another room: both are shown, and the entry is still the same one.
    let _viewer = app.viewer(&room).await;
    let other = app.room_with(json!({ "title": "Two", "visibility": "public", "source": clock() })).await;
    let _other = app.host(&other).await;
    window
        .until("document.querySelectorAll('#rooms li').length === 2 && entry.textContent.includes('2 watching')")
        .await;
    window.until("document.activeElement === entry").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_that_is_pressed_twice_says_its_name_again() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    ann.run("navigator.clipboard.writeText = async () => {}; return 0;").await;
    ann.click("#copy").await;
    ann.until("document.querySelector('#copy').textContent === 'Copied'").await;
    ann.click("#copy").await;
    ann.until("document.querySelector('#copy').textContent === 'Copy link'").await;
    // What is said every second is not said aloud.
    ann.until("document.querySelector('#time').getAttribute('aria-live') === 'off'").await;
    ann.until("document.querySelector('#position').getAttribute('aria-valuetext') === 'the start of 2 minutes'").await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_who_press_play_at_once_have_it_played() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    let mut tab = scene.app.host(&scene.room).await;
    can_play(&ann).await;
    ann.run("window.orders = () => counted.sent.filter((type) => type === 'PLAY' || type === 'PAUSE'); return 0;")
        .await;
    // Her hand is on its way when the other host's order arrives: it comes down a moment later.
    let then = async |press: &str| {
        ann.run(&format!(
            "const button = document.querySelector('#play');
             window.hasPressed = false;
             new MutationObserver((_, watch) => {{
               watch.disconnect();
               setTimeout(() => {{ {press}; hasPressed = true; }}, 25);
             }}).observe(button, {{ childList: true }});
             return 0;"
        ))
        .await;
    };
    then("button.click()").await;
    tab.play().await;
    ann.until("hasPressed").await;
    assert_eq!(ann.eval("orders()").await, json!(["PLAY"]));
    assert_eq!(scene.app.view(&scene.room).await["playback"]["is_playing"], true);
    // Pressed again it is a pause: she knows what she did.
    ann.click("#play").await;
    tab.sees(|state| state["playback"]["is_playing"] == false).await;
    // A click on the picture makes of a player that has just been started one that rests.
    ann.until(&format!("{VIDEO}.paused && !{VIDEO}.seeking")).await;
    then(&format!("{VIDEO}.play().catch(() => {{}}); {VIDEO}.pause()")).await;
    tab.play().await;
    ann.until(&format!("hasPressed && !{VIDEO}.paused && {VIDEO}.currentTime > 0.2")).await;
    assert_eq!(ann.eval("orders()").await, json!(["PLAY", "PAUSE"]));
    assert_eq!(scene.app.view(&scene.room).await["playback"]["is_playing"], true);
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_film_is_as_loud_as_the_last_and_keeps_the_whole_screen() {
    let scene = Scene::new().await;
    let ann = scene.host().await;
    ann.click("#fullscreen").await;
    ann.until("document.fullscreenElement?.id === 'screen'").await;
    ann.run(&format!("{VIDEO}.volume = 0.2; window.first = {VIDEO}; return 0;")).await;
    std::fs::copy(scene.app.path("media/clock.webm"), scene.app.path("media/next.webm")).unwrap();
    let next = json!({ "provider": "mp4", "media_type": "movie", "external_id": "next.webm" });
    scene.app.put_source(&scene.room, next).await;
    ann.until(&format!("{VIDEO} !== first && {VIDEO}?.readyState >= 2 && Math.abs({VIDEO}.volume - 0.2) < 0.01")).await;
    ann.until("document.fullscreenElement?.id === 'screen'").await;
    ann.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_about_an_id_is_what_people_read() {
    let app = App::start().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&app.url).await;
    window.until("document.querySelector('select[name=provider]').options.length === 4").await;
    window.click("button[name=by_hand]").await;
    window.choose("select[name=provider]", "youtube").await;
    window.type_into("[name=external_id]", "tooshort").await;
    window.click("#submit").await;
    let media = json!({ "media_type": "movie", "external_id": "tooshort" });
    let answer = app.post("/api/v1/providers/youtube/resolve", media).await;
    let sentence = answer.body["errors"][0]["message"].clone();
    window.until(&format!("document.querySelector('[data-error=external_id]').textContent === {sentence}")).await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_a_room_full_is_told_and_comes_in_when_there_is_a_place() {
    let config = "[rooms]\nmax_viewers = 1\n[providers.mp4]\nconfig = { base_url = \"/media/\" }";
    let app = App::with(config).await;
    let room = app.room().await;
    let first = app.viewer(&room).await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.goto(&format!("{}/r/{}", app.url, room.code)).await;
    window.until("!document.querySelector('#enter').hidden").await;
    window.click("#join").await;
    window.until("document.querySelector('#cover').textContent.includes('This room is full')").await;
    drop(first);
    window.until("document.querySelector('#stage video')?.readyState >= 2").await;
    window.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_leads_elsewhere_is_said_to_and_loads_the_page_once_more_at_most() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://localhost:9/film.webm\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
        }
    });
    let app = App::with(&format!("[providers.mp4]\nconfig = {{ base_url = \"http://127.0.0.1:{port}/\" }}")).await;
    let room = app.room().await;
    let browser = Browser::start();
    let window = browser.window().await;
    window.before_pages("sessionStorage.loads = 1 + Number(sessionStorage.loads ?? 0);").await;
    window.goto(&format!("{}/r/{}", app.url, room.code)).await;
    window.join().await;
    window
        .until("document.querySelector('#notice').textContent.includes('it leads to a place that its provider does not name')")
        .await;
    // It is tried again and again, and says the same.
    window
        .until("performance.getEntriesByType('resource').filter(({ name }) => name.includes('clock.webm')).length > 1")
        .await;
    assert_eq!(window.eval("sessionStorage.loads").await, "2");
    // The browser complains of what it did not load, as it should.
    window.0.close().await.unwrap();
}
