//! Rooms are neither lost nor kept against the rules, whatever fails in between; and what is refused is not carried out.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use reqwest::Method;
use serde_json::{Value, json};
use streamit_test_servers::{Clock, Cluster, Postgres, Proxy, Redis};
use tokio::time::sleep;

use crate::{
    harness::{Answer, App, Member, Room, clock, episode, until},
    nodes::{Nodes, config, insist, ready},
};

#[tokio::test]
async fn a_host_who_is_back_while_the_database_is_away_keeps_the_room() {
    let mut shared = Nodes::with(2, 3, "").await;
    let room = shared.nodes[0].room().await;
    let ann = shared.nodes[0].host(&room).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    drop(ann);
    let away = ben.sees(|s| s["presence"]["host"] == "away").await;
    shared.postgres.kill();
    let _ann = shared.nodes[1].host(&room).await;
    ben.sees(|s| s["presence"]["host"] == "connected").await;
    // Its time would have been over by now, and somebody has looked.
    let over = away["presence"]["host_away_until_ms"].as_i64().unwrap() + 2500;
    until(|| async { now_ms() > over }).await;
    shared.postgres.launch();
    until(|| async { ready(&shared.nodes[1]).await["database"] == "ok" }).await;
    let (_, heard) = ben.ping().await;
    assert!(!heard.iter().any(|message| message["type"] == "CLOSED"), "{heard:?}");
    assert_eq!(shared.nodes[0].view(&room).await["presence"]["host"], "connected");
}

#[tokio::test]
async fn a_room_that_ends_while_the_database_is_away_has_ended_and_stays_so() {
    let mut shared = Nodes::with(2, 1, "").await;
    let [expired, closed] = [shared.nodes[0].room().await, shared.nodes[0].room().await];
    let mut ben = shared.nodes[0].viewer(&expired).await;
    let _host = shared.nodes[0].host(&closed).await;
    let mut cem = shared.nodes[1].viewer(&closed).await;
    shared.postgres.kill();
    let answer = shared.nodes[0].request(Method::DELETE, &path(&closed.code), Some(&closed.key), None).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
    assert_eq!(cem.is_closed().await.1.last().unwrap()["reason"], "closed_by_host");
    assert_eq!(ben.is_closed().await.1.last().unwrap()["reason"], "host_gone");
    shared.postgres.launch();
    // The database says that both are open; the live store knows better, and tells it.
    for node in &shared.nodes {
        for room in [&expired, &closed] {
            until(|| async { node.get(&path(&room.code)).await.status.as_u16() == 404 }).await;
        }
    }
    let written = || shared.nodes.iter().map(|node| node.log().matches("room closed").count()).sum::<usize>();
    until(|| async { written() == 2 }).await;
    until(|| async { shared.keys().is_empty() }).await;
}

#[tokio::test]
async fn a_full_redis_closes_no_room() {
    // The third has nobody in the room, and looks all the same.
    let shared = Nodes::with(3, 1, "").await;
    let room = shared.nodes[0].room().await;
    let mut ann = shared.nodes[0].host(&room).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    ben.sees(|s| s["presence"]["viewers"] == 2).await;
    // From now on no heartbeat is taken, until every lease is over.
    shared.redis.ask("CONFIG SET maxmemory-policy noeviction").unwrap();
    shared.redis.ask("CONFIG SET maxmemory 1").unwrap();
    sleep(Duration::from_secs(17)).await;
    let (_, heard) = ben.ping().await;
    assert!(!heard.iter().any(|message| message["type"] == "CLOSED"), "{heard:?}");
    ann.send(json!({ "type": "PLAY" })).await;
    ann.hears_error("live_unavailable").await;
    // The operator is told once, and why.
    for node in &shared.nodes[..2] {
        let log = node.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains("takes no heartbeats")).collect();
        assert!(matches!(told[..], [line] if line.contains("WARN") && line.contains("OOM")), "{told:?}");
    }
    shared.redis.ask("CONFIG SET maxmemory 0").unwrap();
    until(|| async {
        let view = shared.nodes[1].view(&room).await;
        view["presence"]["viewers"] == 2 && view["presence"]["host"] == "connected"
    })
    .await;
    for node in &shared.nodes[..2] {
        until(|| async { node.log().matches("the live store takes heartbeats again").count() == 1 }).await;
    }
    ann.send(json!({ "type": "PLAY" })).await;
    ben.sees(|s| s["playback"]["is_playing"] == true).await;
}

