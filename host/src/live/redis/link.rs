//! The lines to Redis: one for commands, one for subscriptions. Each is watched and rebuilt; while one is down its users
//! are told at once, and nothing said meanwhile is sent later.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{rooms::random_share, telemetry::Metrics};

/// How long anything may take before Redis counts as away.
pub(super) const DEADLINE: Duration = Duration::from_millis(300);
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// A line that says nothing is asked this often whether it lives; the library itself never finds out.
const PING_EVERY: Duration = Duration::from_secs(2);
const MISSED_PINGS: u32 = 2;

/// Two failed commands within this are no accident.
const DOUBTS_WITHIN: Duration = Duration::from_secs(1);

/// Between two tries to connect: short, since everyone waits; never the same, since every node tries.
const RETRY: Duration = Duration::from_millis(100);

/// What arrives without being asked for.
pub(super) enum Event {
    /// Something was published on a channel.
    Message { channel: Bytes, payload: Vec<u8> },
    /// A line is back, or a channel was lost and found: whatever was published meanwhile is not known.
    Reread,
}

/// One server or a cluster: commands look the same.
#[derive(Clone)]
pub(super) enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Line::One(line) => line.req_packed_command(cmd),
            Line::Cluster(line) => line.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Line::One(line) => line.req_packed_commands(cmd, offset, count),
            Line::Cluster(line) => line.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Line::One(line) => line.get_db(),
            Line::Cluster(line) => line.get_db(),
        }
    }
}

/// Both lines.
pub(super) struct Link {
    servers: Vec<ConnectionInfo>,
    commands: RwLock<Option<Line>>,
    subscriptions: RwLock<Option<Line>>,
    /// Somebody saw the command line fail.
    doubted: Notify,
    /// The subscriptions are not what they should be, though the line lives: a cluster changed, or a channel was refused.
    reshaped: Notify,
    /// The channels this node wants: the truth, whatever the server or the library believe.
    wanted: Mutex<HashSet<Bytes>>,
    events: mpsc::UnboundedSender<Event>,
    metrics: Arc<Metrics>,
}

impl Link {
    /// Checks the addresses; nothing is connected before `connect`.
    pub(super) fn new(
        urls: &[String],
        metrics: Arc<Metrics>,
    ) -> RedisResult<(Arc<Link>, mpsc::UnboundedReceiver<Event>)> {
        let servers = urls.iter().map(|url| connection_info(url)).collect::<RedisResult<_>>()?;
        let (events, inbox) = mpsc::unbounded_channel();
        let link = Link {
            servers,
            commands: RwLock::default(),
            subscriptions: RwLock::default(),
            doubted: Notify::new(),
            reshaped: Notify::new(),
            wanted: Mutex::default(),
            events,
            metrics,
        };
        Ok((Arc::new(link), inbox))
    }

    /// Connects both lines once, so that a start can say what is wrong, and keeps them from then on.
    pub(super) async fn connect(self: &Arc<Self>) -> RedisResult<()> {
        let line = self.open(None).await?;
        *self.commands.write().unwrap_or_else(PoisonError::into_inner) = Some(line);
        let link = self.clone();
        tokio::spawn(async move { link.keep_commands().await });
        let link = self.clone();
        tokio::spawn(async move { link.keep_subscriptions().await });
        Ok(())
    }

