//! What happens to a connection while no request is on it.

use bytes::Bytes;
use delivery::{Cause, CloseReason};
use testkit::endpoint::{Answer, Endpoint, Step};

use crate::support::{
    MS, assert_delivered, begin, close_and_balance, lane, on_idle, pair, post_many, post_serial,
    settings_for, start, until,
};

const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Something that comes on an idle connection, and the reason it is closed for, plain and TLS.
fn faults() -> Vec<(Vec<Step>, bool, CloseReason)> {
    let stray = || Step::Send(Bytes::from_static(STRAY.as_bytes()));
    vec![
        (vec![stray()], false, CloseReason::StrayBytes),
        (vec![Step::Fin], false, CloseReason::PeerFin),
        (vec![Step::Reset], false, CloseReason::PeerReset),
        (vec![stray()], true, CloseReason::StrayBytes),
        (vec![Step::Tickets(1), stray()], true, CloseReason::StrayBytes),
        (vec![Step::Fin], true, CloseReason::PeerFinUnannounced),
        (vec![Step::CloseNotify], true, CloseReason::PeerCloseNotify),
        (vec![Step::CloseNotify, Step::Fin], true, CloseReason::PeerCloseNotify),
        (vec![Step::Reset], true, CloseReason::PeerReset),
        (vec![Step::Alert(80)], true, CloseReason::PeerAlert),
        (vec![Step::Raw(Bytes::from_static(b"no TLS at all"))], true, CloseReason::PeerBrokeTls),
    ]
}

fn peer(https: bool) -> Endpoint {
    if https { Endpoint::https(Answer::status(503)) } else { Endpoint::http(Answer::status(503)) }
}

