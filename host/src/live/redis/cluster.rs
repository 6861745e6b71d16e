//! A cluster: which of its servers has what. Each has lines of its own, so that one which hangs is the trouble of its own
//! rooms and of nobody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use super::{
    link::{host, no_answer, unsent, within},
    server::{CONNECT_DEADLINE, DEADLINE, PING_EVERY, Server, Terms, jittered, open},
    view::{Address, SLOTS, View, most_seen, slot, slots, view},
};
use crate::rooms::random_share;

/// While something is not as it should be, the cluster is asked no more often than this who has what.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many servers are asked; what most of them say is believed.
const WITNESSES: usize = 3;

/// So often a command follows what servers say about who has its key.
const HOPS: u32 = 5;
/// Some keys of a room have moved, and others not yet.
const TRY_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Cluster {
    /// Where to begin, and to begin again if all that is known is gone.
    seeds: Vec<ConnectionInfo>,
    terms: Terms,
    map: RwLock<Arc<Map>>,
    /// Whom each wanted channel is asked of.
    homes: Mutex<HashMap<Bytes, Arc<Server>>>,
}

#[derive(Clone)]
struct Map {
    servers: Vec<(Address, Arc<Server>)>,
    /// For each slot which of the servers has it.
    owners: Vec<Option<u16>>,
    /// What all this was read from, unless something was learnt since.
    view: View,
}

impl Map {
    fn owner(&self, slot: u16) -> Option<&Arc<Server>> {
        let owner = self.owners.get(usize::from(slot)).copied().flatten()?;
        self.servers.get(usize::from(owner)).map(|(_, server)| server)
    }

    fn server(&self, address: &Address) -> Option<&Arc<Server>> {
        self.servers.iter().find(|(known, _)| known == address).map(|(_, server)| server)
    }

    /// Where that server is among all, which it joins if it is new.
    fn position(&mut self, address: &Address, start: impl FnOnce() -> Arc<Server>) -> usize {
        self.servers.iter().position(|(known, _)| known == address).unwrap_or_else(|| {
            self.servers.push((address.clone(), start()));
            self.servers.len() - 1
        })
    }
}

impl Cluster {
    pub(super) async fn connect(seeds: Vec<ConnectionInfo>, terms: Terms) -> RedisResult<Arc<Cluster>> {
        let cluster = Arc::new(Cluster {
            seeds,
            map: RwLock::new(Arc::new(Map {
                servers: Vec::new(),
                owners: vec![None; usize::from(SLOTS)],
                view: View::new(),
            })),
            homes: Mutex::default(),
            terms,
        });
        let view = cluster.ask_seeds().await?;
        cluster.adopt(view);
        tokio::spawn(keep(Arc::downgrade(&cluster), cluster.terms.doubted.clone()));
        Ok(cluster)
    }

    /// Returns when every server has been tried once.
    pub(super) async fn settled(&self) {
        let map = self.map();
        let all = join_all(map.servers.iter().map(|(_, server)| server.settled()));
        let _ = timeout(CONNECT_DEADLINE, all).await;
    }

    pub(super) fn is_up(&self) -> bool {
        self.map().servers.iter().any(|(_, server)| server.is_up())
    }

    pub(super) fn is_listening(&self) -> bool {
        self.map().servers.iter().any(|(_, server)| server.is_listening())
    }

    /// Gives a command to whoever has the slot, now and after whatever moves meanwhile.
    pub(super) async fn ask(&self, slot: u16, command: &Cmd) -> RedisResult<Value> {
        let nobody = || unsent("no server of the cluster has the slot");
        let mut server = self.map().owner(slot).cloned().ok_or_else(nobody)?;
        let mut is_early = false;
        for _ in 0..HOPS {
            // One that has just been heard of is given a moment to connect.
            let _ = timeout(DEADLINE / 2, server.settled()).await;
            let answer = if is_early { server.ask_early(command).await } else { server.ask(command).await };
            let Err(error) = answer else { return answer };
            is_early = false;
            match (error.kind(), error.redirect_node().and_then(|(to, _)| address(to, &server))) {
                (ErrorKind::Server(ServerErrorKind::Moved), Some(to)) => server = self.learn(slot, &to),
                (ErrorKind::Server(ServerErrorKind::Ask), Some(to)) => {
                    server = self.server_at(&to);
                    is_early = true;
                }
                (ErrorKind::Server(ServerErrorKind::TryAgain), _) => sleep(TRY_AGAIN).await,
                _ => return Err(error),
            }
        }
        Err(unsent("the servers of the cluster do not agree about who has the slot"))
    }

    pub(super) fn clock_at_least_ms(&self, slot: u16) -> Option<i64> {
        self.map().owner(slot)?.clock_at_least_ms()
    }

    /// What most of its servers' clocks show: all nodes see the same, whatever their own show, and a server whose clock is
    /// wrong moves nobody.
    pub(super) fn now_ms(&self) -> Option<i64> {
        let map = self.map();
        let mut clocks: Vec<i64> = map.servers.iter().filter_map(|(_, server)| server.clock_ms()).collect();
        clocks.sort_unstable();
        clocks.get(clocks.len().saturating_sub(1) / 2).copied()
    }

    /// Asks what the clock of whoever has the slot shows.
    pub(super) async fn hear_clock(&self, slot: u16) {
        if let Some(server) = self.map().owner(slot) {
            server.hear_clock().await;
        }
    }

    pub(super) fn doubt(&self, slot: u16) {
        if let Some(server) = self.map().owner(slot) {
            server.doubt();
        }
        self.terms.doubted.notify_one();
    }

