//! The live store's contract, stated once.

use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{
    playback::{Command, Hold, LEAD_MS},
    protocol::HostState,
    rooms::{KeyHash, Source, Visibility},
    timeline::STALE_FOR_MS,
};

const NOW: i64 = 1_790_000_000_000;
const GRACE: Duration = Duration::from_secs(300);

/// A store whose clock the test moves.
struct Bench {
    live: Live,
    clock: Arc<AtomicI64>,
    metrics: Arc<Metrics>,
    server: Option<streamit_test_servers::Redis>,
}

impl Bench {
    fn in_memory() -> Bench {
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let live = Live::in_memory(GRACE, 100, reading(&clock), metrics.clone());
        Bench { live, clock, metrics, server: None }
    }

    async fn in_redis() -> Bench {
        let server = streamit_test_servers::Redis::start();
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let config = config_of(&server);
        let live = Live::in_redis(&config, GRACE, 100, Some(reading(&clock)), metrics.clone()).await;
        Bench { live: live.expect("connected"), clock, metrics, server: Some(server) }
    }

    async fn in_cluster(cluster: &streamit_test_servers::Cluster, prefix: &str) -> Bench {
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let config = config::Redis {
            url: config::RedisUrls::Cluster(cluster.urls()),
            prefix: prefix.into(),
            ..config::Redis::default()
        };
        let live = Live::in_redis(&config, GRACE, 100, Some(reading(&clock)), metrics.clone()).await;
        Bench { live: live.expect("connected"), clock, metrics, server: None }
    }

    fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    async fn room(&self, code: &str) -> Arc<LiveRoom> {
        self.live.open(record(code, 1)).await.expect("open")
    }

    async fn snapshot(&self, room: &LiveRoom) -> Snapshot {
        self.live.read(room.code()).await.expect("live").snapshot
    }

    async fn playback(&self, room: &LiveRoom) -> PlaybackState {
        self.snapshot(room).await.playback
    }

    /// Gives an order, and answers the room's version after it.
    async fn order(&self, room: &Arc<LiveRoom>, order: Order) -> i64 {
        self.live.command(room, order).await.expect("carried out, or dropped in silence");
        self.snapshot(room).await.version
    }

    /// Offers what a host saw of the room as it is in the first record.
    async fn offer(&self, room: &Arc<LiveRoom>, version: i64, playback: PlaybackState) {
        let seen = SeenRoom { source: record("K7QM2X", 1).source, state: Seen { version, playback } };
        self.live.offer(room, &seen).await.expect("offered");
    }
}

fn reading(clock: &Arc<AtomicI64>) -> Clock {
    let clock = clock.clone();
    Arc::new(move || clock.load(Ordering::SeqCst))
}

fn config_of(server: &streamit_test_servers::Redis) -> config::Redis {
    config::Redis { url: config::RedisUrls::One(server.url()), ..config::Redis::default() }
}

/// Each scene holds for both stores.
macro_rules! contract {
    ($($scene:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test] async fn $scene() { super::$scene(super::Bench::in_memory()).await })*
        }
        mod in_redis {
            $(#[tokio::test] async fn $scene() { super::$scene(super::Bench::in_redis().await).await })*
        }

        /// One cluster for all of them, since starting one takes seconds; each has a prefix of its own.
        #[tokio::test]
        async fn a_redis_cluster_keeps_the_same_contract() {
            let cluster = tokio::task::spawn_blocking(streamit_test_servers::Cluster::start).await.expect("started");
            $($scene(Bench::in_cluster(&cluster, stringify!($scene)).await).await;)*
        }
    };
}

contract!(
    opening_again_keeps_the_live_state,
    a_newer_source_restarts_paused_at_0_and_an_older_one_is_ignored,
    a_source_starts_where_it_is_to_whoever_looked_first,
    every_change_has_a_larger_version_even_when_the_clock_goes_back,
    orders_work_at_once_when_the_clock_goes_back_and_nobody_is_moved,
    a_report_that_has_not_seen_the_newest_jump_moves_nothing,
    what_is_said_about_the_former_source_moves_nothing_in_the_new_one,
    a_wrong_clock_locks_no_host_out,
    a_host_who_runs_dry_holds_the_room,
    a_host_brings_a_forgotten_room_back,
    of_a_forgotten_room_the_newest_memory_wins,
    after_an_order_nobody_remembers_better,
    a_memory_of_another_source_or_of_no_room_is_not_taken,
    a_memory_of_what_is_so_already_tells_nobody_anything,
    closing_one_of_the_hosts_tabs_does_not_make_the_host_away,
    joins_are_told_in_bursts_not_one_by_one,
    a_room_is_closed_when_its_grace_is_over_and_looked_at_until_the_database_knows,
    a_host_who_is_back_before_the_decision_keeps_the_room,
    a_room_nobody_came_to_expires_like_any_other,
    a_closed_room_tells_its_members_and_lets_nobody_in,
    the_public_list_has_rooms_with_a_host_most_viewers_first,
);

pub(super) fn record(code: &str, revision: i64) -> Room {
    Room {
        code: code.parse().expect("a code"),
        title: None,
        visibility: Visibility::Public,
        host_key: KeyHash::none(),
        source: Source {
            provider: "acme".into(),
            media_type: streamit_plugin_api::MediaType::Movie,
            external_id: revision.to_string(),
            season: None,
            episode: None,
        },
        revision,
        created_at_ms: NOW,
    }
}

fn order(command: Command) -> Order {
    Order { command, at_ms: None, version: None }
}

fn play() -> Order {
    order(Command::Play { position_ms: None })
}

