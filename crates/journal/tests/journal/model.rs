//! A small queue on the journal, against what it may remember: thousands of lives that end by power cut or kill, with
//! syncs and writes that fail, a disk that fills, and checkpoints that rot.
//!
//! The queue's state is the set of ids that were put and not taken. A put or a take is certain once it was durable; one
//! that was refused, or still waited when the machine went down, may have happened or not. After each start: what was
//! certain is exactly so, and every body is the one that was put.

use std::collections::BTreeMap;

use journal::simulated::{Fail, Simulated};
use journal::{AppendError, CheckpointJob, Class, Journal, Lost, Position, SyncJob, WriteError};

use crate::rig::{dir, open};

/// Seeds of a quick run; `JOURNAL_SEEDS` for more.
const SEEDS: u64 = 1500;

const PUT: u8 = b'p';
const TAKE: u8 = b't';

/// The state machine that stands on the journal.
#[derive(Debug, Default, Clone)]
struct Queue {
    live: BTreeMap<u64, Position>,
}

impl Queue {
    fn apply(&mut self, at: Position, record: &[u8]) {
        let id = id_of(record);
        match record[0] {
            PUT => self.live.insert(id, at),
            TAKE => self.live.remove(&id),
            other => panic!("a record of kind {other} at {at}"),
        };
    }

    fn encode(&self) -> Vec<u8> {
        let entry = |(id, at): (&u64, &Position)| [id.to_le_bytes(), at.to_u64().to_le_bytes()].concat();
        self.live.iter().flat_map(entry).collect()
    }

    fn decode(state: &[u8]) -> Queue {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let entries = state.chunks_exact(16).map(|entry| (number(&entry[..8]), number(&entry[8..])));
        Queue { live: entries.map(|(id, at)| (id, Position::from_u64(at))).collect() }
    }
}

fn id_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[1..9].try_into().expect("eight bytes"))
}

fn put_record(id: u64) -> Vec<u8> {
    let bytes = match id % 40 {
        0 => 30_000,
        1 => 90_000,
        n => n * 31,
    };
    let mut record = vec![PUT];
    record.extend(id.to_le_bytes());
    record.extend((0..bytes).map(|n| (n ^ id) as u8));
    record
}

/// What may be true of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    No,
    Perhaps,
    Certain,
}

#[derive(Debug, Clone, Copy)]
struct Id {
    put: Truth,
    taken: Truth,
}

/// An event that is not durable yet.
#[derive(Debug)]
struct Waiting {
    end: Position,
    /// Where the put is that it makes or takes.
    put_at: Position,
    id: u64,
    kind: u8,
}

struct Run {
    disk: Simulated,
    journal: Journal,
    queue: Queue,
    ids: BTreeMap<u64, Id>,
    waiting: Vec<Waiting>,
    sync: Option<SyncJob>,
    checkpoint: Option<CheckpointJob>,
    random: u64,
    next_id: u64,
    /// A checkpoint was made since the last one rotted: two are whole.
    may_rot: bool,
    seen: Seen,
}

