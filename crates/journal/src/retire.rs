//! Segments that nobody needs any more.
//!
//! Retiring is a promise: the state, as it is now, refers to nothing in the segment. So every checkpoint that covers the
//! end of the log of that moment can do without it. Its file is unlinked once both kept checkpoints do: with it go not
//! only its messages but every record that the older checkpoint would have to replay.

use crate::error::RetireError;
use crate::journal::Journal;

impl Journal {
    /// Nothing in `segment` is needed any more. Its file goes with the second checkpoint from here on.
    ///
    /// # Errors
    /// It is not sealed, or there is none.
    pub fn retire(&mut self, segment: u32) -> Result<(), RetireError> {
        if self.active.as_ref().is_some_and(|active| active.number == segment) {
            return Err(RetireError::NotSealed(segment));
        }
        let end = self.end;
        let retired = self.sealed.get_mut(&segment).ok_or(RetireError::Unknown(segment))?;
        retired.retired_at.get_or_insert(end);
        Ok(())
    }

    /// The segments that may go once a checkpoint that begins now is durable.
    pub(crate) fn free_segments(&self) -> Vec<u32> {
        let Some(newest) = self.kept.newest else { return Vec::new() };
        let free = self
            .sealed
            .iter()
            .filter(|(_, segment)| segment.retired_at.is_some_and(|at| at <= newest.covers));
        free.map(|(number, _)| *number).collect()
    }
}
