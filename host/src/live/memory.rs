//! The live state of one node, in its own memory: each room behind a lock of its own, the rules from `playback`.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use axum::extract::ws::Utf8Bytes;

use super::{Applied, Clock, Counts, Current, Expiry, Frame, Listed, LiveError, Snapshot};
use crate::{
    playback::{self, Order},
    protocol::{self, HostState, Presence},
    rooms::{Room, RoomCode, Visibility},
    timeline::{Outcome, Seen, Timeline},
};

/// A closed room of which the database knows is remembered for so long: longer than any request takes.
const CLOSED_REMEMBERED_MS: i64 = 60_000;

pub(super) struct Memory {
    rooms: RwLock<HashMap<RoomCode, Arc<Mutex<Kept>>>>,
    index: Mutex<Index>,
    /// The last frames of rooms that are closed, by the moment they were, until the database knows as well.
    closed: Mutex<HashMap<RoomCode, (i64, Frame)>>,
    /// How long a room outlives its host.
    host_grace_ms: i64,
    clock: Clock,
}

/// What must be found without looking at every room.
#[derive(Default)]
struct Index {
    /// Rooms without a host, by the moment they close, and closed ones of which the database does not know yet.
    due: BTreeSet<(i64, RoomCode)>,
    /// Public rooms whose host is connected, most viewers first.
    listed: BTreeSet<(Reverse<u64>, RoomCode)>,
}

struct Kept {
    code: RoomCode,
    room_json: String,
    revision: i64,
    visibility: Visibility,
    timeline: Timeline,
    counts: Counts,
    /// When the room closes; `None` while a host is connected.
    away_until_ms: Option<i64>,
    /// It has been taken away; whoever still holds it does nothing with it.
    is_over: bool,
    /// The newest frame; its version is the room's.
    frame: Frame,
}

