//! `ws`, the usual WebSocket server of Node.

use std::{path::Path, process::Command};

use streamit_test_servers::free_port;

use super::{Recipe, first_message, npm, script};
use crate::{process::Process, server::Running, speech::Speech};

pub(super) const RECIPE: Recipe = Recipe {
    name: "ws (Node)",
    folder: "ws",
    proof: "node_modules/ws/package.json",
    install: |folder| npm(folder, &["ws@8.23.0"]),
    start,
};

fn start(folder: &Path, bytes: usize) -> anyhow::Result<Running> {
    let port = free_port();
    let mut node = Command::new("node");
    node.arg(script("ws.js")).args([port.to_string(), first_message(bytes)]);
    let process = Process::start(node.env("NODE_PATH", folder.join("node_modules")))?;
    Running::listening(process, port, Speech::relay(&format!("127.0.0.1:{port}"), "/", bytes))
}
