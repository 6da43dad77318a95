//! Message ids: never issued twice by a data directory, whatever happens to it.
//!
//! The log says up to which id some may have been issued, always ahead of those that are, and a start goes on behind that.
//! The log's messages alone would not do: those of an ephemeral topic are handed out at once and never logged. So ids
//! for them come only from what is reserved durably; a message of the log may run ahead, because it is
//! handed out no sooner than the reservation before it is durable.

use journal::{Class, Position};

use super::core::Core;
use super::error::Refused;
use super::record::Record;

/// Ids that are reserved with one record; more are when half of them are left, long before they are needed.
#[cfg(not(test))]
const IDS_RESERVED: u64 = 1 << 20;
/// So few that tests come to the end of them.
#[cfg(test)]
const IDS_RESERVED: u64 = 64;

/// How far reservations are durable.
#[derive(Debug, Default)]
pub(super) struct ReservedIds {
    /// No id from here on is reserved durably.
    durable: u64,
    /// The reservation that the disk does not have yet: where its record ends, and the end of its ids.
    pending: Option<(Position, u64)>,
}

impl Core {
    /// Leaves out what may have been issued before the start, and reserves the first ids. When the disk has no room for
    /// that, publishes try it again.
    pub(super) fn begin_ids(&mut self) {
        let first = self.state.next_id.max(self.state.ids_end);
        // Time, so that a data directory which was made anew does not issue the ids of the one before it.
        self.state.next_id = if first == 0 { self.clock.now_ns() } else { first };
        self.state.ids_end = self.state.next_id;
        self.ids.durable = self.state.next_id;
        if self.reserve_ids().is_ok() {
            self.commit_now();
        }
    }

    /// Sees to it that an id for a message of the log is reserved.
    pub(super) fn reserve_ids(&mut self) -> Result<(), Refused> {
        let left = self.state.ids_end.saturating_sub(self.state.next_id);
        if left > IDS_RESERVED / 2 || (left > 0 && self.ids.pending.is_some()) {
            return Ok(());
        }
        let end = self.state.next_id + IDS_RESERVED;
        match self.log(&Record::IdsReserved { end }, Class::Reserved) {
            Ok(_) => {
                self.state.ids_end = end;
                self.ids.pending = Some((self.journal.end(), end));
                self.commit_wanted = true;
                self.driver.notify_one();
                Ok(())
            }
            // There will be room again before they are needed.
            Err(Refused::Full { .. }) if left > 0 => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Sees to it that so many ids for messages that are not logged are reserved, and the disk has that.
    pub(super) fn reserve_ids_durably(&mut self, count: usize) -> Result<(), Refused> {
        self.reserve_ids()?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if self.state.next_id.saturating_add(count) > self.ids.durable {
            return Err(Refused::NotStored("the disk is behind with reserving message ids".to_owned()));
        }
        Ok(())
    }

    /// The log is durable so far.
    pub(super) fn ids_durable(&mut self, durable: Position) {
        if let Some((_, end)) = self.ids.pending.take_if(|(at, _)| *at <= durable) {
            self.ids.durable = end;
        }
    }

    /// The log has lost something that was not durable.
    pub(super) fn ids_lost(&mut self) {
        if self.ids.pending.take().is_some() {
            self.state.ids_end = self.ids.durable.max(self.state.next_id);
        }
    }
}
