//! From a name in TOML to a provider that answers: each step refuses with a reason of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use streamit_plugin_api::{
    Manifest,
    manifest::{Example, Reject},
};

use super::{
    Description, State,
    library::{CallError, Instance, Library},
    output::{self, Place},
    preflight::preflight,
    worker::{StartError, Worker},
};
use crate::{config, rooms::hex};

/// No real plugin is larger; a file that is would only cost memory.
const MAX_LIBRARY_BYTES: u64 = 64 * 1024 * 1024;

/// Loading, configuring and the golden examples together.
const PREPARE_DEADLINE: Duration = Duration::from_secs(2);

/// A provider that passed every step.
pub(super) struct Loaded {
    pub(super) description: Arc<Description>,
    pub(super) places: Vec<Place>,
    pub(super) worker: Worker,
}

/// Why a provider does not answer: its state, the reason, and whatever its file said about itself.
pub(super) struct NotLoaded {
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) description: Option<Arc<Description>>,
}

/// Loads the provider `id`.
pub(super) fn load(
    id: &str,
    settings: &config::Provider,
    plugins: &config::Plugins,
    state_dir: &Path,
) -> Result<Loaded, NotLoaded> {
    let path = library_path(id, settings, plugins);
    let refused = |reason: String| NotLoaded {
        state: State::Refused,
        reason: format!("{}: {reason}", path.display()),
        description: None,
    };
    if !settings.enabled {
        let reason = "turned off by `enabled = false`".to_owned();
        return Err(NotLoaded { state: State::Disabled, reason, description: None });
    }
    let bytes = read(&path).map_err(refused)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    if let Some(pin) = &settings.sha256
        && *pin != sha256
    {
        return Err(refused(format!("its SHA-256 is {sha256}, the configuration pins {pin}")));
    }
    let preflight = preflight(&bytes).map_err(refused)?;
    if preflight.manifest.id != id {
        let named = &preflight.manifest.id;
        return Err(refused(format!("it is the provider `{named}`; name it [providers.{named}]")));
    }
    let description = Arc::new(Description::new(preflight, sha256));
    let with_description = |state, reason: String| NotLoaded {
        state,
        reason: format!("{}: {reason}", path.display()),
        description: Some(description.clone()),
    };
    let refused = |reason| with_description(State::Refused, reason);
    let places = output::places(&description.manifest, &settings.config).map_err(refused)?;
    let copy = private_copy(&bytes, &description.sha256, state_dir).map_err(refused)?;

    let deadline = Duration::from_millis(settings.call_timeout_ms);
    let (manifest, config) = (description.manifest.clone(), settings.config.clone());
    let prepare_places = places.clone();
    let prepare = move || prepare(&copy, &manifest, &config, &prepare_places);
    match Worker::start(id, deadline, PREPARE_DEADLINE, prepare) {
        Ok(worker) => Ok(Loaded { description, places, worker }),
        Err(StartError::Refused(reason)) => Err(refused(reason)),
        Err(StartError::Hung) => {
            let secs = PREPARE_DEADLINE.as_secs();
            Err(with_description(State::Hung, format!("loading it did not end within {secs} s")))
        }
    }
}

fn library_path(id: &str, settings: &config::Provider, plugins: &config::Plugins) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let default = || format!("{DLL_PREFIX}{}{DLL_SUFFIX}", id.replace('-', "_"));
    plugins.dir.join(settings.library.clone().unwrap_or_else(default))
}

/// The file's bytes, read once. Every later step uses these and not the file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // NONBLOCK: opening a pipe would wait for its writer.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(|error| match error {
        error if error.kind() == std::io::ErrorKind::NotFound => {
            "no such file; copy the provider's library there, or name it with `library`".to_owned()
        }
        #[cfg(unix)]
        error if error.raw_os_error() == Some(libc::ELOOP) => {
            "a symbolic link; put the library itself there".to_owned()
        }
        error => format!("cannot open it: {error}"),
    })?;
    let metadata = file.metadata().map_err(|error| format!("cannot read its metadata: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > MAX_LIBRARY_BYTES {
        return Err(format!("it has {} bytes; a plugin has at most {MAX_LIBRARY_BYTES}", metadata.len()));
    }
    only_the_owner_writes(&file, path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_LIBRARY_BYTES).read_to_end(&mut bytes).map_err(|error| format!("cannot read it: {error}"))?;
    Ok(bytes)
}

#[cfg(unix)]
fn only_the_owner_writes(file: &File, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let metadata = file.metadata().map_err(|error| format!("cannot read its metadata: {error}"))?;
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err("anybody may write to it; `chmod o-w` it".into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let metadata = fs::metadata(folder).map_err(|error| format!("cannot read its folder's metadata: {error}"))?;
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(format!("anybody may write to its folder {}; `chmod o-w` it", folder.display()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_the_owner_writes(_: &File, _: &Path) -> Result<(), String> {
    Ok(())
}

/// What gets loaded: a copy nobody else writes to, named by its content. Replacing the original cannot pull a mapped
/// library away from under the process, and the loader cannot mistake a new version for the old one.
fn private_copy(bytes: &[u8], sha256: &str, state_dir: &Path) -> Result<PathBuf, String> {
    let folder = state_dir.join("plugins");
    let failed = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(|error| failed("create", error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&folder, private).map_err(|error| failed("protect", error))?;
    }
    // Absolute, so that the loader never searches its own folders.
    let folder = folder.canonicalize().map_err(|error| failed("find", error))?;
    let path = folder.join(format!("{sha256}.{}", std::env::consts::DLL_EXTENSION));
    if fs::read(&path).is_ok_and(|existing| existing == bytes) {
        return Ok(path);
    }
    let unique = hex(&crate::rooms::random_bytes::<8>());
    let temporary = folder.join(format!("{sha256}.{unique}.part"));
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let moved = written.and_then(|()| fs::rename(&temporary, &path));
    moved.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write a private copy into", error)
    })?;
    Ok(path)
}

/// The steps that run the plugin's code: load it, configure it, and hold it to its own golden examples.
fn prepare(copy: &Path, manifest: &Manifest, config: &toml::Table, places: &[Place]) -> Result<Instance, String> {
    let library = Arc::new(Library::open(copy, &manifest.id)?);
    let create = |config: &toml::Table| {
        let json = serde_json::to_string(config).map_err(|error| CallError::BadConfig(error.to_string()))?;
        Instance::create(library.clone(), &json)
    };
    let instance = create(config).map_err(|error| error.to_string())?;
    for Example { media, url, config } in &manifest.examples {
        let came = match config {
            Some(config) => create(config).and_then(|instance| instance.embed_url(media)),
            None => instance.embed_url(media),
        };
        match came {
            Ok(came) if came == *url => {}
            Ok(came) => return Err(format!("its golden example {media:?} should give {url}, it gave {came}")),
            Err(error) => return Err(format!("its golden example {media:?} should give {url}: {error}")),
        }
        if config.is_none() {
            output::check_url(url, places)?;
        }
    }
    for Reject { media, field, config } in &manifest.rejects {
        let came = match config {
            Some(config) => create(config).and_then(|instance| instance.embed_url(media)),
            None => instance.embed_url(media),
        };
        match came {
            Err(CallError::Rejected(rejection)) if rejection.problems().iter().any(|p| p.field == *field) => {}
            came => {
                let field = field.as_str();
                return Err(format!("its golden example {media:?} should be rejected for {field}, came {came:?}"));
            }
        }
    }
    Ok(instance)
}
