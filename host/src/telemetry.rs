//! What the operator sees: the log and the metrics.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    io::IsTerminal,
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, filter::FilterFn, fmt::writer::BoxMakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{self, LogFormat};

/// Lines that wait to be written. A reader that takes none holds nobody up: what comes beyond these is dropped and counted.
const WAITING_LINES: usize = 4096;

static DROPPED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// Sends the log to stderr, readable or as JSON, until the guard is dropped, if there is one.
pub fn init(config: &config::Log) -> anyhow::Result<Option<WorkerGuard>> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter: `{}` is not a filter; try \"info\"", config.filter))?;
    // At trace level the one library writes out whole messages, and the first of each socket may hold a key; the other writes
    // out what it does not know of the database's address, which may be a password. Whatever the filter says, that is not for
    // the log; and where it says less, less it is.
    let ceiling = FilterFn::new(|about| match about.target() {
        target if target.starts_with("tungstenite") => *about.level() < Level::TRACE,
        target => !target.ends_with("::options::parse"),
    });
    let (writer, guard) = if is_file(&std::io::stderr()) {
        // A file takes a line at once, or refuses it; anything else may wait for its reader.
        (BoxMakeWriter::new(std::io::stderr), None)
    } else {
        let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES).thread_name("log");
        let (writer, guard) = writer.finish(std::io::stderr());
        DROPPED_LINES.get_or_init(|| writer.error_counter());
        (BoxMakeWriter::new(writer), Some(guard))
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter).with(ceiling);
    match config.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    }
    .context("the log is set up already")?;
    Ok(guard)
}

#[cfg(unix)]
fn is_file(output: &impl std::os::fd::AsFd) -> bool {
    let is_regular = |stat: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    rustix::fs::fstat(output).is_ok_and(is_regular)
}

#[cfg(not(unix))]
fn is_file<T>(_: &T) -> bool {
    false
}

/// A room in the log: the same as long as the process runs, and no way to get in. Who reads a log is not invited.
pub fn alias(code: impl Hash) -> impl fmt::Display {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let alias = KEY.hash_one(code);
    fmt::from_fn(move |f| write!(f, "{alias:016x}"))
}

/// Every number this node counts.
pub struct Metrics {
    registry: Registry,
    pub rooms: Gauge,
    pub members: Gauge,
    pub commands_applied: Counter,
    pub commands_ignored: Counter,
    pub commands_failed: Counter,
    pub commands_stale: Counter,
    pub commands_replaced: Counter,
    pub commands_unsupported: Counter,
    pub frames_published: Counter,
    pub frames_received: Counter,
    pub frames_skipped: Counter,
    pub presence_told: Counter,
    pub leases_reaped: Counter,
    pub redis_connects: Counter,
    pub rereads: Counter,
    pub redis_round_trip: Histogram,
    pub sockets_closed: Family<Closed, Counter>,
    pub provider_calls: Family<ProviderCall, Counter>,
    pub provider_ready: Family<OfProvider, Gauge>,
    log_lines_dropped: Gauge,
    slowest_viewer_ms: Gauge,
    /// The longest that a frame took to be written to somebody, since the metrics were last read.
    slowest_write_ms: AtomicI64,
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

/// Which provider a number is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfProvider {
    pub provider: String,
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Metrics {
            registry: Registry::default(),
            rooms: Gauge::default(),
            members: Gauge::default(),
            commands_applied: Counter::default(),
            commands_ignored: Counter::default(),
            commands_failed: Counter::default(),
            commands_stale: Counter::default(),
            commands_replaced: Counter::default(),
            commands_unsupported: Counter::default(),
            frames_published: Counter::default(),
            frames_received: Counter::default(),
            frames_skipped: Counter::default(),
            presence_told: Counter::default(),
            leases_reaped: Counter::default(),
            redis_connects: Counter::default(),
            rereads: Counter::default(),
            // 0.1 ms to 0.8 s: the deadline is 0.3 s.
            redis_round_trip: Histogram::new(exponential_buckets(0.0001, 2.0, 14)),
            sockets_closed: Family::default(),
            provider_calls: Family::default(),
            provider_ready: Family::default(),
            log_lines_dropped: Gauge::default(),
            slowest_viewer_ms: Gauge::default(),
            slowest_write_ms: AtomicI64::new(0),
        };
        let mut registry = Registry::with_prefix("streamit");
        let m = &metrics;
        registry.register("rooms", "Live rooms this node knows", m.rooms.clone());
        registry.register("members", "Members connected to this node", m.members.clone());
        registry.register("commands_applied", "Host commands carried out", m.commands_applied.clone());
        registry.register("commands_ignored", "Commands of non-hosts, ignored", m.commands_ignored.clone());
        registry.register("commands_failed", "Host commands that failed", m.commands_failed.clone());
        let help = "Host commands dropped because they were about something that was over";
        registry.register("commands_stale", help, m.commands_stale.clone());
        let help = "Host commands that waited for the store until a newer one took their place";
        registry.register("commands_replaced", help, m.commands_replaced.clone());
        let help = "Host commands that the player of what is playing cannot follow";
        registry.register("commands_unsupported", help, m.commands_unsupported.clone());
        registry.register("frames_published", "New room states shown to members", m.frames_published.clone());
        registry.register("frames_received", "Room states that came from Redis", m.frames_received.clone());
        registry.register(
            "frames_skipped",
            "States a slow member never got, for a newer one",
            m.frames_skipped.clone(),
        );
        registry.register("presence_told", "Times the store was told who is here", m.presence_told.clone());
        registry.register("leases_reaped", "Silent nodes taken out of a room's count", m.leases_reaped.clone());
        registry.register("redis_connects", "Lines to Redis built, the first two included", m.redis_connects.clone());
        registry.register(
            "rereads",
            "Rooms read again because something published may have been missed",
            m.rereads.clone(),
        );
        let round_trip = m.redis_round_trip.clone();
        registry.register_with_unit("redis_round_trip", "A script's way to Redis and back", Unit::Seconds, round_trip);
        let help = "The longest a state took to be written to a member, since the metrics were last read";
        registry.register("slowest_viewer_ms", help, m.slowest_viewer_ms.clone());
        let help = "Lines of the log that were not written, since nobody took them fast enough";
        registry.register("log_lines_dropped", help, m.log_lines_dropped.clone());
        registry.register("sockets_closed", "Sockets the server closed, by code", m.sockets_closed.clone());
        registry.register("provider_calls", "Plugin calls, by outcome", m.provider_calls.clone());
        registry.register("provider_ready", "1 if the provider answers, 0 if not", m.provider_ready.clone());
        Metrics { registry, ..metrics }
    }

    /// A frame has been written to somebody, so long after it was published.
    pub fn written_after(&self, delay: Duration) {
        let ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.slowest_write_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// The Prometheus (OpenMetrics) text.
    pub fn encode(&self) -> String {
        self.slowest_viewer_ms.set(self.slowest_write_ms.swap(0, Ordering::Relaxed));
        let dropped = DROPPED_LINES.get().map_or(0, ErrorCounter::dropped_lines);
        self.log_lines_dropped.set(i64::try_from(dropped).unwrap_or(i64::MAX));
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
