//! The consumer over real sockets, against a scripted nsqd. Every test also checks, every millisecond and at
//! every event, that each message received is accounted for.

mod bounds;
mod deadlines;
mod discovery;
mod faults;
mod in_process;
pub(super) mod rig;
mod settling;
mod shares;
mod stop;
