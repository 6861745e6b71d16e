//! One thread per provider that makes all calls into its plugin, so that a plugin that loops takes that thread and
//! nothing else with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use streamit_plugin_api::Media;
use tokio::sync::oneshot;

#[cfg(unix)]
use super::isolated::Isolated;
use super::library::{CallError, Instance};

/// Who answers a provider's calls.
pub(super) enum Backend {
    /// The plugin, in this process.
    Here(Instance),
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
            Backend::Nobody => Err(CallError::Paused("it was loaded to be looked at, not to be asked".into())),
        }
    }
}

/// A handle on a provider's thread; the thread ends, and destroys the instance, when the last handle is gone.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
    /// Milliseconds from `epoch` to the start of the call that is running; 0 while none is.
    running_since: Arc<AtomicU64>,
    epoch: Instant,
    deadline: Option<Duration>,
}

struct Job {
    media: Media<'static>,
    answer: oneshot::Sender<Result<String, CallError>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// A call has been running for longer than the deadline; its thread is lost.
    Hung,
    /// The thread is gone.
    Gone,
}

impl Worker {
    /// Starts the thread. `prepare` runs on it and may hang as well as any call. A call that takes longer than
    /// `deadline` is given up, and the thread with it.
    pub(super) fn start(
        name: &str,
        deadline: Option<Duration>,
        prepare_deadline: Duration,
        prepare: impl FnOnce() -> Result<Backend, String> + Send + 'static,
    ) -> Result<Worker, StartError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (prepared, outcome) = mpsc::sync_channel(1);
        let running_since = Arc::new(AtomicU64::new(0));
        let epoch = Instant::now();
        let running = running_since.clone();
        let body = move || {
            let mut backend = match prepare() {
                Ok(backend) => {
                    let _ = prepared.send(Ok(()));
                    backend
                }
                Err(reason) => {
                    let _ = prepared.send(Err(reason));
                    return;
                }
            };
            for Job { media, answer } in inbox {
                // Whoever asked may have given up while the job was waiting.
                if !answer.is_closed() {
                    running.store(elapsed_ms(epoch), Ordering::Release);
                    let result = backend.embed_url(media);
                    running.store(0, Ordering::Release);
                    let _ = answer.send(result);
                }
            }
        };
        thread::Builder::new()
            .name(format!("plugin-{name}"))
            .spawn(body)
            .map_err(|error| StartError::Refused(format!("no thread for it: {error}")))?;
        match outcome.recv_timeout(prepare_deadline) {
            Ok(Ok(())) => Ok(Worker { jobs, running_since, epoch, deadline }),
            Ok(Err(reason)) => Err(StartError::Refused(reason)),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(StartError::Hung),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(StartError::Refused("its thread ended".into())),
        }
    }

    /// Asks for a URL. The deadline is that of a call, not of the queue before it.
    pub(super) async fn embed_url(&self, media: Media<'static>) -> Result<Result<String, CallError>, NoAnswer> {
        let (answer, mut answered) = oneshot::channel();
        self.jobs.send(Job { media, answer }).map_err(|_| NoAnswer::Gone)?;
        let Some(deadline) = self.deadline else {
            return answered.await.map_err(|_| NoAnswer::Gone);
        };
        loop {
            match tokio::time::timeout(deadline, &mut answered).await {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(_)) => return Err(NoAnswer::Gone),
                Err(_) if self.is_stuck(deadline) => return Err(NoAnswer::Hung),
                Err(_) => {}
            }
        }
    }

    fn is_stuck(&self, deadline: Duration) -> bool {
        match self.running_since.load(Ordering::Acquire) {
            0 => false,
            since => u128::from(elapsed_ms(self.epoch).saturating_sub(since)) >= deadline.as_millis(),
        }
    }
}

/// Why a worker could not start.
pub(super) enum StartError {
    Refused(String),
    Hung,
}

/// Never 0, which means "none running".
fn elapsed_ms(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}
