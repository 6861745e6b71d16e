//! A room's frames over real connections: whole, the newest at last, and nobody waits for anybody.

use std::{
    collections::HashSet,
    future::poll_fn,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use axum::body::Bytes;
use streamit_plugin_api::Capabilities;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    config::Limits,
    line::{Stall, Writing},
    live::{Frame, Live, LiveRoom, feed::Feed, tests::record},
    server::Held,
    session::Sessions,
};

/// Nothing takes this long, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(60);

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A room and its sessions.
struct Bench {
    live: Live,
    room: Arc<LiveRoom>,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
    tracker: TaskTracker,
    version: AtomicU64,
}

impl Bench {
    async fn new() -> Bench {
        let limits = Limits { messages_per_sec: 1_000_000, messages_burst: 1_000_000, ..Limits::default() };
        Bench::with(limits).await
    }

    async fn with(limits: Limits) -> Bench {
        let metrics = Arc::new(Metrics::new());
        // The store's own frames are older than the test's.
        let live = Live::in_memory(Duration::from_secs(300), 10_000, Arc::new(|| 0), metrics.clone());
        let room = live.open(record("K7QM2X", 1)).await.expect("open");
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let sessions = Sessions::new(
            live.clone(),
            Arc::new(|_| Capabilities::default()),
            limits,
            metrics,
            stop.clone(),
            tracker.clone(),
        );
        Bench { live, room, sessions, stop, tracker, version: AtomicU64::new(1_000_000) }
    }

    /// Shows a frame of about so many bytes, and answers its version.
    fn show(&self, bytes: usize) -> u64 {
        self.publish(bytes, false)
    }

    fn publish(&self, bytes: usize, is_last: bool) -> u64 {
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        self.live.publish(&self.room, frame(version, bytes, is_last));
        version
    }

    /// Somebody who has said HELLO and been told the room's state.
    async fn member(&self) -> Client<TcpStream> {
        let (held, stream) = connected(0).await;
        self.run(Line::over_tcp(held));
        Client::enter(stream).await
    }

    /// As [`Bench::member`], over something that is no TCP stream.
    async fn member_elsewhere(&self) -> Client<tokio::io::DuplexStream> {
        let (here, there) = tokio::io::duplex(16 * 1024);
        self.run(Line::over(there));
        Client::enter(here).await
    }

    fn run(&self, line: Line) {
        self.tracker.spawn(self.sessions.clone().run(line, Vec::new(), self.room.clone(), |_| None));
    }

