//! The way to Redis, be it one server or a cluster of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    Value,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{sync::Notify, time::timeout};
use tracing::warn;

use super::{
    cluster::Cluster,
    server::{CONNECT_DEADLINE, Server, Terms, Trial, open},
    view::slot,
};
use crate::{config, telemetry::Metrics};

/// What a server says that answers, and is not the one to talk to: a replica, one that is still reading its data, a cluster
/// without a master. Another connection may lead to another one.
const WRONG_SERVER: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN"];

/// So many are tried that each server of a cluster has one, most likely.
const PROBES: usize = 16;

/// Everything that will be used, under the same prefix, and leaves nothing: a script that writes and publishes.
const PROBE: &str =
    "#!lua\nredis.call('SET', KEYS[1], '1')\nredis.call('DEL', KEYS[1])\nredis.call('SPUBLISH', KEYS[2], '')\nreturn 1";

/// What arrives without being asked for.
pub(super) enum Event {
    /// Something was published on a channel.
    Message { channel: Bytes, payload: Vec<u8> },
    /// A channel was not heard for a while: what was published meanwhile is not known.
    Missed(Bytes),
}

/// Hears events. It must not wait: nothing else arrives meanwhile.
pub(super) type Hear = Arc<dyn Fn(Event) + Send + Sync>;

pub(super) struct Link {
    servers: Servers,
    probes: Vec<Probe>,
}

enum Servers {
    One(Server),
    Cluster(Arc<Cluster>),
}

/// A key and a channel like any room's, and a script that uses both.
#[derive(Clone)]
struct Probe {
    key: Bytes,
    channel: Bytes,
    script: Cmd,
}

impl Link {
    /// Connects. Says what is wrong if that fails; later it is tried again and again.
    pub(super) async fn connect(
        urls: &config::RedisUrls,
        prefix: &str,
        scripts: Vec<Cmd>,
        hear: Hear,
        metrics: Arc<Metrics>,
    ) -> RedisResult<Link> {
        let mut addresses = urls.list().iter().map(|url| connection_info(url)).collect::<RedisResult<Vec<_>>>()?;
        let doubted = Arc::new(Notify::new());
        if urls.is_cluster() {
            // Which server has the probe is for the cluster to say; and whether it may be used, for the probe.
            let (command_trial, subscription_trial) = (greeting(scripts, None), free());
            let terms = Terms { hear, command_trial, subscription_trial, doubted, metrics };
            let cluster = Cluster::connect(addresses, terms).await?;
            cluster.settled().await;
            let probes = (0..PROBES).map(|n| Probe::new(prefix, &format!("probe{n}"))).collect();
            let link = Link { servers: Servers::Cluster(cluster), probes };
            if let Some(error) = link.try_out().await?.or(link.try_subscriptions().await?) {
                warn!(%error, "a server of the cluster is away; its rooms wait for it, and the others are served");
            }
            Ok(link)
        } else {
            let probe = Probe::new(prefix, "probe");
            let address = addresses.swap_remove(0);
            let first = open(&address).await?;
            probe.try_commands(first.clone()).await?;
            probe.try_subscriptions(open(&address).await?).await?;
            load(&scripts, &first).await;
            let for_subscriptions = probe.clone();
            let terms = Terms {
                hear,
                command_trial: greeting(scripts, Some(probe.clone())),
                subscription_trial: Arc::new(move |line| {
                    let probe = for_subscriptions.clone();
                    async move { probe.try_subscriptions(line).await }.boxed()
                }),
                doubted,
                metrics,
            };
            // The line that was tried is the one that is used: the address may lead elsewhere the next time.
            Ok(Link { servers: Servers::One(Server::start(address, Some(first), terms)), probes: vec![probe] })
        }
    }

    /// Gives a command to whichever server has `key`.
    pub(super) async fn ask(&self, key: &[u8], command: &Cmd) -> RedisResult<Value> {
        match &self.servers {
            Servers::One(server) => server.ask(command).await,
            Servers::Cluster(cluster) => cluster.ask(slot(key), command).await,
        }
    }

