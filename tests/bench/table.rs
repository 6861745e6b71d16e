//! What was measured, for people and for programs.

use std::{collections::BTreeMap, fmt, fs, thread};

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

/// How much of something there should be at most, and how much is borne.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    goal: f64,
    not_worse_than: f64,
}

/// A phase's differences, and what they should be at most, in milliseconds.
pub(crate) struct Row {
    pub(crate) phase: &'static str,
    pub(crate) viewers: Vec<(&'static str, Differences)>,
    pub(crate) bars: Vec<(&'static str, Bar)>,
}

/// Something that was counted, and how much of it there should be at most.
pub(crate) struct Count {
    what: &'static str,
    value: f64,
    bar: Option<Bar>,
    note: String,
}

/// What each window of a room did in a phase.
pub(crate) struct Phase {
    room: String,
    name: String,
    secs: f64,
    windows: Vec<Deeds>,
}

struct Deeds {
    who: &'static str,
    seeks: usize,
    rate_writes: usize,
    sent: BTreeMap<String, usize>,
}

impl Bar {
    pub(crate) const fn of(goal: f64, not_worse_than: f64) -> Bar {
        Bar { goal, not_worse_than }
    }

    /// There is nothing between good and bad.
    pub(crate) const fn at_most(goal: f64) -> Bar {
        Bar::of(goal, goal)
    }

    fn verdict(self, value: f64) -> String {
        let Bar { goal, not_worse_than } = self;
        if value <= goal {
            format!("≤ {goal}: met")
        } else if value <= not_worse_than {
            format!("≤ {goal}: not met, and not worse than {not_worse_than}")
        } else {
            format!("≤ {goal}: not met, and WORSE than {not_worse_than}")
        }
    }

    fn json(self, value: f64) -> Value {
        let Bar { goal, not_worse_than } = self;
        json!({
            "at_most": goal,
            "is_met": value <= goal,
            "not_worse_than": not_worse_than,
            "is_borne": value <= not_worse_than,
        })
    }
}

impl Row {
    /// What one of its percentiles should be.
    pub(crate) fn bar(mut self, percentile: &'static str, bar: Bar) -> Row {
        self.bars.push((percentile, bar));
        self
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
        let verdict = |(name, bar): &(&str, Bar)| format!("{name} {}", bar.verdict(self.value(name)));
        self.bars.iter().map(verdict).collect::<Vec<_>>().join("; ")
    }
}

impl Count {
    pub(crate) fn of(what: &'static str, value: f64, bar: Option<Bar>) -> Count {
        Count { what, value, bar, note: String::new() }
    }

    pub(crate) fn noting(self, note: String) -> Count {
        Count { note, ..self }
    }
}

impl Phase {
    pub(crate) fn of(room: &str, name: &str, span: Span, recordings: &[Recording]) -> Phase {
        let windows = recordings.iter().map(|recording| Deeds {
            who: recording.who,
            seeks: recording.seeks_in(span),
            rate_writes: recording.rates_in(span),
            sent: recording.sent_in(span).into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect(),
        });
        Phase { room: room.to_owned(), name: name.to_owned(), secs: span.secs(), windows: windows.collect() }
    }

    fn json(&self) -> Value {
        let windows = self.windows.iter().map(|Deeds { who, seeks, rate_writes, sent }| {
            json!({ "who": who, "seeks": seeks, "rate_writes": rate_writes, "sent": sent })
        });
        json!({ "room": self.room, "phase": self.name, "secs": self.secs, "windows": windows.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_all = |count: fn(&Deeds) -> usize| self.windows.iter().map(count).sum::<usize>();
        let (seeks, rates) = (of_all(|deeds| deeds.seeks), of_all(|deeds| deeds.rate_writes));
        let mut sent = BTreeMap::<_, usize>::new();
        for (kind, count) in self.windows.iter().flat_map(|deeds| &deeds.sent) {
            *sent.entry(kind).or_default() += count;
        }
        let sent: Vec<String> = sent.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let what = format!("{}: {}", self.room, self.name);
        write!(f, "{what:<42} {:>5.0} {seeks:>5} {rates:>6}  {}", self.secs, sent.join(", "))
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
        for Count { what, value, bar, note } in &self.counts {
            let verdict = bar.map_or(String::new(), |bar| bar.verdict(*value));
            println!("{what:<42} {value:>5.1}  {verdict}{}{note}", if note.is_empty() { "" } else { "  " });
        }
        println!("\nWhat was done meanwhile, by all windows of the room together.\n");
        println!("{:<42} {:>5} {:>5} {:>6}  messages", "room: phase", "secs", "seeks", "rates");
        for phase in &self.phases {
            println!("{phase}");
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
            let goals = row.bars.iter().map(|(name, bar)| {
                let mut goal = bar.json(row.value(name));
                goal["of"] = json!(name);
                goal
            });
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
        let counts = self.counts.iter().map(|Count { what, value, bar, note }| {
            let mut count = bar.map_or(json!({}), |bar| bar.json(*value));
            for (key, value) in [("what", json!(what)), ("value", json!(value)), ("note", json!(note))] {
                count[key] = value;
            }
            count
        });
        json!({
            "machine": { "cores": self.cores, "browser": self.browser, "load_average": self.load },
            "is_quick": self.is_quick,
            "warnings": self.warnings,
            "rows": rows.collect::<Vec<_>>(),
            "counts": counts.collect::<Vec<_>>(),
            "phases": self.phases.iter().map(Phase::json).collect::<Vec<_>>(),
        })
    }

    fn quick(&self) -> &str {
        if self.is_quick { ", quick" } else { "" }
    }
}
