//! The command line: one call per command. A command's answer goes to stdout, the log to stderr.

#[cfg(unix)]
mod commands;
mod database;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use streamit::{
    Listeners, Node,
    config::Config,
    program,
    providers::{self, Providers, Reloader},
    telemetry,
};
use streamit_plugin_api::manifest::settings::public_keys;

/// A watch-party server that knows no video provider.
///
/// Providers are plugin libraries in a folder; one is on because the configuration names it. Rooms are kept in a
/// database, live state in memory, and nothing else needs to be installed.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 bad usage or configuration.

Start with `streamit serve --config config/streamit.toml`; the file explains every key."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve rooms until SIGTERM or Ctrl-C
    Serve {
        /// The configuration; paths in it are relative to the current folder
        #[arg(long, value_name = "FILE", default_value = "config/streamit.toml")]
        config: PathBuf,
    },
    /// Bring the database's schema up to date, as `serve` does where the database's user may
    Migrate {
        /// The configuration that names the database
        #[arg(long, value_name = "FILE", default_value = "config/streamit.toml")]
        config: PathBuf,
    },
    /// Copy the SQLite database to a file, while a host may be using it
    Backup {
        /// The configuration that names the database
        #[arg(long, value_name = "FILE", default_value = "config/streamit.toml")]
        config: PathBuf,
        /// Replace the file if there is one
        #[arg(long)]
        overwrite: bool,
        /// The copy; only its owner may read it
        target: PathBuf,
    },
    /// Look at a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at plugins, and write them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Answer for one plugin, in a process of its own
    #[cfg(unix)]
    #[command(name = streamit::providers::CHILD_COMMAND, hide = true)]
    PluginChild {
        /// Whose it is, for whoever looks at the list of processes
        provider: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective settings, or everything that is wrong with line and key
    Check {
        /// The configuration to check
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Try every provider of a configuration and say which are ready, and why others are not
    ///
    /// Writes nothing: copies of the libraries are tried in a folder of their own below $TMPDIR, which is removed. Exit
    /// code 1 if a provider with `required = true` is not ready.
    List {
        /// The configuration that names them
        #[arg(long, value_name = "FILE", default_value = "config/streamit.toml")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin a new plugin: a folder with everything it takes, which builds and passes `check` as it is
    ///
    /// In Rust a copy of streamit-plugin-api, as this program has it, lies in the folder too, unless another is named.
    #[cfg(unix)]
    New {
        /// The provider's id, and the name of the folder: 2 to 32 small letters, digits or -, a letter first
        name: String,
        /// In C, with a Makefile
        #[arg(long)]
        c: bool,
        /// Depend on the streamit-plugin-api in this folder
        #[arg(long, value_name = "DIR", conflicts_with_all = ["c", "api_git", "api_version"])]
        api_path: Option<PathBuf>,
        /// Depend on the streamit-plugin-api in this repository
        #[arg(long, value_name = "URL", conflicts_with_all = ["c", "api_version"])]
        api_git: Option<String>,
        /// Depend on this version of streamit-plugin-api
        #[arg(long, value_name = "VERSION", conflicts_with = "c")]
        api_version: Option<String>,
    },
    /// Print what a library says about itself; none of its code runs
    #[cfg(unix)]
    Inspect {
        /// The library
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a library for one URL, in a process of its own
    #[cfg(unix)]
    #[command(group(clap::ArgGroup::new("question").required(true).args(["movie", "tv", "link"])))]
    Try {
        /// The library
        file: PathBuf,
        /// A movie's id
        #[arg(long, value_name = "ID")]
        movie: Option<String>,
        /// A series' id, season and episode
        #[arg(long, num_args = 1..=3, value_names = ["ID", "SEASON", "EPISODE"])]
        tv: Option<Vec<String>>,
        /// An address as people paste it; one on the host itself is a path
        #[arg(long, value_name = "URL")]
        link: Option<String>,
        /// What would stand in `[providers.<id>] config`, as JSON; without it, that of the first golden example
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
    },
    /// Run the conformance suite on a library, each case in a process of its own
    ///
    /// Exit code 0 if every case passed or was skipped, 1 if one did not, 2 if the file is no plugin.
    #[cfg(unix)]
    Check {
        /// The library
        file: PathBuf,
        /// What would stand in `[providers.<id>] config`, as JSON; without it, that of a golden example
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// Run this case only; the golden ones have a number, as `examples[0]`, and without it all of them are run
        #[arg(long, value_name = "CASE")]
        only: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        #[cfg(unix)]
        Command::PluginChild { .. } => return streamit::providers::serve(),
        Command::Serve { config } => load(&config).and_then(serve),
        Command::Migrate { config } => load(&config).and_then(|config| database::migrate(&config)),
        Command::Backup { config, overwrite, target } => {
            load(&config).and_then(|config| database::back_up(&config, &target, overwrite))
        }
        Command::Config(ConfigCommand::Check { file }) => {
            load(&file).and_then(|config| print(&explain(&file, &config)))
        }
        Command::Plugin(PluginCommand::List { config, json }) => {
            load(&config).and_then(|config| list_plugins(&config, json))
        }
        #[cfg(unix)]
        Command::Plugin(command) => commands::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            // The code says it to whoever does not listen.
            let _ = writeln!(io::stderr(), "streamit: {error}");
            ExitCode::from(code)
        }
    }
}

type Outcome<T> = Result<T, (u8, String)>;

/// Writes a command's whole answer, a line or several, to stdout. Whoever has read enough closes it, as `head` does; that
/// changes nothing about what the command found.
fn print(answer: &str) -> Outcome<()> {
    match writeln!(io::stdout(), "{}", answer.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err((FAILED, format!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn load(path: &Path) -> Outcome<Config> {
    Config::load(path).map_err(|error| (BAD_CONFIGURATION, format!("the configuration cannot be used:\n{error}")))
}

/// The effective settings, and which of them the pages of providers show to everybody.
fn explain(file: &Path, config: &Config) -> String {
    let manifests: HashMap<_, _> =
        config.providers.keys().filter_map(|id| Some((id.as_str(), providers::manifest(id, config)?))).collect();
    let mut text = format!("# {}: ok. The effective settings:\n", file.display());
    for (id, provider) in &config.providers {
        let Some(manifest) = manifests.get(id.as_str()) else { continue };
        for key in public_keys(&manifest.player.settings).into_iter().filter(|key| provider.config.contains_key(*key)) {
            text += &format!("# providers.{id}.config.{key} is public: the provider's page shows it to everybody.\n");
        }
    }
    let secrets = |id: &str| manifests.get(id).map_or_else(Vec::new, |manifest| manifest.secrets.clone());
    format!("{text}\n{}", config.explain(secrets))
}

fn serve(config: Config) -> Outcome<()> {
    let log = telemetry::init(&config.log).map_err(|error| (BAD_CONFIGURATION, format!("{error:#}")))?;
    raise_file_limit();
    let run = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let served = runtime.block_on(async {
            let mut signals = Signals::new();
            let listeners = Listeners::bind(&config)?;
            let node = tokio::select! {
                node = Node::start(config, listeners) => node?,
                () = signals.asked_to_stop(None) => {
                    tracing::info!("asked to stop while starting");
                    return Ok(());
                }
            };
            greet(&node);
            signals.asked_to_stop(Some(&node.reloader)).await;
            let reloader = node.reloader.clone();
            tokio::select! {
                () = node.stop() => {}
                () = signals.asked_to_stop(Some(&reloader)) => tracing::warn!("asked again: stopped at once"),
            }
            Ok(())
        });
        // Somebody may still wait for a disk that does not answer.
        runtime.shutdown_background();
        served
    };
    if let Err(error) = run() {
        providers::stop_loading();
        return Err((FAILED, format!("{error:#}")));
    }
    // Whatever was said is written before the process ends.
    drop(log);
    providers::end()
}

/// Says where it is. The log says it too, and nothing waits for somebody to read this.
fn greet(node: &Node) {
    let mut greeting = format!("StreamIt is at http://{}/\n", node.address);
    if let Some(address) = node.admin_address {
        greeting.push_str(&format!("Its metrics are at http://{address}/metrics\n"));
    }
    std::thread::spawn(move || {
        let _ = io::stdout().write_all(greeting.as_bytes());
    });
}

/// A socket is a file, and a full house has more than the usual 1,024.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// What an operator says to the process.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    had_terminal: bool,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Signals {
        use std::io::IsTerminal;
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).expect("a runtime with signals");
        Signals {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hang_up: listen(SignalKind::hangup()),
            had_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Ctrl-C or SIGTERM. Until then each SIGHUP reads the providers again, once there are any.
    async fn asked_to_stop(&mut self, reloader: Option<&Reloader>) {
        use std::io::IsTerminal;
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                // Closing the terminal it was started from sends the same signal, and means something else.
                _ = self.hang_up.recv() => if self.had_terminal != std::io::stderr().is_terminal() {
                    return;
                },
            }
            // What became of it is in the log.
            if let Some(reloader) = reloader.cloned() {
                tokio::task::spawn_blocking(move || reloader.reload());
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Signals {
        Signals
    }

    async fn asked_to_stop(&mut self, _reloader: Option<&Reloader>) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn list_plugins(config: &Config, json: bool) -> Outcome<()> {
    let providers = Providers::inspect(config, program()).map_err(|error| (FAILED, format!("{error:#}")))?;
    let text = if json { as_json(&providers) } else { as_table(&providers) };
    print(&text)?;
    providers.required_are_ready(config).map_err(|error| (FAILED, format!("{error:#}")))
}

fn as_json(providers: &Providers) -> String {
    let providers = providers.list();
    let list = providers.values().map(|provider| {
        let (state, reason) = provider.status();
        let description = provider.description();
        serde_json::json!({
            "id": provider.id,
            "state": state,
            "reason": Some(reason).filter(|reason| !reason.is_empty()),
            "isolation": if provider.is_isolated() { "process" } else { "none" },
            "version": description.map(|d| &d.version),
            "toolchain": description.map(|d| &d.toolchain),
            "sha256": description.map(|d| &d.sha256),
        })
    });
    serde_json::json!({ "providers": list.collect::<Vec<_>>() }).to_string()
}

fn as_table(providers: &Providers) -> String {
    let providers = providers.list();
    let width = providers.keys().map(String::len).max().unwrap_or_default().max("PROVIDER".len());
    let mut table = format!("{:<width$}  {:<11}  {:<8}  {:<9}  REASON\n", "PROVIDER", "STATE", "VERSION", "ISOLATION");
    for provider in providers.values() {
        let (state, reason) = provider.status();
        let version = provider.description().map_or("-", |d| d.version.as_str());
        let isolation = if provider.is_isolated() { "process" } else { "none" };
        let line = format!("{:<width$}  {:<11}  {version:<8}  {isolation:<9}  {reason}", provider.id, state.as_str());
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}
