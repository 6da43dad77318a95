//! RDY over several nsqds, and within what one of them allows.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use testkit::endpoint::{Answer, Endpoint, EndpointOptions};
use testkit::process::Nsqd;

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

/// How much is delivered, and over how many permits. The bound on bytes is the default.
struct Load {
    messages: u64,
    concurrency: u64,
}

/// Delivers messages that wait at the first nsqd, from all of them, and says how many a second arrived.
fn rate(load: &Load, nsqds: &[&Nsqd], endpoint: &Endpoint, round: u64) -> f64 {
    let Load { messages, concurrency } = *load;
    rig::publish(nsqds[0], messages, 1024);
    let mut run = Run::new(nsqds.iter().copied(), &endpoint.url("/"));
    if endpoint.url("/").starts_with("https") {
        run = run.trusting(&endpoint.ca_file());
    }
    let posthaste = run.with("--concurrency", concurrency).start();
    rig::wait_finished(nsqds[0], messages * (round + 1));
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary, "nsq_connects"), nsqds.len() as u64);
    assert_eq!(number(&summary, "delivered"), messages);
    let requests = endpoint.requests();
    let of_this_round = &requests[requests.len() - messages as usize..];
    let [first, .., last] = of_this_round else { unreachable!("there are that many") };
    messages as f64 / (last.arrived - first.arrived).as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What a busy nsqd's messages arrive at beside an idle nsqd, as a part of what they arrive at without.
fn beside_an_idle_one(load: &Load, endpoint: &Endpoint) -> f64 {
    let [busy, idle] = [(); 2].map(|()| rig::nsqd(&["--mem-queue-size=50000"]));
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for pair in 0..3 {
        alone.push(rate(load, &[&busy], endpoint, 2 * pair));
        beside.push(rate(load, &[&busy, &idle], endpoint, 2 * pair + 1));
    }
    eprintln!("alone {alone:.0?}, beside an idle one {beside:.0?} messages a second");
    for log in [busy.daemon.log(), idle.daemon.log()] {
        assert!(!log.contains("E_INVALID"), "{log}");
    }
    median(beside) / median(alone)
}

/// At half of RDY the busy nsqd would keep 31 of the 50 permits busy.
#[test]
fn an_idle_nsqd_takes_nothing_from_a_busy_one() {
    let _alone = testkit::exclusive();
    let endpoint = Endpoint::https(Answer::ok().after(Duration::from_millis(20)));
    let load = Load { messages: 3_000, concurrency: 50 };
    let part = beside_an_idle_one(&load, &endpoint);
    assert!(part >= 0.9, "{part:.2} of the rate without");
}

/// So many permits that each nsqd is to have the most that it allows, 2,500; the bytes of all that would be 10 MiB.
#[test]
fn an_idle_nsqd_takes_nothing_from_one_with_five_thousand_permits() {
    let _alone = testkit::exclusive();
    let load = Load { messages: 20_000, concurrency: 5_000 };
    let files = load.concurrency + 200;
    if !raise_open_files(files) {
        return testkit::skip("an idle nsqd beside 5,000 permits", &format!("needs {files} open files"));
    }
    let mut options = EndpointOptions::new(Answer::ok().after(Duration::from_millis(400)));
    options.requests_kept = load.messages as usize;
    let endpoint = Endpoint::start(options);
    let part = beside_an_idle_one(&load, &endpoint);
    assert!(part >= 0.9, "{part:.2} of the rate without");
}

/// More permits than RDY allows: nsqd gets its most and not one more, which it would answer with `E_INVALID` and a close.
fn deliver_at_the_most(max_rdy_count: u64, concurrency: u64) {
    let _alone = testkit::exclusive();
    // A few beside the sockets.
    let files = concurrency + 200;
    if !raise_open_files(files) {
        return testkit::skip("RDY at its most", &format!("needs {files} open files"));
    }
    let messages = 4 * max_rdy_count;
    let nsqd = rig::nsqd(&["--mem-queue-size=20000", &format!("--max-rdy-count={max_rdy_count}")]);
    rig::publish(&nsqd, messages, 100);
    let endpoint = Endpoint::http(Answer::ok().after(Duration::from_millis(200)));
    let posthaste = Run::new([&nsqd], &endpoint.url("/")).with("--concurrency", concurrency).start();
    let channel = nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.rdy_sum() >= max_rdy_count);
    assert_eq!(channel.rdy_sum(), max_rdy_count);
    rig::wait_finished(&nsqd, messages);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..messages);
    assert_eq!((number(&summary, "nsq_connects"), number(&summary, "nsq_disconnects")), (1, 0));
    assert_eq!((number(&summary, "requeued"), number(&summary, "fin_failed")), (0, 0));
    let log = nsqd.daemon.log();
    assert!(!log.contains("E_INVALID"), "{log}");
    let busy_max = endpoint.counts().busy_max;
    eprintln!("{busy_max} requests at once");
    assert!(busy_max > max_rdy_count / 2 && busy_max <= max_rdy_count, "{busy_max} requests at once");
}

/// The endpoint of this process has a socket for every connection, too. `false` when so many cannot be had.
fn raise_open_files(files: u64) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
    limit.maximum.is_none_or(|hard| hard >= files)
}

#[test]
fn five_thousand_permits_on_one_nsqd_stay_within_its_usual_limit() {
    deliver_at_the_most(2_500, 5_000);
}

#[test]
fn the_limit_that_an_nsqd_announces_is_the_one_that_counts() {
    deliver_at_the_most(100, 300);
}
