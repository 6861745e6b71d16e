//! The wheel: one timer for all sockets of a node. It asks who is quiet whether they live, gives up who stays silent, and
//! when the node cannot keep its people it sends them elsewhere, one after another.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Limits,
    line::{End, Line},
    protocol::close,
    rooms::random_share,
};

/// A turn is as long as a line may be quiet before it is asked; it has so many steps.
const STEPS: usize = 64;

/// After so many lines others may run.
const SLICE: usize = 128;

/// A node closes its sockets over at most this time, so that they do not all come back at once.
const DRAIN: Duration = Duration::from_secs(3);

/// A handle on a node's wheel.
#[derive(Clone)]
pub(super) struct Wheel(Arc<Shared>);

struct Shared {
    step: Duration,
    silence: Duration,
    slots: Mutex<Slots>,
    cut_off: watch::Receiver<bool>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

struct Slots {
    /// Lines by when they are looked at next. A session that has ended takes its line with it.
    lines: Vec<Vec<Weak<Line>>>,
    now: usize,
}

/// Why people are sent elsewhere.
#[derive(Clone, Copy)]
struct Reason(u16, &'static str);

impl Wheel {
    pub(super) fn start(
        limits: &Limits,
        cut_off: watch::Receiver<bool>,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Wheel {
        let wheel = Wheel(Arc::new(Shared {
            step: Duration::from_secs(limits.ping_secs) / STEPS as u32,
            silence: Duration::from_secs(limits.silence_secs),
            slots: Mutex::new(Slots { lines: vec![Vec::new(); STEPS + 1], now: 0 }),
            cut_off,
            stop,
            tracker: tracker.clone(),
        }));
        tracker.spawn(wheel.clone().turn());
        wheel
    }

    /// Looks after a line from now on.
    pub(super) fn add(&self, line: &Arc<Line>) {
        self.slots().put(Arc::downgrade(line), STEPS);
        // Looked at after the line is in: whoever sends everybody away meanwhile finds it.
        if let Some(reason) = self.reason() {
            self.0.tracker.spawn(part(vec![Arc::downgrade(line)], reason));
        }
    }

    async fn turn(self) {
        let mut steps = interval(self.0.step.max(Duration::from_millis(1)));
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cut_off = self.0.cut_off.clone();
        loop {
            tokio::select! {
                _ = steps.tick() => self.step().await,
                Ok(()) = cut_off.changed() => {
                    if let Some(reason) = self.reason() {
                        self.0.tracker.spawn(part(self.everyone(), reason));
                    }
                }
                () = self.0.stop.cancelled() => break,
            }
        }
        if let Some(reason) = self.reason() {
            part(self.everyone(), reason).await;
        }
    }

    /// Looks at those whose time has come.
    async fn step(&self) {
        let due = self.slots().advance();
        for (n, line) in due.into_iter().enumerate() {
            if n % SLICE == SLICE - 1 {
                yield_now().await;
            }
            let Some(alive) = line.upgrade() else { continue };
            let Some(left) = self.0.silence.checked_sub(alive.silent_for()).filter(|left| !left.is_zero()) else {
                alive.end(End::Gone);
                continue;
            };
            alive.ping();
            // After a turn, or as soon as its silence has been too long.
            let steps = left.as_nanos().div_ceil(self.0.step.as_nanos().max(1));
            self.slots().put(line, usize::try_from(steps).unwrap_or(STEPS).min(STEPS));
        }
    }

    fn everyone(&self) -> Vec<Weak<Line>> {
        self.slots().lines.iter().flatten().cloned().collect()
    }

    /// Why everybody has to leave, if they do.
    fn reason(&self) -> Option<Reason> {
        if self.0.stop.is_cancelled() {
            Some(Reason(close::RESTARTING, "the node is restarting"))
        } else if *self.0.cut_off.borrow() {
            Some(Reason(close::LIVE_UNAVAILABLE, "the live store has been away for too long"))
        } else {
            None
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn put(&mut self, line: Weak<Line>, steps: usize) {
        let slot = (self.now + steps) % self.lines.len();
        self.lines[slot].push(line);
    }

    fn advance(&mut self) -> Vec<Weak<Line>> {
        self.now = (self.now + 1) % self.lines.len();
        std::mem::take(&mut self.lines[self.now])
    }
}

/// Closes lines one after another over some time. Until then they are served as ever.
async fn part(lines: Vec<Weak<Line>>, Reason(code, reason): Reason) {
    let now = Instant::now();
    let mut partings: Vec<_> = lines.into_iter().map(|line| (now + DRAIN.mul_f64(random_share()), line)).collect();
    partings.sort_by_key(|(at, _)| *at);
    for (at, line) in partings {
        if line.strong_count() > 0 {
            sleep_until(at).await;
        }
        if let Some(line) = line.upgrade() {
            line.end(End::Close(code, reason));
        }
    }
}
