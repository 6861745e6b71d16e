//! The command line: one call per command.
#![expect(clippy::print_stdout, reason = "a command's answer goes to stdout; the log goes to stderr")]

#[cfg(unix)]
mod commands;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use streamit::{
    Listeners, Node,
    config::Config,
    program,
    providers::{Providers, Reloader},
    telemetry,
};

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
    /// Look at a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at plugins, and write them
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Answer for one plugin, in a process of its own
    #[cfg(unix)]
    #[command(name = streamit::providers::child::COMMAND, hide = true)]
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
    /// Load every provider of a configuration and say which are ready, and why others are not
    List {
        /// The configuration that names them
        #[arg(long, value_name = "FILE", default_value = "config/streamit.toml")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin a new plugin: a folder with everything it takes, which builds and passes `check` as it is
    #[cfg(unix)]
    New {
        /// The provider's id, and the name of the folder: small letters, digits and -
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
        /// Depend on this version of streamit-plugin-api (the default, with the version of this program)
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
    Try {
        /// The library
        file: PathBuf,
        /// A movie's id
        #[arg(long, value_name = "ID", required_unless_present = "tv", conflicts_with = "tv")]
        movie: Option<String>,
        /// A series' id, season and episode
        #[arg(long, num_args = 1..=3, value_names = ["ID", "SEASON", "EPISODE"])]
        tv: Option<Vec<String>>,
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
        /// What would stand in `[providers.<id>] config`, as JSON; without it, that of the first golden example
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// Run this case only
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
        Command::Config(ConfigCommand::Check { file }) => load(&file).map(|config| {
            println!("# {}: ok. The effective settings:\n\n{}", file.display(), config.explain().trim_end());
        }),
        Command::Plugin(PluginCommand::List { config, json }) => {
            load(&config).map(|config| list_plugins(&config, json))
        }
        #[cfg(unix)]
        Command::Plugin(command) => commands::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            eprintln!("streamit: {error}");
            ExitCode::from(code)
        }
    }
}

type Outcome<T> = Result<T, (u8, String)>;

fn load(path: &Path) -> Outcome<Config> {
    Config::load(path).map_err(|error| (BAD_CONFIGURATION, format!("the configuration cannot be used:\n{error}")))
}

fn serve(config: Config) -> Outcome<()> {
    telemetry::init(&config.log).map_err(|error| (BAD_CONFIGURATION, format!("{error:#}")))?;
    raise_file_limit();
    let run = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listeners = Listeners::bind(&config)?;
            let node = Node::start(config, listeners).await?;
            println!("StreamIt is at http://{}/", node.address);
            if let Some(address) = node.admin_address {
                println!("Its metrics are at http://{address}/metrics");
            }
            let reloader = node.reloader.clone();
            node.run_until(asked_to_stop(reloader)).await;
            Ok(())
        })
    };
    run().map_err(|error| (FAILED, format!("{error:#}")))
}

/// A socket is a file, and a full house has more than the usual 1,024.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Ctrl-C or SIGTERM. Until then each SIGHUP reads the providers again.
async fn asked_to_stop(reloader: Reloader) {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use std::io::IsTerminal;
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).expect("a runtime with signals");
        let mut hung_up = signal(SignalKind::hangup()).expect("a runtime with signals");
        let had_terminal = std::io::stderr().is_terminal();
        let reload = async {
            // Closing the terminal it was started from sends the same signal, and means something else.
            while hung_up.recv().await.is_some() && had_terminal == std::io::stderr().is_terminal() {
                let reloader = reloader.clone();
                // What became of it is in the log.
                let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
            }
        };
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
            () = reload => {}
        }
    }
    #[cfg(not(unix))]
    {
        drop(reloader);
        let _ = interrupted.await;
    }
}

fn list_plugins(config: &Config, json: bool) {
    let providers = Providers::inspect(config, program()).list();
    if json {
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
        println!("{}", serde_json::json!({ "providers": list.collect::<Vec<_>>() }));
        return;
    }
    let width = providers.keys().map(String::len).max().unwrap_or_default().max("PROVIDER".len());
    println!("{:<width$}  {:<11}  {:<8}  {:<9}  REASON", "PROVIDER", "STATE", "VERSION", "ISOLATION");
    for provider in providers.values() {
        let (state, reason) = provider.status();
        let version = provider.description().map_or("-", |d| d.version.as_str());
        let isolation = if provider.is_isolated() { "process" } else { "none" };
        let line = format!("{:<width$}  {:<11}  {version:<8}  {isolation:<9}  {reason}", provider.id, state.as_str());
        println!("{}", line.trim_end());
    }
}
