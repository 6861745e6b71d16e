//! The sets in which rooms are found without their codes: those that somebody has to look at, and the public ones. They are
//! hints: whoever reads one looks at the room itself, and puts right what it says.

use std::{
    collections::{HashMap, HashSet},
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use super::{LEASE, Redis, Reply, millis};
use crate::{
    live::{Change, Due, Listed, LiveError},
    rooms::{Room, RoomCode, STORED_OR_NOT, Visibility, hex, random_bytes, random_share},
};

/// A closed room of which the database knows is remembered for so long: longer than any request takes.
const CLOSED_REMEMBERED: Duration = Duration::from_secs(60);

/// The sets in which due rooms are found are so many, so that they are spread over a cluster's servers.
pub(super) const DUE_SHARDS: usize = 8;
/// Rooms looked through per sweep and set: the rest has its turn a second later.
const SWEEP_BATCH: usize = 100;

/// Beside the rooms of each set, and no room's code: when somebody last knew that all open rooms are in it. It is lost
/// with them, be it one server's of a cluster, and older in what is brought back from an old copy.
const MARK: &str = "*";
/// So long after it was set last: nobody did while Redis was away, or the copy is from before.
const MARK_GOOD_FOR: Duration = Duration::from_secs(30);

/// A server may have lost its sets while the rooms are as they were: so many heartbeats say everything again.
const SAID_AGAIN: f64 = 1.0 / 16.0;

impl Redis {
    /// Notes that a room is about to be changed in both stores, so that whoever is left sees to it that they agree: as soon as
    /// it is known what the database has of it.
    pub(in crate::live) async fn begins(&self, code: RoomCode) -> Result<Change, LiveError> {
        let change = Change(format!("{} {}", code.as_str(), hex(&random_bytes::<8>())));
        let (key, at) = (self.due_key(code), self.now_ms() + millis(STORED_OR_NOT));
        self.command::<i64>(&key, redis::cmd("ZADD").arg(&key).arg(at).arg(&change.0)).await?;
        Ok(change)
    }

    /// Both stores agree about it.
    pub(in crate::live) async fn settled(&self, code: RoomCode, Change(member): &Change) -> Result<(), LiveError> {
        let key = self.due_key(code);
        self.command::<i64>(&key, redis::cmd("ZREM").arg(&key).arg(member)).await.map(drop)
    }

    /// Remembers open rooms, so that one to which nobody comes back expires like any other.
    pub(in crate::live) async fn remember(&self, codes: &[RoomCode]) -> Result<(), LiveError> {
        // One that is missing is looked at now, so that its grace begins.
        let now = self.now_ms();
        let mut shards: HashMap<String, Vec<RoomCode>> = HashMap::new();
        for code in codes {
            shards.entry(self.due_key(*code)).or_default().push(*code);
        }
        // What one server of a cluster does not take keeps nobody from the rest.
        let mut taken = Ok(());
        for (key, codes) in shards {
            for chunk in codes.chunks(1000) {
                let mut command = redis::cmd("ZADD");
                command.arg(&key).arg("NX");
                for code in chunk {
                    command.arg(now).arg(code.as_str());
                }
                taken = taken.and(self.command::<i64>(&key, &command).await.map(drop));
            }
        }
        taken
    }

    /// Every open room was remembered just now.
    pub(in crate::live) async fn remembered(&self) -> Result<(), LiveError> {
        self.mark(None).await
    }

    /// Whether a set is without its mark: then it is not what it was when every open room was in it. If all have theirs, they
    /// are good for another while.
    pub(in crate::live) async fn has_forgotten(&self) -> Result<bool, LiveError> {
        let marks = join_all((0..DUE_SHARDS).map(|shard| async move {
            let key = self.due_set(shard);
            self.command::<Option<i64>>(&key, redis::cmd("ZSCORE").arg(&key).arg(MARK)).await
        }));
        let now = self.now_ms();
        let is_old = |at: &i64| (now - at).abs() > millis(MARK_GOOD_FOR);
        // Of a server that does not answer nobody knows; the others are asked all the same.
        let (mut has_forgotten, mut asked) = (false, Err(LiveError::Unanswered));
        for mark in marks.await {
            has_forgotten |= matches!(mark, Ok(mark) if mark.is_none_or(|at| is_old(&at)));
            asked = asked.or(mark);
        }
        asked?;
        if !has_forgotten {
            // Not where there is none: it would hide what was lost since. One that is not taken is taken in some seconds.
            let _ = self.mark(Some("XX")).await;
        }
        Ok(has_forgotten)
    }

    async fn mark(&self, condition: Option<&str>) -> Result<(), LiveError> {
        let now = self.now_ms();
        let marks = join_all((0..DUE_SHARDS).map(|shard| async move {
            let key = self.due_set(shard);
            let mark = redis::cmd("ZADD").arg(&key).arg(condition).arg(now).arg(MARK).to_owned();
            self.command::<i64>(&key, &mark).await
        }));
        marks.await.into_iter().try_for_each(|one| one.map(drop))
    }

    /// Rooms that somebody has to look at, and changes.
    pub(in crate::live) async fn due(&self) -> Result<Vec<Due>, LiveError> {
        if self.clock.is_none() && self.store_clock.leapt_within(self.host_grace) {
            return Ok(Vec::new());
        }
        let shards = self.looked_through.iter().enumerate().map(|(shard, looked_through)| async move {
            let (key, mut command) = (self.due_set(shard), redis::cmd("ZRANGEBYSCORE"));
            let from = looked_through.load(Ordering::Relaxed);
            command.arg(&key).arg("-inf").arg(self.now_ms()).arg("LIMIT").arg(from).arg(SWEEP_BATCH);
            let codes: Vec<String> = self.command(&key, &command).await?;
            // Those that cannot be looked at stay where they are: the rest has its turn all the same.
            let is_whole = codes.len() == SWEEP_BATCH;
            looked_through.store(if is_whole { from + SWEEP_BATCH } else { 0 }, Ordering::Relaxed);
            Ok(codes)
        });
        let mut shards = join_all(shards).await;
        // What one server of a cluster does not tell keeps nobody from the rest.
        if shards.iter().all(Result::is_err) {
            return shards.swap_remove(0).map(|_| Vec::new());
        }
        let due = |member: String| match member.split_once(' ') {
            Some((code, _)) => Some(Due { code: code.parse().ok()?, change: Some(Change(member)) }),
            None => Some(Due { code: member.parse().ok()?, change: None }),
        };
        Ok(shards.into_iter().flatten().flatten().filter_map(due).collect())
    }

    /// The database knows that a room is closed: nobody has to look at it any more.
    pub(in crate::live) async fn forget(&self, code: RoomCode) -> Result<(), LiveError> {
        let (listed, state, due) = (self.listed_key(), self.state_key(code), self.due_key(code));
        self.command::<i64>(&listed, redis::cmd("ZREM").arg(&listed).arg(code.as_str())).await?;
        // Whoever has read the database before it knew may still be on the way here.
        self.command::<i64>(&state, redis::cmd("PEXPIRE").arg(&state).arg(millis(CLOSED_REMEMBERED))).await?;
        self.command::<i64>(&due, redis::cmd("ZREM").arg(&due).arg(code.as_str())).await.map(drop)
    }

    /// Public rooms whose host is connected, most viewers first, from behind that one on.
    pub(in crate::live) async fn listed(&self, after: Option<Listed>, limit: usize) -> Result<Vec<Listed>, LiveError> {
        let from = after.map_or("+inf".to_owned(), |listed| format!("({}", rank(listed)));
        let (key, mut command) = (self.listed_key(), redis::cmd("ZRANGE"));
        command.arg(&key).arg(from).arg("-inf").arg("BYSCORE").arg("REV");
        command.arg("LIMIT").arg(0).arg(limit).arg("WITHSCORES");
        let rooms: Vec<(String, f64)> = self.command(&key, &command).await?;
        let listed = |(code, rank): (String, f64)| Some(Listed { viewers: viewers_of(rank), code: code.parse().ok()? });
        Ok(rooms.into_iter().filter_map(listed).collect())
    }

    /// Keeps the sets as an answer says; with one of the next heartbeats, if that cannot be done now. A server that has a set
    /// and does not answer is no trouble of a room that is elsewhere.
    pub(super) async fn index(&self, room: &Room, reply: &Reply) {
        let key = self.due_key(room.code);
        let due = redis::cmd("ZADD").arg(&key).arg(due_ms(reply)).arg(room.code.as_str()).to_owned();
        let is_listed = room.visibility == Visibility::Public;
        let (due, listed) = tokio::join!(self.command::<i64>(&key, &due), async {
            match is_listed {
                true => self.list(room.code, reply, None).await,
                false => Ok(()),
            }
        });
        let is_indexed = due.is_ok() && listed.is_ok();
        match is_indexed {
            true => self.unindexed().remove(&room.code),
            false => self.unindexed().insert(room.code),
        };
    }

    /// Whether the sets are to be told of a room although nothing has changed.
    pub(super) fn is_index_due(&self, code: RoomCode) -> bool {
        self.unindexed().contains(&code) || random_share() < SAID_AGAIN
    }

    pub(super) fn unindexed(&self) -> MutexGuard<'_, HashSet<RoomCode>> {
        self.unindexed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A room was looked at, and lives.
    pub(super) async fn look_again(&self, code: RoomCode, reply: &Reply) -> Result<(), LiveError> {
        // Only what is there already: another node may have seen the room closed meanwhile.
        let key = self.due_key(code);
        let due = redis::cmd("ZADD").arg(&key).arg("XX").arg(due_ms(reply)).arg(code.as_str()).to_owned();
        let (due, listed) = tokio::join!(self.command::<i64>(&key, &due), self.list(code, reply, Some("XX")));
        due.map(drop).and(listed)
    }

    async fn list(&self, code: RoomCode, reply: &Reply, condition: Option<&str>) -> Result<(), LiveError> {
        let is_away = !reply.3.is_empty();
        let (key, mut command) = (self.listed_key(), redis::cmd(if is_away { "ZREM" } else { "ZADD" }));
        command.arg(&key);
        if !is_away {
            command.arg(condition).arg(rank(Listed { viewers: reply.4, code }));
        }
        self.command::<i64>(&key, command.arg(code.as_str())).await.map(drop)
    }

    fn due_key(&self, code: RoomCode) -> String {
        self.due_set(code.number() as usize % DUE_SHARDS)
    }

    fn due_set(&self, shard: usize) -> String {
        format!("{}:due:{shard}", self.prefix)
    }

    fn listed_key(&self) -> String {
        format!("{}:listed", self.prefix)
    }
}

/// When somebody has to look at a room: when it closes, or when a node may have gone silent that its host is on.
fn due_ms(reply: &Reply) -> i64 {
    reply.3.parse().unwrap_or(if reply.6 > 0 { reply.6 } else { reply.1 + millis(LEASE) })
}

/// The codes there are: 30^6 is less.
const CODES: u64 = 1 << 30;

/// A room's place in the public list as one number, the larger the further up: by viewers, then by code. It stays exact
/// as a double up to this many viewers.
fn rank(Listed { viewers, code }: Listed) -> u64 {
    viewers.min(1 << 22) * CODES + (CODES - 1 - u64::from(code.number()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a whole number below 2^53")]
fn viewers_of(rank: f64) -> u64 {
    rank as u64 / CODES
}
