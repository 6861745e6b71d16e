//! The crowd as a process of its own, on a core of its own: what it is told, and what it answers.

use std::{
    env,
    io::{BufRead, BufReader, Write, stdin, stdout},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{
    crowd::Crowd,
    process::{GENERATOR, Process, on_core, open_files},
    speech::Speech,
};

#[derive(Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Task {
    Join { speech: Speech, viewers: usize, stallers: usize },
    More { group: usize, viewers: usize },
    Leave { group: usize, viewers: usize },
    Settle { quiet_ms: u64 },
    Order { group: usize, number: u64, count: u64, beside: Option<usize> },
    Pace { first: u64, orders: u32 },
    Stall,
}

/// What came of a task.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of joining.
    pub(crate) took_ms: f64,
    /// What everyone received meanwhile.
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// So many never got the newest order.
    pub(crate) missing: usize,
    /// Why the first of those is not there who went without being asked.
    pub(crate) why: Option<String>,
    /// When each one got it, after it was given; sorted.
    pub(crate) arrived_ms: Vec<f64>,
}

/// A generator that waits for what it is to do; everyone hangs up when this is dropped.
pub(crate) struct Generator {
    tasks: ChildStdin,
    reports: BufReader<ChildStdout>,
    _process: Process,
}

impl Generator {
    pub(crate) fn start() -> anyhow::Result<Generator> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("generate").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = on_core(GENERATOR, || Process::start(&mut command))??;
        let tasks = process.0.stdin.take().context("its standard input is a pipe")?;
        let reports = BufReader::new(process.0.stdout.take().context("its standard output is a pipe")?);
        Ok(Generator { tasks, reports, _process: process })
    }

    /// Has it done. Somebody who is missing makes it an error: such a run is not compared.
    pub(crate) fn does(&mut self, task: &Task) -> anyhow::Result<Report> {
        serde_json::to_writer(&self.tasks, task)?;
        self.tasks.write_all(b"\n")?;
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        let report: Result<Report, String> = serde_json::from_str(&line).context("the generator has ended")?;
        let report = report.map_err(anyhow::Error::msg)?;
        report.complete()
    }
}

impl Report {
    fn complete(self) -> anyhow::Result<Report> {
        let reached = self.arrived_ms.len();
        match (self.missing, &self.why) {
            (0, None) => Ok(self),
            (0, Some(why)) => bail!("somebody did not stay: {why}"),
            (missing, None) => bail!("{missing} of {} viewers never got the newest order", missing + reached),
            (missing, Some(why)) => {
                bail!(
                    "{missing} of {} viewers never got the newest order; of one we know why: {why}",
                    missing + reached
                )
            }
        }
    }
}

/// The process itself: a task a line, a report a line, until there are no more.
pub(crate) fn generate() -> anyhow::Result<()> {
    open_files(0)?;
    let mut crowd = Crowd::new()?;
    for line in stdin().lines() {
        let report = match serde_json::from_str(&line?)? {
            Task::Join { speech, viewers, stallers } => crowd.join(speech, viewers, stallers),
            Task::More { group, viewers } => crowd.more(group, viewers),
            Task::Leave { group, viewers } => crowd.leave(group, viewers),
            Task::Settle { quiet_ms } => crowd.settle(Duration::from_millis(quiet_ms)),
            Task::Order { group, number, count, beside } => crowd.order(group, number, count, beside),
            Task::Pace { first, orders } => crowd.pace(first, orders),
            Task::Stall => crowd.stall(),
        };
        let report = report.map_err(|error| format!("{error:#}"));
        let mut out = stdout().lock();
        serde_json::to_writer(&mut out, &report)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_somebody_missed_the_newest_order_is_refused() {
        let report = |missing, why: Option<&str>| Report {
            missing,
            why: why.map(str::to_owned),
            arrived_ms: vec![1.0, 2.0, 3.0],
            ..Report::default()
        };
        assert!(report(0, None).complete().is_ok());
        let refused = report(2, None).complete().map_or_else(|refused| refused.to_string(), |_| String::new());
        assert_eq!(refused, "2 of 5 viewers never got the newest order");
        assert!(report(0, Some("the server hung up")).complete().is_err(), "nor may anyone be thrown out");
    }
}
