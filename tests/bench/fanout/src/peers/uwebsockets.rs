//! uWebSockets: the library that socketify brings, with a few lines of C around it. Through Python it is not the same:
//! the loop there is busy even when nothing happens.

use std::{path::Path, process::Command};

use streamit_test_servers::free_port;

use super::{Recipe, debian, first_message, pip, script, step};
use crate::{process::Process, server::Running, speech::Speech};

pub(super) const RECIPE: Recipe =
    Recipe { name: "uWebSockets", folder: "uwebsockets", proof: "server", install, start };

fn install(folder: &Path) -> anyhow::Result<()> {
    pip(folder, &["socketify==0.0.31"])?;
    // The library wants this one.
    debian(folder, "libuv1")?;
    let build = format!(
        "socketify=$(echo $PWD/lib/python3*/site-packages/socketify) && uv=$(dirname $PWD/usr/lib/*/libuv.so.1) && \
         cc -O2 -o server '{}' -L$socketify -l:libsocketify_linux_amd64.so -Wl,-rpath,$socketify:$uv,--disable-new-dtags",
        script("uwebsockets.c").display()
    );
    step(folder, "sh", &["-c", &build])
}

fn start(folder: &Path, bytes: usize) -> anyhow::Result<Running> {
    let port = free_port();
    let mut server = Command::new(folder.join("server"));
    let process = Process::start(server.args([port.to_string(), first_message(bytes)]))?;
    Running::listening(process, port, Speech::relay(&format!("127.0.0.1:{port}"), "/", bytes))
}
