//! The consumer over real sockets, against a scripted nsqd. Every test also checks, every millisecond and at
//! every event, that each message received is accounted for.

#[path = "consumer/bounds.rs"]
mod bounds;
#[path = "consumer/deadlines.rs"]
mod deadlines;
#[path = "consumer/discovery.rs"]
mod discovery;
#[path = "consumer/faults.rs"]
mod faults;
#[path = "consumer/in_process.rs"]
mod in_process;
#[path = "consumer/rig.rs"]
mod rig;
#[path = "consumer/settling.rs"]
mod settling;
#[path = "consumer/shares.rs"]
mod shares;
#[path = "consumer/stop.rs"]
mod stop;
