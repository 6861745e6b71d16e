//! What plugins bring of others' and the repository does not have: players, each pinned by its hash in the plugin's
//! `vendor.lock`. They come from npm, are unpacked under `target/vendor/PLUGIN`, and a plugin's build takes them from there.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, ensure};
use serde::Deserialize;
use streamit_npm::Package;

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
        let Lock { name, version, integrity, .. } = self;
        println!("Fetching {name} {version} for {plugin} …");
        let package = match (Package { name, version, integrity }).fetch(&root().join("target/npm"))? {
            Ok(package) => package,
            Err(reason) => return Ok(Some(reason)),
        };
        // What another version had left would be taken for this one's.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        for (name, path) in &self.files {
            fs::copy(package.join(path), folder.join(name))
                .with_context(|| format!("{} {} has no {path}", self.name, self.version))?;
        }
        fs::write(mark, &self.integrity)?;
        Ok(None)
    }
}
