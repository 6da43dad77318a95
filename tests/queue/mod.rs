//! The embedded queue as its users meet it: in `posthaste run`, as `posthaste broker` in nsqd's place, under NSQ's own tools
//! and other people's libraries, and in the demo. What happens to it when it is killed is in [`stored`](crate::stored).

mod cluster;
mod demo;
mod descriptors;
mod flags;
mod import;
mod libraries;
mod rig;
mod run;
mod stop;
mod tools;

pub(crate) use libraries::peers;
