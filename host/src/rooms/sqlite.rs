//! A database that is a file: where its URL says it is, the lock that keeps it for one host, and copies of it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::{AnyConnection, Connection, any::install_default_drivers};
use tracing::warn;

use super::{hex, random_bytes};

/// The file a URL names.
pub(super) struct SqliteFile {
    /// As the file system knows it.
    pub(super) path: PathBuf,
    query: String,
}

pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

impl SqliteFile {
    pub(super) fn of(url: &str) -> anyhow::Result<SqliteFile> {
        let rest = url.strip_prefix("sqlite:").unwrap_or(url);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = percent_decode_str(path).decode_utf8();
        let path =
            path.with_context(|| format!("the path in {url} is not UTF-8 without its escapes (database.url)"))?;
        Ok(SqliteFile { path: PathBuf::from(&*path), query: query.to_owned() })
    }

    fn is_in_memory(&self) -> bool {
        matches!(self.path.to_str(), Some("" | ":memory:")) || self.query.contains("mode=memory")
    }

    /// The URL that opens it, with that mode unless it names one itself. Every character that could mean something is
    /// escaped, slashes as well: nobody tidies the path on the way.
    fn url(&self, mode: &str) -> String {
        if self.is_in_memory() {
            return format!("sqlite:{}?{}", self.path.display(), self.query);
        }
        let path = utf8_percent_encode(self.path.to_str().unwrap_or_default(), NON_ALPHANUMERIC);
        match self.query.as_str() {
            "" => format!("sqlite:{path}?mode={mode}"),
            query if query.contains("mode=") => format!("sqlite:{path}?{query}"),
            query => format!("sqlite:{path}?{query}&mode={mode}"),
        }
    }

    /// The URL with permission to create the file, whose folder is made here.
    pub(super) fn prepare(&self) -> anyhow::Result<String> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {} for the database", folder.display()))?;
        }
        Ok(self.url("rwc"))
    }

    /// Keeps the file for this process: two hosts on one would each believe that what they know is all there is.
    pub(super) fn lock(&self) -> anyhow::Result<Option<Arc<File>>> {
        if self.is_in_memory() {
            return Ok(None);
        }
        let name = self.beside(".lock");
        let file = File::options().create(true).truncate(false).write(true).open(&name);
        let file = file.with_context(|| format!("cannot open {}, beside the database", name.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Arc::new(file))),
            Err(TryLockError::WouldBlock) => bail!(
                "another StreamIt uses the database {}; give this one a file of its own (database.url), or let both use Postgres",
                self.path.display()
            ),
            // A file system that knows no locks.
            Err(TryLockError::Error(error)) => {
                let file = name.display();
                warn!(%error, %file, "the database cannot be locked; see to it that no other StreamIt uses it");
                Ok(None)
            }
        }
    }

    /// A file that belongs to this one, whichever link leads to it.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).into_os_string();
        name.push(ending);
        name.into()
    }
}

/// Copies the database, which a host may be using, to a file of that name, and answers how many bytes that are. The copy is
/// complete and on the disk before it has its name.
pub async fn back_up(url: &str, target: &Path, overwrite: bool) -> anyhow::Result<u64> {
    install_default_drivers();
    let database = SqliteFile::of(url)?;
    let shown = target.display();
    ensure!(!database.is_in_memory() && database.path.is_file(), "there is no database at {}", database.path.display());
    let name = target.file_name().with_context(|| format!("{shown} is no name for a file"))?.to_string_lossy();
    let there = target.symlink_metadata().ok().map(|about| about.file_type());
    ensure!(overwrite || there.is_none(), "{shown} exists; --overwrite replaces it");
    let is_replaceable = there.is_none_or(|kind| kind.is_file() || kind.is_symlink());
    ensure!(is_replaceable, "{shown} is no regular file, and is not replaced by one");
    let is_its_own = ["", "-wal", "-shm", "-journal", ".lock"]
        .iter()
        .any(|ending| target.canonicalize().is_ok_and(|target| target == database.beside(ending)));
    ensure!(!is_its_own, "{shown} belongs to the database itself");
    // SQLite would take it for what was written to the copy since.
    let log = target.with_file_name(format!("{name}-wal"));
    ensure!(!log.exists(), "{} exists: {shown} is, or was, a database in use; choose another name", log.display());

    let part = std::path::absolute(target.with_file_name(format!(".{name}.{}.part", hex(&random_bytes::<8>()))))?;
    let unfinished = Unfinished(&part);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&part).with_context(|| format!("cannot write beside {shown}"))?;
    let copied = async {
        let mut line = AnyConnection::connect(&database.url("rw")).await?;
        let into = part.to_string_lossy().into_owned();
        sqlx::query("VACUUM INTO $1").bind(into).execute(&mut line).await?;
        line.close().await
    };
    copied.await.with_context(|| format!("cannot copy {} to {shown}", database.path.display()))?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    // A link never replaces what somebody else has made meanwhile; not every file system has them.
    let named = match overwrite {
        true => fs::rename(&part, target),
        false => fs::hard_link(&part, target).or_else(|error| match target.symlink_metadata().is_ok() {
            true => Err(error),
            false => fs::rename(&part, target),
        }),
    };
    named.with_context(|| format!("cannot give the copy its name, {shown}"))?;
    drop(unfinished);
    #[cfg(unix)]
    File::open(part.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(bytes)
}

/// Removes a copy that did not get its name, or got a second one.
struct Unfinished<'p>(&'p Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_exactly_once() {
        for (url, path) in [
            ("sqlite://data/streamit.db", "data/streamit.db"),
            ("sqlite:data/streamit.db", "data/streamit.db"),
            ("sqlite:///var/lib/My%20Rooms/rooms.db", "/var/lib/My Rooms/rooms.db"),
            ("sqlite:///var/lib/My Rooms/rooms.db", "/var/lib/My Rooms/rooms.db"),
            ("sqlite://My Rooms/rooms.db", "My Rooms/rooms.db"),
            ("sqlite://100%25/rooms%2520.db", "100%/rooms%20.db"),
            ("sqlite://who%3Fme%23.db?cache=private", "who?me#.db"),
            ("sqlite://Grüße/räume.db", "Grüße/räume.db"),
        ] {
            let file = SqliteFile::of(url).expect(url);
            assert_eq!(file.path, Path::new(path), "{url}");
            // What is opened is what was said.
            assert_eq!(SqliteFile::of(&file.url("rwc")).expect(url).path, Path::new(path), "{url}");
        }
        assert!(SqliteFile::of("sqlite://%ff.db").is_err());
    }
}
