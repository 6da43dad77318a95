//! How many records a second become durable by group commit on one thread, what one costs in CPU, and how fast they are
//! read back and replayed. Usage: `group_commit DIRECTORY [BODY_BYTES]`; the directory should not exist.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use journal::{Class, Disk, Journal, Position, Settings};

/// Records of a round, or so many commits.
const RECORDS: usize = 200_000;
const COMMITS: usize = 3000;

fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

fn wall_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

fn measured<T>(
    what: &str,
    records: usize,
    act: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let (cpu, wall) = (cpu_ms(), wall_ms());
    let done = act()?;
    let (cpu, wall) = (cpu_ms() - cpu, wall_ms() - wall);
    let rate = records as f64 / wall * 1000.0;
    println!("{what}: {rate:.0} records/s, {:.2} us CPU each", cpu * 1000.0 / records as f64);
    Ok(done)
}

fn open(dir: &Path) -> Result<(Journal, usize), Box<dyn Error>> {
    let mut replay = Journal::open(Arc::new(Disk), dir, Settings::default())?;
    while replay.next().is_some() {}
    let (journal, recovery) = replay.finish()?;
    Ok((journal, recovery.records as usize))
}

fn publish(journal: &mut Journal, body: &[u8], commit: usize) -> Result<Vec<Position>, Box<dyn Error>> {
    let records = RECORDS.min(commit * COMMITS);
    let mut at = Vec::with_capacity(records);
    let head = [7; 30];
    while at.len() < records {
        for _ in 0..commit {
            at.push(journal.append(&[&head, body], Class::Ordinary)?);
        }
        if let Some(job) = journal.begin_sync()? {
            journal.end_sync(job.run())?;
        }
    }
    Ok(at)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: group_commit DIRECTORY [BODY_BYTES]")?;
    let dir = Path::new(&dir);
    let body = vec![0x5a; arguments.next().map_or(Ok(1024), |bytes| bytes.parse())?];
    let mut at = Vec::new();
    for commit in [1, 64, 200, 2000] {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        let (mut journal, _) = open(dir)?;
        at = measured(&format!("commits of {commit}"), RECORDS.min(commit * COMMITS), || {
            publish(&mut journal, &body, commit)
        })?;
    }
    let bytes: u64 =
        std::fs::read_dir(dir)?.flatten().filter_map(|entry| entry.metadata().ok()).map(|it| it.len()).sum();
    println!("bytes on disk for each of payload: {:.3}", bytes as f64 / (at.len() * body.len()) as f64);
    let (journal, replayed) = measured("replay", at.len(), || open(dir))?;
    assert_eq!(replayed, at.len());
    measured("read in order", at.len(), || {
        for at in &at {
            journal.read(*at)?;
        }
        Ok(())
    })
}
