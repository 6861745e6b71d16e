//! A host's orders: one is under way, those behind it wait for their turn. And whoever asks how things are, until these are done.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio_util::sync::ReusableBoxFuture;

use crate::{
    live::{Live, LiveError, LiveRoom},
    playback::Order,
};

/// So many may wait, far more than do while the store answers; what comes on top is refused. Nobody listens less while they
/// wait: who asks whether the line lives would take it for dead.
const MAX_WAITING: usize = 32;

/// Whoever gave an order counts on it no longer than this: one that has waited for so long is refused, not begun.
const MAX_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Orders {
    live: Live,
    room: Arc<LiveRoom>,
    /// Kept from order to order, so that none of them allocates.
    under_way: ReusableBoxFuture<'static, Outcome>,
    is_under_way: bool,
    waiting: VecDeque<Waiting>,
    /// Somebody wants to know how things are once all of that is done.
    is_asked: bool,
}

struct Waiting {
    since: Instant,
    order: Order,
}

/// What became of an order, or of the question.
pub(super) enum Outcome {
    Ordered(Result<(), LiveError>),
    CaughtUp(Result<(), LiveError>),
}

/// What becomes of one that comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Waits,
    /// In place of the last one that waited: nothing would be left of that.
    Replaces,
    /// Too many wait.
    Not,
}

impl Orders {
    pub(super) fn new(live: Live, room: Arc<LiveRoom>) -> Orders {
        let under_way = ReusableBoxFuture::new(std::future::pending());
        Orders { live, room, under_way, is_under_way: false, waiting: VecDeque::new(), is_asked: false }
    }

    /// Takes one more.
    pub(super) fn push(&mut self, order: Order) -> Taken {
        let new = Waiting { since: Instant::now(), order };
        let is_full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.back_mut() {
            Some(last) if new.order.replaces(&last.order) => {
                *last = new;
                Taken::Replaces
            }
            _ if is_full => Taken::Not,
            _ => {
                self.waiting.push_back(new);
                self.go_on();
                Taken::Waits
            }
        }
    }

    /// Catches up with the room as soon as all that was ordered is done.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
        self.go_on();
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_under_way
    }

    /// What became of the one that is under way, as soon as that is known. The next one is on its way then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if !self.is_under_way {
            return Poll::Pending;
        }
        let outcome = ready!(self.under_way.poll(cx));
        self.is_under_way = false;
        self.go_on();
        Poll::Ready(outcome)
    }

    fn go_on(&mut self) {
        if self.is_under_way {
            return;
        }
        let next = self.waiting.pop_front();
        if next.is_none() && !std::mem::take(&mut self.is_asked) {
            return;
        }
        self.under_way.set(carry_out(self.live.clone(), self.room.clone(), next));
        self.is_under_way = true;
    }
}

/// An order; without one, the question how things are. One future for both, so that they have one place.
async fn carry_out(live: Live, room: Arc<LiveRoom>, next: Option<Waiting>) -> Outcome {
    match next {
        Some(Waiting { since, .. }) if since.elapsed() > MAX_WAIT => {
            Outcome::Ordered(Err(LiveError::Unavailable("it has waited for too long".into())))
        }
        Some(Waiting { order, .. }) => Outcome::Ordered(live.command(&room, order).await),
        None => Outcome::CaughtUp(live.catch_up(&room).await),
    }
}
