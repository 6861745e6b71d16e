//! One server of Redis: a connection for commands and one for subscriptions. Each is watched and rebuilt; while one is down
//! its users are told at once, and nothing said meanwhile is sent later.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, PushInfo, PushKind, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::{
    channels::{Channels, Step},
    clock::StoreClock,
    link::{Event, Hear, host, is_silence, unsent, within},
};
use crate::{rooms::random_share, telemetry::Metrics};

/// How long anything may take before Redis counts as away.
pub(super) const DEADLINE: Duration = Duration::from_millis(300);
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// A line that says nothing is asked this often whether it lives; the library itself never finds out.
pub(super) const PING_EVERY: Duration = Duration::from_secs(2);
const MISSED_ANSWERS: u32 = 2;

/// Between two tries to connect: short, since everyone waits; never the same, since every node tries; and longer while they
/// are in vain, whatever the reason.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(1);

/// A channel that was refused is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a connection has to do before it is used.
pub(super) type Trial = Arc<dyn Fn(MultiplexedConnection) -> BoxFuture<'static, RedisResult<()>> + Send + Sync>;

/// What all servers of a link have in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub hear: Hear,
    /// For a connection that commands go over.
    pub command_trial: Trial,
    /// For one that subscriptions go over.
    pub subscription_trial: Trial,
    /// Told whenever something here is not as it should be.
    pub doubted: Arc<Notify>,
    pub metrics: Arc<Metrics>,
}

/// A server as long as this lives.
pub(super) struct Server {
    lines: Arc<Lines>,
    _alive: DropGuard,
}

struct Lines {
    address: ConnectionInfo,
    terms: Terms,
    commands: RwLock<Option<MultiplexedConnection>>,
    /// Commands have been taken, or could not be, since this began.
    is_settled: AtomicBool,
    settled: Notify,
    /// Somebody saw a command fail.
    doubted: Notify,
    /// The address leads to a server that is not the one.
    is_wrong: AtomicBool,
    clock: StoreClock,
    channels: Mutex<Channels>,
    channels_changed: Notify,
    replaced: Notify,
}

/// What the subscriptions' connection tells besides messages.
enum Notice {
    Lost(Bytes),
    Down,
}

/// What the subscriptions have waited for.
enum Done {
    Answered(Bytes, Step, RedisResult<()>),
    Rested(Bytes),
}

impl Server {
    /// Connects, if there is no line yet, and keeps connected.
    pub(super) fn start(address: ConnectionInfo, first: Option<MultiplexedConnection>, terms: Terms) -> Server {
        terms.metrics.redis_connects.inc_by(u64::from(first.is_some()));
        let lines = Arc::new(Lines {
            address,
            terms,
            commands: RwLock::new(first.clone()),
            is_settled: AtomicBool::new(first.is_some()),
            settled: Notify::new(),
            doubted: Notify::new(),
            is_wrong: AtomicBool::new(false),
            clock: StoreClock::default(),
            channels: Mutex::default(),
            channels_changed: Notify::new(),
            replaced: Notify::new(),
        });
        let stop = CancellationToken::new();
        let (keeper, ends) = (lines.clone(), stop.clone());
        tokio::spawn(async move { ends.run_until_cancelled(keeper.keep_commands(first)).await });
        let (keeper, ends) = (lines.clone(), stop.clone());
        tokio::spawn(async move { ends.run_until_cancelled(keeper.keep_subscriptions()).await });
        Server { lines, _alive: stop.drop_guard() }
    }

    pub(super) async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        self.line()?.send_packed_command(command).await?.extract_error()
    }

    /// Asks for something in a slot that is on its way to this server.
    pub(super) async fn ask_early(&self, command: &Cmd) -> RedisResult<Value> {
        let mut both = redis::pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let (answer,): (Value,) = both.query_async(&mut self.line()?).await?;
        answer.extract_error()
    }

    fn line(&self) -> RedisResult<MultiplexedConnection> {
        let line = self.lines.commands.read().unwrap_or_else(PoisonError::into_inner).clone();
        line.ok_or_else(|| unsent("not connected"))
    }

    pub(super) fn host(&self) -> &str {
        host(&self.lines.address)
    }

    /// What its own clock shows at least, if that is known.
    pub(super) fn clock_at_least_ms(&self) -> Option<i64> {
        self.lines.clock.at_least_ms()
    }

    /// What its own clock shows, if it was ever heard.
    pub(super) fn clock_ms(&self) -> Option<i64> {
        self.lines.clock.is_known().then(|| self.lines.clock.now_ms())
    }

    /// Asks what its own clock shows.
    pub(super) async fn hear_clock(&self) {
        if let Ok(line) = self.line() {
            let _ = self.lines.hear_clock(&line).await;
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.line().is_ok()
    }

    pub(super) fn is_listening(&self) -> bool {
        self.lines.channels().is_up()
    }

    /// Returns when the first try to connect has ended, one way or the other.
    pub(super) async fn settled(&self) {
        let settled = self.lines.settled.notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        if !self.lines.is_settled.load(Ordering::Acquire) {
            settled.await;
        }
    }

    /// A command failed: somebody should look whether the line lives.
    pub(super) fn doubt(&self) {
        self.lines.doubted.notify_one();
    }

    /// Both lines lead to a server that is not the one: others may lead to another.
    pub(super) fn leave_wrong(&self) {
        self.lines.is_wrong.store(true, Ordering::Relaxed);
        self.lines.doubted.notify_one();
        self.lines.replaced.notify_one();
    }

    pub(super) fn hears(&self, channel: &[u8]) -> bool {
        self.lines.channels().hears(channel)
    }

    /// Listens to a channel from this call on; confirmed when it is awaited to `Ok` and the line is up, and sooner or later
    /// in any case.
    pub(super) fn subscribe(&self, channel: &Bytes) -> impl Future<Output = RedisResult<()>> + use<> {
        let answer = self.lines.channels().want(channel);
        self.lines.channels_changed.notify_one();
        async { if let Some(answer) = answer { answer.await.unwrap_or(Ok(())) } else { Ok(()) } }
    }

    /// Listens to a channel that another server had until now.
    pub(super) fn take_over(&self, channel: &Bytes) {
        self.lines.channels().take_over(channel);
        self.lines.channels_changed.notify_one();
    }

    pub(super) fn unsubscribe(&self, channel: &Bytes) {
        self.lines.channels().leave(channel);
        self.lines.channels_changed.notify_one();
    }
}

