//! Several hosts on one Redis and one Postgres act as one; and what people see when a part of it breaks.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use streamit_test_servers::{Postgres, Proxy, Redis};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{App, Member, Room, clock, episode, until};

/// Hosts, and what they share.
pub(crate) struct Nodes {
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
    pub(crate) nodes: Vec<App>,
}

impl Nodes {
    pub(crate) async fn start(count: usize) -> Nodes {
        Nodes::with(count, 300, "").await
    }

    pub(crate) async fn with(count: usize, host_grace_secs: u64, more: &str) -> Nodes {
        let (redis, postgres) = (Redis::start(), Postgres::start());
        let config = config(&redis.url(), &postgres.url(), host_grace_secs, more);
        let nodes = futures_util::future::join_all((0..count).map(|_| App::with(&config))).await;
        Nodes { redis, postgres, nodes }
    }

    /// Keys of live rooms, without those that are about to go.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys = self.redis.ask("KEYS *{*}*").unwrap();
        let keys = keys.lines().filter(|line| line.starts_with("streamit:"));
        let is_going = |key: &str| {
            let left = self.redis.ask(&format!("PTTL {key}")).unwrap();
            left.trim().trim_start_matches(':').parse::<i64>().is_ok_and(|ms| ms <= 60_000)
        };
        keys.filter(|key| !is_going(key)).map(str::to_owned).collect()
    }
}

pub(crate) fn config(redis: &str, postgres: &str, host_grace_secs: u64, more: &str) -> String {
    format!(
        "[live]\nstore = \"redis\"\n[live.redis]\nurl = \"{redis}\"\n[database]\nurl = \"{postgres}\"\n\
         [rooms]\nhost_grace_secs = {host_grace_secs}\ncreate_per_minute = 0\n{more}\n\
         [providers.mp4]\nconfig = {{ base_url = \"/media/\" }}\n[providers.vidking]\n"
    )
}

fn position_now(state: &Value, now_ms: i64) -> i64 {
    let playback = &state["playback"];
    // A room that has just been started rests until its moment.
    let passed = if playback["is_playing"] == true { now_ms - playback["at_ms"].as_i64().unwrap() } else { 0 };
    playback["position_ms"].as_i64().unwrap() + passed.max(0)
}

fn version(state: &Value) -> i64 {
    state["version"].as_i64().unwrap()
}

#[tokio::test]
async fn no_client_can_tell_several_nodes_from_one() {
    let shared = Nodes::start(3).await;
    let [a, b, c] = shared.nodes.as_slice() else { unreachable!() };
    let source = json!({ "title": "everywhere", "visibility": "public", "source": clock() });
    let room = a.room_with(source).await;
    let mut ann = b.host(&room).await;
    let mut ben = c.viewer(&room).await;
    let mut cem = a.viewer(&room).await;
    for member in [&mut ann, &mut ben, &mut cem] {
        member.sees(|s| s["presence"]["viewers"] == 3 && s["presence"]["host"] == "connected").await;
    }
    ann.send(json!({ "type": "PLAY", "position_ms": 60_000 })).await;
    let mut seen = Vec::new();
    for member in [&mut ann, &mut ben, &mut cem] {
        seen.push(member.sees(|s| s["playback"]["is_playing"] == true).await);
    }
    assert!(seen.iter().all(|state| state == &seen[0]), "one truth, to the byte: {seen:?}");
    assert_eq!(c.view(&room).await["playback"]["position_ms"], 60_000);
    assert_eq!(c.get("/api/v1/rooms").await.body["rooms"][0]["presence"]["viewers"], 3, "the list is everyone's");

    // Something else to play, over a node that has nobody in the room's first seat.
    let path = format!("/api/v1/rooms/{}", room.code);
    let put = c.request(Method::PUT, &format!("{path}/source"), Some(&room.key), Some(episode())).await;
    assert_eq!(put.status.as_u16(), 200, "{put:?}");
    for member in [&mut ann, &mut ben, &mut cem] {
        let state = member.sees(|s| s["room"]["source"]["provider"] == "vidking").await;
        assert_eq!((&state["playback"]["is_playing"], &state["playback"]["position_ms"]), (&json!(false), &json!(0)));
    }
    for node in [a, b, c] {
        assert_eq!(node.view(&room).await["embed_url"], "https://www.vidking.net/embed/tv/119051/1/8");
    }

    let closed = a.request(Method::DELETE, &path, Some(&room.key), None).await;
    assert_eq!(closed.status.as_u16(), 204);
    for member in [&mut ann, &mut ben, &mut cem] {
        let (code, said) = member.is_closed().await;
        assert_eq!((code, &said.last().unwrap()["reason"]), (4410, &json!("closed_by_host")));
    }
    for node in [a, b, c] {
        assert_eq!(node.get(&path).await.problem(), "room_not_found");
    }
    assert_eq!(shared.keys(), [""; 0], "a closed room leaves nothing in Redis");
}

