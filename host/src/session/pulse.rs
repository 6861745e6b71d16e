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

pub(super) struct Pulse(Mutex<Beats>);

struct Beats {
    last: Instant,
    times_held_up: u64,
}

impl Pulse {
    pub(super) fn start(stop: CancellationToken, tracker: &TaskTracker) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse(Mutex::new(Beats { last: Instant::now(), times_held_up: 0 })));
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
        self.beat(Instant::now())
    }

    fn beat(&self, now: Instant) -> u64 {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(beats.last) > HELD_UP {
            beats.times_held_up += 1;
        }
        beats.last = beats.last.max(now);
        beats.times_held_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_first_sees_that_nothing_ran() {
        let start = Instant::now();
        let pulse = Pulse(Mutex::new(Beats { last: start, times_held_up: 0 }));
        let at = |ms| pulse.beat(start + Duration::from_millis(ms));
        assert_eq!([at(250), at(3250), at(6251), at(6252), at(6250), at(30_000)], [0, 0, 1, 1, 1, 2]);
    }
}
