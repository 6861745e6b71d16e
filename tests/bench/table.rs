//! What was measured, for people and for programs.

use std::{fs, thread};

use serde_json::{Value, json};

use crate::{
    it::harness::browser::Window,
    quiet,
    recording::{Differences, Recording, Span, percentile},
};

/// Pages' clocks that are further apart than this spoil the comparison.
const CLOCKS_MS: f64 = 2.0;

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) counts: Vec<Count>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) warnings: Vec<String>,
    is_quick: bool,
    cores: usize,
    browser: String,
    /// Of the last minute, before anything was measured; `None` where the system does not tell.
    pub(crate) load: Option<f64>,
}

/// A phase's differences, and what they should be at most, in milliseconds.
pub(crate) struct Row {
    pub(crate) phase: &'static str,
    pub(crate) viewers: Vec<(&'static str, Differences)>,
    pub(crate) goals: &'static [(&'static str, f64)],
}

/// Something that was counted, and how much of it there should be at most.
pub(crate) struct Count {
    what: &'static str,
    value: f64,
    goal: Option<f64>,
    note: String,
}

/// What each window of a room did in a phase.
pub(crate) struct Phase(Value);

impl Row {
    pub(crate) fn goals(self, goals: &'static [(&'static str, f64)]) -> Row {
        Row { goals, ..self }
    }

    fn n(&self) -> usize {
        self.viewers.iter().map(|(_, differences)| differences.ms.len()).sum()
    }

    /// A percentile over all viewers.
    fn value(&self, name: &str) -> f64 {
        let (_, share) = PERCENTILES.into_iter().find(|(known, _)| *known == name).expect("one of the four");
        let ms = self.viewers.iter().flat_map(|(_, differences)| &differences.ms);
        percentile(ms.map(|ms| ms.abs()).collect(), share)
    }

    /// The share of the moments at which there was nothing to compare, in percent.
    fn apart(&self) -> f64 {
        let apart: usize = self.viewers.iter().map(|(_, differences)| differences.apart).sum();
        100.0 * apart as f64 / (self.n() + apart).max(1) as f64
    }

    fn verdicts(&self) -> String {
        let verdict = |(name, goal): &(&str, f64)| format!("{name} ≤ {goal}: {}", verdict(self.value(name) <= *goal));
        self.goals.iter().map(verdict).collect::<Vec<_>>().join(", ")
    }
}

impl Count {
    pub(crate) fn of(what: &'static str, value: f64, goal: Option<f64>) -> Count {
        Count { what, value, goal, note: String::new() }
    }

    pub(crate) fn noting(self, note: String) -> Count {
        Count { note, ..self }
    }
}

impl Phase {
    pub(crate) fn of(room: &str, name: &str, span: Span, recordings: &[Recording]) -> Phase {
        let windows = recordings.iter().map(|recording| {
            json!({
                "who": recording.who,
                "seeks": recording.seeks_in(span),
                "rate_writes": recording.rates_in(span),
                "sent": recording.sent_in(span),
            })
        });
        Phase(json!({ "room": room, "phase": name, "secs": span.secs(), "windows": windows.collect::<Vec<_>>() }))
    }
}

impl Table {
    pub(crate) fn new(is_quick: bool) -> Table {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (rows, counts, phases, warnings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Table { rows, counts, phases, warnings, is_quick, cores, browser: String::new(), load: None }
    }

    /// Asks a window what it is.
    pub(crate) async fn machine(&mut self, window: &Window) {
        let version = window.command("Browser.getVersion", json!({})).await;
        self.browser = version["product"].as_str().unwrap_or("unknown").to_owned();
    }

    pub(crate) fn compare_clocks(&mut self, recordings: &[Recording]) {
        let clocks: Vec<f64> = recordings.iter().map(Recording::clock_ms).collect();
        let spread = clocks.iter().copied().fold(f64::MIN, f64::max) - clocks.iter().copied().fold(f64::MAX, f64::min);
        if spread > CLOCKS_MS {
            self.warnings.push(format!("the clocks of the pages of a room were {spread:.1} ms apart"));
        }
    }

    pub(crate) fn print(&self) {
        let load = self.load.map_or("unknown".to_owned(), |load| load.to_string());
        println!("\n{}, {} cores, load average at the start {load}{}", self.browser, self.cores, self.quick());
        println!("How far viewers are from the host, in ms.\n");
        println!("{:<42} {:>5} {:>7} {:>7} {:>7} {:>7} {:>6}  goal", "phase", "n", "p50", "p95", "p99", "max", "apart");
        for row in &self.rows {
            print!("{:<42} {:>5}", row.phase, row.n());
            for (name, _) in PERCENTILES {
                print!(" {:>7.1}", row.value(name));
            }
            println!(" {:>5.0}%  {}", row.apart(), row.verdicts());
        }
        println!();
        for Count { what, value, goal, note } in &self.counts {
            let goal = goal.map_or(String::new(), |goal| format!("≤ {goal}: {}", verdict(*value <= goal)));
            println!("{what:<42} {value:>5.1}  {goal}{}{note}", if note.is_empty() { "" } else { "  " });
        }
        for warning in &self.warnings {
            println!("! {warning}");
        }
        if let Some(warning) = self.load.and_then(quiet::warning) {
            println!("! {warning}");
        }
    }

    pub(crate) fn save(&self) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench");
        fs::create_dir_all(folder).expect("a writable target folder");
        fs::write(format!("{folder}/sync.json"), format!("{:#}\n", self.json())).expect("a writable target folder");
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let goals = row
                .goals
                .iter()
                .map(|(name, goal)| json!({ "of": name, "at_most": goal, "is_met": row.value(name) <= *goal }));
            // Ahead of the host is positive.
            let viewers = row.viewers.iter().map(|(who, differences)| {
                let at = |share| percentile(differences.ms.clone(), share);
                json!({ "who": who, "least_ms": at(0.0), "median_ms": at(0.5), "most_ms": at(1.0) })
            });
            json!({
                "phase": row.phase,
                "n": row.n(),
                "p50_ms": row.value("p50"),
                "p95_ms": row.value("p95"),
                "p99_ms": row.value("p99"),
                "max_ms": row.value("max"),
                "apart_percent": row.apart(),
                "goals": goals.collect::<Vec<_>>(),
                "viewers": viewers.collect::<Vec<_>>(),
            })
        });
        let counts = self.counts.iter().map(|Count { what, value, goal, note }| {
            let is_met = goal.map(|goal| *value <= goal);
            json!({ "what": what, "value": value, "at_most": goal, "is_met": is_met, "note": note })
        });
        json!({
            "machine": { "cores": self.cores, "browser": self.browser, "load_average": self.load },
            "is_quick": self.is_quick,
            "warnings": self.warnings,
            "rows": rows.collect::<Vec<_>>(),
            "counts": counts.collect::<Vec<_>>(),
            "phases": self.phases.iter().map(|phase| &phase.0).collect::<Vec<_>>(),
        })
    }

    fn quick(&self) -> &str {
        if self.is_quick { ", quick" } else { "" }
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "not met" }
}
