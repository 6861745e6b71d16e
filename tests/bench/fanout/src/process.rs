//! What processes cost: CPU time, memory, and what waits in their sockets; and on which core they run.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command},
};

use anyhow::{Context, ensure};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Everything that serves, and what measures it.
pub(crate) const SERVERS: usize = 0;
pub(crate) const GENERATOR: usize = 1;

/// Has everything that `start` starts run on one core.
pub(crate) fn on_core<T>(core: usize, start: impl FnOnce() -> T) -> anyhow::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(core)?;
    // Whatever is started inherits it.
    let started = start();
    sched_setaffinity(None, &before)?;
    Ok(started)
}

pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("this measurement needs core {core}, of two"))
}

/// Raises the limit of open files as far as we may, and sees whether that is enough; whatever is started inherits it.
pub(crate) fn open_files(needed: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let is_enough = limit.maximum.is_none_or(|maximum| maximum >= needed);
    ensure!(is_enough, "{needed} open files are needed, and the hard limit is lower: see `ulimit -Hn`");
    Ok(())
}

/// A process that ends with this.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        Ok(Process(command.spawn().with_context(|| format!("cannot start {program}"))?))
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The CPU time that each thread of some processes has had, in ns.
pub(crate) struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    pub(crate) fn of(processes: &[u32]) -> CpuTime {
        let mut threads = BTreeMap::new();
        for process in processes {
            for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let id = thread.file_name().to_string_lossy().parse();
                let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                if let (Ok(id), Some(ns)) = (id, first_number(&stat)) {
                    threads.insert(id, ns);
                }
            }
        }
        CpuTime(threads)
    }

    /// In µs. What a thread that has ended meanwhile did last is not in it.
    pub(crate) fn until(&self, later: &CpuTime) -> f64 {
        let of = |(thread, ns): (&u32, &u64)| ns.saturating_sub(*self.0.get(thread).unwrap_or(&0));
        later.0.iter().map(of).sum::<u64>() as f64 / 1000.0
    }
}

/// The memory that processes have of their own and share with files, in kB.
pub(crate) fn resident_kb(processes: &[u32]) -> f64 {
    let of = |process: &u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status.lines().find_map(|line| first_number(line.strip_prefix("VmRSS:")?)).unwrap_or(0)
    };
    processes.iter().map(of).sum::<u64>() as f64
}

/// How many bytes wait to be sent to each socket at an address of ours.
pub(crate) fn waiting_for(address: [u8; 4]) -> Vec<u64> {
    waiting(&fs::read_to_string("/proc/net/tcp").unwrap_or_default(), address)
}

fn waiting(table: &str, address: [u8; 4]) -> Vec<u64> {
    let address = format!("{:08X}:", u32::from_ne_bytes(address));
    let of = |line: &str| {
        let mut columns = line.split_whitespace().skip(2);
        let (remote, state, queues) = (columns.next()?, columns.next()?, columns.next()?);
        // 01: established.
        (remote.starts_with(&address) && state == "01").then_some(())?;
        u64::from_str_radix(queues.split_once(':')?.0, 16).ok()
    };
    table.lines().filter_map(of).collect()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_come_and_go_do_not_turn_time_back() {
        let before = CpuTime(BTreeMap::from([(1, 5_000), (2, 9_000)]));
        let later = CpuTime(BTreeMap::from([(1, 7_000), (3, 1_000)]));
        assert!((before.until(&later) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_waits_for_an_address_is_read_from_the_systems_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
             0: 0100007F:1F90 6300007F:C001 01 00001A2B:00000000 01:00000014 00000000     0        0 1\n\
             1: 0100007F:1F90 0200007F:C001 01 000000FF:00000000 01:00000014 00000000     0        0 1\n\
             2: 0100007F:1F90 6300007F:C002 06 00000001:00000000 01:00000014 00000000     0        0 1\n";
        if cfg!(target_endian = "little") {
            assert_eq!(waiting(table, [127, 0, 0, 99]), [0x1A2B]);
        }
    }

    #[test]
    fn this_process_costs_something() {
        let own = [std::process::id()];
        assert!(resident_kb(&own) > 0.0);
        let before = CpuTime::of(&own);
        let sum = (0..20_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum ^ n));
        std::hint::black_box(sum);
        assert!(before.until(&CpuTime::of(&own)) > 0.0);
    }
}
