//! Providers: which there are, what they can do, and the URL of an identity. The only door to plugins.

mod library;
mod load;
mod output;
mod preflight;
mod worker;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use indexmap::IndexMap;
use serde::Serialize;
use streamit_plugin_api::{Capabilities, Manifest, Media, PlaybackSource, Problem, Rejection};
use tracing::{Instrument, debug_span, error, info, warn};

use self::{
    library::CallError,
    load::{Loaded, NotLoaded},
    output::Place,
    preflight::Preflight,
    worker::{NoAnswer, Worker},
};
use crate::{
    config::Config,
    rooms::Source,
    telemetry::{Metrics, ProviderCall},
};

/// A plugin that fails this often …
const MAX_FAULTS: usize = 5;
/// … within this time is not called any more.
const FAULT_WINDOW: Duration = Duration::from_secs(60);

/// URLs kept per provider. A server has fewer different things playing at once; a full cache is simply begun anew.
const CACHED_URLS: usize = 4096;

/// A handle on every provider named in the configuration, in its order.
#[derive(Clone)]
pub struct Providers(Arc<IndexMap<String, Provider>>);

/// One provider, ready or not.
pub struct Provider {
    pub id: String,
    description: Option<Arc<Description>>,
    places: Vec<Place>,
    worker: Option<Worker>,
    status: Mutex<Status>,
    urls: Mutex<HashMap<Media<'static>, Arc<str>>>,
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

struct Status {
    state: State,
    reason: Option<String>,
    faults: Vec<Instant>,
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
    /// Loads every provider the configuration names. Blocks: plugins run.
    pub fn load(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Providers> {
        let mut providers = IndexMap::new();
        for (id, settings) in &config.providers {
            let loaded = load::load(id, settings, &config.plugins, &config.state_dir);
            let provider = Provider::new(id, loaded, metrics.clone());
            let (state, reason) = provider.status();
            let reason = reason.unwrap_or_default();
            match state {
                State::Ready => {
                    let version = provider.description.as_ref().map(|d| d.version.as_str()).unwrap_or_default();
                    info!(provider.id = %id, version, "provider ready");
                }
                State::Disabled => info!(provider.id = %id, "provider disabled"),
                state if settings.required => {
                    anyhow::bail!("the required provider `{id}` is {}: {reason}", state.as_str());
                }
                state => warn!(provider.id = %id, state = state.as_str(), "provider not ready: {reason}"),
            }
            providers.insert(id.clone(), provider);
        }
        Ok(Providers(Arc::new(providers)))
    }

    /// Every provider, in the configuration's order.
    pub fn list(&self) -> impl Iterator<Item = &Provider> {
        self.0.values()
    }

    pub fn get(&self, id: &str) -> Option<&Provider> {
        self.0.get(id)
    }

    /// The full description of what a room plays. Without its manifest a provider is known to be able to do nothing.
    pub fn describe(&self, source: &Source) -> PlaybackSource {
        let manifest = self.get(&source.provider).and_then(|provider| provider.description.as_ref());
        let manifest = manifest.map(|description| &description.manifest);
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
        provider.embed_url(media).await
    }

    /// Sources for `frame-src` and `media-src`: where ready providers' players come from.
    pub fn embed_sources(&self) -> Vec<String> {
        let mut sources: Vec<_> =
            self.list().filter(|p| p.is_ready()).flat_map(|p| p.places.iter().map(Place::as_source)).collect();
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
            State::Faulted => "faulted",
            State::Hung => "hung",
        }
    }
}

impl Provider {
    fn new(id: &str, loaded: Result<Loaded, NotLoaded>, metrics: Arc<Metrics>) -> Self {
        let (description, places, worker, state, reason) = match loaded {
            Ok(Loaded { description, places, worker }) => (Some(description), places, Some(worker), State::Ready, None),
            Err(NotLoaded { state, reason, description }) => (description, Vec::new(), None, state, Some(reason)),
        };
        Provider {
            id: id.into(),
            description,
            places,
            worker,
            status: Mutex::new(Status { state, reason, faults: Vec::new() }),
            urls: Mutex::default(),
            metrics,
        }
    }

