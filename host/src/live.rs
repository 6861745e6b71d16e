//! Live rooms: what is playing and where, who is here, whether the host is connected; and the feeds that tell them.
//!
//! The store holds the truth. A node adds what only it can know: its own members, and their feeds.

mod feed;
mod memory;
mod redis;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, watch};
use tracing::{Instrument, debug, debug_span};

use feed::Feed;
pub use feed::{Frame, Shown};
use memory::Memory;

use self::redis::{News, Redis};
use crate::{
    config,
    playback::{Order, PlaybackState},
    protocol::{CloseReason, Presence, Role, SeenRoom, ServerMessage, State, StoredHalf},
    rooms::{Room, RoomCode, hex, random_bytes},
    telemetry::Metrics,
    timeline::Seen,
};

/// A room tells its members at most this often how many they are, however many come and go.
const PRESENCE_EVERY: Duration = Duration::from_millis(500);

/// A closed room is remembered for so long, so that whoever was on the way in learns that it is over.
const REMEMBER_CLOSED: Duration = Duration::from_secs(10);

/// The public list is as long as anybody would read, and kept for as long as somebody may take to turn a page.
const LIST_LENGTH: usize = 1000;
const LIST_KEPT: Duration = Duration::from_secs(300);

/// Unix time in milliseconds. A function, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// This machine's clock, as it was when first looked at, and running on evenly: whoever sets it moves no room.
pub fn system_clock() -> Clock {
    let (start, since_epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    Arc::new(move || i64::try_from((since_epoch + start.elapsed()).as_millis()).unwrap_or(i64::MAX))
}

/// A handle on the live rooms of this node.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    store: Store,
    rooms: RwLock<HashMap<RoomCode, Arc<LiveRoom>>>,
    max_viewers: u64,
    metrics: Arc<Metrics>,
    /// Rooms should be looked after now, not at the next heartbeat.
    trouble: Notify,
    /// The store has been away for too long: whoever is here had better be elsewhere.
    is_cut_off: watch::Sender<bool>,
}

/// Where the truth is. The methods are the seam: both sides pass the same tests.
enum Store {
    Memory(Memory),
    Redis(Box<Redis>),
}

/// A room as this node knows it.
pub struct LiveRoom {
    code: RoomCode,
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

/// What the store made of an order.
#[derive(Debug)]
enum Applied {
    Changed(Frame),
    Nothing,
    Stale,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error("the room is not live")]
    UnknownRoom,
    #[error("the room's key was replaced")]
    KeyReplaced,
    #[error("the live store is away: {0}")]
    Unavailable(String),
}

/// Where a reader of the public list is: which list, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub id: String,
    pub offset: usize,
}

