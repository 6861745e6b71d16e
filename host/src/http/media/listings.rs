//! Listings of folders, kept for a moment: whoever asks, and however often, a folder is read once after each change.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{Mutex as Turn, Semaphore};

use super::{
    blocking,
    names::{self, Name},
};

/// A listing this young is true enough, however busy the folder is.
const MOMENT: Duration = Duration::from_secs(1);

/// So long after a change another one might have the same time: file systems count in up to two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What a link leads to changes without the folder's time: an older listing is made again.
const MAX_AGE: Duration = Duration::from_secs(60);

/// So many folders, and so many names of all of them, are kept; then those that were looked at longest ago go.
const MAX_FOLDERS: usize = 64;
const MAX_NAMES: usize = 400_000;

/// Folders that are read at the same time: the others wait, not the files that are served beside.
const READ_AT_ONCE: usize = 2;

pub(super) struct Listings {
    /// By real path.
    known: Mutex<HashMap<PathBuf, Arc<Slot>>>,
    reading: Semaphore,
    looks: AtomicU64,
}

/// A folder that somebody has asked for.
#[derive(Default)]
struct Slot {
    newest: Mutex<Option<Arc<Listing>>>,
    /// Of those who find it too old, one reads it anew.
    turn: Turn<()>,
    looked_at: AtomicU64,
}

pub(super) struct Listing {
    pub(super) names: Vec<Name>,
    /// The folder's own time before it was read.
    changed: SystemTime,
    /// Any change since has another time.
    is_settled: bool,
    read_at: Instant,
}

impl Listing {
    fn is_true(&self, changed: SystemTime) -> bool {
        let age = self.read_at.elapsed();
        age < MOMENT || (self.changed == changed && self.is_settled && age < MAX_AGE)
    }
}

impl Slot {
    fn newest(&self) -> Option<Arc<Listing>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Listings {
    pub(super) fn new() -> Listings {
        Listings { known: Mutex::default(), reading: Semaphore::new(READ_AT_ONCE), looks: AtomicU64::new(0) }
    }

    /// What is in a real folder below the real `root`, that was `changed` last at that time.
    pub(super) async fn of(&self, root: &Path, folder: &Path, changed: SystemTime) -> io::Result<Arc<Listing>> {
        let slot = self.slot(folder);
        let known = || slot.newest().filter(|listing| listing.is_true(changed));
        if let Some(listing) = known() {
            return Ok(listing);
        }
        let _turn = slot.turn.lock().await;
        if let Some(listing) = known() {
            return Ok(listing);
        }
        let _place = self.reading.acquire().await.expect("it is never closed");
        let (root, folder) = (root.to_owned(), folder.to_owned());
        let read = blocking(move || {
            let (read_at, now) = (Instant::now(), SystemTime::now());
            let names = names::read(&root, &folder)?;
            let is_settled = now.duration_since(changed).is_ok_and(|age| age >= SETTLED);
            Ok(Arc::new(Listing { names, changed, is_settled, read_at }))
        });
        let listing = read.await?;
        *slot.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(listing.clone());
        self.make_room();
        Ok(listing)
    }

    fn slot(&self, folder: &Path) -> Arc<Slot> {
        let mut known = self.lock();
        let slot = match known.get(folder) {
            Some(slot) => slot.clone(),
            None => known.entry(folder.to_owned()).or_default().clone(),
        };
        slot.looked_at.store(self.looks.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot
    }

    /// Forgets those that were looked at longest ago, but for the last one.
    fn make_room(&self) {
        let mut known = self.lock();
        let size = |slot: &Slot| slot.newest().map_or(0, |listing| listing.names.len());
        let mut names: usize = known.values().map(|slot| size(slot)).sum();
        while known.len() > MAX_FOLDERS || (names > MAX_NAMES && known.len() > 1) {
            let oldest = known.iter().min_by_key(|(_, slot)| slot.looked_at.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(folder, _)| folder.clone()) else { return };
            names -= known.remove(&oldest).map_or(0, |slot| size(&slot));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Slot>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use futures_util::future::join_all;

    use super::*;

    /// A folder whose last change is some time ago.
    fn rests(folder: &Path) -> SystemTime {
        let then = SystemTime::now() - 5 * SETTLED;
        File::open(folder).and_then(|folder| folder.set_modified(then)).expect("set");
        fs::metadata(folder).and_then(|about| about.modified()).expect("a time")
    }

    #[tokio::test]
    async fn however_many_ask_a_folder_is_read_once_after_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for n in 0..100 {
            File::create(folder.join(format!("{n}.webm"))).expect("made");
        }
        let listings = Listings::new();
        let changed = rests(folder);
        let all = join_all((0..1000).map(|_| listings.of(folder, folder, changed))).await;
        let first = all[0].as_ref().expect("read").clone();
        assert_eq!(first.names.len(), 100);
        assert!(all.iter().all(|listing| Arc::ptr_eq(listing.as_ref().expect("read"), &first)));
        tokio::time::sleep(MOMENT).await;
        let later = listings.of(folder, folder, changed).await.expect("kept");
        assert!(Arc::ptr_eq(&first, &later), "nothing has changed");

        File::create(folder.join("new.webm")).expect("made");
        let newer = listings.of(folder, folder, rests(folder)).await.expect("read");
        assert_eq!(newer.names.len(), 101);
    }

    #[tokio::test]
    async fn a_folder_that_has_just_changed_is_not_taken_for_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let changed = SystemTime::now();
        let listings = Listings::new();
        let first = listings.of(folder, folder, changed).await.expect("read");
        tokio::time::sleep(MOMENT).await;
        // Made within the same tick of the file system's clock.
        File::create(folder.join("new.webm")).expect("made");
        let next = listings.of(folder, folder, changed).await.expect("read");
        assert_eq!((first.names.len(), next.names.len()), (0, 1));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let listings = Listings::new();
        for n in 0..2 * MAX_FOLDERS {
            let folder = root.join(n.to_string());
            fs::create_dir(&folder).expect("made");
            listings.of(root, &folder, SystemTime::now()).await.expect("read");
        }
        let known = listings.lock();
        assert_eq!(known.len(), MAX_FOLDERS);
        assert!(known.contains_key(&root.join((2 * MAX_FOLDERS - 1).to_string())));
    }
}
