//! The pure rules of playback: what a host's command does to a room's position. No clock, no I/O: `now` is an argument.

use serde::{Deserialize, Serialize};

/// No film is longer; larger positions are clamped to it.
pub const MAX_POSITION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A reported moment is believed at most this far back: it makes up for the host's uplink, not for a wrong clock.
pub const MAX_REPORT_AGE_MS: i64 = 2_000;

/// A progress report re-anchors the room only when it differs by more: players jitter by less than this.
pub const PROGRESS_TOLERANCE_MS: i64 = 500;

/// What a room plays, as an anchor: `position_ms` was true at `at_ms` on the store's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybackState {
    pub is_playing: bool,
    pub position_ms: i64,
    pub at_ms: i64,
}

/// A host's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Playing, from the reported position or from where the room is.
    Play(Option<Report>),
    /// Paused, at the reported position or where the room is.
    Pause(Option<Report>),
    /// There; playing stays playing, paused stays paused.
    Seek(Report),
    /// What the host's player really shows.
    Progress(Report),
}

/// A position, and the moment at which it was true, as the sender estimates it on the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub position_ms: i64,
    pub at_ms: Option<i64>,
}

impl PlaybackState {
    /// The beginning of a source: paused at 0.
    pub fn start(now_ms: i64) -> Self {
        PlaybackState { is_playing: false, position_ms: 0, at_ms: now_ms }
    }

    /// Where everyone should be at `now_ms`. A clock that went back does not move anyone back.
    pub fn position_at(&self, now_ms: i64) -> i64 {
        let elapsed = if self.is_playing { now_ms.saturating_sub(self.at_ms).max(0) } else { 0 };
        self.position_ms.saturating_add(elapsed).clamp(0, MAX_POSITION_MS)
    }
}

/// The state after `command`, or `None` if it changes nothing. The new anchor is always at `now`, which never runs
/// behind the old one.
pub fn apply(state: PlaybackState, command: Command, now_ms: i64) -> Option<PlaybackState> {
    let now_ms = now_ms.max(state.at_ms);
    let here = state.position_at(now_ms);
    let (is_playing, position_ms) = match command {
        Command::Play(report) => (true, report.map_or(here, |report| report.position_at(now_ms, true))),
        Command::Pause(report) => (false, report.map_or(here, |report| report.position_at(now_ms, false))),
        Command::Seek(report) => (state.is_playing, report.position_at(now_ms, state.is_playing)),
        Command::Progress(report) => {
            let shown = report.position_at(now_ms, state.is_playing);
            let off = (shown - here).abs() > PROGRESS_TOLERANCE_MS;
            (state.is_playing, if off { shown } else { here })
        }
    };
    let changed = (is_playing, position_ms) != (state.is_playing, here);
    changed.then_some(PlaybackState { is_playing, position_ms, at_ms: now_ms })
}

impl Report {
    /// Where the report says the room is now: a playing position has moved on since it was true.
    fn position_at(&self, now_ms: i64, is_playing: bool) -> i64 {
        let at_ms = self.at_ms.unwrap_or(now_ms).clamp(now_ms.saturating_sub(MAX_REPORT_AGE_MS), now_ms);
        let position_ms = self.position_ms.clamp(0, MAX_POSITION_MS);
        PlaybackState { is_playing, position_ms, at_ms }.position_at(now_ms)
    }
}

