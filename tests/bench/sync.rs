//! How close the players of a room are: real windows, one clock. README.md beside this says what is measured and how.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends where it is")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../it"]
#[expect(dead_code, reason = "the scenes need more of it than the measurement")]
mod it {
    pub(crate) mod harness;
}
mod quiet;
mod recording;
mod table;

use std::{
    env, slice,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use streamit_test_servers::Proxy;
use tokio::time::sleep;

use it::harness::{
    App,
    browser::{Browser, Window},
    scene::{VIDEO, media_from},
};
use recording::{Differences, Recording, Span};
use table::{Bar, Count, Phase, Row, Table};

const RECORDER: &str = include_str!("recorder.js");
/// Its player does not go faster or slower, whatever it is told.
const IGNORES_RATE: &str = "window.ignoresRate = true;";

/// What is added to a message either way for the viewer who is far away: 300 ms to a round trip.
const FAR: Duration = Duration::from_millis(150);

/// The clip needs 7200 a second: the line is faster than it, and never far ahead of it.
const SLOW_BYTES_PER_SEC: usize = 10_000;

/// Back by less is a picture that is put in its place as it pauses, not a jump.
const JUMP_BACK_MS: f64 = 250.0;

/// What becomes of the line to the host's media after it stopped, and what that is called.
struct Line {
    then_bytes_per_sec: Option<usize>,
    room: &'static str,
    apart: &'static str,
    orders: &'static str,
    back: &'static str,
}

const COMES_BACK: Line = Line {
    then_bytes_per_sec: None,
    room: "host starved",
    apart: "host starved, from 2 s after going on",
    orders: "host starved: orders",
    back: "host starved: furthest back, ms",
};

const STAYS_SLOW: Line = Line {
    then_bytes_per_sec: Some(SLOW_BYTES_PER_SEC),
    room: "host starved, slow line",
    apart: "... on a line that stays slow",
    orders: "... on a line that stays slow: orders",
    back: "... on a line that stays slow: back, ms",
};

/// How long the phases are, in seconds.
struct Lengths {
    steady: u64,
    after_jump: u64,
    hidden: u64,
    stop: u64,
}

const FULL: Lengths = Lengths { steady: 30, after_jump: 10, hidden: 20, stop: 10 };
const QUICK: Lengths = Lengths { steady: 8, after_jump: 6, hidden: 6, stop: 5 };

#[tokio::main]
async fn main() {
    // `cargo test --benches` wants to know that it builds.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    assert!(
        env::var("STREAMIT_PROFILE").is_ok_and(|p| p == "release"),
        "what is released is measured: `cargo xtask bench`"
    );
    let is_quick = env::args().any(|argument| argument == "--quick");
    let lengths = if is_quick { QUICK } else { FULL };
    let mut table = Table::new(is_quick);
    // The first builds what is measured.
    drop(App::start().await);
    table.load = if env::args().any(|argument| argument == "--now") { quiet::load() } else { quiet::quiet() };
    // What was measured stays, whatever becomes of the next room.
    together(&lengths, &mut table).await;
    table.save();
    the_hard_of_reach(&lengths, &mut table).await;
    table.save();
    the_starving(&lengths, &mut table, &COMES_BACK).await;
    table.save();
    the_starving(&lengths, &mut table, &STAYS_SLOW).await;
    table.save();
    table.print();
    println!("\nEverything, per window and phase: target/bench/sync.json");
}

