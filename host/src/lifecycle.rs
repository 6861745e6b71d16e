//! A room's life, where its durable and its live half meet: created, entered, given another source, closed, expired.
//!
//! The database always comes first: what people are told has been stored.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    live::{Live, LiveError, LiveRoom},
    protocol::CloseReason,
    rooms::{HostKey, NewRoom, Room, RoomCode, RoomError, Rooms, Source, random_share},
};

/// How often a node says that its members are still here, give or take a fifth: three times within a lease.
const HEARTBEAT: Duration = Duration::from_secs(4);
const BREATH: Duration = Duration::from_millis(100);
/// Heartbeats on their way at once.
const BEATS_AT_ONCE: usize = 64;

/// How often rooms are looked through for those whose host stayed away.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// When the database could not close a room, it is tried again after this.
const SWEEP_RETRY: Duration = Duration::from_secs(5);

/// Rooms, from both sides.
#[derive(Clone)]
pub struct Lobby {
    pub rooms: Rooms,
    pub live: Live,
}

#[derive(Debug, thiserror::Error)]
pub enum LobbyError {
    #[error("there is no such room")]
    NotFound,
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

impl Lobby {
    /// Wakes every stored room, so that those nobody comes back to expire like any other.
    pub async fn restore(&self) -> Result<(), LobbyError> {
        let rooms = self.rooms.all_open().await?;
        let count = rooms.len();
        self.live.remember(rooms).await?;
        info!(rooms = count, "rooms restored");
        Ok(())
    }

    /// A new room, with the only copy of its key.
    pub async fn create(&self, new: NewRoom) -> Result<(Arc<LiveRoom>, HostKey), LobbyError> {
        self.ready()?;
        let (room, key) = self.rooms.create(new, self.live.now_ms()).await?;
        info!(room.code = %room.code, "room created");
        Ok((self.live.open(room).await?, key))
    }

    /// The room of that code, woken if this node does not know it yet.
    pub async fn enter(&self, code: RoomCode) -> Result<Arc<LiveRoom>, LobbyError> {
        let known = self.live.room(code);
        if let Some(room) = known.as_ref().filter(|room| self.live.follows(room)) {
            return Ok(room.clone());
        }
        if self.live.was_closed(code) {
            return Err(LobbyError::NotFound);
        }
        match self.wake(code).await {
            // Database or live store are away: what this node knows is still true.
            Err(LobbyError::Room(_) | LobbyError::Live(LiveError::Unavailable(_))) if known.is_some() => {
                known.ok_or(LobbyError::NotFound)
            }
            woken => woken,
        }
    }

    async fn wake(&self, code: RoomCode) -> Result<Arc<LiveRoom>, LobbyError> {
        let room = self.rooms.find(code).await?.ok_or(LobbyError::NotFound)?;
        Ok(self.live.open(room).await?)
    }

    /// Nothing is stored that could not be told.
    fn ready(&self) -> Result<(), LobbyError> {
        match self.live.is_up() {
            true => Ok(()),
            false => Err(LiveError::Unavailable("not connected".into()).into()),
        }
    }

    /// Something else to play: from the beginning, paused.
    pub async fn set_source(&self, code: RoomCode, source: &Source) -> Result<Arc<LiveRoom>, LobbyError> {
        self.ready()?;
        let room: Room = self.rooms.set_source(code, source).await?.ok_or(LobbyError::NotFound)?;
        info!(room.code = %code, "source changed");
        Ok(self.live.open(room).await?)
    }

    /// The end of a room, for everyone in it.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LobbyError> {
        self.ready()?;
        self.rooms.close(code, self.live.now_ms()).await?;
        self.live.close(code, reason).await?;
        info!(room.code = %code, ?reason, "room closed");
        Ok(())
    }

    /// Keeps this node's rooms alive in the store, and mends what a store that was away or emptied has lost, until `stop`.
    /// A node that is without its store for longer than `away_limit` sends its people elsewhere.
    pub async fn keep(self, away_limit: Duration, stop: CancellationToken) {
        let mut up_at = Instant::now();
        loop {
            let pause = HEARTBEAT.mul_f64(0.8 + 0.4 * random_share());
            let waited = async {
                // Trouble comes in crowds of rooms and nodes: a breath collects the one and parts the other.
                if tokio::time::timeout(pause, self.live.troubled()).await.is_ok() {
                    tokio::time::sleep(BREATH.mul_f64(random_share())).await;
                }
            };
            if stop.run_until_cancelled(waited).await.is_none() {
                return;
            }
            if self.live.is_up() {
                up_at = Instant::now();
            }
            self.live.set_cut_off(up_at.elapsed() > away_limit);
            let beats = self.live.visited().into_iter().map(|room| self.beat(room));
            futures_util::stream::iter(beats).for_each_concurrent(BEATS_AT_ONCE, |beat| beat).await;
            self.live.forget_empty().await;
        }
    }

    async fn beat(&self, room: Arc<LiveRoom>) {
        match self.live.beat(&room).await {
            Ok(()) => {}
            Err(LiveError::UnknownRoom) => self.recover(&room).await,
            Err(error) => debug!(room.code = %room.code(), %error, "no heartbeat"),
        }
    }

    /// The store does not know a room that has members here: it was closed elsewhere, or the store has lost it.
    async fn recover(&self, room: &Arc<LiveRoom>) {
        let code = room.code();
        let record = match self.rooms.find(code).await {
            Ok(Some(record)) => record,
            Ok(None) => return self.live.end(room, CloseReason::HostGone),
            // Nobody can have closed it while the database is away.
            Err(_) => Room::clone(&room.record()),
        };
        let recovered = async {
            self.live.open(record).await?;
            self.live.beat(room).await
        };
        match recovered.await {
            Ok(()) => info!(room.code = %code, "the live store had lost the room; it is back where it was"),
            Err(error) => warn!(room.code = %code, %error, "the room cannot be brought back yet"),
        }
    }

    /// Closes rooms whose host has been away for too long, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let expired = match self.live.claim_expired().await {
                Ok(expired) => expired,
                Err(error) => {
                    debug!(%error, "cannot look for expired rooms");
                    continue;
                }
            };
            for code in expired {
                if let Err(error) = self.close(code, CloseReason::HostGone).await {
                    warn!(room.code = %code, %error, "cannot close an expired room; it is tried again");
                    if let Err(error) = self.live.return_expired(code, SWEEP_RETRY).await {
                        warn!(room.code = %code, %error, "the room stays until its host returns or the host restarts");
                    }
                }
            }
        }
    }
}
