//! What was measured, for people and for programs.

use std::{fs, path::Path, thread};

use serde_json::{Value, json};

use crate::{
    beside::Beside,
    figures::median,
    goals::{BARE, compared, goals},
    quiet,
    rest::Latency,
    rooms::{self, Rooms},
    rounds::{BURST, Round},
};

pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) rooms: Vec<Row<Rooms>>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) rest: Vec<Latency>,
    refused: Vec<String>,
    load: Option<f64>,
    is_quick: bool,
    bytes: usize,
}

/// A server with so many viewers: what each round showed, or that it takes no part.
pub(crate) struct Row<T = Round> {
    pub(crate) name: &'static str,
    pub(crate) viewers: usize,
    pub(crate) rounds: Vec<Option<T>>,
}

/// What people noticed of others.
pub(crate) struct Notice {
    pub(crate) of: &'static str,
    pub(crate) server: &'static str,
    pub(crate) rounds: Vec<Beside>,
    pub(crate) refused: Vec<String>,
}

impl<T> Row<T> {
    pub(crate) fn new(name: &'static str, viewers: usize) -> Row<T> {
        Row { name, viewers, rounds: Vec::new() }
    }

    pub(crate) fn figures(&self, figure: impl Fn(&T) -> f64) -> Vec<Option<f64>> {
        self.rounds.iter().map(|round| round.as_ref().map(&figure)).collect()
    }

    pub(crate) fn median(&self, figure: impl Fn(&T) -> f64) -> Option<f64> {
        median(self.figures(figure).into_iter().flatten().collect())
    }
}

impl Results {
    pub(crate) fn new(load: Option<f64>, is_quick: bool, bytes: usize) -> Results {
        let (rows, rooms, notices) = (Vec::new(), Vec::new(), Vec::new());
        Results { rows, rooms, notices, rest: Vec::new(), refused: Vec::new(), load, is_quick, bytes }
    }

    /// A round that is compared with none, and why.
    pub(crate) fn refuse(&mut self, why: &str) {
        println!("  ! takes no part: {why}");
        self.refused.push(why.to_owned());
    }

