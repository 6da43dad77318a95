//! Whether the processors were the test's own: those of a virtual machine are lent to others at times, and a rate or a
//! tail of latencies that was measured meanwhile says nothing about the program.

use std::cmp::Ordering;
use std::time::{Duration, Instant};
use std::{fs, hint, thread};

/// So many rounds may be void; then the least disturbed ones count, void or not.
const VOID_MAX: usize = 3;
/// More of the processors' time than one part in so many was taken: the measurement is void.
const STOLEN_SHARE: u64 = 40;
/// Before a void round is made again, the processors are looked at so often, for so long each, until they are this
/// machine's own again; with a pause between two looks, for others' bursts last some seconds.
const LOOKS_MAX: u32 = 4;
const LOOK: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(2);

/// Measures, and measures again while much of the processors' time was taken by the hypervisor. What it goes by is the
/// kernel's count of stolen time alone, never the result: no bound is met by trying.
pub fn undisturbed<T>(measure: impl FnMut() -> T) -> T {
    undisturbed_rounds(1, measure).pop().expect("one was asked for")
}

/// So many undisturbed rounds of the same measurement.
pub fn undisturbed_rounds<T>(wanted: usize, measure: impl FnMut() -> T) -> Vec<T> {
    least_disturbed(wanted, measure, Ticks::now, wait_until_calm)
}

fn least_disturbed<T>(
    wanted: usize,
    mut measure: impl FnMut() -> T,
    mut ticks: impl FnMut() -> Ticks,
    mut wait: impl FnMut(),
) -> Vec<T> {
    let mut rounds: Vec<(T, Ticks)> = Vec::new();
    let mut void = 0;
    while rounds.len() < wanted + void.min(VOID_MAX) {
        let before = ticks();
        let measured = measure();
        let during = ticks().since(before);
        if during.is_void() {
            void += 1;
            eprintln!("void: {} of {} ticks were taken from this machine", during.stolen, during.all);
            if void <= VOID_MAX {
                wait();
            }
        }
        rounds.push((measured, during));
    }
    rounds.sort_by(|(_, one), (_, other)| one.compare_disturbance(*other));
    rounds.into_iter().take(wanted).map(|(measured, _)| measured).collect()
}

fn wait_until_calm() {
    for _ in 0..LOOKS_MAX {
        let before = Ticks::now();
        keep_processors_busy(LOOK);
        if !Ticks::now().since(before).is_void() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Nothing is taken from a processor that wants nothing.
fn keep_processors_busy(time: Duration) {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                let begun = Instant::now();
                while begun.elapsed() < time {
                    hint::spin_loop();
                }
            });
        }
    });
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

    fn is_void(self) -> bool {
        self.stolen * STOLEN_SHARE > self.all
    }

    /// By the share of stolen ones.
    fn compare_disturbance(self, other: Self) -> Ordering {
        (self.stolen * other.all).cmp(&(other.stolen * self.all))
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

    /// The numbers of the rounds that count, with so many of each round's 50 ticks stolen.
    fn counted(wanted: usize, stolen: &[u64]) -> Vec<usize> {
        let (mut rounds, mut all, mut taken) = (0, 0, 0);
        let mut during = stolen.iter().flat_map(|stolen| [0, *stolen]);
        let ticks = || {
            all += 50;
            taken += during.next().expect("two looks a round");
            Ticks { all, stolen: taken }
        };
        let measure = || {
            rounds += 1;
            rounds
        };
        let counted = least_disturbed(wanted, measure, ticks, || ());
        assert_eq!(rounds, stolen.len());
        counted
    }

    #[test]
    fn the_first_undisturbed_round_counts_else_the_least_disturbed() {
        assert_eq!(counted(1, &[1]), [1]);
        assert_eq!(counted(1, &[20, 0]), [2]);
        assert_eq!(counted(1, &[20, 5, 6, 40]), [2]);
        assert_eq!(counted(1, &[20, 15, 16, 3]), [4]);
    }

    #[test]
    fn of_several_rounds_void_ones_are_made_again_a_few_times() {
        assert_eq!(counted(3, &[0, 0, 0]), [1, 2, 3]);
        assert_eq!(counted(3, &[0, 20, 0, 0]), [1, 3, 4]);
        assert_eq!(counted(3, &[20, 0, 30, 5, 40, 1]), [2, 6, 4]);
    }

    #[test]
    fn a_measurement_is_made_once_where_nothing_is_taken_and_never_for_ever() {
        let mut rounds = 0;
        undisturbed(|| rounds += 1);
        assert!((1..=1 + VOID_MAX).contains(&rounds));
    }
}
