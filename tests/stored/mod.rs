//! `posthaste broker`, the embedded queue as a program of its own, where a process is killed or a disk is full. What the queue does
//! on a disk that fails on demand is tested in its crate, over a simulated file system.

mod full_disk;
mod killed;
pub(crate) mod talk;
