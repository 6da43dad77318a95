#![expect(clippy::disallowed_methods, reason = "these resolvers block, as real ones do")]

use std::net::Ipv4Addr;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_millis(50);
const IN_TIME: Duration = Duration::from_secs(10);

/// Whoever asks for a name with `dead` in it waits until the gate is opened; what was asked is written down.
#[derive(Default)]
struct Names {
    asked: Mutex<Vec<String>>,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Names {
    fn lookups(self: &Arc<Self>, threads_max: usize, abandoned: Abandoned) -> Lookups {
        let names = self.clone();
        Lookups::new(threads_max, abandoned, Arc::new(move |name| names.resolve(name)))
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        if name.contains("dead") {
            drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        }
        Ok(vec![HOME])
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until so many have been asked for.
    fn wait_asked(&self, count: usize) {
        for _ in 0..2_000 {
            if self.asked().len() >= count {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{:?} instead of {count}", self.asked());
    }
}

async fn home(lookup: Lookup) -> bool {
    *timeout(IN_TIME, lookup.found()).await.expect("an answer").expect("addresses") == [HOME]
}

#[tokio::test]
async fn one_lookup_serves_all_who_ask_at_once_and_is_then_forgotten() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(8, Abandoned::Dropped);
    let (first, second) = (lookups.lookup("dead"), lookups.lookup("dead"));
    assert_eq!((first.begun(), second.begun()), (true, false));
    names.open();
    assert!(home(first).await && home(second).await);
    assert_eq!(names.asked(), ["dead"]);
    let again = lookups.lookup("dead");
    assert!(again.begun());
    assert!(home(again).await);
    assert_eq!(names.asked(), ["dead", "dead"]);
}

#[tokio::test]
async fn a_lookup_that_never_answers_is_joined_by_the_next_and_delays_no_other_name() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(2, Abandoned::Dropped);
    assert!(timeout(SOON, lookups.lookup("dead").found()).await.is_err());
    assert!(home(lookups.lookup("alive")).await);
    let joined = lookups.lookup("dead");
    assert!(!joined.begun());
    names.open();
    assert!(home(joined).await);
}

#[tokio::test]
async fn as_many_names_as_there_are_threads_are_looked_up_at_once_and_the_others_in_turn() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(8, Abandoned::Dropped);
    let mut asks: Vec<Lookup> = (0..1_000).map(|n| lookups.lookup(&format!("dead-{n}"))).collect();
    names.wait_asked(8);
    thread::sleep(SOON);
    assert_eq!((names.asked().len(), lookups.0.lock().threads), (8, 8));
    let last = asks.pop().expect("there are some");
    drop(asks);
    let alive = lookups.lookup("alive");
    names.open();
    assert!(home(last).await && home(alive).await);
    assert_eq!(names.asked()[8..].len(), 2, "who gave up is in nobody's way: {:?}", names.asked());
}

#[test]
fn a_line_of_names_that_nobody_waits_for_does_not_grow() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(1, Abandoned::Dropped);
    let dead = lookups.lookup("dead");
    names.wait_asked(1);
    let kept = lookups.lookup("kept");
    for n in 0..100_000 {
        drop(lookups.lookup(&format!("dead-{n}")));
        assert!(lookups.0.lock().line.len() <= 65, "after {n}");
    }
    assert!(!lookups.lookup("kept").begun(), "it has kept its place");
    drop((dead, kept));
    names.open();
}

#[tokio::test]
async fn a_name_given_up_in_line_is_looked_up_all_the_same_where_it_is_to_be_kept() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(1, Abandoned::Kept);
    let dead = lookups.lookup("dead");
    names.wait_asked(1);
    (0..100).for_each(|n| drop(lookups.lookup(&format!("name-{n}"))));
    names.open();
    assert!(home(dead).await);
    names.wait_asked(101);
}

#[tokio::test]
async fn threads_end_when_there_is_nothing_left_to_look_up_and_come_back() {
    let names = Arc::new(Names::default());
    let lookups = names.lookups(8, Abandoned::Dropped);
    for _ in 0..2 {
        assert!(home(lookups.lookup("alive")).await);
        for _ in 0..2_000 {
            if lookups.0.lock().threads == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(lookups.0.lock().threads, 0);
    }
}

#[tokio::test]
async fn a_lookup_that_panics_is_told_as_a_failure_and_costs_no_thread() {
    let resolve = |name: &str| if name == "bad" { panic!("on purpose") } else { Ok(vec![HOME]) };
    let lookups = Lookups::new(1, Abandoned::Dropped, Arc::new(resolve));
    let failed = timeout(IN_TIME, lookups.lookup("bad").found()).await.expect("an answer");
    assert_eq!(failed.expect_err("no addresses").to_string(), "the lookup broke off");
    assert!(home(lookups.lookup("good")).await);
}

#[tokio::test]
async fn every_one_who_waits_is_told_why_there_is_no_address() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let lookups = Lookups::new(
        1,
        Abandoned::Dropped,
        Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            thread::sleep(SOON);
            Err(io::Error::from_raw_os_error(24))
        }),
    );
    let (one, two) = tokio::join!(lookups.lookup("a").found(), lookups.lookup("a").found());
    assert_eq!((one.unwrap_err().raw_os_error(), two.unwrap_err().raw_os_error()), (Some(24), Some(24)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_system_knows_localhost() {
    let lookups = Lookups::new(8, Abandoned::Dropped, system());
    let found = lookups.lookup("localhost").found().await.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
}
