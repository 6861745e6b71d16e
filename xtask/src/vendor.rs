//! What plugins bring of others' and the repository does not have: players, each pinned by its hash in the plugin's
//! `vendor.lock`. They come from npm, are unpacked under `target/vendor/PLUGIN`, and a plugin's build takes them from there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use sha2::{Digest, Sha512};

use crate::{names_in, root};

/// A `vendor.lock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    /// The package in npm, and its version.
    name: String,
    version: String,
    /// Of the packed file, as npm writes it: `sha512-…`.
    integrity: String,
    /// What is taken of it: the name it gets, and where it is in the package.
    files: BTreeMap<String, String>,
}

/// `cargo xtask vendor`: fetches what is missing, and fails if that cannot be had.
pub(crate) fn run() -> anyhow::Result<()> {
    let missing = fetch_missing()?;
    ensure!(missing.is_empty(), "{} cannot be built whole here", missing.join(", "));
    Ok(())
}

/// Fetches what is missing, says of each plugin in a line what it has to do without, and answers which those are. A package
/// that is not what was pinned is a failure, and no reason to go on.
pub(crate) fn fetch_missing() -> anyhow::Result<Vec<String>> {
    let mut without = Vec::new();
    for plugin in names_in("plugins")? {
        let lock = Path::new("plugins").join(&plugin).join("vendor.lock");
        let Ok(text) = fs::read_to_string(&lock) else { continue };
        let lock: Lock = toml::from_str(&text).with_context(|| format!("{} is damaged", lock.display()))?;
        if let Some(reason) = lock.fetch_for(&plugin)? {
            println!(
                "{plugin} is left out: its player, {} {}, cannot be had from npm here ({reason})",
                lock.name, lock.version
            );
            without.push(plugin);
        }
    }
    Ok(without)
}

impl Lock {
    /// Answers why it cannot be had, if it cannot.
    fn fetch_for(&self, plugin: &str) -> anyhow::Result<Option<String>> {
        let folder = root().join("target/vendor").join(plugin);
        // Written last, and so there only if everything is.
        let mark = folder.join("integrity");
        if fs::read_to_string(&mark).is_ok_and(|integrity| integrity == self.integrity) {
            return Ok(None);
        }
        let fetching = root().join("target/vendor").join(format!("{plugin}.part"));
        let _ = fs::remove_dir_all(&fetching);
        fs::create_dir_all(&fetching)?;
        println!("Fetching {} {} for {plugin} …", self.name, self.version);
        let archive = match self.pack(&fetching)? {
            Ok(archive) => archive,
            Err(reason) => {
                fs::remove_dir_all(fetching)?;
                return Ok(Some(reason));
            }
        };
        let hash = format!("sha512-{}", STANDARD.encode(Sha512::digest(fs::read(&archive)?)));
        ensure!(hash == self.integrity, "{} {} is not what {plugin}'s vendor.lock pins", self.name, self.version);
        let paths = self.files.values().map(|path| format!("package/{path}"));
        let unpacked = Command::new("tar")
            .arg("xzf")
            .arg(&archive)
            .arg("-C")
            .arg(&fetching)
            .args(paths)
            .status()
            .context("no tar")?;
        ensure!(unpacked.success(), "{} cannot be unpacked", archive.display());

        // What another version had left would be taken for this one's.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        for (name, path) in &self.files {
            fs::copy(fetching.join("package").join(path), folder.join(name))
                .with_context(|| format!("{} {} has no {path}", self.name, self.version))?;
        }
        fs::write(mark, &self.integrity)?;
        fs::remove_dir_all(fetching)?;
        Ok(None)
    }

    /// The packed package in that folder, or why there is none. Nothing of what is in it is run.
    fn pack(&self, folder: &Path) -> anyhow::Result<Result<PathBuf, String>> {
        let package = format!("{}@{}", self.name, self.version);
        let npm = Command::new("npm")
            .args(["pack", &package, "--ignore-scripts", "--fetch-retries=1", "--loglevel=error", "--pack-destination"])
            .arg(folder)
            .output();
        let output = match npm {
            Ok(output) => output,
            Err(error) => return Ok(Err(format!("npm cannot be started: {error}"))),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("npm failed");
            return Ok(Err(first.trim_start_matches("npm error ").to_owned()));
        }
        let mut files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let archive = files.find(|path| path.extension().is_some_and(|kind| kind == "tgz"));
        archive.context("npm left no package").map(Ok)
    }
}
