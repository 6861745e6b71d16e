//! A room's life, where its durable and its live half meet: created, entered, given another source, closed, expired.
//!
//! What begins or changes is decided by the database: until it is stored nobody has seen it, and what is refused is not
//! carried out; once it is stored it is done, however long it takes to tell the live store. What ends is decided by the live
//! store, which everyone asks; the database follows, however long that takes. Only where the live store is this process's own
//! memory, which forgets with it, the database is asked first.
//!
//! A node may end between the one and the other: it notes in the live store what it begins, and the others bring to an end what
//! is not settled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use crate::{
    live::{Change, Due, Live, LiveError, LiveRoom, Snapshot},
    protocol::CloseReason,
    rooms::{Cursor, HostKey, NewRoom, Pending, Room, RoomCode, RoomError, Rooms, STORED_OR_NOT, Source, random_share},
    telemetry,
};

/// How often a node says that its members are still here, give or take a fifth: three times within a lease.
const HEARTBEAT: Duration = Duration::from_secs(4);
const BREATH: Duration = Duration::from_millis(100);
/// Heartbeats on their way at once.
const BEATS_AT_ONCE: usize = 64;

/// How often rooms are looked through for those whose host stayed away.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Rooms looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// A database that could not take the end of a room is asked again after this.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// A closed room is deleted after this.
const CLOSED_KEPT: Duration = Duration::from_secs(24 * 3600);
const DELETE_EVERY: Duration = Duration::from_secs(3600);

/// Every open room is made sure of so often, whatever happened …
const REMEMBER_EVERY: Duration = Duration::from_secs(600);
/// … and at once when the live store is seen to have forgotten some: it is asked so often. Never quite, so that of all nodes
/// one asks first, and reads the database for all.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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

impl LobbyError {
    /// Whether database or live store did not answer: what this node knows is the best there is.
    pub fn is_away(&self) -> bool {
        match self {
            LobbyError::NotFound => false,
            LobbyError::Room(_) => true,
            LobbyError::Live(error) => error.is_away(),
        }
    }
}

impl Lobby {
    /// Wakes every stored room, so that those nobody comes back to expire like any other.
    pub async fn restore(&self) -> Result<(), LobbyError> {
        match self.remember().await {
            Ok(rooms) => info!(rooms, "rooms restored"),
            // The others can be used, and those are made sure of again later.
            Err(LobbyError::Live(error)) if self.live.is_elsewhere() && self.live.is_up() => {
                warn!(%error, "not every stored room could be made sure of; it is done later");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn remember(&self) -> Result<usize, LobbyError> {
        let (mut from, mut count) = (Some(Cursor::default()), 0);
        while from.is_some() {
            let rooms = self.rooms.open_rooms(&mut from).await?;
            count += rooms.len();
            self.live.remember(rooms).await?;
        }
        self.live.remembered().await?;
        Ok(count)
    }

    /// Remembers every stored room, if it is time or the live store has forgotten some: one that nobody is in any more, since
    /// its node died with the store, has its grace and no more. Answers whether that was done.
    async fn make_sure(&self, is_time: bool) -> bool {
        let made_sure = async {
            let has_forgotten = self.live.has_forgotten().await;
            if !is_time && !has_forgotten? {
                return Ok(None);
            }
            self.remember().await.map(Some)
        };
        match made_sure.await {
            Ok(made_sure) => {
                if let Some(rooms) = made_sure.filter(|_| !is_time) {
                    info!(rooms, "the live store may have forgotten rooms; all are made sure of");
                }
                made_sure.is_some()
            }
            Err(error) => {
                debug!(%error, "stored rooms are made sure of later");
                false
            }
        }
    }

    /// A new room, paused at `start_ms`, with the only copy of its key.
    pub async fn create(&self, new: NewRoom, start_ms: i64) -> Result<(Arc<LiveRoom>, HostKey), LobbyError> {
        self.ready()?;
        let (pending, key) = self.rooms.create(new, self.live.now_ms()).await?;
        let room = self.take(pending, start_ms).await?;
        info!(room = %telemetry::alias(room.code()), "room created");
        Ok((room, key))
    }

    /// Carries out a change, to its end even if whoever asked for it goes away.
    async fn take(&self, pending: Pending, start_ms: i64) -> Result<Arc<LiveRoom>, LobbyError> {
        let lobby = self.clone();
        to_the_end(async move { lobby.take_to_the_end(pending, start_ms).await }).await
    }

    async fn take_to_the_end(&self, pending: Pending, start_ms: i64) -> Result<Arc<LiveRoom>, LobbyError> {
        let record = pending.room().clone();
        // What could not be told is not stored.
        let (taken, change) = tokio::join!(self.live.takes(record.code), self.live.begins(record.code));
        taken?;
        pending.commit().await.inspect_err(|error| self.find_out(record.code, error))?;
        match self.live.open_at(record.clone(), start_ms).await {
            Err(error) if error.is_away() => {
                let room = telemetry::alias(record.code);
                warn!(%room, %error, "a change is stored, and the live store does not know yet; it is told again");
                Ok(self.live.tell_later(record, start_ms))
            }
            opened => {
                self.live.settled(record.code, change);
                Ok(opened?)
            }
        }
    }

    /// Where nobody knows whether a change is stored: if it is, people are not to see it hours later.
    fn find_out(&self, code: RoomCode, error: &RoomError) {
        let RoomError::Unanswered = error else { return };
        let lobby = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(STORED_OR_NOT).await;
                let found = match lobby.wake(code).await {
                    Err(LobbyError::NotFound) => lobby.show_end(code, CloseReason::ClosedByHost).await,
                    found => found.map(drop),
                };
                if !found.is_err_and(|error| error.is_away()) {
                    return;
                }
            }
        });
    }