/// The data behind a lock. Nothing panics while holding one, so a poisoned lock holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(super) fn new(host_grace_ms: i64, clock: Clock) -> Self {
        Memory { rooms: RwLock::default(), index: Mutex::default(), closed: Mutex::default(), host_grace_ms, clock }
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Seeds a room, or takes over a newer stored half: a new source starts paused, at `start_ms`. `seen` is what somebody
    /// last saw of that half.
    pub(super) fn open(&self, room: &Room, seen: Option<&Seen>, start_ms: i64) -> Result<Frame, LiveError> {
        let now_ms = self.now_ms();
        let existing = self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(&room.code).cloned();
        let state = match existing {
            Some(state) => state,
            None => {
                let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
                if lock(&self.closed).contains_key(&room.code) {
                    return Err(LiveError::Closed);
                }
                let seed =
                    || Arc::new(Mutex::new(Kept::seed(room, seen, start_ms, now_ms, now_ms + self.host_grace_ms)));
                rooms.entry(room.code).or_insert_with(seed).clone()
            }
        };
        let mut state = lock(&state);
        if state.is_over {
            return Err(LiveError::Closed);
        }
        if room.revision > state.revision {
            state.room_json = protocol::room_json(room.title.as_deref(), &room.source);
            state.revision = room.revision;
            let version = state.next_version(now_ms);
            state.timeline = Timeline::of_source(version, now_ms);
            state.start_at(start_ms, version, now_ms);
            state.renew(version);
        } else if room.revision == state.revision {
            if let Some(seen) = seen {
                state.recall(room.revision, seen, now_ms);
            }
            let version = state.next_version(now_ms);
            if state.start_at(start_ms, version, now_ms) {
                state.renew(version);
            }
        }
        if let Some(until_ms) = state.away_until_ms {
            lock(&self.index).due.insert((until_ms, state.code));
        }
        Ok(state.frame.clone())
    }

    /// Offers what somebody last saw of a room to one that is here already.
    pub(super) fn offer(&self, room: &Room, seen: &Seen) -> Result<Frame, LiveError> {
        self.with(room.code, |state| {
            state.recall(room.revision, seen, self.now_ms());
            state.frame.clone()
        })
    }

    /// Carries out a host's order.
    pub(super) fn apply(&self, code: RoomCode, order: &Order) -> Result<Applied, LiveError> {
        self.with(code, |state| {
            let now_ms = self.now_ms();
            let version = state.next_version(now_ms);
            match state.timeline.apply(order, version, now_ms) {
                Outcome::Changed(timeline) => {
                    state.timeline = timeline;
                    state.renew(version);
                    Applied::Changed(state.frame.clone())
                }
                Outcome::Nothing => Applied::Nothing,
                Outcome::Stale => Applied::Stale,
            }
        })
    }

    /// Takes over how many are here; the room's frame changes only if what people see does.
    pub(super) fn presence(&self, code: RoomCode, counts: Counts) -> Result<Frame, LiveError> {
        let told = self.with(code, |state| {
            let now_ms = self.now_ms();
            let before = state.presence();
            let was_listed = state.listing();
            let was_expiring = state.away_until_ms;
            state.counts = counts;
            state.away_until_ms = match counts.hosts {
                0 => was_expiring.or(Some(now_ms + self.host_grace_ms)),
                _ => None,
            };
            if state.presence() != before {
                let version = state.next_version(now_ms);
                state.renew(version);
                let mut index = lock(&self.index);
                if let Some(entry) = was_listed {
                    index.listed.remove(&entry);
                }
                if let Some(entry) = state.listing() {
                    index.listed.insert(entry);
                }
                if was_expiring != state.away_until_ms {
                    if let Some(until_ms) = was_expiring {
                        index.due.remove(&(until_ms, code));
                    }
                    if let Some(until_ms) = state.away_until_ms {
                        index.due.insert((until_ms, code));
                    }
                }
            }
            state.frame.clone()
        });
        // Whoever is told of is told that the room is over.
        told.or_else(|error| self.last_frame(code).ok_or(error))
    }

    pub(super) fn read(&self, code: RoomCode) -> Result<Current, LiveError> {
        self.with(code, |state| {
            let (version, playback) = (state.frame.version, state.timeline.playback);
            let snapshot = Snapshot { version, playback, presence: state.presence() };
            Current { snapshot, frame: state.frame.clone() }
        })
    }

    /// Closes a room for good; answers its last frame, which says `text`.
    pub(super) fn close(&self, code: RoomCode, text: &Utf8Bytes) -> Frame {
        if let Some(last) = self.last_frame(code) {
            return last;
        }
        self.with(code, |state| self.end(state, text)).unwrap_or_else(|_| {
            let now_ms = self.now_ms();
            let last = Frame { is_last: true, ..Frame::new(now_ms, 0, text.clone()) };
            self.keep_last(code, now_ms, last)
        })
    }

    /// Closes a room if its time is over, by one decision.
    pub(super) fn expire(&self, code: RoomCode, text: &Utf8Bytes) -> Expiry {
        let decided = self.with(code, |state| match state.away_until_ms {
            Some(until_ms) if until_ms <= self.now_ms() => Expiry::Closed(self.end(state, text)),
            _ => Expiry::Later,
        });
        decided.unwrap_or_else(|_| Expiry::Closed(self.close(code, text)))
    }

    /// Takes the room away, whose lock the caller holds: whoever waits for it finds the last frame.
    fn end(&self, state: &mut Kept, text: &Utf8Bytes) -> Frame {
        state.is_over = true;
        {
            let mut index = lock(&self.index);
            if let Some(entry) = state.listing() {
                index.listed.remove(&entry);
            }
            if let Some(until_ms) = state.away_until_ms {
                index.due.remove(&(until_ms, state.code));
            }
        }
        let now_ms = self.now_ms();
        let (version, revision) = (state.next_version(now_ms), state.revision);
        let last = Frame { is_last: true, ..Frame::new(version, revision, text.clone()) };
        let last = self.keep_last(state.code, now_ms, last);
        self.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(&state.code);
        last
    }

    /// Keeps the last frame of a room, unless somebody else has ended it first.
    fn keep_last(&self, code: RoomCode, now_ms: i64, last: Frame) -> Frame {
        let kept = lock(&self.closed).entry(code).or_insert((now_ms, last)).clone();
        lock(&self.index).due.insert((kept.0, code));
        kept.1
    }

    fn last_frame(&self, code: RoomCode) -> Option<Frame> {
        lock(&self.closed).get(&code).map(|(_, frame)| frame.clone())
    }

    /// Rooms that somebody has to look at.
    pub(super) fn due(&self) -> Vec<RoomCode> {
        let now_ms = self.now_ms();
        lock(&self.index).due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).map(|&(_, code)| code).collect()
    }

    /// The database knows that a room is closed: it says so from now on.
    pub(super) fn forget(&self, code: RoomCode) {
        let now_ms = self.now_ms();
        let mut closed = lock(&self.closed);
        let mut index = lock(&self.index);
        if let Some((closed_ms, _)) = closed.get(&code) {
            index.due.remove(&(*closed_ms, code));
        }
        // Whoever has read the database before it knew may still be on the way here.
        closed.retain(|code, (closed_ms, _)| {
            now_ms - *closed_ms < CLOSED_REMEMBERED_MS || index.due.contains(&(*closed_ms, *code))
        });
    }

    /// Public rooms whose host is connected, most viewers first, from behind that one on.
    pub(super) fn listed(&self, after: Option<Listed>, limit: usize) -> Vec<Listed> {
        let after =
            after.map_or(Bound::Unbounded, |Listed { viewers, code }| Bound::Excluded((Reverse(viewers), code)));
        let index = lock(&self.index);
        let listed = index.listed.range((after, Bound::Unbounded)).take(limit);
        listed.map(|&(Reverse(viewers), code)| Listed { viewers, code }).collect()
    }

    /// Does something with a room under its lock, unless it is unknown or over.
    fn with<T>(&self, code: RoomCode, run: impl FnOnce(&mut Kept) -> T) -> Result<T, LiveError> {
        let known = self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(&code).cloned();
        let Some(state) = known else {
            let is_closed = lock(&self.closed).contains_key(&code);
            return Err(if is_closed { LiveError::Closed } else { LiveError::UnknownRoom });
        };
        let mut state = lock(&state);
        if state.is_over { Err(LiveError::Closed) } else { Ok(run(&mut state)) }
    }
}

