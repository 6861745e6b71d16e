//! Loading: from a name in TOML to a provider that answers. Each step refuses with a reason of its own.

mod copies;
mod file;
mod marker;
mod preflight;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use streamit_plugin_api::links::Links;

use self::marker::Marker;
pub(super) use self::{
    copies::Stay,
    file::{library_path, read},
    preflight::{Preflight, foreign_exports, preflight},
};
#[cfg(unix)]
use super::running::{
    child::{Child, Ended},
    crash::{Blame, LoaderWatch, Mark},
    isolated::Isolated,
};
use super::{
    assets::Assets,
    description::{Description, Status},
    output::{self, Destination},
    published::Published,
    running::{
        library::{self, Library},
        prepare::{Prepare, prepare},
        worker::{self, Backend, REMEDY, Terms, Worker},
    },
};
use crate::{
    config::{self, Config, Isolation},
    rooms::hex,
};

/// Loading, configuring and the golden examples together.
const PREPARE_DEADLINE: Duration = Duration::from_secs(2);

/// The same in this process, one provider after the other. What came here has been through it once: if it takes longer now,
/// the machine has no time.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Different libraries of one provider that a process maps in its life: it never unmaps any.
const MAX_LIBRARIES: usize = 32;

/// A provider that passed every step.
pub(crate) struct Loaded {
    pub(crate) description: Arc<Description>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) redirects: Vec<Destination>,
    pub(crate) published: Published,
    pub(crate) worker: Worker,
    /// As it is, which may be more than was asked for.
    pub(crate) isolation: Isolation,
}

/// Why a provider does not answer: its state, the reason, and whatever its file said about itself.
pub(crate) struct NotLoaded {
    pub(crate) state: Status,
    pub(crate) reason: String,
    pub(crate) description: Option<Arc<Description>>,
    /// There is no file at all.
    pub(crate) is_missing: bool,
    /// The file as it was read, if it was late, or nothing was left for it: a machine that has time again may well load it.
    pub(crate) late: Option<Arc<[u8]>>,
}

impl NotLoaded {
    fn new(state: Status, reason: String) -> Self {
        NotLoaded { state, reason, description: None, is_missing: false, late: None }
    }

    fn refused(reason: String) -> Self {
        NotLoaded::new(Status::Refused, reason)
    }
}

/// Why a plugin that was tried did not get through, and whether that may pass.
struct Failure {
    reason: String,
    may_pass: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure { reason, may_pass: false }
    }
}

#[cfg(unix)]
impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Failure { reason: ended.to_string(), may_pass: ended.may_pass() }
    }
}

/// What a load is made from: the same again gives the same again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    pub(crate) settings: config::Provider,
    pub(crate) path: PathBuf,
    /// Empty if the file could not be read.
    pub(crate) sha256: String,
}

/// Loads providers for one process.
pub(crate) struct Loader {
    /// This program, to be started as a plugin's child.
    program: PathBuf,
    /// Whether providers are to serve. Otherwise the probe's word is enough, and no plugin's code runs in this process.
    is_serving: bool,
    residue: Arc<Residue>,
}

/// What this process cannot get rid of any more, by provider.
#[derive(Default)]
struct Residue(Mutex<HashMap<String, Remains>>);

#[derive(Default)]
struct Remains {
    /// Its libraries that are mapped, by content.
    libraries: HashMap<String, Arc<Library>>,
    /// Over all its generations.
    lost_threads: Arc<AtomicUsize>,
}

impl Residue {
    fn of<T>(&self, id: &str, look: impl FnOnce(&mut Remains) -> T) -> T {
        look(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default())
    }

    fn open(&self, id: &str, sha256: &str, path: &Path) -> Result<Arc<Library>, String> {
        let (known, versions, lost) = self.of(id, |remains| {
            let lost = remains.lost_threads.load(Ordering::Relaxed);
            (remains.libraries.get(sha256).cloned(), remains.libraries.len(), lost)
        });
        if let Some(reason) = worker::spent(lost) {
            return Err(reason);
        }
        if let Some(library) = known {
            return Ok(library);
        }
        if versions >= MAX_LIBRARIES {
            return Err(format!(
                "{versions} versions of it are in this process already, which can unload none; {REMEDY}"
            ));
        }
        #[cfg(unix)]
        let _watched = LoaderWatch::start(id).map_err(|error| format!("no thread for it: {error}"))?;
        let library = Arc::new(Library::open(path, Some(library::to_log(id)))?);
        self.of(id, |remains| remains.libraries.insert(sha256.to_owned(), library.clone()));
        Ok(library)
    }
}

