//! The live state of all nodes, in Redis: the same rules as `memory`, one Lua script per verb, one round trip each.
//!
//! All keys of a room share a slot. Each script answers with the room's frame, and publishes it if it is new; nodes hand
//! the bytes on without looking further than the header.

mod link;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use redis::{RedisResult, Script, ScriptInvocation, ToRedisArgs};
use tokio::{sync::mpsc, time::timeout};
use tracing::debug;

use self::link::{DEADLINE, Event, Line, Link};
use super::{Applied, Clock, Counts, Frame, LIST_KEPT, LIST_LENGTH, LiveError};
use crate::{
    config,
    playback::{Command, Hold, Order},
    protocol,
    rooms::{Room, RoomCode, Visibility, hex, random_bytes},
    telemetry::Metrics,
    timeline::Seen,
};

/// A node that has not been heard of for so long has no members any more. With the longest pause between two heartbeats
/// of somebody who looks (4.8 s) on top, a killed node is out of the count within 20 s.
const LEASE: Duration = Duration::from_secs(14);

/// An order that reaches Redis later than this after it was given is not carried out.
const ORDER_EXPIRES: Duration = Duration::from_millis(800);

/// Rooms looked through per sweep: the rest has its turn a second later.
const SWEEP_BATCH: usize = 100;

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("redis/common.lua"), include_str!(concat!("redis/", $name, ".lua"))))
    };
}

pub(super) struct Redis {
    link: Arc<Link>,
    prefix: String,
    /// This run of this node; a restarted node is another one.
    node: String,
    host_grace: Duration,
    scripts: Scripts,
    store_clock: StoreClock,
    metrics: Arc<Metrics>,
    /// What tests use in place of Redis's clock.
    test_clock: Option<Clock>,
}

struct Scripts {
    open: Script,
    apply: Script,
    presence: Script,
    read: Script,
    close: Script,
}

/// What a script answers: status, clock, frame, away_until, viewers, nodes reaped.
type Reply = (i64, i64, Vec<u8>, String, u64, u64);

/// Something that happened elsewhere.
pub(super) enum News {
    Frame(RoomCode, Frame),
    /// A line was down: everything has to be read again.
    Reread,
}

/// Redis's clock, as last heard.
struct StoreClock {
    epoch: Instant,
    offset_ms: AtomicI64,
}

