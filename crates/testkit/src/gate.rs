//! A gate in a script: the scripted peer stops at it until the test lets it through.
//!
//! ```no_run
//! # use testkit::{Gate, endpoint::{Answer, Endpoint}};
//! let gate = Gate::new();
//! let endpoint = Endpoint::http(Answer::ok().at_gate(&gate));
//! // ... start ten requests ...
//! gate.wait_arrived(10);   // all ten are at the endpoint, none is answered
//! gate.open();
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::board::Board;

/// How long a wait of the kit lasts before it panics.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Stops scripts until the test opens it. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Board<State>>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    passes: usize,
    arrived: usize,
    passed: usize,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        self.0.update(|gate| gate.open = true);
    }

    /// Stops everyone who arrives from now on.
    pub fn close(&self) {
        self.0.update(|gate| gate.open = false);
    }

    /// Lets `n` of those who wait, or who come later, through.
    pub fn pass(&self, n: usize) {
        self.0.update(|gate| gate.passes += n);
    }

    /// How many have come to the gate so far.
    pub fn arrived(&self) -> usize {
        self.0.read(|gate| gate.arrived)
    }

    /// How many were let through so far.
    pub fn passed(&self) -> usize {
        self.0.read(|gate| gate.passed)
    }

    /// Blocks until `n` have come to the gate in all.
    ///
    /// # Panics
    /// When they have not within [`PATIENCE`].
    #[track_caller]
    pub fn wait_arrived(&self, n: usize) {
        let arrived = self.0.wait(PATIENCE, |gate| (gate.arrived >= n).then_some(()));
        assert!(arrived.is_some(), "{} of {n} came to the gate in {PATIENCE:?}", self.arrived());
    }

    /// As [`Gate::wait_arrived`], for a test whose thread also runs the code under test.
    ///
    /// # Panics
    /// When they have not within [`PATIENCE`].
    pub async fn until_arrived(&self, n: usize) {
        let arrived = self.0.until(PATIENCE, |gate| (gate.arrived >= n).then_some(())).await;
        assert!(arrived.is_some(), "{} of {n} came to the gate in {PATIENCE:?}", self.arrived());
    }

    pub(crate) async fn through(&self) {
        self.0.update(|gate| gate.arrived += 1);
        let forever = Duration::from_secs(3600);
        let passed = self
            .0
            .until(forever, |gate| {
                if !gate.open {
                    gate.passes = gate.passes.checked_sub(1)?;
                }
                gate.passed += 1;
                Some(())
            })
            .await;
        debug_assert!(passed.is_some(), "a gate stayed closed for an hour");
    }
}
