//! A measurement waits until the machine has nothing else to do; it may just have built what is measured.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// A machine that is left alone has less.
pub(crate) const IDLE_LOAD: f64 = 0.8;
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for it, but not forever. Answers the load average, if there is one.
pub(crate) fn quiet() -> Option<f64> {
    let deadline = Instant::now() + PATIENCE;
    while load().is_some_and(|load| load > IDLE_LOAD) && Instant::now() < deadline {
        println!("  waiting for a quiet machine …");
        thread::sleep(Duration::from_secs(15));
    }
    load()
}

/// Of the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// What is to be said if others worked here meanwhile.
pub(crate) fn warning(load: f64) -> Option<String> {
    (load > IDLE_LOAD).then(|| {
        format!(
            "the load average was {load} at the start: others work here; measure again when it is below {IDLE_LOAD}"
        )
    })
}
