//! nsqd sends what cannot be: that connection ends and comes again, and nothing else notices, memory least of all.

use std::collections::BTreeSet;

use testkit::endpoint::{Answer, Endpoint};
use testkit::nsqd::{Act, Command, NsqdEnd, NsqdOptions, React, Reaction, ScriptedNsqd, frame};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

/// At the healthy nsqd, and as many at the other once it behaves.
const MESSAGES: u64 = 3000;

/// What a frame's head may say wrongly, with what the log must say of it.
fn impossible() -> Vec<(Vec<u8>, &'static str)> {
    let head = |size: u32, kind: u32| [&size.to_be_bytes()[..], &kind.to_be_bytes(), &[b'x'; 4096]].concat();
    vec![
        (b"\r\nthis is no frame at all\r\n".to_vec(), "unknown kind 1769152617 "),
        (head(2, 0), "size 2 leaves no room for the frame's kind"),
        (head(u32::MAX, 0), "size -1 is negative"),
        (head(i32::MAX as u32, 2), "Message of 2147483643 bytes"),
        (head(i32::MAX as u32, 0), "Response of 2147483643 bytes"),
        (frame(7, &[b'x'; 100]), "unknown kind 7 "),
        (frame(2, &[b'x'; 25]), "a message of 25 bytes is shorter than its 26 byte head"),
    ]
}

/// Each connection gets one of these with its first RDY, as long as there are any; later ones are served.
fn each_once(faults: Vec<Vec<u8>>) -> React {
    let mut broken = BTreeSet::new();
    React::new(move |arrived| match (arrived.command, faults.get(arrived.connection as usize)) {
        (Command::Rdy(_), Some(fault)) if broken.insert(arrived.connection) => {
            Reaction::Acts(vec![Act::Usual, Act::Raw(fault.clone().into())])
        }
        _ => Reaction::Usual,
    })
}

/// Consumes from a healthy nsqd and one with these faults. Returns the log and the peak of memory.
fn consume(faults: Vec<Vec<u8>>) -> (String, u64) {
    let breaks = faults.len() as u64;
    // 16 at once and 20 ms each: as long a time as all the reconnects take.
    let endpoint = Endpoint::https(Answer::ok().after(std::time::Duration::from_millis(20)));
    let healthy = rig::nsqd(&[]);
    let faulty = ScriptedNsqd::start_with(NsqdOptions { react: each_once(faults), ..Default::default() });
    rig::publish(&healthy, MESSAGES, 1024);
    let run = Run::new([&healthy], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let run = run.with("--nsqd-tcp-address", faulty.address()).with("--concurrency", 16);
    let posthaste = run.start();
    faulty.wait(|counts| counts.accepted == breaks + 1 && counts.open == 1);
    faulty.feed((MESSAGES..2 * MESSAGES).map(|serial| testkit::body::body(serial, 1024)));
    faulty.wait(|counts| counts.finished == MESSAGES);
    rig::wait_finished(&healthy, MESSAGES);
    let channel = healthy.channel(TOPIC, CHANNEL);
    assert_eq!((channel.requeues, channel.timeouts), (0, 0));

    let (summary, _) = rig::drain(&posthaste);
    endpoint.ledger().assert_exactly_once(0..2 * MESSAGES);
    assert_eq!(faulty.counts().fired("raw"), breaks);
    let ends: Vec<_> =
        faulty.connections().iter().filter_map(|book| book.ended).map(|(_, end)| end).collect();
    assert!(ends.iter().all(|end| matches!(end, NsqdEnd::ClientFin | NsqdEnd::ClientBroke)), "{ends:?}");
    assert_eq!(healthy.daemon.log().matches("TCP: new client").count(), 1, "{}", healthy.daemon.log());
    assert_eq!(number(&summary, "nsq_disconnects"), breaks, "{summary:#}");
    for none in ["failed", "requeued", "expired", "connection_lost", "fin_failed"] {
        assert_eq!(number(&summary, none), 0, "{none} in {summary:#}");
    }
    (posthaste.process.stderr(), number(&summary, "memory_peak_bytes"))
}

#[test]
fn impossible_frames_cost_their_connection_and_nothing_else() {
    let _shared = testkit::shared();
    let (faults, said): (Vec<_>, Vec<_>) = impossible().into_iter().unzip();
    let usual = std::thread::spawn(|| consume(Vec::new()));
    let (log, with) = consume(faults);
    let (_, without) = usual.join().expect("no panic");
    for said in said {
        let ended = |line: &&str| line.contains("connection ended: impossible frame") && line.contains(said);
        assert_eq!(log.lines().filter(ended).count(), 1, "{said:?} in {log}");
    }
    println!("{with} bytes at the peak, {without} without the faults");
    assert!(with <= without + (2 << 20), "{with} bytes at the peak, {without} without the faults");
}
