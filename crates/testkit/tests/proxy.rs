//! The fault proxy between std sockets.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use testkit::Kill;
use testkit::proxy::{Fault, Proxy};

fn pair() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap());
    let client = TcpStream::connect(proxy.address()).unwrap();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    (proxy, client, server)
}

fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn passes_bytes_and_ends() {
    let (proxy, mut client, mut server) = pair();
    client.write_all(b"ping").unwrap();
    assert_eq!(read(&mut server, 4), b"ping");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0, "a FIN passes");
    assert_eq!(proxy.counts().to_client_at, None);
    let before = Instant::now();
    server.write_all(b"pong!").unwrap();
    assert_eq!(read(&mut client, 5), b"pong!", "and leaves the other direction open");
    let passed = proxy.counts().to_client_at.expect("bytes were passed to the client");
    assert!(before <= passed && passed <= Instant::now());
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let counts = proxy.wait(|counts| counts.open == 0);
    assert_eq!((counts.accepted, counts.bytes_to_server, counts.bytes_to_client), (1, 4, 5));
    assert!(counts.fired.is_empty());
}

#[test]
fn latency_delays_without_limiting_the_rate() {
    let (proxy, mut client, mut server) = pair();
    proxy.to_server(Fault::Latency(Duration::from_millis(50)));
    let begun = Instant::now();
    for _ in 0..20 {
        client.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    read(&mut server, 1);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    read(&mut server, 19);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(proxy.counts().fired("latency") >= 10);
}

#[test]
fn rates_and_slices() {
    let (proxy, mut client, mut server) = pair();
    proxy.to_server(Fault::BytesPerSecond(10_000));
    let begun = Instant::now();
    client.write_all(&[1; 2_000]).unwrap();
    read(&mut server, 2_000);
    assert!((150..600).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    proxy.to_client(Fault::Slices(10, Duration::from_millis(5)));
    server.write_all(&[2; 100]).unwrap();
    let mut buffer = [0; 100];
    assert!(client.read(&mut buffer).unwrap() <= 20);
    assert_eq!((proxy.counts().fired("slices"), proxy.counts().fired("bytes_per_second") > 0), (1, true));
}

#[test]
fn a_stall_is_silent_and_heals() {
    let (proxy, mut client, mut server) = pair();
    proxy.stall();
    client.write_all(b"held").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    proxy.wait(|counts| counts.fired("stall") >= 1);
    proxy.heal();
    assert_eq!(read(&mut server, 4), b"held");
    proxy.to_server(Fault::Swallow);
    client.write_all(b"gone").unwrap();
    proxy.wait(|counts| counts.fired("swallow") == 1);
    proxy.heal();
    client.write_all(b"next").unwrap();
    assert_eq!(read(&mut server, 4), b"next");
}

#[test]
fn limits_kills_and_a_closed_door() {
    let (proxy, mut client, mut server) = pair();
    proxy.to_server(Fault::ResetAfter(10));
    client.write_all(&[0; 25]).unwrap();
    assert_eq!(server.read_to_end(&mut Vec::new()).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.wait(|counts| counts.open == 0).bytes_to_server, 10);

    let (proxy, mut client, mut server) = pair();
    proxy.to_client(Fault::CloseAfter(10));
    server.write_all(&[0; 25]).unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 10);

    let (proxy, mut client, _server) = pair();
    assert_eq!(proxy.kill_connections(Kill::Reset), 1);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.down();
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.up();
    TcpStream::connect(proxy.address()).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let nobody = testkit::ports::Reserved::new();
    let proxy = Proxy::to(nobody.address());
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.wait(|counts| counts.open == 0).unreachable, 1);
}
