//! A plugin in a process of its own: this program again, with an empty environment, limits, and one socket. The probe,
//! `isolation = "process"` and `streamit plugin check` all speak to such a child; whatever the plugin does, it does there.
//!
//! The socket is the child's standard input at first and moves away before any plugin code runs; both standard streams
//! are a pipe whose text is only quoted. A frame is a nonce (16 bytes, drawn for this child), a length (4 bytes, little
//! endian) and JSON, so that text of a plugin's on any descriptor is never taken for an answer.

use std::{
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{self, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use streamit_plugin_api::Media;

use super::{
    library::{CallError, Logger},
    prepare::{Prepare, Step},
};

/// The hidden command that makes this program a child.
pub const COMMAND: &str = "plugin-child";

/// No answer is longer: a URL has 2 KiB, a verdict some more.
const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// As much of what a plugin prints is quoted.
const QUOTED_BYTES: usize = 1024;

/// A child that closed its socket is about to end; so long it gets to say how.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(crate) type Nonce = [u8; 16];

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Load, configure, run the golden examples.
    Prepare(Prepare),
    /// After `Prepare`.
    EmbedUrl(Media<'static>),
    /// Ends the instance, as a reload does in the host.
    Destroy,
    /// One case of the conformance suite.
    Check(String, Prepare),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// A line for the log; the answer is still to come.
    Log(u32, String),
    /// What begins now: where it will have ended, should it end here.
    Doing(Step),
    Prepared(Result<(), String>),
    Url(Result<String, CallError>),
    Destroyed,
    Checked(Verdict),
}

/// What came of one case of the conformance suite.
pub(crate) type Verdict = Result<(), Otherwise>;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Otherwise {
    Failed(String),
    Skipped(String),
}

/// Why a child gave no answer.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) how: How,
    step: Option<Step>,
    printed: String,
}

#[derive(Debug)]
pub(crate) enum How {
    /// It took longer than this, and was killed.
    Hung(Duration),
    Exited(ExitStatus),
    /// What came was not from this program.
    Garbled(&'static str),
    /// It could not be started, or spoken to.
    Failed(io::Error),
}

impl Ended {
    /// Whether somebody else ended it: no plugin does this to itself.
    pub(crate) fn was_killed(&self) -> bool {
        matches!(self.how, How::Exited(status) if status.signal() == Some(libc::SIGKILL))
    }

    /// Whether that may be the machine's doing and no plugin's: it was busy, or had nothing left to give.
    pub(crate) fn may_pass(&self) -> bool {
        self.was_killed() || matches!(self.how, How::Hung(_) | How::Failed(_))
    }

    fn before_start(error: io::Error) -> Self {
        Ended { how: How::Failed(error), step: None, printed: String::new() }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let during = self.step.map_or("before it began", Step::during);
        match &self.how {
            How::Hung(deadline) => write!(f, "it did not come to an end within {deadline:?}, {during}")?,
            How::Exited(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => write!(f, "it crashed ({}) {during}", signal_name(signal))?,
                (None, code) => write!(f, "it ended its process (exit status {}) {during}", code.unwrap_or(-1))?,
            },
            How::Garbled(what) => write!(f, "it wrote to a channel that is not its own ({what}) {during}")?,
            How::Failed(error) => write!(f, "no process could be had for it: {error}")?,
        }
        if self.printed.is_empty() { Ok(()) } else { write!(f, "; it printed: {}", self.printed) }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        libc::SIGXFSZ => "SIGXFSZ: a file it wrote is too large",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal}, {name}")
}

/// A running child. It ends when this is dropped.
pub(crate) struct Child {
    process: process::Child,
    socket: UnixStream,
    nonce: Nonce,
    printed: Arc<Mutex<Vec<u8>>>,
    is_all_printed: mpsc::Receiver<()>,
}

impl Child {
    /// Starts `program` as the child for the provider `id`. Linux ends the child with the thread that calls this.
    pub(crate) fn start(program: &Path, id: &str) -> Result<Child, Ended> {
        let start = || -> io::Result<Child> {
            let (mut socket, theirs) = UnixStream::pair()?;
            let (mut output, prints) = io::pipe()?;
            let process = Command::new(program)
                .arg0("streamit")
                .args([COMMAND, id])
                .env_clear()
                .current_dir("/")
                .process_group(0)
                .stdin(OwnedFd::from(theirs))
                .stdout(prints.try_clone()?)
                .stderr(prints)
                .spawn()?;
            let printed = Arc::new(Mutex::new(Vec::new()));
            let (all_printed, is_all_printed) = mpsc::channel();
            let quoted = printed.clone();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // What is not quoted is read all the same: a full pipe would stop the plugin.
                while let Ok(n @ 1..) = output.read(&mut buffer) {
                    let mut quoted = quoted.lock().unwrap_or_else(PoisonError::into_inner);
                    let rest = QUOTED_BYTES.saturating_sub(quoted.len());
                    quoted.extend_from_slice(&buffer[..n.min(rest)]);
                }
                let _ = all_printed.send(());
            });
            let nonce = crate::rooms::random_bytes();
            socket.write_all(&nonce)?;
            Ok(Child { process, socket, nonce, printed, is_all_printed })
        };
        start().map_err(Ended::before_start)
    }

    pub(crate) fn prepare(
        &mut self,
        prepare: &Prepare,
        deadline: Duration,
        log: &Logger,
    ) -> Result<Result<(), String>, Ended> {
        match self.ask(&Request::Prepare(prepare.clone()), None, deadline, log)? {
            Reply::Prepared(result) => Ok(result),
            _ => Err(self.ended(How::Garbled("another answer"), None)),
        }
    }

    pub(crate) fn destroy(&mut self, deadline: Duration, log: &Logger) -> Result<(), Ended> {
        match self.ask(&Request::Destroy, Some(Step::Destroying), deadline, log)? {
            Reply::Destroyed => Ok(()),
            _ => Err(self.ended(How::Garbled("another answer"), None)),
        }
    }

    pub(crate) fn embed_url(
        &mut self,
        media: Media<'static>,
        deadline: Duration,
        log: &Logger,
    ) -> Result<Result<String, CallError>, Ended> {
        match self.ask(&Request::EmbedUrl(media), Some(Step::Call), deadline, log)? {
            Reply::Url(result) => Ok(result),
            _ => Err(self.ended(How::Garbled("another answer"), None)),
        }
    }

    pub(crate) fn check(&mut self, case: &str, what: &Prepare, deadline: Duration) -> Result<Verdict, Ended> {
        let unheard: Logger = Box::new(|_, _| {});
        match self.ask(&Request::Check(case.to_owned(), what.clone()), None, deadline, &unheard)? {
            Reply::Checked(verdict) => Ok(verdict),
            _ => Err(self.ended(How::Garbled("another answer"), None)),
        }
    }

    /// Ends it, and answers what the plugin printed in its time.
    pub(crate) fn end(mut self) -> String {
        // Its half of the pipe has to close first, and a polite child does that by itself.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.wait_a_little();
        self.stop();
        self.printed()
    }

    fn ask(
        &mut self,
        request: &Request,
        mut step: Option<Step>,
        deadline: Duration,
        log: &Logger,
    ) -> Result<Reply, Ended> {
        let until = Instant::now() + deadline;
        if let Err(error) = write_frame(&mut self.socket, &self.nonce, request)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(self.ended(How::Failed(error), step));
        }
        loop {
            match read_frame(&mut Until { socket: &self.socket, until }, &self.nonce) {
                Ok(Some(Reply::Log(level, text))) => log(level, &text),
                Ok(Some(Reply::Doing(next))) => step = Some(next),
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => return Err(self.ended(How::Garbled("a foreign frame"), step)),
                Err(error) if is_timeout(&error) => return Err(self.ended(How::Hung(deadline), step)),
                Err(_) => {
                    let how = match self.wait_a_little() {
                        Some(status) => How::Exited(status),
                        None => How::Garbled("it was closed"),
                    };
                    return Err(self.ended(how, step));
                }
            }
        }
    }

    fn ended(&mut self, how: How, step: Option<Step>) -> Ended {
        self.stop();
        Ended { how, step, printed: self.printed() }
    }

    fn wait_a_little(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + LAST_WORDS;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                _ => return None,
            }
        }
    }

    /// Ends it and whatever it started. Once it has been waited for, its number may be another's.
    fn stop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
            let _ = self.process.wait();
        }
    }

    fn printed(&self) -> String {
        let _ = self.is_all_printed.recv_timeout(LAST_WORDS);
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&printed);
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A socket that is read until a moment, however many reads that takes.
struct Until<'a> {
    socket: &'a UnixStream,
    until: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut socket = self.socket;
        socket.read(buffer)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn write_frame<T: Serialize>(to: &mut impl Write, nonce: &Nonce, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(nonce.len() + 4 + body.len());
    frame.extend_from_slice(nonce);
    frame.extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// A frame, or nothing if what came is none.
pub(crate) fn read_frame<T: DeserializeOwned>(from: &mut impl Read, nonce: &Nonce) -> io::Result<Option<T>> {
    let mut head = [0; 20];
    from.read_exact(&mut head)?;
    let len = u32::from_le_bytes(head[16..].try_into().expect("four bytes")) as usize;
    if head[..16] != *nonce || len > MAX_FRAME_BYTES {
        return Ok(None);
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body).ok())
}

/// The child's way back: shared by its answers and by whatever thread of the plugin logs.
#[derive(Clone)]
pub(crate) struct Answers {
    socket: Arc<Mutex<UnixStream>>,
    nonce: Nonce,
}

impl Answers {
    pub(crate) fn new(socket: UnixStream, nonce: Nonce) -> Self {
        Answers { socket: Arc::new(Mutex::new(socket)), nonce }
    }

    pub(crate) fn send(&self, reply: &Reply) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if write_frame(&mut *socket, &self.nonce, reply).is_err() {
            // Nobody is left to answer to.
            process::exit(0);
        }
    }

    pub(crate) fn doing(&self, step: Step) {
        self.send(&Reply::Doing(step));
    }

    pub(crate) fn logger(&self) -> Logger {
        let answers = self.clone();
        Box::new(move |level, text| answers.send(&Reply::Log(level, text.to_owned())))
    }
}
