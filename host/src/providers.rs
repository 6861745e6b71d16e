//! Providers: which there are, what they can do, and the URL of an identity. The only door to plugins.
//!
//! Floors, each of which uses only those below it: this door, with what it opens on (`provider`, `links`) and what exchanges
//! that (`reload`, `watch`); `authoring`, an author's tools; `loading`, from a file to a provider; `running`, calls and where they
//! are made; and the words they share (`description`, `assets`, `output`, `published`).

mod assets;
#[cfg(unix)]
pub mod authoring;
mod description;
mod links;
mod loading;
mod output;
mod provider;
mod published;
mod reload;
mod running;
mod watch;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
#[cfg(unix)]
use std::{collections::HashSet, fs::File};

use anyhow::Context;
use foldhash::quality::RandomState;
use indexmap::IndexMap;
use streamit_plugin_api::{Capabilities, Manifest, Media, PlaybackSource};
use tracing::{Instrument, debug_span};

#[cfg(unix)]
pub use self::running::child::COMMAND as CHILD_COMMAND;
pub use self::{
    assets::{Asset, Assets},
    description::{Description, ProviderError, Status},
    links::{Match, Understood},
    loading::stop_loading,
    provider::Provider,
    reload::{Change, Changed, Reloaded, Reloader},
    watch::watch,
};
use self::{
    loading::{Loaded, Loader, NotLoaded, Origin},
    running::library,
};
use crate::{
    config::Config,
    rooms::Source,
    telemetry::{Metrics, OfProvider},
};

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

/// What a page's Content-Security-Policy has to allow for the sake of providers.
#[derive(Debug, Default)]
pub struct Needs {
    /// Where players come from.
    pub players: BTreeSet<String>,
    /// Where bridges fetch from.
    pub connections: BTreeSet<String>,
    /// Whether a bridge starts workers from texts of its own.
    pub workers: bool,
    /// Whether a provider brings WebAssembly.
    pub wasm: bool,
}

type Table = IndexMap<String, Arc<Provider>, RandomState>;

/// What is to take a provider's place, by its id.
type Next = (String, Option<Arc<Provider>>);

impl Providers {
    /// Loads every provider the configuration names. Blocks: plugins run. `program` is this program, to be started for
    /// plugins that need a process of their own.
    pub fn load(config: &Config, program: PathBuf, metrics: &Arc<Metrics>) -> anyhow::Result<Providers> {
        #[cfg(unix)]
        let stay = loading::Stay::begin(&config.state_dir);
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
    fn load_all(&self, config: &Config) -> Vec<Next> {
        let (present, providers) = (self.list(), config.providers.iter().collect::<Vec<_>>());
        side_by_side(&providers, |&(id, settings)| {
            let present = present.get(id);
            // One that fails is given another chance.
            let serving = present.filter(|provider| provider.is_ready()).map(|provider| &provider.origin);
            let loaded = self.0.loader.load(id, settings, config, serving, &assets_of(present));
            (id.clone(), loaded.map(|(origin, loaded)| self.next(id, present, origin, loaded)))
        })
    }

    /// The next generation of each that was late, from the file as it was read then.
    fn load_again(&self, late: &[Arc<Provider>], config: &Config) -> Vec<Next> {
        let present = self.list();
        side_by_side(late, |late| {
            let Provider { id, origin, .. } = &**late;
            let (present, file) = (present.get(id), late.late.as_deref().unwrap_or_default());
            let loaded = self.0.loader.load_read(id, file, origin, &config.state_dir, &assets_of(present));
            (id.clone(), Some(self.next(id, present, origin.clone(), loaded)))
        })
    }

    fn next(
        &self,
        id: &str,
        present: Option<&Arc<Provider>>,
        origin: Origin,
        loaded: Result<Loaded, NotLoaded>,
    ) -> Arc<Provider> {
        let generation = present.map_or(0, |provider| provider.generation) + 1;
        Arc::new(Provider::new(id, generation, origin, loaded, self.0.metrics.clone()))
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

    /// What its player can be told to do. Of one that is not there or not ready nobody knows: then anything may be tried.
    /// At each order of a host's, so the usual answer takes neither a copy nor another lock.
    pub fn abilities(&self, id: &str) -> Capabilities {
        const ALL: Capabilities = Capabilities { seek: true, pause: true, resume: true, autoplay: true };
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        let Some(provider) = table.get(id) else { return ALL };
        let able = provider.description().map_or(ALL, |description| description.manifest.capabilities);
        if able == ALL || provider.is_ready() { able } else { ALL }
    }

    /// Whether its URLs are for those who are in a room that plays them.
    pub fn is_private(&self, id: &str) -> bool {
        let provider = self.get(id);
        provider.is_some_and(|provider| provider.description().is_some_and(|known| known.manifest.private))
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

    /// What a page needs leave for, of the providers in use.
    pub fn needs(&self) -> Needs {
        let providers = self.list();
        let mut needs = Needs::default();
        for provider in providers.values().filter(|provider| provider.is_loaded()) {
            let players = provider.destinations.iter().chain(&provider.redirects);
            needs.players.extend(players.map(|place| place.as_source().to_owned()));
            needs.connections.extend(provider.published.connect_origins.iter().cloned());
            if let Some(description) = provider.description() {
                needs.workers |= description.manifest.player.worker;
                needs.wasm |= description.assets.own().iter().any(|asset| asset.name.ends_with(".wasm"));
            }
        }
        needs
    }
}

/// What is served of a provider so far.
fn assets_of(present: Option<&Arc<Provider>>) -> Assets {
    present.and_then(|provider| provider.description()).map(|known| known.assets.clone()).unwrap_or_default()
}

/// Does the same with each, several at a time.
fn side_by_side<T: Sync, R: Send + Sync>(all: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<_> = all.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        for _ in 0..LOADED_AT_ONCE.min(all.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(one), Some(result)) = (all.get(n), results.get(n)) else { return };
                    result.get_or_init(|| run(one));
                }
            });
        }
    });
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// Ends this process, whatever its plugins are doing.
pub fn end() -> ! {
    stop_loading();
    #[cfg(unix)]
    running::crash::end();
    #[cfg(not(unix))]
    std::process::exit(0)
}

/// This program as a plugin's child: answers until its parent is gone.
#[cfg(unix)]
pub fn serve() -> std::process::ExitCode {
    running::serve::serve(authoring::check::run)
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

/// What the library of a provider says about it, if there is one that can be read. Runs nothing of it.
pub fn manifest(id: &str, config: &Config) -> Option<Manifest> {
    let settings = config.providers.get(id)?;
    let bytes = loading::read(&loading::library_path(id, settings, &config.plugins)).ok()?;
    Some(loading::preflight(&bytes).ok()?.manifest)
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