/// The endpoint answers 503, so a delivery could only come from a stray 200.
#[test]
fn what_lies_in_the_kernel_before_the_next_epoll_is_never_taken_for_an_answer() {
    for (steps, https, reason) in faults() {
        let peer = peer(https);
        lane(async {
            let endpoint = pair(&peer);
            for _ in 0..10 {
                assert_eq!(post_serial(&endpoint, 1).await.status, Some(503));
                // This thread is blocked, so nobody looks at epoll in between.
                std::thread::sleep(2 * MS);
                on_idle(&peer, 1, &steps);
                assert_eq!(post_serial(&endpoint, 1).await.status, Some(503), "{steps:?}");
                post_serial(&endpoint, 1).await;
            }
            let counts = endpoint.counters().snapshot();
            assert_eq!(counts.closed(reason), 10, "{steps:?} {counts:#?}");
            assert_eq!((counts.dials, counts.unsent_resends + counts.stale_resends), (11, 0), "{steps:?}");
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn what_comes_between_the_hand_over_and_the_next_poll_is_never_taken_for_an_answer() {
    for (steps, https, reason) in faults() {
        let peer = peer(https);
        lane(async {
            let mut settings = settings_for(&peer);
            settings.concurrency = 1;
            let endpoint = start(&settings);
            post_serial(&endpoint, 0).await;
            let gate = testkit::Gate::new();
            peer.set_script(Answer::status(503).at_gate(&gate));
            let mut first = Box::pin(post_serial(&endpoint, 1));
            let mut second = Box::pin(post_serial(&endpoint, 2));
            begin(&mut first).await;
            begin(&mut second).await;
            gate.open();
            assert_eq!(first.await.status, Some(503));
            assert_eq!((endpoint.counters().waiting.get(), endpoint.counters().idle.get()), (0, 0));
            std::thread::sleep(2 * MS);
            on_idle(&peer, 1, &steps);
            assert_eq!(second.await.status, Some(503), "{steps:?}");
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.closed(reason), counts.dials), (1, 2), "{steps:?} {counts:#?}");
            assert_eq!(counts.unsent_resends + counts.stale_resends, 0, "{steps:?}");
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn what_a_new_connection_says_first_is_never_taken_for_an_answer() {
    for https in [false, true] {
        let peer = peer(https);
        lane(async {
            let endpoint = pair(&peer);
            let mut post = Box::pin(post_serial(&endpoint, 1));
            begin(&mut post).await;
            if https {
                // The handshake needs this thread: the stray answer comes once it is done and the connection handed over.
                until(&endpoint, "it is handed over", |c| c.waiting.get() == 0).await;
            } else {
                until(&endpoint, "it is dialled", |c| c.dials.get() == 1).await;
            }
            std::thread::sleep(2 * MS);
            on_idle(&peer, 1, &[Step::Send(STRAY.into())]);
            let outcome = post.await;
            assert_eq!((outcome.status, outcome.cause), (None, Some(Cause::SpokeFirst)), "https: {https}");
            assert!(!outcome.bytes_taken);
            assert_eq!(post_serial(&endpoint, 2).await.status, Some(503));
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.closed(CloseReason::StrayBytes), counts.dials), (1, 2), "{counts:#?}");
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn what_comes_while_nothing_is_sent_retires_the_connection_at_once() {
    for (steps, https, reason) in faults() {
        let peer = peer(https);
        lane(async {
            let endpoint = pair(&peer);
            post_serial(&endpoint, 1).await;
            on_idle(&peer, 1, &steps);
            until(&endpoint, "the connection is closed", |c| c.open.get() == 0).await;
            assert_eq!(
                endpoint.counters().closed(reason),
                1,
                "{steps:?} {:#?}",
                endpoint.counters().snapshot()
            );
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn line_ends_on_an_idle_connection_mean_nothing() {
    for https in [false, true] {
        let peer = peer(https);
        lane(async {
            let endpoint = pair(&peer);
            for _ in 0..10 {
                post_serial(&endpoint, 1).await;
                on_idle(&peer, 1, &[Step::Send(Bytes::from_static(b"\r\n"))]);
                tokio::time::sleep(5 * MS).await;
            }
            assert_eq!(endpoint.counters().dials.get(), 1);
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn a_flood_of_tickets_ends_the_connection_and_not_the_thread() {
    let peer = Endpoint::https(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        post_serial(&endpoint, 1).await;
        std::thread::sleep(2 * MS);
        on_idle(&peer, 1, &vec![Step::Tickets(1); 2_000]);
        assert_delivered(&post_serial(&endpoint, 2).await);
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.closed(CloseReason::SocketFailed), counts.dials), (1, 2), "{counts:#?}");
        close_and_balance(&endpoint).await;
    });
}

fn sockets_in_close_wait(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|fields| fields[2].ends_with(&remote) && fields[3] == "08").count()
}

#[test]
fn a_hundred_idle_connections_closed_by_the_server_leave_nothing_behind() {
    for https in [false, true] {
        let gate = testkit::Gate::new();
        let answer = Answer::ok().at_gate(&gate);
        let peer = if https { Endpoint::https(answer) } else { Endpoint::http(answer) };
        lane(async {
            let mut settings = settings_for(&peer);
            settings.concurrency = 100;
            let endpoint = start(&settings);
            let posts = post_many(&endpoint, 100, 100);
            let open = async {
                peer.until(|counts| counts.requests == 100).await;
                gate.open();
            };
            tokio::join!(posts, open);
            assert_eq!(endpoint.counters().idle.get(), 100);
            on_idle(&peer, 100, &[Step::Fin]);
            tokio::time::sleep(100 * MS).await;
            assert_eq!(sockets_in_close_wait(peer.port()), 0);
            let reason = if https { CloseReason::PeerFinUnannounced } else { CloseReason::PeerFin };
            assert_eq!(endpoint.counters().closed(reason), 100);
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn the_idle_timeout_retires_what_is_not_used_and_the_stack_keeps_the_newest() {
    let peer = Endpoint::http(Answer::ok().after(MS));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.idle_timeout = 300 * MS;
        let endpoint = start(&settings);
        post_many(&endpoint, 20, 20).await;
        assert_eq!(endpoint.counters().open.get(), 20);
        for serial in 0..60 {
            assert_delivered(&post_serial(&endpoint, serial).await);
            tokio::time::sleep(10 * MS).await;
        }
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.open, counts.dials, counts.closed(CloseReason::IdleTimeout)), (1, 20, 19));
        until(&endpoint, "the last one times out too", |c| c.open.get() == 0).await;
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn warm_connections_are_dialled_ahead_kept_and_replaced() {
    let peer = Endpoint::https(Answer::ok());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.warm = 3;
        settings.idle_timeout = 50 * MS;
        let endpoint = start(&settings);
        until(&endpoint, "three are open", |c| c.idle.get() == 3).await;
        tokio::time::sleep(200 * MS).await;
        assert_eq!(endpoint.counters().dials.get(), 3, "the idle timeout spares them");
        assert_delivered(&post_serial(&endpoint, 1).await);
        tokio::time::sleep(100 * MS).await;
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.dials, counts.closed(CloseReason::IdleTimeout)), (3, 0), "also when one is used");
        on_idle(&peer, 3, &[Step::Close]);
        until(&endpoint, "they are replaced", |c| c.dials.get() == 6 && c.idle.get() == 3).await;
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_failing_warm_dial_rests() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.warm = 2;
        peer.down();
        let endpoint = start(&settings);
        tokio::time::sleep(500 * MS).await;
        assert!(endpoint.counters().dials.get() <= 4, "{:#?}", endpoint.counters().snapshot());
        peer.up();
        until(&endpoint, "both are open", |c| c.idle.get() == 2).await;
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_connection_retires_by_age_and_by_requests() {
    let peer = Endpoint::https(Answer::ok());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.requests_per_connection_max = Some(7);
        let endpoint = start(&settings);
        post_many(&endpoint, 70, 1).await;
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.dials, counts.closed(CloseReason::RequestsMax)), (10, 10));
        assert_eq!(counts.requests_per_connection.min_max(), Some((7, 7)));

        settings.requests_per_connection_max = None;
        settings.age_max = 50 * MS;
        let endpoint = start(&settings);
        for serial in 0..30 {
            assert_delivered(&post_serial(&endpoint, serial).await);
            tokio::time::sleep(10 * MS).await;
        }
        let aged = endpoint.counters().closed(CloseReason::Age);
        assert!((3..=8).contains(&aged), "{aged} of 30 posts over 300 ms with an age of 50 ms");
        close_and_balance(&endpoint).await;
    });
}
