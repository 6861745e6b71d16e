//! A Postgres server with one empty database, for as long as the value lives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::free_port;

pub struct Postgres {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Postgres {
    pub fn start() -> Postgres {
        let folder = tempfile::Builder::new().prefix("streamit-postgres").tempdir().unwrap();
        let mut postgres = Postgres { port: free_port(), folder, process: None };
        give_away(postgres.folder.path());
        let data = postgres.data();
        run(program("initdb")
            .args(["--auth=trust", "--username=streamit", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(data));
        // Between finding a free port and listening on it somebody else may take it.
        for _ in 0..4 {
            if postgres.try_launch() {
                return postgres;
            }
            postgres.port = free_port();
        }
        postgres.launch();
        postgres
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("postgres://streamit@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it with what it had, at the address it has always had.
    pub fn launch(&mut self) {
        assert!(self.try_launch(), "postgres ended at once; is its port taken?");
    }

    /// Whether it accepts connections; if not, it has ended.
    fn try_launch(&mut self) -> bool {
        let process = program("postgres")
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "unix_socket_directories=", "-D"])
            .arg(self.data())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + Duration::from_secs(20);
        let port = self.port.to_string();
        let is_ready =
            || program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap().success();
        while !is_ready() {
            if self.process.as_mut().is_some_and(|process| process.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            assert!(Instant::now() < deadline, "postgres does not accept connections");
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// What it answers to a query, one row a line.
    pub fn ask(&self, sql: &str) -> String {
        let answer = program("psql").args(["-XAt", &self.url(), "-c", sql]).output().unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }

    /// Ends it at once; what was committed stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
            // A server that was killed leaves a note that stops the next one, for as long as its processes linger.
            let _ = fs::remove_file(self.data().join("postmaster.pid"));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder becomes theirs who run the server's programs.
pub(crate) fn give_away(folder: &Path) {
    if is_root() {
        run(Command::new("chown").arg("-R").arg(unprivileged()).arg(folder));
    }
}

/// One of the server's programs. It refuses to run as root, so root runs it as somebody else.
pub(crate) fn program(name: &str) -> Command {
    let path = find(name).unwrap_or_else(|| panic!("{name} is not installed; `cargo xtask test` sees to it"));
    if !is_root() {
        return Command::new(path);
    }
    let user = unprivileged();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(path);
    command
}

/// Debian keeps the server's programs out of PATH, in a folder per version, and others' out of people's.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.extend(std::env::split_paths(&path));
    folders.push("/usr/sbin".into());
    folders.into_iter().map(|folder| folder.join(name)).find(|program| Path::is_file(program))
}

fn is_root() -> bool {
    static IS_ROOT: LazyLock<bool> =
        LazyLock::new(|| Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n")));
    *IS_ROOT
}

fn unprivileged() -> &'static str {
    static EXISTS: LazyLock<bool> =
        LazyLock::new(|| Command::new("id").arg("postgres").output().is_ok_and(|id| id.status.success()));
    if *EXISTS { "postgres" } else { "nobody" }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
