//! A round: a new server, everyone joins at once, some orders one after the other, and perhaps a hundred at once.

use std::{thread, time::Duration};

use anyhow::Context;

use crate::{
    figures::{median, percentile},
    generator::{Generator, Report, Task},
    server::{Running, Serves, start},
    speech::FIRST_ORDER,
};

/// Between two orders the server has time to finish what nobody waits for.
const REST: Duration = Duration::from_millis(60);

pub(crate) const BURST: u64 = 100;

/// What a round showed.
pub(crate) struct Round {
    pub(crate) ready_ms: f64,
    /// CPU time of all its processes for each frame that arrived, in µs.
    pub(crate) delivery_us: f64,
    pub(crate) first_ms: f64,
    pub(crate) last_ms: f64,
    /// What arrived at one viewer for one order.
    pub(crate) order_bytes: f64,
    pub(crate) join_us: f64,
    /// Until everyone was in.
    pub(crate) joined_ms: f64,
    /// Frames that all received until the room was quiet, for each who joined.
    pub(crate) join_frames: f64,
    pub(crate) viewer_kb: f64,
    /// From giving a hundred orders until everyone knew the last one.
    pub(crate) burst_ms: Option<f64>,
}

/// How large a room is, and how often something is asked of it.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) viewers: usize,
    pub(crate) orders: u64,
}

/// An error means that this round is compared with none.
pub(crate) fn round(server: &dyn Serves, bytes: usize, size: Size, has_burst: bool) -> anyhow::Result<Round> {
    let running = start(server, bytes)?;
    let mut crowd = Generator::start()?;
    let Size { viewers, orders } = size;
    let everyone = viewers as f64 + 1.0;

    let (kb, cpu) = (running.resident_kb(), running.cpu_time());
    let speech = running.speech.clone();
    let joined = crowd.does(&Task::Join { speech, viewers, stallers: 0 }).context("joining")?;
    let settled = crowd.settle(running.speech.quiet_ms)?;
    let join_us = cpu.until(&running.cpu_time()) / everyone;
    let viewer_kb = (running.resident_kb() - kb) / everyone;
    let frames_while_joining = (joined.frames + settled.frames) as f64;

    // The first one warms up.
    given(&running, &mut crowd, FIRST_ORDER)?;
    let numbers = FIRST_ORDER + 1..=FIRST_ORDER + orders;
    let given: Vec<Order> = numbers.map(|number| given(&running, &mut crowd, number)).collect::<Result<_, _>>()?;
    let middle = |of: fn(&Order) -> f64| median(given.iter().map(of).collect()).unwrap_or(f64::NAN);
    let burst = Task::Order { group: 0, number: FIRST_ORDER + 1_000, count: BURST, beside: None };
    let burst_ms =
        if has_burst { crowd.does(&burst).context("a hundred orders")?.arrived_ms.last().copied() } else { None };
    Ok(Round {
        ready_ms: running.ready_ms,
        delivery_us: middle(|order| order.delivery_us),
        first_ms: middle(|order| order.first_ms),
        last_ms: middle(|order| order.last_ms),
        order_bytes: middle(|order| order.bytes),
        join_us,
        joined_ms: joined.took_ms,
        join_frames: frames_while_joining / everyone,
        viewer_kb,
        burst_ms,
    })
}

struct Order {
    delivery_us: f64,
    first_ms: f64,
    last_ms: f64,
    bytes: f64,
}

fn given(running: &Running, crowd: &mut Generator, number: u64) -> anyhow::Result<Order> {
    thread::sleep(REST);
    let cpu = running.cpu_time();
    let report = crowd.order(0, number)?;
    thread::sleep(REST);
    let spent_us = cpu.until(&running.cpu_time());
    let at = |share| percentile(&report.arrived_ms, share);
    Ok(Order {
        delivery_us: spent_us / report.frames as f64,
        first_ms: at(0.0),
        last_ms: at(1.0),
        bytes: report.bytes as f64 / report.frames as f64,
    })
}

impl Generator {
    /// Waits until the room has been quiet for so long.
    pub(crate) fn settle(&mut self, quiet_ms: u64) -> anyhow::Result<Report> {
        self.does(&Task::Settle { quiet_ms }).context("after joining")
    }

    /// One order, until everyone knows it.
    pub(crate) fn order(&mut self, group: usize, number: u64) -> anyhow::Result<Report> {
        let order = Task::Order { group, number, count: 1, beside: None };
        self.does(&order).with_context(|| format!("order {}", number - FIRST_ORDER + 1))
    }
}
