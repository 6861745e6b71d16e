//! Reloads when a plugin's file or the configuration changed, once the change is complete.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tracing::{info, warn};

use super::Reloader;

/// A change is taken when nothing has moved for so long …
const QUIET: Duration = Duration::from_millis(300);
/// … or, while a file is still open for writing, for so long: some ways of writing never say that they are done.
const QUIET_WHILE_OPEN: Duration = Duration::from_secs(3);

/// Watches until the process ends.
pub fn watch(reloader: Reloader) -> anyhow::Result<()> {
    let (events, inbox) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(events).context("cannot watch files")?;
    let file = reloader.file().to_owned();
    let folder = reloader.folder().canonicalize().unwrap_or_else(|_| reloader.folder().to_owned());
    let file = file.canonicalize().unwrap_or(file);
    // The folder of the configuration and not the file: an editor puts a new file in its place.
    let of_config = file.parent().unwrap_or(Path::new("."));
    for path in [folder.as_path(), of_config] {
        watcher
            .watch(path, RecursiveMode::NonRecursive)
            .with_context(|| format!("plugins.watch: cannot watch {}", path.display()))?;
    }
    info!(folder = %folder.display(), file = %file.display(), "watching for new plugins and settings");
    let concerns = move |path: &Path| path.parent() == Some(&folder) || path == file;
    thread::Builder::new().name("plugin-watch".into()).spawn(move || {
        // Watching ends with the watcher.
        let _watcher = watcher;
        while let Some(first) = next(&inbox, None) {
            let mut pending = Pending::default();
            pending.note(&first, &concerns);
            while let Some(event) = next(&inbox, pending.wait()) {
                pending.note(&event, &concerns);
            }
            if pending.changed {
                // What is wrong is in the log, and what served before goes on.
                let _ = reloader.reload();
            }
        }
    })?;
    Ok(())
}

/// The next event, or nothing after `wait` without one.
fn next(inbox: &mpsc::Receiver<notify::Result<Event>>, wait: Option<Duration>) -> Option<Event> {
    loop {
        let event = match wait {
            Some(wait) => inbox.recv_timeout(wait).ok()?,
            None => inbox.recv().ok()?,
        };
        match event {
            Ok(event) => return Some(event),
            Err(error) => warn!(%error, "watching files"),
        }
    }
}

/// Changes that have been seen and not been acted on.
#[derive(Default)]
struct Pending {
    changed: bool,
    /// Written to, and not closed yet.
    open: HashSet<PathBuf>,
    last: Option<Instant>,
}

impl Pending {
    fn note(&mut self, event: &Event, concerns: &impl Fn(&Path) -> bool) {
        for path in event.paths.iter().filter(|path| concerns(path)) {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) | EventKind::Create(_) => {
                    // Only Linux says when a file is closed again.
                    if cfg!(target_os = "linux") {
                        self.open.insert(path.clone());
                    }
                }
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                    self.open.remove(path);
                }
                EventKind::Modify(_) | EventKind::Remove(_) => {
                    self.open.remove(path);
                }
                EventKind::Access(_) | EventKind::Any | EventKind::Other => continue,
            }
            self.changed = true;
            self.last = Some(Instant::now());
        }
    }

    /// How long to wait for more.
    fn wait(&self) -> Option<Duration> {
        let quiet = if self.open.is_empty() { QUIET } else { QUIET_WHILE_OPEN };
        let since = self.last.map_or(quiet, |last| last.elapsed());
        Some(quiet.saturating_sub(since))
    }
}
