//! The journal as who builds on it sees it: on a simulated disk that loses power and fails, and on the real one.

mod checkpoints;
mod damage;
mod directory;
mod faults;
mod model;
mod rig;
mod small_disk;
mod start;
