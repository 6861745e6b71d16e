//! Other servers that send what one says to everyone. Each says how it is had from the public registries.

mod channels;
mod nats;
mod socket_io;
mod uwebsockets;
mod ws;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::{
    server::{Running, Serves},
    speech::{FIRST_ORDER, Speech},
};

pub(crate) const CHANNELS: &str = "Channels, daphne, Redis";
pub(crate) const SOCKET_IO: &str = "socket.io, Redis";

/// How one is had and started.
struct Recipe {
    name: &'static str,
    folder: &'static str,
    /// There once it is installed.
    proof: &'static str,
    install: fn(&Path) -> anyhow::Result<()>,
    start: fn(&Path, usize) -> anyhow::Result<Running>,
}

const RECIPES: [Recipe; 5] = [ws::RECIPE, uwebsockets::RECIPE, nats::RECIPE, socket_io::RECIPE, channels::RECIPE];

/// One that is installed.
pub(crate) struct Peer {
    recipe: &'static Recipe,
    folder: PathBuf,
}

impl Serves for Peer {
    fn name(&self) -> &'static str {
        self.recipe.name
    }

    fn start(&self, bytes: usize) -> anyhow::Result<Running> {
        (self.recipe.start)(&self.folder, bytes)
    }
}

/// All that can be had; why one cannot is said in a line.
pub(crate) fn all(out: &Path, may_install: bool) -> Vec<Peer> {
    RECIPES
        .iter()
        .filter_map(|recipe| {
            prepared(recipe, out, may_install).inspect_err(|why| println!("  without {}: {why:#}", recipe.name)).ok()
        })
        .collect()
}

fn prepared(recipe: &'static Recipe, out: &Path, may_install: bool) -> anyhow::Result<Peer> {
    let folder = out.join(recipe.folder);
    if !folder.join(recipe.proof).exists() {
        ensure!(may_install, "it is not installed yet; without --quick it is");
        println!("  installing {} …", recipe.name);
        fs::create_dir_all(&folder)?;
        (recipe.install)(&folder)?;
        ensure!(folder.join(recipe.proof).exists(), "it was installed, and {} is not there", recipe.proof);
    }
    Ok(Peer { recipe, folder })
}

/// Runs a step of an installation: in that folder, silent unless it fails.
fn step(folder: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} is not installed"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(output.status.success(), "{program} {}: {last}", arguments.join(" "));
    Ok(())
}

/// Python packages, into an environment of their own.
fn pip(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    step(folder, "python3", &["-m", "venv", "."])?;
    step(folder, "bin/python", &[&["-m", "pip", "install", "--quiet"], packages].concat())
}

fn npm(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    step(folder, "npm", &[&["install", "--prefix", ".", "--no-audit", "--no-fund"], packages].concat())
}

/// A Debian package, unpacked here and installed nowhere.
fn debian(folder: &Path, package: &str) -> anyhow::Result<()> {
    step(folder, "apt-get", &["download", "-qq", package])?;
    let name = package.split('=').next().unwrap_or(package);
    step(folder, "sh", &["-c", &format!("dpkg-deb -x {name}_*.deb .")])
}

/// A program's script of ours.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers").join(name)
}

/// A message of so many bytes, for those who say hello before the first order.
fn first_message(bytes: usize) -> String {
    let (before, after) = Speech::padded(bytes);
    format!("{before}{FIRST_ORDER}{after}")
}
