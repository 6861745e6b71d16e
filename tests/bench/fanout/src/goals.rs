//! What the figures should be, and what they must not be worse than.

use crate::table::{Notice, Results, Row};
use crate::{
    figures::{median, ratio},
    peers::{CHANNELS, SOCKET_IO},
    rounds::Round,
};

pub(crate) const BARE: &str = "bare epoll";
const IN_MEMORY: &str = "StreamIt, in memory";
const REDIS: &str = "StreamIt, with Redis";

pub(crate) struct Goal {
    pub(crate) what: String,
    /// `None`: not measured in this run.
    pub(crate) value: Option<f64>,
    pub(crate) goal: f64,
    pub(crate) not_worse_than: f64,
    /// The larger, the better.
    is_least: bool,
}

impl Goal {
    pub(crate) fn verdict(&self) -> &'static str {
        let is_within = |value: f64, bound: f64| if self.is_least { value >= bound } else { value <= bound };
        match self.value {
            None => "not measured",
            Some(value) if is_within(value, self.goal) => "met",
            Some(value) if is_within(value, self.not_worse_than) => "not met, within the bound",
            Some(_) => "not met",
        }
    }

    pub(crate) fn sign(&self) -> &'static str {
        if self.is_least { "≥" } else { "≤" }
    }
}

pub(crate) fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut at_most = |what: String, value, goal, not_worse_than| {
        goals.push(Goal { what, value, goal, not_worse_than, is_least: false });
    };
    let mut sizes: Vec<usize> = results.rows.iter().map(|row| row.viewers).collect();
    sizes.dedup();
    for &viewers in &sizes {
        let row = |name| results.row(name, viewers);
        let to_bare = |name, of: fn(&Round) -> f64| compared(row(name), row(BARE), of);
        for (name, last, last_bound) in [(IN_MEMORY, 1.20, 1.35), (REDIS, 1.25, 1.40)] {
            let of = |what| format!("{what}, {viewers} viewers, {}", name.trim_start_matches("StreamIt, "));
            at_most(of("CPU per delivery ÷ bare"), to_bare(name, |round| round.delivery_us), 1.15, 1.30);
            at_most(of("last viewer ÷ bare"), to_bare(name, |round| round.last_ms), last, last_bound);
            at_most(of("CPU per join ÷ bare"), to_bare(name, |round| round.join_us), 2.0, 2.5);
            at_most(of("kB per idle viewer"), row(name).and_then(|row| row.median(|round| round.viewer_kb)), 2.5, 4.0);
            let frames = row(name).and_then(|row| row.median(|round| round.join_frames));
            at_most(of("frames per joiner, all at once"), frames, 3.0, 4.0);
        }
        let first = |name| row(name).and_then(|row| row.median(|round| round.first_ms));
        let over_bare = first(REDIS).zip(first(BARE)).map(|(redis, bare)| redis - bare);
        at_most(format!("first viewer over bare, {viewers} viewers, with Redis, ms"), over_bare, 0.3, 0.6);
        let burst = row(REDIS).and_then(|row| {
            let ratios = row.rounds.iter().flatten().filter_map(|round| Some(round.burst_ms? / round.last_ms));
            median(ratios.collect())
        });
        at_most(format!("a hundred orders ÷ one, {viewers} viewers, with Redis"), burst, 2.0, 3.0);
    }
    for Notice { of, server, rounds, .. } in &results.notices {
        let (goal, not_worse_than) = if of.starts_with("4 %") { (1.05, 1.15) } else { (2.0, 4.0) };
        let ratio = median(rounds.iter().map(|round| round.ratio()).collect());
        at_most(
            format!("p95 beside {of} ÷ without, {}", server.trim_start_matches("StreamIt, ")),
            ratio,
            goal,
            not_worse_than,
        );
    }
    let row = |name| results.row(name, 1_000);
    let socket_io = compared(row(REDIS), row(SOCKET_IO), |round| round.delivery_us);
    at_most("CPU per delivery ÷ socket.io's, 1000 viewers, both with Redis".into(), socket_io, 0.5, 0.6);
    let what = "last viewer of Channels ÷ ours, 1000 viewers, both with Redis".into();
    let value = compared(row(CHANNELS), row(REDIS), |round| round.last_ms);
    goals.push(Goal { what, value, goal: 50.0, not_worse_than: 40.0, is_least: true });
    goals
}

/// The median ratio of two servers' figures, of rounds side by side.
pub(crate) fn compared<T>(of: Option<&Row<T>>, to: Option<&Row<T>>, figure: fn(&T) -> f64) -> Option<f64> {
    ratio(&of?.figures(figure), &to?.figures(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(value: Option<f64>, (goal, not_worse_than): (f64, f64), is_least: bool) -> &'static str {
        Goal { what: String::new(), value, goal, not_worse_than, is_least }.verdict()
    }

    #[test]
    fn a_goal_is_met_or_within_its_bound_or_neither() {
        let at_most = |value| verdict(value, (2.0, 3.0), false);
        assert_eq!(
            [Some(2.0), Some(2.5), Some(3.5), None].map(at_most),
            ["met", "not met, within the bound", "not met", "not measured"]
        );
        let at_least = |value| verdict(Some(value), (50.0, 40.0), true);
        assert_eq!([60.0, 45.0, 30.0].map(at_least), ["met", "not met, within the bound", "not met"]);
        assert_eq!(verdict(Some(f64::NAN), (2.0, 3.0), false), "not met", "what is no number meets nothing");
    }
}
