//! Live rooms: what is playing and where, who is here, whether the host is connected; and the feeds that tell them.
//!
//! The store holds the truth. A node adds what only it can know: its own members, and their feeds.

mod feed;
mod memory;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;
use tracing::{Instrument, debug, debug_span};

use feed::Feed;
pub use feed::Frame;
use memory::Memory;

use crate::{
    playback::{Command, PlaybackState},
    protocol::{CloseReason, Presence, Role, ServerMessage},
    rooms::{Room, RoomCode},
    telemetry::Metrics,
};

/// A room tells its members at most this often how many they are, however many come and go.
const PRESENCE_EVERY: Duration = Duration::from_millis(500);

/// A closed room is remembered for so long, so that whoever was on the way in learns that it is over.
const REMEMBER_CLOSED: Duration = Duration::from_secs(10);

/// Unix time in milliseconds. A function, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// This machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A handle on the live rooms of this node.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    store: Store,
    rooms: RwLock<HashMap<RoomCode, Arc<LiveRoom>>>,
    max_viewers: u64,
    metrics: Arc<Metrics>,
}

/// Where the truth is. One implementation so far; the methods are the seam for another.
enum Store {
    Memory(Memory),
}

/// A room as this node knows it.
pub struct LiveRoom {
    record: RwLock<Arc<Room>>,
    feed: Feed,
    here: Mutex<Here>,
}

/// This node's members of a room.
#[derive(Default)]
struct Here {
    counts: Counts,
    /// A task is telling the store; it will see later changes too.
    is_telling: bool,
}

/// How many members a node has in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connected members, hosts included.
    pub viewers: u64,
    /// Those who showed the room's key; several are one host with several tabs.
    pub hosts: u64,
}

/// A room's live state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub version: i64,
    pub playback: PlaybackState,
    pub presence: Presence,
}

/// A snapshot, and the frame that says the same.
pub struct Current {
    pub snapshot: Snapshot,
    pub frame: Frame,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error("the room is not live")]
    UnknownRoom,
    #[error("the room's key was replaced")]
    KeyReplaced,
}

/// Why nobody else gets in.
#[derive(Debug, PartialEq, Eq)]
pub enum JoinError {
    Full,
    Closed,
}

impl Live {
    /// Live state in this process's memory.
    pub fn in_memory(host_grace: Duration, max_viewers: u64, clock: Clock, metrics: Arc<Metrics>) -> Live {
        let host_grace_ms = i64::try_from(host_grace.as_millis()).unwrap_or(i64::MAX / 2);
        let store = Store::Memory(Memory::new(host_grace_ms, clock));
        Live(Arc::new(Shared { store, rooms: RwLock::default(), max_viewers, metrics }))
    }

    /// The store's clock: what clients estimate with PING.
    pub fn now_ms(&self) -> i64 {
        self.0.store.now_ms()
    }

    /// Brings a stored room to life, or takes over its newer source.
    pub async fn open(&self, record: Room) -> Result<Arc<LiveRoom>, LiveError> {
        let frame = self.0.store.open(&record).await?;
        let mut rooms = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let room = match rooms.entry(record.code) {
            Entry::Occupied(known) => {
                let room = known.get().clone();
                let mut current = room.record.write().unwrap_or_else(PoisonError::into_inner);
                if record.revision > current.revision {
                    *current = Arc::new(record);
                }
                drop(current);
                room
            }
            Entry::Vacant(free) => {
                self.0.metrics.rooms.inc();
                let record = RwLock::new(Arc::new(record));
                free.insert(Arc::new(LiveRoom { record, feed: Feed::new(frame.clone()), here: Mutex::default() }))
                    .clone()
            }
        };
        drop(rooms);
        self.publish(&room, frame);
        Ok(room)
    }