#[tokio::test]
async fn behind_a_round_robin_everything_just_works() {
    let shared = Nodes::start(2).await;
    let addresses: Vec<_> = shared.nodes.iter().map(|node| node.url.strip_prefix("http://").unwrap()).collect();
    let front = Proxy::to(&addresses);
    let mut app = App::prepare("");
    app.url = format!("http://{}", front.address());
    let room = app.room().await;
    let mut ann = app.host(&room).await;
    let mut viewers = Vec::new();
    for _ in 0..6 {
        viewers.push(app.viewer(&room).await);
    }
    ann.sees(|s| s["presence"]["viewers"] == 7).await;
    for position in [1_000, 2_000, 3_000] {
        ann.seek(position).await;
        for viewer in &mut viewers {
            viewer.sees_position(position).await;
        }
    }
    let members: Vec<u64> =
        [shared.nodes[0].metric("streamit_members").await, shared.nodes[1].metric("streamit_members").await].into();
    assert!(members.iter().all(|count| *count > 0), "both nodes carry some: {members:?}");
}

#[tokio::test]
async fn who_comes_back_on_another_node_is_there_once() {
    let shared = Nodes::start(2).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let (room, mut ann, ben) = a.room_of_two().await;
    let was = ben.welcome["you"]["id"].clone();
    // The former line is as open as before.
    let mut ben = (ben, Member::join(b, &room.code, json!({ "type": "HELLO", "name": "Ben", "was": was })).await);
    assert!(ben.0.has_ended().await, "without a word: there is nobody to hear it");
    ann.sees(|state| state["presence"]["viewers"] == 2).await;
    ann.seek(7_000).await;
    ben.1.sees_position(7_000).await;
}

#[tokio::test]
async fn the_hosts_tabs_may_be_on_different_nodes() {
    let shared = Nodes::start(2).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut first = a.host(&room).await;
    let second = b.host(&room).await;
    let mut ben = b.viewer(&room).await;
    first.sees(|s| s["presence"]["viewers"] == 3).await;
    drop(second);
    let state = ben.sees(|s| s["presence"]["viewers"] == 2).await;
    assert_eq!(state["presence"]["host"], "connected");
    drop(first);
    ben.sees(|s| s["presence"]["host"] == "away").await;
    let _back = b.host(&room).await;
    ben.sees(|s| s["presence"]["host"] == "connected").await;
}

#[tokio::test]
async fn orders_from_two_tabs_at_once_end_in_one_order_for_all() {
    let limits = "[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000";
    let shared = Nodes::with(2, 300, limits).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut tabs = [a.host(&room).await, b.host(&room).await];
    let mut viewers = [a.viewer(&room).await, b.viewer(&room).await];
    let [first, second] = &mut tabs;
    let noise = async {
        let mut stranger = b.viewer(&room).await;
        for n in 0..10_000 {
            let kind = ["PLAY", "PAUSE", "SEEK", "PROGRESS"][n % 4];
            stranger.send(json!({ "type": kind, "position_ms": 666 })).await;
        }
        stranger.ping().await
    };
    let orders = async |tab: &mut Member, from: i64| {
        for n in 0..100 {
            tab.seek(from + n).await;
            match n % 3 {
                0 => tab.play().await,
                1 => tab.send(json!({ "type": "PAUSE" })).await,
                _ => {}
            }
        }
        tab.outcome().await;
    };
    tokio::join!(orders(first, 1_000_000), orders(second, 2_000_000), noise);
    let truth = a.view(&room).await;
    let truth = json!({ "version": truth["playback"]["version"], "playback": {
        "is_playing": truth["playback"]["is_playing"],
        "position_ms": truth["playback"]["position_ms"],
        "at_ms": truth["playback"]["at_ms"],
        "hold": truth["playback"]["hold"],
        "is_initial": false,
    } });
    let position = position_now(&truth, version(&truth));
    assert!((1_000_000..2_100_000).contains(&position), "nobody else's order counted: {truth}");
    for member in tabs.iter_mut().chain(&mut viewers) {
        let state = member.sees(|s| version(s) >= version(&truth)).await;
        assert_eq!(state["playback"], truth["playback"], "all end where Redis says");
    }
}

#[tokio::test]
async fn an_order_on_its_way_while_the_source_changes_ends_the_same_for_all() {
    let limits = "[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000";
    let shared = Nodes::with(2, 300, limits).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    let orders = async {
        for n in 0..200 {
            ann.send(json!({ "type": "PLAY", "position_ms": 1_000_000 + n })).await;
        }
        ann.outcome().await;
    };
    let path = format!("/api/v1/rooms/{}/source", room.code);
    let change = b.request(Method::PUT, &path, Some(&room.key), Some(episode()));
    let ((), changed) = tokio::join!(orders, change);
    assert_eq!(changed.status.as_u16(), 200, "{changed:?}");
    let truth = a.view(&room).await;
    assert_eq!(truth["source"]["provider"], "vidking");
    for member in [&mut ann, &mut ben] {
        let state = member.sees(|s| version(s) >= truth["playback"]["version"].as_i64().unwrap()).await;
        assert_eq!(state["room"]["source"], episode());
        assert_eq!(state["playback"]["position_ms"], truth["playback"]["position_ms"]);
    }
}

