//! The live store's contract, stated once.

use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{
    playback::Report,
    protocol::HostState,
    rooms::{KeyHash, Source, Visibility},
};

const NOW: i64 = 1_790_000_000_000;
const GRACE: Duration = Duration::from_secs(300);

/// A store whose clock the test moves.
struct Bench {
    live: Live,
    clock: Arc<AtomicI64>,
    metrics: Arc<Metrics>,
    _server: Option<streamit_test_servers::Redis>,
}

impl Bench {
    fn in_memory() -> Bench {
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let live = Live::in_memory(GRACE, 100, reading(&clock), metrics.clone());
        Bench { live, clock, metrics, _server: None }
    }

    async fn in_redis() -> Bench {
        let server = streamit_test_servers::Redis::start();
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let config = config_of(&server);
        let live = Live::in_redis(&config, GRACE, 100, Some(reading(&clock)), metrics.clone()).await;
        Bench { live: live.expect("connected"), clock, metrics, _server: Some(server) }
    }

    async fn in_cluster(cluster: &streamit_test_servers::Cluster, prefix: &str) -> Bench {
        let (clock, metrics) = (Arc::new(AtomicI64::new(NOW)), Arc::<Metrics>::default());
        let config =
            config::Redis { url: config::RedisUrls(cluster.urls()), prefix: prefix.into(), ..config::Redis::default() };
        let live = Live::in_redis(&config, GRACE, 100, Some(reading(&clock)), metrics.clone()).await;
        Bench { live: live.expect("connected"), clock, metrics, _server: None }
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
}

fn reading(clock: &Arc<AtomicI64>) -> Clock {
    let clock = clock.clone();
    Arc::new(move || clock.load(Ordering::SeqCst))
}

fn config_of(server: &streamit_test_servers::Redis) -> config::Redis {
    config::Redis { url: config::RedisUrls(vec![server.url()]), ..config::Redis::default() }
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
    every_change_has_a_larger_version_even_when_the_clock_goes_back,
    a_command_with_a_replaced_key_is_refused,
    closing_one_of_the_hosts_tabs_does_not_make_the_host_away,
    joins_are_told_in_bursts_not_one_by_one,
    a_room_expires_when_its_grace_is_over_and_is_claimed_once,
    a_host_who_comes_back_in_time_keeps_the_room,
    a_closed_room_tells_its_members_and_lets_nobody_in,
    the_public_list_has_rooms_with_a_host_most_viewers_first,
);

fn record(code: &str, revision: i64) -> Room {
    Room {
        code: code.parse().expect("a code"),
        title: None,
        visibility: Visibility::Public,
        host_key: KeyHash::none(),
        key_generation: 1,
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

fn seek(position_ms: i64) -> Command {
    Command::Seek(Report { position_ms, at_ms: None })
}

/// Waits until a member's newest frame says `text`.
async fn sees(member: &mut Member, text: &str) {
    let seen = member.frames.wait_for(|shown| shown.frame.text.contains(text));
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("in time").expect("open");
}

async fn opening_again_keeps_the_live_state(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.command(&room, 1, Command::Play(None)).await.expect("applied");
    bench.pass(4_000);
    let again = bench.room("K7QM2X").await;
    let snapshot = bench.snapshot(&again).await;
    assert_eq!(snapshot.playback.position_at(NOW + 4_000), 4_000);
}

async fn a_newer_source_restarts_paused_at_0_and_an_older_one_is_ignored(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.command(&room, 1, Command::Play(None)).await.expect("applied");
    bench.pass(4_000);
    bench.live.open(record("K7QM2X", 2)).await.expect("open");
    let changed = bench.snapshot(&room).await;
    assert_eq!((changed.playback.is_playing, changed.playback.position_ms), (false, 0));
    assert_eq!(room.record().source.external_id, "2");
    bench.live.open(record("K7QM2X", 1)).await.expect("open");
    assert_eq!(bench.snapshot(&room).await.version, changed.version);
    assert_eq!(room.record().source.external_id, "2");
}

async fn every_change_has_a_larger_version_even_when_the_clock_goes_back(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut last = bench.snapshot(&room).await;
    for (n, step) in [5, 0, -60_000, 1, 100_000].into_iter().enumerate() {
        bench.pass(step);
        bench.live.command(&room, 1, seek(1_000 * (n as i64 + 1))).await.expect("applied");
        let now = bench.snapshot(&room).await;
        assert!(now.version > last.version);
        assert!(now.playback.at_ms >= last.playback.at_ms);
        last = now;
    }
    bench.live.command(&room, 1, seek(5_000)).await.expect("nothing changed");
    assert_eq!(bench.snapshot(&room).await.version, last.version);
}

async fn a_command_with_a_replaced_key_is_refused(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.live.open(Room { key_generation: 2, ..record("K7QM2X", 1) }).await.expect("open");
    let refused = bench.live.command(&room, 1, Command::Play(None)).await;
    assert_eq!(refused, Err(LiveError::KeyReplaced));
    assert!(bench.live.command(&room, 2, Command::Play(None)).await.is_ok());
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

async fn a_room_expires_when_its_grace_is_over_and_is_claimed_once(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    assert_eq!(bench.live.claim_expired().await, Ok(vec![]));
    bench.pass(300_000);
    assert_eq!(bench.live.claim_expired().await, Ok(vec![room.code()]));
    assert_eq!(bench.live.claim_expired().await, Ok(vec![]));
    bench.live.return_expired(room.code(), Duration::from_secs(5)).await.expect("returned");
    bench.pass(5_000);
    assert_eq!(bench.live.claim_expired().await, Ok(vec![room.code()]));
}

async fn a_host_who_comes_back_in_time_keeps_the_room(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    bench.pass(299_000);
    let mut host = bench.live.join(&room, Role::Host).expect("joined");
    sees(&mut host, r#""host":"connected","host_away_until_ms":null"#).await;
    bench.pass(10_000);
    assert_eq!(bench.live.claim_expired().await, Ok(vec![]));
}

async fn a_closed_room_tells_its_members_and_lets_nobody_in(bench: Bench) {
    let room = bench.room("K7QM2X").await;
    let mut viewer = bench.live.join(&room, Role::Viewer).expect("joined");
    bench.live.close(room.code(), CloseReason::ClosedByHost).await.expect("closed");
    sees(&mut viewer, r#"{"type":"CLOSED","reason":"closed_by_host"}"#).await;
    assert!(bench.live.join(&room, Role::Viewer).is_err_and(|error| error == JoinError::Closed));
    assert!(bench.live.room(room.code()).is_none());
    assert!(bench.live.was_closed(room.code()));
    assert_eq!(bench.live.read(room.code()).await.err(), Some(LiveError::UnknownRoom));
}

async fn the_public_list_has_rooms_with_a_host_most_viewers_first(bench: Bench) {
    let mut members = Vec::new();
    for (code, viewers) in [("AAAAAA", 1), ("BBBBBB", 3), ("CCCCCC", 2), ("DDDDDD", 0)] {
        let room = bench.room(code).await;
        for n in 0..viewers {
            let role = if n == 0 { Role::Host } else { Role::Viewer };
            members.push(bench.live.join(&room, role).expect("joined"));
        }
        if let Some(member) = members.last_mut().filter(|_| viewers > 0) {
            sees(member, &format!(r#""viewers":{viewers}"#)).await;
        }
    }
    let names = |page: &Page| page.rooms.iter().map(RoomCode::to_string).collect::<Vec<_>>();
    let first = bench.live.list(None, 2).await.expect("list");
    assert_eq!(names(&first), ["BBBBBB", "CCCCCC"]);
    // While the page is turned, the last room becomes the first: it is still on the second page, and nothing is twice.
    let room = bench.room("AAAAAA").await;
    members.extend((0..9).map(|_| bench.live.join(&room, Role::Viewer).expect("joined")));
    sees(members.last_mut().expect("joined"), r#""viewers":10"#).await;
    let rest = bench.live.list(first.next.clone(), 2).await.expect("list");
    assert_eq!((names(&rest), &rest.next), (vec!["AAAAAA".to_owned()], &None));
    assert_eq!(names(&bench.live.list(None, 1).await.expect("list")), ["AAAAAA"]);
    let unknown = Place { id: "unknown".into(), offset: 0 };
    assert_eq!(bench.live.list(Some(unknown), 2).await, Err(ListError::Expired));
}

#[test]
fn host_states_are_the_words_on_the_wire() {
    assert_eq!(serde_json::to_string(&HostState::Connected).expect("data"), "\"connected\"");
}

/// One thing that happens to a room.
#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Apply(Command),
    Presence(Counts),
    Open { revision: i64, key_generation: i64 },
    Read,
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let position = prop_oneof![any::<i64>(), 0..20_000_i64];
    let moment = prop_oneof![Just(None), any::<i64>().prop_map(Some), (NOW - 5_000..NOW + 60_000).prop_map(Some)];
    let report = (position, moment).prop_map(|(position_ms, at_ms)| Report { position_ms, at_ms });
    let command = prop_oneof![
        proptest::option::of(report.clone()).prop_map(Command::Play),
        proptest::option::of(report.clone()).prop_map(Command::Pause),
        report.clone().prop_map(Command::Seek),
        report.prop_map(Command::Progress),
    ];
    prop_oneof![
        3 => (-3_000..10_000_i64).prop_map(Step::Pass),
        6 => command.prop_map(Step::Apply),
        4 => (0..5_u64, 0..3_u64).prop_map(|(viewers, hosts)| Step::Presence(Counts { viewers, hosts })),
        1 => (1..4_i64, 1..3_i64).prop_map(|(revision, key_generation)| Step::Open { revision, key_generation }),
        2 => Just(Step::Read),
        1 => Just(Step::Close),
    ]
}

/// What a store answered, comparable.
type Seen = Result<Option<(i64, i64, String, bool)>, LiveError>;

fn seen(frame: Option<Frame>) -> Option<(i64, i64, String, bool)> {
    frame.map(|frame| (frame.version, frame.revision, frame.text.to_string(), frame.is_last))
}

#[test]
fn whatever_happens_both_stores_make_the_same_frames() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let server = streamit_test_servers::Redis::start();
    let clock = Arc::new(AtomicI64::new(NOW));
    let config = config_of(&server);
    let connected = Redis::connect(&config, GRACE, Some(reading(&clock)), Arc::default());
    let (redis, _news) = runtime.block_on(connected).expect("connected");
    let closed: axum::extract::ws::Utf8Bytes = "CLOSED".into();

    proptest!(ProptestConfig { cases: 200, ..ProptestConfig::default() }, |(steps in proptest::collection::vec(any_step(), 1..40))| {
        clock.store(NOW, Ordering::SeqCst);
        let memory = Memory::new(GRACE.as_millis() as i64, reading(&clock));
        let first = record("K7QM2X", 1);
        let code = first.code;
        runtime.block_on(async {
            redis.close(code, &closed).await.expect("clean");
            prop_assert_eq!(seen(Some(memory.open(&first))), seen(Some(redis.open(&first, None).await.expect("open"))));
            for step in steps {
                let (in_memory, in_redis): (Seen, Seen) = match &step {
                    Step::Pass(ms) => {
                        clock.fetch_add(*ms, Ordering::SeqCst);
                        continue;
                    }
                    Step::Apply(command) => {
                        (memory.apply(code, 1, *command).map(seen), redis.apply(code, 1, *command).await.map(seen))
                    }
                    Step::Presence(counts) => (
                        memory.presence(code, *counts).map(Some).map(seen),
                        redis.presence(&first, *counts).await.map(Some).map(seen),
                    ),
                    Step::Open { revision, key_generation } => {
                        let record = Room { key_generation: *key_generation, ..record("K7QM2X", *revision) };
                        (Ok(seen(Some(memory.open(&record)))), redis.open(&record, None).await.map(Some).map(seen))
                    }
                    Step::Read => (
                        memory.read(code).map(|current| seen(Some(current.frame))),
                        redis.read(code).await.map(Some).map(seen),
                    ),
                    Step::Close => (Ok(seen(memory.close(code, &closed))), redis.close(code, &closed).await.map(seen)),
                };
                prop_assert_eq!(in_memory, in_redis, "{:?}", step);
            }
            Ok(())
        })?;
    });
}
