//! `posthaste broker` started as an nsqd is: by its flags, its file, its unit file's line.

use std::process::Command;

use testkit::certs::Authority;
use testkit::ports::Reserved;
use testkit::process::{Nsqd, Nsqlookupd, Posthaste, nsq_program};

use super::rig::{ask, wait_serving};

/// A flag of `nsqd --help`: its name, and what it takes.
fn flags_of_nsqd() -> Vec<(String, String)> {
    let output = Command::new(nsq_program("nsqd")).arg("--help").output().expect("nsqd starts");
    let help = String::from_utf8_lossy(&output.stderr).into_owned();
    let flags: Vec<_> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  -"))
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(name, kind)| (name.to_owned(), kind.split_whitespace().next().unwrap_or("").to_owned()))
        .collect();
    assert!(flags.len() > 50, "{help}");
    flags
}

/// A value that fits the flag, and lets the broker start here.
fn value(name: &str, kind: &str, given: &[(&str, String)]) -> String {
    if let Some((_, value)) = given.iter().find(|(known, _)| *known == name) {
        return value.clone();
    }
    match kind {
        "int" => "7",
        "duration" => "1m30s",
        "string" => "word",
        // Switches, which take a value behind `=` only.
        "" => "true",
        kind => panic!("{name} takes a {kind}"),
    }
    .to_owned()
}

/// All of them at once, in each way of writing them: it serves, and says of each one without use here that it has none.
#[test]
fn every_flag_of_nsqd_is_accepted() {
    let flags = flags_of_nsqd();
    let authority = Authority::new();
    let leaf = authority.server();
    let lookupd = Nsqlookupd::start(&[]);
    for (dashes, apart) in [("-", true), ("--", true), ("-", false), ("--", false)] {
        let (data, ports) = (tempfile::tempdir().expect("a folder"), [(); 3].map(|()| Reserved::new()));
        let config = data.path().join("nsqd.cfg");
        std::fs::write(&config, "max_rdy_count = 5\n").expect("our file");
        let queue = data.path().join("queue");
        let shown = |path: &std::path::Path| path.display().to_string();
        let given = [
            ("tcp-address", ports[0].address().to_string()),
            ("http-address", ports[1].address().to_string()),
            ("https-address", ports[2].address().to_string()),
            ("broadcast-address", "127.0.0.1".to_owned()),
            ("auth-http-address", "127.0.0.1:1".to_owned()),
            ("lookupd-tcp-address", lookupd.tcp_address().to_string()),
            ("data-path", shown(&queue)),
            ("config", shown(&config)),
            ("e2e-processing-latency-percentile", "1.0,0.99".to_owned()),
            ("log-level", "debug".to_owned()),
            ("max-output-buffer-size", "65536".to_owned()),
            ("tls-cert", shown(leaf.certificate_file())),
            ("tls-key", shown(leaf.key_file())),
            ("tls-root-ca-file", shown(&authority.ca_file())),
            ("tls-client-auth-policy", "require-verify".to_owned()),
            ("tls-min-version", "tls1.2".to_owned()),
            ("tls-required", "tcp-https".to_owned()),
        ];
        let mut line = vec!["broker".to_owned()];
        for (name, kind) in flags.iter().filter(|(name, _)| name != "version") {
            let value = value(name, kind, &given);
            let switch = kind.is_empty() || name == "tls-required";
            match (apart, switch) {
                (true, false) => line.extend([format!("{dashes}{name}"), value]),
                (true, true) if value == "true" => line.push(format!("{dashes}{name}")),
                _ => line.push(format!("{dashes}{name}={value}")),
            }
        }
        let broker = Posthaste::run(&line);
        wait_serving(ports[1].address(), &broker.process);
        broker.process.wait_stderr("the queue serves", testkit::PATIENCE);
        let log = broker.process.stderr();
        assert_eq!(log.matches(" changes nothing: ").count(), 16, "{log}");
    }
    let version = Posthaste::run(["broker", "-version"]);
    assert_eq!(version.process.wait(testkit::PATIENCE).code, Some(0));
    assert!(version.process.stdout().contains("nsqd v1.3.0"), "{}", version.process.output());
}

/// The file's keys count unless a flag says otherwise; one that nsqd would pass over in silence is warned about.
#[test]
fn nsqds_own_file_starts_it() {
    let data = tempfile::tempdir().expect("a folder");
    let [tcp, http] = [(); 2].map(|()| Reserved::new());
    let file = data.path().join("nsqd.cfg");
    let text = format!(
        "data_path = \"{}\"\ntcp_address = \"{}\"\nhttp_address = \"127.0.0.1:1\"\nbroadcast_address = \"localhost\"\n\
         nsqlookupd_tcp_addresses = []\nmax_rdy_count = 17\nmsg_timeout = \"5s\"\nmax_msg_timeout = 60000\n\
         tls_required = false\nsnappy = false\nmem_queue_size = 0\nsync_every = 1\nmax_rdy_cuont = 3\n",
        data.path().join("queue").display(),
        tcp.address()
    );
    std::fs::write(&file, text).expect("our file");
    let flag = format!("-http-address={}", http.address());
    let broker = Posthaste::run([
        "broker",
        "-config",
        file.to_str().expect("a plain path"),
        &flag,
        "-max-rdy-count=19",
    ]);
    wait_serving(http.address(), &broker.process);
    let setting = |name: &str| {
        ask(http.address(), "GET", &format!("/config/{name}"), b"").expect("an answer").1.trim().to_owned()
    };
    assert_eq!(setting("max_rdy_count"), "19");
    assert_eq!(setting("snappy"), "false");
    assert_eq!(setting("max_msg_timeout"), "60000000000");
    broker.process.wait_stderr("the queue serves", testkit::PATIENCE);
    let log = broker.process.stderr();
    assert!(
        log.contains("--sync-every changes nothing") && log.contains("did you mean max_rdy_count?"),
        "{log}"
    );
    assert!(data.path().join("queue").is_dir());
}

