//! The command line: one call per command.
#![expect(clippy::print_stdout, reason = "a command's answer goes to stdout; the log goes to stderr")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use streamit::{Listeners, Node, config::Config, providers::Providers, telemetry, telemetry::Metrics};

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
    /// Look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
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
}

const FAILED: u8 = 1;
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { config } => load(&config).and_then(serve),
        Command::Config(ConfigCommand::Check { file }) => load(&file).map(|config| {
            println!("# {}: ok. The effective settings:\n\n{}", file.display(), config.explain().trim_end());
        }),
        Command::Plugin(PluginCommand::List { config, json }) => {
            load(&config).and_then(|config| list_plugins(&config, json))
        }
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
            node.run_until(asked_to_stop()).await;
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

async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).expect("a runtime with signals");
        tokio::select! {
            _ = interrupted => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}

fn list_plugins(config: &Config, json: bool) -> Outcome<()> {
    let metrics = Arc::new(Metrics::new());
    let providers = Providers::load(config, &metrics).map_err(|error| (FAILED, format!("{error:#}")))?;
    if json {
        let list: Vec<_> = providers
            .list()
            .map(|provider| {
                let (state, reason) = provider.status();
                let description = provider.description();
                serde_json::json!({
                    "id": provider.id,
                    "state": state,
                    "reason": reason,
                    "version": description.map(|d| &d.version),
                    "toolchain": description.map(|d| &d.toolchain),
                    "sha256": description.map(|d| &d.sha256),
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "providers": list }));
        return Ok(());
    }
    for provider in providers.list() {
        let (state, reason) = provider.status();
        let version = provider.description().map(|d| d.version.as_str()).unwrap_or_default();
        println!("{:<16} {:<9} {version:<10} {}", provider.id, state.as_str(), reason.unwrap_or_default());
    }
    Ok(())
}
