//! Half an hour of people who come and go, and whether memory stays where it is.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    figures::is_flat,
    generator::{Generator, Task},
    server::start,
    speech::FIRST_ORDER,
    streamit::StreamIt,
};

const VIEWERS: usize = 1_000;
/// So many leave and come, and one order is given, in each second.
const CHURN: usize = 50;
const SECOND: Duration = Duration::from_secs(1);
const SAMPLE_EVERY: u64 = 5;

pub(crate) fn soak(dist: &Path, out: &Path, length: Duration) -> anyhow::Result<()> {
    let running = start(&StreamIt::with_redis(dist), 0)?;
    let mut crowd = Generator::start()?;
    crowd.does(&Task::Join { speech: running.speech.clone(), viewers: VIEWERS, stallers: 0 })?;
    crowd.settle(running.speech.quiet_ms)?;
    let start = Instant::now();
    let (mut samples_kb, mut seconds) = (Vec::new(), 0_u64);
    while start.elapsed() < length {
        crowd.does(&Task::Leave { group: 0, viewers: CHURN })?;
        crowd.does(&Task::More { group: 0, viewers: CHURN })?;
        crowd.order(0, FIRST_ORDER + seconds)?;
        if seconds.is_multiple_of(SAMPLE_EVERY) {
            samples_kb.push(running.resident_kb());
        }
        if seconds.is_multiple_of(60) {
            let mb = running.resident_kb() / 1000.0;
            println!("  {:>4} s: {mb:.1} MB, {} people came", start.elapsed().as_secs(), seconds * CHURN as u64);
        }
        seconds += 1;
        let due = start + SECOND * u32::try_from(seconds)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let is_flat = is_flat(&samples_kb);
    let (first, last) = (samples_kb.first().unwrap_or(&0.0) / 1000.0, samples_kb.last().unwrap_or(&0.0) / 1000.0);
    println!(
        "\nMemory of StreamIt and its Redis over {} s, {} people came and went: {first:.1} MB at the start, {last:.1} MB at \
         the end: {}",
        start.elapsed().as_secs(),
        seconds * CHURN as u64,
        if is_flat { "flat" } else { "not flat" }
    );
    let json = json!({ "seconds": seconds, "churn": CHURN, "resident_kb": samples_kb, "is_flat": is_flat });
    std::fs::write(out.join("soak.json"), format!("{json:#}\n"))?;
    Ok(())
}