    /// The room of that code, if this node knows it and it is not over.
    pub fn room(&self, code: RoomCode) -> Option<Arc<LiveRoom>> {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&code).filter(|room| !room.feed.is_over()).cloned()
    }

    /// Whether a room of that code has just been closed here.
    pub fn was_closed(&self, code: RoomCode) -> bool {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&code).is_some_and(|room| room.feed.is_over())
    }

    /// Makes the caller a member until the answer is dropped.
    pub fn join(&self, room: &Arc<LiveRoom>, role: Role) -> Result<Member, JoinError> {
        let frames = room.feed.subscribe();
        if frames.borrow().is_last {
            return Err(JoinError::Closed);
        }
        {
            let mut here = room.here.lock().unwrap_or_else(PoisonError::into_inner);
            if here.counts.viewers >= self.0.max_viewers {
                return Err(JoinError::Full);
            }
            here.counts.viewers += 1;
            here.counts.hosts += u64::from(role == Role::Host);
        }
        self.0.metrics.members.inc();
        self.tell_presence(room);
        Ok(Member { live: self.clone(), room: room.clone(), role, frames })
    }

    /// Carries out a host's command and shows everyone the result.
    pub async fn command(&self, room: &LiveRoom, key_generation: i64, command: Command) -> Result<(), LiveError> {
        let code = room.code();
        let span = debug_span!("live.apply", room.code = %code, ?command);
        let frame = self.0.store.apply(code, key_generation, command).instrument(span).await?;
        self.0.metrics.commands_applied.inc();
        if let Some(frame) = frame {
            self.publish(room, frame);
        }
        Ok(())
    }

    /// The live state as the store has it now.
    pub async fn read(&self, code: RoomCode) -> Result<Current, LiveError> {
        self.0.store.read(code).await
    }

    /// Ends a room for everyone in it.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LiveError> {
        let version = self.0.store.close(code).await?;
        let room = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner).get(&code).cloned();
        if let (Some(room), Some(version)) = (room, version) {
            let text = ServerMessage::Closed { reason }.encode();
            self.publish(&room, Frame { version, text, is_last: true });
            let live = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(REMEMBER_CLOSED).await;
                if live.0.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(&code).is_some() {
                    live.0.metrics.rooms.dec();
                }
            });
        }
        Ok(())
    }

    /// Takes the rooms whose host has been away for too long; each is given out once.
    pub async fn claim_expired(&self) -> Result<Vec<RoomCode>, LiveError> {
        self.0.store.claim_expired().await
    }

    /// Gives a claimed room back, to be claimed again after `delay`.
    pub async fn return_expired(&self, code: RoomCode, delay: Duration) -> Result<(), LiveError> {
        self.0.store.return_expired(code, delay).await
    }

    /// Public rooms whose host is connected, most viewers first, after the one given.
    pub async fn listed(
        &self,
        after: Option<(u64, RoomCode)>,
        limit: usize,
    ) -> Result<Vec<(u64, RoomCode)>, LiveError> {
        self.0.store.listed(after, limit).await
    }

    fn publish(&self, room: &LiveRoom, frame: Frame) {
        if room.feed.publish(frame) {
            self.0.metrics.frames_published.inc();
        }
    }

    /// Sees to it that the store learns this node's counts: at once, and then at most every [`PRESENCE_EVERY`].
    fn tell_presence(&self, room: &Arc<LiveRoom>) {
        {
            let mut here = room.here.lock().unwrap_or_else(PoisonError::into_inner);
            if here.is_telling {
                return;
            }
            here.is_telling = true;
        }
        let (live, room) = (self.clone(), room.clone());
        tokio::spawn(async move {
            let mut told = None;
            loop {
                let counts = {
                    let mut here = room.here.lock().unwrap_or_else(PoisonError::into_inner);
                    if told == Some(here.counts) {
                        here.is_telling = false;
                        return;
                    }
                    here.counts
                };
                match live.0.store.presence(room.code(), counts).await {
                    Ok(frame) => live.publish(&room, frame),
                    // The room was closed meanwhile: there is nobody left to tell.
                    Err(error) => debug!(room.code = %room.code(), %error, "presence not told"),
                }
                live.0.metrics.presence_told.inc();
                told = Some(counts);
                tokio::time::sleep(PRESENCE_EVERY).await;
            }
        });
    }
}

impl Store {
    fn now_ms(&self) -> i64 {
        match self {
            Store::Memory(memory) => memory.now_ms(),
        }
    }
}

#[expect(clippy::unused_async, reason = "a store outside this process has to be waited for")]
impl Store {
    async fn open(&self, room: &Room) -> Result<Frame, LiveError> {
        match self {
            Store::Memory(memory) => Ok(memory.open(room)),
        }
    }

    async fn apply(&self, code: RoomCode, key_generation: i64, command: Command) -> Result<Option<Frame>, LiveError> {
        match self {
            Store::Memory(memory) => memory.apply(code, key_generation, command),
        }
    }

    async fn presence(&self, code: RoomCode, counts: Counts) -> Result<Frame, LiveError> {
        match self {
            Store::Memory(memory) => memory.presence(code, counts),
        }
    }

    async fn read(&self, code: RoomCode) -> Result<Current, LiveError> {
        match self {
            Store::Memory(memory) => memory.read(code),
        }
    }

    async fn close(&self, code: RoomCode) -> Result<Option<i64>, LiveError> {
        match self {
            Store::Memory(memory) => Ok(memory.close(code)),
        }
    }

    async fn claim_expired(&self) -> Result<Vec<RoomCode>, LiveError> {
        match self {
            Store::Memory(memory) => Ok(memory.claim_expired()),
        }
    }

    async fn return_expired(&self, code: RoomCode, delay: Duration) -> Result<(), LiveError> {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2);
        match self {
            Store::Memory(memory) => memory.return_expired(code, delay_ms),
        }
        Ok(())
    }

    async fn listed(&self, after: Option<(u64, RoomCode)>, limit: usize) -> Result<Vec<(u64, RoomCode)>, LiveError> {
        match self {
            Store::Memory(memory) => Ok(memory.listed(after, limit)),
        }
    }
}

impl LiveRoom {
    /// The durable half, as last heard.
    pub fn record(&self) -> Arc<Room> {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn code(&self) -> RoomCode {
        self.record.read().unwrap_or_else(PoisonError::into_inner).code
    }

    /// Members connected to this node.
    pub fn members_here(&self) -> u64 {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).counts.viewers
    }
}

/// One connected member: in the count as long as this lives.
pub struct Member {
    live: Live,
    room: Arc<LiveRoom>,
    role: Role,
    /// The room's newest frame, now and whenever it changes.
    pub frames: watch::Receiver<Frame>,
}

impl Member {
    pub fn room(&self) -> &LiveRoom {
        &self.room
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        {
            let mut here = self.room.here.lock().unwrap_or_else(PoisonError::into_inner);
            here.counts.viewers -= 1;
            here.counts.hosts -= u64::from(self.role == Role::Host);
        }
        self.live.0.metrics.members.dec();
        // After the runtime is gone there is nobody to tell.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.live.tell_presence(&self.room);
        }
    }
}

#[cfg(test)]
mod tests;
