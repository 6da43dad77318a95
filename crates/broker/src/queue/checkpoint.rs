//! A checkpoint as the queue sees it: what it holds, and what may go because of it.
//!
//! On a disk without a free byte it is the way out, since nothing else frees what was finished. There it must need no more than
//! itself: the records that wait in memory for space are given up, for the state knows what they said; and what is dead in
//! the state is retired with it, though the queue may be in doubt again by then, because more was finished meanwhile.

use journal::{CheckpointDone, CheckpointError, CheckpointJob, Position, WriteError};

use super::core::Core;

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct Begun {
    /// The log must be durable so far.
    pub(super) covers: Position,
    /// How often the queue had been in doubt.
    pub(super) doubts: u64,
    /// Segments that its state does without.
    dead: Vec<u32>,
}

impl Core {
    /// Begins a checkpoint of the state as it is now.
    pub(super) fn begin_checkpoint(&mut self) -> Result<(CheckpointJob, Begun), String> {
        if !self.redo_moves() {
            return Err("moved messages could not be appended again".to_owned());
        }
        self.append_settles();
        let begun = match self.encode_checkpoint() {
            Err(CheckpointError::Write(WriteError::Full)) if self.give_up_waiting() => {
                self.encode_checkpoint()
            }
            begun => begun,
        };
        begun.map_err(|error| {
            if let CheckpointError::Write(WriteError::Lost(lost)) = &error {
                self.lose(lost);
            }
            error.to_string()
        })
    }

    fn encode_checkpoint(&mut self) -> Result<(CheckpointJob, Begun), CheckpointError> {
        let doubts = self.counters.commits_failed;
        let dead = self.dead_segments();
        let job = self.journal.begin_checkpoint(self.state.encode())?;
        self.changed = false;
        self.commit_wanted = true;
        self.driver.notify_one();
        Ok((job, Begun { covers: self.journal.end(), doubts, dead }))
    }

    /// Gives up the records that wait for space. Not those of moved messages: they would have to be appended again first.
    fn give_up_waiting(&mut self) -> bool {
        if self.rewriting.any_from(self.journal.written()) {
            return false;
        }
        if let Some(lost) = self.journal.give_up_waiting() {
            self.lose(&lost);
        }
        true
    }

    /// It was written, or not. What its state did without may go; a doubt that began before it is over.
    pub(super) fn end_checkpoint(&mut self, begun: &Begun, done: CheckpointDone) -> Result<(), String> {
        self.journal.end_checkpoint(done).map_err(|error| error.to_string())?;
        self.counters.checkpoints += 1;
        // Some may be retired by now, or gone with what was lost.
        let mut dead = self.dead_segments();
        dead.retain(|number| begun.dead.contains(number));
        self.retire(dead);
        if begun.doubts == self.counters.commits_failed && self.doubt.take().is_some() {
            self.state.channels.values_mut().for_each(super::channel::Channel::wake);
        }
        Ok(())
    }
}
