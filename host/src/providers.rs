//! Providers: which there are, what they can do, and the URL of an identity. The only door to plugins.

#[cfg(unix)]
pub mod author;
#[cfg(unix)]
pub mod check;
#[cfg(unix)]
pub mod child;
#[cfg(unix)]
mod isolated;
mod library;
mod load;
mod output;
mod preflight;
mod prepare;
mod reload;
#[cfg(unix)]
mod serve;
mod watch;
mod worker;

use std::{
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::quality::RandomState;
use indexmap::{Equivalent, IndexMap};
use serde::Serialize;
use streamit_plugin_api::{Capabilities, Manifest, Media, PlaybackSource, Problem, Rejection};
use tracing::{Instrument, debug, debug_span, error, info, warn};

#[cfg(unix)]
pub use self::serve::serve;
use self::{
    library::CallError,
    load::{Loaded, Loader, NotLoaded, Origin},
    output::Place,
    preflight::Preflight,
    worker::{NoAnswer, Worker},
};
pub use self::{
    reload::{Change, Changed, Reloaded, Reloader},
    watch::watch,
};
use crate::{
    config::{Config, Isolation},
    rooms::Source,
    telemetry::{Metrics, OfProvider, ProviderCall},
};

/// A plugin that fails this often …
const MAX_FAULTS: usize = 5;
/// … within this time is not called any more.
const FAULT_WINDOW: Duration = Duration::from_secs(60);

/// URLs kept per provider. A server has fewer different things playing at once; a full cache is simply begun anew.
const CACHED_URLS: usize = 4096;

/// Providers that are loaded at the same time: one that hangs in its probe keeps the others waiting no longer than itself.
const LOADED_AT_ONCE: usize = 8;

/// A handle on every provider named in the configuration.
#[derive(Clone)]
pub struct Providers(Arc<Shared>);

struct Shared {
    /// The present generation of each, in the configuration's order. Replaced as a whole.
    table: RwLock<Arc<Table>>,
    loader: Loader,
    metrics: Arc<Metrics>,
}

type Table = IndexMap<String, Arc<Provider>, RandomState>;

/// One generation of a provider, ready or not. A reload makes a new one; this one ends after its last call.
pub struct Provider {
    pub id: String,
    /// 1 for the first since the process started.
    pub generation: u64,
    origin: Origin,
    is_missing: bool,
    description: Option<Arc<Description>>,
    places: Vec<Place>,
    worker: Option<Worker>,
    /// Why it does not answer, from the moment it does not. Nothing but a new generation mends that.
    stopped: OnceLock<(State, String)>,
    faults: Mutex<Vec<Instant>>,
    lost_threads: Arc<AtomicUsize>,
    urls: Mutex<IndexMap<Media<'static>, Arc<str>, RandomState>>,
    metrics: Arc<Metrics>,
}

/// What a provider's file says about itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub manifest: Arc<Manifest>,
    pub version: String,
    pub toolchain: String,
    pub sha256: String,
    pub bridge: Bytes,
    /// The first half of the bridge's SHA-256: its address changes when it does.
    pub bridge_hash: String,
}

/// Whether a provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ready,
    /// Turned off in the configuration.
    Disabled,
    /// Its file or its configuration cannot be used.
    Refused,
    /// The host did not survive loading it last time.
    Quarantined,
    /// It failed too often in too short a time.
    Faulted,
    /// A call passed its deadline.
    Hung,
}

/// Why there is no URL.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("no provider `{0}` is configured")]
    Unknown(String),
    #[error("the provider `{id}` is not ready: {reason}")]
    NotReady { id: String, reason: String },
    #[error("{0}")]
    Rejected(Rejection),
    #[error("the provider `{id}` failed: {reason}")]
    Failed { id: String, reason: String },
}

impl Description {
    fn new(preflight: Preflight, sha256: String) -> Self {
        use sha2::{Digest, Sha256};
        let bridge_hash = crate::rooms::hex(&Sha256::digest(&preflight.bridge)[..16]);
        Description {
            manifest: Arc::new(preflight.manifest),
            version: preflight.version,
            toolchain: preflight.toolchain,
            sha256,
            bridge: preflight.bridge.into(),
            bridge_hash,
        }
    }
}

