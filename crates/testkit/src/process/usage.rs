//! CPU time and memory of a process, from `/proc`.

use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all its threads, in ticks of 10 ms.
    pub cpu: Duration,
    /// VmHWM: the most memory that was resident at once.
    pub peak_rss_bytes: u64,
    /// VmRSS: what is resident now.
    pub rss_bytes: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

/// USER_HZ is 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

impl Usage {
    /// Of the process with this id, while it lives; afterwards zeros, but for the CPU time of one not yet waited for.
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self {
            cpu: cpu(pid),
            peak_rss_bytes: field("VmHWM") << 10,
            rss_bytes: field("VmRSS") << 10,
            descriptors,
            threads: usize::try_from(field("Threads")).unwrap_or(0),
        }
    }
}

/// CPU time so far of a process and of its children that live: nginx does its work in a child.
pub fn cpu_with_children(pid: u32) -> Duration {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // The parent is field 4 of proc_pid_stat(5), the second behind the name.
    let children = pids.filter(|child| stat(*child).get(1) == Some(&i64::from(pid)));
    children.map(cpu).sum::<Duration>() + cpu(pid)
}

fn cpu(pid: u32) -> Duration {
    // utime and stime are fields 14 and 15 of proc_pid_stat(5), the 12th and 13th behind the name.
    let ticks: i64 = stat(pid).iter().skip(11).take(2).sum();
    TICK * u32::try_from(ticks).unwrap_or(0)
}

/// What stands behind the program's name in `/proc/PID/stat`; the state, a letter, as 0.
fn stat(pid: u32) -> Vec<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in parentheses, which may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else { return Vec::new() };
    rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}
