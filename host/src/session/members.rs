//! Who is on which line. A line can be dead for a long while before anybody can know; whoever is back over another one says
//! who they were, and is not there twice.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    line::{End, Line},
    protocol::MemberId,
    rooms::RoomCode,
};

#[derive(Default)]
pub(super) struct Members(Mutex<HashMap<MemberId, (RoomCode, Weak<Line>)>>);

impl Members {
    /// From now on `id` is on that line, until it is taken out.
    pub(super) fn put(&self, id: MemberId, room: RoomCode, line: Weak<Line>) {
        self.all().insert(id, (room, line));
    }

    pub(super) fn take_out(&self, id: MemberId) {
        self.all().remove(&id);
    }

    /// Ends the line on which somebody was who is in this room again, if that is on this node. Only they know the id.
    pub(super) fn replace(&self, was: MemberId, room: RoomCode) -> bool {
        let line = self.all().get(&was).filter(|(of, _)| *of == room).and_then(|(_, line)| line.upgrade());
        line.inspect(|line| line.end(End::Gone)).is_some()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<MemberId, (RoomCode, Weak<Line>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
