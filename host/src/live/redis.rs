//! The live state of all nodes, in Redis: the same rules as `memory`, one Lua script per verb, one round trip each.
//!
//! All keys of a room share a slot. Each script answers with the room's frame, and publishes it if it is new; nodes hand
//! the bytes on without looking further than the header.

mod channels;
mod clock;
mod cluster;
#[cfg(test)]
mod fake;
mod index;
mod link;
mod script;
mod server;
mod view;

use std::{
    collections::HashSet,
    fmt::Display,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind};
use tokio::time::timeout;
use tracing::debug;

use self::{
    clock::StoreClock,
    index::DUE_SHARDS,
    link::{Event, Link},
    script::{Call, Script, Scripts},
    server::DEADLINE,
};
use super::{Applied, Clock, Counted, Counts, Expiry, Frame, LiveError};
use crate::{
    config,
    playback::{Command, Hold, MAX_POSITION_MS, Order},
    protocol::{self, MemberId},
    rooms::{Room, RoomCode, hex, random_bytes},
    telemetry::{self, Metrics},
    timeline::Seen,
};

/// A node that has not been heard of for so long has no members any more. With the longest pause between two heartbeats
/// of somebody who looks (4.8 s) on top, a killed node is out of the count within 20 s.
const LEASE: Duration = Duration::from_secs(14);

/// Whoever gave an order has been told by then that it failed: it is not carried out later.
const ORDER_EXPIRES: Duration = DEADLINE;

pub(super) struct Redis {
    link: Link,
    prefix: String,
    /// This run of this node; a restarted node is another one.
    node: String,
    host_grace: Duration,
    scripts: Scripts,
    store_clock: StoreClock,
    metrics: Arc<Metrics>,
    /// In place of any other, in tests.
    clock: Option<Clock>,
    is_cluster: bool,
    /// How far the sets of due rooms were looked through.
    looked_through: [AtomicUsize; DUE_SHARDS],
    /// Rooms that the sets do not find as they should, because a server that has one did not answer.
    unindexed: Mutex<HashSet<RoomCode>>,
}

/// What a script answers: status, clock, frame, away_until, viewers, nodes reaped, when the first lease ends.
type Reply = (i64, i64, Vec<u8>, String, u64, u64, i64);

/// Something that happened elsewhere.
pub(super) enum News {
    Frame(RoomCode, Frame),
    /// Who was this member is on another node now.
    Moved(RoomCode, MemberId),
    /// Something may have been missed: the room has to be read again.
    Missed(RoomCode),
}

/// What is published of somebody who moved, before their id: older nodes take it for a state that is older than any.
const MOVED: &str = "0 0 M ";

impl Redis {
    /// Connects; `hear` is told what happens elsewhere from then on, and must not wait.
    pub(super) async fn connect(
        config: &config::Redis,
        host_grace: Duration,
        clock: Option<Clock>,
        metrics: Arc<Metrics>,
        hear: impl Fn(News) + Send + Sync + 'static,
    ) -> anyhow::Result<Redis> {
        use anyhow::Context;
        let scripts = Scripts::new(host_grace);
        let news = news(&config.prefix, hear);
        let link = Link::connect(&config.url, &config.prefix, scripts.loading(), Arc::new(news), metrics.clone());
        let link = link.await.map_err(|error| {
            let shown = config.shown();
            let words = match error.code() {
                Some("CROSSSLOT" | "MOVED") => {
                    format!("Redis at {shown} is a cluster; live.redis.url has to be a list then, also of one")
                }
                // It answered, and refused.
                Some(_) => format!(
                    "cannot use Redis at {shown}; is it Redis 7 or Valkey, and may its user write, publish, subscribe and run \
                     scripts under the prefix `{}`? live.redis.url sets it",
                    config.prefix
                ),
                None => format!(
                    "cannot reach Redis at {shown}; is it running, and is it redis:// or, with TLS, rediss://? live.redis.url \
                     sets it"
                ),
            };
            anyhow::Error::new(error).context(words)
        })?;
        let redis = Redis {
            link,
            prefix: config.prefix.clone(),
            node: hex(&random_bytes::<8>()),
            host_grace,
            scripts,
            store_clock: StoreClock::default(),
            metrics,
            clock,
            is_cluster: config.url.is_cluster(),
            looked_through: Default::default(),
            unindexed: Mutex::default(),
        };
        if !redis.is_cluster {
            // For its clock.
            redis.run(&redis.call(&redis.scripts.read, "probe")).await.context("Redis does not run scripts")?;
        }
        Ok(redis)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.told_ms().unwrap_or_else(|| self.store_clock.now_ms())
    }

