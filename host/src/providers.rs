//! Providers: which there are, what they can do, and the URL of an identity. The only door to plugins.

#[cfg(unix)]
pub mod author;
mod breaker;
#[cfg(unix)]
mod bridge;
#[cfg(unix)]
pub mod check;
#[cfg(unix)]
pub mod child;
mod copies;
#[cfg(unix)]
mod crash;
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
#[cfg(unix)]
pub mod template;
mod watch;
mod worker;

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
#[cfg(unix)]
use std::{collections::HashSet, fs::File};

use anyhow::Context;
use bytes::Bytes;
use foldhash::quality::RandomState;
use indexmap::{Equivalent, IndexMap};
use serde::Serialize;
use streamit_plugin_api::{Capabilities, Manifest, Media, PlaybackSource, Problem, Rejection};
use tracing::{Instrument, debug_span, info, warn};

#[cfg(unix)]
pub use self::serve::serve;
use self::{
    breaker::{Breaker, Resting},
    library::CallError,
    load::{Loaded, Loader, NotLoaded, Origin},
    output::Destination,
    preflight::Preflight,
    worker::Worker,
};
pub use self::{
    load::stop_loading,
    reload::{Change, Changed, Reloaded, Reloader},
    watch::watch,
};
use crate::{
    config::{Config, Isolation, without_passwords},
    rooms::Source,
    telemetry::{Metrics, OfProvider, ProviderCall},
};

/// URLs kept per provider, and as many again of those before. A server has fewer different things playing at once.
const CACHED_URLS: usize = 4096;

/// Providers that are loaded at the same time: one that hangs in its probe keeps the others waiting no longer than itself.
const LOADED_AT_ONCE: usize = 8;

/// A handle on every provider named in the configuration.
#[derive(Clone)]
pub struct Providers(Arc<Registry>);

struct Registry {
    /// The present generation of each, in the configuration's order. Replaced as a whole.
    table: RwLock<Arc<Table>>,
    loader: Loader,
    metrics: Arc<Metrics>,
    /// Held as long as the process uses copies of libraries.
    #[cfg(unix)]
    copies: OnceLock<File>,
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
    destinations: Vec<Destination>,
    /// Who is asked; or the state it came to instead, and why. Nothing but a new generation mends that.
    loaded: Result<Worker, (Status, String)>,
    isolation: Isolation,
    breaker: Mutex<Breaker>,
    urls: Mutex<Urls>,
    metrics: Arc<Metrics>,
}

/// What a provider answered. When the newest are many enough the oldest go, but for those that were asked for since.
#[derive(Default)]
struct Urls {
    newest: IndexMap<Media<'static>, Arc<str>, RandomState>,
    older: IndexMap<Media<'static>, Arc<str>, RandomState>,
}

impl Urls {
    fn get(&mut self, media: &Media<'_>) -> Option<Arc<str>> {
        if let Some(url) = self.newest.get(&Asked(media)) {
            return Some(url.clone());
        }
        let (media, url) = self.older.swap_remove_entry(&Asked(media))?;
        self.insert(media, url.clone());
        Some(url)
    }

    fn insert(&mut self, media: Media<'static>, url: Arc<str>) {
        if self.newest.len() >= CACHED_URLS {
            self.older = std::mem::take(&mut self.newest);
        }
        self.newest.insert(media, url);
    }
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
pub enum Status {
    Ready,
    /// Turned off in the configuration.
    Disabled,
    /// Its file or its configuration cannot be used.
    Refused,
    /// The host did not survive loading it last time.
    Quarantined,
    /// It failed too often, and is left alone for a while.
    Resting,
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
    /// It mostly fails, and is not asked for a while.
    #[error("the provider `{id}` is left alone for another {left:.1?}: {reason}")]
    Resting { id: String, reason: String, left: Duration },
    #[error("the provider `{id}` failed: {reason}")]
    Failed { id: String, reason: String },
    /// It was not asked again so soon.
    #[error("the provider `{id}` failed for this a moment ago, and is asked again in {left:.1?}: {reason}")]
    FailedBefore { id: String, reason: String, left: Duration },
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
        #[cfg(unix)]
        let stay = copies::Stay::begin(&config.state_dir);
        let providers = Providers::load_with(config, Loader::new(program, true), metrics);
        #[cfg(unix)]
        if let Some(copies) = stay.and_then(|stay| stay.tidy(&providers.hashes())) {
            providers.0.copies.get_or_init(|| copies);
        }
        providers.list().values().for_each(|provider| provider.announce());
        providers.required_are_ready(config)?;
        Ok(providers)
    }

    /// Judges every provider the configuration names as [`Providers::load`] does, without running any in this process or
    /// writing where a host would: `state_dir` is only looked at.
    pub fn inspect(config: &Config, program: PathBuf) -> anyhow::Result<Providers> {
        let folder = tempfile::Builder::new().prefix("streamit-").tempdir();
        let folder =
            folder.context("no folder can be made to try copies of the libraries in; $TMPDIR names another")?;
        point_to_marks(&config.state_dir.join("plugins"), &folder.path().join("plugins"))?;
        let elsewhere = Config { state_dir: folder.path().to_owned(), ..config.clone() };
        Ok(Providers::load_with(&elsewhere, Loader::new(program, false), &Arc::new(Metrics::new())))
    }

