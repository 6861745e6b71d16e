//! The pure rules of playback: what a host's command does to a room's position. No clock, no I/O: `now` is an argument.

use serde::{Deserialize, Serialize};

/// No film is longer; larger positions are clamped to it.
pub const MAX_POSITION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A reported moment is believed at most this far back: it makes up for the host's uplink, not for a wrong clock.
pub const MAX_REPORT_AGE_MS: i64 = 2_000;

/// A progress report re-anchors the room only when it differs by more: players jitter by less than this.
pub const PROGRESS_TOLERANCE_MS: i64 = 80;

/// A start is an appointment so far ahead: near and far have heard of it by then, and start together.
pub const LEAD_MS: i64 = 150;

/// What a room plays, as an anchor: `position_ms` was true at `at_ms` on the store's clock, or will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybackState {
    pub is_playing: bool,
    pub position_ms: i64,
    pub at_ms: i64,
    /// Why a paused room is paused, if it is not by anybody's wish.
    #[serde(default)]
    pub hold: Option<Hold>,
}

/// What keeps a room from playing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// The host's player has run dry.
    Buffering,
}

/// What a host wants of the room, or says about its player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Playing, from the position or from where the room is.
    Play { position_ms: Option<i64> },
    /// Paused, at the position or where the room is.
    Pause { position_ms: Option<i64>, hold: Option<Hold> },
    /// There; playing stays playing, paused stays paused.
    Seek { position_ms: i64 },
    /// What the host's player really shows; no order, a report.
    Progress { position_ms: i64, has_ended: bool },
}

/// A command, and what its sender knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub command: Command,
    /// The moment at which the position was true, as the sender estimates it on the store's clock.
    pub at_ms: Option<i64>,
    /// The version of the STATE that the sender had taken in.
    pub version: Option<i64>,
}

impl Order {
    /// Whether `older`, which waits, may as well not be carried out: this says the same of now.
    pub fn replaces(&self, older: &Order) -> bool {
        let is_same = matches!(
            (older.command, self.command),
            (Command::Seek { .. }, Command::Seek { .. })
                | (Command::Progress { has_ended: false, .. }, Command::Progress { .. })
        );
        // Not by one that counts less.
        is_same && older.version.is_some() == self.version.is_some() && older.version <= self.version
    }
}

impl Hold {
    /// As clients and the store write it.
    pub fn word(self) -> &'static str {
        match self {
            Hold::Buffering => "buffering",
        }
    }
}

impl PlaybackState {
    /// The beginning of a source: paused at 0.
    pub fn start(now_ms: i64) -> Self {
        PlaybackState::paused_at(0, now_ms)
    }

    /// Paused there, or as near to it as a room can be.
    pub fn paused_at(position_ms: i64, now_ms: i64) -> Self {
        let position_ms = position_ms.clamp(0, MAX_POSITION_MS);
        PlaybackState { is_playing: false, position_ms, at_ms: now_ms, hold: None }
    }

    /// Where everyone should be at `now_ms`. Before its moment an anchor rests.
    pub fn position_at(&self, now_ms: i64) -> i64 {
        let elapsed = if self.is_playing { now_ms.saturating_sub(self.at_ms).max(0) } else { 0 };
        self.position_ms.saturating_add(elapsed).clamp(0, MAX_POSITION_MS)
    }
}

