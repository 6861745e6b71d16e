//! The channels that are wanted of one server, and what is heard of them. What is wanted is the truth; whatever the server
//! does is brought in line with it, one step per channel at a time.

use std::collections::HashMap;

use bytes::Bytes;
use redis::RedisResult;
use tokio::sync::oneshot;

/// What has to be said to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe,
    Unsubscribe,
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    known: HashMap<Bytes, Channel>,
    /// Those that may need a step.
    changed: Vec<Bytes>,
    is_up: bool,
}

#[derive(Debug, Default)]
struct Channel {
    is_wanted: bool,
    /// What was published meanwhile is not known.
    has_missed: bool,
    heard: Heard,
    waiting: Vec<oneshot::Sender<RedisResult<()>>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Heard {
    #[default]
    Not,
    Yes,
    /// A step is on its way.
    Soon(Option<Step>),
}

impl Channels {
    /// Listens from now on. What comes back is answered when that is confirmed; nothing, if there is nothing to wait for.
    pub(super) fn want(&mut self, channel: &Bytes) -> Option<oneshot::Receiver<RedisResult<()>>> {
        let known = self.known.entry(channel.clone()).or_default();
        known.is_wanted = true;
        if !self.is_up || known.heard == Heard::Yes {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        known.waiting.push(sender);
        self.changed.push(channel.clone());
        Some(answer)
    }

    /// Listens to what another server had until now.
    pub(super) fn take_over(&mut self, channel: &Bytes) {
        let known = self.known.entry(channel.clone()).or_default();
        (known.is_wanted, known.has_missed) = (true, true);
        self.changed.push(channel.clone());
    }

    pub(super) fn leave(&mut self, channel: &Bytes) {
        if let Some(known) = self.known.get_mut(channel) {
            known.is_wanted = false;
            self.changed.push(channel.clone());
        }
    }

    /// Whether everything that is published on a channel arrives.
    pub(super) fn hears(&self, channel: &[u8]) -> bool {
        self.is_up && self.known.get(channel).is_some_and(|known| known.is_wanted && known.heard == Heard::Yes)
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn wanted(&self) -> Vec<Bytes> {
        self.known.iter().filter(|(_, known)| known.is_wanted).map(|(name, _)| name.clone()).collect()
    }

    /// There is a new line, on which nothing has been said yet.
    pub(super) fn up(&mut self) {
        self.is_up = true;
        self.known.retain(|_, known| known.is_wanted);
        self.changed = self.known.keys().cloned().collect();
        for known in self.known.values_mut() {
            (known.has_missed, known.heard) = (true, Heard::Not);
        }
    }

    /// The line is down: nobody waits for it.
    pub(super) fn down(&mut self) {
        self.is_up = false;
        self.known.values_mut().for_each(|known| known.waiting.clear());
    }

    /// What has to be said now.
    pub(super) fn steps(&mut self) -> Vec<(Bytes, Step)> {
        let mut steps = Vec::new();
        for channel in std::mem::take(&mut self.changed) {
            let Some(known) = self.known.get_mut(&channel) else { continue };
            let step = match (known.is_wanted, &known.heard) {
                (true, Heard::Not) => Step::Subscribe,
                (false, Heard::Yes) => Step::Unsubscribe,
                (false, Heard::Not) => {
                    self.known.remove(&channel);
                    continue;
                }
                _ => continue,
            };
            known.heard = Heard::Soon(Some(step));
            steps.push((channel, step));
        }
        steps
    }

    /// A step was answered. Says whether something was missed that has to be read now.
    pub(super) fn answered(&mut self, channel: &Bytes, step: Step, answer: &RedisResult<()>) -> bool {
        let Some(known) = self.known.get_mut(channel) else { return false };
        if step == Step::Unsubscribe {
            known.heard = Heard::Not;
            self.changed.push(channel.clone());
            return false;
        }
        known.heard = if answer.is_ok() { Heard::Yes } else { Heard::Soon(None) };
        for waiting in known.waiting.drain(..) {
            let _ = waiting.send(answer.clone());
        }
        self.changed.push(channel.clone());
        if answer.is_err() {
            known.has_missed = true;
            return false;
        }
        std::mem::take(&mut known.has_missed)
    }

    /// What the server refused may be asked for again.
    pub(super) fn rested(&mut self, channel: &Bytes) {
        if let Some(known) = self.known.get_mut(channel) {
            known.heard = Heard::Not;
            self.changed.push(channel.clone());
        }
    }

    /// The server has ended a subscription: a slot that moves takes its channels along.
    pub(super) fn lost(&mut self, channel: &Bytes) {
        if let Some(known) = self.known.get_mut(channel)
            && known.heard == Heard::Yes
        {
            (known.has_missed, known.heard) = (true, Heard::Not);
            self.changed.push(channel.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Bytes {
        Bytes::from_static(b"a")
    }

    fn refused() -> RedisResult<()> {
        Err((redis::ErrorKind::Io, "no").into())
    }

    fn up() -> Channels {
        let mut channels = Channels::default();
        channels.up();
        channels
    }

    #[test]
    fn what_is_decided_last_is_what_is_done() {
        let mut channels = up();
        let answer = channels.want(&name());
        assert_eq!(channels.steps(), [(name(), Step::Subscribe)]);
        // Left and wanted again while the first word is on its way: nothing is said before it is answered, and nothing after.
        channels.leave(&name());
        assert_eq!(channels.steps(), []);
        let again = channels.want(&name());
        assert!(!channels.answered(&name(), Step::Subscribe, &Ok(())));
        assert!(channels.steps().is_empty() && channels.hears(b"a"));
        for mut answer in [answer, again].into_iter().flatten() {
            assert!(answer.try_recv().expect("an answer").is_ok());
        }
        // Left while it is heard, and wanted again before the server has let go.
        channels.leave(&name());
        assert!(!channels.hears(b"a"));
        assert_eq!(channels.steps(), [(name(), Step::Unsubscribe)]);
        assert!(channels.want(&name()).is_some());
        assert_eq!(channels.steps(), []);
        channels.answered(&name(), Step::Unsubscribe, &Ok(()));
        assert_eq!(channels.steps(), [(name(), Step::Subscribe)]);
        // And left for good.
        channels.answered(&name(), Step::Subscribe, &Ok(()));
        channels.leave(&name());
        assert_eq!(channels.steps(), [(name(), Step::Unsubscribe)]);
        channels.answered(&name(), Step::Unsubscribe, &Ok(()));
        assert!(channels.steps().is_empty() && channels.known.is_empty(), "nothing stays");
    }

    #[test]
    fn what_was_missed_is_said_when_it_is_heard_again() {
        let mut channels = up();
        drop(channels.want(&name()));
        channels.steps();
        assert!(!channels.answered(&name(), Step::Subscribe, &Ok(())), "whoever subscribes reads by themselves");
        for lose in [(|channels: &mut Channels| channels.lost(&name())) as fn(&mut Channels), |channels| {
            channels.down();
            channels.up();
        }] {
            lose(&mut channels);
            assert!(!channels.hears(b"a"));
            assert_eq!(channels.steps(), [(name(), Step::Subscribe)]);
            assert!(channels.answered(&name(), Step::Subscribe, &Ok(())));
            assert!(channels.hears(b"a"));
        }
        channels.take_over(&Bytes::from_static(b"b"));
        assert_eq!(channels.steps(), [(Bytes::from_static(b"b"), Step::Subscribe)]);
        assert!(channels.answered(&Bytes::from_static(b"b"), Step::Subscribe, &Ok(())));
    }

    #[test]
    fn a_refused_channel_is_asked_for_again_after_a_rest() {
        let mut channels = up();
        let mut answer = channels.want(&name()).expect("something to wait for");
        channels.steps();
        assert!(!channels.answered(&name(), Step::Subscribe, &refused()));
        assert!(answer.try_recv().expect("an answer").is_err(), "whoever waited knows");
        assert_eq!(channels.steps(), [], "not at once");
        channels.rested(&name());
        assert_eq!(channels.steps(), [(name(), Step::Subscribe)]);
        assert!(channels.answered(&name(), Step::Subscribe, &Ok(())), "what was published meanwhile is not known");
        // One that nobody wants any more is forgotten instead.
        channels.lost(&name());
        channels.steps();
        channels.answered(&name(), Step::Subscribe, &refused());
        channels.leave(&name());
        channels.rested(&name());
        assert!(channels.steps().is_empty() && channels.known.is_empty());
    }

    #[test]
    fn nobody_waits_for_a_line_that_is_down() {
        let mut channels = Channels::default();
        assert!(channels.want(&name()).is_none());
        channels.up();
        assert_eq!(channels.steps(), [(name(), Step::Subscribe)]);
        let mut answer = channels.want(&name()).expect("something to wait for");
        channels.down();
        assert!(answer.try_recv().is_err());
        assert!(!channels.hears(b"a"));
    }
}
