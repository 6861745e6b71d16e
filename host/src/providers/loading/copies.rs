//! Private copies of libraries, in `state_dir/plugins`: what gets loaded, and what nobody needs any more.
//!
//! Several hosts may have one folder. Each holds a lock on it that they share as long as it runs; who finds itself alone at
//! its start removes the copies that it does not use.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::rooms::hex;

/// What gets loaded: a copy nobody else writes to, named by its content. Replacing the original cannot pull a mapped
/// library away from under the process, and the loader cannot mistake a new version for the old one.
pub(crate) fn private_copy(bytes: &[u8], sha256: &str, state_dir: &Path) -> Result<PathBuf, String> {
    let folder = state_dir.join("plugins");
    let failed = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", folder.display());
    create_private(&folder).map_err(|error| failed("create", error))?;
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

/// A folder that only this user reads and writes.
fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A host's stay in the folder.
#[cfg(unix)]
pub(crate) struct Stay {
    folder: PathBuf,
    users: File,
    /// There is no other host, and none comes before this is dropped.
    alone: Option<File>,
}

#[cfg(unix)]
impl Stay {
    /// Begins before anything is copied; nothing if the folder cannot be locked, which is then never tidied.
    pub(crate) fn begin(state_dir: &Path) -> Option<Stay> {
        let folder = state_dir.join("plugins");
        create_private(&folder).ok()?;
        let lock = |name: &str| File::options().create(true).append(true).open(folder.join(name));
        let (tidying, users) = (lock("tidying.lock").ok()?, lock("users.lock").ok()?);
        let alone = (tidying.try_lock().is_ok() && users.try_lock().is_ok()).then_some(tidying);
        if alone.is_none() {
            // Whoever is tidying has not done so for long.
            users.lock_shared().ok()?;
        }
        Some(Stay { folder, users, alone })
    }

    /// Removes what is left of libraries that are not in use, if no other host may use them.
    pub(crate) fn tidy(mut self, used: &HashSet<String>) -> Option<File> {
        if let Some(_alone) = self.alone.take() {
            for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
                let path = entry.path();
                // What was found out about a library stays: it may come back.
                let is_copy =
                    path.extension().is_some_and(|kind| kind == std::env::consts::DLL_EXTENSION || kind == "part");
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if is_copy && !used.contains(name.split('.').next().unwrap_or_default()) {
                    let _ = fs::remove_file(&path);
                }
            }
            rustix::fs::flock(&self.users, rustix::fs::FlockOperation::LockShared).ok()?;
        }
        Some(self.users)
    }
}
