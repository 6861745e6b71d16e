//! Many small rooms on one server, with an order a second in each.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{
    figures::percentile,
    generator::{Generator, Task},
    goals::{BARE, compared},
    server::{HasRooms, start},
    speech::FIRST_ORDER,
    table::{Row, number},
};

/// In each room, beside its host.
pub(crate) const VIEWERS: usize = 10;

/// What a round showed.
pub(crate) struct Rooms {
    /// CPU time for each frame that arrived, in µs.
    delivery_us: f64,
    /// From an order until the last of its ten viewers had it.
    median_ms: f64,
    p99_ms: f64,
    deliveries_per_sec: f64,
}

/// An error means that this round is compared with none.
pub(crate) fn round(server: &dyn HasRooms, bytes: usize, rooms: usize, orders: u32) -> anyhow::Result<Rooms> {
    let running = start(server, bytes)?;
    let mut crowd = Generator::start()?;
    for number in 0..rooms {
        let first = &running.speech;
        let speech = if number == 0 { first.clone() } else { server.another_room(first, number)? };
        crowd.does(&Task::Join { speech, viewers: VIEWERS, stallers: 0 }).context("joining")?;
    }
    crowd.settle(running.speech.quiet_ms)?;
    // The first second warms up.
    crowd.does(&Task::Pace { first: FIRST_ORDER, orders: 1 })?;
    let cpu = running.cpu_time();
    let report = crowd.does(&Task::Pace { first: FIRST_ORDER + 1, orders })?;
    let spent_us = cpu.until(&running.cpu_time());
    let (given, arrived) = (rooms as u64 * u64::from(orders), report.frames);
    let everyone = VIEWERS as u64 + 1;
    ensure!(arrived == given * everyone, "{arrived} frames arrived of {given} orders to {everyone} each");
    Ok(Rooms {
        delivery_us: spent_us / arrived as f64,
        median_ms: percentile(&report.arrived_ms, 0.5),
        p99_ms: percentile(&report.arrived_ms, 0.99),
        deliveries_per_sec: arrived as f64 / report.took_ms * 1000.0,
    })
}

pub(crate) fn print(rows: &[Row<Rooms>]) {
    let Some(bare) = rows.iter().find(|row| row.name == BARE) else { return };
    let rooms = bare.viewers / VIEWERS;
    println!("\n{rooms} rooms of {VIEWERS} viewers, an order a second in each, {} rounds", bare.rounds.len());
    println!("{:<26} {:>13} {:>26} {:>10} {:>11}", "", "CPU/delivery", "last of the ten: median", "p99", "deliveries");
    println!("{:<26} {:>7} {:>5} {:>18} {:>7} {:>10} {:>11}", "", "µs", "×", "ms", "×", "ms", "a second");
    for row in rows {
        let value = |figure: fn(&Rooms) -> f64, digits| number(row.median(figure), digits);
        let ratio = |figure: fn(&Rooms) -> f64| number(compared(Some(row), Some(bare), figure), 2);
        println!(
            "{:<26} {:>7} {:>5} {:>18} {:>7} {:>10} {:>11}",
            row.name,
            value(|round| round.delivery_us, 2),
            ratio(|round| round.delivery_us),
            value(|round| round.median_ms, 2),
            ratio(|round| round.median_ms),
            value(|round| round.p99_ms, 2),
            value(|round| round.deliveries_per_sec, 0),
        );
    }
}

pub(crate) fn json(row: &Row<Rooms>) -> Value {
    let rounds = row.rounds.iter().map(|round| {
        round.as_ref().map(|round| {
            json!({
                "delivery_us": round.delivery_us,
                "median_ms": round.median_ms,
                "p99_ms": round.p99_ms,
                "deliveries_per_sec": round.deliveries_per_sec,
            })
        })
    });
    let rooms = row.viewers / VIEWERS;
    json!({ "server": row.name, "rooms": rooms, "viewers": VIEWERS, "rounds": rounds.collect::<Vec<_>>() })
}