/// Five windows with nothing in their way.
async fn together(lengths: &Lengths, table: &mut Table) {
    let app = App::start().await;
    app.lay_bundled_clip();
    let room = app.room().await;
    let browser = Browser::whole(&[]);
    let link = format!("{}/r/{}", app.url, room.code);
    say("opening four windows");
    let host = Seat::take(&browser, "host", &format!("{link}#key={}", room.key), "").await;
    let mut seats = vec![host];
    for who in ["viewer 1", "viewer 2", "viewer 3"] {
        seats.push(Seat::take(&browser, who, &link, "").await);
    }
    table.machine(&seats[0].window).await;
    sleep(Duration::from_secs(2)).await;

    say("play");
    let play = seats[0].press("#play").await;
    let steady = play + 5000.0;
    reach(steady).await;
    say("steady play");
    reach(after(steady, lengths.steady)).await;
    say("a jump");
    let jump = seats[0].press("#forward").await;
    reach(after(jump, lengths.after_jump)).await;
    say("a second jump");
    let second_jump = seats[0].press("#forward").await;
    reach(after(second_jump, lengths.after_jump)).await;
    say("a late joiner");
    let before_late = now_ms();
    let late = Seat::take(&browser, "late joiner", &link, "").await;
    let joined = late.joined_at;
    seats.push(late);
    reach(joined + 10_000.0).await;
    say("pause");
    let pause = seats[0].press("#play").await;
    reach(pause + 4000.0).await;
    say("play again");
    let play_again = seats[0].press("#play").await;
    reach(play_again + 6000.0).await;
    let end_of_play = now_ms();

    say("a tab in the background");
    // The clip is short: back to its beginning.
    seats[0].window.eval("(document.querySelector('#position').value = 10, document.querySelector('#position').dispatchEvent(new Event('input')))").await;
    sleep(Duration::from_secs(5)).await;
    let hidden = now_ms();
    let tab = seats[1].window.0.window().await.unwrap();
    let other = seats[1].window.0.new_window(true).await.unwrap();
    seats[1].window.0.switch_to_window(other.handle).await.unwrap();
    sleep(Duration::from_secs(lengths.hidden)).await;
    seats[1].window.0.close_window().await.unwrap();
    seats[1].window.0.switch_to_window(tab).await.unwrap();
    seats[1].window.command("Page.bringToFront", json!({})).await;
    seats[1].window.until("document.visibilityState === 'visible'").await;
    let back = now_ms();
    reach(back + 4000.0).await;

    let recordings = leave(seats).await;
    let [host, viewers @ ..] = recordings.as_slice() else { unreachable!() };
    let [first, .., late] = viewers else { unreachable!() };
    let row = |phase, spans: &[Span], who: &[Recording]| row(phase, host, who, spans);
    let of = |at, from, to| Span(at + from, at + to);
    let there = &viewers[..viewers.len() - 1];
    let end_of_steady = after(steady, lengths.steady);
    let steady = Span(steady, end_of_steady);
    let soon = [of(jump, 300.0, 2000.0), of(second_jump, 300.0, 2000.0)];
    let later = [Span(jump + 2000.0, second_jump), Span(second_jump + 2000.0, before_late)];
    table.rows.extend([
        row("play, 0.3-3 s after it", &[of(play, 300.0, 3000.0)], there).bar("p95", Bar::of(30.0, 45.0)),
        row("steady play", &[steady], there).bar("p50", Bar::of(8.0, 12.0)).bar("p95", Bar::of(15.0, 25.0)),
        row("jump, 0.3-2 s after it", &soon, there),
        row("jump, from 2 s after it", &later, there).bar("p95", Bar::of(25.0, 40.0)),
        row("late joiner, from 3 s on", &[of(joined, 3000.0, 10_000.0)], slice::from_ref(late))
            .bar("p95", Bar::of(25.0, 40.0)),
        row("paused, from 1 s on", &[of(pause, 1000.0, 4000.0)], viewers),
        row("play again, 0.3-3 s after it", &[of(play_again, 300.0, 3000.0)], viewers).bar("p95", Bar::of(30.0, 45.0)),
        row("back from the background, 0-3 s", &[of(back, 0.0, 3000.0)], slice::from_ref(first)),
    ]);
    if !first.was_hidden_in(Span(hidden, back)) {
        table.warnings.push("the tab in the background never was hidden".into());
    }
    let jumps = [Span(jump, second_jump), Span(second_jump, before_late)];
    let seeks: Vec<usize> =
        recordings[..=there.len()].iter().flat_map(|r| jumps.map(|span| r.seeks_in(span))).collect();
    let writes: usize = there.iter().map(|viewer| viewer.rates_in(steady)).sum();
    table.counts.extend([
        Count::of(
            "seeks per order and player, mean",
            seeks.iter().sum::<usize>() as f64 / seeks.len() as f64,
            Some(Bar::at_most(1.0)),
        ),
        Count::of("seeks per order and player, most", *seeks.iter().max().unwrap() as f64, Some(Bar::at_most(1.0))),
        Count::of(
            "rate writes per minute and viewer",
            writes as f64 / there.len() as f64 / (steady.secs() / 60.0),
            Some(Bar::of(2.0, 6.0)),
        ),
    ]);
    let phases = [
        ("play", Span(play, steady.0)),
        ("steady play", steady),
        ("jump", jumps[0]),
        ("second jump", jumps[1]),
        ("late joiner", Span(before_late, pause)),
        ("pause", Span(pause, play_again)),
        ("play again", Span(play_again, end_of_play)),
        ("background", Span(hidden, back)),
        ("back", Span(back, back + 4000.0)),
    ];
    table.phases.extend(phases.map(|(name, span)| Phase::of("together", name, span, &recordings)));
    table.compare_clocks(&recordings);
}