#[tokio::test]
async fn a_room_without_its_host_is_closed_once_and_for_everyone() {
    let shared = Nodes::with(3, 1, "").await;
    let [a, b, c] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let never_visited = a.room().await;
    let ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    let mut cem = c.viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 3).await;
    drop(ann);
    for member in [&mut ben, &mut cem] {
        let (code, said) = member.is_closed().await;
        assert_eq!((code, &said.last().unwrap()["reason"]), (4410, &json!("host_gone")));
    }
    until(|| async { b.get(&format!("/api/v1/rooms/{}", never_visited.code)).await.status.as_u16() == 404 }).await;
    // Everyone is told before the node that did it has written it down.
    let closings = || shared.nodes.iter().map(|node| node.log().matches("room closed").count()).sum::<usize>();
    until(|| async { closings() >= 2 }).await;
    until(|| async { shared.keys().is_empty() }).await;
    // Nobody looks at them again: in the sets is nothing but their marks.
    let due = |set| shared.redis.ask(&format!("ZRANGE streamit:due:{set} 0 -1")).unwrap();
    until(|| async { (0..8).all(|set| due(set) == "*1\r\n$1\r\n*\r\n") }).await;
    assert_eq!(closings(), 2, "one node closed each");
}

#[tokio::test]
async fn a_node_without_its_redis_for_too_long_sends_its_people_elsewhere() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let config = config(&redis.url(), &postgres.url(), 300, "").replace("[live.redis]", "[live.redis]\naway_secs = 1");
    let app = App::with(&config).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    redis.freeze();
    let ((ann_code, _), (ben_code, _)) = tokio::join!(ann.is_closed(), ben.is_closed());
    assert_eq!((ann_code, ben_code), (4503, 4503));
    let refused = Member::connect(&app, &room.code, None).await.err().unwrap();
    assert_eq!((refused.status.as_u16(), &refused.problem["code"]), (503, &json!("unavailable")));
    redis.thaw();
    until(|| async { Member::connect(&app, &room.code, None).await.is_ok() }).await;
    app.host(&room).await;
}

#[tokio::test]
async fn a_killed_nodes_viewers_leave_the_count_and_its_host_goes_away() {
    let mut shared = Nodes::start(3).await;
    let room = shared.nodes[0].room().await;
    let _ann = shared.nodes[0].host(&room).await;
    let _cem = shared.nodes[1].viewer(&room).await;
    let mut ben = shared.nodes[2].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 3 && s["presence"]["host"] == "connected").await;
    shared.nodes[0].kill();
    shared.nodes[1].kill();
    let killed = Instant::now();
    // Ben's client has to be patient: a lease is 14 s, and somebody looks every 4.
    let mut state = ben.state.clone();
    while state["presence"]["viewers"] != 1 || state["presence"]["host"] != "away" {
        state = ben.next_within(Duration::from_secs(30)).await;
    }
    println!("two killed nodes were out of the count after {:.1} s", killed.elapsed().as_secs_f64());
    assert!(killed.elapsed() < Duration::from_secs(25), "a lease and a heartbeat");

    // The host comes to another node and finds everything as it was.
    let mut back = shared.nodes[2].host(&room).await;
    ben.sees(|s| s["presence"]["host"] == "connected").await;
    back.seek(5_000).await;
    ben.sees_position(5_000).await;
}

#[tokio::test]
async fn a_room_is_full_on_every_node_and_never_for_its_host() {
    let shared = Nodes::with(2, 300, "max_viewers = 2").await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let (mut ben, _cem) = (a.viewer(&room).await, b.viewer(&room).await);
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    until(|| async { b.view(&room).await["presence"]["viewers"] == 2 }).await;
    for node in [a, b] {
        let mut refused = Member::connect(node, &room.code, None).await.unwrap();
        refused.send(json!({ "type": "HELLO" })).await;
        assert_eq!(refused.is_closed().await.0, 1013);
    }
    let _ann = b.host(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 3 && s["presence"]["host"] == "connected").await;
}

#[tokio::test]
async fn a_draining_node_hands_its_people_over() {
    let mut shared = Nodes::start(2).await;
    let room = shared.nodes[0].room().await;
    let mut ann = shared.nodes[0].host(&room).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    ann.send(json!({ "type": "PLAY", "position_ms": 40_000 })).await;
    ben.sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 2).await;
    shared.nodes[0].terminate();
    assert_eq!(ann.is_closed().await.0, 1012);
    let ann = shared.nodes[1].host(&room).await;
    assert_eq!(ann.state["playback"]["position_ms"], 40_000);
    assert!(shared.nodes[0].stopped().await.success());
    ben.sees(|s| s["presence"]["viewers"] == 2 && s["presence"]["host"] == "connected").await;
}

