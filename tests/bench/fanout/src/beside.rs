//! What people in a room notice of others: of viewers who read nothing, and of a large room on the same server.

use std::{thread, time::Duration};

use anyhow::ensure;

use crate::{
    crowd::STALLERS,
    figures::{median, percentile},
    generator::{Generator, Task},
    process::waiting_for,
    rounds::Size,
    server::{Serves, start},
    speech::FIRST_ORDER,
    streamit,
};

const REST: Duration = Duration::from_millis(60);

/// Of so many viewers one stalls: 4 %.
const ONE_STALLS_OF: usize = 25;

/// Buffers are looked at after so many orders; and if they are not full after so many, they never will be.
const FILLING: u64 = 20;
const FILLING_AT_MOST: u64 = 2_000;

/// The room of ten.
const TEN: usize = 10;

/// When 95 % had an order, as things were and beside others, in ms.
pub(crate) struct Beside {
    pub(crate) before_ms: f64,
    pub(crate) beside_ms: f64,
    /// What somebody who reads the figure should know.
    pub(crate) note: String,
}

impl Beside {
    pub(crate) fn ratio(&self) -> f64 {
        self.beside_ms / self.before_ms
    }
}

/// The same room and the same viewers, before and after 4 % more of them stopped reading and their buffers filled up.
pub(crate) fn stalled(server: &dyn Serves, size: Size) -> anyhow::Result<Beside> {
    let running = start(server, 0)?;
    let mut crowd = Generator::start()?;
    let stallers = size.viewers / ONE_STALLS_OF;
    let (speech, viewers) = (running.speech.clone(), size.viewers + stallers);
    let quiet_ms = speech.quiet_ms;
    crowd.does(&Task::Join { speech, viewers, stallers })?;
    crowd.settle(quiet_ms)?;
    let mut numbers = FIRST_ORDER..;
    let p95_ms = |crowd: &mut Generator, numbers: &mut dyn Iterator<Item = u64>| {
        let mut of_orders = Vec::new();
        for number in numbers.take(usize::try_from(size.orders)? + 1) {
            thread::sleep(REST);
            of_orders.push(percentile(&crowd.order(0, number)?.arrived_ms, 0.95));
        }
        // The first one warms up.
        anyhow::Ok(median(of_orders.split_off(1)).unwrap_or(f64::NAN))
    };
    // What fills the buffers warms up as well, so it comes before either.
    fill(&mut crowd, &mut numbers)?;
    let before_ms = p95_ms(&mut crowd, &mut numbers)?;

    crowd.does(&Task::Stall)?;
    let (mut waited, mut given) = (Vec::new(), 0);
    loop {
        fill(&mut crowd, &mut numbers)?;
        given += FILLING;
        let waits = waiting_for(STALLERS);
        let is_full = waits == waited && waits.len() == stallers && waits.iter().all(|bytes| *bytes > 0);
        if is_full {
            break;
        }
        let thrown_out = stallers.saturating_sub(waits.len());
        ensure!(
            thrown_out == 0,
            "{thrown_out} of {stallers} who stalled were thrown out before their buffers were full"
        );
        ensure!(given < FILLING_AT_MOST, "the buffers of those who stall were not full after {given} orders");
        waited = waits;
    }
    let beside_ms = p95_ms(&mut crowd, &mut numbers)?;
    let at_the_end = waiting_for(STALLERS);
    let left = at_the_end.len();
    ensure!(left == stallers, "{} of {stallers} who stalled were thrown out meanwhile", stallers.saturating_sub(left));
    // Where the server does not set its size, the kernel may make a full buffer larger.
    let [kb, then_kb] = [waited, at_the_end].map(|bytes| bytes.iter().sum::<u64>() as f64 / 1000.0 / stallers as f64);
    let note = format!(
        "{stallers} stalled, after {given} orders with {kb:.0} kB in each one's full buffer, {then_kb:.0} at the end"
    );
    Ok(Beside { before_ms, beside_ms, note })
}

fn fill(crowd: &mut Generator, numbers: &mut dyn Iterator<Item = u64>) -> anyhow::Result<()> {
    for number in numbers.take(usize::try_from(FILLING)?) {
        crowd.order(0, number)?;
    }
    Ok(())
}

/// A room of ten alone, and with an order in the large room a moment before each of its own.
pub(crate) fn large_room(server: &dyn Serves, size: Size) -> anyhow::Result<Beside> {
    let running = start(server, 0)?;
    let mut crowd = Generator::start()?;
    let speech = running.speech.clone();
    let quiet_ms = speech.quiet_ms;
    let of_ten = streamit::room(&speech.host_at.0, &speech.viewers_at.0)?;
    crowd.does(&Task::Join { speech, viewers: size.viewers, stallers: 0 })?;
    crowd.does(&Task::Join { speech: of_ten, viewers: TEN, stallers: 0 })?;
    crowd.settle(quiet_ms)?;
    let mut numbers = FIRST_ORDER..;
    let mut p95_ms = |beside: Option<usize>| {
        let mut arrived_ms = Vec::new();
        for number in numbers.by_ref().take(usize::try_from(2 * size.orders)?) {
            thread::sleep(REST);
            let order = Task::Order { group: 1, number, count: 1, beside };
            arrived_ms.extend(crowd.does(&order)?.arrived_ms);
        }
        arrived_ms.sort_by(f64::total_cmp);
        anyhow::Ok(percentile(&arrived_ms, 0.95))
    };
    let (before_ms, beside_ms) = (p95_ms(None)?, p95_ms(Some(0))?);
    Ok(Beside { before_ms, beside_ms, note: format!("a room of ten beside one of {}", size.viewers) })
}
