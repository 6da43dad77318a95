//! The runners of real programs, and the scripted nsqd under NSQ's own tools.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use testkit::auth::AuthServer;
use testkit::body::{Verdict, body, judge};
use testkit::certs::Authority;
use testkit::endpoint::{Answer, Endpoint};
use testkit::namespace::Namespace;
use testkit::nsqd::{NsqdOptions, ScriptedNsqd};
use testkit::process::{
    Nginx, NginxOptions, Nsqd, Nsqlookupd, Process, Signal, nsq_program, with_descriptors,
};
use testkit::skip;

fn shell(script: &str) -> Process {
    Process::spawn("sh", Command::new("sh").args(["-c", script]))
}

#[test]
fn a_process_is_observed_to_its_end() {
    let process = shell("echo out; echo err >&2; x=$(head -c 50000000 /dev/zero | tr '\\0' x); exit 3");
    let exited = process.wait(Duration::from_secs(20));
    assert_eq!((exited.code, exited.signal), (Some(3), None));
    assert!(exited.cpu >= Duration::from_millis(20), "{exited:?}");
    assert!(exited.peak_rss_bytes > 40 << 20, "{exited:?}");
    assert_eq!((process.stdout().as_str(), process.stderr().as_str()), ("out\n", "err\n"));
    process.signal(Signal::TERM);
    let mut limited = Command::new("sh");
    with_descriptors(limited.args(["-c", "ulimit -Sn; ulimit -Hn"]), 64, 128);
    let limited = Process::spawn("sh", &mut limited);
    limited.wait(Duration::from_secs(5));
    assert_eq!(limited.stdout(), "64\n128\n");

    let process = shell("trap 'echo got it >&2; exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done");
    process.wait_stderr("ready", Duration::from_secs(5));
    assert!(process.is_running() && process.usage().threads == 1);
    assert!(process.wait_within(Duration::from_millis(50)).is_none());
    process.signal(Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(5)).code, Some(7));
    assert_eq!(shell("kill -9 $$").wait(Duration::from_secs(5)).signal, Some(9));
}

#[test]
fn a_panicking_test_leaves_nothing_behind() {
    let alive = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let process = shell("sleep 1000 & echo $! >&2; wait");
        process.wait_stderr("\n", Duration::from_secs(5));
        send.send((process.pid(), process.stderr().trim().parse::<u32>().unwrap())).unwrap();
        panic!("as a failed assertion does");
    });
    let (child, grandchild) = receive.recv().unwrap();
    assert!(alive(grandchild));
    panicked.join().unwrap_err();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!alive(child) && !alive(grandchild));
}

