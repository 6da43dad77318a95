//! How fast the embedded queue takes messages when every OK means stored, side by side with nsqd.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use testkit::body::body;
use testkit::process::{Nsqd, Process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use wire::MAGIC_V2;

use crate::stored::talk::Talk;

const CONNECTIONS: usize = 64;
const BODY_BYTES: usize = 1024;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(1_500);
/// An OK on the wire: its frame's length and kind, and two letters.
const OK_FRAME_BYTES: usize = 10;

/// OKs a second over so many connections, each with one PUB at a time, the topics in turn.
fn publish_rate(address: SocketAddr, topics: &[String]) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let oks = Rc::<Cell<u64>>::default();
        let begun = Instant::now();
        let publishers: Vec<_> = (0..CONNECTIONS)
            .map(|n| publisher(address, topics[n % topics.len()].clone(), begun + ROUND, Rc::clone(&oks)))
            .map(tokio::task::spawn_local)
            .collect();
        for publisher in publishers {
            publisher.await.expect("no panic");
        }
        oks.get() as f64 / begun.elapsed().as_secs_f64()
    })
}

async fn publisher(address: SocketAddr, topic: String, until: Instant, oks: Rc<Cell<u64>>) {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    socket.set_nodelay(true).expect("a socket");
    socket.write_all(MAGIC_V2).await.expect("it reads");
    let mut publish = Vec::new();
    wire::Command::Pub { topic: &topic, body: &body(7, BODY_BYTES) }.write(&mut publish);
    let mut answer = [0; OK_FRAME_BYTES];
    while Instant::now() < until {
        socket.write_all(&publish).await.expect("it reads");
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer[8..], b"OK", "{}", String::from_utf8_lossy(&answer));
        oks.set(oks.get() + 1);
    }
}

/// The median time of a write of 64 KiB and its sync, on the file system that the data lie on.
fn sync_time(dir: &Path) -> Duration {
    let mut file = File::create(dir.join("sync-time")).expect("a file");
    // As in a log whose space was allocated ahead.
    file.write_all(&vec![0; 8 << 20]).and_then(|()| file.sync_all()).expect("it is written");
    let mut times: Vec<Duration> = (0..40)
        .map(|n| {
            let begun = Instant::now();
            let wrote = std::os::unix::fs::FileExt::write_all_at(&file, &[n; 64 << 10], u64::from(n) << 16);
            wrote.and_then(|()| file.sync_data()).expect("it is synced");
            begun.elapsed()
        })
        .collect();
    times.sort();
    std::fs::remove_file(dir.join("sync-time")).expect("it is there");
    times[times.len() / 2]
}

/// The medians of some rounds in which all are measured in turn.
fn medians<const N: usize>(mut round: impl FnMut(usize) -> [f64; N]) -> [f64; N] {
    let mut number = 0;
    let rounds = testkit::undisturbed_rounds(ROUNDS, || {
        number += 1;
        round(number)
    });
    std::array::from_fn(|of| {
        let mut rates: Vec<f64> = rounds.iter().map(|round| round[of]).collect();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    })
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("topic-{n}")).collect()
}

#[test]
fn publishes_that_are_stored_keep_up_with_an_nsqd_that_stores_nothing() {
    let _alone = testkit::exclusive();
    let ours = Nsqd::posthaste(&[]);
    let synced = Nsqd::start(&["--mem-queue-size=0", "--sync-every=1"]);
    let unsynced = Nsqd::start(&[]);
    let [ours, synced, unsynced, sync] = medians(|_| {
        [
            publish_rate(ours.tcp_address(), &topics(1)),
            publish_rate(synced.tcp_address(), &topics(1)),
            publish_rate(unsynced.tcp_address(), &topics(1)),
            sync_time(ours.data_path()).as_secs_f64(),
        ]
    });
    let by_the_disk = 0.5 * CONNECTIONS as f64 / sync;
    eprintln!(
        "{ours:.0} stored a second; nsqd: {synced:.0} synced, {unsynced:.0} at its defaults; a sync of 64 KiB takes {:.2} ms",
        sync * 1e3
    );
    assert!(ours >= 25.0 * synced || ours >= by_the_disk, "{ours:.0} beside {synced:.0} of a synced nsqd");
    assert!(
        ours >= 0.7 * unsynced || ours >= by_the_disk,
        "{ours:.0} beside {unsynced:.0} of nsqd at its defaults and {by_the_disk:.0} that this disk allows"
    );
}