/// The state after `order`, or `None` if it changes nothing. The new anchor is at `now`, however the clock ran since the
/// old one; that of a start is the lead ahead of it.
pub fn apply(state: PlaybackState, order: &Order, now_ms: i64) -> Option<PlaybackState> {
    let at_ms = match order.command {
        Command::Play { .. } => now_ms.saturating_add(LEAD_MS),
        _ => now_ms,
    };
    let here = state.position_at(at_ms);
    // Where a report puts the room at the anchor: a playing position has moved on since it was true.
    let reported = |position_ms: i64, is_playing| {
        let oldest_ms = now_ms.saturating_sub(MAX_REPORT_AGE_MS);
        let true_at_ms = order.at_ms.map_or(at_ms, |at_ms| at_ms.clamp(oldest_ms, now_ms));
        let position_ms = position_ms.clamp(0, MAX_POSITION_MS);
        PlaybackState { is_playing, position_ms, at_ms: true_at_ms, hold: None }.position_at(at_ms)
    };
    let PlaybackState { is_playing, hold, .. } = state;
    let (is_playing, position_ms, hold) = match order.command {
        Command::Play { position_ms } => (true, position_ms.map_or(here, |there| reported(there, true)), None),
        // A player that runs dry does not undo somebody's pause.
        Command::Pause { hold: Some(_), .. } if !is_playing => return None,
        Command::Pause { position_ms, hold } => (false, position_ms.map_or(here, |there| reported(there, false)), hold),
        Command::Seek { position_ms } => (is_playing, reported(position_ms, is_playing), hold),
        // Before the appointment nobody can be late.
        Command::Progress { .. } if now_ms < state.at_ms => return None,
        Command::Progress { position_ms, has_ended: true } if is_playing => (false, reported(position_ms, false), None),
        Command::Progress { position_ms, .. } => {
            let shown = reported(position_ms, is_playing);
            let is_off = (shown - here).abs() > PROGRESS_TOLERANCE_MS;
            (is_playing, if is_off { shown } else { here }, hold)
        }
    };
    let has_changed = (is_playing, position_ms, hold) != (state.is_playing, here, state.hold);
    has_changed.then_some(PlaybackState { is_playing, position_ms, at_ms, hold })
}

