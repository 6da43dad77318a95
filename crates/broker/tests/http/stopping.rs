//! The end of a broker, and what the next one finds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::nsq::NsqClient;
use crate::raw::{do_post, get, read_answer};
use crate::served::{Served, settings};

#[test]
fn a_stop_closes_every_connection_soon_and_keeps_everything() {
    let broker = Served::start(settings());
    let http = broker.http();
    do_post(http, "/topic/create?topic=t", b"");
    do_post(http, "/channel/create?topic=t&channel=c", b"");
    do_post(http, "/channel/pause?topic=t&channel=c", b"");
    do_post(http, "/mpub?topic=t", b"one\ntwo\nthree");
    let mut producer = NsqClient::connect(broker.tcp(), "producer");
    let mut consumer = NsqClient::connect(broker.tcp(), "consumer");
    consumer.subscribe("t", "c");
    let mut idle = TcpStream::connect(http).expect("it listens");
    idle.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    assert_eq!(read_answer(&mut idle, false).body, "OK");
    let begun = Instant::now();
    let files = broker.stop();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(producer.is_at_end() && consumer.is_at_end());
    assert_eq!(idle.read(&mut [0]).expect("its end"), 0);
    let again = Served::in_directory(settings(), files);
    let stats = get(again.http(), "/stats?format=json&include_mem=false").body;
    assert!(
        stats.contains(r#""channel_name":"c","depth":3,"#) && stats.contains(r#""paused":true"#),
        "{stats}"
    );
}

#[test]
fn a_second_one_on_the_same_data_is_refused() {
    let broker = Served::start(settings());
    let path = broker.files.as_ref().expect("it has some").path().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let second = broker::Settings { data_path: path, ..settings() };
    let refused = tokio::task::LocalSet::new()
        .block_on(&runtime, broker::Broker::start(second, std::sync::Arc::new(journal::Disk)));
    let error = refused.err().expect("the data is in use");
    let in_use = matches!(
        error,
        broker::StartError::Open(broker::queue::OpenError::Journal(journal::OpenError::InUse { .. }))
    );
    assert!(in_use, "{error}");
}

#[test]
fn pipes_lead_to_the_same_queue_from_another_thread() {
    let broker = Served::start(settings());
    let connector = broker.connector.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let said = runtime.block_on(async {
        let mut http = connector.connect_http();
        let request =
            b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
        http.write_all(request).await.expect("it reads");
        let mut answer = String::new();
        http.read_to_string(&mut answer).await.expect("an answer");
        let mut nsq = connector.connect();
        nsq.write_all(b"  V2PUB t\n\0\0\0\x01y").await.expect("it reads");
        let mut frame = [0; 10];
        nsq.read_exact(&mut frame).await.expect("a frame");
        (answer, frame)
    });
    assert!(said.0.starts_with("HTTP/1.1 200 OK\r\n") && said.0.ends_with("\r\n\r\nOK"), "{}", said.0);
    assert_eq!(&said.1, b"\0\0\0\x06\0\0\0\0OK");
    assert!(get(broker.http(), "/stats?format=json").body.contains(r#""message_count":2"#));
    drop(broker);
    runtime.block_on(async {
        assert_eq!(connector.connect().read(&mut [0]).await.expect("its end"), 0);
    });
}

/// The lanes of a process whose queue is asked by too many strangers go on.
#[test]
fn pipes_take_no_place_of_the_connections() {
    let broker = Served::start(broker::Settings { connections_max: 1, ..settings() });
    let _stranger = TcpStream::connect(broker.tcp()).expect("it listens");
    let begun = Instant::now();
    while broker.connections().open < 1 {
        assert!(begun.elapsed() < testkit::PATIENCE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut nsq = broker.connector.connect();
        nsq.write_all(b"  V2PUB t\n\0\0\0\x01y").await.expect("it reads");
        let mut frame = [0; 10];
        nsq.read_exact(&mut frame).await.expect("a frame");
        assert_eq!(&frame, b"\0\0\0\x06\0\0\0\0OK");
    });
    assert_eq!(broker.connections().open, 1);
}
