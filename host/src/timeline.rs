//! A room's timeline: what it plays, whose word about that still counts, and what a store that forgot it may be told.
//! Pure, like `playback`.

use crate::playback::{self, LEAD_MS, MAX_POSITION_MS, Order, PlaybackState};

/// No message is on the way longer. Whoever seems to be later has a wrong clock, or the store's was set back: neither may
/// lock a host out.
pub const STALE_FOR_MS: i64 = 20_000;

/// A version is believed at most so far ahead of the clock: one from far away would use up all that come after it.
pub const MAX_VERSION_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// What a store keeps of a room's playback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    pub playback: PlaybackState,
    /// The newest PLAY, PAUSE, SEEK or source that changed something: a report must have seen it.
    pub ordered: Mark,
    /// The newest source: whatever is said must have seen it.
    pub sourced: Mark,
    /// Set while nobody has given an order since the room was seeded: the version of the memory it goes by, 0 for none.
    pub remembered: Option<i64>,
}

/// The version that something gave the room, and when. A moment of 0 is too long ago for anything to be earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub version: i64,
    pub at_ms: i64,
}

/// What somebody last saw of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub version: i64,
    pub playback: PlaybackState,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Changed(Timeline),
    /// It is as the order wants it already.
    Nothing,
    /// The order is about something that is over.
    Stale,
}

impl Timeline {
    /// A room that nobody has said anything about.
    pub fn seed(now_ms: i64) -> Self {
        let none = Mark::default();
        Timeline { playback: PlaybackState::start(now_ms), ordered: none, sourced: none, remembered: Some(0) }
    }

    /// Another source, as of `version`.
    pub fn of_source(version: i64, now_ms: i64) -> Self {
        let mark = Mark { version, at_ms: now_ms };
        Timeline { playback: PlaybackState::start(now_ms), ordered: mark, sourced: mark, remembered: None }
    }

    /// Whether where the room is says nothing: nobody has given an order, and nobody who saw it before has spoken.
    pub fn is_initial(&self) -> bool {
        self.remembered == Some(0)
    }

    /// Puts the source to where it is to start, as of `version`. Nothing if somebody has moved it, or remembers it elsewhere:
    /// the place of a new source may come after the source, when others have looked at it already.
    pub fn start_at(&self, start_ms: i64, version: i64, now_ms: i64) -> Option<Timeline> {
        let is_at_start = self.playback == PlaybackState::start(self.playback.at_ms);
        let is_untouched = self.ordered == self.sourced && self.remembered.unwrap_or(0) == 0;
        let playback = PlaybackState::paused_at(start_ms, now_ms);
        // What a player reports that was at the beginning says nothing of there.
        let ordered = Mark { version, at_ms: now_ms };
        let started = Timeline { playback, ordered, remembered: None, ..*self };
        (start_ms > 0 && is_at_start && is_untouched).then_some(started)
    }

    /// What an order makes of it; `version` is the one that a change would give the room.
    pub fn apply(&self, order: &Order, version: i64, now_ms: i64) -> Outcome {
        let is_report = matches!(order.command, playback::Command::Progress { .. });
        let mark = if is_report { self.ordered } else { self.sourced };
        if mark.is_unknown_to(order, now_ms) {
            return Outcome::Stale;
        }
        let Some(playback) = playback::apply(self.playback, order, now_ms) else { return Outcome::Nothing };
        let ordered = if is_report { self.ordered } else { Mark { version, at_ms: now_ms } };
        Outcome::Changed(Timeline { playback, ordered, remembered: None, ..*self })
    }

    /// Takes over what somebody saw before the store forgot the room, if nobody has given an order since and nobody
    /// who saw more has spoken. Whoever saw just that is up to date with it.
    pub fn recall(&self, seen: &Seen) -> Option<Timeline> {
        let is_news = self.remembered.is_some_and(|remembered| seen.version > remembered);
        let mark = Mark { version: seen.version, at_ms: 0 };
        let recalled =
            Timeline { playback: seen.playback, ordered: mark, sourced: mark, remembered: Some(seen.version) };
        is_news.then_some(recalled)
    }
}

impl Mark {
    /// Whether whoever sent `order` cannot have known of this.
    fn is_unknown_to(&self, order: &Order, now_ms: i64) -> bool {
        match (order.version, order.at_ms) {
            (Some(version), _) => version < self.version,
            (None, Some(at_ms)) => {
                let age_ms = now_ms.saturating_sub(self.at_ms);
                at_ms < self.at_ms && (0..STALE_FOR_MS).contains(&age_ms)
            }
            (None, None) => false,
        }
    }
}

