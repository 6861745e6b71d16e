//! A provider that lives in a child: `isolation = "process"`.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use streamit_plugin_api::{Media, abi};

use super::{
    child::{Child, Ended},
    library::{CallError, Logger},
    prepare::Prepare,
};

/// A provider that lives in a child: started with its first call, and again after it crashed.
pub(super) struct Isolated {
    program: PathBuf,
    prepare: Prepare,
    deadline: Duration,
    start_deadline: Duration,
    log: Logger,
    child: Option<Child>,
    /// Since a call last succeeded.
    crashes: u32,
    not_before: Instant,
}

/// The first restart is at once; the second waits so long, and each one after it twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Isolated {
    pub(super) fn new(
        program: PathBuf,
        prepare: Prepare,
        deadline: Duration,
        start_deadline: Duration,
        log: Logger,
    ) -> Self {
        let not_before = Instant::now();
        Isolated { program, prepare, deadline, start_deadline, log, child: None, crashes: 0, not_before }
    }

    pub(super) fn embed_url(&mut self, media: Media<'static>) -> Result<String, CallError> {
        let mut child = match self.child.take() {
            Some(child) => child,
            None => self.start()?,
        };
        let mut answer = child.embed_url(media.clone(), self.deadline, &self.log);
        if answer.as_ref().is_err_and(Ended::was_killed) {
            // Before this call or in the middle of it: it is not the plugin's fault, and asking again changes nothing.
            (self.log)(abi::LOG_WARN, "somebody killed its process; it is started again");
            child = self.start()?;
            answer = child.embed_url(media, self.deadline, &self.log);
        }
        match answer {
            Ok(answer) => {
                self.child = Some(child);
                self.crashes = 0;
                answer
            }
            Err(ended) => Err(self.crashed(&ended)),
        }
    }

    fn start(&mut self) -> Result<Child, CallError> {
        let pause = self.not_before.saturating_duration_since(Instant::now());
        if pause > self.deadline {
            let crashes = self.crashes;
            let text = format!("its process crashed {crashes} times in a row; it is started again in {pause:.1?}");
            return Err(CallError::Paused(text));
        }
        // Whoever asks waits no longer than for a call.
        thread::sleep(pause);
        let mut child = Child::start(&self.program, &self.prepare.manifest.id).map_err(|ended| self.crashed(&ended))?;
        match child.prepare(&self.prepare, self.start_deadline, &self.log) {
            Ok(Ok(())) => Ok(child),
            Ok(Err(reason)) => Err(CallError::Fault(reason)),
            Err(ended) => Err(self.crashed(&ended)),
        }
    }

    fn crashed(&mut self, ended: &Ended) -> CallError {
        self.crashes = self.crashes.saturating_add(1);
        if let Some(doublings) = self.crashes.checked_sub(2) {
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
            self.not_before = Instant::now() + pause;
        }
        CallError::Fault(ended.to_string())
    }
}
