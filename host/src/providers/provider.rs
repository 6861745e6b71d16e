//! One provider, as it was loaded: who is asked, what it answered, and what is thought of it.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use streamit_plugin_api::{Media, Problem, Rejection, links::Links};
use tracing::{info, warn};

use super::{
    description::{Asked, Description, ProviderError, Status},
    loading::{Loaded, NotLoaded, Origin},
    output::{self, Destination},
    published::Published,
    running::{
        breaker::{Breaker, Resting},
        library::CallError,
        worker::Worker,
    },
};
use crate::{
    config::{Isolation, without_passwords},
    telemetry::{Metrics, ProviderCall},
};

/// URLs kept per provider, and as many again of those before. A server has fewer different things playing at once.
const CACHED_URLS: usize = 4096;

/// One generation of a provider, ready or not. A reload makes a new one; this one ends after its last call.
pub struct Provider {
    pub id: String,
    /// 1 for the first since the process started.
    pub generation: u64,
    pub(super) origin: Origin,
    pub(super) is_missing: bool,
    /// Its file as it was read, if it was late, and may be in time another time.
    pub(super) late: Option<Arc<[u8]>>,
    description: Option<Arc<Description>>,
    pub(super) destinations: Vec<Destination>,
    /// Where those lead on to.
    pub(super) redirects: Vec<Destination>,
    /// What pages learn of its configuration.
    pub(crate) published: Published,
    /// Which addresses are its own.
    pub(super) links: Links,
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

impl Provider {
    pub(super) fn new(
        id: &str,
        generation: u64,
        origin: Origin,
        loaded: Result<Loaded, NotLoaded>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let is_missing = matches!(loaded, Err(NotLoaded { is_missing: true, .. }));
        let late = loaded.as_ref().err().and_then(|not_loaded| not_loaded.late.clone());
        let isolation = origin.settings.isolation;
        let (description, destinations, redirects, published, loaded, isolation) = match loaded {
            Ok(Loaded { description, destinations, redirects, published, worker, isolation }) => {
                (Some(description), destinations, redirects, published, Ok(worker), isolation)
            }
            Err(NotLoaded { state, reason, description, .. }) => {
                let reason = match state {
                    // Nobody has looked at its file.
                    Status::Disabled => reason,
                    _ => without_passwords(&format!("{}: {reason}", origin.path.display())),
                };
                (description, Vec::new(), Vec::new(), Published::default(), Err((state, reason)), isolation)
            }
        };
        // Where the configuration is wrong it was refused, with the reason.
        let links = description.as_ref().and_then(|d| Links::new(&d.manifest.links, &origin.settings.config).ok());
        Provider {
            id: id.into(),
            generation,
            origin,
            is_missing,
            late,
            description,
            destinations,
            redirects,
            published,
            links: links.unwrap_or_default(),
            loaded,
            isolation,
            breaker: Mutex::default(),
            urls: Mutex::default(),
            metrics,
        }
    }

    /// Says in the log what came of loading it.
    pub(super) fn announce(&self) {
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

    /// What people read.
    pub(super) fn name(&self) -> String {
        self.description().map_or(&self.id, |description| &description.manifest.name).clone()
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
    pub(super) fn is_loaded(&self) -> bool {
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
    pub(super) fn known_url(&self, media: &Media<'_>) -> Option<Arc<str>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).get(media)
    }

    fn remember(&self, media: Media<'static>, url: Arc<str>) {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).insert(media, url);
    }

    pub(super) async fn embed_url(&self, media: Media<'static>) -> Result<Arc<str>, ProviderError> {
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
                Err(error) => return Err(self.failed(&example, &error.to_string())),
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
            Err(CallError::BadConfig(reason) | CallError::Fault(reason)) => Err(self.failed(media, &reason)),
        }
    }

    fn failed(&self, media: &Media<'static>, reason: &str) -> ProviderError {
        self.count("fault");
        let reason = without_passwords(reason);
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

/// What the provider says is wrong, and what the contract adds about fields the provider did not mention.
fn both(rejection: &Rejection, shape: &Rejection) -> Rejection {
    let problems = rejection.problems();
    let is_new = |problem: &&Problem| problems.iter().all(|known| known.field != problem.field);
    let all = problems.iter().chain(shape.problems().iter().filter(is_new));
    all.map(|problem| (problem.field, problem.kind, problem.message.clone())).collect()
}