impl Providers {
    /// Loads every provider the configuration names. Blocks: plugins run. `program` is this program, to be started for
    /// plugins that need a process of their own.
    pub fn load(config: &Config, program: PathBuf, metrics: &Arc<Metrics>) -> anyhow::Result<Providers> {
        let providers = Providers::load_with(config, Loader::new(program, true), metrics);
        for provider in providers.list().values() {
            let (state, reason) = provider.status();
            let is_required = config.providers.get(&provider.id).is_some_and(|settings| settings.required);
            if state != State::Ready && state != State::Disabled && is_required {
                anyhow::bail!("the required provider `{}` is {}: {reason}", provider.id, state.as_str());
            }
            provider.announce();
        }
        Ok(providers)
    }

    /// Judges every provider the configuration names as [`Providers::load`] does, without running any in this process.
    pub fn inspect(config: &Config, program: PathBuf) -> Providers {
        Providers::load_with(config, Loader::new(program, false), &Arc::new(Metrics::new()))
    }

    fn load_with(config: &Config, loader: Loader, metrics: &Arc<Metrics>) -> Providers {
        let table = RwLock::default();
        let providers = Providers(Arc::new(Shared { table, loader, metrics: metrics.clone() }));
        let loaded = providers.load_all(config);
        let table = loaded.into_iter().filter_map(|(id, provider)| Some((id, provider?))).collect();
        providers.replace(table);
        providers
    }

    /// The next generation of each provider in the configuration, in its order; nothing where it would be the present one.
    fn load_all(&self, config: &Config) -> Vec<(String, Option<Arc<Provider>>)> {
        let present = self.list();
        let load = |id: &String, settings| {
            let present = present.get(id);
            let serving = present.filter(|provider| provider.is_ready()).map(|provider| &provider.origin);
            let (origin, loaded) = self.0.loader.load(id, settings, &config.plugins, &config.state_dir, serving)?;
            let generation = present.map_or(0, |provider| provider.generation) + 1;
            Some(Arc::new(Provider::new(id, generation, origin, loaded, self.0.metrics.clone())))
        };
        let next = AtomicUsize::new(0);
        let loaded: Vec<_> = config.providers.iter().map(|_| OnceLock::new()).collect();
        thread::scope(|scope| {
            for _ in 0..LOADED_AT_ONCE.min(config.providers.len()) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some((id, settings)) = config.providers.get_index(n) else { return };
                        loaded[n].get_or_init(|| load(id, settings));
                    }
                });
            }
        });
        let loaded = loaded.into_iter().map(|loaded| loaded.into_inner().flatten());
        config.providers.keys().cloned().zip(loaded).collect()
    }

    fn replace(&self, table: Table) {
        *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// Brings the numbers about providers up to date, before they are read.
    pub fn observe(&self) {
        let ready = &self.0.metrics.provider_ready;
        ready.clear();
        for (id, provider) in &*self.list() {
            ready.get_or_create(&OfProvider { provider: id.clone() }).set(i64::from(provider.is_ready()));
        }
    }

    /// Every provider, in the configuration's order.
    pub fn list(&self) -> Arc<IndexMap<String, Arc<Provider>, RandomState>> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn get(&self, id: &str) -> Option<Arc<Provider>> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The full description of what a room plays. Without its manifest a provider is known to be able to do nothing.
    pub fn describe(&self, source: &Source) -> PlaybackSource {
        let provider = self.get(&source.provider);
        let manifest = provider.as_ref().and_then(|provider| provider.description()).map(|d| &d.manifest);
        PlaybackSource {
            provider: source.provider.clone(),
            media_type: source.media_type,
            external_id: source.external_id.clone(),
            season: source.season,
            episode: source.episode,
            supports_events: manifest.is_some_and(|m| m.supports_events),
            supports_progress: manifest.is_some_and(|m| m.supports_progress),
            capabilities: manifest.map_or(Capabilities::default(), |m| m.capabilities),
        }
    }

    /// The URL that plays `media`, asked of the provider or remembered.
    pub async fn embed_url(&self, id: &str, media: &Media<'_>) -> Result<Arc<str>, ProviderError> {
        let provider = self.get(id).ok_or_else(|| ProviderError::Unknown(id.into()))?;
        match provider.known_url(media) {
            Some(url) => Ok(url),
            None => provider.embed_url(media).await,
        }
    }

    /// Sources for `frame-src` and `media-src`: where ready providers' players come from.
    pub fn embed_sources(&self) -> Vec<String> {
        let providers = self.list();
        let ready = providers.values().filter(|provider| provider.is_ready());
        let mut sources: Vec<_> = ready.flat_map(|p| &p.places).map(|place| place.as_source().to_owned()).collect();
        sources.sort();
        sources.dedup();
        sources
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Disabled => "disabled",
            State::Refused => "refused",
            State::Quarantined => "quarantined",
            State::Faulted => "faulted",
            State::Hung => "hung",
        }
    }
}

