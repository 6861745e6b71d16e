//! The scripts, and what they are given.

use std::time::Duration;

use redis::{Cmd, ToRedisArgs};

use super::millis;

/// Keys of a room expire so long after its last sign of life, or after twice the time that it outlives its host.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A script is refused whole where Redis refuses what it does: out of memory, read only. Otherwise a first half might be
/// carried out. `flags` says what it may do all the same.
macro_rules! script {
    ($name:literal, $flags:literal, $expiry:expr) => {
        Script::new(format!(
            "#!lua{}\nlocal EXPIRY_MS = {}\n{}",
            $flags,
            millis($expiry),
            concat!(include_str!("common.lua"), include_str!(concat!($name, ".lua")))
        ))
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
    pub(super) fn new(host_grace: Duration) -> Scripts {
        let expiry = DAY.max(host_grace * 2);
        Scripts {
            open: script!("open", "", expiry),
            apply: script!("apply", "", expiry),
            presence: script!("presence", "", expiry),
            read: script!("read", " flags=no-writes", expiry),
            // It makes room.
            close: script!("close", " flags=allow-oom", expiry),
        }
    }

    pub(super) fn loading(&self) -> Vec<Cmd> {
        [&self.open, &self.apply, &self.presence, &self.read, &self.close].map(Script::loading).into()
    }
}

/// Servers know a script by its digest once they have seen its text.
pub(super) struct Script {
    text: String,
    pub(super) digest: String,
}

impl Script {
    fn new(text: String) -> Script {
        Script { digest: redis::Script::new(&text).get_hash().to_owned(), text }
    }

    pub(super) fn loading(&self) -> Cmd {
        redis::cmd("SCRIPT").arg("LOAD").arg(&self.text).to_owned()
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
