//! The memory of this process, in the place of Go's heap.

use serde::Serialize;

/// nsqd's numbers of Go's heap and collector. There is neither here: all but one are 0.
#[derive(Debug, Default, Serialize)]
pub(super) struct Memory {
    pub(super) heap_objects: u64,
    pub(super) heap_idle_bytes: u64,
    /// What is resident and no file's: `RssAnon` of Linux.
    pub(super) heap_in_use_bytes: u64,
    pub(super) heap_released_bytes: u64,
    pub(super) gc_pause_usec_100: u64,
    pub(super) gc_pause_usec_99: u64,
    pub(super) gc_pause_usec_95: u64,
    pub(super) next_gc_bytes: u64,
    pub(super) gc_total_runs: u32,
}

/// As it is now; 0 where the system does not say.
pub(super) fn now() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Memory { heap_in_use_bytes: anonymous_bytes(&status).unwrap_or(0), ..Memory::default() }
}

fn anonymous_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        assert_eq!(anonymous_bytes("VmRSS:\t 9 kB\nRssAnon:\t    1412 kB\nThreads:\t1\n"), Some(1412 * 1024));
        assert_eq!(anonymous_bytes("VmRSS:\t 9 kB\n"), None);
    }
}
