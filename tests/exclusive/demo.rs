//! The demo as the README has it: the whole of it, in time.

use std::time::{Duration, Instant};

use testkit::process::Posthaste;

#[test]
fn the_demo_takes_less_than_twenty_seconds() {
    let _alone = testkit::exclusive();
    let begun = Instant::now();
    let demo = Posthaste::run(["demo", "--summary", "json"]);
    assert_eq!(demo.process.wait(Duration::from_secs(60)).code, Some(0), "{}", demo.process.output());
    let (took, report) = (begun.elapsed(), demo.summary());
    println!("the demo took {took:?}: {report}");
    assert!(took < Duration::from_secs(20), "{took:?}: {report:#}");
    assert_eq!(report["arrived"], 100_000);
}
