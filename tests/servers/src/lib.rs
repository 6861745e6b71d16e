//! The servers that StreamIt's tests start: each on a free port, in a folder of its own, gone when dropped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod clock;
mod cluster;
mod nginx;
mod pgbouncer;
mod postgres;
mod proxy;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

pub use clock::Clock;
pub use cluster::Cluster;
pub use nginx::Nginx;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use proxy::Proxy;
use tempfile::TempDir;

/// A Redis server that keeps nothing on disk: stopped and started again, it is empty.
pub struct Redis {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
    clock: Option<Clock>,
}

impl Redis {
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    /// With more of a redis-server's own arguments.
    pub fn with(arguments: &[&str]) -> Redis {
        Redis::begin(arguments, None)
    }

    /// With a wall clock of its own, which can be set.
    pub fn with_a_clock(arguments: &[&str]) -> Redis {
        Redis::begin(arguments, Some(Clock::new()))
    }

    fn begin(arguments: &[&str], clock: Option<Clock>) -> Redis {
        let port = free_port();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Redis { port, folder: tempfile::tempdir().unwrap(), process: None, arguments, clock };
        // Between finding a free port and listening on it somebody else may take it.
        for _ in 0..4 {
            if redis.try_launch() {
                return redis;
            }
            redis.port = free_port();
        }
        redis.launch();
        redis
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Of the process that runs now.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs, unless it was killed").id()
    }

    /// Sets its clock to so many seconds after the machine's.
    pub fn set_clock(&self, ahead_secs: i64) {
        self.clock.as_ref().expect("it was started with one").set(ahead_secs);
    }

    /// Starts it, empty, at the address it has always had.
    pub fn launch(&mut self) {
        assert!(self.try_launch(), "redis-server ended at once; is its port taken?");
    }

    /// Whether it answers; if not, it has ended.
    fn try_launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        let process = command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"])
            .args(["--port", &self.port.to_string(), "--dir", &self.folder.path().display().to_string()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed; `cargo xtask test` sees to it");
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.ask("PING").as_deref() != Some("+PONG\r\n") {
            if self.process.as_mut().is_some_and(|process| process.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends it at once; everything in it is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops its process where it is: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// One inline command's raw answer.
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 65_536];
        let read = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..read]).into_owned())
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program that listens on a port, and is killed with this.
struct Listening(Child);

impl Listening {
    /// Waits until it listens. The port is asked, since not every program says so.
    fn on(port: u16, process: Child, name: &str) -> Listening {
        let mut listening = Listening(process);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let has_ended = listening.0.try_wait().is_ok_and(|ended| ended.is_some());
            assert!(
                !has_ended && Instant::now() < deadline,
                "{name} does not listen on {port}; if it said why, it is above"
            );
            thread::sleep(Duration::from_millis(5));
        }
        listening
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on, and that no other server of this process was given. Below the range that systems
/// take for outgoing connections: a server that is stopped for a while finds its port free again.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another process with tests begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + n).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
