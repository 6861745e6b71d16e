//! The live state of one node, in its own memory: each room behind a lock of its own, the rules from `playback`.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use axum::extract::ws::Utf8Bytes;

use super::{Applied, Clock, Counts, Current, Frame, LIST_KEPT, LIST_LENGTH, LiveError, Snapshot};
use crate::{
    playback::{self, Order},
    protocol::{self, HostState, Presence},
    rooms::{Room, RoomCode, Visibility},
    timeline::{Outcome, Seen, Timeline},
};

pub(super) struct Memory {
    rooms: RwLock<HashMap<RoomCode, Arc<Mutex<State>>>>,
    index: Mutex<Index>,
    /// Lists whose pages are being turned, and until when they are kept.
    lists: Mutex<HashMap<String, (i64, Vec<RoomCode>)>>,
    /// How long a room outlives its host.
    host_grace_ms: i64,
    clock: Clock,
}

/// What must be found without looking at every room.
#[derive(Default)]
struct Index {
    /// Rooms without a host, by the moment they close.
    expiring: BTreeSet<(i64, RoomCode)>,
    /// Public rooms whose host is connected, most viewers first.
    listed: BTreeSet<(Reverse<u64>, RoomCode)>,
}

struct State {
    code: RoomCode,
    room_json: String,
    revision: i64,
    key_generation: i64,
    visibility: Visibility,
    timeline: Timeline,
    counts: Counts,
    /// When the room closes; `None` while a host is connected.
    away_until_ms: Option<i64>,
    /// The newest frame; its version is the room's.
    frame: Frame,
}

