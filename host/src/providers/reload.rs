//! New files and new settings while rooms play: what changed is loaded beside what serves, and takes its place if it can.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde::Serialize;
use tracing::{info, warn};

use super::{Next, Provider, Providers, Status, Table};
use crate::config::{Config, ConfigError};

/// What was late is loaded again after so long, and each further time after twice as long …
const FIRST_TRY: Duration = Duration::from_secs(5);
/// … but no longer than this.
const LAST_TRY: Duration = Duration::from_secs(300);

/// Reads the configuration again when asked.
#[derive(Clone)]
pub struct Reloader(Arc<Started>);

struct Started {
    providers: Providers,
    file: PathBuf,
    /// What the process runs with; everything but its providers needs a restart to change.
    started_with: Config,
    /// What was late when it was loaded last. Whoever holds it is the only one that loads.
    late: Mutex<Late>,
}

type Late = Vec<Arc<Provider>>;

/// What a reload did.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    pub providers: Vec<Changed>,
    /// Settings that differ from those in force and need a restart, by table.
    pub needs_restart: Vec<&'static str>,
}

/// What became of one provider.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    pub id: String,
    pub change: Change,
    pub state: Status,
    /// Counts the loads of this provider.
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Same file, same settings.
    Unchanged,
    /// It was not there before.
    Added,
    /// A new generation answers from now on.
    Reloaded,
    /// The new one cannot be used, so the one before goes on.
    Kept,
    /// It answered before, and does not any more.
    Stopped,
    /// It still cannot be used.
    NotReady,
    /// The configuration does not name it any more.
    Removed,
}

impl Reloader {
    pub fn new(providers: Providers, started_with: Config) -> Self {
        let file = started_with.file.clone();
        let late = providers.list().values().filter(|provider| provider.late.is_some()).cloned().collect();
        Reloader(Arc::new(Started { providers, file, started_with, late: Mutex::new(late) }))
    }

    /// The file that is read again.
    pub fn file(&self) -> &std::path::Path {
        &self.0.file
    }

    /// Where the plugins' libraries are, as of the start.
    pub fn folder(&self) -> &std::path::Path {
        &self.0.started_with.plugins.dir
    }

    /// Reads the configuration, loads what changed, and lets it serve. Blocks: plugins run.
    ///
    /// # Errors
    /// The configuration cannot be used; nothing was changed.
    pub fn reload(&self) -> Result<Reloaded, ConfigError> {
        let Started { providers, file, started_with, late } = &*self.0;
        let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Config::load(file).inspect_err(|error| warn!("nothing is reloaded: {error}"))?;
        let before = providers.list();
        let mut table = Table::default();
        late.clear();
        let mut changes = exchange(providers.load_all(&config), &before, &mut table, &mut late);
        for (id, provider) in &*before {
            if !table.contains_key(id) {
                info!(provider.id = %id, "provider removed");
                let (change, state, generation) = (Change::Removed, Status::Disabled, provider.generation);
                let reason = Some("the configuration does not name it any more".to_owned());
                changes.push(Changed { id: id.clone(), change, state, generation, reason });
            }
        }
        providers.replace(table);
        let needs_restart = started_with.differing_tables(&config);
        if !needs_restart.is_empty() {
            warn!("only providers are reloaded; these settings changed too and need a restart: {needs_restart:?}");
        }
        Ok(Reloaded { providers: changes, needs_restart })
    }

    /// Loads again and again, until the process ends, what was late: a machine that had just come up, or was busy, had no
    /// time for it.
    pub fn keep_trying(self) -> std::io::Result<()> {
        let try_on = move || {
            let mut wait = FIRST_TRY;
            loop {
                thread::sleep(wait);
                wait = if self.try_again() { LAST_TRY.min(2 * wait) } else { FIRST_TRY };
            }
        };
        thread::Builder::new().name("plugin-retry".into()).spawn(try_on).map(drop)
    }

    /// Whether there was anything to try. All else stays as it is, and neither a file nor the configuration is read.
    fn try_again(&self) -> bool {
        let Started { providers, started_with, late, .. } = &*self.0;
        let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
        if late.is_empty() {
            return false;
        }
        let before = providers.list();
        let mut table = Table::clone(&before);
        let tried = providers.load_again(&std::mem::take(&mut *late), started_with);
        exchange(tried, &before, &mut table, &mut late);
        providers.replace(table);
        true
    }
}

/// Puts those that serve from now on into the table, notes those that were late, and answers what became of each.
fn exchange(loaded: Vec<Next>, before: &Table, table: &mut Table, late: &mut Late) -> Vec<Changed> {
    let exchanged = loaded.into_iter().map(|(id, next)| {
        late.extend(next.clone().filter(|next| next.late.is_some()));
        let present = before.get(&id);
        let (provider, change, reason) = decide(present, next);
        let generation = provider.generation;
        let (state, own) = provider.status();
        let reason = reason.or_else(|| (!own.is_empty()).then(|| own.into_owned()));
        if present.is_none_or(|present| !Arc::ptr_eq(present, &provider)) {
            provider.announce();
        }
        table.insert(id.clone(), provider);
        Changed { id, change, state, generation, reason }
    });
    exchanged.collect()
}

/// Which generation serves from now on, and what to call that.
fn decide(present: Option<&Arc<Provider>>, next: Option<Arc<Provider>>) -> (Arc<Provider>, Change, Option<String>) {
    let (present, next) = match (present, next) {
        (Some(present), None) => return (present.clone(), Change::Unchanged, None),
        (None, Some(next)) => {
            let change = if next.is_ready() { Change::Added } else { Change::NotReady };
            return (next, change, None);
        }
        (Some(present), Some(next)) => (present, next),
        (None, None) => unreachable!("only what is present can be unchanged"),
    };
    // One that has failed goes on with what it knows, and may be well again.
    match (present.is_loaded(), next.is_ready()) {
        (_, true) => (next, Change::Reloaded, None),
        (true, false) if !is_meant(present, &next) => {
            let (_, reason) = next.status();
            warn!(provider.id = %next.id, generation = present.generation, "the one before goes on: {reason}");
            let reason = format!("{reason}; generation {} goes on", present.generation);
            (present.clone(), Change::Kept, Some(reason))
        }
        (true, false) => (next, Change::Stopped, None),
        (false, false) if present.status() == next.status() => (present.clone(), Change::Unchanged, None),
        (false, false) => (next, Change::NotReady, None),
    }
}

/// Whether a provider stopped because somebody wants it to: it was turned off, or its file was taken away.
fn is_meant(present: &Provider, next: &Provider) -> bool {
    next.status().0 == Status::Disabled || (next.is_missing && next.origin.path == present.origin.path)
}
