//! The whole measurement: every server in turns, round after round; then what one notices of others, and the REST calls.

use std::path::Path;

use anyhow::Context;

use crate::{
    bare::Bare,
    beside::{self, Beside},
    generator::{Generator, Task},
    peers, rest,
    rooms::{self, VIEWERS},
    rounds::{Size, round},
    server::{HasRooms, Serves, start},
    speech::FIRST_ORDER,
    streamit::StreamIt,
    table::{Notice, Results, Row},
};

/// How much is measured.
struct Extent {
    sizes: &'static [usize],
    rounds: usize,
    orders: u64,
    /// Rounds of what one notices of others, and of many rooms.
    notices: usize,
    rooms: usize,
    calls: usize,
}

const FULL: Extent = Extent { sizes: &[1_000, 5_000], rounds: 9, orders: 8, notices: 9, rooms: 1_000, calls: 500 };
const QUICK: Extent = Extent { sizes: &[1_000], rounds: 3, orders: 5, notices: 1, rooms: 200, calls: 200 };

/// The header of a message as large as these.
const HEADER: usize = 4;

pub(crate) fn run(dist: &Path, out: &Path, is_quick: bool, load: Option<f64>) -> anyhow::Result<()> {
    let extent = if is_quick { QUICK } else { FULL };
    let own = [StreamIt::in_memory(dist), StreamIt::with_redis(dist), StreamIt::two_nodes(dist)];
    let bytes = message_bytes(&own[0]).context("StreamIt does not run")?;
    let peers = peers::all(out, !is_quick);
    let mut servers: Vec<(&dyn Serves, bool)> = vec![(&Bare, false)];
    servers.extend(own.iter().map(|own| (own as &dyn Serves, true)));
    servers.extend(peers.iter().map(|peer| (peer as &dyn Serves, false)));

    let mut results = Results::new(load, is_quick, bytes);
    for &viewers in extent.sizes {
        let size = Size { viewers, orders: extent.orders };
        let first = results.rows.len();
        results.rows.extend(servers.iter().map(|(server, _)| Row::new(server.name(), viewers)));
        for number in 1..=extent.rounds {
            for (index, &(server, is_own)) in servers.iter().enumerate() {
                say(&format!("{viewers} viewers, round {number} of {}: {}", extent.rounds, server.name()));
                // Only who may forget the older order can be faster than a hundred.
                let round = round(server, bytes, size, is_own);
                if let Err(why) = &round {
                    results.refuse(&format!("{}, {viewers} viewers, round {number}: {why:#}", server.name()));
                }
                results.rows[first + index].rounds.push(round.ok());
            }
            results.save(out)?;
        }
    }

    let in_rooms: [&dyn HasRooms; 3] = [&Bare, &own[0], &own[1]];
    results.rooms.extend(in_rooms.map(|server| Row::new(server.name(), extent.rooms * VIEWERS)));
    for number in 1..=extent.notices {
        for (index, server) in in_rooms.into_iter().enumerate() {
            let what = format!("{} rooms, round {number}", extent.rooms);
            say(&format!("{what} of {}: {}", extent.notices, server.name()));
            let round = rooms::round(server, bytes, extent.rooms, u32::try_from(extent.orders)?);
            if let Err(why) = &round {
                results.refuse(&format!("{}, {what}: {why:#}", server.name()));
            }
            results.rooms[index].rounds.push(round.ok());
        }
        results.save(out)?;
    }

    let viewers = *extent.sizes.last().context("a size is measured")?;
    for server in &own[..2] {
        let of_stalled = Size { viewers: extent.sizes[0], orders: extent.orders };
        results.notices.push(notice("4 % stalled viewers", server, of_stalled, extent.notices, beside::stalled));
        let of_large = Size { viewers, orders: extent.orders };
        results.notices.push(notice("a large room", server, of_large, extent.notices, beside::large_room));
        results.save(out)?;
    }
    say("REST calls");
    results.rest = rest::latencies(&own[0], extent.calls)?;
    results.save(out)?;
    results.print();
    println!("\nEvery round: {}", out.join("fanout.json").display());
    Ok(())
}

fn notice(
    of: &'static str,
    server: &StreamIt,
    size: Size,
    rounds: usize,
    measure: fn(&dyn Serves, Size) -> anyhow::Result<Beside>,
) -> Notice {
    let mut notice = Notice { of, server: server.name(), rounds: Vec::new(), refused: Vec::new() };
    for number in 1..=rounds {
        say(&format!("{of}, round {number} of {rounds}: {}", server.name()));
        match measure(server, size) {
            Ok(round) => notice.rounds.push(round),
            Err(why) => notice.refused.push(format!("{of}, {}, round {number}: {why:#}", server.name())),
        }
    }
    notice
}

/// How large StreamIt's message is, so that everyone's are.
fn message_bytes(server: &StreamIt) -> anyhow::Result<usize> {
    let running = start(server, 0)?;
    let mut crowd = Generator::start()?;
    crowd.does(&Task::Join { speech: running.speech.clone(), viewers: 99, stallers: 0 })?;
    crowd.settle(running.speech.quiet_ms)?;
    let order = crowd.order(0, FIRST_ORDER)?;
    Ok(usize::try_from(order.bytes / order.frames.max(1))?.saturating_sub(HEADER))
}

fn say(what: &str) {
    println!("  {what} …");
}
