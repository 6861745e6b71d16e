//! Packages of the npm registry that a test holds something against: fetched when it runs, pinned by their hash, kept
//! under `target/`, never committed. Without npm or the network the test says so and is passed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha512};

pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// As the registry writes it: `sha512-…`.
    pub(crate) integrity: &'static str,
}

/// Two scenes may want the same package at once.
static FETCHING: Mutex<()> = Mutex::new(());

/// The package's folder; nothing if it cannot be had here. One with another hash is a failure, not a reason to skip.
pub(crate) fn fetch(package: &Package) -> Option<PathBuf> {
    let Package { name, version, integrity } = package;
    let _guard = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/npm");
    let unpacked = folder.join(format!("{}-{version}", name.replace(['@', '/'], "_")));
    if unpacked.join("package/package.json").is_file() {
        return Some(unpacked.join("package"));
    }
    fs::create_dir_all(&unpacked).unwrap();
    let packed = Command::new("npm")
        .args(["pack", &format!("{name}@{version}"), "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(&unpacked)
        .output();
    let is_there = packed.as_ref().is_ok_and(|output| output.status.success())
        && Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!("not run: {name} {version} cannot be had from npm here");
        return None;
    }
    let archives = fs::read_dir(&unpacked).unwrap().map(|entry| entry.unwrap().path());
    let archive = archives.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "tgz")).unwrap();
    let hash = format!("sha512-{}", STANDARD.encode(Sha512::digest(fs::read(&archive).unwrap())));
    assert_eq!(&hash, integrity, "{name} {version} is not what was pinned");
    let extracted = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&unpacked).status().unwrap();
    assert!(extracted.success());
    Some(unpacked.join("package"))
}
