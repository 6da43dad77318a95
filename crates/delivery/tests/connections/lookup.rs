//! Names, and the addresses behind them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use delivery::{Cause, Endpoint as Ours, EndpointSettings, EndpointUrl, Local, Phase, Shared};
use testkit::endpoint::{Answer, Endpoint};

use crate::support::{
    MS, assert_delivered, close_and_balance, lane, post_many, post_serial, settings, start_in,
};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn by_name(peer: &Endpoint, name: &str) -> EndpointSettings {
    let mut settings = settings(&peer.url("/"));
    settings.url = EndpointUrl::parse(&format!("http://{name}:{}/", peer.port())).unwrap();
    settings.connect_timeout = 500 * MS;
    settings
}

fn start_resolving(
    settings: &EndpointSettings,
    resolve: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static,
) -> (Ours, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let shared = Shared::with_resolver(Arc::new(move |name: &str| {
        counted.fetch_add(1, Ordering::SeqCst);
        resolve(name)
    }));
    (start_in(settings, &shared, &Local::default()), calls)
}

#[test]
fn a_name_is_looked_up_once_for_all_dials_and_kept() {
    let peer = Endpoint::http(Answer::ok().after(5 * MS));
    lane(async {
        let (endpoint, calls) = start_resolving(&by_name(&peer, "api.test"), |_| {
            std::thread::sleep(50 * MS);
            Ok(vec![HOME])
        });
        post_many(&endpoint, 40, 20).await;
        assert_eq!((endpoint.counters().opened.get(), calls.load(Ordering::SeqCst)), (20, 1));
        assert_eq!(endpoint.counters().lookups.get(), 1);
        close_and_balance(&endpoint).await;
    });
    assert_eq!(peer.requests()[0].head.field("Host"), Some(&*format!("api.test:{}", peer.port())));
}

#[test]
fn addresses_are_tried_in_turn_and_every_failure_is_told() {
    let peer = Endpoint::http(Answer::ok());
    let dead = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    lane(async {
        let (endpoint, _) =
            start_resolving(&by_name(&peer, "api.test"), move |_| Ok(vec![dead(2), dead(3), HOME]));
        assert_delivered(&post_serial(&endpoint, 1).await);
        let (endpoint, _) = start_resolving(&by_name(&peer, "api.test"), move |_| Ok(vec![dead(2), dead(3)]));
        let outcome = post_serial(&endpoint, 1).await;
        let Some(Cause::Connect(failure)) = outcome.cause else { panic!("{outcome:?}") };
        let tried: Vec<_> = failure.attempts.iter().map(|(address, _)| address.ip()).collect();
        assert_eq!(tried, [dead(2), dead(3)]);
    });
}

#[test]
fn a_failed_lookup_is_told_and_tried_again_after_its_time() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let mut settings = by_name(&peer, "api.test");
        settings.lookup_failure_ttl = 100 * MS;
        let fails = AtomicUsize::new(0);
        let (endpoint, calls) =
            start_resolving(&settings, move |_| match fails.fetch_add(1, Ordering::SeqCst) {
                0 => Err(std::io::Error::other("no such name")),
                _ => Ok(vec![HOME]),
            });
        for _ in 0..2 {
            let outcome = post_serial(&endpoint, 1).await;
            let Some(Cause::Lookup(failure)) = outcome.cause else { panic!("{outcome:?}") };
            assert_eq!((&*failure.host, &*failure.reason), ("api.test", "no such name"));
        }
        assert_eq!((calls.load(Ordering::SeqCst), endpoint.counters().lookup_failures.get()), (1, 1));
        tokio::time::sleep(110 * MS).await;
        assert_delivered(&post_serial(&endpoint, 1).await);
    });
}

#[test]
fn a_resolver_that_never_answers_holds_up_neither_other_names_nor_the_end() {
    let peer = Endpoint::http(Answer::ok());
    let started = Instant::now();
    lane(async {
        let shared = Shared::with_resolver(Arc::new(|name: &str| {
            if name == "dead.test" {
                std::thread::sleep(Duration::from_secs(3_600));
            }
            Ok(vec![HOME])
        }));
        let local = Local::default();
        let dead = start_in(&by_name(&peer, "dead.test"), &shared, &local);
        let alive = start_in(&by_name(&peer, "alive.test"), &shared, &local);
        let (outcome, ()) = tokio::join!(post_serial(&dead, 1), post_many(&alive, 100, 10));
        assert_eq!(outcome.cause, Some(Cause::Deadline(Phase::Lookup)));
        assert_eq!(dead.counters().lookups.get(), 1);
        close_and_balance(&dead).await;
        close_and_balance(&alive).await;
    });
    assert!(started.elapsed() < 1_500 * MS, "{:?}: the runtime's end waited for nobody", started.elapsed());
}

#[test]
fn the_system_finds_localhost_on_both_families() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let endpoint = start_in(&by_name(&peer, "localhost"), &Shared::new(), &Local::default());
        assert_delivered(&post_serial(&endpoint, 1).await);
    });
}
