//! Finds the player that goes into the library: the one that `vendor.lock` pins, where `cargo xtask vendor` has put it.
//! Without it the library is built all the same, and refuses to be loaded.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_player)");
    println!("cargo::rerun-if-changed=vendor.lock");
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let vendored = Path::new(&package).join("../../target/vendor/adaptive");
    // Cargo looks whether anything in there is new. Of a folder that is missing it would think so each time.
    let _ = fs::create_dir_all(&vendored);
    println!("cargo::rerun-if-changed={}", vendored.display());
    let lock = fs::read_to_string("vendor.lock").expect("the lock file is part of the package");
    // Written last, and so there only if everything is.
    let Ok(integrity) = fs::read_to_string(vendored.join("integrity")) else { return };
    if lock.contains(&format!("integrity = \"{integrity}\"")) {
        println!("cargo::rustc-cfg=has_player");
        println!("cargo::rustc-env=VENDORED={}", vendored.display());
    }
}