#[test]
fn topics_and_channels_cost_a_publish_little() {
    let _alone = testkit::exclusive();
    let one = Nsqd::posthaste(&[]);
    let many = Nsqd::posthaste(&[]);
    for topic in topics(64) {
        ["a", "b", "c"].iter().for_each(|channel| many.create_channel(&topic, channel));
    }
    let [on_one, on_many] = medians(|_| {
        [publish_rate(one.tcp_address(), &topics(1)), publish_rate(many.tcp_address(), &topics(64))]
    });
    let depths = many.stats()["topics"].as_array().expect("topics").clone();
    let published: u64 = depths.iter().filter_map(|topic| topic["message_count"].as_u64()).sum();
    let on_disk = super::stored_backlog::bytes_on_disk(many.data_path()) as f64;
    let share = on_disk / (published * BODY_BYTES as u64) as f64;
    eprintln!(
        "{on_one:.0} a second on one topic, {on_many:.0} on 64 with 3 channels each; {share:.3} x payload on disk"
    );
    assert!(on_many >= 0.8 * on_one, "{on_many:.0} a second on 64 topics, {on_one:.0} on one");
    assert!(share <= 1.1, "{share:.3} x payload on disk");
}

/// Messages a second through one connection that sends MPUBs of 200, each answered before the next.
fn mpub_rate(address: SocketAddr) -> f64 {
    let mut talk = Talk::to(address).expect("it listens");
    let bodies: Vec<_> = (0..200).map(|serial| body(serial, BODY_BYTES)).collect();
    let begun = Instant::now();
    let mut published = 0;
    while begun.elapsed() < ROUND {
        talk.say_mpub("many", &bodies);
        talk.expect_ok().expect("an OK");
        published += bodies.len();
    }
    published as f64 / begun.elapsed().as_secs_f64()
}

#[test]
fn an_mpub_that_is_stored_keeps_up_with_an_nsqd_that_stores_nothing() {
    let _alone = testkit::exclusive();
    let (ours, unsynced) = (Nsqd::posthaste(&[]), Nsqd::start(&[]));
    let [ours, unsynced] = medians(|_| [mpub_rate(ours.tcp_address()), mpub_rate(unsynced.tcp_address())]);
    eprintln!("{ours:.0} messages a second by MPUB of 200, nsqd at its defaults {unsynced:.0}");
    assert!(ours >= unsynced, "{ours:.0} beside {unsynced:.0}");
}

/// Messages a second that a consumer on go-nsq finishes that does nothing with them.
fn consume_rate(queue: &Nsqd, round: usize) -> f64 {
    const COUNT: u64 = 60_000;
    let topic = format!("drained-{round}");
    queue.create_channel(&topic, "go");
    queue.publish_many(&topic, (0..COUNT).map(|serial| body(serial, BODY_BYTES)));
    let mut command = Command::new(crate::queue::peers("go/peer"));
    let (address, count) = (queue.tcp_address().to_string(), COUNT.to_string());
    command.args(["drain", "--address", &address, "--topic", &topic, "--count", &count]);
    let peer = Process::spawn("go-nsq", &mut command);
    assert_eq!(peer.wait(Duration::from_secs(60)).code, Some(0), "{}", peer.output());
    peer.stdout().trim().parse().expect("a rate")
}

#[test]
fn a_consumer_that_does_nothing_is_served_as_fast_as_by_nsqd() {
    let _alone = testkit::exclusive();
    let (ours, nsqd) = (Nsqd::posthaste(&[]), Nsqd::start(&[]));
    let [ours, its] = medians(|round| [consume_rate(&ours, round), consume_rate(&nsqd, round)]);
    eprintln!("{ours:.0} messages a second to a consumer on go-nsq, nsqd {its:.0}");
    assert!(ours >= its, "{ours:.0} beside {its:.0}");
}