    /// Waits until every session has ended.
    async fn is_empty(&self) {
        while self.room.members_here() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn frame(version: u64, bytes: usize, is_last: bool) -> Frame {
    let text = format!("{version} {}", "x".repeat(bytes)).into();
    Frame { is_last, ..Frame::new(version as i64, 0, text) }
}

/// Both ends of a connection whose client takes in about so much at once; 0: as usual.
async fn connected(receive_bytes: u32) -> (Held, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let socket = TcpSocket::new_v4().expect("a socket");
    if receive_bytes > 0 {
        socket.set_recv_buffer_size(receive_bytes).expect("set");
    }
    let (client, accepted) =
        tokio::join!(socket.connect(listener.local_addr().expect("an address")), listener.accept());
    (Held::alone(accepted.expect("accepted").0), client.expect("connected"))
}

/// A client that reads frames and nothing else.
struct Client<S> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn enter(stream: S) -> Client<S> {
        let mut client = Client { stream };
        client.say(TEXT, br#"{"type":"HELLO"}"#).await;
        let (kind, welcome) = client.next().await;
        assert!(kind == TEXT && welcome.starts_with(br#"{"type":"WELCOME""#), "{welcome:?}");
        let (kind, state) = client.next().await;
        assert_eq!(kind, TEXT, "{state:?}");
        client
    }

    /// Sends a masked frame.
    async fn say(&mut self, kind: u8, payload: &[u8]) {
        let mut frame = vec![kind, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.expect("written");
    }

    /// The next frame, which is whole.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        timeout(PATIENCE, self.read()).await.expect("a frame in time").expect("a whole frame")
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        assert!([TEXT, CLOSE, PING, PONG].contains(&kind), "a frame begins with {kind:#x}");
        let length = match self.stream.read_u8().await? {
            126 => self.stream.read_u16().await?.into(),
            127 => self.stream.read_u64().await?,
            length => length.into(),
        };
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((kind, payload))
    }

    /// The version of the next state, which is whole.
    async fn sees(&mut self) -> u64 {
        loop {
            let (kind, text) = self.next().await;
            if kind == TEXT && !text.starts_with(b"{") {
                return version(&text);
            }
        }
    }

    /// Reads until that version.
    async fn sees_version(&mut self, newest: u64) {
        let mut last = 0;
        while last != newest {
            let version = self.sees().await;
            assert!(version > last, "{version} after {last}");
            last = version;
        }
    }

    async fn is_asked(&mut self) {
        while self.next().await.0 != PING {}
    }

    async fn is_closed(&mut self) -> u16 {
        loop {
            let (kind, payload) = self.next().await;
            if kind == CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    async fn answers_goodbye(&mut self, code: u16) {
        assert_eq!(self.is_closed().await, code);
        self.say(CLOSE, &code.to_be_bytes()).await;
    }
}

/// Of a frame that nothing is torn out of.
fn version(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).expect("text");
    let (version, filling) = text.split_once(' ').expect("a version");
    assert!(filling.bytes().all(|byte| byte == b'x'), "something else is in it");
    version.parse().expect("a number")
}

fn seated(room: &LiveRoom) -> usize {
    let all = room.feed.audience().0.lock().expect("whole");
    all.iter().map(|rows| rows.seated().lines.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_whole_frames_and_the_newest_at_last() {
    let bench = Bench::new().await;
    let (held, stream) = connected(4 * 1024).await;
    bench.run(Line::over_tcp(held));
    let mut slow = Client::enter(stream).await;
    let mut quick = bench.member().await;
    for round in 0..20 {
        // It is behind as soon as the first of these is shown; its own questions are answered all the same.
        let mut newest = bench.show(300_000);
        slow.say(PING, b"?").await;
        slow.say(TEXT, br#"{"type":"PING","client_ms":1}"#).await;
        for _ in 0..round {
            newest = bench.show(100_000);
        }
        quick.sees_version(newest).await;
        let (mut pongs, mut last) = (HashSet::new(), 0);
        while last != newest || pongs.len() < 2 {
            let (kind, payload) = slow.next().await;
            if kind == PONG || payload.starts_with(b"{") {
                pongs.insert(kind);
            } else {
                let version = version(&payload);
                assert!(version > last, "{version} after {last}");
                last = version;
            }
        }
    }
    let skipped = bench.sessions.metrics.frames_skipped.get();
    assert!(skipped > 0, "a burst is not everything that was in it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_in_nothing_is_given_up_and_a_slow_one_is_not() {
    // As long as a thread is busy the clock moves only when it is told to, however long the kernel takes.
    let (busy, idle) = std::sync::mpsc::channel::<()>();
    let thread = tokio::task::spawn_blocking(move || idle.recv());
    let bench = Bench::new().await;
    let (mut slow, stuck) = (bench.member().await, bench.member().await);
    let pass = async |time: Duration| {
        tokio::time::advance(time).await;
        for _ in 0..200 {
            yield_now().await;
        }
    };
    let mut stalled_for = 0;
    for _ in 0..3 {
        let newest = bench.show(1_000_000);
        pass(FRAMES_EVERY).await;
        // Most of the time that it has; and what it then takes in gives it as much again.
        for _ in 0..9 {
            if bench.room.members_here() == 2 {
                stalled_for += 1;
            }
            pass(Duration::from_secs(1)).await;
        }
        slow.sees_version(newest).await;
    }
    assert_eq!(bench.room.members_here(), 1);
    // The kernel may take in a little more after a while, which counts.
    assert!((10..27).contains(&stalled_for), "given up after {stalled_for} s");
    drop((busy, stuck));
    let _ = thread.await;
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_has_taken_in_nothing_for_ten_seconds() {
    let bench = Bench::new().await;
    let mut drop_by_drop = bench.member_elsewhere().await;
    bench.show(1_000_000);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        drop_by_drop.stream.read_exact(&mut [0; 100]).await.expect("still there");
    }
    let start = Instant::now();
    bench.is_empty().await;
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn nothing_follows_our_goodbye() {
    let (held, client) = connected(0).await;
    let (line, metrics) = (Line::over_tcp(held), Metrics::new());
    let feed = Feed::new(frame(1, 0, false));
    line.begin_close();
    assert!(!line.show(&feed.subscribe().borrow(), &metrics));
    line.ping();
    drop(line);
    let mut heard = Vec::new();
    Client { stream: client }.stream.read_to_end(&mut heard).await.expect("an end");
    assert!(heard.is_empty());
}

/// A session that only writes, and a room that only shows: whatever they do at the same moment, the newest arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_is_lost_between_a_session_that_catches_up_and_the_next_frame() {
    let metrics = Arc::new(Metrics::new());
    let feed = Arc::new(Feed::new(frame(1, 0, false)));
    let (held, stream) = connected(16 * 1024).await;
    let line = Arc::new(Line::over_tcp(held));
    let session = {
        let (line, frames, metrics) = (line.clone(), feed.subscribe(), metrics.clone());
        async move {
            let mut stall: Stall = None;
            poll_fn(|cx| {
                let own = &mut Bytes::new();
                line.poll_end(cx, Writing { own, frames: Some(&frames), metrics: &metrics, stall: &mut stall })
            })
            .await
        }
    };
    line.fall_behind();
    tokio::spawn(session);
    let (seen, mut seeing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut client = Client { stream };
        while seen.send(client.sees().await).is_ok() {}
    });
    let frames = feed.subscribe();
    for n in 1..1_000 {
        for part in [2 * n, 2 * n + 1] {
            feed.publish(frame(part, 40_000, false));
            line.show(&frames.borrow().clone(), &metrics);
            // So that the second one comes anywhere in what the first one sets off.
            for _ in 0..(n * 7919) % 4_000 {
                std::hint::spin_loop();
            }
        }
        let newest = async { while seeing.recv().await.expect("a client") != 2 * n + 1 {} };
        timeout(PATIENCE, newest).await.unwrap_or_else(|_| panic!("frame {n} never arrived"));
    }
}

#[tokio::test]
async fn a_large_room_delays_a_small_one_by_a_slice() {
    let (large, small) = (Feed::new(frame(1, 0, false)), Feed::new(frame(1, 0, false)));
    let metrics = Arc::new(Metrics::new());
    let mut clients = Vec::new();
    let mut seats = Vec::new();
    let mut seat = async |feed: &Feed, count: usize| {
        let mut lines = Vec::new();
        for _ in 0..count {
            let (held, client) = connected(0).await;
            let line = Arc::new(Line::over_tcp(held));
            seats.push(feed.seat(line.clone(), &metrics));
            clients.push(client);
            lines.push(line);
        }
        lines
    };
    let many = seat(&large, 4 * SLICE).await;
    let few = seat(&small, 10).await;
    let told = |lines: &[Arc<Line>]| lines.iter().filter(|line| line.shown() == Some(1)).count();
    large.publish(frame(2, 0, false));
    small.publish(frame(2, 0, false));
    while told(&few) < few.len() {
        yield_now().await;
    }
    assert!(told(&many) <= 2 * SLICE, "{} of the large room came first", told(&many));
    while told(&many) < many.len() {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_large_room_has_several_writers_and_an_empty_one_none() {
    let feed = Feed::new(frame(1, 0, false));
    let metrics = Arc::new(Metrics::new());
    let (held, _client) = connected(0).await;
    let line = Arc::new(Line::over_tcp(held));
    let seats: Vec<_> = (0..LINES_PER_WRITER + 1).map(|_| feed.seat(line.clone(), &metrics)).collect();
    let writers = || {
        let all = feed.audience().0.lock().expect("whole");
        all.iter().filter(|rows| rows.seated().writer.is_some()).count()
    };
    assert_eq!(writers(), 1, "this runtime has one core");
    drop(seats);
    assert_eq!(writers(), 0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().expect("a runtime");
    let _in = runtime.enter();
    let seats: Vec<_> = (0..10 * LINES_PER_WRITER).map(|_| feed.seat(line.clone(), &metrics)).collect();
    assert_eq!(writers(), 3);
    drop(seats);
    runtime.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn two_frames_go_at_once_and_the_next_after_a_moment_with_all_that_came_since() {
    let bench = Bench::new().await;
    let mut ann = bench.member_elsewhere().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    for _ in 0..2 {
        let shown = bench.show(10);
        assert_eq!((ann.sees().await, start.elapsed()), (shown, Duration::ZERO));
    }
    bench.show(10);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let newest = bench.show(10);
    assert_eq!(ann.sees().await, newest);
    assert!((50..60).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(bench.sessions.metrics.frames_skipped.get(), 1);
    // The end is never late, and the socket follows.
    let start = Instant::now();
    bench.show(10);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let last = bench.publish(10, true);
    assert_eq!((ann.sees().await, ann.is_closed().await), (last, 4410));
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn goodbyes_are_said_and_answered_on_every_kind_of_line() {
    let bench = Bench::new().await;
    let mut over_tcp = bench.member().await;
    over_tcp.say(CLOSE, &[0x03, 0xe8]).await;
    assert_eq!(over_tcp.is_closed().await, 1000);
    assert_eq!(over_tcp.stream.read(&mut [0; 1]).await.expect("an end"), 0, "the server ends the connection");
    let mut elsewhere = bench.member_elsewhere().await;
    elsewhere.say(CLOSE, &[0x03, 0xe8]).await;
    assert_eq!(elsewhere.is_closed().await, 1000);
    bench.is_empty().await;

    let (mut over_tcp, mut elsewhere) = (bench.member().await, bench.member_elsewhere().await);
    bench.stop.cancel();
    tokio::join!(over_tcp.answers_goodbye(1012), elsewhere.answers_goodbye(1012));
    assert_eq!(over_tcp.stream.read(&mut [0; 1]).await.expect("an end"), 0, "and waits no longer than for the answer");
    bench.tracker.close();
    timeout(PATIENCE, bench.tracker.wait()).await.expect("every session ends");
    assert_eq!(seated(&bench.room), 0);
}

#[tokio::test]
async fn a_line_that_only_its_session_can_write_to_gets_the_same() {
    let bench = Bench::new().await;
    let mut ann = bench.member_elsewhere().await;
    for bytes in [10, 200_000, 10] {
        let mut newest = 0;
        for _ in 0..5 {
            newest = bench.show(bytes);
        }
        ann.sees_version(newest).await;
        ann.say(PING, b"?").await;
        assert_eq!(ann.next().await, (PONG, b"?".to_vec()));
        ann.say(TEXT, br#"{"type":"SYNC"}"#).await;
        assert_eq!(ann.sees().await, newest);
    }
    let last = bench.publish(10, true);
    assert_eq!((ann.sees().await, ann.is_closed().await), (last, 4410));
}

#[tokio::test(start_paused = true)]
async fn who_is_quiet_is_asked_and_who_stays_silent_is_given_up() {
    let bench = Bench::with(Limits { ping_secs: 10, silence_secs: 25, ..Limits::default() }).await;
    let (mut alive, silent) = (bench.member_elsewhere().await, bench.member_elsewhere().await);
    let start = Instant::now();
    let mut asked = 0;
    while bench.room.members_here() == 2 {
        if let Ok((PING, _)) = timeout(Duration::from_millis(500), alive.read()).await.unwrap_or(Ok((0, Vec::new()))) {
            asked += 1;
            alive.say(PONG, b"").await;
        }
    }
    assert!((25..27).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!((asked, bench.room.members_here()), (2, 1));
    // The one who answers stays.
    for _ in 0..10 {
        alive.is_asked().await;
        alive.say(PONG, b"").await;
    }
    drop(silent);
}

/// Beside what the kernel and the runtime keep of a connection.
#[tokio::test]
async fn what_is_kept_of_a_viewer_is_small() {
    let bench = Bench::new().await;
    let (held, _client) = connected(0).await;
    let line = Line::over_tcp(held);
    let line_bytes = size_of_val(&line);
    let session_bytes = size_of_val(&bench.sessions.clone().run(line, Vec::new(), bench.room.clone(), |_| None));
    assert!(line_bytes + session_bytes < 1200, "{line_bytes} and {session_bytes}");
}

/// As `yield_now`, which needs memory the first time.
async fn turn() {
    let mut has_turned = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut has_turned, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_frame_goes_to_everyone_without_taking_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (feed, metrics) = (Feed::new(frame(1, 0, false)), Arc::new(Metrics::new()));
    let mut others = Vec::new();
    for _ in 0..64 {
        let (held, client) = runtime.block_on(connected(0));
        let line = Arc::new(Line::over_tcp(held));
        let seat = runtime.block_on(async { feed.seat(line.clone(), &metrics) });
        others.push((line, seat, client));
    }
    let is_told = |number| others.iter().all(|(line, ..)| line.shown() == Some(number));
    for number in 1..4 {
        feed.publish(frame(number + 1, 200, false));
        let taken = allocation_counter::measure(|| {
            runtime.block_on(async {
                while !is_told(number) {
                    turn().await;
                }
            });
        });
        if number > 1 {
            // The first time everyone's place on the round is made.
            assert_eq!(taken.count_total, 0, "{taken:?}");
        }
    }
}
