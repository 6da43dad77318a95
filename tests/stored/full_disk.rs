//! A disk that is really full: publishes are refused in clear words, delivery goes on, and publishes are taken again soon after there
//! is space.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::body::{Verdict, body, judge};
use testkit::process::Nsqd;

use super::talk::{Came, Talk};

const TOPIC: &str = "events";
const CHANNEL: &str = "posthaste";
const BODY_BYTES: usize = 16 << 10;

/// A file system of 64 MiB, mounted where its directory lies until it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Small> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at).output();
        mounted.ok()?.status.success().then(|| Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).output().ok();
    }
}

/// Publishes until it is refused; how many were taken, and what it was refused with.
fn fill(broker: &Nsqd, serials: &mut u64) -> String {
    let mut talk = Talk::to(broker.tcp_address()).expect("it listens");
    loop {
        talk.say(&wire::Command::Pub { topic: TOPIC, body: &body(*serials, BODY_BYTES) });
        talk.send().expect("it reads");
        match talk.next().expect("an answer") {
            Came::Response(ok) if ok == b"OK" => *serials += 1,
            Came::Error(error) => {
                assert!(talk.next().is_err(), "nsqd closes behind E_PUB_FAILED, and so must this");
                return error;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Takes all that is left of the disk; the file that holds it.
fn fill_to_the_last_byte(dir: &Path) -> PathBuf {
    let path = dir.join("the-rest");
    let mut rest = fs::File::create(&path).expect("there are names left");
    let mut piece = vec![1; 1 << 20];
    // What does not fit as a whole may fit in part; in the end not even one byte does.
    while !piece.is_empty() {
        match rest.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
            Err(error) => panic!("{error}"),
        }
    }
    path
}

fn refuses(broker: &Nsqd) {
    assert_eq!(broker.status("GET", "/ping", b"").0, 500);
    let (status, answer) = broker.status("POST", &format!("/pub?topic={TOPIC}"), b"one more");
    assert_eq!((status, answer.as_str()), (503, "{\"message\":\"QUEUE_FULL\"}"));
}

/// Publishes one message as soon as it is taken, within five seconds.
fn publish_again(broker: &Nsqd, serial: u64) {
    let freed = Instant::now();
    while broker.status("POST", &format!("/pub?topic={TOPIC}"), &body(serial, BODY_BYTES)).0 != 200 {
        assert!(
            freed.elapsed() < Duration::from_secs(5),
            "still refused {:?} after there is space",
            freed.elapsed()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{serial} published, taken again after {:?}", freed.elapsed());
    assert_eq!(broker.status("GET", "/ping", b"").0, 200);
}

#[test]
fn a_full_disk_refuses_publishes_and_nothing_else() {
    let files = tempfile::Builder::new().prefix("posthaste-small-").tempdir().expect("a directory");
    let Some(_small) = Small::mount(files.path()) else {
        return testkit::skip("a full disk", "needs root, to mount a small file system");
    };
    let dir = files.path().to_owned();
    let broker = Nsqd::posthaste_in(files, &[]);
    broker.create_channel(TOPIC, CHANNEL);
    let mut published = 0;

    // Someone else takes most of the disk, the broker what it may, and someone else the rest, reserve and all.
    let foreign = dir.join("foreign");
    fs::write(&foreign, vec![1; 40 << 20]).expect("there is room for it");
    let refused = fill(&broker, &mut published);
    assert!(refused.starts_with("E_PUB_FAILED"), "{refused}");
    assert!(published > 100, "only {published} were taken");
    refuses(&broker);
    let rest = fill_to_the_last_byte(&dir);
    refuses(&broker);
    let spare = || fs::metadata(dir.join("journal.spare")).map_or(0, |file| file.len());
    let kept = spare();
    assert!(kept > 0, "nothing is kept for checkpoints");

    // Delivery goes on, and so do checkpoints: one that finds no byte takes it from what is kept.
    let mut consumer =
        Talk::subscribed(broker.tcp_address(), TOPIC, CHANNEL, 10).expect("it takes consumers");
    let half = published / 2;
    for _ in 0..half {
        take(&mut consumer, published);
    }
    let taken = Instant::now();
    while spare() == kept {
        assert!(taken.elapsed() < Duration::from_secs(5), "no checkpoint was written on the full disk");
        std::thread::sleep(Duration::from_millis(20));
    }

    fs::remove_file(&foreign).expect("it is there");
    fs::remove_file(&rest).expect("it is there");
    publish_again(&broker, published);
    published += 1;
    for _ in half..published {
        take(&mut consumer, published);
    }
    broker.wait_channel(TOPIC, CHANNEL, |channel| channel.depth + channel.in_flight + channel.deferred == 0);
}

#[test]
fn a_disk_that_nobody_frees_takes_publishes_again_once_they_are_consumed() {
    let files = tempfile::Builder::new().prefix("posthaste-small-").tempdir().expect("a directory");
    let Some(_small) = Small::mount(files.path()) else {
        return testkit::skip("a full disk that nobody frees", "needs root, to mount a small file system");
    };
    let dir = files.path().to_owned();
    let broker = Nsqd::posthaste_in(files, &[]);
    broker.create_channel(TOPIC, CHANNEL);
    let mut published = 0;
    fill(&broker, &mut published);
    fill_to_the_last_byte(&dir);
    refuses(&broker);
    let mut consumer =
        Talk::subscribed(broker.tcp_address(), TOPIC, CHANNEL, 10).expect("it takes consumers");
    for _ in 0..published {
        take(&mut consumer, published);
    }
    publish_again(&broker, published);
    published += 1;
    take(&mut consumer, published);
    broker.wait_channel(TOPIC, CHANNEL, |channel| channel.depth + channel.in_flight + channel.deferred == 0);
}

fn take(consumer: &mut Talk, published: u64) {
    let (head, bytes) = consumer.message().expect("a message");
    assert!(matches!(judge(&bytes), Verdict::Whole(serial) if serial < published));
    consumer.finish(head.id);
    consumer.send().expect("it reads");
}