/// One who is far away, and one whose player has no speeds.
async fn the_hard_of_reach(lengths: &Lengths, table: &mut Table) {
    let app = App::start().await;
    app.lay_bundled_clip();
    let room = app.room().await;
    let browser = Browser::whole(&[]);
    let line = Proxy::to(&[app.url.strip_prefix("http://").unwrap()]);
    line.delay(FAR);
    let link = format!("{}/r/{}", app.url, room.code);
    say("opening three windows: a host, one who is far away, one whose rate is ignored");
    let seats = vec![
        Seat::take(&browser, "host", &format!("{link}#key={}", room.key), "").await,
        Seat::take(&browser, "far away", &format!("http://{}/r/{}", line.address(), room.code), "").await,
        Seat::take(&browser, "rate ignored", &link, IGNORES_RATE).await,
    ];
    sleep(Duration::from_secs(2)).await;
    say("play");
    let play = seats[0].press("#play").await;
    let steady = Span(play + 5000.0, after(play + 5000.0, lengths.steady));
    reach(steady.1).await;
    say("a jump");
    let jump = seats[0].press("#forward").await;
    let end = after(jump, lengths.after_jump);
    reach(end).await;

    let recordings = leave(seats).await;
    let [host, far, rateless] = recordings.as_slice() else { unreachable!() };
    let row = |phase, span, who| row(phase, host, slice::from_ref(who), &[span]);
    table.rows.extend([
        row("300 ms away: play, 0.3-3 s after", Span(play + 300.0, play + 3000.0), far),
        row("300 ms away: steady play", steady, far),
        row("300 ms away: jump, from 2 s after", Span(jump + 2000.0, end), far),
        row("rate ignored: steady play", steady, rateless),
        row("rate ignored: jump, from 2 s after", Span(jump + 2000.0, end), rateless),
    ]);
    let phases = [("play", Span(play, steady.0)), ("steady play", steady), ("jump", Span(jump, end))];
    table.phases.extend(phases.map(|(name, span)| Phase::of("hard of reach", name, span, &recordings)));
    table.compare_clocks(&recordings);
}