#[test]
fn a_killed_test_process_leaves_nothing_behind() {
    // The child is this very test binary, told to run the function below, which holds a process and never returns.
    let this = std::env::current_exe().unwrap();
    let mut inner = Command::new(this);
    inner.args(["--exact", "holds_a_process_for_ever", "--nocapture"]).env(HOLDS, "1");
    let inner = Process::spawn("inner test", &mut inner);
    inner.wait_stderr("holding", Duration::from_secs(10));
    let held: u32 = inner.stderr().split_whitespace().last().unwrap().parse().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{held}")).exists());
    inner.signal(Signal::KILL);
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::fs::read_to_string(format!("/proc/{held}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(gone, "{held} outlived its test");
}

/// Set for the child of the test above.
const HOLDS: &str = "POSTHASTE_TEST_HOLDS";

/// No test: what the test above starts. On its own it has nothing to do.
#[test]
fn holds_a_process_for_ever() {
    if std::env::var_os(HOLDS).is_none() {
        return;
    }
    let process = shell("sleep 1000");
    eprintln!("holding {}", process.pid());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn nsqd_keeps_ports_and_synced_data_over_a_kill() {
    let mut nsqd = Nsqd::start(&["--mem-queue-size=0", "--sync-every=1"]);
    nsqd.create_channel("events", "posthaste");
    nsqd.publish_many("events", (0..100).map(|serial| body(serial, 1024)));
    nsqd.publish("events", &body(100, 64));
    let stats = nsqd.wait_channel("events", "posthaste", |channel| channel.depth == 101);
    assert_eq!((stats.messages, stats.finished(), stats.in_flight), (101, 0, 0));
    let before = nsqd.tcp_address();
    nsqd.daemon.kill9();
    assert!(TcpStream::connect(before).is_err());
    nsqd.daemon.start();
    assert_eq!(nsqd.tcp_address(), before);
    nsqd.wait_channel("events", "posthaste", |channel| channel.depth == 101);
    nsqd.daemon.freeze();
    let mut frozen = TcpStream::connect(before).unwrap();
    frozen.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    frozen.write_all(b"  V2SUB events posthaste\n").unwrap();
    assert!(frozen.read(&mut [0]).is_err(), "a frozen nsqd accepts and says nothing");
    nsqd.daemon.thaw();
    frozen.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut ok = [0; 10];
    frozen.read_exact(&mut ok).unwrap();
    assert_eq!(&ok, b"\0\0\0\x06\0\0\0\0OK");
    nsqd.wait_channel("events", "posthaste", |channel| channel.clients.len() == 1);
    nsqd.daemon.stop();
    assert!(nsqd.daemon.log().contains("TCP: listening"));
}

#[test]
fn nsqlookupd_lists_what_registers() {
    let mut nsqlookupd = Nsqlookupd::stopped(&[]);
    assert_eq!(nsqlookupd.producers("events"), 0);
    nsqlookupd.daemon.start();
    let nsqd = Nsqd::start(&[&format!("--lookupd-tcp-address={}", nsqlookupd.tcp_address())]);
    nsqd.create_topic("events");
    nsqlookupd.wait_producers("events", 1);
    drop(nsqd);
    nsqlookupd.wait_producers("events", 0);
}

#[test]
fn nginx_counts_are_its_own() {
    let endpoint = Endpoint::http(Answer::ok());
    let proxied =
        NginxOptions { log_format: Some("$connection_requests $status".into()), ..NginxOptions::default() };
    let nginx = Nginx::start(proxied.proxy_to(endpoint.address()));
    let request = [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 64\r\n\r\n", &body(5, 64)[..]].concat();
    let mut stream = TcpStream::connect(nginx.address()).unwrap();
    for _ in 0..3 {
        stream.write_all(&request).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let counts = nginx.counts();
        assert_eq!((counts.accepted, counts.active), (1, 1));
    }
    assert_eq!(nginx.counts().requests, 3);
    assert_eq!(endpoint.ledger().marks(5).seen, 3);
    assert_eq!(nginx.access_log(), ["1 200", "2 200", "3 200"]);
    assert!(Nginx::start(NginxOptions::tls()).url("/x").starts_with("https://127.0.0.1:"));
}

#[test]
fn the_auth_server_suits_nsqd() {
    let auth = AuthServer::start(&["right+%/"]);
    let nsqd = Nsqd::start(&[&auth.nsqd_flag()]);
    for (secret, expected) in [("wrong", "E_AUTH_FAILED"), ("right+%/", "\"permission_count\":1")] {
        let mut stream = TcpStream::connect(nsqd.tcp_address()).unwrap();
        let identify = r#"{"feature_negotiation":true}"#;
        let sized = |bytes: &str| [&(bytes.len() as u32).to_be_bytes()[..], bytes.as_bytes()].concat();
        let commands = [b"  V2IDENTIFY\n", &sized(identify)[..], b"AUTH\n", &sized(secret)].concat();
        stream.write_all(&commands).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = String::new();
        let mut buffer = [0; 4096];
        while !answer.contains(expected) {
            match stream.read(&mut buffer) {
                Ok(got) if got > 0 => answer.push_str(&String::from_utf8_lossy(&buffer[..got])),
                _ => panic!("no {expected} in {answer:?}"),
            }
        }
    }
    assert_eq!((auth.granted(), auth.refused()), (1, 1));
    assert!(auth.secrets().contains("right+%/"));
}

#[test]
fn nsqs_own_tools_take_the_scripted_nsqd_for_real() {
    let tls = ["tls_v1,true", "tls_insecure_skip_verify,true", "snappy,true"];
    // Side by side: each takes two seconds to stop.
    std::thread::scope(|scope| {
        for options in [&[][..], &["snappy,true"], &["deflate,true"], &tls] {
            scope.spawn(move || is_tailed_with(options));
        }
    });
    let nsqd = ScriptedNsqd::start();
    let to_nsq = nsq_program("to_nsq");
    let address = nsqd.address();
    let script =
        format!("printf 'one\\ntwo\\n' | {} --topic=t --nsqd-tcp-address={address}", to_nsq.display());
    assert_eq!(shell(&script).wait(Duration::from_secs(10)).code, Some(0));
    assert_eq!(nsqd.counts().commands("PUB"), 2);
}

fn is_tailed_with(options: &[&str]) {
    let certificate = Some(Authority::new().server());
    let nsqd = ScriptedNsqd::start_with(NsqdOptions { certificate, ..NsqdOptions::default() });
    nsqd.feed((0..20).map(|serial| format!("line {serial} {}", "x".repeat(serial * 1000)).into()));
    let mut tail = Command::new(nsq_program("nsq_tail"));
    tail.args(["--topic=t", "--channel=c", "-n=20"]).arg(format!("--nsqd-tcp-address={}", nsqd.address()));
    tail.args(options.iter().map(|option| format!("--consumer-opt={option}")));
    let tail = Process::spawn("nsq_tail", &mut tail);
    tail.wait(Duration::from_secs(20));
    assert_eq!(tail.stdout().lines().count(), 20, "{options:?}{}", tail.output());
    let counts = nsqd.wait(|counts| counts.open == 0);
    assert_eq!((counts.fin_failed, counts.commands("unknown")), (0, 0), "{options:?}");
}

#[test]
fn packets_can_be_dropped_silently_in_a_namespace() {
    let Some(namespace) = Namespace::new() else {
        return skip("packets_can_be_dropped_silently_in_a_namespace", "needs root, ip and nft");
    };
    namespace.run(|| {
        let endpoint = Endpoint::http(Answer::ok());
        let mut stream = TcpStream::connect(endpoint.address()).unwrap();
        let request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request).unwrap();
        stream.read_exact(&mut [0; 40]).unwrap();
        let dropped = namespace.drop_packets(&format!("tcp dport {}", endpoint.port()));
        assert_eq!(dropped.packets(), 0);
        stream.write_all(request).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut [0]).is_err());
        assert!(dropped.packets() > 0);
        drop(dropped);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.read_exact(&mut [0; 40]).unwrap();

        namespace.set_resolver("127.0.0.53");
        let mut cat = Command::new("cat");
        cat.arg("/etc/resolv.conf");
        namespace.wrap(&mut cat);
        let cat = Process::spawn("cat", &mut cat);
        cat.wait(Duration::from_secs(5));
        assert_eq!(cat.stdout(), "nameserver 127.0.0.53\n");
    });
}

#[test]
fn bodies_come_whole_through_nsqd() {
    let nsqd = Nsqd::start(&[]);
    nsqd.create_channel("t", "c");
    nsqd.publish_many("t", (0..3).map(|serial| body(serial, 5000)));
    let mut stream = TcpStream::connect(nsqd.tcp_address()).unwrap();
    stream.write_all(b"  V2SUB t c\nRDY 3\n").unwrap();
    let mut ok = [0; 10];
    stream.read_exact(&mut ok).unwrap();
    for _ in 0..3 {
        let mut frame = vec![0; 8 + 26 + 5000];
        stream.read_exact(&mut frame).unwrap();
        assert!(matches!(judge(&frame[34..]), Verdict::Whole(0..3)));
    }
}
