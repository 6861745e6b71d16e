//! From a name in TOML to a provider that answers: each step refuses with a reason of its own.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    Description, Status, copies,
    library::{self, Library},
    output::{self, Destination},
    preflight::preflight,
    prepare::{Prepare, prepare},
    worker::{self, Backend, Terms, Worker},
};
#[cfg(unix)]
use super::{
    child::Child,
    crash::{Blame, LoaderWatch, Mark},
    isolated::Isolated,
};
use crate::{
    config::{self, Isolation},
    rooms::hex,
};

/// No real plugin is larger; a file that is would only cost memory.
const MAX_LIBRARY_BYTES: u64 = 64 * 1024 * 1024;

/// Loading, configuring and the golden examples together.
const PREPARE_DEADLINE: Duration = Duration::from_secs(2);

/// Different libraries of one provider that a process maps in its life: it never unmaps any.
const MAX_LIBRARIES: usize = 32;

/// What helps against whatever a process cannot get rid of.
pub(super) const REMEDY: &str = "restart the host, or give the provider isolation = \"process\"";

/// A provider that passed every step.
pub(super) struct Loaded {
    pub(super) description: Arc<Description>,
    pub(super) destinations: Vec<Destination>,
    pub(super) worker: Worker,
    /// As it is, which may be more than was asked for.
    pub(super) isolation: Isolation,
}

/// Why a provider does not answer: its state, the reason, and whatever its file said about itself.
pub(super) struct NotLoaded {
    pub(super) state: Status,
    pub(super) reason: String,
    pub(super) description: Option<Arc<Description>>,
    /// There is no file at all.
    pub(super) is_missing: bool,
}

/// What a load is made from: the same again gives the same again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Origin {
    pub(super) settings: config::Provider,
    pub(super) path: PathBuf,
    /// Empty if the file could not be read.
    pub(super) sha256: String,
}

/// Loads providers for one process.
pub(super) struct Loader {
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
    pub(super) fn new(program: PathBuf, is_serving: bool) -> Self {
        Loader { program, is_serving, residue: Arc::default() }
    }

