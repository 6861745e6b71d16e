//! Whether this node was held up: stopped, or so busy that nothing else ran. What clients said meanwhile waits in their
//! sockets, and they have long given it up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const BEAT: Duration = Duration::from_millis(250);

/// A client that hears nothing for two seconds, and looks four times a second, has taken the line for dead by then.
const HELD_UP: Duration = Duration::from_secs(3);

/// What waited in sockets meanwhile is read in no time.
pub(crate) const BACKLOG: Duration = Duration::from_secs(1);

pub(super) struct Pulse(Mutex<Beats>);

#[derive(Clone, Copy)]
struct Beats {
    last: Instant,
    times_held_up: u64,
    went_on: Option<Instant>,
}

impl Pulse {
    pub(super) fn start(stop: CancellationToken, tracker: &TaskTracker) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse(Mutex::new(Beats::from(Instant::now()))));
        let beating = pulse.clone();
        tracker.spawn(stop.run_until_cancelled_owned(async move {
            let mut beats = interval(BEAT);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beats.tick().await;
                beating.beat(Instant::now());
            }
        }));
        pulse
    }

    /// How often this node was held up so far. Whoever asks may be the first to run again, so that counts as a beat.
    pub(super) fn times_held_up(&self) -> u64 {
        self.beat(Instant::now()).times_held_up
    }

    /// Whether it was until just now: what is read may have been said before.
    pub(super) fn has_just_gone_on(&self) -> bool {
        let now = Instant::now();
        self.beat(now).has_just_gone_on(now)
    }

    fn beat(&self, now: Instant) -> Beats {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(beats.last) > HELD_UP {
            beats.times_held_up += 1;
            beats.went_on = Some(now);
        }
        beats.last = beats.last.max(now);
        *beats
    }
}

impl From<Instant> for Beats {
    fn from(start: Instant) -> Beats {
        Beats { last: start, times_held_up: 0, went_on: None }
    }
}

impl Beats {
    fn has_just_gone_on(&self, now: Instant) -> bool {
        self.went_on.is_some_and(|went_on| now.saturating_duration_since(went_on) < BACKLOG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_first_sees_that_nothing_ran() {
        let start = Instant::now();
        let pulse = Pulse(Mutex::new(Beats::from(start)));
        let at = |ms| {
            let now = start + Duration::from_millis(ms);
            let beats = pulse.beat(now);
            (beats.times_held_up, beats.has_just_gone_on(now))
        };
        let expected = [(0, false), (0, false), (1, true), (1, true), (1, true), (1, false), (2, true)];
        assert_eq!([250, 3250, 6251, 7250, 6250, 7251, 30_000].map(at), expected);
    }
}