impl Provider {
    fn new(
        id: &str,
        generation: u64,
        origin: Origin,
        loaded: Result<Loaded, NotLoaded>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_missing = matches!(loaded, Err(NotLoaded { is_missing: true, .. }));
        let (description, places, worker, lost_threads, stopped) = match loaded {
            Ok(Loaded { description, places, worker, lost_threads }) => {
                (Some(description), places, Some(worker), lost_threads, OnceLock::new())
            }
            Err(NotLoaded { state, reason, description, .. }) => {
                (description, Vec::new(), None, Arc::default(), OnceLock::from((state, reason)))
            }
        };
        Provider {
            id: id.into(),
            generation,
            origin,
            is_missing,
            description,
            places,
            worker,
            stopped,
            faults: Mutex::default(),
            lost_threads,
            urls: Mutex::default(),
            metrics,
        }
    }

    /// Says in the log what came of loading it.
    fn announce(&self) {
        let (id, generation) = (&self.id, self.generation);
        let version = self.description().map(|d| d.version.as_str()).unwrap_or_default();
        match self.status() {
            (State::Ready, _) => info!(provider.id = %id, version, generation, "provider ready"),
            (State::Disabled, _) => info!(provider.id = %id, "provider disabled"),
            (state, reason) => warn!(provider.id = %id, state = state.as_str(), "provider not ready: {reason}"),
        }
    }

    /// What its file says about itself, if the file could be read so far.
    pub fn description(&self) -> Option<&Description> {
        self.description.as_deref()
    }

    /// Whether it runs in a process of its own.
    pub fn is_isolated(&self) -> bool {
        self.origin.settings.isolation == Isolation::Process
    }

    /// The origins its URLs may be on, as `event.origin` shows them; `self` for this host's own.
    pub fn embed_origins(&self) -> Vec<String> {
        self.places.iter().map(|place| place.as_source().trim_matches('\'').to_owned()).collect()
    }

    /// Its state, and the reason if it is not ready.
    pub fn status(&self) -> (State, &str) {
        self.stopped.get().map_or((State::Ready, ""), |(state, reason)| (*state, reason))
    }

    pub fn is_ready(&self) -> bool {
        self.stopped.get().is_none()
    }

    /// What it answered before, as long as it is ready.
    fn known_url(&self, media: &Media<'_>) -> Option<Arc<str>> {
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        urls.get(&Asked(media)).filter(|_| self.is_ready()).cloned()
    }

    fn remember(&self, media: Media<'static>, url: Arc<str>) {
        let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.len() >= CACHED_URLS {
            urls.clear();
        }
        urls.insert(media, url);
    }