#[tokio::test]
async fn while_redis_does_not_answer_rooms_stay_and_orders_are_refused_not_kept() {
    let shared = Nodes::start(2).await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    ann.seek(30_000).await;
    ben.sees_position(30_000).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;

    shared.redis.freeze();
    let frozen = Instant::now();
    ann.seek(99_000).await;
    ann.hears_error("live_unavailable").await;
    println!("the order was refused after {:.2} s", frozen.elapsed().as_secs_f64());
    // A newcomer to a room this node knows sees what the node saw last; PING and SYNC go on.
    let mut late = b.viewer(&room).await;
    assert_eq!(late.state["playback"]["position_ms"], 30_000);
    assert_eq!(late.sync().await["playback"]["position_ms"], 30_000);
    late.ping().await;
    assert_eq!(b.view(&room).await["playback"]["position_ms"], 30_000);
    until(|| async {
        let said = ready(a).await;
        (&said["database"], &said["live"]) == (&json!("ok"), &json!("unavailable"))
    })
    .await;
    assert_eq!(a.post("/api/v1/rooms", json!({ "source": clock() })).await.problem(), "unavailable");

    // Ten seconds without it, which are the scene and no waiting for anything: sockets stay, and are asked as ever.
    while frozen.elapsed() < Duration::from_secs(10) {
        for member in [&mut ann, &mut ben, &mut late] {
            member.ping().await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    shared.redis.thaw();
    let back = Instant::now();
    ben.sees(|s| s["presence"]["viewers"] == 3).await;
    println!("everyone was counted again {:.2} s after Redis went on", back.elapsed().as_secs_f64());
    assert_eq!(ben.sync().await["playback"]["position_ms"], 30_000, "the refused order was not carried out later");
    until(|| async { ready(a).await == json!({ "database": "ok", "live": "ok" }) }).await;
    ann.seek(31_000).await;
    for member in [&mut ben, &mut late] {
        member.sees_position(31_000).await;
    }
}

pub(crate) async fn ready(app: &App) -> Value {
    reqwest::get(format!("{}/readyz", app.admin_url)).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn an_order_into_an_emptied_redis_is_carried_out_or_refused_and_everybody_is_counted_again() {
    let shared = Nodes::start(2).await;
    let room = shared.nodes[0].room().await;
    let mut ann = shared.nodes[0].host(&room).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    for n in 1..=5 {
        shared.redis.ask("FLUSHALL");
        ann.seek(n * 1_000).await;
        loop {
            let message = ann.next().await;
            if message["playback"]["position_ms"] == n * 1_000 {
                break;
            }
            // Refused: the store has just learnt of the room.
            if message["type"] == "ERROR" {
                tokio::time::sleep(Duration::from_millis(100)).await;
                ann.seek(n * 1_000).await;
            }
        }
        ben.sees(|s| {
            let presence = &s["presence"];
            assert!(presence["viewers"] != 0, "{presence}");
            // The viewer's node may be counted before the host's.
            s["playback"]["position_ms"] == n * 1_000 && presence["viewers"] == 2 && presence["host"] == "connected"
        })
        .await;
    }
}

#[tokio::test]
async fn an_emptied_redis_gets_every_room_back_where_it_was() {
    let mut shared = Nodes::start(2).await;
    let mut scenes: Vec<(Room, Member, Member)> = Vec::new();
    for n in 0..10 {
        let room = shared.nodes[n % 2].room().await;
        let mut ann = shared.nodes[n % 2].host(&room).await;
        let mut ben = shared.nodes[(n + 1) % 2].viewer(&room).await;
        ann.send(json!({ "type": "PLAY", "position_ms": 100_000 * n as i64 })).await;
        ben.sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 2).await;
        ann.sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 2).await;
        scenes.push((room, ann, ben));
    }
    shared.redis.kill();
    shared.redis.launch();
    let back = Instant::now();
    let (mut slowest, mut furthest) = (Duration::ZERO, 0);
    for (_, ann, ben) in &mut scenes {
        let before = ben.state.clone();
        for member in [ann, ben] {
            let state = member
                .sees(|s| {
                    version(s) > version(&before)
                        && s["presence"]["viewers"] == 2
                        && s["presence"]["host"] == "connected"
                })
                .await;
            slowest = slowest.max(back.elapsed());
            let now = version(&state);
            let off = (position_now(&state, now) - position_now(&before, now)).abs();
            furthest = furthest.max(off);
            assert_eq!(state["playback"]["is_playing"], true);
        }
    }
    println!(
        "10 rooms were whole {:.2} s after an empty Redis was there, at most {furthest} ms off",
        slowest.as_secs_f64()
    );
    assert!(furthest <= 250, "{furthest} ms");
    for (_, ann, ben) in &mut scenes {
        ann.seek(7_000).await;
        ben.sees(|s| s["playback"]["position_ms"] == 7_000).await;
    }
}

#[tokio::test]
async fn a_line_to_redis_that_is_cut_or_falls_silent_is_rebuilt() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let line = Proxy::to(&[&format!("127.0.0.1:{}", redis.port())]);
    let a = App::with(&config(&redis.url(), &postgres.url(), 300, "")).await;
    let b = App::with(&config(&format!("redis://{}", line.address()), &postgres.url(), 300, "")).await;
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;

    line.cut();
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;

    // Only the line for subscriptions, while the one for commands lives on.
    let killed = redis.ask("CLIENT KILL TYPE pubsub").unwrap();
    assert!(killed.starts_with(":2"), "one line of each node: {killed}");
    let cut = Instant::now();
    ann.seek(1_500).await;
    ben.sees_position(1_500).await;
    println!("subscriptions cut: the next order was seen after {:.2} s", cut.elapsed().as_secs_f64());

    // Half open: packets vanish and nobody says so. The node finds out by itself, and misses nothing in the end.
    line.silence(true);
    ann.seek(2_000).await;
    until(|| async { ready(&b).await["live"] == "unavailable" }).await;
    ann.seek(3_000).await;
    line.silence(false);
    ben.sees_position(3_000).await;
    ann.seek(4_000).await;
    ben.sees_position(4_000).await;
}