    pub(super) fn hears(&self, channel: &[u8]) -> bool {
        self.homes().get(channel).is_some_and(|home| home.hears(channel))
    }

    pub(super) async fn subscribe(&self, channel: &Bytes) -> RedisResult<()> {
        let subscribed = {
            let mut homes = self.homes();
            // Whoever has the slot, or had it last.
            let owner = self.map().owner(slot(channel)).cloned();
            let Some(home) = owner.or_else(|| homes.get(channel).cloned()) else { return Err(no_answer()) };
            let subscribed = home.subscribe(channel);
            homes.insert(channel.clone(), home);
            subscribed
        };
        subscribed.await
    }

    pub(super) fn unsubscribe(&self, channel: &Bytes) {
        if let Some(home) = self.homes().remove(channel) {
            home.unsubscribe(channel);
        }
    }

    fn map(&self) -> Arc<Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Server>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it from a server that a slot is elsewhere now.
    fn learn(&self, slot: u16, to: &Address) -> Arc<Server> {
        let server = self.change(to, |map, owner| {
            map.owners[usize::from(slot)] = Some(owner);
            // The next look is taken over, whatever it says.
            map.view.clear();
        });
        self.settle_channels();
        // More may have moved than this.
        self.terms.doubted.notify_one();
        server
    }

    fn server_at(&self, address: &Address) -> Arc<Server> {
        self.map().server(address).cloned().unwrap_or_else(|| self.change(address, |_, _| ()))
    }

    /// Changes the map in a way that is about one server.
    fn change(&self, address: &Address, change: impl FnOnce(&mut Map, u16)) -> Arc<Server> {
        let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&current);
        let at = map.position(address, || self.start(address));
        let server = map.servers[at].1.clone();
        if let Ok(at) = u16::try_from(at) {
            change(&mut map, at);
        }
        *current = Arc::new(map);
        server
    }

    fn start(&self, address: &Address) -> Arc<Server> {
        debug!(server = %format_args!("{}:{}", address.0, address.1), "a server of the cluster");
        Arc::new(Server::start(at(&self.seeds[0], address), None, self.terms.clone()))
    }

    /// Takes over what a look has shown.
    fn adopt(&self, view: View) {
        {
            let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
            if current.view == view {
                return;
            }
            let mut map = Map { servers: Vec::new(), owners: vec![None; usize::from(SLOTS)], view };
            for (from, to, address) in map.view.clone() {
                let known = || current.server(&address).cloned().unwrap_or_else(|| self.start(&address));
                let at = map.position(&address, known);
                let slots = usize::from(from)..=usize::from(to.min(SLOTS - 1));
                map.owners[slots].fill(u16::try_from(at).ok());
            }
            info!(servers = map.servers.len(), "who has what in the cluster of redis has changed");
            *current = Arc::new(map);
        }
        self.settle_channels();
    }

    /// Asks for each channel where it is now.
    fn settle_channels(&self) {
        let mut homes = self.homes();
        let map = self.map();
        for (channel, home) in homes.iter_mut() {
            if let Some(owner) = map.owner(slot(channel))
                && !Arc::ptr_eq(owner, home)
            {
                owner.take_over(channel);
                std::mem::replace(home, owner.clone()).unsubscribe(channel);
            }
        }
    }

    /// Asks who has what: servers that are known, and if none answers, wherever there was one.
    async fn look(&self) -> Option<View> {
        let map = self.map();
        let mut up: Vec<_> = map.servers.iter().filter(|(_, server)| server.is_up()).collect();
        if !up.is_empty() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
            let first = (random_share() * up.len() as f64) as usize % up.len();
            up.rotate_left(first);
        }
        up.truncate(WITNESSES);
        let views = join_all(up.into_iter().map(async |((host, _), server)| {
            let answer = timeout(DEADLINE, server.ask(&slots())).await.ok()?.ok()?;
            view(&answer, host)
        }));
        let views: Vec<View> = views.await.into_iter().flatten().collect();
        match most_seen(&views, &map.view) {
            Some(view) => Some(view),
            None => self.ask_seeds().await.ok(),
        }
    }

    async fn ask_seeds(&self) -> RedisResult<View> {
        let known = self.map();
        let known = known.servers.iter().map(|(address, _)| at(&self.seeds[0], address));
        let mut asked: FuturesUnordered<_> = self.seeds.iter().cloned().chain(known).map(ask_seed).collect();
        let mut failed = no_answer();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(view) => return Ok(view),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Looks who has what: now and then, and soon when somebody doubts it.
async fn keep(cluster: Weak<Cluster>, doubted: Arc<Notify>) {
    loop {
        let _ = timeout(jittered(PING_EVERY), doubted.notified()).await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Some(view) = cluster.look().await {
            cluster.adopt(view);
        }
        drop(cluster);
        sleep(jittered(LOOK_EVERY)).await;
    }
}

async fn ask_seed(seed: ConnectionInfo) -> RedisResult<View> {
    let asking = async {
        let answer: Value = slots().query_async(&mut open(&seed).await?).await?;
        let none = || RedisError::from((ErrorKind::Io, "a server of the cluster has no slots"));
        view(&answer, host(&seed)).ok_or_else(none)
    };
    within(CONNECT_DEADLINE, asking).await
}

/// Where a server sends somebody: `host:port`, or `:port` of its own host.
fn address(text: &str, told_by: &Server) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { told_by.host() } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

/// Another server of the same cluster is reached in the same way.
fn at(seed: &ConnectionInfo, (host, port): &Address) -> ConnectionInfo {
    let address = match seed.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.clone(), *port),
    };
    seed.clone().set_addr(address)
}