    async fn embed_url(&self, media: &Media<'_>) -> Result<Arc<str>, ProviderError> {
        // The contract's own rule stands above every provider: none can allow a movie with a season.
        match (media.shape(), self.ask(media).await) {
            (Ok(_), answer) => {
                let url: Arc<str> = answer?.into();
                self.remember(media.clone().into_owned(), url.clone());
                Ok(url)
            }
            (Err(shape), Err(ProviderError::Rejected(rejection))) => {
                Err(ProviderError::Rejected(both(&rejection, &shape)))
            }
            (Err(shape), Ok(_)) => Err(ProviderError::Rejected(shape)),
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// Asks the plugin, and judges what it says.
    async fn ask(&self, media: &Media<'_>) -> Result<String, ProviderError> {
        let Some(worker) = self.worker.as_ref().filter(|_| self.is_ready()) else {
            return Err(ProviderError::NotReady { id: self.id.clone(), reason: self.status().1.to_owned() });
        };
        let span = debug_span!("provider.call", provider.id = %self.id);
        match worker.embed_url(media.clone().into_owned()).instrument(span).await {
            Ok(Ok(url)) => match output::check_url(&url, &self.places) {
                Ok(()) => {
                    self.count("ok");
                    Ok(url)
                }
                Err(reason) => Err(self.failed(reason)),
            },
            Ok(Err(CallError::Rejected(rejection))) => {
                self.count("rejected");
                Err(ProviderError::Rejected(rejection))
            }
            Ok(Err(CallError::BadConfig(reason) | CallError::Fault(reason))) => Err(self.failed(reason)),
            Ok(Err(CallError::Paused(reason))) => {
                self.count("paused");
                debug!(provider.id = %self.id, "provider not asked: {reason}");
                Err(ProviderError::Failed { id: self.id.clone(), reason })
            }
            Err(NoAnswer::Hung) => {
                self.count("hung");
                Err(self.disable(State::Hung, "a call passed its deadline".into()))
            }
            Err(NoAnswer::Gone) => Err(self.disable(State::Faulted, "its thread ended".into())),
        }
    }

    /// Counts a fault; one too many and the provider is not called again.
    fn failed(&self, reason: String) -> ProviderError {
        self.count("fault");
        warn!(provider.id = %self.id, "provider failed: {reason}");
        let is_too_often = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            faults.retain(|fault| now.duration_since(*fault) < FAULT_WINDOW);
            faults.push(now);
            faults.len() >= MAX_FAULTS
        };
        if is_too_often {
            let secs = FAULT_WINDOW.as_secs();
            return self.disable(State::Faulted, format!("{MAX_FAULTS} faults in {secs} s, the last one: {reason}"));
        }
        ProviderError::Failed { id: self.id.clone(), reason }
    }

    fn disable(&self, state: State, reason: String) -> ProviderError {
        if self.stopped.set((state, reason.clone())).is_ok() {
            if state == State::Hung {
                self.lost_threads.fetch_add(1, Ordering::Relaxed);
            }
            error!(provider.id = %self.id, state = state.as_str(), "provider disabled: {reason}");
        }
        ProviderError::NotReady { id: self.id.clone(), reason }
    }

    fn count(&self, outcome: &'static str) {
        let labels = ProviderCall { provider: self.id.clone(), outcome };
        self.metrics.provider_calls.get_or_create(&labels).inc();
    }
}

/// An identity that is looked up and not kept.
struct Asked<'a>(&'a Media<'a>);

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Media<'static>> for Asked<'_> {
    fn equivalent(&self, known: &Media<'static>) -> bool {
        self.0 == known
    }
}

/// One instance on the caller's own thread, without deadline, cache or judgement: what benchmarks compare with.
#[doc(hidden)]
pub struct Bare(library::Instance);

#[doc(hidden)]
impl Bare {
    pub fn open(file: &std::path::Path) -> Result<Bare, String> {
        let library = Arc::new(library::Library::open(file, None)?);
        library::Instance::create(library, "{}").map(Bare).map_err(|error| error.to_string())
    }

    pub fn embed_url(&self, media: &Media<'_>) -> Result<String, String> {
        self.0.embed_url(media).map_err(|error| error.to_string())
    }
}

/// What the provider says is wrong, and what the contract adds about fields the provider did not mention.
fn both(rejection: &Rejection, shape: &Rejection) -> Rejection {
    let problems = rejection.problems();
    let is_new = |problem: &&Problem| problems.iter().all(|known| known.field != problem.field);
    let all = problems.iter().chain(shape.problems().iter().filter(is_new));
    all.map(|problem| (problem.field, problem.kind, problem.message.clone())).collect()
}
