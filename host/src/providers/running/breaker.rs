//! When a plugin that fails is left alone, and for how long: one rule for every way of failing.
//!
//! An identity that made it fail costs itself; a plugin that mostly fails is left alone as a whole. Either rest ends by
//! itself, is twice as long if that did not help, and never needs a person.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use streamit_plugin_api::Media;

use super::super::description::Asked;

/// So many of the last calls are looked at …
const RECENT: usize = 10;
/// … as long as they are no older than this …
const WINDOW: Duration = Duration::from_secs(60);
/// … and with so many failures among them the plugin is left alone.
const MOST_FAULTS: usize = 5;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Identities that made the plugin fail and are remembered; a full list is begun anew.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(crate) struct Breaker {
    /// When each of the last calls ended, and whether it failed.
    recent: VecDeque<(Instant, bool)>,
    rest: Option<Rest>,
    failed: IndexMap<Media<'static>, Rest, RandomState>,
}

/// A time without calls, and why.
#[derive(Clone, Debug)]
struct Rest {
    until: Instant,
    pause: Duration,
    cause: String,
}

/// Why a call is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resting {
    pub(crate) is_all: bool,
    pub(crate) cause: String,
    pub(crate) left: Duration,
}

impl Rest {
    fn new(now: Instant, cause: String) -> Rest {
        Rest { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, cause }
    }

    fn again(&mut self, now: Instant, cause: String) {
        let pause = (self.pause * 2).min(LONGEST_PAUSE);
        *self = Rest { until: now + pause, pause, cause };
    }

    /// Why there is no call now, if its time is not over.
    fn resting(&self, is_all: bool, now: Instant) -> Option<Resting> {
        let left = self.until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(Resting { is_all, cause: self.cause.clone(), left })
    }
}

impl Breaker {
    /// Whether the plugin is left alone; afterwards the next call decides how it goes on.
    pub(crate) fn resting(&self, now: Instant) -> Option<Resting> {
        self.rest.as_ref()?.resting(true, now)
    }

    /// Whether the plugin was left alone and has not been called since: after [`Breaker::refuses`], its time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_some()
    }

    /// Why the plugin is not asked for this one now.
    pub(crate) fn refuses(&self, media: &Media<'_>, now: Instant) -> Option<Resting> {
        self.resting(now).or_else(|| self.failed.get(&Asked(media))?.resting(false, now))
    }

    /// The plugin answered: with a URL, or with what is wrong with the identity.
    pub(crate) fn answered(&mut self, media: &Media<'_>, now: Instant) {
        self.failed.swap_remove(&Asked(media));
        if self.rest.take().is_some() {
            self.recent.clear();
        }
        self.note(now, false);
    }

    /// The plugin failed. True if it is left alone from now on, and was not before.
    pub(crate) fn failed(&mut self, media: Media<'static>, now: Instant, cause: &str) -> bool {
        if self.failed.len() >= REMEMBERED && !self.failed.contains_key(&media) {
            self.failed.clear();
        }
        match self.failed.get_mut(&media) {
            Some(rest) => rest.again(now, cause.to_owned()),
            None => drop(self.failed.insert(media, Rest::new(now, cause.to_owned()))),
        }
        self.note(now, true);
        let faults = self.recent.iter().filter(|(_, is_fault)| *is_fault).count();
        let cause = || format!("{faults} of its last {} calls failed, the last one: {cause}", self.recent.len());
        match &mut self.rest {
            Some(rest) => rest.again(now, cause()),
            None if faults >= MOST_FAULTS => {
                self.rest = Some(Rest::new(now, cause()));
                return true;
            }
            None => {}
        }
        false
    }

    fn note(&mut self, now: Instant, is_fault: bool) {
        self.recent.retain(|(then, _)| now.duration_since(*then) < WINDOW);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, is_fault));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn movie(id: u32) -> Media<'static> {
        Media::movie(id.to_string()).into_owned()
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn an_identity_that_fails_costs_itself_and_twice_as_long_each_time() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(movie(1), start, "it crashed"));
        let refusal = breaker.refuses(&movie(1), after(start, 400)).expect("it rests");
        assert_eq!(refusal, Resting { is_all: false, cause: "it crashed".into(), left: Duration::from_millis(600) });
        assert_eq!(breaker.refuses(&movie(2), start), None);
        assert_eq!(breaker.refuses(&movie(1), after(start, 1000)), None);
        breaker.failed(movie(1), after(start, 1000), "it crashed");
        assert!(breaker.refuses(&movie(1), after(start, 2999)).is_some());
        assert_eq!(breaker.refuses(&movie(1), after(start, 3000)), None);
        breaker.answered(&movie(1), after(start, 3000));
        breaker.failed(movie(1), after(start, 3000), "it crashed");
        assert_eq!(breaker.refuses(&movie(1), after(start, 4000)), None, "an answer ends the count");
    }

    #[test]
    fn it_opens_when_most_calls_fail_and_closes_with_the_first_that_does_not() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for n in 0..5 {
            breaker.answered(&movie(100 + n), start);
        }
        let opened = (0..5).map(|n| breaker.failed(movie(n), start, "no")).collect::<Vec<_>>();
        assert_eq!(opened, [false, false, false, false, true]);
        let resting = breaker.refuses(&movie(9), start).expect("it is left alone");
        assert_eq!(resting.cause, "5 of its last 10 calls failed, the last one: no");
        assert!(resting.is_all);
        // One call gets through, and fails; then one that does not.
        assert_eq!(breaker.refuses(&movie(9), after(start, 1000)), None);
        assert!(!breaker.failed(movie(9), after(start, 1000), "no"), "it was left alone before");
        assert!(breaker.resting(after(start, 2999)).is_some());
        assert_eq!(breaker.resting(after(start, 3000)), None);
        breaker.answered(&movie(8), after(start, 3000));
        assert!(!breaker.failed(movie(7), after(start, 3000), "no"), "what was is forgotten");
        assert_eq!(breaker.resting(after(start, 3000)), None);
    }

    #[test]
    fn among_many_good_calls_or_over_a_long_time_a_few_bad_ones_stop_nothing() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for n in 0..100 {
            assert!(!breaker.failed(movie(n), start, "no"));
            for other in 0..2 {
                breaker.answered(&movie(1000 + other), start);
            }
        }
        let mut breaker = Breaker::default();
        for n in 0..100 {
            assert!(!breaker.failed(movie(n), after(start, u64::from(n) * 15_001), "no"));
        }
    }

    #[test]
    fn a_rest_is_a_minute_at_most_and_memory_has_an_end() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        let mut now = start;
        for n in 0..5000 {
            breaker.failed(movie(n), now, "no");
            now += breaker.resting(now).map_or(Duration::ZERO, |resting| resting.left);
        }
        assert!(breaker.failed.len() <= REMEMBERED && breaker.recent.len() <= RECENT);
        breaker.failed(movie(1), now, "no");
        assert_eq!(breaker.resting(now).map(|resting| resting.left), Some(LONGEST_PAUSE));
    }
}