#[tokio::test]
async fn while_postgres_is_away_live_rooms_go_on() {
    let mut shared = Nodes::start(2).await;
    let room = shared.nodes[0].room().await;
    let mut ann = shared.nodes[0].host(&room).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    shared.postgres.kill();
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
    let mut late = shared.nodes[1].viewer(&room).await;
    late.sees(|s| s["presence"]["viewers"] == 3).await;
    let refused = shared.nodes[0].post("/api/v1/rooms", json!({ "source": clock() })).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "unavailable"));
    assert_eq!(shared.nodes[0].get("/api/v1/rooms/AAAAAA").await.problem(), "unavailable");
    shared.postgres.launch();
    until(|| async {
        shared.nodes[0].post("/api/v1/rooms", json!({ "source": clock() })).await.status.as_u16() == 201
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_joins_costs_redis_a_handful_of_calls() {
    // Each viewer is a file of this process, too.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let joins = (files / 2).min(5_000);
    // All of them are this one process, which may be slow to say HELLO so often.
    let shared = Nodes::with(1, 300, "[limits]\nhello_secs = 60").await;
    let node = &shared.nodes[0];
    let room = node.room().await;
    let mut ann = node.host(&room).await;
    ann.sees(|s| s["presence"]["viewers"] == 1).await;
    let (calls, frames) =
        (node.metric("streamit_presence_told_total").await, node.metric("streamit_frames_published_total").await);
    let burst = Instant::now();
    let viewers = futures_util::future::join_all((0..joins).map(|_| node.viewer(&room))).await;
    let burst = burst.elapsed().as_secs_f64();
    ann.sees(|s| s["presence"]["viewers"] == joins + 1).await;
    let calls = node.metric("streamit_presence_told_total").await - calls;
    let frames = node.metric("streamit_frames_published_total").await - frames;
    println!("{joins} joins in {burst:.1} s: {calls} calls, {frames} frames");
    assert!(calls < joins / 50 && frames < joins / 50, "{calls} calls, {frames} frames");
    drop(viewers);
}

#[tokio::test]
async fn a_node_that_cannot_reach_its_redis_says_so_and_does_not_start() {
    let port = streamit_test_servers::free_port();
    let app =
        App::prepare(&format!("[live]\nstore = \"redis\"\n[live.redis]\nurl = \"redis://:hunter2@127.0.0.1:{port}\""));
    let output = app.streamit(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("cannot reach Redis at redis://:********@127.0.0.1:{port}")), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_redis_with_a_password_is_used_with_it() {
    let redis = Redis::with(&[]);
    redis.ask("CONFIG SET requirepass hunter2");
    let postgres = Postgres::start();
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port());
    let app = App::with(&config(&url, &postgres.url(), 300, "")).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
    assert!(!app.log().contains("hunter2"));
}

#[tokio::test]
async fn in_a_cluster_a_slot_that_moves_and_a_master_that_dies_lose_no_room() {
    let mut cluster = tokio::task::spawn_blocking(streamit_test_servers::Cluster::start).await.unwrap();
    let postgres = Postgres::start();
    let urls = format!("[\"{}\"]", cluster.urls().join("\", \""));
    let config = config("", &postgres.url(), 300, "").replace("url = \"\"", &format!("url = {urls}"));
    let [a, b] = [App::with(&config).await, App::with(&config).await];
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    ann.seek(1_000).await;
    ben.sees(|s| s["playback"]["position_ms"] == 1_000 && s["presence"]["viewers"] == 2).await;

    let key = format!("streamit:{{{}}}:state", room.code);
    cluster.move_slot(&key);
    let moved = Instant::now();
    insist(&mut ann, &mut ben, 2_000).await;
    println!("a slot moved: the next order reached the other node after {:.2} s", moved.elapsed().as_secs_f64());

    cluster.fail_over(&key);
    let failed_over = Instant::now();
    insist(&mut ann, &mut ben, 3_000).await;
    println!(
        "a master died: the next order reached the other node {:.2} s after its replica took over",
        failed_over.elapsed().as_secs_f64()
    );
    let mut late = b.viewer(&room).await;
    late.sees(|s| s["presence"]["viewers"] == 3 && s["presence"]["host"] == "connected").await;
}

/// One of three masters answers nothing for a while, and is alive: the rooms of the others go on.
#[tokio::test]
async fn a_hung_master_of_a_cluster_is_the_trouble_of_its_own_rooms() {
    let cluster = tokio::task::spawn_blocking(streamit_test_servers::Cluster::start).await.unwrap();
    let postgres = Postgres::start();
    let urls = format!("[\"{}\"]", cluster.urls().join("\", \""));
    let config = config("", &postgres.url(), 300, "[limits]\nmessages_per_sec = 1000\nmessages_burst = 1000")
        .replace("url = \"\"", &format!("url = {urls}"));
    let [a, b] = [App::with(&config).await, App::with(&config).await];
    // A room on each master, with its host on one node and a viewer on the other.
    let mut rooms: std::collections::BTreeMap<usize, (Member, Member)> = std::collections::BTreeMap::new();
    while rooms.len() < 3 {
        let room = a.room().await;
        let owner = cluster.owner(&format!("streamit:{{{}}}:state", room.code));
        if let std::collections::btree_map::Entry::Vacant(place) = rooms.entry(owner) {
            place.insert((a.host(&room).await, b.viewer(&room).await));
        }
    }
    for (ann, ben) in rooms.values_mut() {
        insist(ann, ben, 500).await;
    }
    let hung = *rooms.keys().next().unwrap();
    let (mut hung_ann, mut hung_ben) = rooms.remove(&hung).unwrap();
    // A short silence: what was refused meanwhile is not carried out when it is over.
    cluster.node(hung).freeze();
    hung_ann.seek(7_000).await;
    hung_ann.hears_error("live_unavailable").await;
    cluster.node(hung).thaw();
    loop {
        hung_ann.play().await;
        let heard = hung_ann.outcome().await;
        if heard.iter().all(|message| message["type"] != "ERROR") {
            break;
        }
    }
    let played = hung_ben.sees(|s| s["playback"]["is_playing"] == true).await;
    assert_eq!(played["playback"]["position_ms"], 500);

    let connects = a.metric("streamit_redis_connects_total").await;
    cluster.node(hung).freeze();
    let mut refused = 0;
    for n in 1..=80 {
        hung_ann.seek(n * 1_000).await;
        for (ann, ben) in rooms.values_mut() {
            ann.seek(n * 1_000).await;
            let heard = ann.outcome().await;
            if heard.iter().any(|message| message["type"] == "ERROR") {
                refused += 1;
            } else {
                ben.sees_position(n * 1_000).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let connects = a.metric("streamit_redis_connects_total").await - connects;
    println!("{refused} of 160 orders refused, {connects} lines rebuilt");
    assert_eq!(refused, 0, "{refused} of 160 orders; {connects} lines were rebuilt:\n{}", a.log());
    assert!(connects <= 8, "{connects} lines were rebuilt");
    // Whoever took over its rooms serves them.
    insist(&mut hung_ann, &mut hung_ben, 99_000).await;
    cluster.node(hung).thaw();
    insist(&mut hung_ann, &mut hung_ben, 100_000).await;
}

/// The sets in which rooms are found, and whatever a start tries out, are on a master that answers nothing.
#[tokio::test]
async fn a_hung_master_fails_no_room_that_is_elsewhere_and_no_start() {
    let cluster = tokio::task::spawn_blocking(streamit_test_servers::Cluster::start).await.unwrap();
    let postgres = Postgres::start();
    let urls = format!("[\"{}\"]", cluster.urls().join("\", \""));
    let config = config("", &postgres.url(), 300, "").replace("url = \"\"", &format!("url = {urls}"));
    let [a, b] = [App::with(&config).await, App::with(&config).await];
    let hung = cluster.owner("streamit:{probe}:state");
    let sets: Vec<_> = (0..8).map(|n| format!("streamit:due:{n}")).filter(|key| cluster.owner(key) == hung).collect();
    let is_found_there =
        |code: &str| sets.contains(&due_key(code)) && cluster.owner(&format!("streamit:{{{code}}}:state")) != hung;
    let room = loop {
        let room = a.room_with(json!({ "visibility": "public", "source": clock() })).await;
        if is_found_there(&room.code) {
            break room;
        }
    };
    let mut ann = a.host(&room).await;
    ann.sees(|s| s["presence"]["viewers"] == 1).await;
    cluster.freeze(hung);

    let mut ben = b.viewer(&room).await;
    ann.sees(|s| s["presence"]["viewers"] == 2).await;
    let changed = b.put_source(&room, episode()).await;
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.body);
    ann.sees(|s| s["room"]["source"]["provider"] == "vidking").await;
    // Those that would be on that master are refused; not those that are only found there.
    let mut created = None;
    for _ in 0..40 {
        let answer = b.post("/api/v1/rooms", json!({ "source": clock() })).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (code, key) = (text(&answer.body["room"]["code"]), text(&answer.body["host_key"]));
        if answer.status.as_u16() == 201 && sets.contains(&due_key(&code)) {
            created = Some(Room { code, key });
            break;
        }
    }
    let created = created.expect("a room that is found there");
    let _cem = b.host(&created).await;

    let c = App::with(&config).await;
    assert!(c.log().contains("a server of the cluster is away"), "{}", c.log());
    assert_eq!(ready(&c).await["live"], "ok");
    let _dan = c.viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 3).await;
    insist(&mut ann, &mut ben, 5_000).await;

    cluster.thaw();
    let key = due_key(&created.code);
    let is_found = || cluster.node(cluster.owner(&key)).ask(&format!("ZSCORE {key} {}", created.code));
    until(|| async { is_found().is_some_and(|score| score.starts_with(['$', ',']) && !score.starts_with("$-1")) })
        .await;
}

/// The set in which a room is found that somebody has to look at.
fn due_key(code: &str) -> String {
    const ALPHABET: &str = "23456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |letter| ALPHABET.find(letter).unwrap();
    format!("streamit:due:{}", code.chars().fold(0, |number, letter| number * 30 + digit(letter)) % 8)
}

/// Gives an order until it is taken, and waits until the other sees it: a refused one is never carried out later.
pub(crate) async fn insist(ann: &mut Member, ben: &mut Member, position_ms: i64) {
    loop {
        ann.seek(position_ms).await;
        let heard = ann.outcome().await;
        if heard.iter().all(|message| message["type"] != "ERROR") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ben.sees_position(position_ms).await;
}

#[tokio::test]
async fn a_redis_behind_tls_is_reached_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(file("cert.pem"), cert.pem()).unwrap();
    std::fs::write(file("key.pem"), signing_key.serialize_pem()).unwrap();
    let port = streamit_test_servers::free_port().to_string();
    let _redis = Redis::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("cert.pem"),
        "--tls-key-file",
        &file("key.pem"),
        "--tls-ca-cert-file",
        &file("cert.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let postgres = Postgres::start();
    let mut app = App::prepare(&config(&format!("rediss://localhost:{port}"), &postgres.url(), 300, ""));
    let untrusted = app.streamit(&["serve"]).output().unwrap();
    assert_eq!(untrusted.status.code(), Some(1), "a certificate nobody vouches for is refused");

    app.set_env("SSL_CERT_FILE", &file("cert.pem"));
    app.launch().await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
}

#[tokio::test]
async fn fifty_rooms_of_twenty_survive_an_emptied_redis() {
    let mut shared = Nodes::start(2).await;
    let mut scenes = Vec::new();
    for n in 0..50 {
        let room = shared.nodes[n % 2].room().await;
        let mut ann = shared.nodes[n % 2].host(&room).await;
        let viewers = (0..20).map(|v| shared.nodes[v % 2].viewer(&room));
        let mut viewers = futures_util::future::join_all(viewers).await;
        ann.send(json!({ "type": "PLAY", "position_ms": 10_000 * n as i64 })).await;
        ann.sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 21).await;
        viewers[0].sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 21).await;
        scenes.push((ann, viewers));
    }
    let before: Vec<Value> = scenes.iter().map(|(ann, _)| ann.state.clone()).collect();
    shared.redis.kill();
    shared.redis.launch();
    let back = Instant::now();
    // Everyone listens at once, so that the last of a thousand is not the slowest reader.
    let watching = scenes.iter_mut().zip(&before).flat_map(|((ann, viewers), before)| {
        std::iter::once(ann).chain(viewers).map(move |member| async move {
            let state = member.sees(|s| version(s) > version(before) && s["presence"]["viewers"] == 21).await;
            assert_eq!(state["playback"]["is_playing"], true);
            (position_now(&state, version(&state)) - position_now(before, version(&state))).abs()
        })
    });
    let off = futures_util::future::join_all(watching).await.into_iter().max().unwrap();
    println!(
        "50 rooms of 20 were whole {:.2} s after an empty Redis was there, at most {off} ms off",
        back.elapsed().as_secs_f64()
    );
    assert!(off <= 250, "{off} ms");
}

#[tokio::test]
async fn an_order_is_one_script_and_one_publish() {
    let shared = Nodes::with(1, 300, "[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000").await;
    // What is on top are heartbeats.
    let (_, mut ann, mut ben) = shared.nodes[0].room_of_two().await;
    // What is asked for is known here.
    let before = Calls::of(&shared.redis);
    for _ in 0..100 {
        ben.sync().await;
    }
    let Calls { scripts, .. } = Calls::of(&shared.redis).since(&before);
    assert!(scripts < 10, "100 SYNCs: {scripts} scripts");
    let before = Calls::of(&shared.redis);
    for n in 1..=100 {
        ann.seek(n * 1_000).await;
        ben.sees_position(n * 1_000).await;
    }
    let Calls { scripts, publishes } = Calls::of(&shared.redis).since(&before);
    println!("100 orders: {scripts} scripts, {publishes} publishes");
    // The last word on who is here may fall into it.
    assert!(
        (100..=101).contains(&publishes) && (100..120).contains(&scripts),
        "{scripts} scripts, {publishes} publishes"
    );
}

#[tokio::test]
async fn orders_that_wait_for_redis_are_few_and_keep_their_order() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let line = Proxy::to(&[&format!("127.0.0.1:{}", redis.port())]);
    let limits = "[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000";
    let app = App::with(&config(&format!("redis://{}", line.address()), &postgres.url(), 300, limits)).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    // Now an answer takes as long as it takes to say everything.
    line.delay(Duration::from_millis(60));
    let before = Calls::of(&redis);
    ann.send(json!({ "type": "PLAY" })).await;
    for n in 1..=100 {
        ann.seek(n * 1_000).await;
    }
    ann.send(json!({ "type": "PAUSE" })).await;
    ann.seek(7_000).await;
    // What is asked in between is answered at once.
    let (_, seen) = ann.ping().await;
    assert!(seen.iter().all(|state| state["playback"]["position_ms"] != 7_000), "{seen:?}");
    for member in [&mut ann, &mut ben] {
        member.sees(|s| s["playback"]["position_ms"] == 7_000 && s["playback"]["is_playing"] == false).await;
    }
    let Calls { scripts, publishes } = Calls::of(&redis).since(&before);
    println!("103 orders: {scripts} scripts, {publishes} publishes");
    // PLAY, the newest of a hundred, PAUSE, the last; a slow machine may say them in two breaths; and a heartbeat.
    assert!(publishes <= 10 && scripts <= 20, "{scripts} scripts, {publishes} publishes");

    // A SYNC is answered after what was ordered.
    ann.seek(9_000).await;
    assert_eq!(ann.sync().await["playback"]["position_ms"], 9_000);

    // Whoever leaves has ordered all the same. Nine in a row take 90 ms, and each has 300: on a busy machine, too.
    line.delay(Duration::from_millis(5));
    for n in 1..=3 {
        ann.seek(n * 1_000).await;
        ann.send(json!({ "type": "PLAY" })).await;
        ann.send(json!({ "type": "PAUSE", "position_ms": n * 1_000 })).await;
    }
    ann.send_raw(Message::Close(None)).await;
    drop(ann);
    ben.sees(|s| s["playback"]["is_playing"] == false && s["playback"]["position_ms"] == 3_000).await;
    until(|| async { app.view(&room).await["presence"]["host"] != "connected" }).await;
}

#[tokio::test]
async fn whoever_asks_whether_the_line_lives_waits_for_no_order() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let line = Proxy::to(&[&format!("127.0.0.1:{}", redis.port())]);
    let limits = "[limits]\nmessages_per_sec = 10000\nmessages_burst = 100000";
    let app = App::with(&config(&format!("redis://{}", line.address()), &postgres.url(), 300, limits)).await;
    let (_, mut ann, mut ben) = app.room_of_two().await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    line.delay(Duration::from_millis(60));
    let before = Calls::of(&redis);
    // None replaces another, and each changes something.
    for n in 0..20 {
        ann.send(json!({ "type": "PLAY", "position_ms": n * 2_000 })).await;
        ann.send(json!({ "type": "PAUSE", "position_ms": n * 2_000 + 1_000 })).await;
    }
    let (_, mut heard) = ann.ping().await;
    let shown = heard.iter().filter(|message| message["type"] == "STATE").count();
    assert!(shown <= 4, "the PING waited for {shown} orders");
    line.delay(Duration::ZERO);
    heard.extend(ann.outcome().await);
    // Too many waited; those of which it was said so are those that were not carried out.
    let told =
        |words| heard.iter().filter(|it| it["message"].as_str().is_some_and(|it| it.contains(words))).count() as u64;
    let (refused, unknown) = (told("will not be later"), told("may have been carried out"));
    let done = Calls::of(&redis).since(&before).publishes;
    assert!((1..40).contains(&refused), "{refused} refused");
    assert!(
        (40 - refused - unknown..=40 - refused).contains(&done),
        "{refused} refused, {unknown} unknown, {done} done"
    );
}