    /// Whether everything is ready without which this server is not to run.
    pub fn required_are_ready(&self, config: &Config) -> anyhow::Result<()> {
        for provider in self.list().values() {
            let (state, reason) = provider.status();
            let is_required = config.providers.get(&provider.id).is_some_and(|settings| settings.required);
            if state != Status::Ready && state != Status::Disabled && is_required {
                anyhow::bail!("the required provider `{}` is {}: {reason}", provider.id, state.as_str());
            }
        }
        Ok(())
    }

    /// Of every library that is in use or could be.
    #[cfg(unix)]
    fn hashes(&self) -> HashSet<String> {
        self.list().values().map(|provider| provider.origin.sha256.clone()).collect()
    }

    fn load_with(config: &Config, loader: Loader, metrics: &Arc<Metrics>) -> Providers {
        let table = RwLock::default();
        let providers = Providers(Arc::new(Registry {
            table,
            loader,
            metrics: metrics.clone(),
            #[cfg(unix)]
            copies: OnceLock::new(),
        }));
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
            // One that fails is given another chance.
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
        if let Some(url) = provider.known_url(media) {
            return Ok(url);
        }
        let media = media.clone().into_owned();
        let span = debug_span!("provider.call", provider.id = %provider.id);
        // Whoever asks may go away; what comes of the call is known all the same.
        let call = tokio::spawn(async move { provider.embed_url(media).await }.instrument(span));
        call.await.unwrap_or_else(|error| Err(ProviderError::Failed { id: id.into(), reason: error.to_string() }))
    }

