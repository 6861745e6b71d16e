//! The commands of this repository: `cargo xtask run`, `dist`, `vendor`, `test`, `lint`, `bench`, `autobahn`, `header`. Each does its own set-up.
#![expect(clippy::print_stdout, reason = "a command line talks to its terminal")]

mod autobahn;
mod header;
mod vendor;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(about = "StreamIt's own commands", arg_required_else_help = true)]
enum Task {
    /// Build the release into target/dist and start it
    Run,
    /// Build the release into target/dist, as `run` starts it
    Dist,
    /// Fetch the players that plugins bring and the repository does not have
    Vendor,
    /// Install what the tests need where that is possible, and run every test
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check formatting, clippy, the documentation and the C header; warnings are errors
    Lint,
    /// Measure; best on a machine that does nothing else
    Bench {
        /// Only this
        #[arg(long, value_enum)]
        only: Option<Measurement>,
        /// Shorter, for a first look
        #[arg(long)]
        quick: bool,
        /// Do not wait for a quiet machine
        #[arg(long)]
        now: bool,
    },
    /// Hold what a socket's session says against the Autobahn suite
    Autobahn,
    /// Write plugin-api/include/streamit_provider.h anew, after a change of plugin-api/src/abi.rs
    Header,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// What a URL costs, by the way a plugin is asked for it
    PluginCalls,
    /// How fast and how cheaply an order reaches everyone, beside a bare epoll writer and other servers
    Fanout,
    /// How close the players of a room are, in real browsers
    Sync,
    /// Whether memory stays where it is while people come and go, for half an hour
    Soak,
}