impl Lines {
    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_commands(&self, first: Option<MultiplexedConnection>) {
        let mut tries = Tries::new("redis cannot be used");
        let mut line = first;
        loop {
            if let Some(line) = line.take() {
                tries.succeeded();
                self.until_dead(line, &self.doubted).await;
                warn!("the line to redis is down");
                *self.commands.write().unwrap_or_else(PoisonError::into_inner) = None;
                self.terms.doubted.notify_one();
            }
            self.is_wrong.store(false, Ordering::Relaxed);
            let opened = async {
                let line = open(&self.address).await?;
                (self.terms.command_trial)(line.clone()).await?;
                self.hear_clock(&line).await?;
                Ok(line)
            };
            let opened = opened.await;
            if let Ok(opened) = &opened {
                self.terms.metrics.redis_connects.inc();
                *self.commands.write().unwrap_or_else(PoisonError::into_inner) = Some(opened.clone());
            }
            let is_first = !self.is_settled.swap(true, Ordering::Release);
            self.settled.notify_waiters();
            match opened {
                Ok(opened) => {
                    if !is_first {
                        info!("the line to redis is up");
                        self.reread();
                    }
                    line = Some(opened);
                }
                Err(error) => {
                    self.terms.doubted.notify_one();
                    tries.failed(&error).await;
                }
            }
        }
    }

    /// Asks whether a line lives, and what the server's clock shows.
    async fn hear_clock(&self, line: &MultiplexedConnection) -> RedisResult<()> {
        let (command, sent) = (redis::cmd("TIME"), Instant::now());
        let (seconds, micros): (i64, i64) = within(DEADLINE * 2, command.query_async(&mut line.clone())).await?;
        self.clock.heard(seconds * 1000 + micros / 1000, sent.elapsed());
        Ok(())
    }

    /// The server may have forgotten everything: all rooms are looked at.
    fn reread(&self) {
        let wanted = self.channels().wanted();
        wanted.into_iter().for_each(|channel| (self.terms.hear)(Event::Missed(channel)));
    }

    async fn keep_subscriptions(&self) {
        let mut tries = Tries::new("redis takes no subscriptions");
        loop {
            let (notices, mut inbox) = mpsc::unbounded_channel();
            let opened = async {
                let line = open_to_hear(&self.address, self.terms.hear.clone(), notices).await?;
                (self.terms.subscription_trial)(line.clone()).await?;
                Ok(line)
            };
            let line = match opened.await {
                Ok(line) => line,
                Err(error) => {
                    tries.failed(&error).await;
                    continue;
                }
            };
            self.terms.metrics.redis_connects.inc();
            tries.succeeded();
            self.channels().up();
            let dead = self.until_dead(line.clone(), &self.replaced);
            tokio::pin!(dead);
            let mut under_way: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
            loop {
                let steps = self.channels().steps();
                under_way.extend(steps.into_iter().map(|(channel, step)| take(line.clone(), channel, step).boxed()));
                tokio::select! {
                    // What the server said first is heard first.
                    biased;
                    notice = inbox.recv() => match notice {
                        Some(Notice::Lost(channel)) => {
                            self.channels().lost(&channel);
                            self.terms.doubted.notify_one();
                        }
                        Some(Notice::Down) | None => break,
                    },
                    () = &mut dead => break,
                    Some(done) = under_way.next() => {
                        if let Some(channel) = self.done(done) {
                            under_way.push(async { sleep(jittered(ASK_AGAIN)).await; Done::Rested(channel) }.boxed());
                        }
                    }
                    () = self.channels_changed.notified() => {}
                }
            }
            warn!("the subscriptions are down");
            self.channels().down();
            self.terms.doubted.notify_one();
        }
    }