/// The version after `last`: larger than it, and than any that a store with a sound clock gave out before it forgot.
pub fn next_version(last: i64, now_ms: i64) -> i64 {
    now_ms.max(last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn only_what_says_the_same_of_now_replaces_what_waits() {
        let seek = |position_ms, version| Order { command: Command::Seek { position_ms }, at_ms: None, version };
        let unsaid = |command| Order { command, at_ms: None, version: None };
        let report = |has_ended| unsaid(Command::Progress { position_ms: 1, has_ended });
        let play = |position_ms| unsaid(Command::Play { position_ms });
        let pause = unsaid(Command::Pause { position_ms: Some(1), hold: None });
        for (newer, older) in [
            (seek(2, None), seek(1, None)),
            (seek(2, Some(7)), seek(1, Some(7))),
            (report(false), report(false)),
            (report(true), report(false)),
        ] {
            assert!(newer.replaces(&older), "{newer:?} {older:?}");
        }
        for (newer, older) in [
            (seek(2, Some(6)), seek(1, Some(7))),
            (seek(2, Some(7)), seek(1, None)),
            (seek(2, None), seek(1, Some(7))),
            (seek(2, None), play(Some(1))),
            (seek(2, None), pause),
            (seek(2, None), report(false)),
            (play(Some(2)), play(Some(1))),
            (pause, play(None)),
            (pause, seek(1, None)),
            (report(false), report(true)),
            (report(false), seek(1, None)),
        ] {
            assert!(!newer.replaces(&older), "{newer:?} {older:?}");
        }
    }

    fn playing(position_ms: i64) -> PlaybackState {
        PlaybackState { is_playing: true, position_ms, at_ms: NOW, hold: None }
    }

    fn paused(position_ms: i64) -> PlaybackState {
        PlaybackState { is_playing: false, ..playing(position_ms) }
    }

    fn held(position_ms: i64) -> PlaybackState {
        PlaybackState { hold: Some(Hold::Buffering), ..paused(position_ms) }
    }

    fn order(command: Command) -> Order {
        Order { command, at_ms: None, version: None }
    }

    const PLAY: Command = Command::Play { position_ms: None };
    const PAUSE: Command = Command::Pause { position_ms: None, hold: None };
    const STARVE: Command = Command::Pause { position_ms: None, hold: Some(Hold::Buffering) };

    fn seek(position_ms: i64) -> Command {
        Command::Seek { position_ms }
    }

    fn progress(position_ms: i64) -> Command {
        Command::Progress { position_ms, has_ended: false }
    }

    fn ended(position_ms: i64) -> Command {
        Command::Progress { position_ms, has_ended: true }
    }

    #[test]
    fn a_position_moves_on_while_playing_and_rests_while_paused() {
        assert_eq!(playing(1_000).position_at(NOW + 5_000), 6_000);
        assert_eq!(PlaybackState::start(NOW).position_at(NOW + 5_000), 0);
    }

    #[test]
    fn seek_while_playing_keeps_playing() {
        let after = apply(playing(0), &order(seek(60_000)), NOW + 10).expect("moved");
        assert_eq!(after, PlaybackState { at_ms: NOW + 10, ..playing(60_000) });
    }

    #[test]
    fn seek_while_paused_stays_paused() {
        let after = apply(PlaybackState::start(NOW), &order(seek(60_000)), NOW + 10).expect("moved");
        assert!(!after.is_playing);
    }

    #[test]
    fn play_and_pause_without_a_position_act_where_the_room_is() {
        let paused = apply(playing(1_000), &order(PAUSE), NOW + 500).expect("paused");
        assert_eq!((paused.is_playing, paused.position_ms), (false, 1_500));
        assert_eq!(apply(paused, &order(PAUSE), NOW + 900), None);
        let resumed = apply(paused, &order(PLAY), NOW + 2_000).expect("playing");
        assert_eq!(resumed.position_at(NOW + 3_000 + LEAD_MS), 2_500);
        assert_eq!(apply(resumed, &order(PLAY), NOW + 2_001), None, "it does already, or will");
        assert_eq!(apply(resumed, &order(PLAY), NOW + 9_000), None);
    }

    #[test]
    fn a_start_is_an_appointment() {
        let room = apply(paused(7_000), &order(PLAY), NOW).expect("playing");
        assert_eq!(room, PlaybackState { at_ms: NOW + LEAD_MS, ..playing(7_000) });
        assert_eq!(room.position_at(NOW), 7_000);
        assert_eq!(room.position_at(NOW + LEAD_MS + 10), 7_010);
        let there = order(Command::Play { position_ms: Some(30_000) });
        let room = apply(paused(7_000), &there, NOW).expect("playing");
        assert_eq!((room.position_ms, room.at_ms), (30_000, NOW + LEAD_MS), "from there, at that moment");
        assert_eq!(apply(room, &there, NOW), None, "twice at once is once");
        let here = order(Command::Play { position_ms: Some(30_000 + LEAD_MS) });
        assert_eq!(apply(playing(30_000), &here, NOW), None, "where it will be then");
    }

    #[test]
    fn other_orders_take_effect_now() {
        let starting = apply(paused(7_000), &order(PLAY), NOW).expect("playing");
        for command in [PAUSE, seek(9_000)] {
            assert_eq!(apply(starting, &order(command), NOW + 10).expect("changed").at_ms, NOW + 10);
        }
        let paused = apply(starting, &order(PAUSE), NOW + 10).expect("paused");
        assert_eq!(paused.position_ms, 7_000, "called off before it began");
    }

    #[test]
    fn the_hosts_uplink_delay_is_made_up_for_but_only_two_seconds_of_it() {
        let late = |command, by| Order { command, at_ms: Some(NOW - by), version: None };
        let play = Command::Play { position_ms: Some(10_000) };
        let room = |by| apply(PlaybackState::start(NOW), &late(play, by), NOW).expect("playing");
        assert_eq!(room(300).position_at(NOW + LEAD_MS), 10_300 + LEAD_MS, "the line through the report");
        assert_eq!(room(60_000).position_at(NOW + LEAD_MS), 12_000 + LEAD_MS);
        assert_eq!(room(-60_000).position_at(NOW + LEAD_MS), 10_000 + LEAD_MS);
        assert_eq!(apply(playing(0), &late(seek(10_000), 300), NOW).expect("moved").position_ms, 10_300);
        let pause = Command::Pause { position_ms: Some(10_000), hold: None };
        assert_eq!(apply(playing(0), &late(pause, 300), NOW).expect("paused").position_ms, 10_000);
    }

    #[test]
    fn progress_re_anchors_only_beyond_the_tolerance() {
        let after = |shown| apply(playing(0), &order(progress(shown)), NOW + 5_000);
        assert_eq!(after(5_000 + PROGRESS_TOLERANCE_MS), None);
        assert_eq!(after(5_000 - PROGRESS_TOLERANCE_MS), None);
        let anchored = after(5_000 - PROGRESS_TOLERANCE_MS - 1).expect("behind");
        assert_eq!((anchored.is_playing, anchored.at_ms), (true, NOW + 5_000));
        assert_eq!(anchored.position_ms, 5_000 - PROGRESS_TOLERANCE_MS - 1);
    }

    #[test]
    fn before_the_appointment_nobody_is_late() {
        let starting = apply(paused(7_000), &order(PLAY), NOW).expect("playing");
        for report in [progress(3_000), ended(3_000)] {
            assert_eq!(apply(starting, &order(report), NOW + LEAD_MS - 1), None);
            assert!(apply(starting, &order(report), NOW + LEAD_MS).is_some());
        }
    }

    #[test]
    fn a_host_who_runs_dry_holds_the_room() {
        let room = apply(playing(1_000), &order(STARVE), NOW + 500).expect("held");
        assert_eq!(room, PlaybackState { at_ms: NOW + 500, ..held(1_500) });
        assert_eq!(apply(room, &order(STARVE), NOW + 600), None);
        let room = apply(room, &order(seek(9_000)), NOW + 700).expect("moved");
        assert_eq!((room.position_ms, room.hold), (9_000, Some(Hold::Buffering)), "a jump does not feed it");
        let room = apply(room, &order(progress(8_000)), NOW + 800).expect("moved");
        assert_eq!((room.position_ms, room.hold), (8_000, Some(Hold::Buffering)));
        let room = apply(room, &order(PLAY), NOW + 900).expect("playing");
        assert_eq!((room.is_playing, room.hold), (true, None));
        let there = Command::Pause { position_ms: Some(1_200), hold: Some(Hold::Buffering) };
        assert_eq!(apply(playing(1_000), &order(there), NOW + 500).expect("held").position_ms, 1_200);
    }

    #[test]
    fn a_host_who_runs_dry_undoes_nobodys_pause_and_a_pause_ends_the_hold() {
        assert_eq!(apply(paused(1_000), &order(STARVE), NOW), None);
        let there = Command::Pause { position_ms: Some(5_000), hold: Some(Hold::Buffering) };
        assert_eq!(apply(paused(1_000), &order(there), NOW), None);
        assert_eq!(apply(held(1_000), &order(PAUSE), NOW), Some(paused(1_000)));
    }

    #[test]
    fn at_its_end_the_video_rests() {
        let room = apply(playing(0), &order(ended(60_000)), NOW + 60_030).expect("over");
        assert_eq!(room, PlaybackState { at_ms: NOW + 60_030, ..paused(60_000) });
        let late = Order { command: ended(60_000), at_ms: Some(NOW + 59_000), version: None };
        assert_eq!(
            apply(playing(0), &late, NOW + 60_030).expect("over").position_ms,
            60_000,
            "an end does not move on"
        );
        assert_eq!(apply(paused(60_000), &order(ended(60_000 - PROGRESS_TOLERANCE_MS)), NOW), None);
        let elsewhere = apply(held(60_000), &order(ended(10_000)), NOW).expect("moved");
        assert_eq!(elsewhere, held(10_000), "where it is paused it is a report like any other");
    }

    #[test]
    fn a_clock_that_was_set_back_delays_no_order_and_moves_nobody() {
        let before = PlaybackState { position_ms: 40_000, ..playing(0) };
        let back = NOW - 60_000;
        assert_eq!(apply(before, &order(PLAY), back), None);
        let paused = apply(before, &order(PAUSE), back).expect("paused");
        assert_eq!((paused.position_ms, paused.at_ms), (40_000, back));
        let playing = apply(paused, &order(PLAY), back + 10).expect("playing");
        assert_eq!((playing.position_ms, playing.at_ms), (40_000, back + 10 + LEAD_MS));
    }

    fn any_order() -> impl Strategy<Value = Order> {
        let moment = prop_oneof![Just(None), any::<i64>().prop_map(Some), (NOW - 5_000..NOW + 5_000).prop_map(Some)];
        (any_command(), moment).prop_map(|(command, at_ms)| Order { command, at_ms, version: None })
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let position = || prop_oneof![any::<i64>(), 0..MAX_POSITION_MS];
        let maybe = || proptest::option::of(position());
        prop_oneof![
            maybe().prop_map(|position_ms| Command::Play { position_ms }),
            (maybe(), proptest::option::of(Just(Hold::Buffering)))
                .prop_map(|(position_ms, hold)| Command::Pause { position_ms, hold }),
            position().prop_map(seek),
            (position(), any::<bool>())
                .prop_map(|(position_ms, has_ended)| Command::Progress { position_ms, has_ended }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_host_sends_the_state_stays_sane(
            steps in proptest::collection::vec((any_order(), -10_000..10_000_i64), 1..50),
        ) {
            let mut state = PlaybackState::start(NOW);
            let mut version = NOW;
            let mut now = NOW;
            for (order, passed) in steps {
                now += passed; // also backwards: a store's clock may jump
                let before = state;
                if let Some(after) = apply(state, &order, now) {
                    let newer = next_version(version, now);
                    prop_assert!(newer > version);
                    version = newer;
                    state = after;
                    let lead = if let Command::Play { .. } = order.command { LEAD_MS } else { 0 };
                    prop_assert_eq!(state.at_ms, now + lead, "an order works at once");
                }
                prop_assert!((0..=MAX_POSITION_MS).contains(&state.position_ms));
                prop_assert!(state.hold.is_none() || !state.is_playing, "what plays is not held");
                match order.command {
                    Command::Play { .. } => prop_assert!(state.is_playing),
                    Command::Pause { .. } => prop_assert!(!state.is_playing),
                    Command::Seek { .. } | Command::Progress { has_ended: false, .. } => {
                        prop_assert_eq!((state.is_playing, state.hold), (before.is_playing, before.hold));
                    }
                    Command::Progress { has_ended: true, .. } => prop_assert!(before.is_playing || !state.is_playing),
                }
                if let Command::Progress { .. } = order.command && state != before {
                    prop_assert!(now >= before.at_ms);
                    let has_moved = (state.position_at(now) - before.position_at(now)).abs() > PROGRESS_TOLERANCE_MS;
                    prop_assert!(has_moved || state.is_playing != before.is_playing);
                }
            }
        }

        #[test]
        fn the_same_order_twice_changes_nothing_more(order in any_order(), position in 0..MAX_POSITION_MS) {
            for state in [playing(position), paused(position), held(position)] {
                if let Some(after) = apply(state, &order, NOW) {
                    prop_assert_eq!(apply(after, &order, NOW), None);
                }
            }
        }

        #[test]
        fn a_start_without_a_position_moves_no_room_that_plays(position in 0..MAX_POSITION_MS, passed in -10_000..10_000_i64) {
            prop_assert_eq!(apply(playing(position), &order(PLAY), NOW + passed), None);
        }
    }
}
