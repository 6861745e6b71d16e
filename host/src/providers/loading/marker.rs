//! What a host leaves behind that does not survive loading a library.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The markers that this process has set.
static SET: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn all_set() -> MutexGuard<'static, Vec<PathBuf>> {
    SET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the markers away, and lets nobody set another: the process ends for another reason.
pub(super) fn blame_nobody() {
    let set = all_set();
    set.iter().for_each(|path| drop(fs::remove_file(path)));
    std::mem::forget(set);
}

/// A file that exists while a library is being loaded into this process: if the process does not survive that, the next
/// start finds it.
pub(super) struct Marker(PathBuf);

/// The marker's file, locked as long as the load takes, so that another process with the same folder can tell.
pub(super) struct Marked {
    path: PathBuf,
    _lock: Option<File>,
}

impl Marker {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn of(copy: &Path) -> Self {
        Marker(copy.with_extension("loading"))
    }

    pub(super) fn is_left_over(&self) -> bool {
        // Whoever is loading it right now holds the lock.
        File::open(&self.0).is_ok_and(|file| file.try_lock().is_ok())
    }

    pub(super) fn reason(&self) -> String {
        // Where the folder lies says nothing to whoever reads the reason.
        let name = self.0.file_name().unwrap_or_default().display();
        format!(
            "the host did not survive loading it last time; replace it, give it isolation = \"process\", or delete \
             plugins/{name} in the folder `state_dir` to try once more"
        )
    }

    pub(super) fn set(&self) -> Result<Marked, String> {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", self.0.display());
        let mut set = all_set();
        let lock = match File::create_new(&self.0) {
            Ok(file) => {
                file.try_lock().map_err(|error| failed(error.into()))?;
                set.push(self.0.clone());
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
            let mut set = all_set();
            let _ = fs::remove_file(&self.path);
            set.retain(|path| *path != self.path);
        }
    }
}