/// A page of the public list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rooms: Vec<RoomCode>,
    pub next: Option<Place>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("the list is not kept any more")]
    Expired,
    #[error(transparent)]
    Live(#[from] LiveError),
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
        Live::new(Store::Memory(Memory::new(host_grace_ms, clock)), max_viewers, metrics)
    }

    /// Live state in Redis, shared by every node that names it. A `clock` stands in for Redis's own in tests.
    pub async fn in_redis(
        config: &config::Redis,
        host_grace: Duration,
        max_viewers: u64,
        clock: Option<Clock>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Live> {
        let (redis, mut news) = Redis::connect(config, host_grace, clock, metrics.clone()).await?;
        let live = Live::new(Store::Redis(Box::new(redis)), max_viewers, metrics);
        let listener = live.clone();
        tokio::spawn(async move {
            while let Some(item) = news.recv().await {
                match item {
                    News::Frame(code, frame) => {
                        listener.0.metrics.frames_received.inc();
                        // A room nobody here is in any more has no feed to show it on.
                        if let Some(room) = listener.room(code) {
                            listener.publish(&room, frame);
                        }
                    }
                    News::Reread => {
                        listener.0.metrics.rereads.inc();
                        listener.0.trouble.notify_one();
                    }
                }
            }
        });
        Ok(live)
    }

    fn new(store: Store, max_viewers: u64, metrics: Arc<Metrics>) -> Live {
        Live(Arc::new(Shared {
            store,
            rooms: RwLock::default(),
            max_viewers,
            metrics,
            trouble: Notify::new(),
            is_cut_off: watch::Sender::new(false),
        }))
    }

    /// The store's clock: what clients estimate with PING.
    pub fn now_ms(&self) -> i64 {
        match &self.0.store {
            Store::Memory(memory) => memory.now_ms(),
            Store::Redis(redis) => redis.now_ms(),
        }
    }

    /// Whether the store answers at this moment.
    pub fn is_up(&self) -> bool {
        match &self.0.store {
            Store::Memory(_) => true,
            Store::Redis(redis) => redis.is_up(),
        }
    }

    /// Whether the store has been away for too long, now and whenever that changes.
    pub fn cut_off(&self) -> watch::Receiver<bool> {
        self.0.is_cut_off.subscribe()
    }

    /// Says whether the store has been away for too long.
    pub fn set_cut_off(&self, is_cut_off: bool) {
        self.0.is_cut_off.send_if_modified(|known| std::mem::replace(known, is_cut_off) != is_cut_off);
    }

    /// Brings a stored room to life, or takes over its newer source.
    pub async fn open(&self, record: Room) -> Result<Arc<LiveRoom>, LiveError> {
        let frame = match &self.0.store {
            // It forgets no room that this node remembers.
            Store::Memory(memory) => memory.open(&record, None),
            Store::Redis(redis) => {
                let seen = self.room(record.code).and_then(|room| room.seen(record.revision));
                redis.open(&record, seen.as_ref()).await?
            }
        };
        let room = {
            let mut rooms = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
            match rooms.entry(record.code) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(free) => {
                    self.0.metrics.rooms.inc();
                    free.insert(Arc::new(LiveRoom {
                        code: record.code,
                        record: RwLock::new(Arc::new(record.clone())),
                        feed: Feed::new(frame.clone()),
                        here: Mutex::default(),
                    }))
                    .clone()
                }
            }
        };
        room.learn(record);
        self.publish(&room, frame);
        Ok(room)
    }

    /// Offers what the host last saw of a room, in case the store has forgotten it since. One that the store does not
    /// have at all is left alone: it may have been closed.
    pub async fn offer(&self, room: &Arc<LiveRoom>, seen: &SeenRoom) -> Result<(), LiveError> {
        let record = room.record();
        if seen.source != record.source {
            return Ok(());
        }
        let frame = match &self.0.store {
            Store::Memory(memory) => memory.offer(&record, &seen.state)?,
            Store::Redis(redis) => redis.offer(&record, &seen.state).await?,
        };
        self.publish(room, frame);
        Ok(())
    }

    /// The room of that code, if this node knows it and it is not over.
    pub fn room(&self, code: RoomCode) -> Option<Arc<LiveRoom>> {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&code).filter(|room| !room.feed.is_over()).cloned()
    }

    /// Whether every change of a room reaches this node by itself, so that what it knows is the truth.
    pub fn follows(&self, room: &LiveRoom) -> bool {
        match &self.0.store {
            Store::Memory(_) => true,
            Store::Redis(redis) => redis.follows(room.code),
        }
    }

    /// Whether a room of that code has just been closed here.
    pub fn was_closed(&self, code: RoomCode) -> bool {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&code).is_some_and(|room| room.feed.is_over())
    }

    /// Makes the caller a member until the answer is dropped.
    pub fn join(&self, room: &Arc<LiveRoom>, role: Role) -> Result<Member, JoinError> {
        let frames = room.feed.subscribe();
        if frames.borrow().frame.is_last {
            return Err(JoinError::Closed);
        }
        {
            let mut here = room.here();
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

    /// Carries out a host's order and shows everyone the result. One that is about something that is over is dropped.
    pub async fn command(&self, room: &Arc<LiveRoom>, key_generation: i64, order: Order) -> Result<(), LiveError> {
        let code = room.code;
        let span = debug_span!("live.apply", room.code = %code, ?order);
        let apply = async {
            match &self.0.store {
                Store::Memory(memory) => memory.apply(code, key_generation, &order),
                Store::Redis(redis) => redis.apply(code, key_generation, &order).await,
            }
        };
        let applied = apply.instrument(span).await.inspect_err(|error| {
            // A store that was emptied knows no rooms: they are brought back now, not at the next heartbeat.
            if *error == LiveError::UnknownRoom {
                self.0.trouble.notify_one();
            }
        })?;
        if let Applied::Stale = applied {
            self.0.metrics.commands_stale.inc();
            return Ok(());
        }
        self.0.metrics.commands_applied.inc();
        if let Applied::Changed(frame) = applied {
            self.publish(room, frame);
        }
        Ok(())
    }

    /// The live state as the store has it now.
    pub async fn read(&self, code: RoomCode) -> Result<Current, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => memory.read(code),
            Store::Redis(redis) => {
                let frame = redis.read(code).await?;
                let unreadable = || LiveError::Unavailable("Redis has a state that is none".into());
                let snapshot = snapshot(&frame).ok_or_else(unreadable)?;
                Ok(Current { snapshot, frame })
            }
        }
    }

    /// Ends a room for everyone in it.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LiveError> {
        let text = ServerMessage::Closed { reason }.encode();
        let frame = match &self.0.store {
            Store::Memory(memory) => memory.close(code, &text),
            Store::Redis(redis) => redis.close(code, &text).await?,
        };
        if let (Some(room), Some(frame)) = (self.room(code), frame) {
            self.publish(&room, frame);
        }
        Ok(())
    }

    /// Ends a room whose end this node has missed.
    pub fn end(&self, room: &Arc<LiveRoom>, reason: CloseReason) {
        let text = ServerMessage::Closed { reason }.encode();
        let newest = room.feed.newest();
        self.publish(room, Frame { version: newest.version + 1, text, is_last: true, ..newest });
    }

    /// Takes the rooms whose host has been away for too long; each is given out once, to one node.
    pub async fn claim_expired(&self) -> Result<Vec<RoomCode>, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => Ok(memory.claim_expired()),
            Store::Redis(redis) => redis.claim_expired().await,
        }
    }

    /// Gives a claimed room back, to be claimed again after `delay`.
    pub async fn return_expired(&self, code: RoomCode, delay: Duration) -> Result<(), LiveError> {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2);
        match &self.0.store {
            Store::Memory(memory) => {
                memory.return_expired(code, delay_ms);
                Ok(())
            }
            Store::Redis(redis) => redis.return_expired(code, delay_ms).await,
        }
    }

    /// Sees to it that stored rooms expire even if nobody ever comes back to them.
    pub async fn remember(&self, rooms: Vec<Room>) -> Result<(), LiveError> {
        match &self.0.store {
            Store::Memory(_) => {
                for room in rooms {
                    self.open(room).await?;
                }
                Ok(())
            }
            Store::Redis(redis) => redis.remember(&rooms.iter().map(|room| room.code).collect::<Vec<_>>()).await,
        }
    }

    /// A page of the public rooms whose host is connected, most viewers first. The pages are of one list, however the
    /// counts change while they are turned.
    pub async fn list(&self, place: Option<Place>, limit: usize) -> Result<Page, ListError> {
        let (list, Place { id, offset }) = match place {
            Some(place) => (self.kept_list(&place.id).await?.ok_or(ListError::Expired)?, place),
            None => {
                let list = match &self.0.store {
                    Store::Memory(memory) => memory.listed(),
                    Store::Redis(redis) => redis.listed().await?,
                };
                let id = hex(&random_bytes::<8>());
                if list.len() > limit {
                    self.keep_list(&id, &list).await?;
                }
                (list, Place { id, offset: 0 })
            }
        };
        let end = offset.saturating_add(limit).min(list.len());
        let rooms = list.get(offset..end).unwrap_or_default().to_vec();
        Ok(Page { rooms, next: (end < list.len()).then_some(Place { id, offset: end }) })
    }

    async fn keep_list(&self, id: &str, list: &[RoomCode]) -> Result<(), LiveError> {
        match &self.0.store {
            Store::Memory(memory) => {
                memory.keep_list(id, list);
                Ok(())
            }
            Store::Redis(redis) => redis.keep_list(id, list).await,
        }
    }

    async fn kept_list(&self, id: &str) -> Result<Option<Vec<RoomCode>>, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => Ok(memory.kept_list(id)),
            Store::Redis(redis) => redis.kept_list(id).await,
        }
    }

    /// Returns when rooms should be looked after now: the store was away, or does not know a room it should.
    pub async fn troubled(&self) {
        self.0.trouble.notified().await;
    }

    /// Rooms with members on this node.
    pub fn visited(&self) -> Vec<Arc<LiveRoom>> {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.values().filter(|room| room.members_here() > 0 && !room.feed.is_over()).cloned().collect()
    }

    /// Tells the store that this node's members of a room are still here, and learns whatever was missed.
    pub async fn beat(&self, room: &Arc<LiveRoom>) -> Result<(), LiveError> {
        // Members leave memory by themselves: it has no leases.
        if let Store::Memory(_) = &self.0.store {
            return Ok(());
        }
        let counts = room.here().counts;
        let frame = self.tell(room, counts).await?;
        self.0.metrics.presence_told.inc();
        self.publish(room, frame);
        Ok(())
    }

    /// Forgets rooms that nobody on this node is in or on the way into. Where the store is elsewhere, it remembers.
    pub async fn forget_empty(&self) {
        let Store::Redis(redis) = &self.0.store else { return };
        let mut forgotten = Vec::new();
        self.0.rooms.write().unwrap_or_else(PoisonError::into_inner).retain(|code, room| {
            // Whoever is on the way in, or still telling, holds the room too.
            let is_needed = Arc::strong_count(room) > 1 || room.members_here() > 0;
            if !is_needed {
                forgotten.push(*code);
            }
            is_needed
        });
        for code in forgotten {
            self.0.metrics.rooms.dec();
            redis.unsubscribe(code).await;
        }
    }

    fn publish(&self, room: &Arc<LiveRoom>, frame: Frame) {
        if frame.revision > room.record().revision
            && let Ok(state) = serde_json::from_str::<State>(&frame.text)
        {
            let record = Room::clone(&room.record());
            let StoredHalf { title, source } = state.room;
            room.learn(Room { title, source, revision: frame.revision, ..record });
        }
        let is_last = frame.is_last;
        if !room.feed.publish(frame) {
            return;
        }
        self.0.metrics.frames_published.inc();
        if is_last {
            let (live, code) = (self.clone(), room.code);
            tokio::spawn(async move {
                tokio::time::sleep(REMEMBER_CLOSED).await;
                if live.0.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(&code).is_some() {
                    live.0.metrics.rooms.dec();
                }
                if let Store::Redis(redis) = &live.0.store {
                    redis.unsubscribe(code).await;
                }
            });
        }
    }

    /// Sees to it that the store learns this node's counts: at once, and then at most every [`PRESENCE_EVERY`].
    fn tell_presence(&self, room: &Arc<LiveRoom>) {
        {
            let mut here = room.here();
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
                    let mut here = room.here();
                    if told == Some(here.counts) {
                        here.is_telling = false;
                        return;
                    }
                    here.counts
                };
                told = match live.tell(&room, counts).await {
                    Ok(frame) => {
                        live.publish(&room, frame);
                        Some(counts)
                    }
                    Err(error @ LiveError::Unavailable(_)) => {
                        debug!(room.code = %room.code, %error, "presence is told when the store is back");
                        None
                    }
                    // The room was closed meanwhile, or the store forgot it: the heartbeat finds out which.
                    Err(error) => {
                        debug!(room.code = %room.code, %error, "presence not told");
                        live.0.trouble.notify_one();
                        Some(counts)
                    }
                };
                live.0.metrics.presence_told.inc();
                tokio::time::sleep(PRESENCE_EVERY).await;
            }
        });
    }

    async fn tell(&self, room: &LiveRoom, counts: Counts) -> Result<Frame, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => memory.presence(room.code, counts),
            Store::Redis(redis) => {
                // First the line, then the look: what happens between the two is in both.
                redis.subscribe(room.code).await?;
                redis.presence(&room.record(), counts).await
            }
        }
    }
}