impl Seen {
    /// The part of it that can be true at `now_ms`.
    pub fn believed(self, now_ms: i64) -> Seen {
        let PlaybackState { is_playing, position_ms, at_ms, hold } = self.playback;
        Seen {
            version: self.version.min(now_ms.saturating_add(MAX_VERSION_AHEAD_MS)),
            playback: PlaybackState {
                is_playing,
                position_ms: position_ms.clamp(0, MAX_POSITION_MS),
                at_ms: at_ms.clamp(0, now_ms.saturating_add(LEAD_MS)),
                hold: hold.filter(|_| !is_playing),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::playback::Command;

    const NOW: i64 = 1_790_000_000_000;

    const PLAY: Command = Command::Play { position_ms: None };
    const PAUSE: Command = Command::Pause { position_ms: None, hold: None };
    const JUMP: Command = Command::Seek { position_ms: 30_000 };
    const REPORT: Command = Command::Progress { position_ms: 5_000, has_ended: false };
    const END: Command = Command::Progress { position_ms: 5_000, has_ended: true };

    fn unsaid(command: Command) -> Order {
        Order { command, at_ms: None, version: None }
    }

    fn having_seen(command: Command, version: i64) -> Order {
        Order { version: Some(version), ..unsaid(command) }
    }

    fn about(command: Command, at_ms: i64) -> Order {
        Order { at_ms: Some(at_ms), ..unsaid(command) }
    }

    fn changed(outcome: Outcome) -> Timeline {
        match outcome {
            Outcome::Changed(timeline) => timeline,
            other => panic!("{other:?}"),
        }
    }

    /// Playing the source of version 10 since `NOW`, and sought there at version 20, ten seconds later.
    fn sought() -> Timeline {
        let timeline = changed(Timeline::of_source(10, NOW).apply(&unsaid(PLAY), 11, NOW));
        changed(timeline.apply(&unsaid(JUMP), 20, NOW + 10_000))
    }

    #[test]
    fn a_report_must_have_seen_the_newest_order() {
        let now = NOW + 10_100;
        for report in [REPORT, END] {
            assert_eq!(sought().apply(&having_seen(report, 19), 30, now), Outcome::Stale);
            changed(sought().apply(&having_seen(report, 20), 30, now));
            assert_eq!(sought().apply(&about(report, NOW + 9_999), 30, now), Outcome::Stale);
            changed(sought().apply(&about(report, NOW + 10_000), 30, now));
            changed(sought().apply(&unsaid(report), 30, now));
        }
        let both = Order { version: Some(20), ..about(REPORT, NOW) };
        changed(sought().apply(&both, 30, now));
    }

    #[test]
    fn an_order_must_have_seen_the_newest_source_only() {
        for command in [PAUSE, Command::Seek { position_ms: 1 }, Command::Play { position_ms: Some(1) }] {
            let now = NOW + 10_100;
            changed(sought().apply(&having_seen(command, 10), 30, now));
            assert_eq!(sought().apply(&having_seen(command, 9), 30, now), Outcome::Stale);
            changed(sought().apply(&about(command, NOW), 30, now));
            assert_eq!(sought().apply(&about(command, NOW - 1), 30, now), Outcome::Stale);
            changed(sought().apply(&unsaid(command), 30, now));
        }
    }

    #[test]
    fn a_moment_counts_for_as_long_as_a_message_may_be_on_its_way() {
        let late = about(REPORT, NOW);
        assert_eq!(sought().apply(&late, 30, NOW + 10_000 + STALE_FOR_MS - 1), Outcome::Stale);
        changed(sought().apply(&late, 30, NOW + 10_000 + STALE_FOR_MS));
        // The store's clock was set back: every moment is before the order now.
        let set_back = about(PAUSE, NOW - 60_000);
        changed(sought().apply(&set_back, 30, NOW - 60_000));
        assert_eq!(
            sought().apply(&having_seen(REPORT, 19), 30, NOW + 3_600_000),
            Outcome::Stale,
            "a version always does"
        );
    }

    #[test]
    fn only_an_order_that_changes_something_is_one_to_have_seen() {
        let now = NOW + 11_000;
        assert_eq!(sought().apply(&unsaid(PLAY), 30, now), Outcome::Nothing);
        let paused = changed(sought().apply(&unsaid(PAUSE), 30, now));
        assert_eq!(paused.ordered, Mark { version: 30, at_ms: now });
        assert_eq!(paused.sourced, sought().sourced);
        let reported = changed(sought().apply(&unsaid(REPORT), 30, now));
        assert_eq!(reported.ordered, sought().ordered, "a report is no order");
        let started = changed(paused.apply(&unsaid(PLAY), 40, now + 1));
        assert_eq!(
            started.ordered,
            Mark { version: 40, at_ms: now + 1 },
            "when it was given, not when it takes effect"
        );
    }

    #[test]
    fn where_nobody_has_said_anything_nothing_is_stale() {
        for order in [having_seen(REPORT, 1), about(REPORT, NOW - 90_000), having_seen(PLAY, 0), about(PLAY, 0)] {
            changed(Timeline::seed(NOW).apply(&order, NOW + 1, NOW));
        }
    }

    fn seen(version: i64, position_ms: i64) -> Seen {
        let playback = PlaybackState { is_playing: true, position_ms, at_ms: NOW - 5_000, hold: None };
        Seen { version, playback }
    }

    #[test]
    fn the_newest_memory_wins_until_somebody_gives_an_order() {
        let seed = Timeline::seed(NOW);
        assert_eq!(seed.recall(&seen(0, 1_000)), None, "nobody saw that");
        let older = seed.recall(&seen(7, 1_000)).expect("better than nothing");
        assert_eq!(older.playback, seen(7, 1_000).playback);
        assert_eq!(older.recall(&seen(7, 9_000)), None);
        let newer = older.recall(&seen(8, 2_000)).expect("saw more");
        assert_eq!(newer.remembered, Some(8));
        let same = newer.apply(&unsaid(PLAY), 30, NOW);
        assert_eq!(same, Outcome::Nothing, "an order that changes nothing is none");
        let ordered = changed(newer.apply(&unsaid(PAUSE), 30, NOW));
        assert_eq!(ordered.recall(&seen(99, 3_000)), None);
        assert_eq!(Timeline::of_source(40, NOW).recall(&seen(99, 3_000)), None);
    }

    #[test]
    fn a_source_starts_where_it_is_to_unless_somebody_was_first() {
        for untouched in [Timeline::seed(NOW), Timeline::of_source(10, NOW)] {
            let started = untouched.start_at(90_000, 15, NOW + 5).expect("put there");
            assert_eq!(started.playback, PlaybackState::paused_at(90_000, NOW + 5));
            assert_eq!(started.sourced, untouched.sourced);
            assert_eq!(started.apply(&having_seen(REPORT, 14), 20, NOW + 6), Outcome::Stale, "from the beginning");
            changed(started.apply(&having_seen(PLAY, 14), 20, NOW + 6));
            assert_eq!(started.start_at(80_000, 16, NOW + 6), None, "once");
            assert_eq!(started.recall(&seen(99, 0)), None, "nobody who saw it before remembers better");
            for nowhere in [0, -1] {
                assert_eq!(untouched.start_at(nowhere, 15, NOW), None);
            }
            let far = untouched.start_at(i64::MAX, 15, NOW).expect("put there");
            assert_eq!(far.playback.position_ms, MAX_POSITION_MS);
            for order in [JUMP, PLAY] {
                let touched = changed(untouched.apply(&unsaid(order), 20, NOW));
                assert_eq!(touched.start_at(90_000, 25, NOW + 6), None, "{order:?}");
                let back =
                    changed(touched.apply(&unsaid(Command::Pause { position_ms: Some(0), hold: None }), 21, NOW));
                assert_eq!(back.start_at(90_000, 26, NOW + 7), None, "{order:?}, and back");
            }
        }
        let recalled = Timeline::seed(NOW).recall(&Seen { version: 7, playback: PlaybackState::start(NOW) });
        assert_eq!(recalled.expect("taken over").start_at(90_000, 25, NOW), None);
    }

    #[test]
    fn whoever_saw_what_is_remembered_is_up_to_date() {
        let recalled = Timeline::seed(NOW).recall(&seen(7, 10_000)).expect("taken over");
        for order in
            [having_seen(REPORT, 7), having_seen(PAUSE, 7), about(REPORT, NOW - 1_000), about(PAUSE, NOW - 1_000)]
        {
            changed(recalled.apply(&order, 30, NOW));
        }
        assert_eq!(recalled.apply(&having_seen(REPORT, 6), 30, NOW), Outcome::Stale);
    }

    #[test]
    fn a_memory_is_believed_as_far_as_it_can_be_true() {
        use crate::playback::Hold;
        let hold = Some(Hold::Buffering);
        let playback = PlaybackState { is_playing: true, position_ms: -5, at_ms: NOW + 60_000, hold };
        let believed = Seen { version: i64::MAX, playback }.believed(NOW);
        assert_eq!(believed.version, NOW + MAX_VERSION_AHEAD_MS);
        let possible = PlaybackState { position_ms: 0, at_ms: NOW + LEAD_MS, hold: None, ..playback };
        assert_eq!(believed.playback, possible);
        let held = PlaybackState { is_playing: false, at_ms: NOW - 9, position_ms: 4, hold };
        let possible = Seen { version: 3, playback: held };
        assert_eq!(possible.believed(NOW), possible);
    }

    proptest! {
        #[test]
        fn whoever_has_seen_everything_is_always_heard(
            steps in proptest::collection::vec((-60_000..60_000_i64, 0..5_usize), 1..30),
        ) {
            let (mut timeline, mut version, mut now) = (Timeline::seed(NOW), NOW, NOW);
            for (passed, n) in steps {
                now += passed;
                let next = playback::next_version(version, now);
                let order = having_seen([PLAY, PAUSE, JUMP, REPORT, END][n], version);
                match timeline.apply(&order, next, now) {
                    Outcome::Changed(changed) => (timeline, version) = (changed, next),
                    Outcome::Nothing => {}
                    Outcome::Stale => prop_assert!(false, "{order:?} is about {timeline:?}"),
                }
                prop_assert!(timeline.sourced.version <= timeline.ordered.version && timeline.ordered.version <= version);
            }
        }
    }
}
