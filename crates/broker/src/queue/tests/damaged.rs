//! Messages that the disk has lost, and who is told.

use std::fmt::{Debug, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use journal::simulated::Fail;
use tracing::field::{Field, Visit};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, span};

use super::*;

/// Lines of the log, as told on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    /// The lines of a level.
    fn at(&self, level: Level) -> Vec<String> {
        let lines = self.0.lock().expect("no line panics");
        lines.iter().filter(|line| line.0 == level).map(|line| line.1.clone()).collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).expect("a string takes it");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no line panics").push((*event.metadata().level(), line.0));
    }
}

fn segment() -> PathBuf {
    Path::new("/queue").join("00000001.segment")
}

/// Where a body lies in the first segment.
fn find(disk: &Simulated, body: &str) -> usize {
    let bytes = disk.read(&segment()).expect("the first segment");
    bytes.windows(body.len()).position(|window| window == body.as_bytes()).expect("it was published")
}

/// Three messages whose middle one has blocks of the disk for itself, read back by a second start.
async fn three(disk: &Simulated) -> (Simulated, String) {
    let middle = format!("the middle one {}", "m".repeat(20_000));
    let open = Open::on(disk);
    // The channel is there before the messages, and so are its views of them.
    drop(open.subscribe("t", "a", 1));
    for body in ["before", &middle, "behind"] {
        open.publish("t", body).await;
    }
    (open.kill(disk).await, middle)
}

#[test]
fn a_start_says_that_all_is_well_or_what_is_not() {
    let log = Log::default();
    with_default(log.clone(), || {
        simulate(async {
            let (disk, middle) = three(&Simulated::new(1)).await;
            let open = Open::on(&disk);
            let told = log.at(Level::INFO).pop().expect("each start tells");
            assert!(told.contains("the log was read") && told.contains("messages=3"), "{told}");
            assert_eq!((log.at(Level::WARN), log.at(Level::ERROR)), (vec![], vec![]));

            let disk = open.kill(&disk).await;
            let mut bytes = disk.read(&segment()).expect("the first segment");
            bytes[find(&disk, &middle) + 100] ^= 1;
            bytes.truncate(find(&disk, "behind") + 3);
            bytes.extend([7; 100]);
            disk.put(&segment(), bytes);
            let open = Open::on(&disk);
            assert_eq!(open.recovery.messages, 1);
            let told = log.at(Level::WARN).join("\n");
            assert!(told.contains("00000001-") && told.contains(".torn"), "{told}");

            let (disk, middle) = three(&Simulated::new(4)).await;
            let mut bytes = disk.read(&segment()).expect("the first segment");
            bytes[find(&disk, &middle) + 100] ^= 1;
            disk.put(&segment(), bytes);
            let open = Open::on(&disk);
            let told = log.at(Level::ERROR).join("\n");
            assert!(told.contains("quarantined=1") && told.contains("00000001-"), "{told}");
            assert!(open.recovery.journal.set_aside.iter().all(|name| told.contains(name)), "{told}");
        });
    });
}

#[test]
fn a_message_that_is_found_damaged_is_copied_aside_and_told_and_the_others_come() {
    let log = Log::default();
    with_default(log.clone(), || {
        simulate(async {
            let (disk, middle) = three(&Simulated::new(2)).await;
            let open = Open::on(&disk);
            let mut bytes = disk.read(&segment()).expect("the first segment");
            bytes[find(&disk, &middle) + 100] ^= 1;
            disk.put(&segment(), bytes.clone());
            let mut a = open.subscribe("t", "a", 10);
            assert_eq!(drain(&mut a), ["before", "behind"]);
            assert_eq!((open.counts("t", "a"), open.queue.counters().messages_damaged), ((0, 0, 0), 1));
            let told = log.at(Level::ERROR).join("\n");
            let name = told.split('"').find(|part| part.ends_with(".damaged")).expect("the copy's name");
            let copy = disk.read(&Path::new("/queue").join(name)).expect("the copy");
            let lies = bytes.windows(copy.len()).position(|window| window == copy).expect("as it was");
            assert!(
                lies < find(&disk, "mmm") && lies + copy.len() >= find(&disk, "mmm") + 20_000,
                "all of it"
            );
        });
    });
}

