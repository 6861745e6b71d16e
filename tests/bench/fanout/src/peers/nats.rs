//! nats-server over its WebSocket. It keeps no newest message, so a newcomer gets a PONG in its place.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use streamit_test_servers::free_port;

use super::{Recipe, debian, first_message};
use crate::{
    process::Process,
    server::Running,
    speech::{Line, Speech},
};

pub(super) const RECIPE: Recipe = Recipe {
    name: "nats-server",
    folder: "nats",
    proof: "usr/sbin/nats-server",
    install: |folder| debian(folder, "nats-server=2.9.10*"),
    start,
};

fn start(folder: &Path, bytes: usize) -> anyhow::Result<Running> {
    let (port, plain_port) = (free_port(), free_port());
    let own = tempfile::tempdir()?;
    let config = own.path().join("nats.conf");
    let text = format!("listen: 127.0.0.1:{plain_port}\nwebsocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}\n");
    fs::write(&config, text)?;
    let mut command = Command::new(folder.join("usr/sbin/nats-server"));
    let process = Process::start(command.arg("-c").arg(config).stderr(Stdio::null()))?;
    let speech = Speech::relay(&format!("127.0.0.1:{port}"), "/", bytes);
    let greeting = vec![Line::new("INFO", "CONNECT {\"verbose\":false}\r\nSUB room 1\r\nPING\r\n")];
    let head = format!("PUB room {}\r\n", first_message(bytes).len());
    let order = (format!("{head}{}", speech.order.0), format!("{}\r\n", speech.order.1));
    let speech = Speech { host: greeting.clone(), viewer: greeting, welcome: "PONG".into(), order, ..speech };
    let mut running = Running::listening(process, port, speech)?;
    running.folders.push(own);
    Ok(running)
}
