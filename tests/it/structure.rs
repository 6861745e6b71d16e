//! What the source may know: the invariants of `host/src/lib.rs`, held by reading it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::harness::repository;

/// Every file below a folder of the repository, with its text.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn the_core_names_no_provider() {
    let names: Vec<String> = ["plugins", "plugins/examples"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(repository().join(folder)).unwrap())
        .map(Result::unwrap)
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 7);
    for (path, text) in [files("host/src"), files("host/web")].concat() {
        for name in &names {
            assert!(!text.to_lowercase().contains(name), "{} names {name}", path.display());
        }
    }
}

/// Whether a module's `use` lines, or paths in its code, reach for a crate or another module.
fn knows(module: &str, what: &str) -> bool {
    let own = files("host/src").into_iter().filter(|(path, _)| {
        let path = path.strip_prefix(repository().join("host/src")).unwrap();
        path.starts_with(module) || path == Path::new(&format!("{module}.rs"))
    });
    let mut seen = false;
    for (_, text) in own {
        seen = true;
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.into_iter().any(|line| line.contains(&format!("{what}::")) || line.contains(&format!("use {what}"))) {
            return true;
        }
    }
    assert!(seen, "there is no module {module}");
    false
}

#[test]
fn data_flows_one_way() {
    for (module, foreign) in [
        ("playback", "axum"),
        ("playback", "sqlx"),
        ("playback", "redis"),
        ("protocol", "sqlx"),
        ("protocol", "redis"),
        ("rooms", "providers"),
        ("rooms", "libloading"),
        ("rooms", "axum"),
        ("live", "providers"),
        ("live", "sqlx"),
        ("live", "libloading"),
        ("session", "providers"),
        ("session", "sqlx"),
        ("session", "libloading"),
        ("providers", "axum"),
        ("providers", "sqlx"),
        ("providers", "live"),
    ] {
        assert!(!knows(module, foreign), "{module} must not know {foreign}");
    }
    assert!(knows("providers", "libloading") && knows("rooms", "sqlx"), "the test itself can see");
}

#[test]
fn unsafe_code_lives_where_the_abi_is() {
    for (path, text) in [files("host/src"), files("plugin-api/src"), files("plugins"), files("xtask")].concat() {
        let allowed = [
            "host/src/providers/running/library.rs",
            "host/src/providers/running/crash.rs",
            "plugin-api/src/abi.rs",
            "plugin-api/src/export.rs",
        ];
        let is_allowed = allowed.iter().any(|allowed| path.ends_with(allowed));
        let has_block = text.contains("unsafe {") || text.contains("unsafe fn") || text.contains("unsafe impl");
        assert!(is_allowed || !has_block, "{} has unsafe code", path.display());
    }
}

#[test]
fn the_providers_forbid_unsafe_code() {
    for (path, text) in files("plugins").into_iter().filter(|(path, _)| path.ends_with("src/lib.rs")) {
        assert!(text.contains("#![forbid(unsafe_code)]"), "{}", path.display());
    }
}
