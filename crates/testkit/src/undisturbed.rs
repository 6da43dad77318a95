//! Whether the processors were the test's own: those of a virtual machine are lent to others at times, and a rate or a
//! tail of latencies that was measured meanwhile says nothing about the program.

use std::time::Duration;
use std::{fs, thread};

/// With no round undisturbed until this one, the least disturbed one counts.
const ROUNDS_MAX: u32 = 4;
/// More of the processors' time than one part in so many was taken: the measurement is void.
const STOLEN_SHARE: u64 = 40;
/// Others' bursts last some seconds: before another round, times its number.
const PAUSE: Duration = Duration::from_secs(2);

/// Measures, and measures again while much of the processors' time was taken by the hypervisor. What it goes by is the
/// kernel's count of stolen time alone, never the result: no bound is met by trying.
pub fn undisturbed<T>(measure: impl FnMut() -> T) -> T {
    least_disturbed(measure, Ticks::now, PAUSE)
}

fn least_disturbed<T>(
    mut measure: impl FnMut() -> T,
    mut ticks: impl FnMut() -> Ticks,
    pause: Duration,
) -> T {
    let mut least: Option<(T, Ticks)> = None;
    for round in 1.. {
        let before = ticks();
        let measured = measure();
        let during = ticks().since(before);
        if least.as_ref().is_none_or(|(_, least)| during.is_less_disturbed_than(*least)) {
            least = Some((measured, during));
        }
        if during.stolen * STOLEN_SHARE <= during.all || round == ROUNDS_MAX {
            break;
        }
        eprintln!("void: {} of {} ticks were taken from this machine", during.stolen, during.all);
        thread::sleep(pause * round);
    }
    least.expect("there is a first round").0
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

    /// By the share of stolen ones.
    fn is_less_disturbed_than(self, other: Self) -> bool {
        self.stolen * other.all < other.stolen * self.all
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
    fn the_first_undisturbed_round_counts_else_the_least_disturbed() {
        let count = |stolen: &[u64]| {
            let (mut rounds, mut all, mut taken) = (0, 0, 0);
            let mut during = stolen.iter().flat_map(|stolen| [0, *stolen]);
            let ticks = || {
                all += 50;
                taken += during.next().expect("two looks a round");
                Ticks { all, stolen: taken }
            };
            least_disturbed(
                || {
                    rounds += 1;
                    rounds
                },
                ticks,
                Duration::ZERO,
            )
        };
        assert_eq!(count(&[1]), 1);
        assert_eq!(count(&[20, 0]), 2);
        assert_eq!(count(&[20, 5, 6, 40]), 2);
        assert_eq!(count(&[20, 15, 16, 3]), 4);
    }

    #[test]
    fn a_measurement_is_made_once_where_nothing_is_taken_and_never_for_ever() {
        let mut rounds = 0;
        undisturbed(|| rounds += 1);
        assert!((1..=ROUNDS_MAX).contains(&rounds));
    }
}