#[tokio::test]
async fn a_dead_nodes_public_room_leaves_the_list_however_often_it_is_read() {
    let mut shared = Nodes::with(2, 300, "").await;
    let room = public_room(&shared.nodes[0]).await;
    let _ann = shared.nodes[0].host(&room).await;
    let listed = async |node: &App| node.get("/api/v1/rooms").await.body["rooms"].as_array().unwrap().len();
    until(|| async { listed(&shared.nodes[1]).await == 1 }).await;
    let mut dead = shared.nodes.remove(0);
    dead.kill();
    until(|| async {
        let view = shared.nodes[0].view(&room).await;
        listed(&shared.nodes[0]).await == 0 && view["presence"]["viewers"] == 0 && view["presence"]["host"] == "away"
    })
    .await;
}

#[tokio::test]
async fn the_list_is_a_read_that_leaves_nothing_behind() {
    let shared = Nodes::with(2, 300, "").await;
    let mut hosts = Vec::new();
    for _ in 0..30 {
        let room = public_room(&shared.nodes[0]).await;
        hosts.push(shared.nodes[0].host(&room).await);
    }
    let node = &shared.nodes[1];
    until(|| async { node.get("/api/v1/rooms?limit=100").await.body["rooms"].as_array().unwrap().len() == 30 }).await;
    // Names are told rather than a number: whoever sees this fail wants to know which.
    let keys = || {
        let answer = shared.redis.ask("KEYS *").unwrap();
        answer.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let scripts = || {
        let stats = shared.redis.ask("INFO commandstats").unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap().to_owned();
        line.split(['=', ',']).nth(1).unwrap().parse::<usize>().unwrap()
    };
    let (keys_before, scripts_before) = (keys(), scripts());
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let mut cursor = String::new();
        loop {
            let page = node.get(&format!("/api/v1/rooms?limit=7{cursor}")).await.body;
            for room in page["rooms"].as_array().unwrap() {
                seen.insert(room["code"].as_str().unwrap().to_owned());
                assert_eq!(room["presence"], json!({ "viewers": 1, "host": "connected", "host_away_until_ms": null }));
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    assert_eq!(seen.len(), 30, "each room is on some page");
    assert_eq!(keys().difference(&keys_before).collect::<Vec<_>>(), [""; 0], "reading leaves nothing");
    // Thirty rooms are told of and looked at every few seconds anyway; ten lists of them are no reason for more.
    assert!(scripts() - scripts_before < 150, "{} scripts", scripts() - scripts_before);
}

#[tokio::test]
async fn what_a_frozen_redis_refused_is_not_carried_out_when_it_thaws() {
    let shared = Nodes::with(2, 300, "").await;
    let node = &shared.nodes[0];
    let room = node.room().await;
    let mut ann = node.host(&room).await;
    let rooms = || shared.postgres.ask("SELECT count(*) FROM rooms");
    let stored = rooms();
    shared.redis.freeze();
    let (changed, created) =
        tokio::join!(node.put_source(&room, episode()), node.post("/api/v1/rooms", json!({ "source": episode() })),);
    for answer in [changed, created] {
        assert_eq!(answer.status.as_u16(), 503, "{}", answer.body);
    }
    ann.seek(60_000).await;
    ann.hears_error("live_unavailable").await;
    shared.redis.thaw();
    until(|| async { ready(node).await["live"] == "ok" }).await;
    // An end is refused like anything else: what cannot be known is said, and what is late is not done.
    shared.redis.freeze();
    let closed = node.request(Method::DELETE, &path(&room.code), Some(&room.key), None).await;
    assert_eq!((closed.status.as_u16(), closed.problem()), (503, "unavailable"));
    assert!(closed.body["detail"].as_str().unwrap().contains("may have been done all the same"), "{}", closed.body);
    sleep(Duration::from_millis(100)).await;
    shared.redis.thaw();
    until(|| async { ready(node).await["live"] == "ok" }).await;
    let mut ben = shared.nodes[1].viewer(&room).await;
    let state = ben.sync().await;
    assert_eq!(state["room"]["source"]["provider"], "mp4");
    assert_eq!(node.view(&room).await["source"]["provider"], "mp4");
    assert_eq!(state["playback"]["position_ms"], 0);
    assert_eq!(rooms(), stored, "nobody has a key for a room that was refused");
    // And what is asked for now is done.
    assert_eq!(node.put_source(&room, episode()).await.status.as_u16(), 200);
    ben.sees(|s| s["room"]["source"]["provider"] == "vidking").await;
}

/// Once the database has a change it is made, whatever becomes of the live store; until then nobody has seen it.
#[tokio::test]
async fn what_is_stored_is_done_however_late_redis_hears_of_it() {
    let shared = Nodes::with(2, 300, "").await;
    let [a, b] = shared.nodes.as_slice() else { unreachable!() };
    let room = a.room().await;
    let mut ben = b.viewer(&room).await;
    take_long_to_commit(&shared.postgres);
    let freeze = async {
        until(async || is_committing(&shared.postgres)).await;
        shared.redis.freeze();
    };
    let (changed, ()) = tokio::join!(a.put_source(&room, episode()), freeze);
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.body);
    assert_eq!(changed.body["source"]["provider"], "vidking");
    shared.redis.thaw();
    ben.sees(|s| s["room"]["source"]["provider"] == "vidking").await;

    until(async || ready(a).await["live"] == "ok").await;
    let freeze = async {
        until(async || is_committing(&shared.postgres)).await;
        shared.redis.freeze();
    };
    let (created, ()) = tokio::join!(a.post("/api/v1/rooms", json!({ "source": clock() })), freeze);
    assert_eq!(created.status.as_u16(), 201, "{}", created.body);
    shared.redis.thaw();
    until(async || ready(b).await["live"] == "ok").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let room = Room { code: text(&created.body["room"]["code"]), key: text(&created.body["host_key"]) };
    let mut ann = b.host(&room).await;
    ann.sees(|s| s["presence"]["host"] == "connected").await;
}

/// Between its two stores a node may end for good: the others see to it that they agree.
#[tokio::test]
async fn what_a_node_has_begun_is_brought_to_its_end_by_the_others() {
    let mut shared = Nodes::with(2, 300, "").await;
    let (changed, closed) = (shared.nodes[0].room().await, shared.nodes[0].room().await);
    let (mut ben, mut eve) = (shared.nodes[1].viewer(&changed).await, shared.nodes[1].viewer(&closed).await);

    // Closed for everyone, and the database has not taken it.
    shared.postgres.ask(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''disk full''; END';
         CREATE TRIGGER refuses BEFORE UPDATE ON rooms FOR EACH ROW WHEN (NEW.closed_at_ms IS NOT NULL)
            EXECUTE FUNCTION refuse()",
    );
    let path = format!("/api/v1/rooms/{}", closed.code);
    let end = shared.nodes[0].request(Method::DELETE, &path, Some(&closed.key), None).await;
    assert_eq!(end.status.as_u16(), 204, "{}", end.body);
    assert_eq!(eve.is_closed().await.0, 4410);

    // Stored, and the live store has not heard of it.
    take_long_to_commit(&shared.postgres);
    let freeze = async {
        until(async || is_committing(&shared.postgres)).await;
        shared.redis.freeze();
    };
    let (answer, ()) = tokio::join!(shared.nodes[0].put_source(&changed, episode()), freeze);
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);

    shared.nodes[0].kill();
    shared.redis.thaw();
    shared.postgres.ask("DROP TRIGGER refuses ON rooms");
    ben.sees(|s| s["room"]["source"]["provider"] == "vidking").await;
    let is_open = format!("SELECT count(*) FROM rooms WHERE code = '{}' AND closed_at_ms IS NULL", closed.code);
    until(async || shared.postgres.ask(&is_open).trim() == "0").await;
}

#[tokio::test]
async fn what_nobody_can_know_is_said_in_words() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let line = Proxy::to(&[&format!("127.0.0.1:{}", postgres.port())]);
    let through = format!("postgres://streamit@{}/postgres", line.address());
    let node = App::with(&config(&redis.url(), &through, 300, "")).await;
    let (room, _ann, mut ben) = node.room_of_two().await;
    take_long_to_commit(&postgres);
    let lose = async {
        until(async || is_committing(&postgres)).await;
        line.silence(true);
    };
    let (unknown, ()) = tokio::join!(node.put_source(&room, episode()), lose);
    assert_eq!((unknown.status.as_u16(), unknown.problem()), (503, "unavailable"));
    let words = |answer: &Answer| answer.body["detail"].as_str().unwrap().to_owned();
    assert!(words(&unknown).contains("this may have been done all the same"), "{}", unknown.body);
    line.forget();
    line.silence(false);
    // It was; and nobody is surprised by it hours later.
    ben.sees(|s| s["room"]["source"]["provider"] == "vidking").await;

    // What is refused before anybody decided is not done, and nobody says that it may be.
    line.silence(true);
    let refused = node.put_source(&room, clock()).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (503, "unavailable"));
    assert!(words(&refused).contains("try again") && !words(&refused).contains("may have"), "{}", refused.body);
    line.forget();
    line.silence(false);
}

