//! A host's orders: one is under way, those behind it wait for their turn.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio_util::sync::ReusableBoxFuture;

use crate::{
    live::{Live, LiveError, LiveRoom},
    playback::Order,
};

/// While so many wait, nobody listens for more.
const MAX_WAITING: usize = 8;

pub(super) struct Orders {
    live: Live,
    room: Arc<LiveRoom>,
    /// Kept from order to order, so that none of them allocates.
    under_way: ReusableBoxFuture<'static, Result<(), LiveError>>,
    is_under_way: bool,
    waiting: VecDeque<Order>,
}

impl Orders {
    pub(super) fn new(live: Live, room: Arc<LiveRoom>) -> Orders {
        let under_way = ReusableBoxFuture::new(std::future::ready(Ok(())));
        Orders { live, room, under_way, is_under_way: false, waiting: VecDeque::new() }
    }

    /// Takes one more. Answers whether it replaces the last one that waits: nothing would be left of that.
    pub(super) fn push(&mut self, order: Order) -> bool {
        match self.waiting.back_mut() {
            Some(last) if order.replaces(last) => {
                *last = order;
                true
            }
            _ => {
                self.waiting.push_back(order);
                self.go_on();
                false
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_under_way
    }

    /// What became of the one that is under way, as soon as that is known. The next one is on its way then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LiveError>> {
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
        if let Some(order) = self.waiting.pop_front() {
            let (live, room) = (self.live.clone(), self.room.clone());
            self.under_way.set(async move { live.command(&room, order).await });
            self.is_under_way = true;
        }
    }
}