#[test]
fn a_message_that_the_disk_does_not_give_comes_when_it_does_and_is_given_up_when_it_never_does() {
    for heals in [true, false] {
        let log = Log::default();
        with_default(log.clone(), || {
            simulate(async {
                let (disk, middle) = three(&Simulated::new(3)).await;
                let open = Open::on(&disk);
                let from = find(&disk, &middle) as u64;
                disk.break_blocks(&segment(), from + 4_096..from + 8_192);
                let mut a = open.subscribe("t", "a", 10);
                assert_eq!(drain(&mut a), ["before", "behind"]);
                for _ in 0..10 {
                    pass(1_100).await;
                    assert_eq!(drain(&mut a), [""; 0]);
                }
                assert_eq!(open.queue.counters().messages_damaged, 0, "it may still come");
                if heals {
                    disk.heal_blocks(&segment());
                    pass(1_100).await;
                    assert_eq!(drain(&mut a), [middle]);
                    return;
                }
                // A disk that takes nothing either has gone away, and its messages with it for the time being.
                disk.fail_writes(Fail::Always);
                for _ in 0..60 {
                    pass(1_100).await;
                    assert_eq!(drain(&mut a), [""; 0]);
                }
                assert_eq!(open.queue.counters().messages_damaged, 0, "the disk is away");
                disk.fail_writes(Fail::Never);
                for _ in 0..40 {
                    pass(1_100).await;
                    assert_eq!(drain(&mut a), [""; 0]);
                }
                assert_eq!((open.counts("t", "a"), open.queue.counters().messages_damaged), ((0, 0, 0), 1));
                let told = log.at(Level::ERROR).join("\n");
                let name = told.split('"').find(|part| part.ends_with(".damaged")).expect("the copy's name");
                assert!(disk.read(&Path::new("/queue").join(name)).expect("the copy").len() > 20_000);
            });
        });
    }
}

#[test]
fn what_the_disk_does_not_give_is_not_counted_for_longer_than_somebody_asks_for_it() {
    simulate(async {
        let (disk, middle) = three(&Simulated::new(6)).await;
        let open = Open::on(&disk);
        let from = find(&disk, &middle) as u64;
        disk.break_blocks(&segment(), from + 4_096..from + 8_192);
        let mut a = open.subscribe("t", "a", 10);
        assert_eq!(drain(&mut a), ["before", "behind"]);
        let counted = || open.queue.0.borrow().unread.len();
        assert_eq!(counted(), 1);
        open.stored(open.queue.empty_channel(&topic("t"), &channel("a"))).await;
        pass(70_000).await;
        assert_eq!(counted(), 0);
    });
}

/// A log with these bytes as its checkpoint's state, if any, and as a record.
fn log_of(state: Option<&[u8]>, record: &[u8]) -> Simulated {
    let disk = Simulated::new(5);
    let replay =
        journal::Journal::open(Arc::new(disk.clone()), Path::new("/queue"), journal::Settings::default());
    let (mut journal, _) = replay.and_then(journal::Replay::finish).expect("an empty one");
    if let Some(state) = state {
        let job = journal.begin_checkpoint(state.to_vec()).expect("none is under way");
        journal.end_checkpoint(job.run()).expect("nothing waits for a sync");
    }
    journal.append(&[record], journal::Class::Ordinary).expect("there is space");
    journal.write().expect("there is space");
    disk.kill()
}

#[test]
fn what_a_newer_program_wrote_is_refused_and_what_makes_no_sense_is_skipped() {
    simulate(async {
        let open = |disk: &Simulated| Open::try_new(Arc::new(disk.clone()), &settings());
        for (state, record, said) in
            [(None, &[200, 1, 2][..], "kind 200"), (Some(&[9, 1][..]), &[0], "checkpoint, of version 9")]
        {
            let disk = log_of(state, record);
            let error = open(&disk).err().expect("it is newer").to_string();
            assert!(error.contains(said) && error.contains("newer version"), "{error}");
            let before = disk.read(&segment());
            open(&disk.kill()).err().expect("it still is");
            assert_eq!(disk.read(&segment()), before);
        }
        // Kind 5 with a name that is none, and kind 0.
        for record in [&[5, 1, 0xff][..], &[0]] {
            let opened = open(&log_of(None, record)).expect("it is only damaged");
            assert_eq!(opened.recovery.skipped, 1);
        }
    });
}