    /// The time that scripts are told, where they do not go by their server's: in a cluster each room would go by another, and
    /// nobody would know which a PONG tells.
    fn told_ms(&self) -> Option<i64> {
        match &self.clock {
            Some(clock) => Some(clock()),
            None if self.is_cluster => Some(self.link.now_ms().unwrap_or_else(|| self.store_clock.now_ms())),
            None => None,
        }
    }

    /// Whether commands can be given at this moment.
    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Whether everything can be done that will be: says what cannot.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.link.check().await
    }

    /// Seeds a room, or takes over its newer stored half, whose source starts at `start_ms`. `seen` is what this node last
    /// saw of that half.
    pub(super) async fn open(&self, room: &Room, seen: Option<&Seen>, start_ms: i64) -> Result<Frame, LiveError> {
        let stored = protocol::room_json(room.title.as_deref(), &room.source);
        let reply = self.run_in_time(room.code, |expires| {
            let mut call = self.call(&self.scripts.open, room.code);
            call.arg(&stored).arg(room.revision).arg(millis(self.host_grace)).arg(expires);
            call.arg(start_ms.clamp(0, MAX_POSITION_MS));
            if let Some(seen) = seen {
                remembering(&mut call, seen);
            }
            call
        });
        let reply = reply.await?;
        if reply.0 < 0 {
            return Err(refusal(reply.0));
        }
        self.index(room, &reply).await;
        frame(reply.2)
    }

    /// Offers what somebody last saw of a room to one that is here already.
    pub(super) async fn offer(&self, room: &Room, seen: &Seen) -> Result<Frame, LiveError> {
        let reply = self.run_in_time(room.code, |expires| {
            let mut call = self.call(&self.scripts.open, room.code);
            // Without the stored half it is an offer, and the rest of that half says nothing.
            call.arg("").arg(room.revision).arg("").arg(expires).arg("");
            remembering(&mut call, seen);
            call
        });
        let reply = reply.await?;
        if reply.0 < 0 { Err(refusal(reply.0)) } else { frame(reply.2) }
    }

    pub(super) async fn apply(&self, code: RoomCode, order: &Order) -> Result<Applied, LiveError> {
        // What the last argument means is the command's own.
        let (op, position_ms, more) = match order.command {
            Command::Play { position_ms } => ("PLAY", position_ms, ""),
            Command::Pause { position_ms, hold } => ("PAUSE", position_ms, hold.map_or("", Hold::word)),
            Command::Seek { position_ms } => ("SEEK", Some(position_ms), ""),
            Command::Progress { position_ms, has_ended } => {
                ("PROGRESS", Some(position_ms), if has_ended { "ended" } else { "" })
            }
        };
        let reply = self.run_in_time(code, |expires| {
            let mut call = self.call(&self.scripts.apply, code);
            call.arg(expires).arg(op);
            for number in [position_ms, order.at_ms, order.version] {
                call.optional(number);
            }
            call.arg(more);
            call
        });
        let reply = reply.await?;
        match reply.0 {
            2 => Ok(Applied::Stale),
            CHANGED => frame(reply.2).map(Applied::Changed),
            UNCHANGED => Ok(Applied::Nothing),
            status => Err(refusal(status)),
        }
    }

    pub(super) async fn presence(&self, room: &Room, counts: Counts) -> Result<Frame, LiveError> {
        let reply = self.tell(room.code, Some(counts), "").await?;
        match reply.0 {
            CHANGED => self.index(room, &reply).await,
            // The sets that find the room say so already, or should.
            UNCHANGED if self.is_index_due(room.code) => self.index(room, &reply).await,
            UNCHANGED | CLOSED => {}
            status => return Err(refusal(status)),
        }
        frame(reply.2)
    }

    /// Says how many of this node are in a room, or only looks; and has it closed if its time is over and there is a text
    /// to close it with.
    async fn tell(&self, code: RoomCode, counts: Option<Counts>, closing: &str) -> Result<Reply, LiveError> {
        let mut call = self.call(&self.scripts.presence, code);
        let node = if counts.is_some() { self.node.as_str() } else { "" };
        let Counts { viewers, hosts } = counts.unwrap_or_default();
        call.arg(node).arg(viewers).arg(hosts).arg(millis(LEASE)).arg(millis(self.host_grace)).arg(closing);
        let reply = self.run(&call).await?;
        if reply.5 > 0 {
            self.metrics.leases_reaped.inc_by(reply.5);
            debug!(room = %telemetry::alias(code), nodes = reply.5, "nodes that went silent were taken out of the count");
        }
        Ok(reply)
    }

    /// Whether Redis would take a change of a room. Nothing was asked for that could be carried out later.
    pub(super) async fn takes(&self, code: RoomCode) -> Result<(), LiveError> {
        match self.tell(code, None, "").await {
            Ok(reply) if reply.0 == CLOSED => Err(LiveError::Closed),
            Err(LiveError::Unanswered) => Err(LiveError::Unavailable("no answer in time".into())),
            told => told.map(drop),
        }
    }

    pub(super) async fn read(&self, code: RoomCode) -> Result<Frame, LiveError> {
        let reply = self.run(&self.call(&self.scripts.read, code)).await?;
        if reply.0 < 0 { Err(refusal(reply.0)) } else { frame(reply.2) }
    }

    /// Closes a room for good; answers its last frame.
    pub(super) async fn close(&self, code: RoomCode, text: &Utf8Bytes) -> Result<Frame, LiveError> {
        let reply = self.run_in_time(code, |expires| {
            let mut call = self.call(&self.scripts.close, code);
            call.arg(text.as_str()).arg(expires);
            call
        });
        let reply = reply.await?;
        if reply.0 == LATE { Err(refusal(LATE)) } else { frame(reply.2) }
    }

    /// Tells every node that somebody is on this one who was `was` on another.
    pub(super) async fn moved_here(&self, code: RoomCode, was: MemberId) -> Result<(), LiveError> {
        let feed = self.key(code, "feed");
        let told = redis::cmd("SPUBLISH").arg(&feed).arg(format!("{MOVED}{was}")).to_owned();
        self.command::<i64>(&feed, &told).await.map(drop)
    }

    /// Listens to a room from now on; confirmed when this returns.
    pub(super) async fn subscribe(&self, code: RoomCode) -> Result<(), LiveError> {
        let channel = self.channel(code);
        self.link.subscribe(&channel).await.map_err(|error| self.unavailable(&channel, &error))
    }

    /// Listens to a room no longer.
    pub(super) fn unsubscribe(&self, code: RoomCode) {
        self.unindexed().remove(&code);
        self.link.unsubscribe(&self.channel(code));
    }

    /// Whether every change of the room arrives here by itself.
    pub(super) fn follows(&self, code: RoomCode) -> bool {
        self.link.hears(&self.channel(code))
    }

    /// Closes a room if its time is over, by one decision; otherwise sees to it that somebody looks again. The silent are
    /// taken out of the count on the way, so that a killed node does not keep its host connected for ever.
    pub(super) async fn expire(
        &self,
        code: RoomCode,
        here: Option<Counts>,
        text: &Utf8Bytes,
    ) -> Result<Expiry, LiveError> {
        let reply = self.tell(code, here, text).await?;
        match reply.0 {
            CLOSED => return frame(reply.2).map(Expiry::Closed),
            // They are about to bring it back.
            UNKNOWN if here.is_some() => {}
            _ => self.look_again(code, &reply).await?,
        }
        Ok(Expiry::Later)
    }

    /// A script about the room of that code.
    fn call<'s>(&self, script: &'s Script, code: impl Display) -> Call<'s> {
        let key = |part| self.key(&code, part);
        let (state, mut command) = (key("state"), redis::cmd("EVALSHA"));
        let told_ms = self.told_ms();
        let is_own_clock = told_ms.is_none();
        command.arg(&script.digest).arg(if is_own_clock { 5 } else { 4 });
        command.arg(&state).arg(key("nodes")).arg(key("counts")).arg(key("feed"));
        if is_own_clock {
            command.arg(format!("{}:clock", self.prefix));
        }
        let mut call = Call { script, key: state, command };
        call.optional(told_ms.or_else(|| self.store_clock.at_least_ms()));
        call
    }

    /// As [`Redis::run`], for what must not be carried out later: `call` is told until when it may be.
    async fn run_in_time<'s>(&'s self, code: RoomCode, call: impl Fn(&str) -> Call<'s>) -> Result<Reply, LiveError> {
        let run = async || self.run(&call(&self.expires(code))).await;
        let reply = run().await?;
        if reply.0 != LATE {
            return Ok(reply);
        }
        // An answer that came in time says that nothing was late: the clock has been set since it was last heard.
        if self.is_cluster {
            self.link.hear_clock(self.state_key(code).as_bytes()).await;
        }
        run().await
    }

    /// When whoever gives an order now has been told that it failed: by Redis's clock, or `@` that of the room's own server.
    fn expires(&self, code: RoomCode) -> String {
        let own = |clock_ms: i64| (clock_ms + millis(ORDER_EXPIRES)).to_string();
        match (&self.clock, self.is_cluster) {
            (None, false) => own(self.store_clock.at_least_ms().unwrap_or_else(|| self.now_ms())),
            (Some(clock), false) => own(clock()),
            (_, true) => {
                let clock_ms = self.link.clock_at_least_ms(self.state_key(code).as_bytes());
                clock_ms.map_or_else(String::new, |clock_ms| format!("@{}", own(clock_ms)))
            }
        }
    }

    /// One round trip. The clock comes back with every answer.
    async fn run(&self, call: &Call<'_>) -> Result<Reply, LiveError> {
        let sent = Instant::now();
        let answer = async {
            match self.link.ask(call.key.as_bytes(), &call.command).await {
                // It was started anew, or told to forget.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    self.link.ask(call.key.as_bytes(), &call.script.loading()).await?;
                    self.link.ask(call.key.as_bytes(), &call.command).await
                }
                answer => answer,
            }
        };
        let reply: Reply = self.in_time(call.key.as_bytes(), answer).await?;
        let round_trip = sent.elapsed();
        self.metrics.redis_round_trip.observe(round_trip.as_secs_f64());
        self.store_clock.heard(reply.1, round_trip);
        Ok(reply)
    }

    async fn command<T: FromRedisValue>(&self, key: &str, command: &Cmd) -> Result<T, LiveError> {
        self.in_time(key.as_bytes(), self.link.ask(key.as_bytes(), command)).await
    }

    /// The answer, if it comes before the deadline; otherwise somebody has to look at the line.
    async fn in_time<T: FromRedisValue>(
        &self,
        key: &[u8],
        answer: impl Future<Output = RedisResult<redis::Value>>,
    ) -> Result<T, LiveError> {
        match timeout(DEADLINE, answer).await {
            Ok(answer) => {
                let read = answer.and_then(|value| redis::from_redis_value(value).map_err(Into::into));
                read.map_err(|error| self.unavailable(key, &error))
            }
            Err(_) => {
                self.link.doubt(key, None);
                Err(LiveError::Unanswered)
            }
        }
    }

    fn unavailable(&self, key: &[u8], error: &redis::RedisError) -> LiveError {
        self.link.doubt(key, Some(error));
        match error.code() {
            // It was on its way when the line broke.
            None if !link::is_unsent(error) => LiveError::Unanswered,
            _ => LiveError::Unavailable(error.to_string()),
        }
    }

    /// All that Redis has of a room shares its tag, and so a slot.
    fn key(&self, code: impl Display, part: &str) -> String {
        format!("{}:{{{code}}}:{part}", self.prefix)
    }

    fn channel(&self, code: RoomCode) -> Bytes {
        self.key(code, "feed").into()
    }

    fn state_key(&self, code: RoomCode) -> String {
        self.key(code, "state")
    }
}

