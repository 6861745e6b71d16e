//! The programs and libraries under test, built by the same cargo that runs the tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use super::repository;

pub(crate) struct Artifacts {
    pub(crate) streamit: PathBuf,
    /// Every plugin of the workspace, fixtures included.
    pub(crate) libraries: Vec<PathBuf>,
}

/// Builds once per test run; after `cargo xtask test` there is nothing left to do. `STREAMIT_PROFILE` is the profile:
/// what is measured is what is released.
pub(crate) fn artifacts() -> &'static Artifacts {
    static ARTIFACTS: OnceLock<Artifacts> = OnceLock::new();
    ARTIFACTS.get_or_init(build)
}

fn build() -> Artifacts {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told this test about its own package would look to some build scripts like a change.
    for (name, _) in env::vars_os() {
        let is_ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];
        if name.to_str().is_some_and(|name| is_ours.iter().any(|start| name.starts_with(start))) {
            cargo.env_remove(name);
        }
    }
    let profile = env::var("STREAMIT_PROFILE").unwrap_or_else(|_| "dev".into());
    let output = cargo
        .args(["build", "--workspace", "--profile", &profile, "--message-format=json-render-diagnostics"])
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the workspace does not build");
    let (mut streamit, mut libraries) = (None, Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if message["target"]["name"] == "streamit" && message["executable"].is_string() {
            streamit = message["executable"].as_str().map(PathBuf::from);
        }
        // A procedural macro is a library of the same kind, and no plugin.
        if message["target"]["crate_types"] == serde_json::json!(["cdylib"]) {
            let files =
                message["filenames"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap()));
            libraries.extend(files.filter(|file| file.extension().is_some_and(|e| e == env::consts::DLL_EXTENSION)));
        }
    }
    let libraries = libraries.iter().map(|library| stripped(library)).collect();
    Artifacts { streamit: streamit.expect("the workspace builds streamit"), libraries }
}

/// A copy without what debuggers want to know, which is nine tenths of it: every scene copies, hashes and loads them all.
/// Without binutils the library itself does as well.
fn stripped(library: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    fs::create_dir_all(&folder).unwrap();
    // Whoever runs beside this one sees a whole file.
    let making = tempfile::tempdir_in(&folder).unwrap();
    let (made, copy) = (making.path().join("made"), folder.join(library.file_name().unwrap()));
    let made_it = Command::new("strip").arg("--strip-debug").arg("-o").arg(&made).arg(library).status();
    if !made_it.is_ok_and(|status| status.success()) {
        return library.to_owned();
    }
    fs::rename(made, &copy).unwrap();
    copy
}
