//! The clock of a server of Redis, as a node knows it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use super::millis;

/// A clock that is further ahead than this since it was last heard was set.
const LEAP_MS: i64 = 5000;

/// So long after it was last heard, clocks that run on evenly are still within some milliseconds of each other. Among all
/// that can make an answer seem to come from another time, only a clock that was set back makes it seem to come from before.
const KNOWN_FOR_MS: i64 = 60_000;

/// A server's clock, as last heard.
pub(super) struct StoreClock {
    epoch: Instant,
    /// By which it is most likely ahead of `elapsed_ms`, …
    offset_ms: AtomicI64,
    /// … and at least.
    floor_ms: AtomicI64,
    /// When it was last heard, and last found to have been set forward, by `elapsed_ms`; or [`NEVER`].
    heard_at_ms: AtomicI64,
    leapt_at_ms: AtomicI64,
}

const NEVER: i64 = -1;

impl Default for StoreClock {
    fn default() -> Self {
        let never = || AtomicI64::new(NEVER);
        StoreClock {
            epoch: Instant::now(),
            offset_ms: AtomicI64::new(0),
            floor_ms: AtomicI64::new(0),
            heard_at_ms: never(),
            leapt_at_ms: never(),
        }
    }
}

impl StoreClock {
    pub(super) fn now_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed) + self.elapsed_ms()
    }

    pub(super) fn is_known(&self) -> bool {
        self.heard_at_ms.load(Ordering::Relaxed) != NEVER
    }

    /// What it shows now at least, unless somebody has set it back; if it was heard lately enough to say so.
    pub(super) fn at_least_ms(&self) -> Option<i64> {
        let is_known = self.is_within(&self.heard_at_ms, KNOWN_FOR_MS);
        is_known.then(|| self.floor_ms.load(Ordering::Relaxed) + self.elapsed_ms())
    }

    /// `clock_ms` was read at some moment of a round trip that ends now. What is known already stays if it may be true: an
    /// answer that took long says little.
    pub(super) fn heard(&self, clock_ms: i64, round_trip: Duration) {
        let round_trip_ms = i64::try_from(round_trip.as_millis()).unwrap_or_default();
        let elapsed_ms = self.elapsed_ms();
        let (least, most) = (clock_ms - elapsed_ms, clock_ms - elapsed_ms + round_trip_ms);
        self.floor_ms.store(least, Ordering::Relaxed);
        let is_first = self.heard_at_ms.swap(elapsed_ms, Ordering::Relaxed) == NEVER;
        let known = self.offset_ms.load(Ordering::Relaxed);
        let offset_ms = if is_first { least.midpoint(most) } else { known.clamp(least, most) };
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
        if !is_first && offset_ms - known > LEAP_MS {
            self.leapt_at_ms.store(elapsed_ms, Ordering::Relaxed);
        }
    }

    /// Whether it was set forward within this time: then it says nothing about how long anybody has been away.
    pub(super) fn leapt_within(&self, time: Duration) -> bool {
        self.is_within(&self.leapt_at_ms, millis(time))
    }

    fn is_within(&self, at_ms: &AtomicI64, time_ms: i64) -> bool {
        let at_ms = at_ms.load(Ordering::Relaxed);
        at_ms != NEVER && self.elapsed_ms() - at_ms < time_ms
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_took_long_is_not_taken_for_a_clock_that_is_ahead() {
        let clock = StoreClock::default();
        assert_eq!(clock.at_least_ms(), None, "nothing was heard yet");
        clock.heard(1_000_000, Duration::from_millis(200));
        let (likely, least) = (clock.now_ms(), clock.at_least_ms().expect("heard just now"));
        assert!(
            (1_000_100..1_001_000).contains(&likely) && (1_000_000..=likely - 99).contains(&least),
            "{likely} {least}"
        );
    }

    #[test]
    fn what_is_known_stays_as_long_as_it_may_be_true() {
        let clock = StoreClock::default();
        clock.heard(1_000_000, Duration::from_millis(2));
        clock.heard(999_800, Duration::from_millis(400));
        assert!((1_000_001..1_000_100).contains(&clock.now_ms()), "{}", clock.now_ms());
        clock.heard(940_000, Duration::from_millis(400));
        assert!((940_400..940_500).contains(&clock.now_ms()), "it was set back: {}", clock.now_ms());
    }

    #[test]
    fn a_leap_is_remembered() {
        let clock = StoreClock::default();
        clock.heard(1_000_000, Duration::ZERO);
        clock.heard(1_004_000, Duration::ZERO);
        assert!(
            !clock.leapt_within(Duration::from_secs(60)),
            "the first time it is heard is no leap, and a small step neither"
        );
        clock.heard(1_020_000, Duration::ZERO);
        assert!(clock.leapt_within(Duration::from_secs(60)));
    }
}