/// The version after `last`: larger than it, and than any that a store with a sound clock gave out before it forgot.
pub fn next_version(last: i64, now_ms: i64) -> i64 {
    now_ms.max(last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn playing(position_ms: i64) -> PlaybackState {
        PlaybackState { is_playing: true, position_ms, at_ms: NOW }
    }

    fn at(position_ms: i64) -> Report {
        Report { position_ms, at_ms: None }
    }

    #[test]
    fn a_position_moves_on_while_playing_and_rests_while_paused() {
        assert_eq!(playing(1_000).position_at(NOW + 5_000), 6_000);
        assert_eq!(PlaybackState::start(NOW).position_at(NOW + 5_000), 0);
    }

    #[test]
    fn seek_while_playing_keeps_playing() {
        let after = apply(playing(0), Command::Seek(at(60_000)), NOW + 10).expect("moved");
        assert_eq!(after, PlaybackState { is_playing: true, position_ms: 60_000, at_ms: NOW + 10 });
    }

    #[test]
    fn seek_while_paused_stays_paused() {
        let after = apply(PlaybackState::start(NOW), Command::Seek(at(60_000)), NOW + 10).expect("moved");
        assert!(!after.is_playing);
    }

    #[test]
    fn play_and_pause_without_a_position_act_where_the_room_is() {
        let paused = apply(playing(1_000), Command::Pause(None), NOW + 500).expect("paused");
        assert_eq!((paused.is_playing, paused.position_ms), (false, 1_500));
        assert_eq!(apply(paused, Command::Pause(None), NOW + 900), None);
        let resumed = apply(paused, Command::Play(None), NOW + 2_000).expect("playing");
        assert_eq!(resumed.position_at(NOW + 3_000), 2_500);
    }

    #[test]
    fn the_hosts_uplink_delay_is_made_up_for_but_only_two_seconds_of_it() {
        let late = |by| Command::Play(Some(Report { position_ms: 10_000, at_ms: Some(NOW - by) }));
        let position = |by| apply(PlaybackState::start(NOW), late(by), NOW).expect("playing").position_ms;
        assert_eq!(position(300), 10_300);
        assert_eq!(position(60_000), 12_000);
        assert_eq!(position(-60_000), 10_000);
        let paused = Command::Pause(Some(Report { position_ms: 10_000, at_ms: Some(NOW - 300) }));
        assert_eq!(apply(playing(0), paused, NOW).expect("paused").position_ms, 10_000);
    }

    #[test]
    fn progress_re_anchors_only_beyond_half_a_second() {
        assert_eq!(apply(playing(0), Command::Progress(at(5_400)), NOW + 5_000), None);
        assert_eq!(apply(playing(0), Command::Progress(at(4_500)), NOW + 5_000), None);
        let anchored = apply(playing(0), Command::Progress(at(4_000)), NOW + 5_000).expect("buffered");
        assert_eq!((anchored.is_playing, anchored.position_ms), (true, 4_000));
    }

    fn any_report() -> impl Strategy<Value = Report> {
        let moment = prop_oneof![Just(None), any::<i64>().prop_map(Some), (NOW - 5_000..NOW + 5_000).prop_map(Some)];
        let position = prop_oneof![any::<i64>(), 0..MAX_POSITION_MS];
        (position, moment).prop_map(|(position_ms, at_ms)| Report { position_ms, at_ms })
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            proptest::option::of(any_report()).prop_map(Command::Play),
            proptest::option::of(any_report()).prop_map(Command::Pause),
            any_report().prop_map(Command::Seek),
            any_report().prop_map(Command::Progress),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_host_sends_the_state_stays_sane(
            steps in proptest::collection::vec((any_command(), -10_000..10_000_i64), 1..50),
        ) {
            let mut state = PlaybackState::start(NOW);
            let mut version = NOW;
            let mut now = NOW;
            for (command, passed) in steps {
                now += passed; // also backwards: a store's clock may jump
                let before = state;
                if let Some(after) = apply(state, command, now) {
                    let newer = next_version(version, now);
                    prop_assert!(newer > version);
                    version = newer;
                    state = after;
                }
                prop_assert!((0..=MAX_POSITION_MS).contains(&state.position_ms));
                prop_assert!(state.at_ms >= before.at_ms, "the anchor never runs back");
                match command {
                    Command::Play(_) => prop_assert!(state.is_playing),
                    Command::Pause(_) => prop_assert!(!state.is_playing),
                    Command::Seek(_) | Command::Progress(_) => prop_assert_eq!(state.is_playing, before.is_playing),
                }
                if let Command::Progress(_) = command && state != before {
                    let seen = now.max(before.at_ms);
                    prop_assert!((state.position_at(seen) - before.position_at(seen)).abs() > PROGRESS_TOLERANCE_MS);
                }
            }
        }

        #[test]
        fn the_same_command_twice_changes_nothing_more(command in any_command(), position in 0..MAX_POSITION_MS) {
            if let Some(after) = apply(playing(position), command, NOW) {
                prop_assert_eq!(apply(after, command, NOW), None);
            }
        }
    }
}
