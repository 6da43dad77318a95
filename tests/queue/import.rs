//! `posthaste broker --import-nsqd` on what a real nsqd has left.

use std::path::Path;

use testkit::process::Nsqd;

use super::rig::ask;

/// Files of a folder into another, which the queue then has for itself.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("nsqd's folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn post(nsqd: &Nsqd, target: &str) {
    let answer = ask(nsqd.http_address(), "POST", target, b"");
    assert_eq!(answer.map(|(status, _)| status), Some(200), "{target}");
}

/// Depths of the topic and its channels, and who is paused, as `/stats` has them.
fn shape(nsqd: &Nsqd) -> serde_json::Value {
    let (_, text) =
        ask(nsqd.http_address(), "GET", "/stats?format=json&include_mem=false", b"").expect("stats");
    let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let topics = stats["topics"].as_array().expect("topics").iter().map(|topic| {
        let channels =
            topic["channels"].as_array().expect("channels").iter().map(|channel| {
                serde_json::json!([channel["channel_name"], channel["depth"], channel["paused"]])
            });
        let channels: Vec<_> = channels.collect();
        serde_json::json!([topic["topic_name"], topic["depth"], topic["paused"], channels])
    });
    topics.collect()
}

#[test]
fn topics_channels_pauses_and_every_message_are_taken_over() {
    let mut nsqd = Nsqd::start(&["--mem-queue-size=10"]);
    for channel in ["a", "b"] {
        nsqd.create_channel("events", channel);
    }
    nsqd.publish_many("events", (0..500).map(|serial| testkit::body::body(serial, 200)));
    nsqd.wait_channel("events", "b", |channel| channel.depth == 500);
    post(&nsqd, "/channel/empty?topic=events&channel=b");
    post(&nsqd, "/channel/pause?topic=events&channel=b");
    nsqd.publish_many("events", (500..600).map(|serial| testkit::body::body(serial, 200)));
    nsqd.wait_channel("events", "a", |channel| channel.depth == 600);
    nsqd.wait_channel("events", "b", |channel| channel.depth == 100);
    post(&nsqd, "/topic/pause?topic=events");
    nsqd.publish_many("events", (600..650).map(|serial| testkit::body::body(serial, 200)));
    nsqd.publish("waits.for.a-channel", b"one");
    let expected = shape(&nsqd);
    nsqd.daemon.stop();

    let files = tempfile::tempdir().expect("a folder");
    copy(nsqd.data_path(), files.path());
    let mut broker = Nsqd::posthaste_in(files, &["--import-nsqd"]);
    assert_eq!(shape(&broker), expected);
    let told = "taken over from nsqd: 2 topics, 2 channels, 751 messages";
    broker.daemon.process().wait_stderr(told, testkit::PATIENCE);

    // What a has is what was published, and nothing is taken over twice.
    broker.daemon.kill9();
    broker.daemon.start();
    assert_eq!(shape(&broker), expected);
    post(&broker, "/topic/unpause?topic=events");
    broker.wait_channel("events", "a", |channel| channel.depth == 650);
    let endpoint = testkit::endpoint::Endpoint::http(testkit::endpoint::Answer::ok());
    let run = crate::rig::Run::new([&broker], &endpoint.url("/")).with("--channel", "a").start();
    broker.wait_channel("events", "a", |channel| channel.depth + channel.in_flight == 0);
    crate::rig::drain(&run);
    endpoint.ledger().assert_exactly_once(0..650);
    assert!(broker.data_path().join("imported-from-nsqd/nsqd.dat").is_file());
}

/// Without its meta files a restarted nsqd begins empty, although its data files hold everything.
#[test]
fn what_a_killed_nsqd_would_not_find_again_is_taken_over() {
    let mut nsqd = Nsqd::start(&["--mem-queue-size=0"]);
    nsqd.create_channel("events", "a");
    nsqd.publish_many("events", (0..300).map(|serial| testkit::body::body(serial, 200)));
    nsqd.wait_channel("events", "a", |channel| channel.depth == 300);
    nsqd.daemon.kill9();
    let files = tempfile::tempdir().expect("a folder");
    copy(nsqd.data_path(), files.path());
    for entry in std::fs::read_dir(files.path()).expect("our folder") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().ends_with("meta.dat") {
            std::fs::remove_file(path).expect("our file");
        }
    }
    let broker = Nsqd::posthaste_in(files, &["--import-nsqd"]);
    // Messages on their way from the topic's files to the channel's may lie in both: some twice, none lost.
    let stats = broker.wait_channel("events", "a", |channel| channel.depth >= 300);
    assert!(stats.depth <= 600, "{stats:?}");
}

#[test]
fn nothing_is_taken_from_an_nsqd_that_still_runs() {
    let nsqd = Nsqd::start(&[]);
    nsqd.create_channel("events", "a");
    let path = nsqd.data_path().display().to_string();
    let line = [
        "broker",
        "--import-nsqd",
        "--data-path",
        &path,
        "--tcp-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
    ];
    let refused = testkit::process::Posthaste::run(line);
    assert_eq!(refused.process.wait(testkit::PATIENCE).code, Some(1));
    assert!(refused.process.stderr().contains("an nsqd is still running"), "{}", refused.process.output());
}

/// Were the first of it taken over and the rest refused, the next try would take the first over again.
#[test]
fn what_does_not_fit_is_refused_whole_with_the_numbers() {
    let mut nsqd = Nsqd::start(&["--mem-queue-size=0"]);
    nsqd.create_channel("events", "a");
    nsqd.publish_many("events", (0..50).map(|serial| testkit::body::body(serial, 200)));
    nsqd.wait_channel("events", "a", |channel| channel.depth == 50);
    nsqd.daemon.stop();
    let files = tempfile::tempdir().expect("a folder");
    copy(nsqd.data_path(), files.path());
    let path = files.path().display().to_string();
    for (bound, told) in [
        ("--messages-max=10", "they are 50, and --messages-max is 10"),
        ("--topic-bytes-max=9999", "those of topic events have 10,000 bytes, and --topic-bytes-max is 9,999"),
        ("--max-msg-size=199", "one in events:a has 200 bytes, and --max-msg-size is 199"),
    ] {
        let line = ["broker", "--import-nsqd", "--data-path", &path, "--http-address=127.0.0.1:0", bound];
        let refused = testkit::process::Posthaste::run([&line[..], &["--tcp-address=127.0.0.1:0"]].concat());
        assert_eq!(refused.process.wait(testkit::PATIENCE).code, Some(1), "{bound}");
        let log = refused.process.stderr();
        assert!(log.contains("nsqd's 50 messages of 9.8 KiB do not fit") && log.contains(told), "{log}");
    }
    let broker = Nsqd::posthaste_in(files, &["--import-nsqd"]);
    broker.wait_channel("events", "a", |channel| channel.depth == 50);
}
