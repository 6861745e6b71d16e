//! The schema: which migrations a database has, which this program knows, and how the ones become the others.
//!
//! The table of those that were applied is sqlx's own, so that its tools can read it. The rest is done here, because all of
//! it has to fit into one transaction: a pooler between us and the server keeps nothing else together.

use sqlx::{
    Row,
    migrate::{Migration, Migrator},
};
use tracing::info;

use super::{
    RoomError,
    line::{Line, Lines},
};

static MIGRATOR: Migrator = sqlx::migrate!();

/// What the description of a migration begins with that programs from before it can live with.
const COMPATIBLE: &str = "compatible ";

/// Whoever migrates holds this lock of the database's until the end of its transaction; "streamit" as a number.
const LOCK: i64 = 0x7374_7265_616d_6974;

/// Why a database cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("its schema is newer than this program (it has `{0}`); start the newer StreamIt")]
    TooNew(String),
    #[error("its migration `{0}` is not the one this program has; which build made it?")]
    Changed(String),
    #[error(
        "its schema lacks `{0}`, and this user may not change it; run `streamit migrate --config FILE` as one who may ({1})"
    )]
    NotAllowed(String, sqlx::Error),
    #[error(
        "a pooler gives its transactions to one server or another ({0}); set database.prepared_statements = false for that"
    )]
    Pooled(sqlx::Error),
    #[error(transparent)]
    Database(#[from] RoomError),
}

impl From<sqlx::Error> for SchemaError {
    fn from(error: sqlx::Error) -> Self {
        SchemaError::Database(error.into())
    }
}

/// One that the database has.
struct Applied {
    version: i64,
    description: String,
    checksum: Vec<u8>,
}

/// Brings the schema up to date, and answers what that took. Nothing is changed, nor need it be allowed, if nothing is missing.
pub(super) async fn bring_up_to_date(lines: &Lines) -> Result<Vec<String>, SchemaError> {
    let has = lines.ask(async |line| applied(line, lines.is_file).await).await.map_err(|error| match error {
        RoomError::Database(error) if is_strange_session(&error) => SchemaError::Pooled(error),
        other => other.into(),
    })?;
    let Some(first) = missing(&has)?.first().map(|migration| name(migration.version, &migration.description)) else {
        return Ok(Vec::new());
    };
    info!(from = first, "the database's schema is brought up to date, as soon as nobody else does that");
    migrate(lines).await.map_err(|error| match error {
        SchemaError::Database(RoomError::Database(error)) if is_not_allowed(&error) => {
            SchemaError::NotAllowed(first, error)
        }
        other => other,
    })
}

/// All that is missing, or nothing. Takes as long as it takes.
async fn migrate(lines: &Lines) -> Result<Vec<String>, SchemaError> {
    let mut line = lines.take().await?;
    // Nodes that start at once wait for each other here; a file has one host, and one writer.
    let begin = match lines.is_file {
        true => "BEGIN IMMEDIATE".to_owned(),
        false => format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"
        ),
    };
    line.run(&begin).await?;
    let (moment, bytes) = if lines.is_file { ("TIMESTAMP", "BLOB") } else { ("TIMESTAMPTZ", "BYTEA") };
    line.run(&format!(
        "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
            installed_on {moment} NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
            checksum {bytes} NOT NULL, execution_time BIGINT NOT NULL)"
    ))
    .await?;
    let has = applied(&mut line, lines.is_file).await?;
    let mut done = Vec::new();
    for migration in missing(&has)? {
        line.run(migration.sql.as_str()).await?;
        line.query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ($1, $2, TRUE, $3, -1)",
        )
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .execute(line.connection())
        .await?;
        done.push(name(migration.version, &migration.description));
    }
    line.commit().await?;
    Ok(done)
}

async fn applied(line: &mut Line, is_file: bool) -> Result<Vec<Applied>, sqlx::Error> {
    let exists = match is_file {
        true => "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
        false => "SELECT count(to_regclass('_sqlx_migrations'))",
    };
    if line.query(exists).fetch_one(line.connection()).await?.try_get::<i64, _>(0)? == 0 {
        return Ok(Vec::new());
    }
    let all = line.query("SELECT version, description, checksum FROM _sqlx_migrations ORDER BY version");
    let rows = all.fetch_all(line.connection()).await?;
    rows.iter()
        .map(|row| Ok(Applied { version: row.try_get(0)?, description: row.try_get(1)?, checksum: row.try_get(2)? }))
        .collect()
}

/// What this program knows and the database does not have, unless the database has what this program cannot live with.
fn missing(has: &[Applied]) -> Result<Vec<&'static Migration>, SchemaError> {
    for Applied { version, description, checksum } in has {
        match MIGRATOR.iter().find(|known| known.version == *version) {
            Some(known) if known.checksum != *checksum => {
                return Err(SchemaError::Changed(name(*version, description)));
            }
            None if !description.starts_with(COMPATIBLE) => {
                return Err(SchemaError::TooNew(name(*version, description)));
            }
            _ => {}
        }
    }
    Ok(MIGRATOR.iter().filter(|known| has.iter().all(|applied| applied.version != known.version)).collect())
}

fn name(version: i64, description: &str) -> String {
    format!("{version:04} {description}")
}

/// Whether it was refused for what the user, or a server that is only read from, may not do.
fn is_not_allowed(error: &sqlx::Error) -> bool {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    const READ_ONLY: &str = "25006";
    has_code(error, [INSUFFICIENT_PRIVILEGE, READ_ONLY])
}

/// Whether what was prepared is not there, or what is there was not prepared: the session is not ours alone.
fn is_strange_session(error: &sqlx::Error) -> bool {
    const DUPLICATE_STATEMENT: &str = "42P05";
    const UNKNOWN_STATEMENT: &str = "26000";
    has_code(error, [DUPLICATE_STATEMENT, UNKNOWN_STATEMENT])
}

fn has_code(error: &sqlx::Error, codes: [&str; 2]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
