//! StreamIt's host: a watch-party server that knows no video provider.
//!
//! Modules in the order data flows through them:
//!
//! ```text
//! config → providers ┐
//!                    ├→ http → (session) → live → feed → session → browser
//! config → rooms ────┘
//! ```
//!
//! - [`config`]: the operator's TOML file.
//! - [`telemetry`]: log and metrics.
//! - [`providers`]: the only door to plugins.
//! - [`rooms`]: the durable records; all SQL.
//! - [`playback`], [`timeline`]: the pure rules of play, pause and seek, and of whose word about them still counts.
//! - [`live`]: who is here and what is playing, and the feeds that tell it.
//! - [`lifecycle`]: a room's life, where `rooms` and `live` meet.
//! - [`protocol`]: the WebSocket's messages.
//! - [`session`]: one WebSocket.
//! - [`limit`]: how fast is too fast.
//! - [`http`]: every route.
//!
//! Two invariants, held by a test that reads the `use` lines:
//!
//! - `playback`, `protocol` and `streamit-plugin-api` know nothing of sqlx or redis, and `playback` nothing of axum.
//! - `rooms`, `live` and `session` do not know that plugins exist; `http` asks `providers` for two things only:
//!   what a provider can do, and a derived URL.

pub mod config;
pub mod http;
pub mod lifecycle;
pub mod limit;
pub mod live;
pub mod playback;
pub mod protocol;
pub mod providers;
pub mod rooms;
pub mod session;
pub mod telemetry;
pub mod timeline;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, LiveStore},
    http::AppState,
    lifecycle::Lobby,
    limit::PerAddress,
    live::Live,
    providers::{Providers, Reloader},
    rooms::Rooms,
    session::Sessions,
    telemetry::Metrics,
};

/// Connections that wait to be accepted: after a restart everyone comes at once.
const BACKLOG: u32 = 4096;

/// A peer that acknowledges nothing for so long is gone, whatever TCP would hope.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long sockets and requests get to end when the node stops.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

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
        let rooms = Rooms::open(&config.database.url).await?;
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
        let sessions = Sessions {
            live,
            limits: Arc::new(config.limits.clone()),
            metrics: metrics.clone(),
            stop: stop.clone(),
            tracker: tracker.clone(),
        };
        let creations = Arc::new(PerAddress::new(config.rooms.create_per_minute));
        let state = AppState {
            config,
            providers,
            reloader: reloader.clone(),
            lobby: lobby.clone(),
            sessions,
            metrics,
            creations,
        };

        tracker.spawn(lobby.clone().keep(away_limit, stop.clone()));
        tracker.spawn(lobby.sweep(stop.clone()));
        let mut admin_address = None;
        if let Some(listener) = listeners.admin {
            let address = listener.local_addr()?;
            info!(%address, "operator's listener");
            admin_address = Some(address);
            tracker.spawn(answer(listener, http::admin_router(state.clone()), stop.clone()));
        }
        let address = listeners.public.local_addr()?;
        info!(%address, "listening");
        tracker.spawn(answer(listeners.public, http::router(state), stop.clone()));
        Ok(Node { address, admin_address, reloader, rooms, stop, tracker })
    }

    /// Serves until `shutdown`; then closes every socket, lets every request end, and stops.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        info!("stopping");
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.tracker.wait()).await.is_err() {
            warn!("some connections did not end in time");
        }
        self.rooms.shut_down().await;
        info!("stopped");
    }
}

/// This program's own file, to start it again as a plugin's child. On Linux also after the file was replaced.
pub fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { own } else { std::env::current_exe().unwrap_or_else(|_| "streamit".into()) }
}

async fn answer(listener: TcpListener, app: axum::Router, stop: CancellationToken) {
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener.tap_io(tune), app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        warn!(%error, "a listener ended");
    }
}

/// Small frames leave at once, and a vanished peer is noticed.
fn tune(stream: &mut TcpStream) {
    let tuned = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tuned = tuned.and_then(|()| socket2::SockRef::from(&*stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}