    /// Sources for `frame-src` and `media-src`: where the players of providers in use come from.
    pub fn embed_sources(&self) -> Vec<String> {
        let providers = self.list();
        let in_use = providers.values().filter(|provider| provider.is_loaded());
        let mut sources: Vec<_> =
            in_use.flat_map(|p| &p.destinations).map(|place| place.as_source().to_owned()).collect();
        sources.sort();
        sources.dedup();
        sources
    }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ready => "ready",
            Status::Disabled => "disabled",
            Status::Refused => "refused",
            Status::Quarantined => "quarantined",
            Status::Resting => "resting",
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
        let isolation = origin.settings.isolation;
        let (description, destinations, loaded, isolation) = match loaded {
            Ok(Loaded { description, destinations, worker, isolation }) => {
                (Some(description), destinations, Ok(worker), isolation)
            }
            Err(NotLoaded { state, reason, description, .. }) => {
                (description, Vec::new(), Err((state, without_passwords(&reason))), isolation)
            }
        };
        Provider {
            id: id.into(),
            generation,
            origin,
            is_missing,
            description,
            destinations,
            loaded,
            isolation,
            breaker: Mutex::default(),
            urls: Mutex::default(),
            metrics,
        }
    }

    /// Says in the log what came of loading it.
    fn announce(&self) {
        let (id, generation) = (&self.id, self.generation);
        let version = self.description().map(|d| d.version.as_str()).unwrap_or_default();
        match self.status() {
            (Status::Ready, _) => info!(provider.id = %id, version, generation, "provider ready"),
            (Status::Disabled, _) => info!(provider.id = %id, "provider disabled"),
            (state, reason) => warn!(provider.id = %id, state = state.as_str(), "provider not ready: {reason}"),
        }
    }

    /// What its file says about itself, if the file could be read so far.
    pub fn description(&self) -> Option<&Description> {
        self.description.as_deref()
    }

    /// Whether it runs in a process of its own.
    pub fn is_isolated(&self) -> bool {
        self.isolation == Isolation::Process
    }

    /// The origins its URLs may be on, as `event.origin` shows them; `self` for this host's own.
    pub fn embed_origins(&self) -> Vec<String> {
        self.destinations.iter().map(|place| place.as_source().trim_matches('\'').to_owned()).collect()
    }

    /// Its state, and the reason if it is not ready.
    pub fn status(&self) -> (Status, Cow<'_, str>) {
        let worker = match &self.loaded {
            Ok(worker) => worker,
            Err((state, reason)) => return (*state, reason.into()),
        };
        if let Some(reason) = worker.spent() {
            return (Status::Refused, reason.into());
        }
        match self.breaker().resting(Instant::now()) {
            Some(Resting { cause, left, .. }) => {
                (Status::Resting, format!("{cause}; it is asked again in {left:.1?}").into())
            }
            None => (Status::Ready, "".into()),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.status().0 == Status::Ready
    }

    /// Whether it has come so far that it can be asked, and then be ready or not.
    fn is_loaded(&self) -> bool {
        self.loaded.is_ok()
    }

    /// A golden example of its own, which it can answer if it can answer anything.
    fn example(&self) -> Option<Media<'static>> {
        let examples = &self.description()?.manifest.examples;
        examples.iter().find(|example| example.config.is_none()).map(|example| example.media.clone())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answered before: that stays true, whatever became of it since.
    fn known_url(&self, media: &Media<'_>) -> Option<Arc<str>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(media)
    }

    fn remember(&self, media: Media<'static>, url: Arc<str>) {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).insert(media, url);
    }

    async fn embed_url(&self, media: Media<'static>) -> Result<Arc<str>, ProviderError> {
        // The contract's own rule stands above every provider: none can allow a movie with a season.
        match (media.shape(), self.ask(&media).await) {
            (Ok(_), answer) => answer,
            (Err(shape), Err(ProviderError::Rejected(rejection))) => {
                Err(ProviderError::Rejected(both(&rejection, &shape)))
            }
            (Err(shape), Ok(_)) => Err(ProviderError::Rejected(shape)),
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// Asks the plugin, and judges what it says.
    async fn ask(&self, media: &Media<'static>) -> Result<Arc<str>, ProviderError> {
        let id = || self.id.clone();
        let not_ready = |reason| Err(ProviderError::NotReady { id: id(), reason });
        let worker = match &self.loaded {
            Ok(worker) => worker,
            Err((_, reason)) => return not_ready(reason.clone()),
        };
        let mut turn = worker.turn().await;
        // Whoever was before may have lost the last thread.
        if let Some(reason) = worker.spent() {
            return not_ready(reason);
        }
        // Whoever was before may have asked the same, and have got an answer or none.
        if let Some(url) = self.known_url(media) {
            return Ok(url);
        }
        if let Some(Resting { is_all, cause: reason, left }) = self.breaker().refuses(media, Instant::now()) {
            self.count("resting");
            return Err(if is_all {
                ProviderError::Resting { id: id(), reason, left }
            } else {
                ProviderError::FailedBefore { id: id(), reason, left }
            });
        }
        // After a rest it is not left to the next stranger whether it ends.
        if let Some(example) = self.example().filter(|_| self.breaker().is_over()) {
            match turn.embed_url(example.clone()).await {
                Ok(_) | Err(CallError::Rejected(_)) => self.breaker().answered(&example, Instant::now()),
                Err(error) => return Err(self.failed(&example, error.to_string())),
            }
        }
        let answer = turn.embed_url(media.clone()).await;
        let answer = answer.and_then(|url| match output::check_url(&url, &self.destinations) {
            Ok(()) => Ok(url),
            Err(reason) => Err(CallError::Fault(reason)),
        });
        match answer {
            Ok(url) => {
                self.breaker().answered(media, Instant::now());
                self.count("ok");
                let url: Arc<str> = url.into();
                if media.shape().is_ok() {
                    self.remember(media.clone(), url.clone());
                }
                Ok(url)
            }
            Err(CallError::Rejected(rejection)) => {
                self.breaker().answered(media, Instant::now());
                self.count("rejected");
                Err(ProviderError::Rejected(rejection))
            }
            Err(CallError::BadConfig(reason) | CallError::Fault(reason)) => Err(self.failed(media, reason)),
        }
    }

    fn failed(&self, media: &Media<'static>, reason: String) -> ProviderError {
        self.count("fault");
        let reason = without_passwords(&reason);
        warn!(provider.id = %self.id, "provider failed: {reason}");
        if self.breaker().failed(media.clone(), Instant::now(), &reason) {
            warn!(provider.id = %self.id, "provider left alone for a while: {}", self.status().1);
        }
        ProviderError::Failed { id: self.id.clone(), reason }
    }

    fn count(&self, outcome: &'static str) {
        let labels = ProviderCall { provider: self.id.clone(), outcome };
        self.metrics.provider_calls.get_or_create(&labels).inc();
    }
}

/// Has the marks beside a host's private copies, of what it did not survive, beside other copies of the same libraries.
/// Links, since a mark that a host holds locked means something else.
#[cfg(unix)]
fn point_to_marks(copies: &Path, others: &Path) -> anyhow::Result<()> {
    use std::{fs, os::unix::fs::symlink};
    fs::create_dir(others)?;
    let Ok(entries) = copies.canonicalize().and_then(fs::read_dir) else { return Ok(()) };
    for mark in entries.flatten().map(|entry| entry.path()) {
        if mark.extension().is_some_and(|extension| extension == "loading" || extension == "crashed") {
            symlink(&mark, others.join(mark.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn point_to_marks(_: &Path, _: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// The keys of a provider's configuration that its library calls secret. Reads the file, and runs nothing.
pub fn secrets(id: &str, config: &Config) -> Vec<String> {
    let manifest = |settings| {
        let bytes = load::read(&load::library_path(id, settings, &config.plugins)).ok()?;
        Some(preflight::preflight(&bytes).ok()?.manifest)
    };
    config.providers.get(id).and_then(manifest).map_or_else(Vec::new, |manifest| manifest.secrets)
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
