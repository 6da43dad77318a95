//! `posthaste demo`: its figures add up, whatever it is given.

use serde_json::Value;
use testkit::process::Posthaste;

fn played(arguments: &[&str]) -> Value {
    let demo = Posthaste::run([&["demo", "--summary", "json"], arguments].concat());
    let exited = demo.process.wait(std::time::Duration::from_secs(120));
    assert_eq!(exited.code, Some(0), "{}", demo.process.output());
    demo.summary()
}

/// What must be equal, by its path in the report.
fn assert_adds_up(report: &Value, messages: u64) {
    let number = |path: &str| {
        report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {report:#}"))
    };
    for same in ["/events", "/acknowledged", "/arrived", "/finished", "/posthaste/messages"] {
        assert_eq!(number(same), messages, "{same}: {report:#}");
    }
    assert_eq!(report["bodies_equal"], true, "{report:#}");
    assert_eq!(report["stranger_refused"], true, "{report:#}");
    for (sender, endpoint) in [
        ("/sender_requests", "/posthaste/requests"),
        ("/sender_connections", "/posthaste/connections"),
        ("/sender_handshakes_full", "/posthaste/handshakes_full"),
        ("/sender_handshakes_resumed", "/posthaste/handshakes_resumed"),
    ] {
        assert_eq!(number(sender), number(endpoint), "{sender}: {report:#}");
    }
    assert_eq!(number("/posthaste/requests"), messages + number("/arrived_again"), "{report:#}");
    assert!(number("/posthaste/connections") <= number("/permits"), "{report:#}");
    let handshakes = number("/posthaste/handshakes_full") + number("/posthaste/handshakes_resumed");
    assert_eq!(handshakes, number("/posthaste/connections"), "{report:#}");
    let naive = messages.min(2_000);
    for same in ["/naive/messages", "/naive/requests", "/naive/connections", "/naive/handshakes_full"] {
        assert_eq!(number(same), naive, "{same}: {report:#}");
    }
    assert!(
        report["naive"]["sender_cpu_us"].as_f64() > report["posthaste"]["sender_cpu_us"].as_f64(),
        "{report:#}"
    );
}

#[test]
fn its_figures_add_up() {
    assert_adds_up(&played(&["--messages", "10000"]), 10_000);
}

#[test]
fn it_takes_the_users_own_events() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.ndjson");
    let text: String = (0..3_000).map(|serial| format!("{{\"serial\":{serial}}}\n")).collect();
    std::fs::write(&file, format!("{text}\n{{\"serial\":0}}\n{{\"serial\":0}}\r\n")).expect("our file");
    let report = played(&["--events", file.to_str().expect("a plain path")]);
    assert_adds_up(&report, 3_002);
}

#[test]
fn what_it_cannot_show_is_said_and_nothing_is_left_behind() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let demo = Posthaste::run(["demo", "--events", empty.path().to_str().expect("a plain path")]);
    assert_eq!(demo.process.wait(testkit::PATIENCE).code, Some(1));
    assert!(demo.process.stderr().contains("holds no event"), "{}", demo.process.output());

    let home = tempfile::tempdir().expect("a folder");
    let demo = Posthaste::run_with(["demo", "--messages", "200"], |command| {
        command.env("TMPDIR", home.path());
    });
    assert_eq!(demo.process.wait(testkit::PATIENCE).code, Some(0), "{}", demo.process.output());
    let text = demo.process.stdout();
    assert!(
        text.contains("a connection each") && text.contains("run --topic events --to https://"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(home.path()).expect("our folder").count(), 0);
}

/// Its endpoint and its sender have the same descriptors, and each wants 100. What is delivered over fewer connections is delivered all the same;
/// the naive way, a connection for each request, then says what it lacks.
#[test]
fn too_few_descriptors_for_its_endpoint_keep_no_event_from_arriving() {
    let demo = Posthaste::run_with(["demo", "--messages", "3000"], |command| {
        testkit::process::with_descriptors(command, 60, 60);
    });
    assert_eq!(demo.process.wait(testkit::PATIENCE).code, Some(1), "{}", demo.process.output());
    let text = demo.process.stderr();
    let naive = text.find("the naive way, a connection each").expect("it goes on when all have arrived");
    assert!(text[naive..].contains("Too many open files"), "{text}");
}

/// A signal in the middle of it: the queue writes to its folder until it has stopped.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for what in ["publishing", "delivering"] {
        let home = tempfile::tempdir().expect("a folder");
        let demo = Posthaste::run_with(["demo", "--messages", "200000"], |command| {
            command.env("TMPDIR", home.path());
        });
        demo.process.wait_stderr(what, testkit::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(200));
        demo.process.signal(testkit::process::Signal::INT);
        assert_eq!(demo.process.wait(testkit::PATIENCE).code, Some(1), "{}", demo.process.output());
        assert!(demo.process.stderr().contains("stopped by SIGINT"), "{}", demo.process.output());
        assert_eq!(std::fs::read_dir(home.path()).expect("our folder").count(), 0, "{what}");
    }
}
