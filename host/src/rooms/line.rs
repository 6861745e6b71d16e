//! Lines to the database: how many there are, how long anybody waits on one, and how those that went silent are found out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Database, SqlSafeStr,
    any::{AnyPoolOptions, install_default_drivers},
    pool::PoolConnection,
    query::Query,
};

use super::RoomError;
use crate::config;

/// SQLite has one writer at a time; more connections would only wait for it.
const FILE_CONNECTIONS: u32 = 8;
/// A database that gives no connection for so long is away.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(3);
/// A connection that rested must show within this that there is still somebody at its other end.
const PING_DEADLINE: Duration = Duration::from_secs(1);
/// Nothing waits longer for a database, whatever becomes of the line to it.
const QUERY_DEADLINE: Duration = Duration::from_secs(5);

/// What a Postgres enforces by itself. The last has it free the rooms of a node that vanished within a transaction.
const SERVER_LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "3s"), ("lock_timeout", "3s"), ("idle_in_transaction_session_timeout", "10s")];

/// A room that was answered with 201 is on the disk, whatever happens to process or machine.
const FILE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";

/// All lines of this node.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pool: AnyPool,
    pub(super) is_file: bool,
    /// One line is one session of the server's, which keeps what was prepared and set. If not, another may serve each
    /// transaction, and everything there is has to be within one.
    has_session: bool,
    silence: Silence,
}

/// Since when lines may be dead without anybody having said so: nothing tells a socket that its network forgot it.
#[derive(Clone, Debug, Default)]
struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    /// Something asked at that moment was not answered.
    fn noticed(&self, since: Instant) {
        let mut silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *silence = silence.max(Some(since));
    }

    /// Whether a line that was last heard at that moment may have died since.
    fn covers(&self, heard_at: Option<Instant>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| heard_at.is_none_or(|at| at < since))
    }
}

impl Lines {
    /// Connects once, to see that it can be done.
    pub(super) async fn open(target: &str, is_file: bool, settings: &config::Database) -> Result<Lines, sqlx::Error> {
        install_default_drivers();
        let has_session = is_file || settings.prepared_statements;
        let most = u32::try_from(settings.max_connections).unwrap_or(u32::MAX);
        let silence = Silence::default();
        let heard = silence.clone();
        let options = AnyPoolOptions::new()
            .max_connections(if is_file { most.min(FILE_CONNECTIONS) } else { most })
            .acquire_timeout(ACQUIRE_DEADLINE)
            // The pool's own test waits for an answer as long as the acquisition may take, for each line anew.
            .test_before_acquire(false)
            .before_acquire(move |connection, rested| {
                let silence = heard.clone();
                Box::pin(async move {
                    let asked_at = Instant::now();
                    if silence.covers(asked_at.checked_sub(rested.idle_for)) {
                        return Ok(false);
                    }
                    let answer = tokio::time::timeout(PING_DEADLINE, connection.ping()).await;
                    if answer.is_err() {
                        silence.noticed(asked_at);
                    }
                    Ok(matches!(answer, Ok(Ok(()))))
                })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    match (is_file, has_session) {
                        (true, _) => run(connection, FILE_SETTINGS).await,
                        (false, true) => run(connection, limits("SET").as_str()).await,
                        // What is set now would be set for others.
                        (false, false) => Ok(()),
                    }
                })
            });
        Ok(Lines { pool: options.connect(target).await?, is_file, has_session, silence })
    }

    /// One statement, on a line that goes back only if it has answered in time.
    pub(super) async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Line) -> Result<T, sqlx::Error>,
    ) -> Result<T, RoomError> {
        self.in_time(async {
            let mut line = self.take().await?;
            if !self.has_session {
                line.run(&self.begin_text()).await?;
            }
            let answer = ask(&mut line).await?;
            if !self.has_session {
                line.run("COMMIT").await?;
            }
            line.give_back();
            Ok(answer)
        })
        .await
    }

    /// A transaction.
    pub(super) async fn begin(&self) -> Result<Line, RoomError> {
        self.in_time(async {
            let mut line = self.take().await?;
            line.run(&self.begin_text()).await?;
            Ok(line)
        })
        .await
    }

    /// A line on which nothing has begun.
    pub(super) async fn take(&self) -> Result<Line, sqlx::Error> {
        Ok(Line { connection: Some(self.pool.acquire().await?), lines: self.clone() })
    }

    fn begin_text(&self) -> String {
        match (self.is_file, self.has_session) {
            // A file that is only read at first could not be written to later, if somebody else came first.
            (true, _) => "BEGIN IMMEDIATE".into(),
            (false, true) => "BEGIN".into(),
            (false, false) => format!("BEGIN; {}", limits("SET LOCAL")),
        }
    }

    pub(super) async fn in_time<T>(&self, answer: impl Future<Output = Result<T, RoomError>>) -> Result<T, RoomError> {
        let asked_at = Instant::now();
        tokio::time::timeout(QUERY_DEADLINE, answer).await.unwrap_or_else(|_| {
            self.silence.noticed(asked_at);
            Err(RoomError::Silent)
        })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection that is closed, and whatever it had begun undone, unless it is given back.
pub(super) struct Line {
    connection: Option<PoolConnection<Any>>,
    lines: Lines,
}

impl Line {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("here until it is given back")
    }

    /// A statement with parameters, prepared under a name if the session is ours to keep it.
    pub(super) fn query(&self, sql: impl SqlSafeStr) -> Query<'static, Any, <Any as Database>::Arguments> {
        sqlx::query(sql).persistent(self.lines.has_session)
    }

    /// Statements without parameters or answer, in one message.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        run(self.connection(), sql).await
    }

    pub(super) async fn commit(mut self) -> Result<(), RoomError> {
        let lines = self.lines.clone();
        let committed = lines.in_time(async { Ok(self.run("COMMIT").await?) }).await;
        committed.map_err(|error| if is_refusal(&error) { error } else { RoomError::Unanswered })?;
        self.give_back();
        Ok(())
    }

    pub(super) fn give_back(mut self) {
        self.connection.take();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The pool would wait for what is still to come on it.
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

/// Whether the database itself has said that it did not do it. Whatever else is heard after a COMMIT says nothing: also a
/// server that ends, or a pooler that has lost one.
fn is_refusal(error: &RoomError) -> bool {
    const LOST: [&str; 2] = ["08", "57P"];
    let RoomError::Database(sqlx::Error::Database(error)) = error else { return false };
    !error.code().is_some_and(|code| LOST.iter().any(|class| code.starts_with(class)))
}

async fn run(connection: &mut AnyConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

fn limits(set: &str) -> String {
    SERVER_LIMITS.map(|(name, value)| format!("{set} {name} = '{value}'")).join("; ")
}