impl Loader {
    pub(crate) fn new(program: PathBuf, is_serving: bool) -> Self {
        Loader { program, is_serving, residue: Arc::default() }
    }

    /// Loads the provider `id`; nothing if that would only repeat `present`. `before` is what was served of it so far.
    pub(crate) fn load(
        &self,
        id: &str,
        settings: &config::Provider,
        config: &Config,
        present: Option<&Origin>,
        before: &Assets,
    ) -> Option<(Origin, Result<Loaded, NotLoaded>)> {
        let path = library_path(id, settings, &config.plugins);
        let mut origin = Origin { settings: settings.clone(), path: path.clone(), sha256: String::new() };
        if !settings.enabled {
            let reason = "turned off by `enabled = false`".to_owned();
            return Some((origin, Err(NotLoaded::new(Status::Disabled, reason))));
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err((reason, is_missing)) => {
                return Some((origin, Err(NotLoaded { is_missing, ..NotLoaded::refused(reason) })));
            }
        };
        origin.sha256 = hex(&Sha256::digest(&bytes));
        if present == Some(&origin) {
            return None;
        }
        let loaded = self.load_read(id, &bytes, &origin, &config.state_dir, before);
        Some((origin, loaded))
    }

    /// Loads the provider `id` from its file as it was read.
    pub(crate) fn load_read(
        &self,
        id: &str,
        bytes: &[u8],
        origin: &Origin,
        state_dir: &Path,
        before: &Assets,
    ) -> Result<Loaded, NotLoaded> {
        let Origin { settings, sha256, .. } = origin;
        let refused = NotLoaded::refused;
        if let Some(pin) = &settings.sha256
            && pin != sha256
        {
            return Err(refused(format!("its SHA-256 is {sha256}, the configuration pins {pin}")));
        }
        let preflight = preflight(bytes).map_err(refused)?;
        if preflight.manifest.id != id {
            let named = &preflight.manifest.id;
            return Err(refused(format!("it is the provider `{named}`; name it [providers.{named}]")));
        }
        let before = self.is_serving.then_some(before);
        let description = Arc::new(describe(preflight, sha256.clone(), before));
        let known = Some(description.clone());
        let not_loaded = |state, reason| NotLoaded { description: known.clone(), ..NotLoaded::new(state, reason) };
        let refused = |reason| not_loaded(Status::Refused, reason);
        let allow_http = settings.allow_http;
        let destinations =
            output::destinations(&description.manifest, &settings.config, allow_http).map_err(refused)?;
        let redirects = output::redirects(&description.manifest, &settings.config, allow_http).map_err(refused)?;
        let published = Published::new(&description.manifest, &settings.config, allow_http).map_err(refused)?;
        Links::new(&description.manifest.links, &settings.config).map_err(refused)?;
        let library = copies::private_copy(bytes, sha256, state_dir).map_err(refused)?;
        let marker = Marker::of(&library);
        let isolation = isolation(id, settings, &library);
        if isolation == Isolation::None && marker.is_left_over() {
            return Err(not_loaded(Status::Quarantined, marker.reason()));
        }
        let manifest = (*description.manifest).clone();
        let what = Prepare { library, manifest, config: settings.config.clone(), destinations: destinations.clone() };
        self.probe(&what).map_err(|Failure { reason, may_pass }| {
            let late = may_pass.then(|| bytes.into());
            NotLoaded { late, ..refused(reason) }
        })?;
        let worker = self.start(what, origin, isolation, marker).map_err(refused)?;
        Ok(Loaded { description, destinations, redirects, published, worker, isolation })
    }