    /// The command line, if it is up.
    pub(super) fn commands(&self) -> Option<Line> {
        self.commands.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A command failed on the way: somebody should look.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Whether what is published on wanted channels arrives here.
    pub(super) fn is_listening(&self) -> bool {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn wants(&self, channel: &[u8]) -> bool {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).contains(channel)
    }

    /// Listens to a channel from now on; confirmed when this returns `Ok`, and sooner or later in any case.
    pub(super) async fn subscribe(&self, channel: Bytes) -> RedisResult<()> {
        let is_new = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(channel.clone());
        let line = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) if is_new => subscribe(line, &channel).await.inspect_err(|_| {
                // Not confirmed: the next who wants it asks again.
                self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&channel);
            }),
            _ => Ok(()),
        }
    }

    pub(super) async fn unsubscribe(&self, channel: &[u8]) {
        let was_wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(channel);
        let line = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mut line) = line.filter(|_| was_wanted) {
            // If it fails, the line is on its way down, and a new one will not ask for this channel.
            let _ = timeout(DEADLINE, redis::cmd("SUNSUBSCRIBE").arg(channel).query_async::<Value>(&mut line)).await;
        }
    }

    async fn keep_commands(&self) {
        loop {
            let up = self.commands();
            if let Some(line) = up {
                let is_cluster = matches!(line, Line::Cluster(_));
                self.until_dead(line, &self.doubted).await;
                warn!("the line to redis is down");
                if is_cluster {
                    self.reshaped.notify_one();
                }
                *self.commands.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            match self.open(None).await {
                Ok(line) => {
                    info!("the line to redis is up");
                    *self.commands.write().unwrap_or_else(PoisonError::into_inner) = Some(line);
                    let _ = self.events.send(Event::Reread);
                }
                Err(_) => sleep(jittered(RETRY)).await,
            }
        }
    }

    async fn keep_subscriptions(self: &Arc<Self>) {
        loop {
            let (pushes, mut inbox) = mpsc::unbounded_channel::<PushInfo>();
            let Ok(line) = self.open(Some(pushes)).await else {
                sleep(jittered(RETRY)).await;
                continue;
            };
            *self.subscriptions.write().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
            let subscribing = tokio::spawn(self.clone().subscribe_to_all(line.clone()));
            tokio::select! {
                () = self.pump(&mut inbox, &line) => {}
                () = self.until_dead(line.clone(), &self.reshaped) => {}
            }
            subscribing.abort();
            warn!("the subscriptions are down");
            *self.subscriptions.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn subscribe_to_all(self: Arc<Self>, line: Line) {
        let wanted: Vec<Bytes> = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        // One by one, since their slots differ; all on the way at once, since the line is one.
        let all = wanted.iter().map(|channel| subscribe(line.clone(), channel));
        let failed = futures_util::future::join_all(all).await.into_iter().filter(Result::is_err).count();
        if failed > 0 {
            warn!(failed, "some channels could not be subscribed to; the line is rebuilt");
            self.reshaped.notify_one();
            return;
        }
        let _ = self.events.send(Event::Reread);
    }

    /// Hands on what is pushed, until the line ends.
    async fn pump(self: &Arc<Self>, inbox: &mut mpsc::UnboundedReceiver<PushInfo>, line: &Line) {
        while let Some(PushInfo { kind, data }) = inbox.recv().await {
            match kind {
                PushKind::SMessage | PushKind::Message => {
                    let mut data = data.into_iter();
                    if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
                        (data.next(), data.next())
                    {
                        let _ = self.events.send(Event::Message { channel: channel.into(), payload });
                    }
                }
                // A slot that moves takes its channels along without a word to the library: ask again.
                PushKind::SUnsubscribe => {
                    if let Some(Value::BulkString(channel)) = data.into_iter().next()
                        && self.wants(&channel)
                    {
                        warn!("a channel was lost; subscribing again");
                        let (link, line) = (self.clone(), line.clone());
                        tokio::spawn(async move {
                            while link.wants(&channel) && subscribe(line.clone(), &channel).await.is_err() {
                                sleep(jittered(RETRY)).await;
                            }
                            let _ = link.events.send(Event::Reread);
                        });
                    }
                }
                PushKind::Disconnection => {
                    // A cluster has more lines than this one and mends them itself; what was lost meanwhile is not known.
                    match line {
                        Line::One(_) => return,
                        Line::Cluster(_) => drop(self.events.send(Event::Reread)),
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns when a line has missed too many pings, or has been doubted too often.
    async fn until_dead(&self, mut line: Line, doubted: &Notify) {
        let mut missed = 0;
        let mut last_doubt: Option<Instant> = None;
        while missed < MISSED_PINGS {
            let is_doubted = timeout(PING_EVERY, doubted.notified()).await.is_ok();
            if is_doubted && std::ptr::eq(doubted, &self.reshaped) {
                return;
            }
            // A cluster answers a ping from any of its servers, also when the one that is needed is gone: what counts is
            // that commands fail, again and again.
            if is_doubted && matches!(line, Line::Cluster(_)) {
                let again = last_doubt.replace(Instant::now()).is_some_and(|last| last.elapsed() < DOUBTS_WITHIN);
                if again {
                    return;
                }
            }
            match timeout(DEADLINE * 2, redis::cmd("PING").query_async::<Value>(&mut line)).await {
                Ok(Ok(_)) => missed = 0,
                Ok(Err(error)) if error.is_unrecoverable_error() || error.is_io_error() => return,
                Ok(Err(_)) | Err(_) if is_doubted => missed = MISSED_PINGS,
                Ok(Err(_)) | Err(_) => missed += 1,
            }
        }
    }

    async fn open(&self, pushes: Option<mpsc::UnboundedSender<PushInfo>>) -> RedisResult<Line> {
        let connecting = async {
            if let [server] = self.servers.as_slice() {
                let mut config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_DEADLINE))
                    .set_response_timeout(None);
                if let Some(pushes) = pushes {
                    config = config.set_push_sender(pushes);
                }
                let client = Client::open(server.clone())?;
                return client.get_multiplexed_async_connection_with_config(&config).await.map(Line::One);
            }
            let mut builder = ClusterClient::builder(self.servers.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .tcp_settings(tcp_settings())
                .connection_timeout(CONNECT_DEADLINE)
                .response_timeout(CONNECT_DEADLINE)
                .retries(2);
            if let Some(pushes) = pushes {
                builder = builder.push_sender(pushes);
            }
            builder.build()?.get_async_connection().await.map(Line::Cluster)
        };
        let line = timeout(CONNECT_DEADLINE * 3, connecting).await.unwrap_or_else(|_| Err(no_answer()))?;
        self.metrics.redis_connects.inc();
        Ok(line)
    }
}

async fn subscribe(mut line: Line, channel: &[u8]) -> RedisResult<()> {
    let command = redis::cmd("SSUBSCRIBE").arg(channel).to_owned();
    let confirmed = timeout(CONNECT_DEADLINE, command.query_async::<Value>(&mut line)).await;
    confirmed.unwrap_or_else(|_| Err(no_answer())).map(drop)
}

fn no_answer() -> redis::RedisError {
    (redis::ErrorKind::Io, "no answer in time").into()
}

fn connection_info(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
}

/// The library's defaults wait for more to send, and never notice a peer that vanished.
fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(2)));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(5));
    settings
}

fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + random_share())
}