impl Kept {
    /// A room nobody is in yet. It closes like one whose host left, unless a host comes.
    fn seed(room: &Room, seen: Option<&Seen>, start_ms: i64, now_ms: i64, away_until_ms: i64) -> Self {
        let mut state = Kept {
            code: room.code,
            room_json: protocol::room_json(room.title.as_deref(), &room.source),
            revision: room.revision,
            visibility: room.visibility,
            timeline: Timeline::seed(now_ms),
            counts: Counts::default(),
            away_until_ms: Some(away_until_ms),
            is_over: false,
            frame: Frame::new(0, 0, "".into()),
        };
        // Nobody sees it at 0 if somebody knows better.
        if let Some(seen) = seen {
            state.recall(room.revision, seen, now_ms);
        }
        state.start_at(start_ms, state.next_version(now_ms), now_ms);
        if state.frame.version == 0 {
            state.renew(state.next_version(now_ms));
        }
        state
    }

    /// Puts the source to where it is to start, as of `version`, if nothing has been made of it yet; answers whether it was.
    fn start_at(&mut self, start_ms: i64, version: i64, now_ms: i64) -> bool {
        let started = self.timeline.start_at(start_ms, version, now_ms);
        self.timeline = started.unwrap_or(self.timeline);
        started.is_some()
    }

    /// Takes over what somebody saw before the store forgot the room, if it is news. Where the room is that already,
    /// and ahead of whoever saw it, nobody is told anything.
    fn recall(&mut self, revision: i64, seen: &Seen, now_ms: i64) {
        let seen = seen.believed(now_ms);
        let Some(timeline) = self.timeline.recall(&seen).filter(|_| revision == self.revision) else { return };
        let is_known = timeline.playback == self.timeline.playback && !self.timeline.is_initial();
        let is_shown = is_known && self.frame.version > seen.version;
        self.timeline = timeline;
        if !is_shown {
            self.renew(playback::next_version(self.frame.version.max(seen.version), now_ms));
        }
    }

    fn next_version(&self, now_ms: i64) -> i64 {
        playback::next_version(self.frame.version, now_ms)
    }

    fn presence(&self) -> Presence {
        Presence {
            viewers: self.counts.viewers,
            host: if self.away_until_ms.is_none() { HostState::Connected } else { HostState::Away },
            host_away_until_ms: self.away_until_ms,
        }
    }

    /// Its place in the public list, if it has one.
    fn listing(&self) -> Option<(Reverse<u64>, RoomCode)> {
        let is_listed = self.visibility == Visibility::Public && self.away_until_ms.is_none();
        is_listed.then_some((Reverse(self.counts.viewers), self.code))
    }

    /// Encodes what is now true as the frame of that version.
    fn renew(&mut self, version: i64) {
        let text = protocol::state(version, &self.room_json, &self.timeline, &self.presence());
        self.frame = Frame::new(version, self.revision, text);
    }
}