/// What a run came across: a model whose faults never happen proves nothing.
#[derive(Debug, Default)]
struct Seen {
    starts: u64,
    losses: u64,
    refused: u64,
    checkpoints: u64,
    unlinked: u64,
    rotten: u64,
    torn: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let disk = Simulated::new(seed);
        disk.set_capacity(4 << 20);
        let journal = open(&disk).journal;
        Run {
            disk,
            journal,
            queue: Queue::default(),
            ids: BTreeMap::new(),
            waiting: Vec::new(),
            sync: None,
            checkpoint: None,
            random: seed,
            next_id: 1,
            may_rot: true,
            seen: Seen::default(),
        }
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) % of
    }

    fn step(&mut self) {
        match self.chance(100) {
            0..=34 => self.put(),
            35..=59 => self.take(),
            60..=64 => match self.journal.write() {
                Ok(()) | Err(WriteError::Full) => {}
                Err(WriteError::Lost(lost)) => self.lose(&lost),
            },
            65..=74 => self.begin_sync(),
            75..=84 => self.end_sync(),
            85..=87 => self.begin_checkpoint(),
            88..=90 => self.end_checkpoint(),
            91..=93 => self.retire(),
            94 => self.disk.fail_syncs(Fail::Nth(1 + self.random % 6)),
            95 => self.disk.fail_writes(Fail::Nth(1 + self.random % 12)),
            96 => self.disk.set_capacity(self.disk.used() + self.random % 50_000),
            97 => {
                self.disk.set_capacity(4 << 20);
                self.journal.space();
            }
            _ => self.read(),
        }
    }

    fn put(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let record = put_record(id);
        let cut = (self.random >> 5) as usize % record.len();
        let appended = self.journal.append(&[&record[..cut], &record[cut..]], Class::Ordinary);
        if self.appended(appended, id, PUT, &record) {
            self.ids.insert(id, Id { put: Truth::Perhaps, taken: Truth::No });
        }
    }

    fn take(&mut self) {
        let count = self.queue.live.len() as u64;
        if count == 0 {
            return;
        }
        let nth = self.chance(count) as usize;
        let id = *self.queue.live.keys().nth(nth).expect("there are that many");
        let record = [&[TAKE][..], &id.to_le_bytes()].concat();
        let appended = self.journal.append(&[&record], Class::Reserved);
        if self.appended(appended, id, TAKE, &record) {
            self.ids.get_mut(&id).expect("it was put").taken = Truth::Perhaps;
        }
    }

    fn appended(&mut self, done: Result<Position, AppendError>, id: u64, kind: u8, record: &[u8]) -> bool {
        match done {
            Ok(at) => {
                let put_at = self.queue.live.get(&id).copied().unwrap_or(at);
                self.queue.apply(at, record);
                self.waiting.push(Waiting { end: self.journal.end(), put_at, id, kind });
                true
            }
            Err(AppendError::Lost(lost)) => {
                self.lose(&lost);
                false
            }
            Err(AppendError::Full { .. } | AppendError::Io { .. }) => {
                self.seen.refused += 1;
                false
            }
            Err(error @ AppendError::TooLarge { .. }) => panic!("{error}"),
        }
    }

    /// Who waits is refused, and the state is what the records that are left make. Nobody knows about what is lost.
    fn lose(&mut self, lost: &Lost) {
        self.seen.losses += 1;
        let (gone, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.end > lost.from);
        self.waiting = waiting;
        let gone: Vec<Waiting> = gone;
        assert!(gone.iter().all(|waiting| waiting.end <= lost.to));
        for event in gone.iter().rev() {
            match event.kind {
                PUT => self.queue.live.remove(&event.id),
                _ => self.queue.live.insert(event.id, event.put_at),
            };
        }
    }

    fn begin_sync(&mut self) {
        match self.journal.begin_sync() {
            Ok(Some(job)) => assert!(self.sync.replace(job).is_none(), "one at a time"),
            Ok(None) => {}
            Err(lost) => self.lose(&lost),
        }
    }

    fn end_sync(&mut self) {
        let Some(job) = self.sync.take() else { return };
        match self.journal.end_sync(job.run()) {
            Ok(durable) => {
                let (done, waiting) =
                    std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.end <= durable);
                self.waiting = waiting;
                for event in <Vec<Waiting>>::into_iter(done) {
                    let id = self.ids.get_mut(&event.id).expect("it was put");
                    match event.kind {
                        PUT => id.put = Truth::Certain,
                        _ => id.taken = Truth::Certain,
                    }
                }
            }
            Err(lost) => self.lose(&lost),
        }
    }

    fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_none() {
            match self.journal.begin_checkpoint(self.queue.encode()) {
                Ok(job) => self.checkpoint = Some(job),
                Err(journal::CheckpointError::Write(WriteError::Lost(lost))) => self.lose(&lost),
                Err(_) => {}
            }
        }
    }

    fn end_checkpoint(&mut self) {
        let Some(job) = self.checkpoint.take() else { return };
        let before = self.journal.segments().count();
        if self.journal.end_checkpoint(job.run()).is_ok() {
            self.seen.checkpoints += 1;
            self.may_rot = true;
            self.seen.unlinked += (before - self.journal.segments().count()) as u64;
        }
    }

    fn retire(&mut self) {
        let sealed: Vec<u32> = self.journal.segments().filter(|it| it.sealed).map(|it| it.number).collect();
        for number in
            sealed.into_iter().filter(|number| !self.queue.live.values().any(|at| at.segment == *number))
        {
            self.journal.retire(number).expect("it is sealed");
        }
    }

    fn read(&mut self) {
        if let Some((id, at)) = self.queue.live.iter().nth(self.random as usize % 7) {
            assert_eq!(self.journal.read(*at).expect("it is live"), put_record(*id), "id {id} at {at}");
        }
    }

    /// The machine, or only the process, goes down and comes up.
    fn restart(&mut self, is_crash: bool) {
        self.sync = None;
        self.checkpoint = None;
        self.disk = if is_crash { self.disk.crash() } else { self.disk.kill() };
        self.disk.fail_syncs(Fail::Never);
        self.disk.fail_writes(Fail::Never);
        if self.chance(3) == 0 && self.may_rot {
            self.rot();
        }
        let opened = open(&self.disk);
        self.seen.starts += 1;
        self.seen.torn += u64::from(opened.recovery.cut_bytes > 0);
        self.queue = opened.state.as_deref().map(Queue::decode).unwrap_or_default();
        for (at, record) in &opened.records {
            self.queue.apply(*at, record);
        }
        self.journal = opened.journal;
        self.check();
        self.waiting.clear();
    }

    /// A bit of the newest checkpoint flips, and it is the only damage that there is.
    fn rot(&mut self) {
        let paths = (0..300).rev().map(|sequence| dir().join(format!("{sequence:08x}.checkpoint")));
        let kept: Vec<_> = paths.filter_map(|path| Some((self.disk.read(&path)?, path))).collect();
        if let [(newest, path), _, ..] = kept.as_slice() {
            let mut newest = newest.clone();
            let bit = self.random as usize % (newest.len() * 8);
            newest[bit / 8] ^= 1 << (bit % 8);
            self.disk.put(path, newest);
            self.seen.rotten += 1;
            self.may_rot = false;
        }
    }

    fn check(&mut self) {
        for (id, at) in &self.queue.live {
            let body = self.journal.read(*at).unwrap_or_else(|error| panic!("id {id}: {error}"));
            assert_eq!(body, put_record(*id), "id {id} at {at}");
        }
        for (number, id) in &mut self.ids {
            let is_live = self.queue.live.contains_key(number);
            if id.put == Truth::Certain && id.taken == Truth::No {
                assert!(is_live, "id {number} was durable and is lost");
            }
            if id.taken == Truth::Certain {
                assert!(!is_live, "id {number} was taken durably and is back");
            }
            // What a start has given back is durable, and what it has not stays away.
            *id = match is_live {
                true => Id { put: Truth::Certain, taken: Truth::No },
                false => Id { put: id.put, taken: Truth::Certain },
            };
        }
        assert!(self.queue.live.keys().all(|id| self.ids.contains_key(id)), "nobody put that");
    }
}