fn take_long_to_commit(postgres: &Postgres) {
    postgres.ask(
        "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER rests AFTER INSERT OR UPDATE ON rooms DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION rest()",
    );
}

fn is_committing(postgres: &Postgres) -> bool {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";
    postgres.ask(count).trim() != "0"
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left_for_the_one_that_took_over() {
    let (one, two) = (Redis::start(), Redis::start());
    two.ask(&format!("REPLICAOF 127.0.0.1 {}", one.port())).unwrap();
    until(|| async { two.ask("INFO replication").unwrap().contains("master_link_status:up") }).await;
    let postgres = Postgres::start();
    // One address for both, as a service name or a balancer gives it.
    let line = Proxy::to(&[&format!("127.0.0.1:{}", one.port()), &format!("127.0.0.1:{}", two.port())]);
    let node = App::with(&config(&format!("redis://{}", line.address()), &postgres.url(), 300, "")).await;
    let (room, mut ann, mut ben) = node.room_of_two().await;
    insist(&mut ann, &mut ben, 10_000).await;
    two.ask("REPLICAOF NO ONE").unwrap();
    one.ask(&format!("REPLICAOF 127.0.0.1 {}", two.port())).unwrap();
    insist(&mut ann, &mut ben, 20_000).await;
    until(|| async { ready(&node).await["live"] == "ok" }).await;
    assert_eq!(node.view(&room).await["playback"]["position_ms"], 20_000);
}

#[tokio::test]
async fn what_redis_does_not_allow_is_named_at_the_start_and_by_readyz() {
    let redis = Redis::start();
    for (name, rules, missing) in [
        ("mute", "+@all ~* resetchannels", "channel"),
        ("bare", "+@all -@scripting ~* &*", "eval"),
        ("reader", "+@all %R~* &*", "keys"),
    ] {
        redis.ask(&format!("ACL SETUSER {name} on >pw {rules}")).unwrap();
        let url = format!("redis://{name}:pw@127.0.0.1:{}", redis.port());
        let app = App::prepare(&format!("[live]\nstore = \"redis\"\n[live.redis]\nurl = \"{url}\"\n"));
        let refused = app.streamit(&["serve"]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(missing) && !said.contains(":pw@"), "{name}: {said}");
    }
    let shared = Nodes::with(1, 300, "").await;
    shared.redis.ask("REPLICAOF 127.0.0.1 1").unwrap();
    until(|| async {
        let said = ready(&shared.nodes[0]).await;
        said["live"] == "unavailable" && said["database"] == "ok" && said["causes"]["live"].is_string()
    })
    .await;
    shared.redis.ask("REPLICAOF NO ONE").unwrap();
    until(|| async { ready(&shared.nodes[0]).await == json!({ "database": "ok", "live": "ok" }) }).await;
    shared.postgres.ask("ALTER SYSTEM SET default_transaction_read_only = on");
    shared.postgres.ask("SELECT pg_reload_conf()");
    until(|| async {
        let said = ready(&shared.nodes[0]).await;
        said["causes"]["database"].as_str().is_some_and(|cause| cause.contains("read-only"))
    })
    .await;
}

#[tokio::test]
async fn rooms_that_are_closed_cost_the_others_nothing() {
    let shared = Nodes::with(1, 300, "").await;
    let node = &shared.nodes[0];
    let mut rooms = Vec::new();
    for _ in 0..60 {
        let room = node.room().await;
        let viewer = node.viewer(&room).await;
        rooms.push((room, viewer));
    }
    let told = node.metric("streamit_presence_told_total").await;
    for (room, viewer) in &mut rooms[..10] {
        node.request(Method::DELETE, &path(&room.code), Some(&room.key), None).await;
        viewer.is_closed().await;
    }
    let told = node.metric("streamit_presence_told_total").await - told;
    assert!(told < 180, "{told} tellings for ten closed rooms of sixty");
}

async fn public_room(node: &App) -> Room {
    node.room_with(json!({ "visibility": "public", "source": clock() })).await
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn path(code: &str) -> String {
    format!("/api/v1/rooms/{code}")
}

/// Its people are on no other node, and no heartbeat brings it back: who is left has to find it in the database.
#[tokio::test]
async fn a_room_whose_node_dies_with_redis_is_found_by_the_others_and_has_its_grace() {
    let mut shared = Nodes::with(2, 2, "").await;
    let room = shared.nodes[0].room().await;
    let _ann = shared.nodes[0].host(&room).await;
    until(|| async { shared.nodes[1].view(&room).await["presence"]["host"] == "connected" }).await;
    let mut dead = shared.nodes.remove(0);
    shared.redis.kill();
    dead.kill();
    shared.redis.launch();
    let node = &shared.nodes[0];
    until(|| async { node.log().contains("the live store may have forgotten rooms; all are made sure of") }).await;
    // Nobody asks for it: that would wake it.
    let open = || shared.postgres.ask("SELECT count(*) FROM rooms WHERE closed_at_ms IS NULL");
    until(|| async { open().trim() == "0" }).await;
    let all = node.log().matches("all are made sure of").count();
    assert_eq!(all, 1, "the database is asked once");
}

/// Whoever sets the clock of Redis's machine locks nobody out, closes nobody's room, and moves nobody who rests.
#[tokio::test]
async fn a_redis_whose_clock_is_set_loses_no_room_and_no_order() {
    let (redis, postgres) = (Redis::with_a_clock(&[]), Postgres::start());
    let config = config(&redis.url(), &postgres.url(), 60, "");
    let [a, b] = [App::with(&config).await, App::with(&config).await];
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    // A room without its host, whose time is not over yet.
    let left = a.room().await;
    drop(a.host(&left).await);
    let mut cem = b.viewer(&left).await;
    cem.sees(|s| s["presence"]["host"] == "away").await;
    ann.seek(40_000).await;
    let before = ben.sees_position(40_000).await;

    redis.set_clock(3600);
    ann.seek(50_000).await;
    let ahead = ben.sees_position(50_000).await;
    assert!(ahead["playback"]["at_ms"].as_i64() > before["playback"]["at_ms"].as_i64().map(|ms| ms + 3_500_000));
    // Rooms that are due are looked for each second, and heartbeats come every four.
    let calls = || async { b.metric("streamit_redis_round_trip_seconds_count").await };
    let enough = calls().await + 4;
    until(|| async { calls().await > enough }).await;
    let (_, heard) = cem.ping().await;
    assert!(!heard.iter().any(|message| message["type"] == "CLOSED"), "{heard:?}");
    for room in [&room, &left] {
        assert_eq!(a.get(&path(&room.code)).await.status.as_u16(), 200);
    }

    redis.set_clock(-60);
    for position_ms in [60_000, 70_000] {
        ann.seek(position_ms).await;
        let heard = ann.outcome().await;
        assert!(!heard.iter().any(|message| message["type"] == "ERROR"), "{heard:?}");
        ben.sees_position(position_ms).await;
    }
    ann.play().await;
    ben.sees(|s| s["playback"]["is_playing"] == true && s["playback"]["position_ms"] == 70_000).await;
    let mut late = a.viewer(&room).await;
    late.sees(|s| s["presence"]["viewers"] == 3 && s["presence"]["host"] == "connected").await;

    // A film that plays goes on from where it is: for an order, for whoever comes, and for another node.
    let mut last = (position(&mut ben).await, Instant::now());
    for ahead_secs in [-180, -300] {
        redis.set_clock(ahead_secs);
        ann.send(json!({ "type": if ahead_secs == -180 { "PAUSE" } else { "PLAY" } })).await;
        ben.sees(|s| s["playback"]["is_playing"] == (ahead_secs != -180)).await;
        let mut come = b.viewer(&room).await;
        for member in [&mut ann, &mut ben, &mut come, &mut late] {
            let now = position(member).await;
            let passed = i64::try_from(last.1.elapsed().as_millis()).unwrap();
            assert!((last.0 - 1_000..last.0 + passed + 1_000).contains(&now), "{now} after {} and {passed} ms", last.0);
            last = (now.max(last.0), Instant::now());
        }
    }
}

/// In a cluster neither a node's clock nor that of one of its servers locks anybody out, closes a room or moves a film.
#[tokio::test]
async fn in_a_cluster_one_clock_that_is_wrong_is_nobodys_trouble() {
    let cluster = tokio::task::spawn_blocking(Cluster::with_clocks).await.unwrap();
    let (postgres, clock) = (Postgres::start(), Clock::new());
    let urls = format!("[\"{}\"]", cluster.urls().join("\", \""));
    let config = config("", &postgres.url(), 30, "[limits]\nmessages_per_sec = 1000\nmessages_burst = 1000")
        .replace("url = \"\"", &format!("url = {urls}"));
    let mut a = App::prepare(&config);
    clock.environment().iter().for_each(|(name, value)| a.set_env(name, value));
    a.launch().await;
    let b = App::with(&config).await;
    let room = a.room().await;
    let mut ann = a.host(&room).await;
    let mut ben = b.viewer(&room).await;
    insist(&mut ann, &mut ben, 100_000).await;
    ann.play().await;
    ben.sees(|s| s["playback"]["is_playing"] == true && s["presence"]["viewers"] == 2).await;
    let mut last = (position(&mut ben).await, Instant::now());
    let mut goes_on = async |ann: &mut Member, ben: &mut Member, what: &str| {
        for order in [json!({ "type": "PAUSE" }), json!({ "type": "PLAY" })] {
            ann.send(order).await;
            let heard = ann.outcome().await;
            assert!(!heard.iter().any(|message| message["type"] == "ERROR"), "{what}: {heard:?}");
        }
        for member in [ann, ben] {
            let now = position(member).await;
            let passed = i64::try_from(last.1.elapsed().as_millis()).unwrap();
            assert!(
                (last.0 - 1_000..last.0 + passed + 1_000).contains(&now),
                "{what}: {now} after {last:?}, {passed} ms"
            );
            last = (now.max(last.0), Instant::now());
        }
    };
    for ahead_secs in [60, -60] {
        // A room without its host, whose time is not over yet; its owner and somebody else look for it each second.
        let left = b.room().await;
        clock.set(ahead_secs);
        goes_on(&mut ann, &mut ben, "a node's clock was set").await;
        let calls = || async { a.metric("streamit_redis_round_trip_seconds_count").await };
        let enough = calls().await + 4;
        until(|| async { calls().await > enough }).await;
        for room in [&room, &left] {
            assert_eq!(b.view(room).await["code"], room.code, "a node's clock was set");
        }
        goes_on(&mut ann, &mut ben, "a node's clock was set").await;
    }
    clock.set(0);
    let master = cluster.owner(&format!("streamit:{{{}}}:state", room.code));
    for ahead_secs in [2, 3600, 0, -60] {
        cluster.node(master).set_clock(ahead_secs);
        goes_on(&mut ann, &mut ben, "a server's clock was set").await;
    }
    assert_eq!(ann.sync().await["presence"], json!({ "viewers": 2, "host": "connected", "host_away_until_ms": null }));
}

/// Where a room's film is now, as that member learns it.
async fn position(member: &mut Member) -> i64 {
    let state = member.sync().await;
    let (pong, _) = member.ping().await;
    let number = |value: &Value| value.as_i64().unwrap();
    let playback = &state["playback"];
    let passed = number(&pong["server_ms"]) - number(&playback["at_ms"]);
    number(&playback["position_ms"]) + if playback["is_playing"] == true { passed } else { 0 }
}
