//! Live rooms: what is playing and where, who is here, whether the host is connected; and the feeds that tell them.
//!
//! The store holds the truth. A node adds what only it can know: its own members, and their feeds.

mod audience;
mod feed;
mod memory;
mod redis;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span};

pub(crate) use audience::Seat;
use feed::{Counted, Feed};
pub use feed::{Frame, Shown};
use memory::Memory;

use self::redis::{News, Redis};
use crate::{
    config,
    line::Line,
    playback::{Order, PlaybackState},
    protocol::{self, CloseReason, HostState, MemberId, Presence, Role, SeenRoom, ServerMessage, State, StoredHalf},
    rooms::{Room, RoomCode},
    telemetry::{self, Metrics},
    timeline::{Seen, Timeline},
};

/// A room tells its members at most this often how many they are, however many come and go; and a full one less often,
/// since each telling goes to all of them.
const PRESENCE_EVERY: Duration = Duration::from_millis(500);
const PRESENCE_PER_MEMBER: Duration = Duration::from_micros(200);

/// Unix time in milliseconds. A function, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// This machine's clock, as it was when first looked at, and running on evenly: whoever sets it moves no room.
pub fn system_clock() -> Clock {
    let (start, since_epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    Arc::new(move || i64::try_from((since_epoch + start.elapsed()).as_millis()).unwrap_or(i64::MAX))
}

/// A handle on the live rooms of this node.
#[derive(Clone)]
pub struct Live(Arc<Node>);

struct Node {
    store: Store,
    rooms: RwLock<HashMap<RoomCode, Arc<LiveRoom>>>,
    max_viewers: u64,
    metrics: Arc<Metrics>,
    /// Rooms that may not be as this node believes: they are looked after now, not at the next heartbeat.
    trouble: Mutex<HashSet<RoomCode>>,
    troubled: Notify,
    /// What the store is still told of who is here.
    tellings: TaskTracker,
    /// The store has been away for too long: whoever is here had better be elsewhere.
    is_cut_off: watch::Sender<bool>,
    /// Is told who of this node's members is on another one now.
    moved: OnceLock<Box<dyn Fn(RoomCode, MemberId) + Send + Sync>>,
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
    /// The store may have forgotten the room, and learnt of it anew from somebody who saw less of it.
    is_unsure: AtomicBool,
    /// Where the source of a revision starts, as long as the store does not know.
    untold_start: Mutex<Option<(i64, i64)>>,
}

/// This node's members of a room.
#[derive(Default)]
struct Here {
    counts: Counts,
    /// What the store was told last.
    told: Counts,
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
    #[error("the room is closed")]
    Closed,
    #[error("the live store is away: {0}")]
    Unavailable(String),
    /// What was asked may have been done all the same.
    #[error("the live store did not answer in time")]
    Unanswered,
}

impl LiveError {
    /// Whether the store, not the room, is the reason: what this node knows is the best there is.
    pub fn is_away(&self) -> bool {
        matches!(self, LiveError::Unavailable(_) | LiveError::Unanswered)
    }
}

/// What became of a room whose time may be over.
#[derive(Debug)]
enum Expiry {
    Closed(Frame),
    Later,
}

/// A room that somebody has to look at.
#[derive(Debug, PartialEq, Eq)]
pub struct Due {
    pub code: RoomCode,
    /// For the sake of a change that began, and was not settled.
    pub change: Option<Change>,
}

/// A change that is made in database and live store, one after the other. Noted in the live store until both agree: whoever
/// makes it may not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Change(String);

/// A room in the public list: most viewers first, then by code. Also where a reader of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub viewers: u64,
    pub code: RoomCode,
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
        let heard: Arc<OnceLock<Weak<Node>>> = Arc::default();
        let live = heard.clone();
        let hear = move |news| {
            // Before it is set no room is listened to.
            if let Some(live) = live.get().and_then(Weak::upgrade) {
                Live(live).hear(news);
            }
        };
        let redis = Redis::connect(config, host_grace, clock, metrics.clone(), hear).await?;
        let live = Live::new(Store::Redis(Box::new(redis)), max_viewers, metrics);
        let _ = heard.set(Arc::downgrade(&live.0));
        Ok(live)
    }

    /// Takes note of what happened elsewhere.
    fn hear(&self, news: News) {
        match news {
            News::Frame(code, frame) => {
                self.0.metrics.frames_received.inc();
                // A room nobody here is in any more has no feed to show it on.
                let Some(room) = self.room(code) else { return };
                if frame.counted != Counted::All && room.members_here() > 0 {
                    room.is_unsure.fetch_or(frame.counted == Counted::Nobody, Ordering::Relaxed);
                    self.look_after(code);
                }
                self.show(&room, frame);
            }
            News::Moved(code, was) => self.0.moved.get().into_iter().for_each(|hear| hear(code, was)),
            News::Missed(code) => {
                self.0.metrics.rereads.inc();
                if let Some(room) = self.room(code) {
                    room.is_unsure.store(true, Ordering::Relaxed);
                }
                self.look_after(code);
            }
        }
    }

    fn new(store: Store, max_viewers: u64, metrics: Arc<Metrics>) -> Live {
        Live(Arc::new(Node {
            store,
            rooms: RwLock::default(),
            max_viewers,
            metrics,
            trouble: Mutex::default(),
            troubled: Notify::new(),
            tellings: TaskTracker::new(),
            is_cut_off: watch::Sender::new(false),
            moved: OnceLock::new(),
        }))
    }

    /// Has `hear` told who of this node's members is on another one now; it must not wait.
    pub fn on_moved(&self, hear: impl Fn(RoomCode, MemberId) + Send + Sync + 'static) {
        let _ = self.0.moved.set(Box::new(hear));
    }

    /// Tells the others that somebody is here now, in that room, who was `was` on one of them. Who is not told finds out by
    /// a line that stays silent.
    pub fn moved_here(&self, code: RoomCode, was: MemberId) {
        let live = self.clone();
        tokio::spawn(async move {
            let Store::Redis(redis) = &live.0.store else { return };
            if let Err(error) = redis.moved_here(code, was).await {
                debug!(%error, "that somebody moved here is not told");
            }
        });
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

    /// Whether everything can be done with the store that will be: says what cannot.
    pub async fn check(&self) -> Result<(), String> {
        match &self.0.store {
            Store::Memory(_) => Ok(()),
            Store::Redis(redis) => redis.check().await,
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
        let start_ms = self.room(record.code).and_then(|room| room.untold_start(record.revision));
        self.open_at(record, start_ms.unwrap_or(0)).await
    }

    /// As [`Live::open`]; a source that nobody has moved yet starts there. The stored half does not say where.
    pub async fn open_at(&self, record: Room, start_ms: i64) -> Result<Arc<LiveRoom>, LiveError> {
        let frame = match &self.0.store {
            // It forgets no room that this node remembers.
            Store::Memory(memory) => memory.open(&record, None, start_ms)?,
            Store::Redis(redis) => {
                let seen = self.room(record.code).and_then(|room| room.seen(record.revision));
                redis.open(&record, seen.as_ref(), start_ms).await?
            }
        };
        let room = self.know(&record, || frame.clone());
        room.start_is_told(record.revision);
        room.learn(record);
        self.show(&room, frame);
        Ok(room)
    }

    /// As [`Live::publish`]. But those who are here would read that nobody is: they are counted in a moment, and shown that.
    fn show(&self, room: &Arc<LiveRoom>, frame: Frame) {
        if frame.counted == Counted::Nobody && room.members_here() > 0 {
            self.look_after(room.code);
        } else {
            self.publish(room, frame);
        }
    }

    /// Takes over a change that is stored and that the store could not be told of: it is, as soon as it answers.
    pub fn tell_later(&self, record: Room, start_ms: i64) -> Arc<LiveRoom> {
        let room = self.know(&record, || {
            let half = protocol::room_json(record.title.as_deref(), &record.source);
            let presence = Presence { viewers: 0, host: HostState::Away, host_away_until_ms: None };
            let now_ms = self.now_ms();
            let playback = PlaybackState::paused_at(start_ms, now_ms);
            let timeline = Timeline { playback, ..Timeline::of_source(0, now_ms) };
            let text = protocol::state(0, &half, &timeline, &presence);
            Frame::new(0, 0, text)
        });
        *room.lock_untold_start() = Some((record.revision, start_ms));
        room.learn(record);
        self.look_after(room.code);
        room
    }

    /// The room as this node knows it, or from now on does.
    fn know(&self, record: &Room, frame: impl FnOnce() -> Frame) -> Arc<LiveRoom> {
        let mut rooms = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            self.0.metrics.rooms.inc();
            Arc::new(LiveRoom {
                code: record.code,
                record: RwLock::new(Arc::new(record.clone())),
                feed: Feed::new(frame()),
                here: Mutex::default(),
                is_unsure: AtomicBool::new(false),
                untold_start: Mutex::default(),
            })
        };
        rooms.entry(record.code).or_insert_with(new).clone()
    }

    /// Whether the store takes a change of a room at this moment.
    pub async fn takes(&self, code: RoomCode) -> Result<(), LiveError> {
        match &self.0.store {
            Store::Memory(_) => Ok(()),
            Store::Redis(redis) => redis.takes(code).await,
        }
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
            // The limit is the room's, not the node's; a host gets in whoever has filled it.
            if role == Role::Viewer && here.counts.viewers + room.viewers_elsewhere(&here) >= self.0.max_viewers {
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
    pub async fn command(&self, room: &Arc<LiveRoom>, order: Order) -> Result<(), LiveError> {
        let code = room.code;
        let span = debug_span!("live.apply", room = %telemetry::alias(code), ?order);
        let apply = async {
            match &self.0.store {
                Store::Memory(memory) => memory.apply(code, &order),
                Store::Redis(redis) => redis.apply(code, &order).await,
            }
        };
        let applied = apply.instrument(span).await.map_err(|error| {
            if !error.is_away() {
                self.look_after(code);
            }
            match error {
                LiveError::UnknownRoom if self.is_elsewhere() => {
                    LiveError::Unavailable("the store has lost the room; it is being brought back".into())
                }
                error => error,
            }
        })?;
        if let Applied::Stale = applied {
            self.0.metrics.commands_stale.inc();
            return Ok(());
        }
        self.0.metrics.commands_applied.inc();
        if let Applied::Changed(frame) = applied {
            self.show(room, frame);
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

    /// Sees to it that a room's feed is the truth, where changes may not come by themselves.
    pub async fn catch_up(&self, room: &Arc<LiveRoom>) -> Result<(), LiveError> {
        if !self.follows(room) {
            let frame = self.read(room.code).await?.frame;
            self.publish(room, frame);
        }
        Ok(())
    }

    /// Ends a room for everyone in it, and for good.
    pub async fn close(&self, code: RoomCode, reason: CloseReason) -> Result<(), LiveError> {
        let text = ServerMessage::Closed { reason }.encode();
        let frame = match &self.0.store {
            Store::Memory(memory) => memory.close(code, &text),
            Store::Redis(redis) => redis.close(code, &text).await?,
        };
        self.show_last(code, frame);
        Ok(())
    }

    /// Notes that a room is about to be changed in both stores. A memory ends with whoever changes it; and a server that takes
    /// no note is in nobody's way, since the change may be of a room that is elsewhere.
    pub async fn begins(&self, code: RoomCode) -> Option<Change> {
        let Store::Redis(redis) = &self.0.store else { return None };
        let noted = redis.begins(code).await;
        noted.inspect_err(|error| debug!(%error, "a change begins that nobody would end in this node's place")).ok()
    }

    /// Both stores agree about a change.
    pub fn settled(&self, code: RoomCode, change: Option<Change>) {
        let Some(change) = change else { return };
        let live = self.clone();
        tokio::spawn(async move {
            let Store::Redis(redis) = &live.0.store else { return };
            if let Err(error) = redis.settled(code, &change).await {
                debug!(%error, "a change is looked at once more");
            }
        });
    }

    /// Rooms that somebody has to look at: their host has been away for too long, or may have been; or they are closed, and
    /// the database may not know; or a change of them was not settled.
    pub async fn due(&self) -> Result<Vec<Due>, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => Ok(memory.due().into_iter().map(|code| Due { code, change: None }).collect()),
            Store::Redis(redis) => redis.due().await,
        }
    }

    /// Closes a room whose time is over: the store decides, at once and for everyone. Answers whether it is closed.
    pub async fn expire(&self, code: RoomCode) -> Result<bool, LiveError> {
        let text = ServerMessage::Closed { reason: CloseReason::HostGone }.encode();
        let expiry = match &self.0.store {
            Store::Memory(memory) => memory.expire(code, &text),
            Store::Redis(redis) => {
                // Those who are here count, whatever became of their last heartbeat.
                let here = self.room(code).map(|room| room.here().counts).filter(|counts| counts.viewers > 0);
                redis.expire(code, here, &text).await?
            }
        };
        match expiry {
            Expiry::Later => Ok(false),
            Expiry::Closed(frame) => {
                self.show_last(code, frame);
                Ok(true)
            }
        }
    }

    /// The database knows that a room is closed.
    pub async fn forget(&self, code: RoomCode) -> Result<(), LiveError> {
        match &self.0.store {
            Store::Memory(memory) => {
                memory.forget(code);
                Ok(())
            }
            Store::Redis(redis) => redis.forget(code).await,
        }
    }

    fn show_last(&self, code: RoomCode, frame: Frame) {
        if let Some(room) = self.room(code) {
            self.publish(&room, frame);
        }
    }

    /// Ends a room whose end this node has missed.
    pub fn end(&self, room: &Arc<LiveRoom>, reason: CloseReason) {
        let text = ServerMessage::Closed { reason }.encode();
        let newest = room.feed.newest();
        self.publish(room, Frame { version: newest.version + 1, text, is_last: true, ..newest });
    }

    /// Whether the store is elsewhere: it remembers what this process forgets, and may forget what this process knows.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.0.store, Store::Redis(_))
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

    /// Every stored room was remembered just now.
    pub async fn remembered(&self) -> Result<(), LiveError> {
        match &self.0.store {
            Store::Memory(_) => Ok(()),
            Store::Redis(redis) => redis.remembered().await,
        }
    }

    /// Whether the store may have forgotten stored rooms since they were remembered.
    pub async fn has_forgotten(&self) -> Result<bool, LiveError> {
        match &self.0.store {
            Store::Memory(_) => Ok(false),
            Store::Redis(redis) => redis.has_forgotten().await,
        }
    }

    /// The public rooms whose host is connected, from behind that one on.
    pub async fn list(&self, after: Option<Listed>, limit: usize) -> Result<Vec<Listed>, LiveError> {
        match &self.0.store {
            Store::Memory(memory) => Ok(memory.listed(after, limit)),
            Store::Redis(redis) => redis.listed(after, limit).await,
        }
    }

    /// Returns when something should be looked after now, and says what.
    pub async fn troubled(&self) {
        self.0.troubled.notified().await;
    }

    pub fn take_trouble(&self) -> HashSet<RoomCode> {
        std::mem::take(&mut *self.trouble())
    }

    /// A room is not as this node believed: somebody looks, now and not at the next heartbeat.
    fn look_after(&self, code: RoomCode) {
        self.trouble().insert(code);
        self.0.troubled.notify_one();
    }

    fn trouble(&self) -> MutexGuard<'_, HashSet<RoomCode>> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rooms that this node has something to say about: with members here, or with a change that was not told yet.
    pub fn visited(&self) -> Vec<Arc<LiveRoom>> {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        let is_visited = |room: &&Arc<LiveRoom>| room.members_here() > 0 || room.is_ahead();
        rooms.values().filter(is_visited).filter(|room| !room.feed.is_over()).cloned().collect()
    }

    /// Tells the store that this node's members of a room are still here, and learns whatever was missed.
    pub async fn beat(&self, room: &Arc<LiveRoom>) -> Result<(), LiveError> {
        // Members leave memory by themselves: it has no leases.
        let Store::Redis(redis) = &self.0.store else { return Ok(()) };
        if room.is_unsure.swap(false, Ordering::Relaxed)
            && let Err(error) = self.offer_seen(redis, room).await
        {
            room.is_unsure.store(true, Ordering::Relaxed);
            return Err(error);
        }
        if room.is_ahead() {
            unless_closed(self.open(Room::clone(&room.record())).await)?;
        }
        let counts = room.here().counts;
        let frame = self.tell(room, counts).await?;
        self.0.metrics.presence_told.inc();
        self.publish(room, frame);
        Ok(())
    }

    /// Offers what this node saw last of a room: it goes on from there, unless the store knows better.
    async fn offer_seen(&self, redis: &Redis, room: &LiveRoom) -> Result<(), LiveError> {
        let record = room.record();
        let Some(seen) = room.seen(record.revision) else { return Ok(()) };
        unless_closed(redis.offer(&record, &seen).await)
    }

    /// Forgets rooms that are over, and, where the store is elsewhere, those that nobody on this node is in or on the way into.
    pub fn forget_empty(&self) {
        let is_elsewhere = self.is_elsewhere();
        let mut forgotten = 0;
        self.0.rooms.write().unwrap_or_else(PoisonError::into_inner).retain(|code, room| {
            // Whoever is on the way in, or still telling, holds the room too.
            let is_empty = Arc::strong_count(room) == 1 && room.members_here() == 0;
            let is_done = room.feed.is_over() || is_elsewhere && !room.is_ahead();
            let is_needed = !(is_empty && is_done);
            if !is_needed {
                forgotten += 1;
                // Under the lock: whoever enters now subscribes after this.
                if let Store::Redis(redis) = &self.0.store {
                    redis.unsubscribe(*code);
                }
            }
            is_needed
        });
        self.0.metrics.rooms.dec_by(forgotten);
    }

    fn publish(&self, room: &Arc<LiveRoom>, frame: Frame) {
        if frame.revision > room.record().revision
            && let Ok(state) = serde_json::from_str::<State>(&frame.text)
        {
            let record = Room::clone(&room.record());
            let StoredHalf { title, source } = state.room;
            room.learn(Room { title, source, revision: frame.revision, ..record });
        }
        if room.feed.publish(frame) {
            self.0.metrics.frames_published.inc();
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
        self.0.tellings.spawn(async move {
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
                    Err(error) if error.is_away() => {
                        debug!(room = %telemetry::alias(room.code), %error, "presence is told when the store is back");
                        None
                    }
                    // The room was closed meanwhile, or the store forgot it: the heartbeat finds out which.
                    Err(error) => {
                        debug!(room = %telemetry::alias(room.code), %error, "presence not told");
                        live.look_after(room.code);
                        Some(counts)
                    }
                };
                live.0.metrics.presence_told.inc();
                tokio::time::sleep(room.presence_pause()).await;
            }
        });
    }

    /// Returns when the store knows who is here: nobody, once every member has left.
    pub async fn settle(&self) {
        self.0.tellings.close();
        self.0.tellings.wait().await;
    }

    async fn tell(&self, room: &LiveRoom, counts: Counts) -> Result<Frame, LiveError> {
        let frame = match &self.0.store {
            Store::Memory(memory) => memory.presence(room.code, counts)?,
            Store::Redis(redis) => {
                // First the line, then the look: what happens between the two is in both.
                redis.subscribe(room.code).await?;
                redis.presence(&room.record(), counts).await?
            }
        };
        room.here().told = counts;
        Ok(frame)
    }
}

/// That a room is closed keeps nobody from going on: who is here hears that next.
fn unless_closed<T>(answer: Result<T, LiveError>) -> Result<(), LiveError> {
    match answer {
        Err(LiveError::Closed) => Ok(()),
        answer => answer.map(drop),
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

    /// Whether a change is stored that the live store does not know of, as far as this node has seen.
    fn is_ahead(&self) -> bool {
        self.record().revision > self.feed.newest().revision
    }

    /// Members connected to this node.
    pub fn members_here(&self) -> u64 {
        self.here().counts.viewers
    }

    /// The newest this node has seen.
    pub fn snapshot(&self) -> Option<Snapshot> {
        snapshot(&self.feed.newest())
    }

    fn presence_pause(&self) -> Duration {
        let members = self.snapshot().map_or(0, |snapshot| snapshot.presence.viewers);
        PRESENCE_EVERY.max(PRESENCE_PER_MEMBER.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX)))
    }

    /// Members on other nodes, as last heard.
    fn viewers_elsewhere(&self, here: &Here) -> u64 {
        let everywhere = self.snapshot().map_or(0, |snapshot| snapshot.presence.viewers);
        everywhere.saturating_sub(here.told.viewers)
    }

    /// What this node has seen of the stored half of that revision.
    fn seen(&self, revision: i64) -> Option<Seen> {
        let newest = Some(self.feed.newest()).filter(|frame| frame.revision == revision);
        let Snapshot { version, playback, .. } = snapshot(&newest?)?;
        Some(Seen { version, playback })
    }

    fn lock_untold_start(&self) -> MutexGuard<'_, Option<(i64, i64)>> {
        self.untold_start.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold_start(&self, revision: i64) -> Option<i64> {
        self.lock_untold_start().filter(|(of, _)| *of == revision).map(|(_, start_ms)| start_ms)
    }

    fn start_is_told(&self, revision: i64) {
        let mut untold = self.lock_untold_start();
        *untold = untold.filter(|(of, _)| *of > revision);
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a record that is newer than the one known.
    fn learn(&self, record: Room) {
        let mut known = self.record.write().unwrap_or_else(PoisonError::into_inner);
        if record.revision > known.revision {
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
    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn room(&self) -> &Arc<LiveRoom> {
        &self.room
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// From now on the room's frames go out on `line`, until the seat is left.
    pub(crate) fn seat(&self, line: Arc<Line>) -> Seat {
        self.room.feed.seat(line, &self.live.0.metrics)
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
