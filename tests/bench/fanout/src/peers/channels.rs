//! Django Channels behind daphne, with its Redis layer: the usual stack of a watch party in Python.

use std::{path::Path, process::Command};

use streamit_test_servers::{Redis, free_port};

use super::{CHANNELS, Recipe, first_message, pip, script};
use crate::{process::Process, server::Running, speech::Speech};

pub(super) const RECIPE: Recipe =
    Recipe { name: CHANNELS, folder: "channels", proof: "bin/daphne", install: |folder| pip(folder, &PACKAGES), start };

/// A newer redis gives up on a line that is silent for five seconds, and channels-redis lets it be silent for so long.
const PACKAGES: [&str; 5] =
    ["django==5.2.19", "channels==4.3.2", "daphne==4.2.3", "channels-redis==4.3.0", "redis==6.4.0"];

/// daphne's queue of those who knock takes fifty.
const AT_THE_DOOR: usize = 40;

fn start(folder: &Path, bytes: usize) -> anyhow::Result<Running> {
    let (redis, port) = (Redis::start(), free_port());
    let mut daphne = Command::new(folder.join("bin/python"));
    daphne.args(["-m", "daphne", "--verbosity", "0", "--bind", "127.0.0.1", "--port", &port.to_string()]);
    daphne.arg("channels_app:application").env("PYTHONPATH", script("")).env("PYTHONDONTWRITEBYTECODE", "1");
    daphne.env("REDIS_URL", redis.url()).env("FIRST_MESSAGE", first_message(bytes));
    let speech = Speech::relay(&format!("127.0.0.1:{port}"), "/", bytes);
    let speech = Speech { at_the_door: AT_THE_DOOR, ..speech };
    Ok(Running::listening(Process::start(&mut daphne)?, port, speech)?.with_redis(redis))
}
