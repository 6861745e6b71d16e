//! A thread that makes the calls into a plugin, so that a plugin that loops takes that thread and nothing else with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use streamit_plugin_api::Media;
use tokio::sync::{Mutex, MutexGuard, oneshot};

use super::library::{CallError, Instance};
#[cfg(unix)]
use super::{crash::Blame, isolated::Isolated};

/// What helps against whatever a process cannot get rid of.
pub(crate) const REMEDY: &str = "restart the host, or give the provider isolation = \"process\"";

/// Threads that a provider may take with it, in calls that do not return, before no more of them are risked.
pub(crate) const MAX_LOST_THREADS: usize = 3;

/// Who answers a provider's calls.
pub(crate) enum Backend {
    /// The plugin, in this process.
    Here(Arc<Instance>),
    /// The plugin, in a process of its own.
    #[cfg(unix)]
    Apart(Box<Isolated>),
    /// The provider was only looked at.
    Nobody,
}

impl Backend {
    fn embed_url(&mut self, media: Media<'static>) -> Result<String, CallError> {
        match self {
            Backend::Here(instance) => instance.embed_url(&media),
            #[cfg(unix)]
            Backend::Apart(isolated) => isolated.embed_url(media),
            Backend::Nobody => Err(CallError::Fault("it was loaded to be looked at, not to be asked".into())),
        }
    }

    /// As much of it as can be had twice: a plugin in this process bears calls from any thread at once.
    fn twin(&self) -> Option<Arc<Instance>> {
        match self {
            Backend::Here(instance) => Some(instance.clone()),
            _ => None,
        }
    }
}

/// What a worker is and for how long it waits.
#[derive(Clone)]
pub(crate) struct Terms {
    /// The provider's id.
    pub(crate) name: String,
    /// A call that takes longer is given up, and its thread with it.
    pub(crate) deadline: Option<Duration>,
    /// Threads of this provider's that are in a call that was given up.
    pub(crate) lost_threads: Arc<AtomicUsize>,
    /// Who is to blame if the process dies on its thread.
    #[cfg(unix)]
    pub(crate) blame: Option<&'static Blame>,
}

/// A provider's thread. It ends when this does, and whatever is left of the plugin is destroyed on it.
pub(crate) struct Worker {
    terms: Terms,
    /// Before the thread's inbox: its thread shall be the last to hold it.
    twin: Option<Arc<Instance>>,
    jobs: Mutex<mpsc::Sender<Job>>,
}

struct Job {
    media: Media<'static>,
    answer: oneshot::Sender<Result<String, CallError>>,
}

/// The right to make the next call: there is one at a time.
pub(crate) struct Turn<'a> {
    worker: &'a Worker,
    jobs: MutexGuard<'a, mpsc::Sender<Job>>,
}

impl Worker {
    /// Starts the thread. `prepare` runs on it and may hang as well as any call.
    pub(crate) fn start(
        terms: Terms,
        prepare_deadline: Duration,
        prepare: impl FnOnce() -> Result<Backend, String> + Send + 'static,
    ) -> Result<Worker, String> {
        let (prepared, outcome) = mpsc::sync_channel(1);
        let prepare = move || match prepare() {
            Ok(backend) => {
                let _ = prepared.send(Ok(backend.twin()));
                Some(backend)
            }
            Err(reason) => {
                let _ = prepared.send(Err(reason));
                None
            }
        };
        let jobs = terms.spawn(prepare)?;
        match outcome.recv_timeout(prepare_deadline) {
            Ok(Ok(twin)) => Ok(Worker { terms, twin, jobs: Mutex::new(jobs) }),
            Ok(Err(reason)) => Err(reason),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(format!("loading it did not end within {prepare_deadline:?}, though its probe did"))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("its thread ended".into()),
        }
    }

    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn { worker: self, jobs: self.jobs.lock().await }
    }

    /// Why no more calls are made, if too many never returned.
    pub(crate) fn spent(&self) -> Option<String> {
        spent(self.terms.lost_threads.load(Ordering::Relaxed))
    }
}

/// The reason for which no thread is risked any more, with so many lost.
pub(crate) fn spent(lost_threads: usize) -> Option<String> {
    (lost_threads >= MAX_LOST_THREADS)
        .then(|| format!("{lost_threads} of its calls never returned, each keeping a thread; {}", REMEDY))
}

impl Turn<'_> {
    /// Asks for a URL.
    pub(crate) async fn embed_url(&mut self, media: Media<'static>) -> Result<String, CallError> {
        let (answer, mut answered) = oneshot::channel();
        // A thread that has ended drops the question, which is an answer too.
        let _ = self.jobs.send(Job { media, answer });
        let came = match self.worker.terms.deadline {
            None => answered.await.ok(),
            Some(deadline) => match tokio::time::timeout(deadline, &mut answered).await {
                Ok(came) => came.ok(),
                Err(_) => Some(self.give_up(deadline, answered)),
            },
        };
        came.unwrap_or_else(|| {
            self.begin_anew();
            Err(CallError::Fault("its thread ended".into()))
        })
    }

    /// The thread stays behind with its call, unless it has answered just now.
    fn give_up(
        &mut self,
        deadline: Duration,
        mut answered: oneshot::Receiver<Result<String, CallError>>,
    ) -> Result<String, CallError> {
        let lost_threads = &self.worker.terms.lost_threads;
        // Before the thread can see that nobody listens and takes itself off again.
        lost_threads.fetch_add(1, Ordering::Relaxed);
        answered.close();
        if let Ok(in_time) = answered.try_recv() {
            lost_threads.fetch_sub(1, Ordering::Relaxed);
            return in_time;
        }
        self.begin_anew();
        Err(CallError::Fault(format!("a call did not come to an end within {deadline:?}")))
    }

    fn begin_anew(&mut self) {
        let twin = self.worker.twin.clone().map(Backend::Here);
        // Without a thread the next call finds that it ended, and tries again.
        *self.jobs = self.worker.terms.spawn(|| twin).unwrap_or_else(|_| mpsc::channel().0);
    }
}

impl Terms {
    /// A thread that answers jobs with what it was prepared with, until it hears of no more or was given up.
    fn spawn(&self, prepare: impl FnOnce() -> Option<Backend> + Send + 'static) -> Result<mpsc::Sender<Job>, String> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let lost_threads = self.lost_threads.clone();
        #[cfg(unix)]
        let blame = self.blame;
        let body = move || {
            let Some(mut backend) = prepare() else { return };
            #[cfg(unix)]
            if let Some(blame) = blame {
                blame.watch();
            }
            for Job { media, answer } in inbox {
                if answer.send(backend.embed_url(media)).is_err() {
                    // It came back after all.
                    let _ = lost_threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(format!("plugin-{}", self.name));
        thread.spawn(body).map(|_| jobs).map_err(|error| format!("no thread for it: {error}"))
    }
}
