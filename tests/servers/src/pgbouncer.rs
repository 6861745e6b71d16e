//! A PgBouncer in transaction mode in front of a Postgres, for as long as the value lives.

use std::{fs, process::Stdio};

use tempfile::TempDir;

use crate::{
    Listening, Postgres, free_port,
    postgres::{give_away, program},
};

pub struct PgBouncer {
    port: u16,
    _process: Listening,
    _folder: TempDir,
}

impl PgBouncer {
    /// Carries everyone's transactions over so many connections.
    pub fn start(postgres: &Postgres, connections: usize) -> PgBouncer {
        let (port, server) = (free_port(), postgres.port());
        let folder = tempfile::Builder::new().prefix("streamit-pgbouncer").tempdir().unwrap();
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server} user=streamit\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\n\
             ignore_startup_parameters = extra_float_digits\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, config).unwrap();
        give_away(folder.path());
        let process = program("pgbouncer").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        PgBouncer { port, _process: Listening::on(port, process, "pgbouncer"), _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("postgres://streamit@127.0.0.1:{}/postgres", self.port)
    }
}
