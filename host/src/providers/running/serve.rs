//! The child's side: this program, started for one plugin. It limits itself, then answers until its parent is gone.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    process,
    sync::Arc,
};

use rlimit::Resource;
#[cfg(target_os = "linux")]
use rustix::process::Signal;

use super::{
    child::{Answers, COMMAND, Nonce, Reply, Request, Verdict, read_frame},
    library::{CallError, Instance, Library},
    prepare::{Prepare, prepare},
};

/// Address space of a child: no honest plugin comes near it, and a runaway one fails before the machine does.
const MAX_ADDRESS_SPACE: u64 = 4 << 30;
/// A child writes no core dump, and files only as large as a log line would need.
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_OPEN_FILES: u64 = 64;

/// Runs a case of the conformance suite, by its name.
pub(crate) type RunCase = fn(&str, &Prepare, &Answers) -> Verdict;

/// The child's whole life: answers until its parent is gone.
pub(crate) fn serve(run_case: RunCase) -> process::ExitCode {
    match take_socket().and_then(|(socket, nonce)| answer(socket, nonce, run_case)) {
        Ok(()) => process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streamit {COMMAND}: {error}; the host starts this by itself, for one plugin");
            process::ExitCode::from(2)
        }
    }
}

fn take_socket() -> io::Result<(UnixStream, Nonce)> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut nonce = Nonce::default();
    socket.read_exact(&mut nonce)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    #[cfg(target_os = "linux")]
    {
        rustix::thread::set_name(c"streamit-plugin")?;
        // A plugin that never returns would not notice that its host is gone.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    }
    for (resource, most) in [
        (Resource::CORE, 0),
        (Resource::FSIZE, MAX_FILE_BYTES),
        (Resource::NOFILE, MAX_OPEN_FILES),
        #[cfg(target_os = "linux")]
        (Resource::AS, MAX_ADDRESS_SPACE),
    ] {
        // A limit that is lower already stays.
        let (_, hard) = resource.get()?;
        resource.set(most.min(hard), most.min(hard))?;
    }
    Ok((socket, nonce))
}

fn answer(mut requests: UnixStream, nonce: Nonce, run_case: RunCase) -> io::Result<()> {
    let answers = Answers::new(requests.try_clone()?, nonce);
    let mut instance: Option<Instance> = None;
    loop {
        let request = match read_frame(&mut requests, &nonce) {
            Ok(Some(request)) => request,
            Ok(None) => return Err(io::Error::other("not a request")),
            Err(_) => return Ok(()),
        };
        match request {
            Request::Prepare(what) => {
                let open = || Library::open(&what.library, Some(answers.logger())).map(Arc::new);
                let result = prepare(&what, open, |step| answers.doing(step));
                answers.send(&Reply::Prepared(result.map(|prepared| instance = Some(prepared))));
            }
            Request::EmbedUrl(media) => {
                let unprepared = || CallError::Fault("it was asked before it was prepared".into());
                let url = instance.as_ref().ok_or_else(unprepared).and_then(|instance| instance.embed_url(&media));
                answers.send(&Reply::Url(url));
            }
            Request::Destroy => {
                instance = None;
                answers.send(&Reply::Destroyed);
            }
            Request::Check(case, what) => answers.send(&Reply::Checked(run_case(&case, &what, &answers))),
        }
    }
}