/// The numbers of a STATE; nothing if it is the CLOSED.
fn snapshot(frame: &Frame) -> Option<Snapshot> {
    let State { version, playback, presence, .. } = serde_json::from_str(&frame.text).ok()?;
    Some(Snapshot { version, playback, presence })
}

impl LiveRoom {
    /// The durable half, as last heard.
    pub fn record(&self) -> Arc<Room> {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn code(&self) -> RoomCode {
        self.code
    }

    /// Members connected to this node.
    pub fn members_here(&self) -> u64 {
        self.here().counts.viewers
    }

    /// The newest this node has seen.
    pub fn snapshot(&self) -> Option<Snapshot> {
        snapshot(&self.feed.newest())
    }

    /// What this node has seen of the stored half of that revision.
    fn seen(&self, revision: i64) -> Option<Seen> {
        let newest = Some(self.feed.newest()).filter(|frame| frame.revision == revision);
        let Snapshot { version, playback, .. } = snapshot(&newest?)?;
        Some(Seen { version, playback })
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a record that is newer than the one known.
    fn learn(&self, record: Room) {
        let mut known = self.record.write().unwrap_or_else(PoisonError::into_inner);
        if record.revision > known.revision || record.key_generation > known.key_generation {
            *known = Arc::new(record);
        }
    }
}

/// One connected member: in the count as long as this lives.
pub struct Member {
    live: Live,
    room: Arc<LiveRoom>,
    role: Role,
    /// The room's newest frame, now and whenever it changes.
    pub frames: watch::Receiver<Shown>,
}

impl Member {
    pub fn room(&self) -> &Arc<LiveRoom> {
        &self.room
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        {
            let mut here = self.room.here();
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