fn run(seed: u64) -> (Seen, journal::simulated::Fired) {
    let mut run = Run::new(seed);
    for life in 0..4 {
        for _ in 0..60 + run.chance(200) {
            run.step();
        }
        run.restart(!(seed + life).is_multiple_of(3));
    }
    (run.seen, run.disk.fired())
}

#[test]
fn what_was_certain_before_a_crash_is_so_behind_it() {
    let seeds = std::env::var("JOURNAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let mut all = Seen::default();
    let mut fired = [0; 3];
    let from: u64 = std::env::var("JOURNAL_SEED_FROM").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in from..from + seeds {
        let (seen, faults) = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        all.starts += seen.starts;
        all.losses += seen.losses;
        all.refused += seen.refused;
        all.checkpoints += seen.checkpoints;
        all.unlinked += seen.unlinked;
        all.rotten += seen.rotten;
        all.torn += seen.torn;
        for (sum, fault) in
            fired.iter_mut().zip([faults.failed_syncs, faults.failed_writes, faults.out_of_space])
        {
            *sum += fault;
        }
    }
    println!("{seeds} seeds: {all:?}; failed syncs, failed writes, no space: {fired:?}");
    let seen = [all.losses, all.refused, all.checkpoints, all.unlinked, all.rotten, all.torn];
    assert!(
        seeds < 1000 || seen.into_iter().chain(fired).all(|count| count > seeds / 20),
        "too little happened"
    );
}