/// The data behind a lock. Nothing panics while holding one, so a poisoned lock holds whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(super) fn new(host_grace_ms: i64, clock: Clock) -> Self {
        Memory { rooms: RwLock::default(), index: Mutex::default(), lists: Mutex::default(), host_grace_ms, clock }
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Seeds a room, or takes over a newer stored half: a new source starts at 0, paused. `seen` is what somebody last
    /// saw of that half.
    pub(super) fn open(&self, room: &Room, seen: Option<&Seen>) -> Frame {
        let now_ms = self.now_ms();
        let existing = self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(&room.code).cloned();
        let state = existing.unwrap_or_else(|| {
            let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
            let seed = || Arc::new(Mutex::new(State::seed(room, seen, now_ms, now_ms + self.host_grace_ms)));
            rooms.entry(room.code).or_insert_with(seed).clone()
        });
        let mut state = lock(&state);
        if room.revision > state.revision {
            state.room_json = protocol::room_json(room.title.as_deref(), &room.source);
            state.revision = room.revision;
            let version = state.next_version(now_ms);
            state.timeline = Timeline::of_source(version, now_ms);
            state.renew(version);
        } else if let Some(seen) = seen {
            state.recall(room.revision, seen, now_ms);
        }
        state.key_generation = state.key_generation.max(room.key_generation);
        if let Some(until_ms) = state.away_until_ms {
            lock(&self.index).expiring.insert((until_ms, state.code));
        }
        state.frame.clone()
    }

    /// Offers what somebody last saw of a room to one that is here already.
    pub(super) fn offer(&self, room: &Room, seen: &Seen) -> Result<Frame, LiveError> {
        let state = self.state(room.code)?;
        let mut state = lock(&state);
        state.recall(room.revision, seen, self.now_ms());
        Ok(state.frame.clone())
    }

    /// Carries out a host's order.
    pub(super) fn apply(&self, code: RoomCode, key_generation: i64, order: &Order) -> Result<Applied, LiveError> {
        let state = self.state(code)?;
        let mut state = lock(&state);
        if key_generation < state.key_generation {
            return Err(LiveError::KeyReplaced);
        }
        let now_ms = self.now_ms();
        let version = state.next_version(now_ms);
        match state.timeline.apply(order, version, now_ms) {
            Outcome::Changed(timeline) => {
                state.timeline = timeline;
                state.renew(version);
                Ok(Applied::Changed(state.frame.clone()))
            }
            Outcome::Nothing => Ok(Applied::Nothing),
            Outcome::Stale => Ok(Applied::Stale),
        }
    }

    /// Takes over how many are here; the room's frame changes only if what people see does.
    pub(super) fn presence(&self, code: RoomCode, counts: Counts) -> Result<Frame, LiveError> {
        let state = self.state(code)?;
        let mut state = lock(&state);
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
                    index.expiring.remove(&(until_ms, code));
                }
                if let Some(until_ms) = state.away_until_ms {
                    index.expiring.insert((until_ms, code));
                }
            }
        }
        Ok(state.frame.clone())
    }

    pub(super) fn read(&self, code: RoomCode) -> Result<Current, LiveError> {
        let state = self.state(code)?;
        let state = lock(&state);
        let (version, playback) = (state.frame.version, state.timeline.playback);
        let snapshot = Snapshot { version, playback, presence: state.presence() };
        Ok(Current { snapshot, frame: state.frame.clone() })
    }

    /// Forgets a room, and answers its last frame, which says `text`.
    pub(super) fn close(&self, code: RoomCode, text: &Utf8Bytes) -> Option<Frame> {
        let removed = self.rooms.write().unwrap_or_else(PoisonError::into_inner).remove(&code)?;
        let state = lock(&removed);
        let mut index = lock(&self.index);
        if let Some(entry) = state.listing() {
            index.listed.remove(&entry);
        }
        if let Some(until_ms) = state.away_until_ms {
            index.expiring.remove(&(until_ms, code));
        }
        let version = state.next_version(self.now_ms());
        Some(Frame { version, revision: state.revision, text: text.clone(), is_last: true })
    }

    /// Takes the rooms whose time is over; each is given out once.
    pub(super) fn claim_expired(&self) -> Vec<RoomCode> {
        let now_ms = self.now_ms();
        let mut index = lock(&self.index);
        let mut claimed = Vec::new();
        while let Some(&(until_ms, code)) = index.expiring.first()
            && until_ms <= now_ms
        {
            index.expiring.pop_first();
            claimed.push(code);
        }
        claimed
    }

    /// Gives a claimed room back, to be claimed again after `delay_ms`.
    pub(super) fn return_expired(&self, code: RoomCode, delay_ms: i64) {
        lock(&self.index).expiring.insert((self.now_ms() + delay_ms, code));
    }

    /// Public rooms whose host is connected, most viewers first.
    pub(super) fn listed(&self) -> Vec<RoomCode> {
        lock(&self.index).listed.iter().take(LIST_LENGTH).map(|&(_, code)| code).collect()
    }

    /// Keeps a list for those who turn its pages.
    pub(super) fn keep_list(&self, id: &str, list: &[RoomCode]) {
        let now_ms = self.now_ms();
        let mut lists = lock(&self.lists);
        lists.retain(|_, (until_ms, _)| *until_ms > now_ms);
        let until_ms = now_ms + i64::try_from(LIST_KEPT.as_millis()).unwrap_or_default();
        lists.insert(id.to_owned(), (until_ms, list.to_owned()));
    }

    pub(super) fn kept_list(&self, id: &str) -> Option<Vec<RoomCode>> {
        lock(&self.lists).get(id).filter(|(until_ms, _)| *until_ms > self.now_ms()).map(|(_, list)| list.clone())
    }

    fn state(&self, code: RoomCode) -> Result<Arc<Mutex<State>>, LiveError> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(&code).cloned().ok_or(LiveError::UnknownRoom)
    }
}

impl State {
    /// A room nobody is in yet. It closes like one whose host left, unless a host comes.
    fn seed(room: &Room, seen: Option<&Seen>, now_ms: i64, away_until_ms: i64) -> Self {
        let mut state = State {
            code: room.code,
            room_json: protocol::room_json(room.title.as_deref(), &room.source),
            revision: room.revision,
            key_generation: room.key_generation,
            visibility: room.visibility,
            timeline: Timeline::seed(now_ms),
            counts: Counts::default(),
            away_until_ms: Some(away_until_ms),
            frame: Frame { version: 0, revision: 0, text: "".into(), is_last: false },
        };
        // Nobody sees it at 0 if somebody knows better.
        if let Some(seen) = seen {
            state.recall(room.revision, seen, now_ms);
        }
        if state.frame.version == 0 {
            state.renew(state.next_version(now_ms));
        }
        state
    }

    /// Takes over what somebody saw before the store forgot the room, if it is news. Where the room is that already,
    /// and ahead of whoever saw it, nobody is told anything.
    fn recall(&mut self, revision: i64, seen: &Seen, now_ms: i64) {
        let seen = seen.believed(now_ms);
        let Some(timeline) = self.timeline.recall(&seen).filter(|_| revision == self.revision) else { return };
        let is_shown = timeline.playback == self.timeline.playback && self.frame.version > seen.version;
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
        let text = protocol::state(version, &self.room_json, &self.timeline.playback, &self.presence());
        self.frame = Frame { version, revision: self.revision, text, is_last: false };
    }
}
