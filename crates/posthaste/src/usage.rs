//! What the process has cost so far.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Time and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Since what is measured began.
    pub(crate) wall: Duration,
    /// Of all threads, in the program and in the kernel for it, since the process began.
    pub(crate) cpu: Duration,
    /// The most that was resident at once.
    pub(crate) memory_peak_bytes: Option<u64>,
}

impl Usage {
    /// The cost up to now of what began at `began`.
    pub(crate) fn since(began: Instant) -> Usage {
        Usage { wall: began.elapsed(), cpu: process_cpu(), memory_peak_bytes: memory_peak_bytes() }
    }
}

/// CPU time of all threads of this process.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

/// CPU time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let cpu = clock_gettime(clock);
    let seconds = u64::try_from(cpu.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(cpu.tv_nsec).unwrap_or_default())
}

/// Linux tells it as `VmHWM:     12345 kB`, elsewhere there is no such file.
fn memory_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something() {
        let usage = Usage::since(Instant::now());
        assert!(usage.cpu > Duration::ZERO);
        if cfg!(target_os = "linux") {
            assert!(usage.memory_peak_bytes.is_some_and(|peak| peak > 100_000));
        }
    }
}