impl StoreClock {
    fn now_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed) + self.elapsed_ms()
    }

    /// `clock_ms` was read half a round trip ago.
    fn heard(&self, clock_ms: i64, round_trip: Duration) {
        let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or_default();
        self.offset_ms.store(clock_ms + half - self.elapsed_ms(), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Redis {
    /// Connects, and hands out what happens elsewhere from then on.
    pub(super) async fn connect(
        config: &config::Redis,
        host_grace: Duration,
        test_clock: Option<Clock>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Redis, mpsc::UnboundedReceiver<News>)> {
        use anyhow::Context;
        let (link, events) =
            Link::new(&config.url.0, metrics.clone()).context("live.redis.url is not an address of a Redis server")?;
        link.connect().await.with_context(|| {
            format!("cannot reach Redis at {}; is it running? live.redis.url sets it", config.shown())
        })?;
        let redis = Redis {
            link,
            prefix: config.prefix.clone(),
            node: hex(&random_bytes::<8>()),
            host_grace,
            scripts: Scripts {
                open: script!("open"),
                apply: script!("apply"),
                presence: script!("presence"),
                read: script!("read"),
                close: script!("close"),
            },
            store_clock: StoreClock { epoch: Instant::now(), offset_ms: AtomicI64::new(0) },
            metrics,
            test_clock,
        };
        let mut line = redis.line().context("the line to Redis went down at once")?;
        let (seconds, micros): (i64, i64) = redis::cmd("TIME")
            .query_async(&mut line)
            .await
            .context("Redis does not tell its time; StreamIt needs Redis 7 or Valkey")?;
        redis.store_clock.heard(seconds * 1000 + micros / 1000, Duration::ZERO);
        let news = redis.news(events);
        Ok((redis, news))
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.test_clock.as_ref().map_or_else(|| self.store_clock.now_ms(), |clock| clock())
    }

    /// Whether commands can be given at this moment.
    pub(super) fn is_up(&self) -> bool {
        self.link.commands().is_some()
    }

    /// Seeds a room, or takes over its newer stored half. `seen` is what this node last saw of that half.
    pub(super) async fn open(&self, room: &Room, seen: Option<&Seen>) -> Result<Frame, LiveError> {
        let mut call = self.call(&self.scripts.open, room.code);
        call.arg(protocol::room_json(room.title.as_deref(), &room.source))
            .arg(room.revision)
            .arg(room.key_generation)
            .arg(millis(self.host_grace));
        if let Some(seen) = seen {
            remembering(&mut call, seen);
        }
        let reply = self.run(&call).await?;
        self.index(room, &reply).await?;
        frame(reply.2)
    }

    /// Offers what somebody last saw of a room to one that is here already.
    pub(super) async fn offer(&self, room: &Room, seen: &Seen) -> Result<Frame, LiveError> {
        let mut call = self.call(&self.scripts.open, room.code);
        // Without the stored half it is an offer, and the rest of that half says nothing.
        call.arg("").arg(room.revision).arg("").arg("");
        remembering(&mut call, seen);
        let reply = self.run(&call).await?;
        if reply.0 < 0 { Err(refusal(reply.0)) } else { frame(reply.2) }
    }

    pub(super) async fn apply(&self, code: RoomCode, key_generation: i64, order: &Order) -> Result<Applied, LiveError> {
        // What the last argument means is the command's own.
        let (op, position_ms, more) = match order.command {
            Command::Play { position_ms } => ("PLAY", position_ms, ""),
            Command::Pause { position_ms, hold } => ("PAUSE", position_ms, hold.map_or("", Hold::word)),
            Command::Seek { position_ms } => ("SEEK", Some(position_ms), ""),
            Command::Progress { position_ms, has_ended } => {
                ("PROGRESS", Some(position_ms), if has_ended { "ended" } else { "" })
            }
        };
        let mut call = self.call(&self.scripts.apply, code);
        call.arg(key_generation).arg(self.now_ms() + millis(ORDER_EXPIRES)).arg(op);
        for number in [position_ms, order.at_ms, order.version] {
            optional(&mut call, number);
        }
        call.arg(more);
        let reply = self.run(&call).await?;
        match reply.0 {
            2 => Ok(Applied::Stale),
            1 => frame(reply.2).map(Applied::Changed),
            0 => Ok(Applied::Nothing),
            status => Err(refusal(status)),
        }
    }

    pub(super) async fn presence(&self, room: &Room, counts: Counts) -> Result<Frame, LiveError> {
        let mut call = self.call(&self.scripts.presence, room.code);
        call.arg(&self.node).arg(counts.viewers).arg(counts.hosts).arg(millis(LEASE)).arg(millis(self.host_grace));
        let reply = self.run(&call).await?;
        if reply.0 < 0 {
            return Err(refusal(reply.0));
        }
        if reply.5 > 0 {
            self.metrics.leases_reaped.inc_by(reply.5);
            debug!(room.code = %room.code, nodes = reply.5, "nodes that went silent were taken out of the count");
        }
        self.index(room, &reply).await?;
        frame(reply.2)
    }

    pub(super) async fn read(&self, code: RoomCode) -> Result<Frame, LiveError> {
        let reply = self.run(&self.call(&self.scripts.read, code)).await?;
        if reply.0 < 0 { Err(refusal(reply.0)) } else { frame(reply.2) }
    }

    pub(super) async fn close(&self, code: RoomCode, text: &Utf8Bytes) -> Result<Option<Frame>, LiveError> {
        let mut call = self.call(&self.scripts.close, code);
        call.arg(text.as_str());
        let reply = self.run(&call).await?;
        let name = code.as_str();
        self.command::<i64>(redis::cmd("ZREM").arg(self.expiring()).arg(name)).await?;
        self.command::<i64>(redis::cmd("ZREM").arg(self.listed_key()).arg(name)).await?;
        if reply.0 < 0 { Ok(None) } else { frame(reply.2).map(Some) }
    }

    /// Listens to a room from now on; confirmed when this returns.
    pub(super) async fn subscribe(&self, code: RoomCode) -> Result<(), LiveError> {
        self.link.subscribe(self.channel(code)).await.map_err(|error| self.unavailable(&error))
    }

    pub(super) async fn unsubscribe(&self, code: RoomCode) {
        self.link.unsubscribe(&self.channel(code)).await;
    }

    /// Whether every change of the room arrives here by itself.
    pub(super) fn follows(&self, code: RoomCode) -> bool {
        self.link.is_listening() && self.link.wants(&self.channel(code))
    }

    /// Remembers open rooms, so that one to which nobody comes back expires like any other.
    pub(super) async fn remember(&self, codes: &[RoomCode]) -> Result<(), LiveError> {
        let expires = self.now_ms() + millis(self.host_grace);
        for chunk in codes.chunks(1000) {
            let mut command = redis::cmd("ZADD");
            command.arg(self.expiring()).arg("NX");
            for code in chunk {
                command.arg(expires).arg(code.as_str());
            }
            self.command::<i64>(&command).await?;
        }
        Ok(())
    }

    /// Rooms whose time is over. Of all nodes that look, one gets each.
    pub(super) async fn claim_expired(&self) -> Result<Vec<RoomCode>, LiveError> {
        let mut due = redis::cmd("ZRANGEBYSCORE");
        due.arg(self.expiring()).arg("-inf").arg(self.now_ms()).arg("LIMIT").arg(0).arg(SWEEP_BATCH);
        let due: Vec<String> = self.command(&due).await?;
        let mut claimed = Vec::new();
        for code in due.iter().filter_map(|code| code.parse::<RoomCode>().ok()) {
            // Looking reaps the silent, so that a killed node does not keep its host connected for ever.
            let mut look = self.call(&self.scripts.presence, code);
            look.arg("").arg(0).arg(0).arg(millis(LEASE)).arg(millis(self.host_grace));
            let reply = self.run(&look).await?;
            let closes_at = match (reply.0, reply.3.parse::<i64>()) {
                (status, _) if status < 0 => reply.1,
                (_, Ok(away_until)) => away_until,
                (_, Err(_)) => reply.1 + millis(LEASE + self.host_grace),
            };
            if closes_at > reply.1 {
                let later =
                    redis::cmd("ZADD").arg(self.expiring()).arg("XX").arg(closes_at).arg(code.as_str()).to_owned();
                self.command::<i64>(&later).await?;
                continue;
            }
            let won: i64 = self.command(redis::cmd("ZREM").arg(self.expiring()).arg(code.as_str())).await?;
            if won == 1 {
                claimed.push(code);
            }
        }
        Ok(claimed)
    }

    pub(super) async fn return_expired(&self, code: RoomCode, delay_ms: i64) -> Result<(), LiveError> {
        let due = self.now_ms() + delay_ms;
        self.command::<i64>(redis::cmd("ZADD").arg(self.expiring()).arg(due).arg(code.as_str())).await.map(drop)
    }

    /// Public rooms whose host is connected, most viewers first.
    pub(super) async fn listed(&self) -> Result<Vec<RoomCode>, LiveError> {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(self.listed_key()).arg(0).arg(LIST_LENGTH - 1).arg("WITHSCORES");
        let mut rooms: Vec<(String, f64)> = self.command(&command).await?;
        rooms.sort_by(|(a, a_viewers), (b, b_viewers)| b_viewers.total_cmp(a_viewers).then_with(|| a.cmp(b)));
        Ok(rooms.into_iter().filter_map(|(code, _)| code.parse().ok()).collect())
    }

    /// Keeps a list for those who turn its pages, on whichever node.
    pub(super) async fn keep_list(&self, id: &str, list: &[RoomCode]) -> Result<(), LiveError> {
        let codes: Vec<_> = list.iter().map(RoomCode::as_str).collect();
        let mut command = redis::cmd("SET");
        command.arg(self.list_key(id)).arg(codes.join(" ")).arg("EX").arg(LIST_KEPT.as_secs());
        self.command::<()>(&command).await
    }

    pub(super) async fn kept_list(&self, id: &str) -> Result<Option<Vec<RoomCode>>, LiveError> {
        let list: Option<String> = self.command(redis::cmd("GET").arg(self.list_key(id))).await?;
        Ok(list.map(|codes| codes.split(' ').filter_map(|code| code.parse().ok()).collect()))
    }

    /// Keeps the two sets that find rooms without knowing their codes. They are hints: whoever reads one looks at the
    /// room itself. While a host is connected the entry lies beyond the lease, and each heartbeat moves it on; when the
    /// last node dies, it stays where it was, and somebody looks.
    async fn index(&self, room: &Room, reply: &Reply) -> Result<(), LiveError> {
        let code = room.code.as_str();
        let away_until = reply.3.parse::<i64>().ok();
        let due = away_until.unwrap_or(reply.1 + millis(LEASE + self.host_grace));
        let expiring = redis::cmd("ZADD").arg(self.expiring()).arg(due).arg(code).to_owned();
        let listed = match (room.visibility, away_until) {
            (Visibility::Unlisted, _) => None,
            (Visibility::Public, None) => {
                Some(redis::cmd("ZADD").arg(self.listed_key()).arg(reply.4).arg(code).to_owned())
            }
            (Visibility::Public, Some(_)) => Some(redis::cmd("ZREM").arg(self.listed_key()).arg(code).to_owned()),
        };
        let listing = async {
            match &listed {
                Some(command) => self.command::<i64>(command).await.map(drop),
                None => Ok(()),
            }
        };
        let (expiring, listing) = tokio::join!(self.command::<i64>(&expiring), listing);
        expiring.map(drop).and(listing)
    }

    fn call<'s>(&self, script: &'s Script, code: RoomCode) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        for part in ["state", "nodes", "counts", "feed"] {
            call.key(format!("{}:{{{code}}}:{part}", self.prefix));
        }
        optional(&mut call, self.test_clock.as_ref().map(|clock| clock()));
        call
    }

    /// One round trip. The clock comes back with every answer.
    async fn run(&self, call: &ScriptInvocation<'_>) -> Result<Reply, LiveError> {
        let mut line = self.line()?;
        let sent = Instant::now();
        let reply: Reply = self.in_time(call.invoke_async(&mut line)).await?;
        let round_trip = sent.elapsed();
        self.metrics.redis_round_trip.observe(round_trip.as_secs_f64());
        self.store_clock.heard(reply.1, round_trip);
        Ok(reply)
    }

    async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LiveError> {
        let mut line = self.line()?;
        self.in_time(command.query_async(&mut line)).await
    }

    /// The answer, if it comes before the deadline; otherwise somebody has to look at the line.
    async fn in_time<T>(&self, answer: impl Future<Output = RedisResult<T>>) -> Result<T, LiveError> {
        match timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| self.unavailable(&error)),
            Err(_) => {
                self.link.doubt();
                Err(LiveError::Unavailable("no answer in time".into()))
            }
        }
    }

    fn line(&self) -> Result<Line, LiveError> {
        self.link.commands().ok_or_else(|| LiveError::Unavailable("not connected".into()))
    }

    fn unavailable(&self, error: &redis::RedisError) -> LiveError {
        self.link.doubt();
        LiveError::Unavailable(error.to_string())
    }

    fn channel(&self, code: RoomCode) -> Bytes {
        format!("{}:{{{code}}}:feed", self.prefix).into()
    }

    fn expiring(&self) -> String {
        format!("{}:expiring", self.prefix)
    }

    fn list_key(&self, id: &str) -> String {
        format!("{}:list:{id}", self.prefix)
    }

    fn listed_key(&self) -> String {
        format!("{}:listed", self.prefix)
    }

    /// Turns what the link hears into what the rooms need to know.
    fn news(&self, mut events: mpsc::UnboundedReceiver<Event>) -> mpsc::UnboundedReceiver<News> {
        let (sender, news) = mpsc::unbounded_channel();
        let start = format!("{}:{{", self.prefix);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let item = match event {
                    Event::Reread => News::Reread,
                    Event::Message { channel, payload } => {
                        let code = std::str::from_utf8(&channel).ok();
                        let code =
                            code.and_then(|channel| channel.strip_prefix(&start)?.split('}').next()?.parse().ok());
                        match (code, frame(payload)) {
                            (Some(code), Ok(frame)) => News::Frame(code, frame),
                            _ => continue,
                        }
                    }
                };
                if sender.send(item).is_err() {
                    return;
                }
            }
        });
        news
    }
}