fn pause() -> Order {
    order(Command::Pause { position_ms: None, hold: None })
}

fn starve() -> Order {
    order(Command::Pause { position_ms: None, hold: Some(Hold::Buffering) })
}

fn seek(position_ms: i64) -> Order {
    order(Command::Seek { position_ms })
}

fn progress(position_ms: i64) -> Order {
    order(Command::Progress { position_ms, has_ended: false })
}

/// Waits until a member's newest frame says `text`.
async fn sees(member: &mut Member, text: &str) {
    let seen = member.frames.wait_for(|shown| shown.frame.text.contains(text));
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("in time").expect("open");
}

/// Asks until it is so.
async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never became so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn opening_again_keeps_the_live_state(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.command(&room, play()).await.expect("applied");
    bench.pass(4_000);
    let again = bench.room("K7QM2X").await;
    let snapshot = bench.snapshot(&again).await;
    assert_eq!(snapshot.playback.position_at(NOW + 4_000), 4_000 - LEAD_MS);
}

async fn a_newer_source_restarts_paused_at_0_and_an_older_one_is_ignored(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.command(&room, play()).await.expect("applied");
    bench.pass(4_000);
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    let changed = bench.snapshot(&room).await;
    assert_eq!((changed.playback.is_playing, changed.playback.position_ms), (false, 0));
    assert_eq!(room.record().source.external_id, "2");
    bench.live.open(record("K7QM2X", 1)).await.expect("open");
    assert_eq!(bench.snapshot(&room).await.version, changed.version);
    assert_eq!(room.record().source.external_id, "2");
}

async fn a_source_starts_where_it_is_to_whoever_looked_first(bench: Bench) {
    let started = PlaybackState::paused_at(3_723_000, NOW);
    let room = bench.live.open_at(record("K7QM2X", 1), 3_723_000).await.expect("open");
    assert_eq!(bench.playback(&room).await, started);
    // Somebody came to the new source before the node that was asked for it.
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    assert_eq!(bench.playback(&room).await.position_ms, 0);
    bench.live.open_at(record("K7QM2X", 2), 3_723_000).await.expect("open");
    assert_eq!(bench.playback(&room).await, started);
    let version = bench.snapshot(&room).await.version;
    bench.live.open_at(record("K7QM2X", 2), 1_000).await.expect("open");
    bench.live.open_at(record("K7QM2X", 1), 1_000).await.expect("open");
    assert_eq!(bench.snapshot(&room).await.version, version, "once, and only the newest");
    // Nobody is thrown back who has begun to watch.
    bench.live.open(record("K7QM2X", 3)).await.expect("open");
    bench.order(&room, play()).await;
    bench.live.open_at(record("K7QM2X", 3), 3_723_000).await.expect("open");
    assert_eq!(bench.playback(&room).await.position_ms, 0);
    bench.live.open_at(record("K7QM2X", 4), i64::MAX).await.expect("open");
    assert_eq!(bench.playback(&room).await.position_ms, crate::playback::MAX_POSITION_MS);
}

async fn every_change_has_a_larger_version_even_when_the_clock_goes_back(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut last = bench.snapshot(&room).await;
    for (n, step) in [5, 0, -60_000, 1, 100_000].into_iter().enumerate() {
        bench.pass(step);
        bench.live.command(&room, seek(1_000 * (n as i64 + 1))).await.expect("applied");
        let now = bench.snapshot(&room).await;
        assert!(now.version > last.version);
        last = now;
    }
    bench.live.command(&room, seek(5_000)).await.expect("nothing changed");
    assert_eq!(bench.snapshot(&room).await.version, last.version);
}

async fn orders_work_at_once_when_the_clock_goes_back_and_nobody_is_moved(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.order(&room, seek(40_000)).await;
    bench.order(&room, play()).await;
    bench.pass(10_000 + LEAD_MS);
    bench.order(&room, pause()).await;
    assert_eq!(bench.playback(&room).await.position_ms, 50_000);
    bench.pass(-60_000);
    let mut now = NOW + 10_000 + LEAD_MS - 60_000;
    bench.order(&room, Order { at_ms: Some(now), ..play() }).await;
    let playing = bench.playback(&room).await;
    assert_eq!((playing.is_playing, playing.position_ms, playing.at_ms), (true, 50_000, now + LEAD_MS));
    bench.pass(5_000 + LEAD_MS);
    now += 5_000 + LEAD_MS;
    bench.pass(-60_000);
    now -= 60_000;
    bench.order(&room, pause()).await;
    let paused = bench.playback(&room).await;
    assert_eq!((paused.is_playing, paused.position_ms, paused.at_ms), (false, 50_000, now));
    bench.pass(-60_000);
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    assert_eq!(bench.playback(&room).await, PlaybackState::start(now - 60_000));
}

async fn a_report_that_has_not_seen_the_newest_jump_moves_nothing(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let playing = bench.order(&room, play()).await;
    bench.pass(10_000);
    let sought = bench.order(&room, seek(60_000)).await;
    bench.pass(500);
    let late = [
        Order { version: Some(playing), ..progress(10_000) },
        Order { version: Some(sought - 1), at_ms: Some(NOW + 10_500), ..progress(10_000) },
        Order { at_ms: Some(NOW + 9_999), ..progress(10_000) },
        Order { version: Some(playing), ..order(Command::Progress { position_ms: 10_000, has_ended: true }) },
    ];
    for report in late {
        assert_eq!(bench.order(&room, report).await, sought, "{report:?}");
    }
    assert_eq!(bench.metrics.commands_stale.get(), 4);
    assert_eq!(bench.playback(&room).await.position_at(NOW + 10_500), 60_500);
    // One that has seen the jump counts, and does not make those late that have seen as much.
    let reported = bench.order(&room, Order { version: Some(sought), ..progress(59_000) }).await;
    assert!(reported > sought);
    let again = bench.order(&room, Order { version: Some(sought), ..progress(58_000) }).await;
    assert!(again > reported);
    // An order may be older than an order: the last one that arrives counts.
    bench.order(&room, Order { version: Some(playing), ..pause() }).await;
    assert!(!bench.playback(&room).await.is_playing);
    assert_eq!(bench.metrics.commands_stale.get(), 4);
}

