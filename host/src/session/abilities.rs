//! What may be asked of what a room plays. Whose player that is, a session does not know.

use std::sync::Arc;

use streamit_plugin_api::Capabilities;

use crate::{playback::Command, rooms::Source};

/// What the player of a source can be told to do. Asked at each order: it neither waits nor allocates.
pub type Abilities = Arc<dyn Fn(&Source) -> Capabilities + Send + Sync>;

/// Why nobody's player would follow; nothing if it would. A report is no order, and the position of PLAY and PAUSE says
/// where the host's player is, not where to go.
pub(super) fn unsupported(command: &Command, player: impl FnOnce() -> Capabilities) -> Option<&'static str> {
    if let Command::Progress { .. } = command {
        return None;
    }
    let player = player();
    match command {
        Command::Seek { .. } if !player.seek => Some(
            "this video cannot be moved to another place: its provider's player does not seek; nothing has changed",
        ),
        Command::Pause { .. } if !player.pause => {
            Some("this video cannot be paused: its provider's player does not pause; nothing has changed")
        }
        Command::Play { .. } if !player.resume && !player.autoplay => Some(
            "this video cannot be started from here: its provider's player does not play when told to; nothing has changed",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::Hold;

    #[test]
    fn an_order_is_refused_exactly_if_the_player_cannot_follow_it() {
        let seek = Command::Seek { position_ms: 5 };
        let pause = Command::Pause { position_ms: Some(5), hold: None };
        let hold = Command::Pause { position_ms: None, hold: Some(Hold::Buffering) };
        let play = Command::Play { position_ms: Some(5) };
        let ended = Command::Progress { position_ms: 5, has_ended: true };
        for bits in 0..16_u8 {
            let has = |bit: u8| bits & (1 << bit) != 0;
            let player = Capabilities { seek: has(0), pause: has(1), resume: has(2), autoplay: has(3) };
            let refuses = |command| unsupported(command, || player).is_some();
            assert_eq!(refuses(&seek), !player.seek, "{player:?}");
            assert_eq!((refuses(&pause), refuses(&hold)), (!player.pause, !player.pause), "{player:?}");
            assert_eq!(refuses(&play), !player.resume && !player.autoplay, "{player:?}");
            assert!(!refuses(&ended), "{player:?}");
        }
    }
}