fn main() -> anyhow::Result<()> {
    env::set_current_dir(root())?;
    match Task::parse() {
        Task::Run => run(),
        Task::Dist => dist().map(|folder| println!("{}", folder.display())),
        Task::Vendor => vendor::run(),
        Task::Test { arguments } => test(&arguments),
        Task::Lint => lint(),
        Task::Bench { only, quick, now } => bench(only, quick, now),
        Task::Autobahn => autobahn::run(),
        Task::Header => header::write(),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

fn run() -> anyhow::Result<()> {
    let dist = dist()?;
    println!("Starting {}; Ctrl-C ends it.", dist.display());
    let status = Command::new(dist.join("streamit").with_extension(env::consts::EXE_EXTENSION))
        .args(["serve", "--config", "config/streamit.toml"])
        .current_dir(&dist)
        .status()
        .context("cannot start streamit")?;
    // Ctrl-C reaches both of us; the host has said goodbye by itself.
    ensure!(status.success() || status.code().is_none(), "streamit ended with {status}");
    Ok(())
}

/// Builds host and plugins, and lays them out as a release: `streamit`, `plugins/`, `config/`, `media/`. A plugin whose
/// player cannot be had here is left out.
fn dist() -> anyhow::Result<PathBuf> {
    let without_player = vendor::fetch_missing()?;
    println!("Building the host and its plugins (the first time takes some minutes) …");
    let mut packages = vec!["streamit-host".to_owned()];
    packages.extend(names_in("plugins")?.into_iter().filter(|name| !without_player.contains(name)));
    let artifacts = build(&packages)?;

    let dist = root().join("target/dist");
    for folder in ["plugins", "config", "media"] {
        fs::create_dir_all(dist.join(folder))?;
    }
    // What a former build left, of a provider that is gone, would still be loaded.
    for old in fs::read_dir(dist.join("plugins"))? {
        fs::remove_file(old?.path())?;
    }
    for artifact in artifacts {
        let is_library = artifact.extension().is_some_and(|extension| extension == env::consts::DLL_EXTENSION);
        let folder = if is_library { dist.join("plugins") } else { dist.clone() };
        copy(&artifact, &folder)?;
    }
    for entry in fs::read_dir("config")? {
        copy(&entry?.path(), &dist.join("config"))?;
    }
    copy(Path::new("plugins/mp4/media/clock.webm"), &dist.join("media"))?;
    Ok(dist)
}

/// Copies beside and renames: a program that is running keeps the file it was started from.
fn copy(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let name = file.file_name().context("a file has a name")?;
    let target = folder.join(name);
    let _ = fs::remove_file(&target);
    fs::copy(file, &target).with_context(|| format!("cannot copy {} to {}", file.display(), target.display()))?;
    Ok(())
}

fn names_in(folder: &str) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds packages in release, and answers the programs and libraries that came out.
fn build(packages: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let output = cargo(["build", "--release", "--message-format=json-render-diagnostics"])
        .args(packages.iter().flat_map(|name| ["--package", name]))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the build failed");
    let mut artifacts = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let is_result = message["reason"] == "compiler-artifact"
            && message["target"]["kind"] != serde_json::json!(["custom-build"]);
        if !is_result || !packages.iter().any(|name| is_of(&message, name)) {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
        artifacts.extend(files.map(PathBuf::from).filter(|file| {
            let extension = file.extension().unwrap_or_default();
            extension == env::consts::DLL_EXTENSION || extension == env::consts::EXE_EXTENSION
        }));
    }
    Ok(artifacts)
}

fn is_of(message: &serde_json::Value, package: &str) -> bool {
    let manifest = message["manifest_path"].as_str().unwrap_or_default();
    let folder = Path::new(manifest).parent().and_then(Path::file_name).unwrap_or_default();
    folder == package.trim_start_matches("streamit-")
}

fn test(arguments: &[String]) -> anyhow::Result<()> {
    install_needed()?;
    vendor::fetch_missing()?;
    println!("Building the workspace and its tests (the first time takes some minutes) …");
    succeed(&mut cargo(["build", "--workspace"]))?;
    let mut tests = cargo(["test", "--workspace"]);
    if env::var_os(THREADS).is_none() {
        // Scenes wait for most of their time.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        tests.env(THREADS, (5 * cores / 2).to_string());
    }
    if env::var_os(TEMPORARY).is_none() && is_roomy_memory() {
        tests.env(TEMPORARY, MEMORY);
    }
    let mut tests = tests.args(arguments).stdout(Stdio::piped()).spawn()?;
    let panics = pass_on(tests.stdout.take().context("the tests print nothing")?)?;
    if tests.wait()?.success() {
        return Ok(());
    }
    bail!("tests failed\n\n{panics}");
}

/// How many tests cargo's harness runs at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Where the tests' temporary folders are. Browsers and databases fill them with thousands of small files.
const TEMPORARY: &str = "TMPDIR";

/// A file system in memory, where there is one.
const MEMORY: &str = "/dev/shm";

/// More than all tests together were seen to need (measured: 0.8 GB), and what else is there.
const MEMORY_KIB: u64 = 4 * 1024 * 1024;

/// Whether what is in memory has room, and may be executed: libraries of plugins are.
fn is_roomy_memory() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let may_execute = mounts.lines().any(|mount| {
        let mut fields = mount.split(' ').skip(1);
        fields.next() == Some(MEMORY)
            && fields.next() == Some("tmpfs")
            && fields.next().is_some_and(|options| !options.split(',').any(|option| option == "noexec"))
    });
    let free = Command::new("df").args(["--output=avail", MEMORY]).output().ok();
    let free = free.and_then(|df| String::from_utf8_lossy(&df.stdout).lines().last()?.trim().parse().ok());
    may_execute && free.is_some_and(|kib: u64| kib >= MEMORY_KIB)
}

/// Passes on what the tests print, and answers what their panics said: whoever sees only the end of a long log sees why.
fn pass_on(output: impl Read) -> anyhow::Result<String> {
    let mut panics = String::new();
    let mut is_panic = false;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        let starts = line.starts_with("thread '") && line.contains("panicked at");
        is_panic = starts || (is_panic && !["", "stack backtrace:"].contains(&line.as_str()));
        if is_panic {
            panics += &format!("{line}\n");
        }
    }
    Ok(panics)
}

