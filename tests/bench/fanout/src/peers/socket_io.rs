//! socket.io with its Redis adapter, over its WebSocket transport.

use std::{path::Path, process::Command};

use streamit_test_servers::{Redis, free_port};

use super::{Recipe, SOCKET_IO, first_message, npm, script};
use crate::{
    process::Process,
    server::Running,
    speech::{Line, Speech},
};

pub(super) const RECIPE: Recipe = Recipe {
    name: SOCKET_IO,
    folder: "socket-io",
    proof: "node_modules/@socket.io/redis-adapter/package.json",
    install: |folder| npm(folder, &["socket.io@4.8.4", "@socket.io/redis-adapter@8.3.0", "redis@4.7.1"]),
    start,
};

/// What is around a message's JSON on the wire.
const AROUND: usize = r#"42["state",]"#.len();

fn start(folder: &Path, bytes: usize) -> anyhow::Result<Running> {
    let (redis, port) = (Redis::start(), free_port());
    let bytes = bytes.saturating_sub(AROUND);
    let mut node = Command::new("node");
    node.arg(script("socket_io.js")).args([port.to_string(), redis.url(), first_message(bytes)]);
    let process = Process::start(node.env("NODE_PATH", folder.join("node_modules")))?;
    let speech = Speech::relay(&format!("127.0.0.1:{port}"), "/socket.io/?EIO=4&transport=websocket", bytes);
    // Engine.IO opens, Socket.IO connects, and then one may speak.
    let greeting = vec![Line::new("0{", "40"), Line::new("40{", r#"42["hello"]"#)];
    let order = (format!(r#"42["order",{}"#, speech.order.0), format!("{}]", speech.order.1));
    let welcome = r#"42["state""#.into();
    let speech = Speech { host: greeting.clone(), viewer: greeting, order, welcome, ..speech };
    Ok(Running::listening(process, port, speech)?.with_redis(redis))
}
