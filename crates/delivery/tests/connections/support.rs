//! What every test here needs: a lane, an endpoint of the crate in it, and a way to post.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::{
    Endpoint, EndpointCounters, EndpointSettings, EndpointUrl, Local, Outcome, Posted, Request, Roots,
    Shared, Verdict,
};
use tokio::task::LocalSet;

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs a test as a lane runs: one thread, local tasks.
pub(crate) fn lane<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Settings for the scripted endpoint, which is trusted by its own authority.
pub(crate) fn settings_for(peer: &testkit::endpoint::Endpoint) -> EndpointSettings {
    let url = peer.url("/hook");
    let mut settings = settings(&url);
    if url.starts_with("https") {
        settings.tls.roots = Roots::Files(vec![peer.ca_file()]);
    }
    settings
}

pub(crate) fn settings(url: &str) -> EndpointSettings {
    let mut settings = EndpointSettings::new(EndpointUrl::parse(url).unwrap());
    settings.request_timeout = 10_000 * MS;
    settings
}

pub(crate) fn start(settings: &EndpointSettings) -> Endpoint {
    start_in(settings, &Shared::new(), &Local::default())
}

pub(crate) fn start_in(settings: &EndpointSettings, shared: &Shared, local: &Local) -> Endpoint {
    Endpoint::new(settings, shared, local, Arc::new(EndpointCounters::default())).unwrap()
}

/// The scripted endpoint and ours for it, with the default settings.
pub(crate) fn pair(peer: &testkit::endpoint::Endpoint) -> Endpoint {
    start(&settings_for(peer))
}

pub(crate) async fn post_head(endpoint: &Endpoint, body: &[Bytes]) -> Posted {
    let body_len = body.iter().map(|piece| piece.len() as u64).sum();
    endpoint
        .post(&Request {
            target: None,
            head_lines: b"X-Id: 1\r\n",
            body,
            body_len,
            idempotent: true,
            is_wanted: &|| true,
        })
        .await
}

/// Posts, and waits for the rest of the answer too.
pub(crate) async fn post(endpoint: &Endpoint, body: &Bytes) -> Outcome {
    let posted = post_head(endpoint, std::slice::from_ref(body)).await;
    posted.tail.await;
    posted.outcome
}

/// Posts message `serial` of 1 KiB.
pub(crate) async fn post_serial(endpoint: &Endpoint, serial: u64) -> Outcome {
    post(endpoint, &testkit::body::body(serial, 1024)).await
}

/// Polls it once, so that it waits for a connection.
pub(crate) async fn begin<T>(post: &mut (impl Future<Output = T> + Unpin)) {
    tokio::select! {
        biased;
        _ = post => panic!("it cannot be done yet"),
        () = tokio::task::yield_now() => {}
    }
}

#[track_caller]
pub(crate) fn assert_delivered(outcome: &Outcome) {
    assert_eq!(outcome.verdict, Verdict::Delivered, "{outcome:?}");
}

/// Posts so many messages, `at_once` at a time, and checks that each is delivered.
pub(crate) async fn post_many(endpoint: &Endpoint, count: u64, at_once: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..at_once {
        let endpoint = endpoint.clone();
        tasks.spawn_local(async move {
            for serial in (first..count).step_by(usize::try_from(at_once).unwrap()) {
                assert_delivered(&post_serial(&endpoint, serial).await);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Waits until the counters are so, at most 5 s.
#[track_caller]
pub(crate) fn until(
    endpoint: &Endpoint,
    what: &'static str,
    reached: impl Fn(&EndpointCounters) -> bool,
) -> impl Future<Output = ()> {
    let counters = endpoint.counters().clone();
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..1_000 {
            if reached(&counters) {
                return;
            }
            tokio::time::sleep(5 * MS).await;
        }
        panic!("{caller}: not reached: {what}: {:#?}", counters.snapshot());
    }
}

/// Closes the endpoint and checks that its books balance.
pub(crate) async fn close_and_balance(endpoint: &Endpoint) {
    endpoint.close();
    tokio::time::timeout(2_000 * MS, endpoint.closed()).await.expect("everything closes");
    tokio::task::yield_now().await;
    until(endpoint, "no dial under way", |c| c.dialling.get() == 0).await;
    let counts = endpoint.counters().snapshot();
    assert_eq!((counts.open, counts.idle, counts.waiting), (0, 0, 0), "{counts:#?}");
    assert_eq!(counts.opened, counts.closes.iter().sum::<u64>(), "{counts:#?}");
    assert_eq!(
        counts.dials,
        counts.opened + counts.dial_failures + counts.dials_aborted + counts.emfile_waits,
        "{counts:#?}"
    );
    assert_eq!(counts.requests_per_connection.count(), counts.opened);
    assert_eq!(counts.requests_per_connection.sum, counts.requests);
}

/// Has the peer's idle connections, so many, execute these steps. It blocks this thread, so nothing here looks at epoll.
/// The peer takes a moment after an answer to count a connection as idle.
#[track_caller]
pub(crate) fn on_idle(peer: &testkit::endpoint::Endpoint, count: usize, steps: &[testkit::endpoint::Step]) {
    for _ in 0..2_000 {
        if peer.idle().len() == count {
            break;
        }
        std::thread::sleep(MS);
    }
    assert_eq!(peer.on_idle(steps.iter().cloned()), count, "idle connections at the peer: {:?}", peer.idle());
}
