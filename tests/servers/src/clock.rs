//! A machine's clock that can be set, for one process.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

/// The wall clock of whatever is started with its environment.
pub struct Clock {
    folder: TempDir,
}

impl Clock {
    /// As the machine's, until it is set.
    #[expect(clippy::new_without_default, reason = "it builds a library")]
    pub fn new() -> Clock {
        let clock = Clock { folder: tempfile::tempdir().unwrap() };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/clock.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(clock.file("clock.so")).arg(source).status();
        assert!(built.is_ok_and(|status| status.success()), "a C compiler, which Rust needs to link as well");
        clock.set(0);
        clock
    }

    /// Sets it to so many seconds after the machine's.
    pub fn set(&self, ahead_secs: i64) {
        fs::write(self.file("clock.new"), format!("{ahead_secs:+}")).unwrap();
        fs::rename(self.file("clock.new"), self.file("clock")).unwrap();
    }

    /// What makes a process go by it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let text = |file: &str| self.file(file).display().to_string();
        [("LD_PRELOAD", text("clock.so")), ("CLOCK_FILE", text("clock"))]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