/// Far from Redis a node is still on the way out of rooms that it has forgotten when their people come back.
#[tokio::test]
async fn whoever_comes_back_while_their_rooms_are_forgotten_hears_every_order_as_it_is_given() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let line = Proxy::to(&[&format!("127.0.0.1:{}", redis.port())]);
    let near = App::with(&config(&redis.url(), &postgres.url(), 300, "")).await;
    let far = App::with(&config(&format!("redis://{}", line.address()), &postgres.url(), 300, "")).await;
    line.delay(Duration::from_millis(40));
    let (mut rooms, mut hosts) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let room = near.room().await;
        hosts.push(near.host(&room).await);
        rooms.push(room);
    }
    let enter = || futures_util::future::join_all(rooms.iter().map(|room| far.viewer(room)));
    let heard = || far.metric("streamit_frames_received_total");
    let mut viewers = enter().await;
    for round in 1..=3 {
        drop(std::mem::take(&mut viewers));
        until(|| async { far.metric("streamit_rooms").await == 0 }).await;
        viewers = enter().await;
        // Once everybody is counted nothing is said but what is ordered.
        let whole = |state: &Value| state["presence"]["viewers"] == 2;
        futures_util::future::join_all(viewers.iter_mut().map(|viewer| viewer.sees(whole))).await;
        let mut before = 0;
        while std::mem::replace(&mut before, heard().await) != before {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for host in &mut hosts {
            host.seek(round * 1_000).await;
        }
        futures_util::future::join_all(viewers.iter_mut().map(|viewer| viewer.sees_position(round * 1_000))).await;
        // What is learnt from a heartbeat afterwards is not among them.
        assert_eq!(heard().await - before, 30, "round {round}");
    }
}

/// What a Redis was asked so far.
struct Calls {
    scripts: u64,
    publishes: u64,
}

impl Calls {
    fn of(redis: &Redis) -> Calls {
        let stats = redis.ask("INFO commandstats").unwrap();
        let calls = |command: &str| -> u64 {
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
            line.unwrap().split(',').next().unwrap().parse().unwrap()
        };
        Calls { scripts: calls("evalsha"), publishes: calls("spublish") }
    }

    fn since(&self, before: &Calls) -> Calls {
        Calls { scripts: self.scripts - before.scripts, publishes: self.publishes - before.publishes }
    }
}
