//! A room's life, where its durable and its live half meet: created, entered, given another source, closed, expired.
//!
//! The database always comes first: what people are told has been stored.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    live::{Live, LiveError, LiveRoom},
    protocol::CloseReason,
    rooms::{HostKey, NewRoom, Room, RoomCode, RoomError, Rooms, Source},
};

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
        for room in rooms {
            self.live.open(room).await?;
        }
        info!(rooms = count, "rooms restored");
        Ok(())
    }

    /// A new room, with the only copy of its key.
    pub async fn create(&self, new: NewRoom) -> Result<(Arc<LiveRoom>, HostKey), LobbyError> {
        let (room, key) = self.rooms.create(new, self.live.now_ms()).await?;
        info!(room.code = %room.code, "room created");
        Ok((self.live.open(room).await?, key))
    }

    /// The room of that code, woken if this node does not know it yet.
    pub async fn enter(&self, code: RoomCode) -> Result<Arc<LiveRoom>, LobbyError> {
        if let Some(room) = self.live.room(code) {
            return Ok(room);
        }
        if self.live.was_closed(code) {
            return Err(LobbyError::NotFound);
        }
        let room = self.rooms.find(code).await?.ok_or(LobbyError::NotFound)?;
        Ok(self.live.open(room).await?)
    }

    /// Something else to play: from the beginning, paused.
    pub async fn set_source(&self, code: RoomCode, source: &Source) -> Result<Arc<LiveRoom>, LobbyError> {
        let room: Room = self.rooms.set_source(code, source).await?.ok_or(LobbyError::NotFound)?;
        info!(room.code = %code, "source changed");
        Ok(self.live.open(room).await?)
    }

    /// The end of a room, for everyone in it.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LobbyError> {
        self.rooms.close(code, self.live.now_ms()).await?;
        self.live.close(code, reason).await?;
        info!(room.code = %code, ?reason, "room closed");
        Ok(())
    }

    /// Closes rooms whose host has been away for too long, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let expired = match self.live.claim_expired().await {
                Ok(expired) => expired,
                Err(error) => {
                    warn!(%error, "cannot look for expired rooms");
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