    /// Whether the plugin gets through its preparation in a process of its own: the last step before it runs in this one.
    #[cfg(unix)]
    fn probe(&self, what: &Prepare) -> Result<(), Failure> {
        let id = &what.manifest.id;
        let log = library::to_log(id);
        let mut child = Child::start(&self.program, id)?;
        child.prepare(what, PREPARE_DEADLINE, &log)??;
        child.destroy(PREPARE_DEADLINE, &log)?;
        let printed = child.end();
        if !printed.is_empty() {
            tracing::warn!(provider.id = %id, "it prints, where only the host should: {printed}");
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn probe(&self, _: &Prepare) -> Result<(), Failure> {
        Ok(())
    }

    /// Gives the provider a thread, and on it the plugin or the plugin's own process.
    fn start(&self, what: Prepare, origin: &Origin, isolation: Isolation, marker: Marker) -> Result<Worker, String> {
        let id = what.manifest.id.clone();
        let deadline = Duration::from_millis(origin.settings.call_timeout_ms);
        let mut terms = Terms {
            name: id.clone(),
            deadline: None,
            lost_threads: self.residue.of(&id, |remains| remains.lost_threads.clone()),
            #[cfg(unix)]
            blame: None,
        };
        match isolation {
            _ if !self.is_serving => Worker::start(terms, PREPARE_DEADLINE, || Ok(Backend::Nobody)),
            Isolation::None => {
                terms.deadline = Some(deadline);
                #[cfg(unix)]
                {
                    terms.blame = Blame::new(&id, Mark::of(&what.library).path());
                }
                let (residue, sha256) = (self.residue.clone(), origin.sha256.clone());
                Worker::start(terms, START_DEADLINE, move || {
                    let _turn = turn();
                    let _marked = marker.set()?;
                    #[cfg(unix)]
                    if let Some(blame) = Blame::new(&id, marker.path()) {
                        blame.watch();
                    }
                    let open = || residue.open(&id, &sha256, &what.library);
                    prepare(&what, open, |_| {}).map(|instance| Backend::Here(Arc::new(instance)))
                })
            }
            // The child's own deadline is the one that counts: this thread outlives it.
            #[cfg(unix)]
            Isolation::Process => {
                let log = library::to_log(&id);
                let apart = Isolated::new(self.program.clone(), what, deadline, PREPARE_DEADLINE, log);
                Worker::start(terms, PREPARE_DEADLINE, move || Ok(Backend::Apart(Box::new(apart))))
            }
            #[cfg(not(unix))]
            Isolation::Process => Err("isolation = \"process\" is not available on this system".into()),
        }
    }
}

/// What a file says about itself. Its assets are made ready for pages if any are to be served, after those `before`.
fn describe(preflight: Preflight, sha256: String, before: Option<&Assets>) -> Description {
    let Preflight { manifest, bridge, assets, version, toolchain, .. } = preflight;
    let bridge_hash = hex(&Sha256::digest(&bridge)[..16]);
    let mut assets = Assets::new(assets);
    if let Some(before) = before {
        assets = assets.after(before);
    }
    Description { manifest: Arc::new(manifest), version, toolchain, sha256, bridge: bridge.into(), bridge_hash, assets }
}

/// As configured; but what took the host with it has a process of its own from then on.
#[cfg(unix)]
fn isolation(id: &str, settings: &config::Provider, library: &Path) -> Isolation {
    let mark = Mark::of(library);
    if settings.isolation == Isolation::None && mark.is_there() {
        tracing::warn!(
            provider.id = %id,
            "the host died in its code, so it gets a process of its own; replace it, set isolation = \"process\", or delete \
             plugins/{} in the folder `state_dir` to trust it again",
            mark.name()
        );
        return Isolation::Process;
    }
    settings.isolation
}

#[cfg(not(unix))]
fn isolation(_: &str, settings: &config::Provider, _: &Path) -> Isolation {
    settings.isolation
}

/// How long a plugin waits while another is being loaded; one that hangs there must not keep all others out. One that hangs
/// in the loader does, until the process ends: whoever went there as well would be found marked, too.
const TURN_PATIENCE: Duration = Duration::from_secs(1);

/// One plugin after the other: if the process does not survive a load, only that one was being loaded, and only it is
/// found marked at the next start.
fn turn() -> Option<MutexGuard<'static, ()>> {
    static LOADING: Mutex<()> = Mutex::new(());
    let waited = Instant::now();
    loop {
        match LOADING.try_lock() {
            Ok(turn) => return Some(turn),
            Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) if waited.elapsed() > TURN_PATIENCE && !is_in_the_loader() => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(unix)]
fn is_in_the_loader() -> bool {
    LoaderWatch::is_on()
}

#[cfg(not(unix))]
fn is_in_the_loader() -> bool {
    false
}

/// Lets no plugin's load begin, and blames none that is under way: this process ends because somebody wants it to.
pub fn stop_loading() {
    marker::blame_nobody();
}
