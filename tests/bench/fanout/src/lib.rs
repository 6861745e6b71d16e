//! How fast and how cheaply an order reaches everyone in a room. README.md beside this says what is measured and how.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "a measurement prints")]

mod bare;
mod beside;
mod crowd;
mod figures;
mod frames;
mod generator;
mod goals;
mod http;
mod peers;
mod process;
#[path = "../../quiet.rs"]
mod quiet;
mod rest;
mod rooms;
mod rounds;
mod run;
mod seat;
mod server;
mod soak;
mod speech;
mod streamit;
mod table;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, Parser};

#[derive(Parser)]
#[command(
    about = "Measures the release of StreamIt; `cargo xtask bench` builds it and calls this",
    arg_required_else_help = true
)]
enum Task {
    /// How an order reaches everyone, beside a bare epoll writer and other servers
    Fanout(How),
    /// Whether memory stays where it is while people come and go
    Soak(How),
    /// The crowd; a process of the measurement
    #[command(hide = true)]
    Generate,
    /// The bare epoll writer; a process of the measurement
    #[command(hide = true)]
    Bare { port: u16, bytes: usize },
}

#[derive(Args)]
struct How {
    /// The release, as `cargo xtask dist` lays it out
    #[arg(long)]
    dist: PathBuf,
    /// Where results go, and what peers need
    #[arg(long)]
    out: PathBuf,
    /// About two minutes, for a first look
    #[arg(long)]
    quick: bool,
    /// Does not wait for a quiet machine
    #[arg(long)]
    now: bool,
}

/// What one process opens for 1,000 rooms of eleven, and something over.
const OPEN_FILES: u64 = 12_000;

/// What the program does.
pub fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Generate => generator::generate(),
        Task::Bare { port, bytes } => bare::serve(port, bytes),
        Task::Fanout(how) => {
            let (dist, out, load) = prepare(&how)?;
            run::run(&dist, &out, how.quick, load)
        }
        Task::Soak(how) => {
            let (dist, out, _) = prepare(&how)?;
            soak::soak(&dist, &out, Duration::from_secs(if how.quick { 120 } else { 1_800 }))
        }
    }
}

/// Where the release is, where results go, and how busy the machine is.
fn prepare(how: &How) -> anyhow::Result<(PathBuf, PathBuf, Option<f64>)> {
    process::open_files(OPEN_FILES)?;
    let missing = || format!("there is no release in {}: `cargo xtask bench` builds it", how.dist.display());
    let dist = how.dist.canonicalize().with_context(missing)?;
    fs::create_dir_all(&how.out)?;
    Ok((dist, how.out.canonicalize()?, if how.now { quiet::load() } else { quiet::quiet() }))
}