    pub(crate) fn row(&self, name: &str, viewers: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.viewers == viewers)
    }

    pub(crate) fn print(&self) {
        let load = self.load.map_or("unknown".to_owned(), |load| load.to_string());
        let quick = if self.is_quick { ", quick" } else { "" };
        println!("\n{} cores, load average at the start {load}{quick}; messages of {} bytes", cores(), self.bytes);
        println!("Medians; × is the median ratio to {BARE} in the same round.");
        let mut viewers = 0;
        for row in &self.rows {
            if row.viewers != viewers {
                viewers = row.viewers;
                let rounds = row.rounds.len();
                println!("\n{viewers} viewers, {rounds} rounds");
                println!(
                    "{:<26} {:>13} {:>16} {:>9} {:>15} {:>10} {:>8} {:>9} {:>9}",
                    "", "CPU/delivery", "last viewer", "first", "CPU/join", "all in", "frames/", "kB/idle", "burst"
                );
                println!(
                    "{:<26} {:>7} {:>5} {:>9} {:>6} {:>9} {:>8} {:>6} {:>10} {:>8} {:>9} {:>9}",
                    "", "µs", "×", "ms", "×", "ms", "µs", "×", "ms", "joiner", "viewer", "of 100 ms"
                );
            }
            self.print_row(row);
        }
        rooms::print(&self.rooms);
        self.print_others();
    }

    fn print_row(&self, row: &Row) {
        let bare = self.row(BARE, row.viewers);
        let value = |figure: fn(&Round) -> f64, digits| number(row.median(figure), digits);
        let ratio = |figure: fn(&Round) -> f64| number(compared(Some(row), bare, figure), 2);
        let burst = median(row.rounds.iter().flatten().filter_map(|round| round.burst_ms).collect());
        println!(
            "{:<26} {:>7} {:>5} {:>9} {:>6} {:>9} {:>8} {:>6} {:>10} {:>8} {:>9} {:>9}",
            row.name,
            value(|round| round.delivery_us, 2),
            ratio(|round| round.delivery_us),
            value(|round| round.last_ms, 2),
            ratio(|round| round.last_ms),
            value(|round| round.first_ms, 2),
            value(|round| round.join_us, 0),
            ratio(|round| round.join_us),
            value(|round| round.joined_ms, 0),
            value(|round| round.join_frames, 2),
            value(|round| round.viewer_kb, 1),
            number(burst, 1),
        );
    }

    fn print_others(&self) {
        println!();
        for Notice { of, server, rounds, .. } in self.notices.iter().filter(|notice| !notice.rounds.is_empty()) {
            let middle = |figure: fn(&Beside) -> f64| median(rounds.iter().map(figure).collect()).unwrap_or(f64::NAN);
            let (before, beside) = (middle(|round| round.before_ms), middle(|round| round.beside_ms));
            let note = rounds.last().map_or("", |round| &round.note);
            println!("p95 beside {of}, {server}: {beside:.2} ms, without {before:.2} ms  ({note})");
        }
        println!();
        for Latency { call, ms } in &self.rest {
            match ms {
                Ok((median, p99)) => println!("{call:<26} {median:>7.2} ms, p99 {p99:.2} ms"),
                Err(why) => println!("{call:<26} not measured: {why}"),
            }
        }
        let own = self.rows.iter().filter(|row| row.name.starts_with("StreamIt, in memory"));
        let ready = own.flat_map(|row| row.rounds.iter().flatten()).map(|round| round.ready_ms);
        if let Some(ready) = median(ready.collect()) {
            println!("{:<26} {ready:>7.0} ms, with the bundled plugins", "start-up until ready");
        }
        println!("\n{:<66} {:>8}   goal  bound", "", "");
        for goal in goals(self) {
            let value = goal.value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            println!(
                "{:<66} {value:>8} {} {:>4} {:>6}  {}",
                goal.what,
                goal.sign(),
                goal.goal,
                goal.not_worse_than,
                goal.verdict()
            );
        }
        for why in self.refused.iter().chain(self.notices.iter().flat_map(|notice| &notice.refused)) {
            println!("! takes no part: {why}");
        }
        if let Some(warning) = self.load.and_then(quiet::warning) {
            println!("! {warning}");
        }
    }

    pub(crate) fn save(&self, out: &Path) -> anyhow::Result<()> {
        fs::write(out.join("fanout.json"), format!("{:#}\n", self.json()))?;
        Ok(())
    }

    fn json(&self) -> Value {
        let of_round = |round: &Option<Round>| {
            round.as_ref().map(|round| {
                json!({
                    "ready_ms": round.ready_ms,
                    "delivery_us": round.delivery_us,
                    "first_ms": round.first_ms,
                    "last_ms": round.last_ms,
                    "order_bytes": round.order_bytes,
                    "join_us": round.join_us,
                    "joined_ms": round.joined_ms,
                    "join_frames": round.join_frames,
                    "viewer_kb": round.viewer_kb,
                    "burst_ms": round.burst_ms,
                })
            })
        };
        let rows = self.rows.iter().map(|row| {
            let rounds: Vec<_> = row.rounds.iter().map(of_round).collect();
            json!({ "server": row.name, "viewers": row.viewers, "rounds": rounds })
        });
        let notices = self.notices.iter().map(|notice| {
            let rounds = notice.rounds.iter().map(
                |round| json!({ "before_ms": round.before_ms, "beside_ms": round.beside_ms, "note": round.note }),
            );
            json!({ "of": notice.of, "server": notice.server, "rounds": rounds.collect::<Vec<_>>(), "refused": notice.refused })
        });
        let rest = self.rest.iter().map(|Latency { call, ms }| match ms {
            Ok((median, p99)) => json!({ "call": call, "median_ms": median, "p99_ms": p99 }),
            Err(why) => json!({ "call": call, "refused": why }),
        });
        let goals = goals(self).into_iter().map(|goal| {
            json!({
                "what": goal.what,
                "value": goal.value,
                "goal": goal.goal,
                "not_worse_than": goal.not_worse_than,
                "verdict": goal.verdict(),
            })
        });
        json!({
            "machine": { "cores": cores(), "load_average": self.load },
            "is_quick": self.is_quick,
            "message_bytes": self.bytes,
            "burst": BURST,
            "servers": rows.collect::<Vec<_>>(),
            "rooms": self.rooms.iter().map(rooms::json).collect::<Vec<_>>(),
            "beside": notices.collect::<Vec<_>>(),
            "rest": rest.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
            "refused": self.refused,
        })
    }
}

/// A figure for people.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
