//! Audiences: the lines a room's frames go out on, and the writers who take them there.
//!
//! A writer takes the newest frame when it starts, so a burst is one round. It waits for nobody: a line that does not take
//! a frame at once is left to its session.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::{AbortHandle, yield_now},
    time::{Instant, timeout_at},
};

use super::feed::Shown;
use crate::{line::Line, telemetry::Metrics};

/// After so many lines a writer lets others run: a room of ten waits for one of ten thousand no longer than that.
const SLICE: usize = 128;

/// A room with more lines has another writer, as long as there are cores for them.
const LINES_PER_WRITER: usize = 512;

/// A room's lines get frames at most this often, on average: after a quiet while two may follow one another, so that what
/// came while the first order was on its way does not wait. What happens in between is in the next one.
const FRAMES_EVERY: Duration = Duration::from_millis(50);

/// Who watches a room's feed on this node.
#[derive(Debug, Default)]
pub(super) struct Audience(Mutex<Vec<Arc<Rows>>>);

/// Lines with one writer. They have it while there are any.
#[derive(Debug, Default)]
struct Rows(Mutex<Seated>);

#[derive(Default)]
struct Seated {
    /// In the order they came, so that a round misses nobody who stays.
    lines: BTreeMap<u64, Arc<Line>>,
    next: u64,
    writer: Option<AbortHandle>,
}

/// A line's place in an audience, until this is dropped.
pub(crate) struct Seat {
    rows: Arc<Rows>,
    number: u64,
}

impl Audience {
    /// Everything that `frames` shows from now on is written to `line`.
    pub(super) fn seat(&self, line: Arc<Line>, frames: watch::Receiver<Shown>, metrics: &Arc<Metrics>) -> Seat {
        let rows = self.rows();
        let number = {
            let mut seated = rows.seated();
            let number = seated.next;
            seated.next += 1;
            seated.lines.insert(number, line);
            if seated.writer.is_none() {
                let writer = tokio::spawn(write(rows.clone(), frames, metrics.clone()));
                seated.writer = Some(writer.abort_handle());
            }
            number
        };
        Seat { rows, number }
    }

    /// The first that are not full; beyond what cores can write for, the emptiest.
    fn rows(&self) -> Arc<Rows> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut emptiest: Option<(usize, &Arc<Rows>)> = None;
        for rows in all.iter() {
            let lines = rows.seated().lines.len();
            if lines < LINES_PER_WRITER {
                return rows.clone();
            }
            if emptiest.is_none_or(|(fewest, _)| lines < fewest) {
                emptiest = Some((lines, rows));
            }
        }
        match emptiest {
            Some((_, rows)) if all.len() >= Handle::current().metrics().num_workers() => rows.clone(),
            _ => {
                all.push(Arc::default());
                all[all.len() - 1].clone()
            }
        }
    }
}

impl Rows {
    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to a slice of lines from number `next` on; moves it behind them.
    fn slice(&self, next: &mut u64, lines: &mut Vec<Arc<Line>>) {
        let seated = self.seated();
        for (number, line) in seated.lines.range(*next..).take(SLICE) {
            lines.push(line.clone());
            *next = number + 1;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.rows.seated();
        seated.lines.remove(&self.number);
        if seated.lines.is_empty()
            && let Some(writer) = seated.writer.take()
        {
            writer.abort();
        }
    }
}

/// Writes whatever is shown to everyone in `rows`.
async fn write(rows: Arc<Rows>, mut frames: watch::Receiver<Shown>, metrics: Arc<Metrics>) {
    let mut lines = Vec::new();
    // When the room will have been quiet for long enough.
    let mut rested_at = Instant::now();
    while frames.changed().await.is_ok() {
        let not_before = rested_at - FRAMES_EVERY;
        if not_before > Instant::now() {
            // How a room ends is told at once.
            let is_over = async { frames.wait_for(|shown| shown.frame.is_last).await.is_ok() };
            let _ = timeout_at(not_before, is_over).await;
        }
        rested_at = rested_at.max(Instant::now()) + FRAMES_EVERY;
        round(&rows, &mut frames, &mut lines, &metrics).await;
    }
}

/// One round through the rows. Who has not been reached yet when a newer frame comes gets that one.
async fn round(rows: &Rows, frames: &mut watch::Receiver<Shown>, lines: &mut Vec<Arc<Line>>, metrics: &Metrics) {
    let mut shown = frames.borrow_and_update().clone();
    let (mut next, mut has_changed) = (0, false);
    loop {
        rows.slice(&mut next, lines);
        let is_end = lines.len() < SLICE;
        let mut is_written = false;
        for line in lines.drain(..) {
            is_written |= line.show(&shown, metrics);
        }
        if is_written {
            metrics.written_after(shown.at.elapsed());
        }
        if is_end {
            break;
        }
        yield_now().await;
        if frames.has_changed().unwrap_or(false) {
            shown = frames.borrow_and_update().clone();
            has_changed = true;
        }
    }
    if has_changed {
        // The first of this round do not have it.
        frames.mark_changed();
    }
}

impl std::fmt::Debug for Seated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seated").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
