//! The commands of whoever looks after the database: `streamit migrate | backup`.

use std::path::Path;

use streamit::{
    config::{Config, without_password},
    rooms::{Rooms, back_up as copy},
};

use super::{BAD_CONFIGURATION, FAILED, Outcome, print};

pub(super) fn migrate(config: &Config) -> Outcome<()> {
    let applied = wait(async {
        let (rooms, applied) = Rooms::migrate(&config.database).await?;
        rooms.shut_down().await;
        Ok(applied)
    })?;
    let applied: String = applied.iter().map(|migration| format!("applied {migration}\n")).collect();
    print(&format!("{applied}the schema of {} is current", without_password(&config.database.url)))
}

pub(super) fn back_up(config: &Config, target: &Path, overwrite: bool) -> Outcome<()> {
    let url = &config.database.url;
    if !url.starts_with("sqlite:") {
        let text = format!("{} is a Postgres database; use pg_dump to back it up", without_password(url));
        return Err((BAD_CONFIGURATION, text));
    }
    let bytes = wait(copy(url, target, overwrite))?;
    print(&format!("{}: {bytes} bytes", target.display()))
}

fn wait<T>(done: impl Future<Output = anyhow::Result<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    runtime.and_then(|runtime| runtime.block_on(done)).map_err(|error| (FAILED, format!("{error:#}")))
}
