//! StreamIt's host: a watch-party server that knows no video provider.
//!
//! Modules in the order data flows through them:
//!
//! ```text
//! config → providers ┐
//!                    ├→ http → (session) → live → feed → line → browser
//! config → rooms ────┘
//! ```
//!
//! - [`config`]: the operator's TOML file.
//! - [`telemetry`]: log and metrics.
//! - [`providers`]: the only door to plugins.
//! - [`rooms`]: the durable records; all SQL.
//! - [`playback`], [`timeline`]: the pure rules of play, pause and seek, and of whose word about them still counts.
//! - [`live`]: who is here and what is playing, and the feeds that tell it.
//! - [`lobby`]: a room's life, where `rooms` and `live` meet.
//! - [`protocol`]: the WebSocket's messages.
//! - [`session`]: one WebSocket.
//! - [`line`](mod@line): the connection below it, on which others write too.
//! - [`limit`]: how fast is too fast.
//! - [`http`]: every route.
//! - [`server`]: connections, and how many there may be.
//!
//! Two invariants, held by a test that reads the `use` lines:
//!
//! - `playback`, `protocol` and `streamit-plugin-api` know nothing of sqlx or redis, and `playback` nothing of axum.
//! - `rooms`, `live` and `session` do not know that plugins exist; `http` asks `providers` for three things only:
//!   what a provider can do, a derived URL, and whose a pasted address is. A session is handed the first as a function
//!   (`session::Abilities`).

pub mod config;
pub mod http;
pub mod limit;
pub mod line;
pub mod live;
pub mod lobby;
pub mod playback;
pub mod protocol;
pub mod providers;
pub mod rooms;
pub mod server;
pub mod session;
pub mod telemetry;
mod text;
pub mod timeline;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, LiveStore},
    http::AppState,
    limit::PerAddress,
    live::Live,
    lobby::Lobby,
    providers::{Providers, Reloader},
    rooms::{Rooms, Source},
    server::Places,
    session::Sessions,
    telemetry::Metrics,
};

/// Connections that wait to be accepted: after a restart everyone comes at once.
const BACKLOG: u32 = 4096;

/// How long sockets and requests get to end when the node stops.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The operator is never turned away for those who watch.
const ADMIN_CONNECTIONS: usize = 32;

/// Files that are not connections of people: the operator's, Redis, plugins, what is read from the disk. The database's come
/// on top.
const OTHER_FILES: u64 = 80;

/// Bound listeners: nothing is served before both exist.
pub struct Listeners {
    pub public: TcpListener,
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the addresses of the configuration.
    pub fn bind(config: &Config) -> anyhow::Result<Listeners> {
        let public = bind(config.server.bind, "server.bind")?;
        let admin = config.admin.bind.map(|address| bind(address, "admin.bind")).transpose()?;
        Ok(Listeners { public, admin })
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(cfg!(unix))?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {address}; is it in use? {key} in the configuration sets it"))
}

/// A node that is serving.
pub struct Node {
    /// Where people find it.
    pub address: SocketAddr,
    /// Where its operator does.
    pub admin_address: Option<SocketAddr>,
    /// Takes new plugins and settings while it serves.
    pub reloader: Reloader,
    rooms: Rooms,
    live: Live,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Node {
    /// Loads the providers, opens the rooms, and serves.
    pub async fn start(config: Config, listeners: Listeners) -> anyhow::Result<Node> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new());
        let providers = {
            let (config, metrics) = (config.clone(), metrics.clone());
            tokio::task::spawn_blocking(move || Providers::load(&config, program(), &metrics)).await??
        };
        let reloader = Reloader::new(providers.clone(), (*config).clone());
        if config.plugins.watch {
            providers::watch(reloader.clone())?;
        }
        reloader.clone().keep_trying()?;
        let rooms = Rooms::open(&config.database).await?;
        let host_grace = Duration::from_secs(config.rooms.host_grace_secs);
        let max_viewers = config.rooms.max_viewers;
        let away_limit = Duration::from_secs(config.live.redis.away_secs);
        let live = match config.live.store {
            LiveStore::Memory => Live::in_memory(host_grace, max_viewers, live::system_clock(), metrics.clone()),
            LiveStore::Redis => {
                Live::in_redis(&config.live.redis, host_grace, max_viewers, None, metrics.clone()).await?
            }
        };
        let lobby = Lobby { rooms: rooms.clone(), live: live.clone() };
        lobby.restore().await?;

        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let limits = config.limits.clone();
        // All that a session knows of plugins: what may be asked of what a room plays.
        let abilities = {
            let providers = providers.clone();
            Arc::new(move |source: &Source| providers.abilities(&source.provider))
        };
        let sessions = Sessions::new(live.clone(), abilities, limits, metrics.clone(), stop.clone(), tracker.clone());
        let creations = PerAddress::new(config.rooms.create_per_minute);
        let guesses = PerAddress::new(config.limits.guesses_per_minute);
        let media = Arc::new(http::MediaFolder::new(&config.media));
        let state = AppState::new(http::Parts {
            config,
            providers,
            reloader: reloader.clone(),
            lobby: lobby.clone(),
            sessions,
            metrics,
            creations,
            guesses,
            foreign: http::ForeignOrigins::default(),
            media,
        });

        tracker.spawn(lobby.clone().keep(away_limit, stop.clone()));
        tracker.spawn(lobby.sweep(stop.clone()));
        let mut admin_address = None;
        if let Some(listener) = listeners.admin {
            let address = listener.local_addr()?;
            info!(%address, "operator's listener");
            admin_address = Some(address);
            let places = Places::new(ADMIN_CONNECTIONS, 0, |_| true);
            let app = http::admin_router(state.clone());
            tracker.spawn(server::serve(listener, app, places, stop.clone(), tracker.clone()));
        }
        let address = listeners.public.local_addr()?;
        info!(%address, "listening");
        let places = {
            let (all, of_one) = (connections(&state.config), state.config.limits.connections_per_address);
            let proxies = state.config.server.trusted_proxies.clone();
            Places::new(all, usize::try_from(of_one).unwrap_or(usize::MAX), move |address| {
                proxies.iter().any(|network| network.contains(&address))
            })
        };
        tracker.spawn(server::serve(listeners.public, http::router(state), places, stop.clone(), tracker.clone()));
        Ok(Node { address, admin_address, reloader, rooms, live, stop, tracker })
    }

    /// Closes every socket, lets every request end, tells the live store that nobody is here any more, and stops; whatever
    /// does not end by itself is left behind.
    pub async fn stop(self) {
        info!("stopping");
        self.stop.cancel();
        self.tracker.close();
        let end = async {
            self.tracker.wait().await;
            self.live.settle().await;
            self.rooms.shut_down().await;
        };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, end).await.is_err() {
            warn!("some connections or requests did not end in time");
        }
        info!("stopped");
    }
}

/// This program's own file, to start it again as a plugin's child. On Linux also after the file was replaced.
pub fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| "streamit".into()) }
}

/// How many connections there may be: as configured, or as many as the limit of open files leaves.
fn connections(config: &Config) -> usize {
    let limits = &config.limits;
    let files = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _)| soft);
    let most = files.saturating_sub(OTHER_FILES + config.database.max_connections).max(files / 4);
    let wanted = if limits.connections == 0 { most } else { limits.connections.min(most) };
    usize::try_from(wanted).unwrap_or(usize::MAX)
}
