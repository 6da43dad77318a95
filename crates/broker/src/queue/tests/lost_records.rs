//! A log of which records are missing, as damage leaves it: each costs what it said, and nothing else.
//!
//! Whatever is missing, a message that a channel waits for is handed out by it, once, and the books agree with the
//! messages.

use journal::{Journal, Position};

use super::crash::Run;
use super::*;
use crate::queue::state::State;

const END: Position = Position { segment: u32::MAX, offset: u32::MAX };

/// The state of a log of which one record in `one_in` is missing.
fn replayed(disk: &Simulated, chance: &mut Chance, one_in: u64) -> State {
    let small = journal::Settings { segment_bytes: 64 * 1024, ..journal::Settings::default() };
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let mut replay = Journal::open(fs, &settings().data_path, small).expect("it opens");
    let checkpoint = replay.checkpoint().map(|bytes| State::decode(&bytes, 10).expect("a whole checkpoint"));
    let mut state = checkpoint.unwrap_or_default();
    while let Some((at, bytes)) = replay.next() {
        if chance.below(one_in) > 0 {
            state.apply(at, &bytes).expect("a whole record");
        }
    }
    state.bring_back();
    state
}

fn check(state: &mut State, seed: u64) {
    let live: u64 = state.topics.values().map(|topic| topic.live).sum();
    let counted: u64 = state.topics.values().map(|topic| state.count_live(topic)).sum();
    assert_eq!((state.live, live), (counted, counted), "seed {seed}: the books of what is live");
    let State { topics, channels, .. } = state;
    for (number, channel) in channels.iter_mut() {
        let Some(topic) = topics.get(&channel.topic) else { continue };
        let Some(backlog) = channel.backlog_mut() else { continue };
        let waits: u64 = backlog.views().values().map(|view| u64::from(view.pending)).sum();
        let handed = std::iter::from_fn(|| backlog.next(&topic.index, u64::MAX - 1, END)).count() as u64;
        assert_eq!(handed, waits, "seed {seed}: messages that channel {number} waits for");
    }
}

#[test]
fn a_missing_record_costs_nothing_but_itself() {
    let mut skipped = 0;
    for seed in seeds(200, 5_000) {
        simulate(async {
            let mut run = Run::new(seed);
            let mut disk = Simulated::new(seed);
            for _ in 0..3 {
                disk = run.live(disk).await;
            }
            let mut chance = Chance::new(seed + 7);
            for one_in in [1 << 40, 20, 3] {
                let mut state = replayed(&disk, &mut chance, one_in);
                check(&mut state, seed);
                skipped += state.skipped;
                disk = disk.kill();
            }
        });
    }
    assert!(skipped > 0, "no record ever spoke of a missing one: the test tests nothing");
}