/// A host whose media stop coming.
async fn the_starving(lengths: &Lengths, table: &mut Table, kind: &Line) {
    let app = App::start().await;
    app.lay_bundled_clip();
    let room = app.room().await;
    let browser = Browser::whole(&[]);
    let line = Proxy::to(&[app.url.strip_prefix("http://").unwrap()]);
    line.throttle(Some(SLOW_BYTES_PER_SEC));
    let link = format!("{}/r/{}", app.url, room.code);
    say("opening three windows: a host whose media are on a slow line, two viewers");
    let seats = vec![
        Seat::take(&browser, "host", &format!("{link}#key={}", room.key), &media_from(&line.address())).await,
        Seat::take(&browser, "viewer 1", &link, "").await,
        Seat::take(&browser, "viewer 2", &link, "").await,
    ];
    let host = &seats[0].window;
    say("play");
    let play = seats[0].press("#play").await;
    reach(play + 8000.0).await;
    say("the host's media stop");
    line.silence(true);
    let stop = now_ms();
    let is_dry = becomes_true(host, &format!("{VIDEO}.readyState < 3"), 40).await;
    sleep(Duration::from_secs(lengths.stop)).await;
    say("and go on");
    line.throttle(kind.then_bytes_per_sec);
    line.silence(false);
    let fed = now_ms();
    let goes_on = becomes_true(host, &format!("{VIDEO}.readyState >= 3 && !{VIDEO}.paused"), 30).await;
    let on = now_ms();
    reach(on + 10_000.0).await;
    let whole = Span(stop, now_ms());

    let recordings = leave(seats).await;
    let [host, viewers @ ..] = recordings.as_slice() else { unreachable!() };
    for (is_so, warning) in [(is_dry, "did not starve"), (goes_on, "did not go on")] {
        if !is_so {
            table.warnings.push(format!("{}: it {warning}", kind.room));
        }
    }
    let span = Span(on + 2000.0, whole.1);
    table.rows.push(row(kind.apart, host, viewers, &[span]));
    let orders = host.sent_in(whole);
    let are: Vec<String> = orders.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let back = recordings.iter().map(|recording| (recording.jumped_back_in(whole), recording.who));
    let (back, who) = back.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    table.counts.extend([
        Count::of(kind.orders, orders.values().sum::<usize>() as f64, Some(Bar::at_most(2.0))).noting(are.join(", ")),
        Count::of(kind.back, back, Some(Bar::at_most(JUMP_BACK_MS))).noting(who.to_owned()),
    ]);
    let phases = [("play", Span(play, stop)), ("starving", Span(stop, fed)), ("going on", Span(fed, whole.1))];
    table.phases.extend(phases.map(|(name, span)| Phase::of(kind.room, name, span, &recordings)));
    table.compare_clocks(&recordings);
}

/// Somebody in the room, in a window that takes notes.
struct Seat {
    who: &'static str,
    window: Window,
    joined_at: f64,
}

impl Seat {
    /// Joins, and returns when there is something to be seen.
    async fn take(browser: &Browser, who: &'static str, url: &str, script: &str) -> Seat {
        let window = browser.window().await;
        window.before_pages(&format!("{script}{RECORDER}")).await;
        // Media may come from a line of their own.
        window.command("Page.setBypassCSP", json!({ "enabled": true })).await;
        window.goto(url).await;
        window.until("!document.querySelector('#enter').hidden").await;
        let mut seat = Seat { who, window, joined_at: 0.0 };
        seat.joined_at = seat.press("#join").await;
        assert!(
            becomes_true(&seat.window, &format!("{VIDEO}?.readyState >= 2"), 60).await,
            "{who} never saw a picture"
        );
        seat
    }

    /// Clicks, and answers when the page saw it.
    async fn press(&self, css: &str) -> f64 {
        self.window.click(css).await;
        self.window.eval("notes.clicks.at(-1)[0]").await.as_f64().unwrap()
    }
}

/// What everyone noted; their windows are closed.
async fn leave(seats: Vec<Seat>) -> Vec<Recording> {
    let mut recordings = Vec::new();
    for Seat { who, window, .. } in seats {
        recordings.push(Recording::of(who, &window).await);
        for complaint in window.complaints().await {
            println!("  {who}: {complaint}");
        }
        window.0.close().await.unwrap();
    }
    recordings
}

/// Each viewer against the host, over these spans.
fn row(phase: &'static str, host: &Recording, viewers: &[Recording], spans: &[Span]) -> Row {
    let compare = |viewer: &Recording| {
        let mut differences = Differences::default();
        for span in spans {
            differences.add(host, viewer, *span);
        }
        (viewer.who, differences)
    };
    Row { phase, viewers: viewers.iter().map(compare).collect(), bars: Vec::new() }
}

async fn becomes_true(window: &Window, expression: &str, within_secs: u64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(within_secs);
    while Instant::now() < deadline {
        if window.eval(expression).await == true {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

fn say(what: &str) {
    println!("  {what} …");
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64() * 1000.0
}

fn after(at_ms: f64, secs: u64) -> f64 {
    at_ms + secs as f64 * 1000.0
}

/// Waits for a moment; what comes next is to fall behind it.
async fn reach(at_ms: f64) {
    sleep(Duration::from_secs_f64((at_ms - now_ms()).max(0.0) / 1000.0)).await;
}
