//! What the process has cost so far.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Time and memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Since delivery began.
    pub(crate) wall: Duration,
    /// Of all threads, in the program and in the kernel for it, since the process began.
    pub(crate) cpu: Duration,
    /// The most that was resident at once.
    pub(crate) memory_peak_bytes: Option<u64>,
}

impl Usage {
    /// The cost up to now of what began at `began`.
    pub(crate) fn since(began: Instant) -> Usage {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(cpu.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(cpu.tv_nsec).unwrap_or_default();
        Usage {
            wall: began.elapsed(),
            cpu: Duration::new(seconds, nanos),
            memory_peak_bytes: memory_peak_bytes(),
        }
    }
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
