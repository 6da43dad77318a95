//! Unix sockets in the place of ports. What nsqd says there was recorded from it: `testkit`'s has ports.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use broker::settings::Listen;

use crate::raw::{Answer, read_answer};
use crate::served::{Served, settings};

fn get(path: &Path, target: &str) -> Answer {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("it reads");
    read_answer(&mut stream, false)
}

#[test]
fn both_sides_are_served_and_their_files_go_with_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let [tcp, http] = ["tcp.sock", "http.sock"].map(|name| directory.path().join(name));
    let unix = broker::Settings {
        tcp_address: Listen::Unix(tcp.clone()),
        http_address: Listen::Unix(http.clone()),
        ..settings()
    };
    let broker = Served::start(unix);
    let mut client = UnixStream::connect(&tcp).expect("it listens");
    client.write_all(b"  V2PUB t\n\0\0\0\x01x").expect("it reads");
    let mut frame = [0; 10];
    client.read_exact(&mut frame).expect("a frame");
    assert_eq!(&frame, b"\0\0\0\x06\0\0\0\0OK");
    let info = get(&http, "/info").body;
    assert!(info.contains(r#""http_port":-1,"tcp_port":-1,"#), "{info}");
    let stats = get(&http, "/stats?format=json&include_mem=false").body;
    let producer =
        r#""producers":[{"client_id":"","hostname":"","version":"V2","remote_address":"@","state":0,"#;
    assert!(stats.contains(producer), "{stats}");
    let text = get(&http, "/stats?include_mem=false").body;
    let producer = "\nProducers:\n   [V2 :                    ] msgs: 1        topics: t=1 connected: ";
    assert!(text.contains(producer), "{text}");
    assert_eq!(get(&http, "/config/broadcast_tcp_port").body, "0");
    assert_eq!(get(&http, "/config/tcp_address").body, tcp.display().to_string());
    drop(broker.stop());
    assert!(!tcp.exists() && !http.exists());
}