    /// The time that all servers of a cluster go by.
    pub(super) fn now_ms(&self) -> Option<i64> {
        match &self.servers {
            Servers::One(server) => server.clock_ms(),
            Servers::Cluster(cluster) => cluster.now_ms(),
        }
    }

    /// Asks what the own clock of the server that has `key` shows.
    pub(super) async fn hear_clock(&self, key: &[u8]) {
        match &self.servers {
            Servers::One(server) => server.hear_clock().await,
            Servers::Cluster(cluster) => cluster.hear_clock(slot(key)).await,
        }
    }

    /// What the own clock of the server that has `key` shows at least, if that is known.
    pub(super) fn clock_at_least_ms(&self, key: &[u8]) -> Option<i64> {
        match &self.servers {
            Servers::One(server) => server.clock_at_least_ms(),
            Servers::Cluster(cluster) => cluster.clock_at_least_ms(slot(key)),
        }
    }

    /// A command about `key` failed: somebody should look.
    pub(super) fn doubt(&self, key: &[u8], error: Option<&RedisError>) {
        let is_code = |code: &str| WRONG_SERVER.contains(&code);
        match &self.servers {
            Servers::One(server) if error.and_then(RedisError::code).is_some_and(is_code) => server.leave_wrong(),
            Servers::One(server) => server.doubt(),
            Servers::Cluster(cluster) => cluster.doubt(slot(key)),
        }
    }

    /// Whether commands can be given at this moment, to some server at least.
    pub(super) fn is_up(&self) -> bool {
        match &self.servers {
            Servers::One(server) => server.is_up(),
            Servers::Cluster(cluster) => cluster.is_up(),
        }
    }

    /// Whether what will be used can be used: says what cannot.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.try_out().await.map_err(|error| error.to_string())?;
        let is_listening = match &self.servers {
            Servers::One(server) => server.is_listening(),
            Servers::Cluster(cluster) => cluster.is_listening(),
        };
        if is_listening { Ok(()) } else { Err("the subscriptions are down".into()) }
    }

    async fn try_out(&self) -> RedisResult<Option<RedisError>> {
        let tries = self.probes.iter().map(|probe| within(CONNECT_DEADLINE, self.ask(&probe.key, &probe.script)));
        usable(&join_all(tries).await)
    }

    async fn try_subscriptions(&self) -> RedisResult<Option<RedisError>> {
        let tries = self.probes.iter().map(|probe| within(CONNECT_DEADLINE, self.subscribe(&probe.channel)));
        let tried = usable(&join_all(tries).await);
        self.probes.iter().for_each(|probe| self.unsubscribe(&probe.channel));
        tried
    }

    /// Whether everything that is published on a channel arrives.
    pub(super) fn hears(&self, channel: &[u8]) -> bool {
        match &self.servers {
            Servers::One(server) => server.hears(channel),
            Servers::Cluster(cluster) => cluster.hears(channel),
        }
    }

    /// Listens to a channel from now on; confirmed when this returns `Ok` and the line is up, and sooner or later in any case.
    pub(super) async fn subscribe(&self, channel: &Bytes) -> RedisResult<()> {
        match &self.servers {
            Servers::One(server) => server.subscribe(channel).await,
            Servers::Cluster(cluster) => cluster.subscribe(channel).await,
        }
    }

    /// Listens to a channel no longer. What was said last counts.
    pub(super) fn unsubscribe(&self, channel: &Bytes) {
        match &self.servers {
            Servers::One(server) => server.unsubscribe(channel),
            Servers::Cluster(cluster) => cluster.unsubscribe(channel),
        }
    }
}

impl Probe {
    fn new(prefix: &str, name: &str) -> Probe {
        let (key, channel) = (format!("{prefix}:{{{name}}}:state"), format!("{prefix}:{{{name}}}:feed"));
        let script = redis::cmd("EVAL").arg(PROBE).arg(2).arg(&key).arg(&channel).to_owned();
        Probe { key: key.into(), channel: channel.into(), script }
    }

