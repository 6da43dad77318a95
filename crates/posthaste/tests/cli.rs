//! The built program as its user meets it: usage, mistakes, and the end of a run. Nothing here needs an nsqd.

#![expect(clippy::disallowed_methods, reason = "a test waits for another process, on a thread of its own")]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const ROUTE: [&str; 7] =
    ["run", "--topic", "events", "--nsqd-tcp-address", "127.0.0.1:1", "--to", "http://127.0.0.1:1/"];

fn posthaste(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(arguments)
        .env("POSTHASTE_TEST_SECRET", "hush")
        .output()
        .expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts exit code 64 and returns what was written to standard error.
fn refused(arguments: &[&str]) -> String {
    let output = posthaste(arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(output.stdout.is_empty(), "mistakes belong to standard error");
    text
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
    file.write_all(content.as_bytes()).expect("it is writable");
    file
}

#[test]
fn help_and_version_are_no_mistakes() {
    let help = posthaste(&["run", "--help"]);
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in
        ["--topic", "--channel", "--nsqd-tcp-address", "--lookupd-http-address", "--to", "--concurrency"]
    {
        assert!(text.contains(flag), "{flag}");
    }
    assert!(posthaste(&["--version"]).status.success());
}

#[test]
fn a_route_that_names_no_nsq_has_a_queue_of_its_own() {
    let route = file(
        "[broker]\ndata_path = \"/nonexistent/queue\"\n[[route]]\ntopic = \"a\"\nto = \"http://127.0.0.1/\"\n",
    );
    let output = posthaste(&["check", route.path().to_str().expect("a plain path")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    for expected in [
        "a/posthaste at the embedded queue",
        "kept in  /nonexistent/queue",
        "127.0.0.1:4150",
        "127.0.0.1:4151",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    let both = ["run", "--topic", "a", "--to", "http://127.0.0.1/", "--nsqd-tcp-address", "127.0.0.1:1"];
    let text = refused(&[&both[..], &["--lookupd-http-address", "127.0.0.1:2"]].concat());
    assert!(text.contains("cannot both be given"), "{text}");
}

#[test]
fn every_wrong_flag_is_told_at_once() {
    let text = refused(&[
        "run",
        "--topic",
        "a b",
        "--channel",
        "c#d",
        "--to",
        "https://user:hush@api.example.com/#x",
        "--nsqd-tcp-address",
        "localhost",
        "--concurency",
        "5",
        "--lanes",
        "0",
        "--request-timeout",
        "30",
        "--header",
        "Connection: close",
        "--header",
        "X-A: a\r\nX-B: b",
        "--header",
        "bad name: x",
        "--header",
        "Host: x",
        "--header",
        "none",
        "--output-buffer-timeout",
        "-1",
        "--summary",
        "xml",
        "--certificate-file",
        "c.pem",
    ]);
    for expected in [
        "--topic: \"a b\"",
        "--channel: \"c#d\"",
        "--to: it has a user name or password",
        "--nsqd-tcp-address: ",
        "--concurency: is not a known flag",
        "did you mean --concurrency?",
        "--lanes: 0",
        "--request-timeout: \"30\"",
        "30s",
        "`Connection` cannot be set",
        "CR at byte",
        "`bad name` has a space",
        "`Host` cannot be set",
        "no colon",
        "--output-buffer-timeout",
        "--summary: \"xml\"",
        "--certificate-file",
        "15 mistakes",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn every_forbidden_header_and_bad_url_is_refused() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Accept-Encoding",
        "Host",
        "X-NSQ-Topic",
        "Idempotency-Key",
    ] {
        let line = format!("{name}: 1");
        let text = refused(&[&ROUTE[..], &["--header", &line]].concat());
        assert!(text.contains(name) && text.contains("1 mistake;"), "{text}");
    }
    for url in [
        "api.example.com",
        "ftp://api.example.com/",
        "https://a@b/",
        "https://b/#c",
        "https://b/ c",
        "https://[::1/",
    ] {
        let text = refused(&["run", "--topic", "a", "--nsqd-tcp-address", "127.0.0.1:1", "--to", url]);
        assert!(text.starts_with("--to: ") && text.contains("1 mistake;"), "{text}");
    }
}

#[test]
fn a_wrong_file_is_told_with_lines_and_columns_and_a_right_one_is_shown() {
    let wrong =
        file("[[route]]\ntopic = \"a b\"\nto = \"http://127.0.0.1/\"\nchanel = \"c\"\nauth_secret = 77123\n");
    let path = wrong.path().to_str().expect("a plain path");
    let text = refused(&["check", path]);
    for expected in [":2:9: topic = \"a b\"", ":4:1: chanel", "did you mean `channel`?", ":5:15: "] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert!(!text.contains("77123"), "{text}");
    assert_eq!(refused(&["run", "--config", path]), text);

    let right = file(
        "[defaults]\nlookupd_http_addresses = [\"127.0.0.1:4161\"]\n[[route]]\ntopic = \"a\"\nto = \"https://[::1]:443/x?y=hush\"\n\
         headers = { \"X-Api-Key\" = \"$POSTHASTE_TEST_SECRET\" }\n[[route]]\ntopic = \"b\"\nto = \"http://127.0.0.1/\"\nconcurrency = 7\n",
    );
    let output = posthaste(&["check", right.path().to_str().expect("a plain path")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    for expected in [
        "2 routes",
        "at most 71 connections",
        "route a/posthaste",
        "https://[::1]/x",
        "7 requests",
        "X-Api-Key",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_missing_file_and_flags_that_belong_into_it_are_refused() {
    let text = refused(&["run", "--config", "/no/such.toml", "--topic", "a", "--threads", "2"]);
    assert!(
        text.contains("/no/such.toml: cannot be read") && text.contains("--topic: routes come from the file"),
        "{text}"
    );
    assert!(!text.contains("--threads"), "{text}");
    refused(&["check"]);
    refused(&[]);
}

#[test]
fn a_concurrency_that_does_not_fit_the_open_files_is_refused_with_both_numbers() {
    let program = env!("CARGO_BIN_EXE_posthaste");
    let output = Command::new("sh")
        .args(["-c", "ulimit -S -n 64; ulimit -H -n 200; exec \"$@\"", "sh", program])
        .args(ROUTE)
        .args(["--concurrency", "500"])
        .output()
        .expect("there is a shell");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("565") && text.contains("200") && text.contains("ulimit"), "{text}");
}

#[test]
fn a_secret_in_clear_on_the_command_line_works_and_warns() {
    let (text, _) = run_and_stop(
        &["--auth-secret", "hush-hush", "--header", "Authorization: Bearer hush-hush"],
        Signal::TERM,
    );
    assert!(
        text.contains("auth_secret stands in clear") && text.contains("header Authorization stands in clear"),
        "{text}"
    );
    assert!(!text.contains("hush-hush"), "{text}");
    let (text, _) = run_and_stop(&["--auth-secret", "$POSTHASTE_TEST_SECRET"], Signal::TERM);
    assert!(!text.contains("stands in clear") && !text.contains("hush"), "{text}");
}

#[test]
fn either_signal_drains_and_the_summary_is_one_object() {
    for signal in [Signal::TERM, Signal::INT] {
        let (log, stdout) = run_and_stop(&["--summary", "json"], signal);
        let summary: serde_json::Value =
            serde_json::from_str(&stdout).expect("standard output is one JSON object");
        assert_eq!((&summary["received"], &summary["left"]), (&0.into(), &0.into()));
        // Not a terminal: every line of the log is an object.
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of the log is JSON");
            assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
        }
    }
}

/// Runs a route without anything at its ends, stops it after its start was logged, and returns standard error and
/// output. It must end by itself, with 0, within 2 s.
fn run_and_stop(more: &[&str], signal: Signal) -> (String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(ROUTE)
        .args(more)
        .env("POSTHASTE_TEST_SECRET", "hush")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    std::thread::sleep(Duration::from_millis(500));
    let pid = Pid::from_child(&child);
    kill_process(pid, signal).expect("it runs");
    let signalled = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        assert!(signalled.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = signalled.elapsed();
    let output = child.wait_with_output().expect("it is our child");
    let (log, stdout) = (stderr(&output), String::from_utf8_lossy(&output.stdout).into_owned());
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    (log, stdout)
}