/// A file whose durations are whole numbers gives milliseconds, on the command line they need a unit: as with nsqd.
#[test]
fn what_nsqd_refuses_is_refused_with_64() {
    for wrong in [
        "--msg-timeout=60",
        "--snappy=yes",
        "--max-deflate-level=12",
        "--node-id=2000",
        "--tls-required",
        "--log-level=loud",
        "--nonsense=1",
        "--mem-queue-size",
    ] {
        let nsqd = Command::new(nsq_program("nsqd"))
            .args(["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", wrong])
            .output()
            .expect("nsqd starts");
        assert!(!nsqd.status.success(), "{wrong}");
        let ours = Posthaste::run(["broker", "--data-path=/nonexistent", wrong]);
        assert_eq!(ours.process.wait(testkit::PATIENCE).code, Some(64), "{wrong}");
    }
}

/// As with nsqd, whose flag it is: an empty address is none, on the command line and in the file.
#[test]
fn an_empty_address_switches_a_listener_off() {
    let authority = testkit::certs::Authority::new();
    let leaf = authority.server();
    let tls = [
        format!("--tls-cert={}", leaf.certificate_file().display()),
        format!("--tls-key={}", leaf.key_file().display()),
    ];
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "http_address = \"\"\n").expect("our file");
    let config = format!("--config={}", file.path().display());
    for (line, served) in [
        (
            vec!["--http-address=127.0.0.1:0", "--https-address=", &tls[0], &tls[1]],
            ["TCP", "HTTP"].as_slice(),
        ),
        (vec![config.as_str(), "--https-address=127.0.0.1:0", &tls[0], &tls[1]], &["TCP", "HTTPS"]),
        (vec!["--http-address="], &["TCP"]),
    ] {
        let data = tempfile::tempdir().expect("a folder");
        let data = format!("--data-path={}", data.path().join("queue").display());
        let ours = Posthaste::run([&["broker", "--tcp-address=127.0.0.1:0", &data], &line[..]].concat());
        ours.process.wait_stderr("after its start", testkit::PATIENCE);
        let log = ours.process.stderr();
        let told =
            log.lines().find_map(|line| line.split_once("the queue serves ")).expect("it says where").1;
        let told: Vec<&str> = told.split(' ').collect();
        let listens = told.windows(2).filter(|pair| pair[1] == "on").map(|pair| pair[0]);
        assert_eq!(listens.collect::<Vec<_>>(), served, "{log}");
    }
    let ours = Posthaste::run(["broker", "--data-path=/nonexistent", "--tcp-address="]);
    assert_eq!(ours.process.wait(testkit::PATIENCE).code, Some(1), "nsqd does not start either");
}

#[test]
fn one_that_nobody_could_reach_does_not_start() {
    let lookupd = Nsqlookupd::start(&[]);
    let lookupd = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
    let line = ["broker", "--data-path=/nonexistent", "--tcp-address=127.0.0.1:0", &lookupd];
    let ours = Posthaste::run([&line[..], &["--broadcast-address=node-1"]].concat());
    assert_eq!(ours.process.wait(testkit::PATIENCE).code, Some(64), "{}", ours.process.output());
    assert!(ours.process.stderr().contains("is reached from this machine only"), "{}", ours.process.output());
}

/// The directory of the program's user, when nothing is said.
#[test]
fn without_a_word_it_keeps_its_data_in_the_state_directory_and_listens_on_loopback() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = Posthaste::run_with(["broker"], |command| {
        command.env("XDG_STATE_HOME", home.path()).env_remove("STATE_DIRECTORY");
    });
    // nsqd's own ports may be taken on this machine; then it says so, of the same addresses.
    let begun = std::time::Instant::now();
    loop {
        let log = broker.process.stderr();
        if log.contains("127.0.0.1:4150") || log.contains("127.0.0.1:4151") {
            break;
        }
        assert!(begun.elapsed() < testkit::PATIENCE, "{log}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(home.path().join("posthaste").is_dir());
}

/// What a broker in nsqd's place registers is what consumers find.
#[test]
fn consumers_find_it_through_nsqlookupd() {
    let lookupd = Nsqlookupd::start(&[]);
    let broker = Nsqd::posthaste(&[&format!("--lookupd-tcp-address={}", lookupd.tcp_address())]);
    let endpoint = testkit::endpoint::Endpoint::http(testkit::endpoint::Answer::ok());
    broker.create_channel("events", "posthaste");
    lookupd.wait_producers("events", 1);
    broker.publish_many("events", (0..100).map(|serial| testkit::body::body(serial, 100)));
    let run = crate::rig::Run::new([], &endpoint.url("/"));
    let run = run.with("--lookupd-http-address", lookupd.http_address()).start();
    broker
        .wait_channel("events", "posthaste", |channel| channel.messages == 100 && channel.finished() == 100);
    crate::rig::drain(&run);
    endpoint.ledger().assert_exactly_once(0..100);
}
