//! Who gets which connection, and when another is dialled.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use delivery::{Cause, CloseReason, EndpointCounters, Local, Request, Shared};
use testkit::endpoint::{Accept, Answer, Endpoint, EndpointOptions};

use crate::support::{
    MS, assert_delivered, begin, close_and_balance, lane, pair, post_many, post_serial, settings,
    settings_for, start, start_in, until,
};

#[test]
fn sequential_requests_never_race_a_dial() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        post_many(&endpoint, 1_000, 1).await;
        assert_eq!(endpoint.counters().dials.get(), 1);
    });
}

#[test]
fn waiting_requests_are_served_in_order() {
    let peer = Endpoint::http(Answer::ok().after(MS));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 1;
        let endpoint = start(&settings);
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for serial in 0..50 {
            let (endpoint, order) = (endpoint.clone(), order.clone());
            tasks.spawn_local(async move {
                assert_delivered(&post_serial(&endpoint, serial).await);
                order.borrow_mut().push(serial);
            });
        }
        tasks.join_all().await;
        assert_eq!(*order.borrow(), (0..50).collect::<Vec<_>>());
        assert_eq!(endpoint.counters().dials.get(), 1);
    });
}

#[test]
fn a_dial_that_nobody_needs_any_more_becomes_idle() {
    let authority = testkit::certs::Authority::new();
    let options = EndpointOptions::new(Answer::ok()).tls(testkit::endpoint::TlsOptions::new(&authority));
    let peer = Endpoint::start(options);
    lane(async {
        let endpoint = pair(&peer);
        tokio::select! {
            biased;
            _ = post_serial(&endpoint, 1) => panic!("it has to wait for a dial"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(endpoint.counters().waiting.get(), 0);
        until(&endpoint, "the dial's connection is idle", |c| c.idle.get() == 1).await;
        post_many(&endpoint, 10, 1).await;
        assert_eq!(endpoint.counters().dials.get(), 1);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_connection_handed_to_a_request_that_is_gone_goes_back() {
    let gate = testkit::Gate::new();
    let peer = Endpoint::http(Answer::ok().at_gate(&gate));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 1;
        let endpoint = start(&settings);
        let mut first = Box::pin(post_serial(&endpoint, 1));
        let mut second = Box::pin(post_serial(&endpoint, 2));
        let begin = async {
            tokio::select! {
                biased;
                _ = &mut first => panic!("held at the gate"),
                _ = &mut second => panic!("there is one connection"),
                _ = peer.until(|counts| counts.requests == 1) => {}
            }
        };
        begin.await;
        assert_eq!(endpoint.counters().waiting.get(), 1);
        gate.open();
        assert_delivered(&first.await);
        // The check-in handed the connection to the second one, which was not polled since.
        assert_eq!((endpoint.counters().waiting.get(), endpoint.counters().idle.get()), (0, 0));
        drop(second);
        assert_eq!((endpoint.counters().idle.get(), endpoint.counters().open.get()), (1, 1));
        assert_delivered(&post_serial(&endpoint, 3).await);
        assert_eq!(endpoint.counters().dials.get(), 1);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn what_is_no_longer_wanted_when_its_dial_ends_is_not_sent() {
    let peer = Endpoint::https(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        let wanted = Cell::new(true);
        let body = [testkit::body::body(1, 1024)];
        let request = Request {
            target: None,
            head_lines: b"",
            body: &body,
            body_len: 1024,
            idempotent: true,
            is_wanted: &|| wanted.get(),
        };
        let mut post = Box::pin(endpoint.post(&request));
        begin(&mut post).await;
        wanted.set(false);
        let posted = post.await;
        assert_eq!(posted.outcome.cause, Some(Cause::Unwanted));
        assert!(!posted.outcome.bytes_taken && posted.tail.is_done());
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.requests, counts.idle, counts.open), (0, 1, 1), "it serves the next one");
        assert_delivered(&post_serial(&endpoint, 2).await);
        assert_eq!(endpoint.counters().dials.get(), 1);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn dials_at_once_are_limited_over_all_endpoints_of_a_worker() {
    let freeze = |_| Accept::FreezeAfterFirstBytes;
    let authority = testkit::certs::Authority::new();
    let tls = testkit::endpoint::TlsOptions::new(&authority);
    let peers: Vec<_> = (0..2)
        .map(|_| Endpoint::start(EndpointOptions::new(Answer::ok()).tls(tls.clone()).accept(freeze)))
        .collect();
    lane(async {
        let (shared, local) = (Shared::new(), Local::new(4));
        let ours: Vec<_> = peers
            .iter()
            .map(|peer| {
                let mut settings = settings_for(peer);
                settings.connect_timeout = 200 * MS;
                start_in(&settings, &shared, &local)
            })
            .collect();
        let mut tasks = tokio::task::JoinSet::new();
        for serial in 0..12 {
            let endpoint = ours[serial % 2].clone();
            tasks.spawn_local(async move { post_serial(&endpoint, serial as u64).await });
        }
        tokio::time::sleep(100 * MS).await;
        let accepted: Vec<_> = peers.iter().map(|peer| peer.counts().accepted).collect();
        assert_eq!(accepted.iter().sum::<u64>(), 4, "{accepted:?}");
        let dialling: u64 = ours.iter().map(|endpoint| endpoint.counters().dialling.get()).sum();
        assert_eq!(dialling, 4);
        for outcome in tasks.join_all().await {
            assert!(matches!(outcome.cause, Some(Cause::Deadline(_))), "{outcome:?}");
        }
        for endpoint in &ours {
            assert_eq!(endpoint.counters().dials.get(), 6, "the turns are shared");
            close_and_balance(endpoint).await;
        }
    });
}

/// One swallows connection attempts, one accepts them and says nothing; both have more requests than there are places.
#[test]
fn endpoints_that_hang_do_not_keep_their_neighbours_from_dialling() {
    let hole = testkit::ports::Blackhole::new();
    let authority = testkit::certs::Authority::new();
    let options = EndpointOptions::new(Answer::ok()).tls(testkit::endpoint::TlsOptions::new(&authority));
    let mute = Endpoint::start(options.accept(|_| Accept::FreezeAfterFirstBytes));
    let healthy = Endpoint::http(Answer::ok().closing());
    lane(async {
        let (shared, local) = (Shared::new(), Local::default());
        let hanging = [settings(&format!("http://{}/", hole.address())), settings_for(&mute)];
        let hanging = hanging.map(|settings| start_in(&settings, &shared, &local));
        let mut posts = tokio::task::JoinSet::new();
        for serial in 0..100 {
            let endpoint = hanging[serial % 2].clone();
            posts.spawn_local(async move { post_serial(&endpoint, serial as u64).await });
        }
        let all_dial = |c: &EndpointCounters| c.dialling.get() > 0;
        for endpoint in &hanging {
            until(endpoint, "its dials hang", all_dial).await;
        }
        let ours = start_in(&settings_for(&healthy), &shared, &local);
        let begun = std::time::Instant::now();
        post_many(&ours, 100, 1).await;
        assert!(begun.elapsed() < 1_000 * MS, "{:?}", begun.elapsed());
        assert_eq!(ours.counters().dials.get(), 100);
        for endpoint in &hanging {
            until(endpoint, "its own share of dials hangs, and no more", |c| c.dialling.get() == 16).await;
        }
        posts.shutdown().await;
        for endpoint in hanging.iter().chain([&ours]) {
            close_and_balance(endpoint).await;
        }
    });
}

#[test]
fn a_refused_dial_tells_each_waiter_which_addresses_were_tried() {
    let peer = Endpoint::http(Answer::ok());
    let address = peer.address();
    peer.down();
    lane(async {
        let endpoint = pair(&peer);
        let outcome = post_serial(&endpoint, 1).await;
        let Some(Cause::Connect(failure)) = outcome.cause else { panic!("{outcome:?}") };
        assert_eq!(*failure.attempts, [(address, std::io::ErrorKind::ConnectionRefused)]);
        assert!(!outcome.bytes_taken);
        peer.up();
        assert_delivered(&post_serial(&endpoint, 2).await);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn closing_ends_dials_and_waits() {
    let authority = testkit::certs::Authority::new();
    let tls = testkit::endpoint::TlsOptions::new(&authority);
    let peer = Endpoint::start(EndpointOptions::new(Answer::ok()).tls(tls).accept(|_| Accept::Freeze));
    lane(async {
        let endpoint = pair(&peer);
        let closing = async {
            peer.until(|counts| counts.accepted == 1).await;
            endpoint.close();
        };
        let (outcome, ()) = tokio::join!(post_serial(&endpoint, 1), closing);
        assert_eq!(outcome.cause, Some(Cause::Shutdown));
        close_and_balance(&endpoint).await;
        assert_eq!(endpoint.counters().dials_aborted.get(), 1);
    });
}

#[test]
fn dropping_the_endpoint_closes_its_connections() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        assert_delivered(&post_serial(&endpoint, 1).await);
        let counters = endpoint.counters().clone();
        drop(endpoint);
        assert_eq!((counters.open.get(), counters.closed(CloseReason::Shutdown)), (0, 1));
        peer.until(|counts| counts.open == 0).await;
    });
}
