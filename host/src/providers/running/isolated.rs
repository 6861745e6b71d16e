//! A provider that lives in a child: `isolation = "process"`.

use std::{path::PathBuf, time::Duration};

use streamit_plugin_api::{Media, abi};

use super::{
    child::{Child, Ended},
    library::{CallError, Logger},
    prepare::Prepare,
};

/// A provider that lives in a child: started with its first call, and with the next one after it ended.
pub(crate) struct Isolated {
    program: PathBuf,
    prepare: Prepare,
    deadline: Duration,
    start_deadline: Duration,
    log: Logger,
    child: Option<Child>,
}

impl Isolated {
    pub(crate) fn new(
        program: PathBuf,
        prepare: Prepare,
        deadline: Duration,
        start_deadline: Duration,
        log: Logger,
    ) -> Self {
        Isolated { program, prepare, deadline, start_deadline, log, child: None }
    }

    pub(crate) fn embed_url(&mut self, media: Media<'static>) -> Result<String, CallError> {
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
        let answer = answer.map_err(|ended| CallError::Fault(ended.to_string()))?;
        self.child = Some(child);
        answer
    }

    fn start(&self) -> Result<Child, CallError> {
        let failed = |ended: Ended| CallError::Fault(ended.to_string());
        let mut child = Child::start(&self.program, &self.prepare.manifest.id).map_err(failed)?;
        let prepared = child.prepare(&self.prepare, self.start_deadline, &self.log).map_err(failed)?;
        prepared.map(|()| child).map_err(CallError::Fault)
    }
}