async fn what_is_said_about_the_former_source_moves_nothing_in_the_new_one(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let playing = bench.order(&room, play()).await;
    bench.pass(10_000);
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    let changed = bench.snapshot(&room).await.version;
    bench.pass(500);
    for late in [pause(), play(), seek(10_000), progress(10_000), order(Command::Play { position_ms: Some(10_000) })] {
        for late in [Order { version: Some(playing), ..late }, Order { at_ms: Some(NOW + 9_999), ..late }] {
            assert_eq!(bench.order(&room, late).await, changed, "{late:?}");
        }
    }
    assert_eq!(bench.playback(&room).await, PlaybackState::start(NOW + 10_000));
    let started = bench.order(&room, Order { version: Some(changed), ..play() }).await;
    bench.pass(1_000);
    let late = Order { version: Some(playing), ..pause() };
    assert_eq!(bench.order(&room, late).await, started, "nor does a late pause stop it");
    assert!(bench.playback(&room).await.is_playing);
}

async fn a_wrong_clock_locks_no_host_out(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    let changed = bench.snapshot(&room).await.version;
    let before_it = Order { at_ms: Some(NOW - 1), ..seek(1_000) };
    bench.pass(STALE_FOR_MS - 1);
    assert_eq!(bench.order(&room, before_it).await, changed, "it may have been on its way");
    bench.pass(1);
    let heard = bench.order(&room, before_it).await;
    assert!(heard > changed, "it was not: the client's clock is wrong");
    // Now the store's clock goes back behind the newest source.
    bench.live.open(record("K7QM2X", 3)).await.expect("open");
    let changed = bench.snapshot(&room).await.version;
    bench.pass(-60_000);
    let order = Order { at_ms: Some(NOW + STALE_FOR_MS - 60_000), ..seek(1_000) };
    assert!(bench.order(&room, order).await > changed);
}

async fn a_host_who_runs_dry_holds_the_room(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let hold = async || bench.playback(&room).await.hold;
    let seeded = bench.snapshot(&room).await.version;
    assert_eq!(bench.order(&room, starve()).await, seeded, "a paused room is not held");
    bench.order(&room, play()).await;
    bench.pass(5_000 + LEAD_MS);
    let held = bench.order(&room, starve()).await;
    let playback = bench.playback(&room).await;
    assert_eq!((playback.is_playing, playback.position_ms, playback.hold), (false, 5_000, Some(Hold::Buffering)));
    assert_eq!(bench.order(&room, starve()).await, held, "once");
    bench.order(&room, seek(9_000)).await;
    assert_eq!(hold().await, Some(Hold::Buffering));
    bench.order(&room, progress(8_000)).await;
    assert_eq!(hold().await, Some(Hold::Buffering));
    bench.order(&room, play()).await;
    assert_eq!(hold().await, None);
    bench.order(&room, starve()).await;
    let paused = bench.order(&room, pause()).await;
    assert_eq!((hold().await, bench.playback(&room).await.is_playing), (None, false));
    assert_eq!(bench.order(&room, starve()).await, paused, "somebody wanted it paused");
    bench.order(&room, play()).await;
    bench.order(&room, starve()).await;
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    assert_eq!(hold().await, None, "of the former source");
}

/// What a host saw before the store forgot the room: playing, a minute in, ten seconds ago.
fn memory() -> PlaybackState {
    PlaybackState { is_playing: true, position_ms: 60_000, at_ms: NOW - 10_000, hold: None }
}

