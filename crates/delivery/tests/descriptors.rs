//! Running out of file descriptors, in a process of its own: the limit is the whole process's.

#![allow(clippy::disallowed_methods, reason = "real sockets need real time")]

use std::fs::File;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use delivery::{
    Cause, Endpoint as Ours, EndpointCounters, EndpointSettings, EndpointUrl, Local, Outcome, Request,
    Shared, Verdict,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::endpoint::{Answer, Endpoint};
use tokio::task::LocalSet;

const MS: Duration = Duration::from_millis(1);

/// Every descriptor that is left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

async fn post(endpoint: &Ours) -> Outcome {
    let body = [Bytes::from_static(b"body")];
    let posted = endpoint
        .post(&Request {
            target: None,
            head_lines: b"",
            body: &body,
            body_len: 4,
            idempotent: false,
            is_wanted: &|| true,
        })
        .await;
    posted.tail.await;
    posted.outcome
}

#[test]
fn no_descriptor_means_a_short_wait_and_no_failure() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..limit }).unwrap();
    let peer = Endpoint::http(Answer::ok());
    // Its thread needs descriptors too, so it has to be up before there are none.
    drop(TcpStream::connect(peer.address()).unwrap());
    peer.wait(|counts| counts.accepted == 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut settings = EndpointSettings::new(EndpointUrl::parse(&peer.url("/")).unwrap());
        settings.request_timeout = 1_000 * MS;
        let counters = Arc::new(EndpointCounters::default());
        let endpoint = Ours::new(&settings, &Shared::new(), &Local::default(), counters.clone()).unwrap();

        let taken = take_all();
        let started = Instant::now();
        let given_back = async {
            tokio::time::sleep(250 * MS).await;
            drop(taken);
        };
        let (outcome, ()) = tokio::join!(post(&endpoint), given_back);
        assert_eq!(outcome.verdict, Verdict::Delivered, "{outcome:?}");
        assert!((250 * MS..500 * MS).contains(&started.elapsed()), "{:?}", started.elapsed());
        assert!((1..=3).contains(&counters.emfile_waits.get()), "one in 100 ms");
        assert_eq!(counters.dial_failures.get(), 0);

        // The connection that there is serves on; one more is not to be had before the deadline.
        let taken = take_all();
        assert_eq!(post(&endpoint).await.verdict, Verdict::Delivered);
        let (one, two) = tokio::join!(post(&endpoint), post(&endpoint));
        assert_eq!((one.verdict, two.verdict), (Verdict::Delivered, Verdict::Delivered), "shared in turn");
        peer.set_script(Answer::never());
        let (one, two) = tokio::join!(post(&endpoint), post(&endpoint));
        assert!(matches!(one.cause, Some(Cause::Deadline(_))), "{one:?}");
        assert_eq!(two.cause, Some(Cause::TooManyOpenFiles));
        drop(taken);
    });
}
