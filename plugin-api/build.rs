//! Tells the crate which compiler built it: a plugin carries that text so that an operator can see it.

use std::{env, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let toolchain = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=STREAMIT_TOOLCHAIN={}", toolchain.trim());
    // A later version of the ABI, which only tests build.
    println!("cargo::rustc-check-cfg=cfg(grown)");
    println!("cargo::rerun-if-changed=build.rs");
}
