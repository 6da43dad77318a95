//! What a sync costs by how the file under it grew: plainly, by `fallocate` in steps, by zeros in steps. The figures are
//! in the comment of the journal's module `active`. Usage: `sync_cost DIRECTORY`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const STEP_BYTES: u64 = 512 * 1024;
const FILE_BYTES: u64 = 8 << 20;

#[derive(Debug, Clone, Copy)]
enum Growth {
    Plain,
    Fallocate,
    Zeros,
}

/// Times in milliseconds: the median and the 99th of a hundred of one commit, and all of it.
#[derive(Debug)]
struct Cost {
    p50: f64,
    p99: f64,
    whole: f64,
}

fn write_file(path: &Path, growth: Growth, commit: usize, clock: &Clock) -> io::Result<Vec<f64>> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let (body, zeros) = (vec![0x5a; commit], vec![0; STEP_BYTES as usize]);
    let (mut at, mut allocated) = (0, 0);
    let mut times = Vec::new();
    while at < FILE_BYTES {
        let begun = clock.now();
        while allocated < at + commit as u64 {
            match growth {
                Growth::Plain => {}
                Growth::Fallocate => {
                    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), allocated, STEP_BYTES)?;
                }
                Growth::Zeros => file.write_all_at(&zeros, allocated)?,
            }
            allocated += STEP_BYTES;
        }
        file.write_all_at(&body, at)?;
        file.sync_data()?;
        at += commit as u64;
        times.push(clock.now() - begun);
    }
    Ok(times)
}

struct Clock(std::time::Instant);

impl Clock {
    fn now(&self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1000.0
    }
}

fn cost(dir: &Path, growth: Growth, commit: usize, files: usize, clock: &Clock) -> io::Result<Cost> {
    let mut times = Vec::new();
    for file in 0..files {
        let path = dir.join(format!("sync_cost.{file}"));
        times.extend(write_file(&path, growth, commit, clock)?);
        std::fs::remove_file(&path)?;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Cost { p50: at(0.5), p99: at(0.99), whole: times.iter().sum() })
}

fn main() -> io::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    #[expect(clippy::disallowed_methods, reason = "there is no runtime here")]
    let clock = Clock(std::time::Instant::now());
    println!("commit KiB, growth: p50 ms, p99 ms, whole ms");
    for commit in [1024, 16 * 1024, 64 * 1024, 256 * 1024] {
        // As many commits of each size as a short run allows.
        let files = if commit < 16 * 1024 { 1 } else { 4 };
        for round in 0..2 {
            for growth in [Growth::Plain, Growth::Fallocate, Growth::Zeros] {
                let cost = cost(Path::new(&dir), growth, commit, files, &clock)?;
                println!(
                    "{round} {:4} {growth:?}: {:.3} {:.3} {:.0}",
                    commit / 1024,
                    cost.p50,
                    cost.p99,
                    cost.whole
                );
            }
        }
    }
    Ok(())
}