    /// Takes note of what a step came to; answers the channel that needs a rest.
    fn done(&self, done: Done) -> Option<Bytes> {
        match done {
            Done::Rested(channel) => {
                self.channels().rested(&channel);
                None
            }
            Done::Answered(channel, step, answer) => {
                let has_missed = self.channels().answered(&channel, step, &answer);
                if has_missed {
                    (self.terms.hear)(Event::Missed(channel));
                    return None;
                }
                let is_refused = step == Step::Subscribe && answer.is_err();
                if is_refused {
                    self.terms.doubted.notify_one();
                }
                is_refused.then_some(channel)
            }
        }
    }

    /// Returns when a line has missed too many answers, or leads to the wrong server.
    async fn until_dead(&self, line: MultiplexedConnection, doubted: &Notify) {
        let mut missed = 0;
        while missed < MISSED_ANSWERS {
            let is_doubted = timeout(PING_EVERY, doubted.notified()).await.is_ok();
            if is_doubted && (std::ptr::eq(doubted, &self.replaced) || self.is_wrong.load(Ordering::Relaxed)) {
                return;
            }
            match self.hear_clock(&line).await {
                Ok(()) => missed = 0,
                // Silence is another thing than a line that is gone.
                Err(error) if error.is_unrecoverable_error() || (error.is_io_error() && !is_silence(&error)) => return,
                Err(_) if is_doubted => missed = MISSED_ANSWERS,
                Err(_) => missed += 1,
            }
        }
    }
}

async fn take(mut line: MultiplexedConnection, channel: Bytes, step: Step) -> Done {
    let command = match step {
        Step::Subscribe => "SSUBSCRIBE",
        Step::Unsubscribe => "SUNSUBSCRIBE",
    };
    let command = redis::cmd(command).arg(channel.as_ref()).to_owned();
    let answer = within(CONNECT_DEADLINE, command.query_async::<Value>(&mut line)).await;
    Done::Answered(channel, step, answer.map(drop))
}

pub(super) async fn open(address: &ConnectionInfo) -> RedisResult<MultiplexedConnection> {
    open_with(address, AsyncConnectionConfig::new()).await
}

/// Opens a connection for subscriptions. What is published goes straight to whoever hears it; the rest are notices.
async fn open_to_hear(
    address: &ConnectionInfo,
    hear: Hear,
    notices: mpsc::UnboundedSender<Notice>,
) -> RedisResult<MultiplexedConnection> {
    let pushes = move |PushInfo { kind, data }: PushInfo| {
        let mut data = data.into_iter();
        match (kind, data.next(), data.next()) {
            (PushKind::SMessage, Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) => {
                hear(Event::Message { channel: channel.into(), payload });
            }
            (PushKind::SUnsubscribe, Some(Value::BulkString(channel)), _) => {
                let _ = notices.send(Notice::Lost(channel.into()));
            }
            (PushKind::Disconnection, ..) => drop(notices.send(Notice::Down)),
            _ => {}
        }
        Ok::<(), Infallible>(())
    };
    open_with(address, AsyncConnectionConfig::new().set_push_sender(pushes)).await
}

async fn open_with(address: &ConnectionInfo, config: AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
    let config = config.set_connection_timeout(Some(CONNECT_DEADLINE)).set_response_timeout(None);
    let client = Client::open(address.clone())?;
    within(CONNECT_DEADLINE, client.get_multiplexed_async_connection_with_config(&config)).await
}

/// Tries to have a line: each cause is said once, and they become rarer.
struct Tries {
    what: &'static str,
    pause: Duration,
    said: Option<String>,
}

impl Tries {
    fn new(what: &'static str) -> Self {
        Tries { what, pause: RETRY, said: None }
    }

    async fn failed(&mut self, error: &RedisError) {
        let cause = error.to_string();
        if self.said.as_ref() != Some(&cause) {
            warn!(error = %cause, "{}; it is tried again and again", self.what);
            self.said = Some(cause);
        }
        sleep(jittered(self.pause)).await;
        self.pause = (self.pause * 2).min(MAX_RETRY);
    }

    fn succeeded(&mut self) {
        *self = Tries::new(self.what);
    }
}

pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + random_share())
}

#[cfg(test)]
mod tests {
    use redis::ErrorKind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tries_become_rarer_whatever_the_cause_until_one_succeeds() {
        let nobody_listens = RedisError::from((ErrorKind::Io, "connection refused"));
        let refused = RedisError::from((ErrorKind::AuthenticationFailed, "no"));
        for error in [nobody_listens, refused] {
            let mut tries = Tries::new("a line");
            let start = tokio::time::Instant::now();
            for _ in 0..20 {
                tries.failed(&error).await;
            }
            assert!(start.elapsed() > Duration::from_secs(8), "{error}: {:?}", start.elapsed());
            tries.succeeded();
            let start = tokio::time::Instant::now();
            tries.failed(&error).await;
            assert!(start.elapsed() <= RETRY * 2, "{error}: {:?}", start.elapsed());
        }
    }
}