    /// Loads the provider `id`; nothing if that would only repeat `present`.
    pub(super) fn load(
        &self,
        id: &str,
        settings: &config::Provider,
        plugins: &config::Plugins,
        state_dir: &Path,
        present: Option<&Origin>,
    ) -> Option<(Origin, Result<Loaded, NotLoaded>)> {
        let path = library_path(id, settings, plugins);
        let mut origin = Origin { settings: settings.clone(), path: path.clone(), sha256: String::new() };
        if !settings.enabled {
            let reason = "turned off by `enabled = false`".to_owned();
            let off = NotLoaded { state: Status::Disabled, reason, description: None, is_missing: false };
            return Some((origin, Err(off)));
        }
        let refused = |(reason, is_missing): (String, bool)| NotLoaded {
            state: Status::Refused,
            reason: format!("{}: {reason}", path.display()),
            description: None,
            is_missing,
        };
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Some((origin, Err(refused(error)))),
        };
        origin.sha256 = hex(&Sha256::digest(&bytes));
        if present == Some(&origin) {
            return None;
        }
        let loaded = self.load_bytes(id, &bytes, &origin, state_dir);
        let loaded = loaded.map_err(|mut not_loaded| {
            not_loaded.reason = format!("{}: {}", path.display(), not_loaded.reason);
            not_loaded
        });
        Some((origin, loaded))
    }

    fn load_bytes(&self, id: &str, bytes: &[u8], origin: &Origin, state_dir: &Path) -> Result<Loaded, NotLoaded> {
        let Origin { settings, sha256, .. } = origin;
        let refused =
            |reason: String| NotLoaded { state: Status::Refused, reason, description: None, is_missing: false };
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
        let description = Arc::new(Description::new(preflight, sha256.clone()));
        let not_loaded = |state, reason: String| NotLoaded {
            state,
            reason,
            description: Some(description.clone()),
            is_missing: false,
        };
        let refused = |reason| not_loaded(Status::Refused, reason);
        let destinations = output::destinations(&description.manifest, &settings.config).map_err(refused)?;
        let library = copies::private_copy(bytes, sha256, state_dir).map_err(refused)?;
        let marker = Marker::of(&library);
        let isolation = isolation(id, settings, &library);
        if isolation == Isolation::None && marker.is_left_over() {
            return Err(not_loaded(Status::Quarantined, marker.reason()));
        }
        let manifest = (*description.manifest).clone();
        let what = Prepare { library, manifest, config: settings.config.clone(), destinations: destinations.clone() };
        self.probe(&what).map_err(refused)?;
        let worker = self.start(what, origin, isolation, marker).map_err(refused)?;
        Ok(Loaded { description, destinations, worker, isolation })
    }

    /// Whether the plugin gets through its preparation in a process of its own: the last step before it runs in this one.
    #[cfg(unix)]
    fn probe(&self, what: &Prepare) -> Result<(), String> {
        let id = &what.manifest.id;
        let log = library::to_log(id);
        let mut child = Child::start(&self.program, id).map_err(|ended| ended.to_string())?;
        child.prepare(what, PREPARE_DEADLINE, &log).map_err(|ended| ended.to_string())??;
        child.destroy(PREPARE_DEADLINE, &log).map_err(|ended| ended.to_string())?;
        let printed = child.end();
        if !printed.is_empty() {
            tracing::warn!(provider.id = %id, "it prints, where only the host should: {printed}");
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn probe(&self, _: &Prepare) -> Result<(), String> {
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
                Worker::start(terms, PREPARE_DEADLINE, move || {
                    let _turn = turn();
                    let _marked = marker.set()?;
                    #[cfg(unix)]
                    if let Some(blame) = Blame::new(&id, &marker.0) {
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

/// How long a plugin waits while another is being loaded; one that hangs there must not keep all others out.
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
            Err(TryLockError::WouldBlock) if waited.elapsed() > TURN_PATIENCE => return None,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Waits, but not for ever, until no plugin is being loaded, and lets none begin: a process that ends now ends in nobody's
/// constructor.
pub fn stop_loading() {
    let since = Instant::now();
    while since.elapsed() < PREPARE_DEADLINE {
        if let Some(turn) = turn() {
            return std::mem::forget(turn);
        }
    }
}

/// A file that exists while a library is being loaded into this process: if the process does not survive that, the next
/// start finds it.
struct Marker(PathBuf);

/// The marker's file, locked as long as the load takes, so that another process with the same folder can tell.
struct Marked {
    path: PathBuf,
    _lock: Option<File>,
}

impl Marker {
    fn of(copy: &Path) -> Self {
        Marker(copy.with_extension("loading"))
    }

    fn is_left_over(&self) -> bool {
        // Whoever is loading it right now holds the lock.
        File::open(&self.0).is_ok_and(|file| file.try_lock().is_ok())
    }

    fn reason(&self) -> String {
        // Where the folder lies says nothing to whoever reads the reason.
        let name = self.0.file_name().unwrap_or_default().display();
        format!(
            "the host did not survive loading it last time; replace it, give it isolation = \"process\", or delete \
             plugins/{name} in the folder `state_dir` to try once more"
        )
    }

    fn set(&self) -> Result<Marked, String> {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", self.0.display());
        let lock = match File::create_new(&self.0) {
            Ok(file) => {
                file.try_lock().map_err(|error| failed(error.into()))?;
                Some(file)
            }
            // Another process has this folder too, and is loading the same.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(Marked { path: self.0.clone(), _lock: lock })
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        if self._lock.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) fn library_path(id: &str, settings: &config::Provider, plugins: &config::Plugins) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let default = || format!("{DLL_PREFIX}{}{DLL_SUFFIX}", id.replace('-', "_"));
    plugins.dir.join(settings.library.clone().unwrap_or_else(default))
}

/// The file's bytes, read once. Every later step uses these and not the file. An error says whether there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, (String, bool)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // NONBLOCK: opening a pipe would wait for its writer.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(|error| match error {
        error if error.kind() == ErrorKind::NotFound => {
            ("no such file; copy the provider's library there, or name it with `library`".to_owned(), true)
        }
        #[cfg(unix)]
        error if error.raw_os_error() == Some(libc::ELOOP) => {
            ("a symbolic link; put the library itself there".to_owned(), false)
        }
        error => (format!("cannot open it: {error}"), false),
    })?;
    read_open(file, path).map_err(|reason| (reason, false))
}

fn read_open(file: File, path: &Path) -> Result<Vec<u8>, String> {
    let metadata = file.metadata().map_err(|error| format!("cannot read its metadata: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > MAX_LIBRARY_BYTES {
        return Err(format!("it has {} bytes; a plugin has at most {MAX_LIBRARY_BYTES}", metadata.len()));
    }
    only_the_owner_writes(&metadata, path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_LIBRARY_BYTES).read_to_end(&mut bytes).map_err(|error| format!("cannot read it: {error}"))?;
    Ok(bytes)
}

#[cfg(unix)]
fn only_the_owner_writes(file: &fs::Metadata, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    if file.mode() & OTHERS_WRITE != 0 {
        return Err("anybody may write to it; `chmod o-w` it".into());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let metadata = fs::metadata(folder).map_err(|error| format!("cannot read its folder's metadata: {error}"))?;
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(format!("anybody may write to its folder {}; `chmod o-w` it", folder.display()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_the_owner_writes(_: &fs::Metadata, _: &Path) -> Result<(), String> {
    Ok(())
}
