//! Who is to blame when a plugin takes this process with it: said in its last line, and left behind for the next start.
//!
//! All of it was prepared before. Whatever runs when the time has come may not allocate, and may not even touch a thread's
//! own data for the first time.
#![expect(unsafe_code, reason = "handlers of signals, which may do next to nothing")]

use std::{
    cell::Cell,
    ffi::{CString, c_int, c_void},
    fs, io,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, Mutex, Once, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What a process dies of that does something it must not.
const DEADLY: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP];

/// A plugin that this process did not survive, as the next one finds it.
pub(crate) struct Mark(PathBuf);

impl Mark {
    /// That of a library, beside its private copy.
    pub(crate) fn of(copy: &Path) -> Mark {
        Mark(copy.with_extension("crashed"))
    }

    pub(crate) fn is_there(&self) -> bool {
        fs::exists(&self.0).unwrap_or(false)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Ends this process as it is. Nobody in a plugin's code, or in the system's loader, is waited for, and nothing is run that a
/// library wants run at the end.
pub(crate) fn end() -> ! {
    // SAFETY: it may be called at any moment, and does not come back.
    unsafe { libc::_exit(0) }
}

/// What is said and left behind if this process dies in a plugin's code. It is never freed: a thread that is torn down in a
/// plugin's code has dropped everything else when somebody asks.
pub(crate) struct Blame {
    mark: CString,
    last_line: String,
}

impl Blame {
    /// `mark` is the file that is left behind. The same again is the same.
    pub(crate) fn new(provider: &str, mark: &Path) -> Option<&'static Blame> {
        static KNOWN: Mutex<Vec<&Blame>> = Mutex::new(Vec::new());
        let last_line = format!("streamit: this process dies in the code of the provider `{provider}`\n");
        let mark = CString::new(mark.as_os_str().as_bytes()).ok()?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.iter().find(|blame| blame.mark == mark && blame.last_line == last_line).copied();
        Some(same.unwrap_or_else(|| {
            let blame: &Blame = Box::leak(Box::new(Blame { mark, last_line }));
            known.push(blame);
            blame
        }))
    }

    /// From here on whatever kills this thread is laid at its door.
    pub(crate) fn watch(&'static self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(watch_process);
        BLAME.set(self);
    }

    /// For a handler: leaves the mark, and writes what was prepared.
    fn speak(&self) {
        // SAFETY: the path lives as long as `self`; both calls are allowed in a handler.
        unsafe { libc::close(libc::open(self.mark.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o600)) };
        say(&self.last_line);
    }
}

thread_local! {
    /// Whose code this thread runs. Constant and never dropped, so that a handler may look at it.
    static BLAME: Cell<*const Blame> = const { Cell::new(ptr::null()) };
}

/// What was done about each of [`DEADLY`] before.
static BEFORE: [OnceLock<libc::sigaction>; DEADLY.len()] = [const { OnceLock::new() }; DEADLY.len()];

fn watch_process() {
    for (signal, before) in DEADLY.into_iter().zip(&BEFORE) {
        let mut present = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: `present` is written before it is read; the action is complete, and its handler does only what one may.
        unsafe {
            if libc::sigaction(signal, ptr::null(), present.as_mut_ptr()) != 0 {
                continue;
            }
            // It is there before any handler could look for it.
            before.get_or_init(|| present.assume_init());
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = dying as *const () as usize;
            // On a stack of its own: the thread's may be what is used up.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
    // SAFETY: a function of this program, which is there to the end.
    unsafe { libc::atexit(exiting) };
}

extern "C" fn dying(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the system passes what it says it does.
    let code = unsafe { (*info).si_code };
    // One that another process sent says nothing about whoever got it.
    if code != libc::SI_USER {
        speak();
    }
    // It dies as it would have without this.
    if let Some(before) = DEADLY.iter().position(|deadly| *deadly == signal).and_then(|n| BEFORE[n].get()) {
        // SAFETY: what was in force before.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
    }
    if code <= 0 {
        // It was sent and not caused, so nothing would cause it again.
        // SAFETY: allowed in a handler; it arrives when this one has returned.
        unsafe { libc::raise(signal) };
    }
}

/// A plugin that ends the process politely does so on its own thread.
extern "C" fn exiting() {
    speak();
}

/// Writes a line to stderr if somebody takes it: what nobody reads must not keep a process from its end.
fn say(line: &str) {
    let mut stderr = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one place to ask about; a text of less than a pipe takes at once; both calls are allowed in a handler.
    unsafe {
        if libc::poll(&raw mut stderr, 1, 0) == 1 && stderr.revents & libc::POLLOUT != 0 {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast::<c_void>(), line.len());
        }
    }
}

fn speak() {
    // SAFETY: whatever is set lives for ever.
    if let Some(blame) = unsafe { BLAME.get().as_ref() } {
        blame.speak();
    }
}

/// A loader that is busy for so long will not be free again.
const LOADER_PATIENCE: Duration = Duration::from_secs(6);

/// While this is there, a library is being loaded, and not for ever.
///
/// A constructor that does not return keeps the system's loader to itself. Every thread that loads something, unwinds, or
/// ends waits for it from then on: a process that only seems to live. Such a process ends instead, and is started again
/// without that library.
pub(crate) struct LoaderWatch(Arc<AtomicBool>);

/// How many libraries are with the system's loader, which takes one after the other.
static WITH_THE_LOADER: AtomicUsize = AtomicUsize::new(0);

impl LoaderWatch {
    /// Whether a library is with the loader: another one can only wait for it.
    pub(crate) fn is_on() -> bool {
        WITH_THE_LOADER.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn start(provider: &str) -> io::Result<LoaderWatch> {
        let last_line = format!(
            "streamit: the library of the provider `{provider}` is never done loading, though it was in its probe; no process \
             goes on behind that, so this one ends, and the next one starts without it\n"
        );
        let [is_watching, is_over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (watching, over) = (is_watching.clone(), is_over.clone());
        thread::Builder::new().name("plugin-loading".into()).spawn(move || {
            watching.store(true, Ordering::Release);
            let since = Instant::now();
            while !over.load(Ordering::Acquire) {
                if since.elapsed() > LOADER_PATIENCE {
                    say(&last_line);
                    std::process::abort();
                }
                thread::sleep(Duration::from_millis(20));
            }
        })?;
        // A thread that begins needs the loader too.
        while !is_watching.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        WITH_THE_LOADER.fetch_add(1, Ordering::Relaxed);
        Ok(LoaderWatch(is_over))
    }
}

impl Drop for LoaderWatch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        WITH_THE_LOADER.fetch_sub(1, Ordering::Relaxed);
    }
}
