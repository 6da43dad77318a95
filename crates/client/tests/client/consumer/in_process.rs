//! The queue of this very process: the same consumer over a pipe in memory. What stands at its other end is the scripted
//! nsqd, to which every byte is carried.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use client::{Compression, ConsumerSettings, Event, InProcess, Settled, Source, TlsSettings};
use testkit::nsqd::{Act, Command, ScriptedNsqd, id};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpSocket;
use tokio::task::spawn_local;

use super::rig::{MS, Rig, local, settings};

const NAME: &str = "here:4150";

/// A pipe whose other end is carried to `nsqd`.
fn pipe_to(nsqd: std::net::SocketAddr) -> DuplexStream {
    let (near, mut far) = duplex(64 << 10);
    spawn_local(async move {
        let mut socket = TcpSocket::new_v4()?.connect(nsqd).await?;
        copy_bidirectional(&mut far, &mut socket).await
    });
    near
}

/// Settings for a queue whose first `failing` dials find nobody.
fn served_by(nsqd: &ScriptedNsqd, failing: usize) -> ConsumerSettings {
    let (address, dials) = (nsqd.address(), Arc::new(AtomicUsize::new(0)));
    let queue = InProcess::new(NAME, move || match dials.fetch_add(1, Relaxed) < failing {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(pipe_to(address)),
    });
    ConsumerSettings { source: Source::Memory(queue), ..settings([nsqd]) }
}

#[test]
fn messages_are_received_and_finished_under_the_queues_name() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, served_by(&nsqd, 0)).await;
        connection.send([Act::message(id(1), 1, "hello")]);
        let delivery = rig.recv().await;
        assert_eq!((&delivery.body()[..], delivery.node()), (&b"hello"[..], NAME));
        assert_eq!(delivery.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
        assert_eq!(rig.counts().finished, 1);
    });
}

#[test]
fn all_of_ten_thousand_pass_the_pipe_and_a_stop_is_confirmed() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let rig = Rig::start(served_by(&nsqd, 0));
        nsqd.feed((0..10_000).map(|serial| testkit::body::body(serial, 1_000)));
        for _ in 0..10_000 {
            assert_eq!(rig.recv().await.finish(), Settled::Sent);
        }
        nsqd.until(|counts| counts.finished == 10_000).await;
        rig.consumer.stop(100 * MS).await;
        let ended = |event: &Event| match event {
            Event::Disconnected { reason, .. } => Some(reason.to_string()),
            _ => None,
        };
        assert_eq!(rig.event(ended).await, client::DisconnectReason::Stopped.to_string());
    });
}

#[test]
fn a_queue_that_does_not_serve_yet_is_dialled_again() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let rig = Rig::start(served_by(&nsqd, 3));
        nsqd.feed([testkit::body::body(0, 100)]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        assert_eq!(rig.counts().connect_failures, 3);
        nsqd.until(|counts| counts.finished == 1).await;
    });
}

#[test]
fn a_connection_that_breaks_is_made_again_and_loses_nothing() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, served_by(&nsqd, 0)).await;
        connection.send([Act::message(id(1), 1, "hello")]);
        let held = rig.recv().await;
        nsqd.kill_connections(testkit::Kill::Reset);
        rig.until(|counts| counts.connection_lost == 1).await;
        assert!(matches!(held.finish(), Settled::TooLate(_)));
        let mut again = nsqd.until_connection(1).await;
        again.until_rdy().await;
        again.send([Act::message(id(1), 2, "hello")]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        again.until_fin(&id(1)).await;
    });
}

/// On a pipe nobody is on the way and nothing is saved: what the settings say of sockets is not asked for.
#[test]
fn neither_tls_nor_compression_is_asked_of_it() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = served_by(&nsqd, 0);
        settings.connection.tls = Some(TlsSettings::default());
        settings.connection.compression = Compression::Snappy;
        let (_rig, connection) = Rig::on(&nsqd, settings).await;
        let identify = |command: &Command| match command {
            Command::Identify(body) => Some(body.clone()),
            _ => None,
        };
        let asked = connection.commands().iter().find_map(identify).expect("IDENTIFY comes first");
        assert_eq!((&asked["tls_v1"], &asked["snappy"]), (&false.into(), &false.into()), "{asked}");
    });
}
