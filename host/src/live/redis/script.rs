//! The scripts, and what they are given.

use redis::{Cmd, ToRedisArgs};

/// A script is refused whole where Redis refuses what it does: out of memory, read only. Otherwise a first half might be
/// carried out. `flags` says what it may do all the same.
macro_rules! script {
    ($name:literal, $flags:literal) => {
        Script::new(concat!("#!lua", $flags, "\n", include_str!("common.lua"), include_str!(concat!($name, ".lua"))))
    };
}

pub(super) struct Scripts {
    pub(super) open: Script,
    pub(super) apply: Script,
    pub(super) presence: Script,
    pub(super) read: Script,
    pub(super) close: Script,
}

impl Scripts {
    pub(super) fn new() -> Scripts {
        Scripts {
            open: script!("open", ""),
            apply: script!("apply", ""),
            presence: script!("presence", ""),
            read: script!("read", " flags=no-writes"),
            // It makes room.
            close: script!("close", " flags=allow-oom"),
        }
    }

    pub(super) fn loading(&self) -> Vec<Cmd> {
        [&self.open, &self.apply, &self.presence, &self.read, &self.close].map(Script::loading).into()
    }
}

/// Servers know a script by its digest once they have seen its text.
pub(super) struct Script {
    text: &'static str,
    pub(super) digest: String,
}

impl Script {
    fn new(text: &'static str) -> Script {
        Script { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(super) fn loading(&self) -> Cmd {
        redis::cmd("SCRIPT").arg("LOAD").arg(self.text).to_owned()
    }
}

/// A script with what it is about, and what it is given.
pub(super) struct Call<'s> {
    pub(super) script: &'s Script,
    pub(super) key: String,
    pub(super) command: Cmd,
}

impl Call<'_> {
    pub(super) fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self
    }

    pub(super) fn optional(&mut self, value: Option<impl ToRedisArgs>) -> &mut Self {
        match value {
            Some(value) => self.arg(value),
            None => self.arg(""),
        }
    }
}