    async fn try_commands(&self, mut line: MultiplexedConnection) -> RedisResult<()> {
        within(CONNECT_DEADLINE, self.script.query_async::<Value>(&mut line)).await.map(drop)
    }

    async fn try_subscriptions(&self, mut line: MultiplexedConnection) -> RedisResult<()> {
        let command = redis::cmd("SSUBSCRIBE").arg(self.channel.as_ref()).to_owned();
        within(CONNECT_DEADLINE, command.query_async::<Value>(&mut line)).await.map(drop)
    }
}

/// Makes the scripts known to a server. If it may not have them, whoever runs one hears of it.
async fn load(scripts: &[Cmd], line: &MultiplexedConnection) {
    for script in scripts {
        let _ = within(CONNECT_DEADLINE, script.query_async::<Value>(&mut line.clone())).await;
    }
}

/// Makes the scripts known to a server, and tries what it will be used for.
fn greeting(scripts: Vec<Cmd>, probe: Option<Probe>) -> Trial {
    Arc::new(move |line| {
        let (scripts, probe) = (scripts.clone(), probe.clone());
        async move {
            load(&scripts, &line).await;
            match probe {
                // One that is full still answers, and will have room again.
                Some(probe) => probe.try_commands(line).await.or_else(|error| match error.code() {
                    Some("OOM") => Ok(()),
                    _ => Err(error),
                }),
                None => Ok(()),
            }
        }
        .boxed()
    })
}

fn free() -> Trial {
    Arc::new(|_| async { Ok(()) }.boxed())
}

/// Whether there is a server that can be used, and none that refuses what all will be asked for. One that is away is the
/// trouble of its own rooms, as long as there are others: answers what is the matter with it.
fn usable<T>(answers: &[RedisResult<T>]) -> RedisResult<Option<RedisError>> {
    let is_up = answers.iter().any(Result::is_ok);
    let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
    let Some(worst) = errors().find(|error| !is_away(error)).or_else(|| errors().next()) else { return Ok(None) };
    if is_up && is_away(worst) { Ok(Some(worst.clone())) } else { Err(worst.clone()) }
}

/// Whether it is the state of one server, which passes, and not what somebody has to allow.
fn is_away(error: &RedisError) -> bool {
    error.code().is_none_or(|code| WRONG_SERVER.contains(&code) || code == "OOM")
}

pub(super) async fn within<T>(deadline: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(deadline, answer).await.unwrap_or_else(|_| Err(no_answer()))
}

pub(super) fn no_answer() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}

/// What was to be said has not been said to anybody.
pub(super) fn unsent(why: &'static str) -> RedisError {
    (ErrorKind::Client, why).into()
}

pub(super) fn is_unsent(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client
}

/// Whether an error is [`no_answer`].
pub(super) fn is_silence(error: &RedisError) -> bool {
    *error == no_answer()
}

/// The name or number of the machine that an address leads to.
pub(super) fn host(address: &ConnectionInfo) -> &str {
    match address.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
        _ => "",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_judged_by_all_its_servers() {
        let says = |code: &str| Err(redis::make_extension_error(code.to_owned(), None));
        let worst = |answers: &[RedisResult<()>]| usable(answers).map(|away| away.is_some()).map_err(|_| ());
        assert_eq!(worst(&[Ok(()), Ok(())]), Ok(false));
        for away in ["LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "OOM"] {
            assert_eq!(worst(&[says(away), Ok(())]), Ok(true), "{away}");
            assert_eq!(worst(&[says(away), says(away)]), Err(()), "{away}");
        }
        assert_eq!(worst(&[Err(no_answer()), Err(unsent("not connected")), Ok(())]), Ok(true));
        assert_eq!(worst(&[Err(no_answer()), Err(no_answer())]), Err(()));
        assert_eq!(worst(&[Ok(()), Err(no_answer()), says("NOPERM")]), Err(()), "that does not pass");
    }
}