    /// What its file says about itself, if the file could be read so far.
    pub fn description(&self) -> Option<&Description> {
        self.description.as_deref()
    }

    /// The origins its URLs may be on, as `event.origin` shows them; `self` for this host's own.
    pub fn embed_origins(&self) -> Vec<String> {
        self.places.iter().map(|place| place.as_source().trim_matches('\'').to_owned()).collect()
    }

    /// Its state, and the reason if it is not ready.
    pub fn status(&self) -> (State, Option<String>) {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        (status.state, status.reason.clone())
    }

    pub fn is_ready(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).state == State::Ready
    }

    async fn embed_url(&self, media: &Media<'_>) -> Result<Arc<str>, ProviderError> {
        // The contract's own rule stands above every provider: none can allow a movie with a season.
        match (media.shape(), self.ask(media).await) {
            (Ok(_), answer) => answer,
            (Err(shape), Err(ProviderError::Rejected(rejection))) => {
                Err(ProviderError::Rejected(both(&rejection, &shape)))
            }
            (Err(shape), Ok(_)) => Err(ProviderError::Rejected(shape)),
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// Asks the plugin, unless its answer is known.
    async fn ask(&self, media: &Media<'_>) -> Result<Arc<str>, ProviderError> {
        let (state, reason) = self.status();
        let Some(worker) = self.worker.as_ref().filter(|_| state == State::Ready) else {
            return Err(ProviderError::NotReady { id: self.id.clone(), reason: reason.unwrap_or_default() });
        };
        let media = media.clone().into_owned();
        if let Some(url) = self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(&media) {
            return Ok(url.clone());
        }
        let span = debug_span!("provider.call", provider.id = %self.id);
        match worker.embed_url(media.clone()).instrument(span).await {
            Ok(Ok(url)) => match output::check_url(&url, &self.places) {
                Ok(()) => {
                    self.count("ok");
                    let url: Arc<str> = url.into();
                    let mut urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
                    if urls.len() >= CACHED_URLS {
                        urls.clear();
                    }
                    urls.insert(media, url.clone());
                    Ok(url)
                }
                Err(reason) => Err(self.failed(reason)),
            },
            Ok(Err(CallError::Rejected(rejection))) => {
                self.count("rejected");
                Err(ProviderError::Rejected(rejection))
            }
            Ok(Err(CallError::BadConfig(reason) | CallError::Fault(reason))) => Err(self.failed(reason)),
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
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            status.faults.retain(|fault| now.duration_since(*fault) < FAULT_WINDOW);
            status.faults.push(now);
            status.faults.len() >= MAX_FAULTS
        };
        if is_too_often {
            let secs = FAULT_WINDOW.as_secs();
            return self.disable(State::Faulted, format!("{MAX_FAULTS} faults in {secs} s, the last one: {reason}"));
        }
        ProviderError::Failed { id: self.id.clone(), reason }
    }

    fn disable(&self, state: State, reason: String) -> ProviderError {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.state == State::Ready {
            error!(provider.id = %self.id, state = state.as_str(), "provider disabled: {reason}");
            status.state = state;
            status.reason = Some(reason.clone());
        }
        ProviderError::NotReady { id: self.id.clone(), reason }
    }

    fn count(&self, outcome: &'static str) {
        let labels = ProviderCall { provider: self.id.clone(), outcome };
        self.metrics.provider_calls.get_or_create(&labels).inc();
    }
}

/// What the provider says is wrong, and what the contract adds about fields the provider did not mention.
fn both(rejection: &Rejection, shape: &Rejection) -> Rejection {
    let problems = rejection.problems();
    let is_new = |problem: &&Problem| problems.iter().all(|known| known.field != problem.field);
    let all = problems.iter().chain(shape.problems().iter().filter(is_new));
    all.map(|problem| (problem.field, problem.kind, problem.message.clone())).collect()
}
