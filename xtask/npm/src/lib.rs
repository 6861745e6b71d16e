//! Packages of the npm registry, each pinned by its hash: fetched when they are needed, kept under `target/`, never
//! committed. Nothing of what is in one is run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Mutex,
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha512};

pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Of the packed file, as npm writes it: `sha512-…`.
    pub integrity: &'a str,
}

/// Two threads may want the same package at once.
static FETCHING: Mutex<()> = Mutex::new(());

impl Package<'_> {
    /// The package's folder below `store`, fetched if it is not there yet; or why it cannot be had here. One that is not
    /// what was pinned is a failure.
    pub fn fetch(&self, store: &Path) -> anyhow::Result<Result<PathBuf, String>> {
        let _guard = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Package { name, version, integrity } = self;
        let folder = store.join(format!("{}-{version}", name.replace(['@', '/'], "_")));
        let package = folder.join("package");
        if fs::read_to_string(folder.join("integrity")).is_ok_and(|of| of == *integrity) {
            return Ok(Ok(package));
        }
        // It gets its name when it is whole.
        let part = store.join(format!("{}.part", process::id()));
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part)?;
        let outcome = self.unpack_in(&part);
        if matches!(outcome, Ok(Ok(()))) {
            fs::write(part.join("integrity"), integrity)?;
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&part, &folder)?;
        } else {
            let _ = fs::remove_dir_all(&part);
        }
        Ok(outcome?.map(|()| package))
    }

    fn unpack_in(&self, folder: &Path) -> anyhow::Result<Result<(), String>> {
        let Package { name, version, integrity } = self;
        let archive = match self.pack(folder)? {
            Ok(archive) => archive,
            Err(reason) => return Ok(Err(reason)),
        };
        let hash = format!("sha512-{}", STANDARD.encode(Sha512::digest(fs::read(&archive)?)));
        ensure!(hash == *integrity, "{name} {version} is not what was pinned");
        let unpacked = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder).status().context("no tar")?;
        ensure!(unpacked.success(), "{} cannot be unpacked", archive.display());
        fs::remove_file(archive)?;
        Ok(Ok(()))
    }

    /// The packed package in that folder, or why there is none.
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
