//! nsqd and nsqlookupd fail: killed, frozen, restarted, not there yet. Nothing is lost that they had, and nothing waits
//! that need not.

use std::time::{Duration, Instant};

use testkit::endpoint::{Answer, Endpoint, EndpointOptions, Script, TlsOptions};
use testkit::process::{Nsqd, Nsqlookupd, Posthaste};
use testkit::proxy::Proxy;
use testkit::{Gate, PATIENCE};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

/// Sleeps until `look` holds, at most this long, and says since when it did.
#[track_caller]
fn wait_within(limit: Duration, since: Instant, what: &str, look: impl Fn() -> bool) -> Duration {
    while !look() {
        assert!(since.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = since.elapsed();
    assert!(took <= limit, "after {took:?} instead of {limit:?}: {what}");
    println!("{what}: {took:?}");
    took
}

/// Publishes bodies with these serials.
fn publish(nsqd: &Nsqd, serials: std::ops::Range<u64>) {
    nsqd.publish_many(TOPIC, serials.map(|serial| testkit::body::body(serial, 200)));
}

mod outages {
    use super::*;

    /// Messages for each nsqd each time: more than are ever in flight, so that some wait at nsqd whatever happens.
    const BATCH: u64 = 200;
    const IN_FLIGHT: u64 = 50;
    /// Of these, on their way to the endpoint; the others wait for a permit.
    const POSTED: u64 = 40;
    /// How long an outage lasts. Long enough for the pauses between two dials to reach their 5 s (they double from 100 ms).
    fn outage() -> Duration {
        Duration::from_secs(if rig::is_full() { 60 } else { 8 })
    }

    /// Waits until the topic has passed everything on to the channel: what is on its way between the two is in flight
    /// within nsqd.
    fn wait_passed_on(nsqd: &Nsqd) {
        let begun = Instant::now();
        while nsqd.stats()["topics"][0]["depth"] != 0 {
            assert!(begun.elapsed() < PATIENCE, "the topic keeps its messages");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Two nsqds that keep everything on disk, one Posthaste, and an endpoint that answers when the gate is open.
    struct Pair {
        failing: Nsqd,
        /// The only way to the failing one, where there is one: it knows when that was last heard of.
        way: Option<Proxy>,
        /// Where Posthaste finds the failing one.
        node: String,
        steady: Nsqd,
        gate: Gate,
        endpoint: Endpoint,
        posthaste: Posthaste,
        published: u64,
    }

    impl Pair {
        fn start() -> Pair {
            Pair::start_by(|_| None)
        }

        fn start_by(way: impl FnOnce(&Nsqd) -> Option<Proxy>) -> Pair {
            let flags = ["--mem-queue-size=0", "--sync-every=1", "--msg-timeout=5s"];
            let (failing, steady) = (rig::nsqd(&flags), rig::nsqd(&flags));
            let gate = Gate::new();
            let options = EndpointOptions::new(Answer::ok().at_gate(&gate));
            let endpoint = Endpoint::start(options.tls(TlsOptions::new(&testkit::certs::Authority::new())));
            let way = way(&failing);
            let node = way.as_ref().map_or(failing.tcp_address(), Proxy::address).to_string();
            let run = Run::new([&steady], &endpoint.url("/")).with("--nsqd-tcp-address", &node);
            let run = run.trusting(&endpoint.ca_file());
            let posthaste = run.with("--concurrency", POSTED).with("--max-in-flight", IN_FLIGHT).start();
            let pair = Pair { failing, way, node, steady, gate, endpoint, posthaste, published: 2 * BATCH };
            pair.fill();
            pair
        }

        /// Has messages of both nsqds be in flight, as many as may be, the failing one's not all posted. More waits at
        /// both, and nothing moves.
        fn fill(&self) {
            // Less than half each at first, or the first to have messages would have all of RDY for a while.
            const FEW: u64 = IN_FLIGHT / 3;
            let Pair { failing, steady, .. } = self;
            for (nsqd, serials) in [(steady, BATCH..BATCH + FEW), (failing, 0..FEW)] {
                publish(nsqd, serials);
                nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.in_flight == FEW);
            }
            // The steady one takes the last permits.
            for (nsqd, serials) in [(steady, BATCH + FEW..2 * BATCH), (failing, FEW..BATCH)] {
                publish(nsqd, serials);
                self.endpoint.wait(|counts| counts.busy == POSTED);
                wait_passed_on(nsqd);
            }
            self.wait_still();
        }

        /// Waits until no share of RDY moves any more: they are looked at every 250 ms.
        fn wait_still(&self) {
            let in_flight =
                || [&self.failing, &self.steady].map(|nsqd| nsqd.channel(TOPIC, CHANNEL).in_flight);
            let mut before = in_flight();
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(600));
                let now = in_flight();
                if now == before {
                    return;
                }
                before = now;
            }
            panic!("shares still move: {before:?}");
        }

        /// Publishes a batch.
        fn publish(&mut self, to: impl Fn(&Pair) -> &Nsqd) {
            publish(to(self), self.published..self.published + BATCH);
            self.published += BATCH;
        }

        fn in_flight_of_failing(&self) -> u64 {
            self.failing.channel(TOPIC, CHANNEL).in_flight
        }

        /// How many requests carried a message of the failing nsqd.
        fn posted_of_failing(&self) -> u64 {
            let requests = self.endpoint.requests();
            requests.iter().filter(|request| request.head.field("X-NSQ-Node") == Some(&self.node)).count()
                as u64
        }

        /// The steady nsqd has the whole of RDY within this time of the fault, and carries on. Says when it had.
        fn steady_takes_over(&mut self, fault: Instant, limit: Duration) -> Instant {
            let all = || self.steady.channel(TOPIC, CHANNEL).rdy_sum() == IN_FLIGHT;
            let taken_over = fault + wait_within(limit, fault, "the other has the full RDY", all);
            self.publish(|pair| &pair.steady);
            rig::wait_finished(&self.steady, self.published - BATCH);
            taken_over
        }

        /// The failing nsqd comes back: it is used again within 6 s, and emptied.
        fn is_used_again(&mut self, comes_back: impl FnOnce(&mut Nsqd)) {
            let before = self.posted_of_failing();
            comes_back(&mut self.failing);
            let used = || self.posted_of_failing() > before;
            wait_within(Duration::from_secs(6), Instant::now(), "used again", used);
            self.publish(|pair| &pair.failing);
            wait_passed_on(&self.failing);
            self.failing.wait_channel(TOPIC, CHANNEL, |channel| {
                channel.depth + channel.in_flight + channel.deferred == 0
            });
        }
    }

    #[test]
    fn an_nsqd_that_is_killed_costs_no_more_than_what_it_had_in_flight() {
        let mut pair = Pair::start();
        let (in_flight, posted) = (pair.in_flight_of_failing(), pair.posted_of_failing());
        assert!(posted > 0 && posted < in_flight, "{posted} posted of {in_flight} in flight");

        let fault = Instant::now();
        pair.failing.daemon.kill9();
        pair.gate.open();
        pair.steady_takes_over(fault, Duration::from_secs(1));
        std::thread::sleep(outage().saturating_sub(fault.elapsed()));
        pair.is_used_again(|nsqd| nsqd.daemon.start());

        let (summary, _) = rig::drain(&pair.posthaste);
        // What nsqd had in flight is gone with it. What was being posted of it has arrived all the same.
        let missing = pair.endpoint.ledger().missing(0..pair.published);
        assert_eq!(missing.len() as u64, in_flight - posted, "{missing:?}");
        assert!(missing.iter().all(|serial| *serial < BATCH), "{missing:?}");
        assert_eq!(number(&summary, "nsq_disconnects"), 1, "{summary:#}");
        assert_eq!(number(&summary, "connection_lost"), in_flight, "{summary:#}");
        assert_eq!(number(&summary, "delivered_unfinished"), posted, "{summary:#}");
        assert_eq!((number(&summary, "failed"), number(&summary, "fin_failed")), (0, 0), "{summary:#}");
    }

    #[test]
    fn an_nsqd_that_freezes_is_given_up_and_loses_nothing() {
        let mut pair = Pair::start_by(|nsqd| Some(Proxy::to(nsqd.tcp_address())));
        let in_flight = pair.in_flight_of_failing();

        let fault = Instant::now();
        pair.failing.daemon.freeze();
        pair.gate.open();
        let given_up = pair.steady_takes_over(fault, Duration::from_secs(11));
        // Two heartbeats of 5 s. Counted from the last byte and not from the fault: a heartbeat that was due before it may not have been sent.
        let way = pair.way.as_ref().expect("it is started with one");
        let silent = given_up - way.counts().to_client_at.expect("it sent messages");
        println!("given up after {silent:?} of silence");
        assert!(silent >= Duration::from_secs(10), "given up after {silent:?} of silence");
        std::thread::sleep(outage().saturating_sub(fault.elapsed()));
        pair.is_used_again(|nsqd| nsqd.daemon.thaw());

        let (summary, _) = rig::drain(&pair.posthaste);
        pair.endpoint.ledger().assert_all_delivered(0..pair.published);
        assert!(pair.endpoint.ledger().duplicates() <= in_flight, "{:?}", pair.endpoint.ledger().repeated());
        assert_eq!(number(&summary, "nsq_disconnects"), 1, "{summary:#}");
        assert_eq!((number(&summary, "failed"), number(&summary, "fin_failed")), (0, 0), "{summary:#}");
    }
}

mod lookups {
    use super::*;

    /// Far below the default of 15 s, so that there are many polls in a short test.
    const INTERVAL: Duration = Duration::from_millis(500);
    /// Until an nsqlookupd has been asked again: ± 30 %, and some time for what follows from the answer.
    const ASKED_AGAIN: Duration = Duration::from_millis(1200);

    fn run(lookupds: &[&Nsqlookupd], endpoint: &Endpoint) -> Run {
        let run =
            Run::new([], &endpoint.url("/")).with("--lookup-interval", format!("{}ms", INTERVAL.as_millis()));
        lookupds.iter().fold(run, |run, lookupd| run.with("--lookupd-http-address", lookupd.http_address()))
    }

    /// One that registers with these. It does so at its start; whoever is down then is asked again 15 s later.
    fn nsqd_of(lookupds: &[&Nsqlookupd]) -> Nsqd {
        let flags: Vec<String> = lookupds
            .iter()
            .map(|lookupd| format!("--lookupd-tcp-address={}", lookupd.tcp_address()))
            .collect();
        rig::nsqd(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Connections that nsqd accepted, by its log.
    fn accepted(nsqd: &Nsqd) -> usize {
        nsqd.daemon.log().matches("TCP: new client").count()
    }

    /// The one connection there was lived from its beginning to the drain.
    fn assert_one_connection(posthaste: &Posthaste, nsqd: &Nsqd) {
        let (summary, _) = rig::drain(posthaste);
        assert_eq!(
            (number(&summary, "nsq_connects"), number(&summary, "nsq_disconnects")),
            (1, 0),
            "{summary:#}"
        );
        assert_eq!(accepted(nsqd), 1, "{}", nsqd.daemon.log());
    }

    #[test]
    fn an_nsqlookupd_that_is_down_at_the_start_is_asked_until_it_is_up() {
        let endpoint = Endpoint::http(Answer::ok());
        let mut lookupd = Nsqlookupd::stopped(&[]);
        let posthaste = run(&[&lookupd], &endpoint).start();
        posthaste.process.wait_stderr(&format!("nsqlookupd {}", lookupd.http_address()), PATIENCE);
        lookupd.daemon.start();
        // It does not know the topic yet, which is an answer.
        posthaste.process.wait_stderr("lists 0 nsqds", PATIENCE);
        assert!(posthaste.process.is_running());

        let nsqd = nsqd_of(&[&lookupd]);
        lookupd.wait_producers(TOPIC, 1);
        let known = Instant::now();
        publish(&nsqd, 0..10);
        wait_within(ASKED_AGAIN, known, "consumes", || endpoint.counts().bodies > 0);
        rig::wait_finished(&nsqd, 10);
        assert_one_connection(&posthaste, &nsqd);
        endpoint.ledger().assert_exactly_once(0..10);
    }

    #[test]
    fn one_of_two_nsqlookupds_is_enough() {
        let endpoint = Endpoint::http(Answer::ok());
        let (mut first, mut second) = (Nsqlookupd::start(&[]), Nsqlookupd::stopped(&[]));
        let nsqd = nsqd_of(&[&first, &second]);
        first.wait_producers(TOPIC, 1);
        publish(&nsqd, 0..10);
        let started = Instant::now();
        let posthaste = run(&[&second, &first], &endpoint).start();
        wait_within(ASKED_AGAIN, started, "consumes although one is down", || endpoint.counts().bodies > 0);
        rig::wait_finished(&nsqd, 10);

        // Now the other way round. The second has never heard of the topic, and says so with a valid answer.
        second.daemon.start();
        posthaste.process.wait_stderr("lists 0 nsqds", PATIENCE);
        first.daemon.kill9();
        posthaste.process.wait_stderr(&format!("nsqlookupd {}: ", first.http_address()), PATIENCE);
        std::thread::sleep(INTERVAL * 2);
        publish(&nsqd, 10..20);
        rig::wait_finished(&nsqd, 20);
        assert_one_connection(&posthaste, &nsqd);
        endpoint.ledger().assert_exactly_once(0..20);
    }

    /// Answers a second, over this time.
    fn rate(endpoint: &Endpoint, over: Duration) -> f64 {
        let (begun, before) = (Instant::now(), endpoint.counts().bodies);
        std::thread::sleep(over);
        (endpoint.counts().bodies - before) as f64 / begun.elapsed().as_secs_f64()
    }

    #[test]
    fn the_only_nsqlookupd_restarted_under_load_is_not_noticed() {
        const WINDOW: Duration = Duration::from_secs(2);
        // 64 at once and 200 ms each: 320 a second whatever else the machine does.
        let slowly = Script::ok_between(Duration::from_millis(150), Duration::from_millis(250));
        let endpoint = Endpoint::http(slowly);
        let mut lookupd = Nsqlookupd::start(&[]);
        let nsqd = nsqd_of(&[&lookupd]);
        lookupd.wait_producers(TOPIC, 1);
        publish(&nsqd, 0..6000);
        let posthaste = run(&[&lookupd], &endpoint).with("--concurrency", 64).start();
        endpoint.wait(|counts| counts.bodies > 300);
        let before = rate(&endpoint, WINDOW);

        lookupd.daemon.kill9();
        let refused = rate(&endpoint, WINDOW);
        lookupd.daemon.start();
        // It knows nothing until nsqd comes to it.
        let unknown = rate(&endpoint, WINDOW);
        assert_eq!(lookupd.producers(TOPIC), 0, "nsqd has registered before it was meant to");
        assert!(posthaste.process.stderr().contains("no longer listed"), "{}", posthaste.process.output());

        // nsqd finds out with what it has to say next, and registers everything anew with what it says after that.
        nsqd.create_topic("another");
        nsqd.create_topic("and-another");
        lookupd.wait_producers(TOPIC, 1);
        let listed = || posthaste.process.stderr().matches("listed by nsqlookupd").count() == 2;
        wait_within(ASKED_AGAIN, Instant::now(), "listed again", listed);
        let after = rate(&endpoint, WINDOW);
        println!(
            "{before:.0} before, {refused:.0} while refused, {unknown:.0} while unknown, {after:.0} after"
        );
        for during in [refused, unknown, after] {
            assert!(during >= 0.95 * before, "{during:.0} instead of {before:.0} messages a second");
        }
        assert_one_connection(&posthaste, &nsqd);
    }
}
