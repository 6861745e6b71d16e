//! Packages of the npm registry that a test holds something against. Without npm, node or the network the test says so and
//! is passed.

use std::{path::PathBuf, process::Command};

use streamit_npm::Package;

use super::repository;

/// The package's folder; nothing if it cannot be had here. One with another hash is a failure, not a reason to skip.
pub(crate) fn fetch(package: &Package<'_>) -> Option<PathBuf> {
    let fetched = package.fetch(&repository().join("target/npm")).unwrap();
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let reason = match fetched {
        Ok(folder) if has_node => return Some(folder),
        Ok(_) => "node cannot be started".to_owned(),
        Err(reason) => reason,
    };
    println!("not run: {} {} cannot be had from npm here ({reason})", package.name, package.version);
    None
}