    /// The database has closed a room, for everyone in it.
    async fn show_end(&self, code: RoomCode, reason: CloseReason) -> Result<(), LobbyError> {
        self.live.close(code, reason).await?;
        Ok(self.live.forget(code).await?)
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
        // Most know the room: what it takes to find one is no part of what they take.
        match Box::pin(self.wake(code)).await {
            // Database or live store are away: what this node knows is still true.
            Err(error) if error.is_away() && known.is_some() => known.ok_or(LobbyError::NotFound),
            woken => woken,
        }
    }

    /// The room of that code as it is, for somebody who only looks: nothing is woken, and nothing kept alive by it.
    pub async fn look(&self, code: RoomCode) -> Result<(Arc<Room>, Snapshot), LobbyError> {
        let known = self.live.room(code);
        let seen = known.as_ref().and_then(|room| Some((room.record(), room.snapshot()?)));
        let follows = known.as_ref().is_some_and(|room| self.live.follows(room));
        if let Some(seen) = seen.clone().filter(|_| follows) {
            return Ok(seen);
        }
        if self.live.was_closed(code) {
            return Err(LobbyError::NotFound);
        }
        let look = Box::pin(async {
            let record = self.rooms.find(code).await?.ok_or(LobbyError::NotFound)?;
            Ok((Arc::new(record), self.live.read(code).await?.snapshot))
        });
        match look.await {
            Err(LobbyError::Live(LiveError::UnknownRoom)) => {
                // The live store has forgotten it.
                let room = Box::pin(self.wake(code)).await?;
                let snapshot = room.snapshot().ok_or(LobbyError::NotFound)?;
                Ok((room.record(), snapshot))
            }
            Err(error) if error.is_away() => seen.ok_or(error),
            looked => looked,
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

    /// Something else to play: paused, at `start_ms`.
    pub async fn set_source(
        &self,
        code: RoomCode,
        source: &Source,
        start_ms: i64,
    ) -> Result<Arc<LiveRoom>, LobbyError> {
        self.ready()?;
        let pending = self.rooms.set_source(code, source, self.live.now_ms()).await?.ok_or(LobbyError::NotFound)?;
        let room = self.take(pending, start_ms).await?;
        info!(room = %telemetry::alias(code), "source changed");
        Ok(room)
    }

    /// The end of a room, for everyone in it.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LobbyError> {
        self.ready()?;
        if !self.live.is_elsewhere() {
            return self.close_stored(code, reason).await;
        }
        let change = self.live.begins(code).await;
        self.live.close(code, reason).await?;
        match self.store_end(code).await {
            Ok(()) => self.live.settled(code, change),
            Err(error) => {
                let room = telemetry::alias(code);
                warn!(%room, %error, "a room was closed, and the database does not know yet; it is told again");
            }
        }
        Ok(())
    }

    /// What this process knows ends with it: only what the database has taken is closed.
    async fn close_stored(&self, code: RoomCode, reason: CloseReason) -> Result<(), LobbyError> {
        let lobby = self.clone();
        let closing = async move {
            let closed = lobby.rooms.close(code, lobby.live.now_ms()).await;
            closed.inspect_err(|error| lobby.find_out(code, error))?;
            info!(room = %telemetry::alias(code), "room closed");
            lobby.show_end(code, reason).await
        };
        to_the_end(closing).await
    }

    /// Whoever changed a room has not come to the end of it. What is stored is so, and what is closed is closed.
    async fn settle(&self, code: RoomCode, change: Change) -> Result<(), RoomError> {
        match self.wake(code).await {
            Ok(_) | Err(LobbyError::NotFound) => {}
            Err(LobbyError::Live(LiveError::Closed)) => self.store_end(code).await?,
            Err(LobbyError::Room(error)) if error.is_of_the_row() => {}
            Err(LobbyError::Room(error)) => return Err(error),
            Err(LobbyError::Live(error)) => {
                debug!(room = %telemetry::alias(code), %error, "a change is looked at once more");
                return Ok(());
            }
        }
        self.live.settled(code, Some(change));
        Ok(())
    }

    /// Has the database know that a room is closed. Until then the live store has it looked at again.
    async fn store_end(&self, code: RoomCode) -> Result<(), RoomError> {
        if self.rooms.close(code, self.live.now_ms()).await? {
            info!(room = %telemetry::alias(code), "room closed");
        }
        if let Err(error) = self.live.forget(code).await {
            debug!(room = %telemetry::alias(code), %error, "a closed room is looked at once more");
        }
        Ok(())
    }

    /// Keeps this node's rooms alive in the store, and mends what a store that was away or emptied has lost, until `stop`.
    /// A node that is without its store for longer than `away_limit` sends its people elsewhere.
    pub async fn keep(self, away_limit: Duration, stop: CancellationToken) {
        let (mut up_at, mut beaten_at, mut is_unheard) = (Instant::now(), Instant::now(), false);
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
            let trouble = self.live.take_trouble();
            let is_due = beaten_at.elapsed() >= HEARTBEAT.mul_f64(0.8);
            if is_due {
                beaten_at = Instant::now();
            }
            let visited = self.live.visited().into_iter();
            let beats = visited.filter(|room| is_due || trouble.contains(&room.code())).map(|room| self.beat(room));
            let heard = futures_util::stream::iter(beats).buffer_unordered(BEATS_AT_ONCE);
            let failed = heard.fold(None, async |failed: Option<LiveError>, beat| failed.or(beat)).await;
            match failed {
                Some(ref error) if !is_unheard => {
                    warn!(%error, "the live store takes no heartbeats; they are tried again and again")
                }
                None if is_unheard && is_due => info!("the live store takes heartbeats again"),
                _ => {}
            }
            is_unheard = failed.is_some() || (is_unheard && !is_due);
            self.live.forget_empty();
        }
    }