fn optional<T: ToRedisArgs>(call: &mut ScriptInvocation<'_>, value: Option<T>) {
    match value {
        Some(value) => drop(call.arg(value)),
        None => drop(call.arg("")),
    }
}

/// What somebody saw, as open.lua reads it.
fn remembering(call: &mut ScriptInvocation<'_>, Seen { version, playback }: &Seen) {
    call.arg(version).arg(i64::from(playback.is_playing)).arg(playback.position_ms).arg(playback.at_ms);
    call.arg(playback.hold.map_or("", Hold::word));
}

fn refusal(status: i64) -> LiveError {
    match status {
        -1 => LiveError::UnknownRoom,
        -2 => LiveError::KeyReplaced,
        _ => LiveError::Unavailable("the order came too late".into()),
    }
}

/// `version revision S|L text`, as the scripts publish it. The text stays where it is.
fn frame(payload: Vec<u8>) -> Result<Frame, LiveError> {
    let payload = Bytes::from(payload);
    let read = || {
        let mut at = 0;
        let mut word = || {
            let end = at + payload[at..].iter().position(|b| *b == b' ')?;
            let word = std::str::from_utf8(&payload[at..end]).ok()?;
            at = end + 1;
            Some((word, at))
        };
        let version = word()?.0.parse().ok()?;
        let revision = word()?.0.parse().ok()?;
        let (kind, start) = word()?;
        let text = Utf8Bytes::try_from(payload.slice(start..)).ok()?;
        Some(Frame { version, revision, text, is_last: kind == "L" })
    };
    read().ok_or_else(|| LiveError::Unavailable("Redis answered with something that is no frame".into()))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_header_and_its_text() {
        let frame = frame(b"12 3 L {\"type\":\"CLOSED\"}".to_vec()).expect("a frame");
        assert_eq!((frame.version, frame.revision, frame.is_last), (12, 3, true));
        assert_eq!(frame.text.as_str(), "{\"type\":\"CLOSED\"}");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bad in ["", "12", "12 3", "x 3 S {}", "12 3"] {
            assert!(super::frame(bad.as_bytes().to_vec()).is_err(), "{bad}");
        }
    }
}