/// Turns what the link hears into what the rooms need to know.
fn news(prefix: &str, hear: impl Fn(News) + Send + Sync + 'static) -> impl Fn(Event) + Send + Sync + 'static {
    let start = format!("{prefix}:{{");
    move |event| {
        let code = |channel: &[u8]| {
            std::str::from_utf8(channel).ok()?.strip_prefix(&start)?.split('}').next()?.parse::<RoomCode>().ok()
        };
        match event {
            Event::Missed(channel) => code(&channel).map(News::Missed),
            Event::Message { channel, payload } => code(&channel).and_then(|code| {
                if let Some(id) = payload.strip_prefix(MOVED.as_bytes()) {
                    return Some(News::Moved(code, MemberId::parse(str::from_utf8(id).ok()?)?));
                }
                Some(News::Frame(code, frame(payload).ok()?))
            }),
        }
        .into_iter()
        .for_each(&hear);
    }
}

/// What somebody saw, as open.lua reads it.
fn remembering(call: &mut Call<'_>, Seen { version, playback }: &Seen) {
    call.arg(version).arg(i64::from(playback.is_playing)).arg(playback.position_ms).arg(playback.at_ms);
    call.arg(playback.hold.map_or("", Hold::word));
}

/// What a script made of it, if it was carried out.
const CHANGED: i64 = 1;
const UNCHANGED: i64 = 0;
/// Why it was not.
const UNKNOWN: i64 = -1;
const CLOSED: i64 = -2;
const LATE: i64 = -3;

fn refusal(status: i64) -> LiveError {
    match status {
        UNKNOWN => LiveError::UnknownRoom,
        CLOSED => LiveError::Closed,
        _ => LiveError::Unavailable("the order came too late".into()),
    }
}

/// `version revision kind text`, as the scripts publish it. The text stays where it is.
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
        let counted = match kind {
            "N" => Counted::Nobody,
            "R" => Counted::Fewer,
            _ => Counted::All,
        };
        Some(Frame { version, revision, text, is_last: kind == "L", counted })
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