/// The programs that the tests start or drive, and the Debian packages they are in.
const NEEDED: [(&[&str], &str); 9] = [
    (&["chromium", "chromium-browser", "google-chrome"], "chromium"),
    (&["chromedriver"], "chromium-driver"),
    (&["redis-server"], "redis-server"),
    (&["nginx"], "nginx-light"),
    (&["pgbouncer"], "pgbouncer"),
    (&["ffmpeg"], "ffmpeg"),
    // For plugins in C, and to look after processes.
    (&["cc"], "gcc"),
    (&["make"], "make"),
    (&["pkill"], "procps"),
];

/// On Debian what is missing is installed, if we may; elsewhere we say what is.
fn install_needed() -> anyhow::Result<()> {
    let mut missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|(programs, _)| !programs.iter().any(|program| is_installed(program)))
        .map(|(_, package)| package)
        .collect();
    // Debian keeps its server's programs out of PATH, in a folder per version.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let is_in_a_version = versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.is_file());
    if !is_in_a_version && !is_installed("initdb") {
        missing.push("postgresql");
    }
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.starts_with(b"0\n"));
    let may_install = is_root && is_installed("apt-get");
    let names = missing.join(" ");
    ensure!(
        missing.is_empty() || may_install,
        "the tests need programs that are missing: install {names} (Debian: `apt-get install {names}`)"
    );
    let has_engine =
        ["/usr/lib/chromium/chromium-headless-shell", "chrome-headless-shell"].into_iter().any(is_installed);
    if may_install && (!missing.is_empty() || !has_engine) {
        succeed(Command::new("apt-get").args(["update", "-qq"]))?;
    }
    install(&missing)?;
    if may_install && !has_engine && install(&["chromium-headless-shell"]).is_err() {
        println!("It cannot be had here: the tests take longer, with the whole browser.");
    }
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    println!("Installing {} …", packages.join(" "));
    // A package that starts its server would hold the usual port.
    succeed(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1"),
    )
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    // Debian keeps servers out of people's PATH.
    env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(&name).is_file())
}

fn lint() -> anyhow::Result<()> {
    header::check()?;
    succeed(&mut cargo(["fmt", "--all", "--check"]))?;
    succeed(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    succeed(cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn bench(only: Option<Measurement>, is_quick: bool, is_now: bool) -> anyhow::Result<()> {
    let is_wanted = |measurement| only.is_none_or(|only| only == measurement);
    let flags: Vec<&str> =
        [(is_quick, "--quick"), (is_now, "--now")].iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
    if is_wanted(Measurement::PluginCalls) {
        succeed(&mut cargo(["build", "--release", "--package", "streamit-host", "--package", "vidking"]))?;
        succeed(&mut cargo(["bench", "--package", "streamit-host", "--bench", "plugin_calls"]))?;
    }
    for (measurement, name) in [(Measurement::Fanout, "fanout"), (Measurement::Soak, "soak")] {
        if is_wanted(measurement) {
            install_needed()?;
            let dist = dist()?;
            let program = build(&["streamit-fanout".to_owned()])?.pop().context("a program came out")?;
            let mut measure = Command::new(program);
            measure.arg(name).arg("--dist").arg(dist).args(["--out", "target/bench"]);
            succeed(measure.args(&flags))?;
        }
    }
    if is_wanted(Measurement::Sync) {
        install_needed()?;
        // What drives the browsers may be as the tests build it; what they look at is the release.
        let mut sync = cargo(["bench", "--profile", "dev", "--package", "streamit-tests", "--bench", "sync", "--"]);
        succeed(sync.args(&flags).env("STREAMIT_PROFILE", "release"))?;
    }
    Ok(())
}

fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told us about our own package would look to some build scripts like a change: everything is built twice.
    for (name, _) in env::vars_os() {
        let is_ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];
        if name.to_str().is_some_and(|name| is_ours.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
