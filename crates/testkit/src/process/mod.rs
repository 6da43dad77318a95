//! Real programs under test control: nsqd, nsqlookupd, nginx, and Posthaste itself.
//!
//! Each runs in a process group of its own, which is killed when its value is dropped, also when the test panics, and when the
//! test process itself dies. Ports are [reserved](crate::ports::Reserved), so a restarted daemon has its old ones.
//!
//! ```no_run
//! use std::time::Duration;
//! use testkit::process::{Nginx, NginxOptions, Nsqd, Posthaste, Signal};
//!
//! let nsqd = Nsqd::start(&["--msg-timeout=2s"]);
//! nsqd.create_channel("events", "posthaste");
//! nsqd.publish_many("events", (0..1000).map(|serial| testkit::body::body(serial, 1024)));
//! let nginx = Nginx::start(NginxOptions { keepalive_requests: Some(1_000_000), ..NginxOptions::tls() });
//!
//! let mut posthaste = Posthaste::run([
//!     "run", "--topic", "events", "--nsqd-tcp-address", &nsqd.tcp_address().to_string(),
//!     "--to", &nginx.url("/"), "--ca-file", nginx.ca_file().to_str().unwrap(), "--summary", "json",
//! ]);
//! nsqd.wait_channel("events", "posthaste", |channel| channel.finished() == 1000);
//! posthaste.process.signal(Signal::TERM);
//! let exited = posthaste.process.wait(Duration::from_secs(2));
//! assert_eq!(exited.code, Some(0));
//! let summary = posthaste.summary();
//! assert_eq!(summary["dials"], nginx.counts().accepted);
//! assert!(exited.peak_rss_bytes < 16 << 20);
//! ```

mod child;
mod daemon;
mod nginx;
mod nsq;
mod posthaste;
mod reaper;
mod usage;

pub use child::{Exited, Process, Signal};
pub use daemon::Daemon;
pub use nginx::{Nginx, NginxCounts, NginxOptions};
pub use nsq::{ChannelStats, Nsqd, Nsqlookupd, nsq_program};
pub use posthaste::{Posthaste, posthaste_program, with_descriptors, with_failing_writes};
pub use usage::{Usage, cpu_with_children};

pub(crate) use posthaste::wrap;