async fn a_host_brings_a_forgotten_room_back(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    sees(&mut viewer, r#""viewers":1"#).await;
    let seeded = bench.snapshot(&room).await.version;
    bench.offer(&room, NOW - 9_000, memory()).await;
    let brought_back = bench.snapshot(&room).await;
    assert_eq!(brought_back.playback, memory());
    assert!(brought_back.version > seeded);
    assert_eq!(room.snapshot().map(|snapshot| snapshot.playback), Some(memory()), "known before anything is said");
    sees(&mut viewer, r#""is_playing":true,"position_ms":60000"#).await;
    // A version beyond the clock's: those who saw it must see that there is more.
    bench.offer(&room, NOW + 90_000, PlaybackState { position_ms: 70_000, ..memory() }).await;
    assert_eq!(bench.snapshot(&room).await.version, NOW + 90_001);
    let impossible = PlaybackState { position_ms: -1, at_ms: i64::MAX, hold: Some(Hold::Buffering), ..memory() };
    bench.offer(&room, i64::MAX, impossible).await;
    let believed = bench.snapshot(&room).await;
    let possible = PlaybackState { position_ms: 0, at_ms: NOW + LEAD_MS, hold: None, ..memory() };
    assert_eq!(believed.playback, possible);
    assert_eq!(believed.version, NOW + 24 * 3_600_000 + 1, "a day ahead, at most");
}

async fn of_a_forgotten_room_the_newest_memory_wins(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let at = |position_ms| PlaybackState { position_ms, ..memory() };
    for (version, position_ms, winner_ms) in
        [(50, 1_000, 1_000), (49, 2_000, 1_000), (50, 3_000, 1_000), (51, 4_000, 4_000)]
    {
        bench.offer(&room, version, at(position_ms)).await;
        assert_eq!(bench.playback(&room).await, at(winner_ms), "after {version}");
    }
    // Whoever saw just that is up to date; whoever saw less is not.
    let before = bench.snapshot(&room).await.version;
    assert_eq!(bench.order(&room, Order { version: Some(50), ..progress(1_000) }).await, before);
    assert!(bench.order(&room, Order { version: Some(51), ..progress(1_000) }).await > before);
}

async fn after_an_order_nobody_remembers_better(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let nothing = bench.snapshot(&room).await.version;
    assert_eq!(bench.order(&room, pause()).await, nothing, "no order that counts");
    bench.offer(&room, 50, memory()).await;
    assert_eq!(bench.playback(&room).await, memory());
    let paused = bench.order(&room, pause()).await;
    bench.offer(&room, paused + 1_000, memory()).await;
    assert_eq!(bench.snapshot(&room).await.version, paused);
}

async fn a_memory_of_another_source_or_of_no_room_is_not_taken(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let seeded = bench.snapshot(&room).await.version;
    let seen = SeenRoom { source: record("K7QM2X", 2).source, state: Seen { version: 50, playback: memory() } };
    bench.live.offer(&room, &seen).await.expect("heard");
    assert_eq!(bench.snapshot(&room).await.version, seeded);
    // The source changes in the store, and this node has not heard of it yet.
    let unaware = Arc::new(LiveRoom {
        code: room.code,
        record: RwLock::new(room.record()),
        feed: Feed::new(room.feed.newest()),
        here: Mutex::default(),
        is_unsure: AtomicBool::new(false),
        untold_start: Mutex::default(),
    });
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    let changed = bench.snapshot(&room).await.version;
    bench.offer(&unaware, changed + 50, memory()).await;
    assert_eq!(bench.snapshot(&room).await.version, changed);
    bench.live.close(room.code(), CloseReason::ClosedByHost).await.expect("closed");
    assert_eq!(bench.live.offer(&unaware, &seen).await, Err(LiveError::Closed), "what was closed is not brought back");
}

async fn a_memory_of_what_is_so_already_tells_nobody_anything(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.offer(&room, 50, memory()).await;
    let told = bench.snapshot(&room).await.version;
    bench.offer(&room, 60, memory()).await;
    assert_eq!(bench.snapshot(&room).await.version, told);
    bench.offer(&room, 55, PlaybackState::start(NOW)).await;
    assert_eq!(bench.playback(&room).await, memory(), "but it is remembered who saw most");
    // Somebody saw a version that the room has not come to again: they must see that there is more.
    bench.offer(&room, told + 5, memory()).await;
    assert_eq!(bench.snapshot(&room).await.version, told + 6);
}

#[tokio::test]
async fn an_emptied_redis_is_not_told_of_the_former_source() {
    let bench = Bench::in_redis().await;
    let room = bench.room("K7QM2X").await;
    bench.order(&room, seek(60_000)).await;
    let empty = || bench.server.as_ref().expect("a server").ask("FLUSHALL");
    empty();
    bench.room("K7QM2X").await;
    assert_eq!(bench.playback(&room).await.position_ms, 60_000, "this node remembers");
    empty();
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    assert_eq!(bench.playback(&room).await.position_ms, 0);
}

#[tokio::test]
async fn where_a_source_starts_is_told_with_it_however_late() {
    let bench = Bench::in_redis().await;
    let room = bench.room("K7QM2X").await;
    bench.live.tell_later(record("K7QM2X", 2), 90_000);
    assert_eq!(bench.playback(&room).await.position_ms, 0, "not yet");
    // What was on its way before says nothing of it.
    bench.live.open(record("K7QM2X", 1)).await.expect("open");
    bench.live.beat(&room).await.expect("told");
    assert_eq!(bench.playback(&room).await.position_ms, 90_000);
    assert_eq!(room.record().revision, 2);
    let first = bench.live.tell_later(record("AAAAAA", 1), 90_000);
    assert_eq!(first.snapshot().expect("shown").playback.position_ms, 90_000, "who comes before sees it, too");
}

#[test]
fn this_machines_clock_is_the_machines_and_only_runs_forward() {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let clock = system_clock();
    let first = clock();
    assert!(first >= wall && clock() >= first);
}

async fn closing_one_of_the_hosts_tabs_does_not_make_the_host_away(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut first = bench.live.join(&room, Role::Host).expect("joined");
    let second = bench.live.join(&room, Role::Host).expect("joined");
    sees(&mut first, r#""viewers":2,"host":"connected""#).await;
    drop(second);
    sees(&mut first, r#""viewers":1,"host":"connected""#).await;
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    drop(first);
    sees(&mut viewer, r#""viewers":1,"host":"away""#).await;
    assert_eq!(bench.snapshot(&room).await.presence.host_away_until_ms, Some(NOW + 300_000));
}

async fn joins_are_told_in_bursts_not_one_by_one(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut members: Vec<_> = (0..100).map(|_| bench.live.join(&room, Role::Viewer).expect("joined")).collect();
    assert!(bench.live.join(&room, Role::Viewer).is_err_and(|error| error == JoinError::Full));
    sees(&mut members[0], r#""viewers":100"#).await;
    assert!(bench.metrics.presence_told.get() <= 2);
}

async fn a_room_is_closed_when_its_grace_is_over_and_looked_at_until_the_database_knows(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let code = room.code();
    assert_eq!(due(&bench.live).await, vec![]);
    bench.pass(299_999);
    assert_eq!(bench.live.expire(code).await, Ok(false));
    bench.pass(1);
    assert_eq!(due(&bench.live).await, vec![code]);
    assert_eq!(bench.live.expire(code).await, Ok(true));
    // Whoever looks next finds the same, however often: another node, or this one after it stopped half way.
    bench.pass(1000);
    assert_eq!(due(&bench.live).await, vec![code]);
    assert_eq!(bench.live.expire(code).await, Ok(true));
    assert_eq!(bench.live.open(record("K7QM2X", 1)).await.err(), Some(LiveError::Closed), "the database may not know");
    assert_eq!(bench.live.read(code).await.err(), Some(LiveError::Closed));
    bench.live.forget(code).await.expect("forgotten");
    assert_eq!(due(&bench.live).await, vec![]);
}

async fn a_host_who_is_back_before_the_decision_keeps_the_room(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.pass(300_000);
    assert_eq!(due(&bench.live).await, vec![room.code()]);
    let mut host = bench.live.join(&room, Role::Host).expect("joined");
    sees(&mut host, r#""host":"connected","host_away_until_ms":null"#).await;
    assert_eq!(bench.live.expire(room.code()).await, Ok(false));
    bench.pass(10_000);
    assert_eq!(due(&bench.live).await, vec![]);
    drop(host);
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    sees(&mut viewer, r#""viewers":1,"host":"away""#).await;
    bench.pass(299_999);
    assert_eq!(bench.live.expire(room.code()).await, Ok(false), "the grace begins anew");
    bench.pass(1);
    assert_eq!(bench.live.expire(room.code()).await, Ok(true));
    sees(&mut viewer, r#"{"type":"CLOSED","reason":"host_gone"}"#).await;
}

async fn a_room_nobody_came_to_expires_like_any_other(bench: Bench) {
    bench.live.remember(vec![record("K7QM2X", 1)]).await.expect("remembered");
    let code = "K7QM2X".parse().expect("a code");
    assert_eq!(bench.live.expire(code).await, Ok(false), "somebody looks as soon as it is remembered");
    bench.pass(200_000);
    bench.live.remember(vec![record("K7QM2X", 1)]).await.expect("remembered again");
    assert_eq!(bench.live.expire(code).await, Ok(false));
    bench.pass(100_000);
    assert_eq!(due(&bench.live).await, vec![code]);
    assert_eq!(bench.live.expire(code).await, Ok(true));
}

async fn a_closed_room_tells_its_members_and_lets_nobody_in(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let code = room.code();
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    bench.live.close(code, CloseReason::ClosedByHost).await.expect("closed");
    sees(&mut viewer, r#"{"type":"CLOSED","reason":"closed_by_host"}"#).await;
    assert!(bench.live.join(&room, Role::Viewer).is_err_and(|error| error == JoinError::Closed));
    assert!(bench.live.room(code).is_none());
    assert!(bench.live.was_closed(code));
    assert_eq!(bench.live.read(code).await.err(), Some(LiveError::Closed));
    assert_eq!(bench.live.command(&room, play()).await, Err(LiveError::Closed));
    assert_eq!(bench.live.expire(code).await, Ok(true), "until the database knows");
    drop((viewer, room));
    until(|| async {
        bench.live.0.rooms.read().expect("whole").get(&code).is_none_or(|room| Arc::strong_count(room) == 1)
    })
    .await;
    bench.live.forget_empty();
    assert!(!bench.live.was_closed(code), "nothing of it stays");
}

async fn the_public_list_has_rooms_with_a_host_most_viewers_first(bench: Bench) {
    let mut members = Vec::new();
    for (code, viewers) in [("AAAAAA", 1), ("BBBBBB", 3), ("CCCCCC", 2), ("DDDDDD", 0), ("EEEEEE", 2)] {
        let room = bench.room(code).await;
        for n in 0..viewers {
            let role = if n == 0 { Role::Host } else { Role::Viewer };
            members.push(bench.live.join(&room, role).expect("joined"));
        }
        if let Some(member) = members.last_mut().filter(|_| viewers > 0) {
            sees(member, &format!(r#""viewers":{viewers}"#)).await;
        }
    }
    let names = |page: &[Listed]| page.iter().map(|room| format!("{} {}", room.code, room.viewers)).collect::<Vec<_>>();
    let first = bench.live.list(None, 2).await.expect("list");
    assert_eq!(names(&first), ["BBBBBB 3", "CCCCCC 2"]);
    // Rooms with as many viewers go by their codes, so that a page can end among them.
    let rest = bench.live.list(first.last().copied(), 9).await.expect("list");
    assert_eq!(names(&rest), ["EEEEEE 2", "AAAAAA 1"]);
    assert_eq!(bench.live.list(rest.last().copied(), 9).await, Ok(vec![]));
    let room = bench.room("AAAAAA").await;
    members.extend((0..9).map(|_| bench.live.join(&room, Role::Viewer).expect("joined")));
    sees(members.last_mut().expect("joined"), r#""viewers":10"#).await;
    until(|| async { names(&bench.live.list(None, 1).await.expect("list")) == ["AAAAAA 10"] }).await;
    bench.live.close("BBBBBB".parse().expect("a code"), CloseReason::ClosedByHost).await.expect("closed");
    bench.live.forget("BBBBBB".parse().expect("a code")).await.expect("forgotten");
    let all = bench.live.list(None, 9).await.expect("list");
    assert_eq!(names(&all), ["AAAAAA 10", "CCCCCC 2", "EEEEEE 2"]);
}

/// Rooms that somebody has to look at, for their own sake or for that of a change.
async fn due(live: &Live) -> Vec<RoomCode> {
    live.due().await.expect("asked").into_iter().map(|due| due.code).collect()
}

/// Whoever began it may be gone: all others look at it, until one has seen that both stores agree.
#[tokio::test]
async fn a_change_that_began_is_looked_at_by_whoever_is_left_until_it_is_settled() {
    let bench = Bench::in_redis().await;
    let (room, other) = (bench.room("K7QM2X").await, neighbour(&bench).await);
    let code = room.code();
    let (first, second) = (bench.live.begins(code).await, bench.live.begins(code).await);
    bench.pass(10_999);
    assert_eq!(due(&other).await, vec![], "it may be on its way");
    bench.live.settled(code, first);
    bench.pass(1);
    until(|| async { due(&other).await == vec![code] }).await;
    let found = other.due().await.expect("asked").remove(0);
    assert_eq!(found.change, second, "each is one of its own");
    other.settled(code, found.change);
    until(|| async { due(&other).await.is_empty() }).await;
}

/// Another node on the same Redis.
async fn neighbour(bench: &Bench) -> Live {
    let config = config_of(bench.server.as_ref().expect("a server"));
    let live = Live::in_redis(&config, GRACE, 100, Some(reading(&bench.clock)), Arc::default()).await;
    live.expect("connected")
}

/// Nobody is in them any more, and no heartbeat tells of them: that they are missing has to be seen by something else.
#[tokio::test]
async fn that_redis_has_forgotten_rooms_is_seen_by_what_it_forgot_with_them() {
    let mut bench = Bench::in_redis().await;
    let forgotten = async |bench: &Bench| bench.live.has_forgotten().await.expect("asked");
    assert!(forgotten(&bench).await, "nobody has made sure yet");
    bench.live.remembered().await.expect("marked");
    for _ in 0..10 {
        // It is good for as long as somebody looks.
        bench.pass(29_000);
        assert!(!forgotten(&bench).await);
    }
    assert_eq!(due(&bench.live).await, vec![], "the mark is no room");
    bench.server.as_ref().expect("a server").ask("DEL streamit:due:5").expect("asked");
    assert!(forgotten(&bench).await, "one server of a cluster has lost its sets");
    bench.live.remembered().await.expect("marked");
    bench.pass(31_000);
    assert!(forgotten(&bench).await, "it was away, or is what it was a while ago");
    bench.live.remembered().await.expect("marked");
    let server = bench.server.as_mut().expect("a server");
    server.kill();
    server.launch();
    // It is empty; and asked, as soon as it is there.
    until(|| async { bench.live.has_forgotten().await == Ok(true) }).await;
}

/// A server of a cluster may lose its rooms while the sets in which they are found are on others.
#[tokio::test]
async fn a_room_that_redis_has_lost_is_given_its_grace_anew() {
    let bench = Bench::in_redis().await;
    let (room, other) = (bench.room("K7QM2X").await, neighbour(&bench).await);
    let code = room.code();
    bench.order(&room, seek(60_000)).await;
    bench.pass(300_000);
    let lose = || bench.server.as_ref().expect("a server").ask("DEL streamit:{K7QM2X}:state");
    lose();
    assert_eq!(due(&other).await, vec![code]);
    assert_eq!(other.expire(code).await, Ok(false), "its own node may bring it back");
    assert_eq!(due(&other).await, vec![]);
    bench.room("K7QM2X").await;
    assert_eq!(bench.playback(&room).await.position_ms, 60_000);
    // And again, and nobody does.
    lose();
    bench.pass(300_000);
    assert_eq!(other.expire(code).await, Ok(false));
    bench.pass(299_999);
    assert_eq!(other.expire(code).await, Ok(false));
    bench.pass(1);
    assert_eq!(due(&other).await, vec![code]);
    assert_eq!(other.expire(code).await, Ok(true));
    assert_eq!(other.read(code).await.err(), Some(LiveError::Closed));
}

/// Whoever comes to a room over another node, before those who are in it have noticed anything, knows no position.
#[tokio::test]
async fn a_room_that_redis_has_lost_goes_on_where_it_was_whoever_comes_first() {
    let mut bench = Bench::in_redis().await;
    let room = bench.room("K7QM2X").await;
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    sees(&mut viewer, r#""viewers":1"#).await;
    bench.order(&room, seek(60_000)).await;
    let server = bench.server.as_mut().expect("a server");
    server.kill();
    server.launch();
    neighbour(&bench).await.open(record("K7QM2X", 1)).await.expect("open");
    assert_eq!(neighbour(&bench).await.read(room.code()).await.expect("live").snapshot.playback.position_ms, 0);
    until(|| async { bench.live.take_trouble().contains(&room.code()) }).await;
    until(|| async { bench.live.beat(&room).await.is_ok() }).await;
    assert_eq!(bench.playback(&room).await.position_ms, 60_000);
    let (_, shown) = (viewer.frames.mark_unchanged(), viewer.frames.borrow().frame.text.clone());
    assert!(shown.contains(r#""position_ms":60000"#) && shown.contains(r#""viewers":1"#), "{shown}");
}

#[tokio::test]
async fn nobody_who_is_here_reads_that_nobody_is() {
    let bench = Bench::in_redis().await;
    let room = bench.room("K7QM2X").await;
    let mut host = bench.live.join(&room, Role::Host).expect("joined");
    sees(&mut host, r#""viewers":1"#).await;
    let other = neighbour(&bench).await;
    bench.server.as_ref().expect("a server").ask("FLUSHALL");
    other.open(record("K7QM2X", 1)).await.expect("open");
    bench.live.command(&room, seek(60_000)).await.expect("applied");
    assert!(host.frames.borrow().frame.text.contains(r#""viewers":1"#));
    until(|| async { bench.live.take_trouble().contains(&room.code()) }).await;
    bench.live.beat(&room).await.expect("told");
    sees(&mut host, r#""position_ms":60000"#).await;
    assert!(host.frames.borrow().frame.text.contains(r#""viewers":1,"host":"connected""#));
}

#[tokio::test]
async fn rooms_that_cannot_be_looked_at_are_in_nobodys_way() {
    let bench = Bench::in_redis().await;
    let letters = ["2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "J", "K", "M", "N"];
    let endings = letters.iter().flat_map(|one| letters.iter().map(move |two| format!("{one}{two}")));
    let codes = endings.flat_map(|ending| ["AAAA", "BBBB", "CCCC"].map(|start| format!("{start}{ending}")));
    // All in one set.
    let shard = |code: &str| code.parse::<RoomCode>().expect("a code").number() % 8;
    let mut codes = codes.into_iter().filter(|code| shard(code) == 0).collect::<Vec<_>>();
    let healthy = codes.pop().expect("a code");
    bench.room(&healthy).await;
    let ask = |command: &str| bench.server.as_ref().expect("a server").ask(command).expect("answered");
    assert!(codes.len() > 100, "{}", codes.len());
    for code in codes {
        ask(&format!("SET streamit:{{{code}}}:state nothing"));
        ask(&format!("ZADD streamit:due:0 1 {code}"));
    }
    bench.pass(300_000);
    for _ in 0..3 {
        for code in due(&bench.live).await {
            let _ = bench.live.expire(code).await;
        }
    }
    let healthy = healthy.parse().expect("a code");
    assert_eq!(bench.live.read(healthy).await.err(), Some(LiveError::Closed), "its turn has come");
}

#[tokio::test]
async fn what_redis_has_of_a_room_outlives_the_rooms_grace() {
    let bench = Bench::in_redis().await;
    let (server, week) = (bench.server.as_ref().expect("a server"), Duration::from_secs(7 * 24 * 3600));
    let live = Live::in_redis(&config_of(server), week, 100, None, Arc::default()).await.expect("connected");
    let room = live.open(record("K7QM2X", 1)).await.expect("open");
    let mut host = live.join(&room, Role::Host).expect("joined");
    sees(&mut host, r#""host":"connected""#).await;
    for part in ["state", "nodes", "counts"] {
        let left = server.ask(&format!("PTTL streamit:{{K7QM2X}}:{part}")).expect("answered");
        let left = left.trim().trim_start_matches(':').parse::<u128>().expect("it goes some day");
        assert!(left > week.as_millis() * 3 / 2, "{part}: {left} ms");
    }
}

#[tokio::test]
async fn a_closed_room_is_forgotten_wholly_or_looked_at_again() {
    let bench = Bench::in_redis().await;
    let code = bench.room("K7QM2X").await.code();
    bench.pass(300_000);
    assert_eq!(bench.live.expire(code).await, Ok(true));
    let ask = |command: &str| bench.server.as_ref().expect("a server").ask(command).expect("answered");
    // It stops half way.
    ask("ACL SETUSER default -pexpire");
    bench.live.forget(code).await.expect_err("it may not");
    ask("ACL SETUSER default +pexpire");
    assert_eq!(due(&bench.live).await, vec![code]);
    assert_eq!(bench.live.expire(code).await, Ok(true));
    bench.live.forget(code).await.expect("forgotten");
    assert_eq!(due(&bench.live).await, vec![]);
}

#[tokio::test]
async fn the_more_there_are_the_rarer_they_are_told_how_many() {
    let bench = Bench::in_memory();
    let room = bench.room("K7QM2X").await;
    for (viewers, pause_ms) in [(1, 500), (2_500, 500), (10_000, 2_000), (100_000, 20_000)] {
        let presence = Presence { viewers, host: HostState::Connected, host_away_until_ms: None };
        let version = room.feed.newest().version + 1;
        let half = crate::protocol::room_json(None, &room.record().source);
        let text = crate::protocol::state(version, &half, &Timeline::seed(NOW), &presence);
        assert!(room.feed.publish(Frame::new(version, 1, text)));
        assert_eq!(room.presence_pause(), Duration::from_millis(pause_ms), "{viewers}");
    }
}

#[test]
fn host_states_are_the_words_on_the_wire() {
    assert_eq!(serde_json::to_string(&HostState::Connected).expect("data"), "\"connected\"");
}

/// One thing that happens to a room.
#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Apply(Order),
    Presence(Counts),
    Open {
        revision: i64,
        seen: Option<Seen>,
        start_ms: i64,
    },
    Offer {
        revision: i64,
        seen: Seen,
    },
    /// Somebody saw the room as it is, so many versions ago, or in a future that the store has forgotten.
    OfferWhatIs {
        versions_ago: i64,
    },
    Read,
    Expire,
    Close,
}

fn any_number(likely: std::ops::Range<i64>) -> impl Strategy<Value = i64> + Clone {
    prop_oneof![1 => any::<i64>(), 4 => likely]
}

fn any_hold() -> impl Strategy<Value = Option<Hold>> + Clone {
    prop_oneof![Just(None), Just(Some(Hold::Buffering))]
}

fn any_seen() -> impl Strategy<Value = Seen> + Clone {
    let (version, at_ms) = (any_number(NOW - 5_000..NOW + 5_000), any_number(NOW - 60_000..NOW + 5_000));
    (version, any::<bool>(), any_number(0..20_000), at_ms, any_hold()).prop_map(
        |(version, is_playing, position_ms, at_ms, hold)| {
            let playback = PlaybackState { is_playing, position_ms, at_ms, hold };
            Seen { version, playback }
        },
    )
}

fn any_order() -> impl Strategy<Value = Order> {
    let position = || any_number(0..20_000);
    let maybe = || proptest::option::of(position());
    let command = prop_oneof![
        maybe().prop_map(|position_ms| Command::Play { position_ms }),
        (maybe(), any_hold()).prop_map(|(position_ms, hold)| Command::Pause { position_ms, hold }),
        position().prop_map(|position_ms| Command::Seek { position_ms }),
        (position(), any::<bool>()).prop_map(|(position_ms, has_ended)| Command::Progress { position_ms, has_ended }),
    ];
    let likely = || proptest::option::of(any_number(NOW - 5_000..NOW + 60_000));
    (command, likely(), likely()).prop_map(|(command, at_ms, version)| Order { command, at_ms, version })
}

fn any_start() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 2 => 1..90_000_i64, 1 => any::<i64>()]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-3_000..10_000_i64).prop_map(Step::Pass),
        6 => any_order().prop_map(Step::Apply),
        4 => (0..5_u64, 0..3_u64).prop_map(|(viewers, hosts)| Step::Presence(Counts { viewers, hosts })),
        2 => (1..4_i64, proptest::option::of(any_seen()), any_start())
            .prop_map(|(revision, seen, start_ms)| Step::Open { revision, seen, start_ms }),
        2 => (1..3_i64, any_seen()).prop_map(|(revision, seen)| Step::Offer { revision, seen }),
        1 => (-3..4_i64).prop_map(|versions_ago| Step::OfferWhatIs { versions_ago }),
        2 => Just(Step::Read),
        1 => Just(Step::Expire),
        1 => Just(Step::Close),
    ]
}

/// What a store answered, comparable.
type Answer = Result<String, LiveError>;

fn shown(frame: Frame) -> String {
    let Frame { version, revision, text, is_last, .. } = frame;
    format!("{version} {revision} {text} {is_last}")
}

fn said(applied: Applied) -> String {
    match applied {
        Applied::Changed(frame) => shown(frame),
        other => format!("{other:?}"),
    }
}

fn ended(expiry: Expiry) -> String {
    match expiry {
        Expiry::Closed(frame) => shown(frame),
        Expiry::Later => "later".into(),
    }
}

#[test]
fn whatever_happens_both_stores_make_the_same_frames() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = streamit_test_servers::Redis::start();
    let clock = Arc::new(AtomicI64::new(NOW));
    let config = config_of(&server);
    let connected = Redis::connect(&config, GRACE, Some(reading(&clock)), Arc::default(), |_| ());
    let redis = runtime.block_on(connected).expect("connected");
    let closed: axum::extract::ws::Utf8Bytes = "CLOSED".into();

    proptest!(ProptestConfig { cases: 200, ..ProptestConfig::default() }, |(
        remembered in proptest::option::of(any_seen()),
        start_ms in any_start(),
        steps in proptest::collection::vec(any_step(), 1..40),
    )| {
        clock.store(NOW, Ordering::SeqCst);
        let memory = Memory::new(GRACE.as_millis() as i64, reading(&clock));
        let first = record("K7QM2X", 1);
        let code = first.code;
        runtime.block_on(async {
            server.ask("FLUSHALL");
            let opened = redis.open(&first, remembered.as_ref(), start_ms).await.expect("open");
            prop_assert_eq!(memory.open(&first, remembered.as_ref(), start_ms).map(shown), Ok(shown(opened)));
            let mut here = None;
            for step in steps {
                if let Step::Presence(counts) = step {
                    here = Some(counts).filter(|counts| *counts != Counts::default());
                }
                let (in_memory, in_redis): (Answer, Answer) = match &step {
                    Step::Pass(ms) => {
                        clock.fetch_add(*ms, Ordering::SeqCst);
                        continue;
                    }
                    Step::Apply(order) => {
                        (memory.apply(code, order).map(said), redis.apply(code, order).await.map(said))
                    }
                    Step::Presence(counts) => (
                        memory.presence(code, *counts).map(shown),
                        redis.presence(&first, *counts).await.map(shown),
                    ),
                    Step::Open { revision, seen, start_ms } => {
                        let record = record("K7QM2X", *revision);
                        let in_redis = redis.open(&record, seen.as_ref(), *start_ms).await;
                        (memory.open(&record, seen.as_ref(), *start_ms).map(shown), in_redis.map(shown))
                    }
                    Step::Offer { revision, seen } => {
                        let record = record("K7QM2X", *revision);
                        (memory.offer(&record, seen).map(shown), redis.offer(&record, seen).await.map(shown))
                    }
                    Step::OfferWhatIs { versions_ago } => {
                        let Ok(Current { snapshot, frame }) = memory.read(code) else { continue };
                        let seen = Seen { version: snapshot.version - versions_ago, playback: snapshot.playback };
                        let record = record("K7QM2X", frame.revision);
                        (memory.offer(&record, &seen).map(shown), redis.offer(&record, &seen).await.map(shown))
                    }
                    Step::Read => (
                        memory.read(code).map(|current| shown(current.frame)),
                        redis.read(code).await.map(shown),
                    ),
                    Step::Expire => {
                        (Ok(ended(memory.expire(code, &closed))), redis.expire(code, here, &closed).await.map(ended))
                    }
                    Step::Close => (Ok(shown(memory.close(code, &closed))), redis.close(code, &closed).await.map(shown)),
                };
                prop_assert_eq!(in_memory, in_redis, "{:?}", step);
            }
            Ok(())
        })?;
    });
}
