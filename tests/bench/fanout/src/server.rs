//! A server that is measured: how it is started, and what its processes cost while it runs.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use streamit_test_servers::Redis;

use crate::{
    process::{CpuTime, Process, SERVERS, on_core, resident_kb},
    speech::Speech,
};

const START_PATIENCE: Duration = Duration::from_secs(30);

/// Something that sends orders on to everyone.
pub(crate) trait Serves {
    fn name(&self) -> &'static str;

    /// A new one, whose messages have so many bytes, if it is we who say.
    fn start(&self, bytes: usize) -> anyhow::Result<Running>;
}

/// One with as many rooms as one likes.
pub(crate) trait HasRooms: Serves {
    /// A room beside the first one.
    fn another_room(&self, first: &Speech, number: usize) -> anyhow::Result<Speech>;
}

/// A server that serves, and ends with this.
pub(crate) struct Running {
    pub(crate) speech: Speech,
    /// From starting it until it was ready.
    pub(crate) ready_ms: f64,
    /// What else ends with it.
    pub(crate) redis: Option<Redis>,
    pub(crate) processes: Vec<Process>,
    pub(crate) folders: Vec<tempfile::TempDir>,
}

/// Starts it on the servers' core.
pub(crate) fn start(server: &dyn Serves, bytes: usize) -> anyhow::Result<Running> {
    on_core(SERVERS, || server.start(bytes))?
}

impl Running {
    /// Waits until it listens.
    pub(crate) fn listening(mut process: Process, port: u16, speech: Speech) -> anyhow::Result<Running> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if process.has_ended() {
                bail!("it ended before it listened");
            }
            ensure!(start.elapsed() < START_PATIENCE, "it did not listen within {} s", START_PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(10));
        }
        let ready_ms = start.elapsed().as_secs_f64() * 1000.0;
        Ok(Running { speech, ready_ms, redis: None, processes: vec![process], folders: Vec::new() })
    }

    pub(crate) fn with_redis(self, redis: Redis) -> Running {
        Running { redis: Some(redis), ..self }
    }

    fn pids(&self) -> Vec<u32> {
        let redis = self.redis.as_ref().map(Redis::pid);
        self.processes.iter().map(|process| process.0.id()).chain(redis).collect()
    }

    pub(crate) fn cpu_time(&self) -> CpuTime {
        CpuTime::of(&self.pids())
    }

    pub(crate) fn resident_kb(&self) -> f64 {
        resident_kb(&self.pids())
    }
}
