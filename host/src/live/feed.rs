//! Feeds: how a room's newest frame reaches every socket. The newest wins; nothing queues, so a slow reader skips.

use std::{sync::Arc, time::Instant};

use axum::{body::Bytes, extract::ws::Utf8Bytes};
use tokio::sync::watch;
use tungstenite::protocol::frame::{
    Frame as WireFrame,
    coding::{Data, OpCode},
};

use super::audience::{Audience, Seat};
use crate::{line::Line, telemetry::Metrics};

/// One message for everyone in a room, encoded once: a STATE, or the CLOSED that ends the room.
#[derive(Clone, Debug)]
pub struct Frame {
    pub version: i64,
    /// Of the room's stored half in it.
    pub revision: i64,
    pub text: Utf8Bytes,
    /// Nothing follows: the room is closed.
    pub is_last: bool,
    pub counted: Counted,
}

/// Whether a frame counts everyone who is here, as far as the store can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    All,
    /// A node that went silent is counted no more: it may be this one.
    Fewer,
    /// Nobody is: the store may have learnt of the room just now.
    Nobody,
}

impl Frame {
    /// One that others follow, and that counts everyone.
    pub fn new(version: i64, revision: i64, text: Utf8Bytes) -> Frame {
        Frame { version, revision, text, is_last: false, counted: Counted::All }
    }
}

/// A frame as a room's feed shows it on this node.
#[derive(Clone, Debug)]
pub struct Shown {
    pub frame: Frame,
    /// The same as it goes over every line: a WebSocket frame with its header.
    pub wire: Bytes,
    /// How many came before it: a reader who finds a gap has skipped some.
    pub number: u64,
    /// When it was shown first.
    pub at: Instant,
}

impl Shown {
    fn new(frame: Frame, number: u64) -> Shown {
        let text = Bytes::from(frame.text.clone());
        let mut wire = Vec::with_capacity(text.len() + 10);
        WireFrame::message(text, OpCode::Data(Data::Text), true).format(&mut wire).expect("a Vec takes everything");
        Shown { frame, wire: wire.into(), number, at: Instant::now() }
    }
}

/// A room's newest frame and whoever waits for the next.
#[derive(Debug)]
pub(super) struct Feed {
    newest: watch::Sender<Shown>,
    audience: Audience,
}

impl Feed {
    pub(super) fn new(frame: Frame) -> Self {
        Feed { newest: watch::Sender::new(Shown::new(frame, 0)), audience: Audience::default() }
    }

    /// Shows `frame` to everyone, unless it is older than what they have: two writers may arrive in either order.
    pub(super) fn publish(&self, frame: Frame) -> bool {
        self.newest.send_if_modified(|shown| {
            let is_newer = frame.version > shown.frame.version && !shown.frame.is_last;
            if is_newer {
                *shown = Shown::new(frame, shown.number + 1);
            }
            is_newer
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.newest.borrow().frame.is_last
    }

    pub(super) fn newest(&self) -> Frame {
        self.newest.borrow().frame.clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Shown> {
        self.newest.subscribe()
    }

    #[cfg(test)]
    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }

    /// From now on `line` gets every frame that is shown, as long as it takes them.
    pub(super) fn seat(&self, line: Arc<Line>, metrics: &Arc<Metrics>) -> Seat {
        self.audience.seat(line, self.subscribe(), metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: i64) -> Frame {
        Frame::new(version, 1, version.to_string().into())
    }

    #[test]
    fn the_newest_frame_wins_whatever_the_order() {
        let feed = Feed::new(frame(1));
        let mut reader = feed.subscribe();
        assert!(feed.publish(frame(3)));
        assert!(!feed.publish(frame(2)));
        assert!(reader.has_changed().expect("open"));
        assert_eq!(reader.borrow_and_update().frame.version, 3);
        assert!(!reader.has_changed().expect("open"));
    }

    #[test]
    fn nothing_follows_the_last_frame() {
        let feed = Feed::new(frame(1));
        assert!(feed.publish(Frame { is_last: true, ..frame(2) }));
        assert!(!feed.publish(frame(3)));
        assert!(feed.is_over());
    }
}