    /// Answers why the store did not hear it.
    async fn beat(&self, room: Arc<LiveRoom>) -> Option<LiveError> {
        match self.live.beat(&room).await {
            Ok(()) => None,
            Err(LiveError::UnknownRoom) => {
                self.recover(&room).await;
                None
            }
            Err(error) => {
                debug!(room = %telemetry::alias(room.code()), %error, "no heartbeat");
                Some(error)
            }
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
            Ok(()) => {
                info!(room = %telemetry::alias(code), "the live store had lost the room; it is back where it was")
            }
            Err(error) => warn!(room = %telemetry::alias(code), %error, "the room cannot be brought back yet"),
        }
    }

    /// Closes rooms whose host has been away for too long, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let soon = |every: Duration| Instant::now() + every.mul_f64(0.5 + random_share());
        let (mut look_at, mut remember_at) = (soon(LOOK_EVERY), soon(REMEMBER_EVERY));
        let (mut deleted_at, mut refused_at) = (None::<Instant>, None::<Instant>);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.live.is_elsewhere() && Instant::now() >= look_at {
                if self.make_sure(Instant::now() >= remember_at).await {
                    remember_at = soon(REMEMBER_EVERY);
                }
                look_at = soon(LOOK_EVERY);
            }
            if deleted_at.is_none_or(|at| at.elapsed() >= DELETE_EVERY) {
                deleted_at = Some(Instant::now());
                self.delete_closed().await;
            }
            if refused_at.is_some_and(|at| at.elapsed() < STORE_RETRY) {
                continue;
            }
            refused_at = self.sweep_once().await.err().map(|error| {
                warn!(%error, "rooms were closed, and the database does not know yet; it is told again");
                Instant::now()
            });
        }
    }

    async fn delete_closed(&self) {
        let before = self.live.now_ms() - i64::try_from(CLOSED_KEPT.as_millis()).unwrap_or(i64::MAX);
        match self.rooms.delete_closed_before(before).await {
            Ok(0) => {}
            Ok(rooms) => info!(rooms, "rooms closed a day ago are deleted"),
            Err(error) => warn!(%error, "rooms closed a day ago cannot be deleted; it is tried again in an hour"),
        }
    }

    /// Looks at every room that is due. Fails if the database cannot take an end: the live store has it looked at again.
    async fn sweep_once(&self) -> Result<(), RoomError> {
        let due = match self.live.due().await {
            Ok(due) => due,
            Err(error) => {
                debug!(%error, "cannot look for expired rooms");
                return Ok(());
            }
        };
        let looks = due.into_iter().map(|Due { code, change }| async move {
            if let Some(change) = change {
                return self.settle(code, change).await;
            }
            match self.live.expire(code).await {
                Ok(true) => self.store_end(code).await,
                Ok(false) => Ok(()),
                Err(error) => {
                    debug!(room = %telemetry::alias(code), %error, "cannot look at a room that is due");
                    Ok(())
                }
            }
        });
        futures_util::stream::iter(looks)
            .buffer_unordered(LOOKS_AT_ONCE)
            .fold(Ok(()), async |all, one| all.and(one))
            .await
    }
}

/// Carries something out, even if whoever asked for it goes away.
async fn to_the_end<T: Send + 'static>(doing: impl Future<Output = T> + Send + 'static) -> T {
    let done = tokio::spawn(doing.in_current_span()).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests;
