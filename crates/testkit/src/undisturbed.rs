//! Whether the processors were the test's own: those of a virtual machine are lent to others at times, and a rate or a
//! tail of latencies that was measured meanwhile says nothing about the program.

use std::time::Duration;
use std::{fs, thread};

/// A measurement counts at the latest in this round.
const ROUNDS_MAX: u32 = 4;
/// More of the processors' time than one part in so many was taken: the measurement is void.
const STOLEN_SHARE: u64 = 40;
/// Others' bursts last some seconds: before another round, times its number.
const PAUSE: Duration = Duration::from_secs(2);

/// Measures, and measures again while much of the processors' time was taken by the hypervisor. What it goes by is the
/// kernel's count of stolen time alone, never the result: no bound is met by trying.
pub fn undisturbed<T>(mut measure: impl FnMut() -> T) -> T {
    for round in 1.. {
        let before = Ticks::now();
        let measured = measure();
        let during = Ticks::now().since(before);
        let is_void = during.stolen * STOLEN_SHARE > during.all;
        if !is_void || round == ROUNDS_MAX {
            return measured;
        }
        eprintln!("void: {} of {} ticks were taken from this machine", during.stolen, during.all);
        thread::sleep(PAUSE * round);
    }
    unreachable!("the last round counts")
}

/// Ticks of all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    /// None where the kernel does not count them.
    fn now() -> Self {
        fs::read_to_string("/proc/stat").ok().and_then(|stat| Self::parse(&stat)).unwrap_or_default()
    }

    /// proc(5): user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in user already.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        Some(Self { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
    }

    fn since(self, before: Self) -> Self {
        Self { all: self.all.saturating_sub(before.all), stolen: self.stolen.saturating_sub(before.stolen) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_ticks_are_the_eighth() {
        let stat = "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(Ticks::parse(stat), Some(Ticks { all: 360, stolen: 80 }));
        assert_eq!(Ticks::parse("intr 1"), None);
    }

    #[test]
    fn a_measurement_is_made_once_where_nothing_is_taken_and_never_for_ever() {
        let mut rounds = 0;
        undisturbed(|| rounds += 1);
        assert!((1..=ROUNDS_MAX).contains(&rounds));
    }
}
