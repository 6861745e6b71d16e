//! What the operator sees: the log and the metrics.

use std::io::IsTerminal;

use anyhow::Context;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{self, LogFormat};

/// Sends the log to stderr, readable or as JSON.
pub fn init(config: &config::Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter: `{}` is not a filter; try \"info\"", config.filter))?;
    // At trace level this library writes out whole messages, and the first of each socket may hold a key.
    let filter = filter.add_directive("tungstenite=debug".parse().expect("a directive"));
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .context("the log is set up already")
}

/// Every number this node counts.
pub struct Metrics {
    registry: Registry,
    pub rooms: Gauge,
    pub members: Gauge,
    pub commands_applied: Counter,
    pub commands_ignored: Counter,
    pub commands_failed: Counter,
    pub frames_published: Counter,
    pub frames_received: Counter,
    pub rereads: Counter,
    pub presence_told: Counter,
    pub sockets_closed: Family<Closed, Counter>,
    pub provider_calls: Family<ProviderCall, Counter>,
}

/// Why the server ended a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Closed {
    pub code: u16,
}

/// How a call to a plugin ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderCall {
    pub provider: String,
    pub outcome: &'static str,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("streamit"),
            rooms: Gauge::default(),
            members: Gauge::default(),
            commands_applied: Counter::default(),
            commands_ignored: Counter::default(),
            commands_failed: Counter::default(),
            frames_published: Counter::default(),
            frames_received: Counter::default(),
            rereads: Counter::default(),
            presence_told: Counter::default(),
            sockets_closed: Family::default(),
            provider_calls: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("rooms", "Live rooms on this node", metrics.rooms.clone());
        registry.register("members", "Members connected to this node", metrics.members.clone());
        registry.register("commands_applied", "Host commands carried out", metrics.commands_applied.clone());
        registry.register("commands_ignored", "Commands of non-hosts, ignored", metrics.commands_ignored.clone());
        registry.register("commands_failed", "Host commands that failed", metrics.commands_failed.clone());
        registry.register("frames_published", "New room states shown to members", metrics.frames_published.clone());
        registry.register("frames_received", "Room states that other nodes published", metrics.frames_received.clone());
        registry.register(
            "rereads",
            "Times the store was away or back, and every room was read again",
            metrics.rereads.clone(),
        );
        registry.register("presence_told", "Times the store was told who is here", metrics.presence_told.clone());
        registry.register("sockets_closed", "Sockets the server closed, by code", metrics.sockets_closed.clone());
        registry.register("provider_calls", "Plugin calls, by outcome", metrics.provider_calls.clone());
        metrics
    }

    /// The Prometheus (OpenMetrics) text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}
