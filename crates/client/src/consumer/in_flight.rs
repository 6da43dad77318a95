//! What one connection has delivered and is not settled yet. Pure: the clock and the bytes are the caller's.
//!
//! There is one table per connection, so its key is (connection, message id), and nothing can be answered on
//! another connection than the one that delivered it. An entry lives from the frame to the moment when its
//! [`Delivery`](super::Delivery) is settled or dropped:
//!
//! ```text
//!            receive           take            settle
//!   (absent) ───────► Waiting ──────► Held ───────────► (absent)     FIN or REQ is written
//!                        │             │ ▲
//!                        │ deadline    │ │ receive: the newer delivery is adopted
//!                        ▼             ▼ │
//!                     (absent)       Expired ─────────► (absent)     nothing is written
//!                                             settle
//! ```
//!
//! **Adoption.** When nsqd delivers an id again that is still here, it has timed the first delivery out. The
//! caller's work goes on, and its outcome answers the newer delivery: the entry takes the newer deadline and
//! count of attempts. A second `Delivery` would be a second POST; and a FIN for the older one would settle
//! the newer, since nsqd knows only the id.
//!
//! Deadlines and touches are found by a sweep over the whole table on a coarse tick. It holds at most as many
//! entries as RDY allows, a few thousand, so that costs microseconds per tick and nothing per message: no
//! timer, no ordered list.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::task::Waker;

use tokio::time::Instant;
use wire::MessageId;

use super::deadline::Timing;

/// Names an entry; a slot that was freed and taken again has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Vacant,
    /// Live, in the queue of messages that wait for a receiver.
    Waiting,
    /// Live, with the caller.
    Held,
    /// With the caller, but no longer ours to answer.
    Expired,
}

#[derive(Debug)]
struct Entry {
    id: MessageId,
    generation: u32,
    phase: Phase,
    attempts: u16,
    /// Whether a TOUCH was written for this very delivery: only then can an `E_TOUCH_FAILED` be about it, and
    /// not about an older delivery of the id that it adopted.
    touched: bool,
    read_at: Instant,
    /// When it was read or last touched: nsqd's clock runs from there.
    renewed_at: Instant,
    /// `renewed_at` and `touched` as they were before the last TOUCH, should that one not leave.
    before_touch: (Instant, bool),
    /// Who waits to hear that it is lost.
    watcher: Option<Waker>,
}

/// What a message frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    New(Key),
    /// Another delivery of an id that is here; the older one was still live, or had expired.
    Adopted {
        older_was_live: bool,
    },
}

/// What may be done for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Live(MessageId),
    /// Its deadline passed just now, and nobody had noticed.
    ExpiresNow,
    Expired,
    /// Not in the table.
    Gone,
}

/// What a sweep found.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) expired: u32,
    /// Some of them were waiting for a receiver: they are to be dropped there.
    pub(super) waiting_expired: bool,
    pub(super) touched: u32,
    /// To wake when the table is no longer borrowed.
    pub(super) watchers: Vec<Waker>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    by_id: HashMap<MessageId, u32, BuildHasherDefault<IdHasher>>,
    live: u32,
    /// Those whose TOUCH may still be on its way to the stream.
    touching: Vec<MessageId>,
}

impl InFlight {
    /// Entries that are waiting or held.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn receive(&mut self, id: MessageId, attempts: u16, read_at: Instant) -> Receipt {
        if let Some(slot) = self.by_id.get(&id) {
            let entry = &mut self.entries[*slot as usize];
            let older_was_live = entry.phase != Phase::Expired;
            if !older_was_live {
                entry.phase = Phase::Held;
                self.live += 1;
            }
            (entry.attempts, entry.touched) = (attempts, false);
            (entry.read_at, entry.renewed_at) = (read_at, read_at);
            return Receipt::Adopted { older_was_live };
        }
        let entry = Entry {
            id,
            generation: 0,
            phase: Phase::Waiting,
            attempts,
            touched: false,
            read_at,
            renewed_at: read_at,
            before_touch: (read_at, false),
            watcher: None,
        };
        self.live += 1;
        let key = self.place(entry);
        self.by_id.insert(id, key.slot);
        Receipt::New(key)
    }

    fn place(&mut self, entry: Entry) -> Key {
        if let Some(slot) = self.vacant.pop() {
            let place = &mut self.entries[slot as usize];
            let generation = place.generation.wrapping_add(1);
            *place = Entry { generation, ..entry };
            return Key { slot, generation };
        }
        self.entries.push(entry);
        Key { slot: (self.entries.len() - 1) as u32, generation: 0 }
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        let entry = self.entries.get(key.slot as usize)?;
        (entry.generation == key.generation && entry.phase != Phase::Vacant).then_some(entry)
    }

    fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        (entry.generation == key.generation && entry.phase != Phase::Vacant).then_some(entry)
    }

    fn remove(&mut self, key: Key) {
        let entry = &mut self.entries[key.slot as usize];
        self.live -= u32::from(entry.phase != Phase::Expired);
        entry.phase = Phase::Vacant;
        entry.watcher = None;
        let id = entry.id;
        self.by_id.remove(&id);
        self.vacant.push(key.slot);
    }

    /// Where a delivery stands; changes nothing.
    pub(super) fn standing(&self, key: Key, timing: &Timing, now: Instant) -> Standing {
        self.entry(key).map_or(Standing::Gone, |entry| entry.standing(entry.end(timing), now))
    }

    /// Hands a waiting delivery out. One that is not live leaves the table instead.
    pub(super) fn take(&mut self, key: Key, timing: &Timing, now: Instant) -> Standing {
        let standing = self.standing(key, timing, now);
        match standing {
            Standing::Live(_) => {
                self.entry_mut(key).expect("its standing says it is there").phase = Phase::Held
            }
            Standing::ExpiresNow | Standing::Expired => self.remove(key),
            Standing::Gone => {}
        }
        standing
    }

    /// The caller is done with it: it leaves the table, live or not. With until when it could be answered.
    pub(super) fn settle(&mut self, key: Key, timing: &Timing, now: Instant) -> (Standing, Instant) {
        let Some(entry) = self.entry(key) else { return (Standing::Gone, now) };
        let end = entry.end(timing);
        let standing = entry.standing(end, now);
        self.remove(key);
        (standing, end)
    }

    /// Renews the time of a live delivery; `None` when there is nothing to gain: it is lost, or was renewed
    /// less than `least` ago.
    pub(super) fn touch(
        &mut self,
        key: Key,
        timing: &Timing,
        least: std::time::Duration,
        now: Instant,
    ) -> Option<MessageId> {
        let entry = self.entry_mut(key)?;
        if entry.phase == Phase::Expired || entry.expired(timing, now) || now < entry.renewed_at + least {
            return None;
        }
        let id = entry.touch(now);
        self.touching.push(id);
        Some(id)
    }

    /// The stream has taken every TOUCH.
    pub(super) fn touches_left(&mut self) {
        self.touching.clear();
    }

    /// The stream takes no more, and who knows when it will: the TOUCHes that may not have left extend nothing. False when
    /// there are none.
    pub(super) fn take_touches_back(&mut self) -> bool {
        let any = !self.touching.is_empty();
        for id in self.touching.drain(..) {
            let Some(slot) = self.by_id.get(&id) else { continue };
            let entry = &mut self.entries[*slot as usize];
            // A newer delivery of the id has a time of its own.
            if entry.touched {
                (entry.renewed_at, entry.touched) = entry.before_touch;
            }
        }
        any
    }

    /// Until when it may be answered; `None` when it no longer may.
    pub(super) fn deadline(&self, key: Key, timing: &Timing) -> Option<Instant> {
        let entry = self.entry(key).filter(|entry| entry.phase != Phase::Expired)?;
        Some(entry.end(timing))
    }

    /// nsqd's count at its newest delivery.
    pub(super) fn attempts(&self, key: Key) -> Option<u16> {
        self.entry(key).map(|entry| entry.attempts)
    }

    /// Whom to wake when the delivery is lost.
    pub(super) fn watch(&mut self, key: Key, waker: &Waker) {
        if let Some(entry) = self.entry_mut(key) {
            match &mut entry.watcher {
                Some(watcher) => watcher.clone_from(waker),
                watcher => *watcher = Some(waker.clone()),
            }
        }
    }

    /// nsqd refused a TOUCH: the delivery is no longer ours, unless the refusal is about an older one.
    pub(super) fn touch_failed(&mut self, id: MessageId) -> Swept {
        let mut swept = Swept::default();
        if let Some(slot) = self.by_id.get(&id).copied()
            && self.entries[slot as usize].touched
        {
            self.expire_slot(slot, &mut swept);
        }
        swept
    }

    /// Its time has passed: it is no longer live.
    pub(super) fn expire(&mut self, key: Key) -> Swept {
        let mut swept = Swept::default();
        if self.entry(key).is_some() {
            self.expire_slot(key.slot, &mut swept);
        }
        swept
    }

    fn expire_slot(&mut self, slot: u32, swept: &mut Swept) {
        let entry = &mut self.entries[slot as usize];
        match entry.phase {
            Phase::Held => {
                entry.phase = Phase::Expired;
                self.live -= 1;
                swept.watchers.extend(entry.watcher.take());
            }
            Phase::Waiting => {
                let key = Key { slot, generation: entry.generation };
                self.remove(key);
                swept.waiting_expired = true;
            }
            Phase::Vacant | Phase::Expired => return,
        }
        swept.expired += 1;
    }

    /// Finds what has expired, and what is due for a TOUCH, which `touch` writes.
    pub(super) fn sweep(
        &mut self,
        timing: &Timing,
        now: Instant,
        may_touch: bool,
        mut touch: impl FnMut(&MessageId),
    ) -> Swept {
        let mut swept = Swept::default();
        for slot in 0..self.entries.len() {
            let entry = &mut self.entries[slot];
            if !matches!(entry.phase, Phase::Waiting | Phase::Held) {
                continue;
            }
            if entry.expired(timing, now) {
                self.expire_slot(slot as u32, &mut swept);
            } else if may_touch && timing.touch_due(entry.read_at, entry.renewed_at, now) {
                let id = entry.touch(now);
                self.touching.push(id);
                touch(&id);
                swept.touched += 1;
            }
        }
        swept
    }

    /// Takes every entry out, calling `live` for those that were, and says whom to wake.
    pub(super) fn clear(&mut self, mut live: impl FnMut(&MessageId)) -> Vec<Waker> {
        let mut watchers = Vec::new();
        for slot in 0..self.entries.len() {
            let entry = &mut self.entries[slot];
            let key = Key { slot: slot as u32, generation: entry.generation };
            match entry.phase {
                Phase::Vacant => continue,
                Phase::Waiting | Phase::Held => live(&entry.id),
                Phase::Expired => {}
            }
            watchers.extend(entry.watcher.take());
            self.remove(key);
        }
        watchers
    }
}

impl Entry {
    fn end(&self, timing: &Timing) -> Instant {
        timing.deadline(self.read_at, self.renewed_at)
    }

    fn expired(&self, timing: &Timing, now: Instant) -> bool {
        now >= self.end(timing)
    }

    /// Where it stands, if it ends at `end`.
    fn standing(&self, end: Instant, now: Instant) -> Standing {
        match self.phase {
            Phase::Expired => Standing::Expired,
            _ if now >= end => Standing::ExpiresNow,
            _ => Standing::Live(self.id),
        }
    }

    fn touch(&mut self, now: Instant) -> MessageId {
        self.before_touch = (self.renewed_at, self.touched);
        (self.renewed_at, self.touched) = (now, true);
        self.id
    }
}

/// Folds an id into 64 bits: two multiplications, where the standard library's hasher takes some twenty
/// nanoseconds. It is not keyed: whoever chooses the ids is nsqd, and the table is as small as RDY.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            let product = u128::from(self.0 ^ u64::from_le_bytes(word)) * u128::from(ODD);
            self.0 = (product as u64) ^ ((product >> 64) as u64);
        }
    }

    /// The length that comes before the bytes; it is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dial::Negotiated;
    use crate::settings::Compression;

    /// msg_timeout 1 s: touched from 0.5 s, over at 0.875 s; the ceiling is at 3 s, over at 2.875 s.
    fn timing() -> Timing {
        Timing::new(&Negotiated {
            msg_timeout: Duration::from_secs(1),
            max_msg_timeout: Duration::from_secs(3),
            max_rdy_count: 2500,
            heartbeat_interval: Duration::from_secs(5),
            output_buffer_timeout: Duration::from_millis(25),
            compression: Compression::None,
            tls: false,
        })
    }

    fn id(n: u8) -> MessageId {
        MessageId([n; 16])
    }

    struct Table {
        table: InFlight,
        timing: Timing,
        start: Instant,
    }

    impl Table {
        fn new() -> Table {
            Table { table: InFlight::default(), timing: timing(), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn new_at(&mut self, n: u8, ms: u64) -> Key {
            match self.table.receive(id(n), 1, self.at(ms)) {
                Receipt::New(key) => key,
                adopted => panic!("{adopted:?}"),
            }
        }

        fn held_at(&mut self, n: u8, ms: u64) -> Key {
            let key = self.new_at(n, ms);
            assert_eq!(self.table.take(key, &self.timing, self.at(ms)), Standing::Live(id(n)));
            key
        }

        fn settle(&mut self, key: Key, ms: u64) -> Standing {
            let now = self.at(ms);
            self.table.settle(key, &self.timing, now).0
        }

        fn sweep(&mut self, ms: u64) -> (Vec<MessageId>, Swept) {
            let (now, mut touches) = (self.at(ms), Vec::new());
            let swept = self.table.sweep(&self.timing, now, true, |id| touches.push(*id));
            (touches, swept)
        }
    }

    #[test]
    fn a_delivery_is_settled_once() {
        let mut t = Table::new();
        let key = t.held_at(1, 0);
        assert_eq!(t.table.live(), 1);
        assert_eq!(t.settle(key, 100), Standing::Live(id(1)));
        assert_eq!(t.table.live(), 0);
        assert_eq!(t.settle(key, 100), Standing::Gone);
        let next = t.held_at(2, 100);
        assert_eq!(next.slot, key.slot, "slots are used again");
        assert_eq!(t.settle(key, 100), Standing::Gone, "under another generation");
        assert_eq!(t.settle(next, 100), Standing::Live(id(2)));
    }

    #[test]
    fn nothing_is_settled_after_its_deadline_swept_or_not() {
        let mut t = Table::new();
        let (unswept, swept) = (t.held_at(1, 0), t.held_at(2, 0));
        assert_eq!(t.settle(unswept, 875), Standing::ExpiresNow);
        assert_eq!(t.table.live(), 1);
        assert_eq!(t.sweep(900).1.expired, 1);
        assert_eq!(t.table.live(), 0);
        assert_eq!(t.settle(swept, 900), Standing::Expired);
        assert_eq!(t.settle(swept, 900), Standing::Gone);
    }

    #[test]
    fn waiting_and_held_ones_are_touched_at_half_up_to_the_ceiling() {
        let mut t = Table::new();
        t.new_at(1, 0);
        t.held_at(2, 0);
        assert_eq!(t.sweep(499).0, []);
        assert_eq!(t.sweep(500).0, [id(1), id(2)]);
        assert_eq!(t.sweep(900).0, []);
        assert_eq!(t.sweep(1_000).0, [id(1), id(2)]);
        assert_eq!(t.sweep(1_500).0.len(), 2);
        assert_eq!(t.sweep(2_000).0.len(), 2);
        let (touches, swept) = t.sweep(2_500);
        assert_eq!((touches.len(), swept.expired), (0, 0), "3 s is the end, touched or not");
        let (_, swept) = t.sweep(2_875);
        assert_eq!((swept.expired, swept.waiting_expired), (2, true));
        assert_eq!(t.table.live(), 0);
    }

    #[test]
    fn a_blocked_connection_gets_no_touches_and_its_deliveries_expire() {
        let mut t = Table::new();
        t.held_at(1, 0);
        let (half, end) = (t.at(500), t.at(875));
        let never = |id: &MessageId| panic!("touched {id}");
        assert_eq!(t.table.sweep(&t.timing, half, false, never).touched, 0);
        assert_eq!(t.table.sweep(&t.timing, end, false, never).expired, 1);
    }

    #[test]
    fn a_second_delivery_of_a_held_id_is_adopted() {
        let mut t = Table::new();
        let key = t.held_at(1, 0);
        let adopted = t.table.receive(id(1), 2, t.at(600));
        assert_eq!(adopted, Receipt::Adopted { older_was_live: true });
        assert_eq!((t.table.live(), t.table.attempts(key)), (1, Some(2)));
        assert_eq!(t.table.deadline(key, &t.timing), Some(t.at(1_475)), "the newer delivery's");
        assert_eq!(t.settle(key, 1_400), Standing::Live(id(1)), "the running work answers it");
    }

    #[test]
    fn a_second_delivery_of_an_expired_id_is_adopted_too() {
        let mut t = Table::new();
        let key = t.held_at(1, 0);
        assert_eq!(t.sweep(875).1.expired, 1);
        assert_eq!(t.table.receive(id(1), 2, t.at(1_100)), Receipt::Adopted { older_was_live: false });
        assert_eq!(t.table.live(), 1);
        assert_eq!(t.settle(key, 1_900), Standing::Live(id(1)));
    }

    #[test]
    fn a_second_delivery_of_a_waiting_id_waits_in_its_place() {
        let mut t = Table::new();
        let key = t.new_at(1, 0);
        assert_eq!(t.table.receive(id(1), 2, t.at(800)), Receipt::Adopted { older_was_live: true });
        assert_eq!(t.table.take(key, &t.timing, t.at(1_000)), Standing::Live(id(1)));
        assert_eq!(t.table.live(), 1);
    }

    #[test]
    fn one_that_expires_waiting_leaves_at_once_and_comes_back_as_new() {
        let mut t = Table::new();
        let key = t.new_at(1, 0);
        t.table.sweep(&t.timing, t.start + Duration::from_millis(875), false, |_| ());
        assert_eq!(t.table.take(key, &t.timing, t.at(900)), Standing::Gone);
        let newer = t.new_at(1, 1_000);
        assert_ne!(key, newer);
        let late = t.new_at(2, 0);
        assert_eq!(t.table.take(late, &t.timing, t.at(900)), Standing::ExpiresNow, "before any sweep");
        assert_eq!(t.table.live(), 1);
    }

    #[test]
    fn a_refused_touch_expires_the_delivery_that_it_was_for() {
        let mut t = Table::new();
        let key = t.held_at(1, 0);
        assert_eq!(t.table.touch_failed(id(1)).expired, 0, "none was sent for this one");
        assert!(t.table.touch(key, &t.timing, Duration::ZERO, t.at(100)).is_some());
        assert_eq!(t.table.receive(id(1), 2, t.at(200)), Receipt::Adopted { older_was_live: true });
        assert_eq!(t.table.touch_failed(id(1)).expired, 0, "it was for the older one");
        assert!(t.table.touch(key, &t.timing, Duration::ZERO, t.at(300)).is_some());
        assert_eq!(t.table.touch_failed(id(1)).expired, 1);
        assert_eq!(t.table.touch_failed(id(1)).expired, 0);
        assert_eq!(t.table.deadline(key, &t.timing), None, "there is none any more");
        assert_eq!(t.settle(key, 400), Standing::Expired);
        assert_eq!(t.table.touch_failed(id(9)).expired, 0);
    }

    #[test]
    fn a_touch_too_soon_after_the_last_gains_nothing() {
        let mut t = Table::new();
        let (key, least) = (t.held_at(1, 0), Duration::from_millis(50));
        assert_eq!(t.table.touch(key, &t.timing, least, t.at(49)), None);
        assert_eq!(t.table.touch(key, &t.timing, least, t.at(50)), Some(id(1)));
        assert_eq!(t.table.touch(key, &t.timing, least, t.at(99)), None);
        assert_eq!(t.table.touch(key, &t.timing, least, t.at(925)), None, "expired");
    }

    #[test]
    fn a_touch_that_has_not_left_is_taken_back() {
        let mut t = Table::new();
        let (left, stays) = (t.held_at(1, 0), t.held_at(2, 0));
        assert_eq!(t.table.touch(left, &t.timing, Duration::ZERO, t.at(400)), Some(id(1)));
        t.table.touches_left();
        assert_eq!(t.sweep(500).0, [id(2)]);
        assert!(t.table.take_touches_back());
        assert!(!t.table.take_touches_back());
        assert_eq!(t.table.deadline(left, &t.timing), Some(t.at(1_275)));
        assert_eq!(t.table.deadline(stays, &t.timing), Some(t.at(875)));
        assert_eq!(t.table.touch_failed(id(2)).expired, 0, "no TOUCH was written for it");
        assert_eq!(t.sweep(875).1.expired, 1);
    }

    #[test]
    fn a_newer_delivery_keeps_its_time_when_the_touch_of_the_older_is_taken_back() {
        let mut t = Table::new();
        let key = t.held_at(1, 0);
        assert_eq!(t.sweep(500).0, [id(1)]);
        assert_eq!(t.table.receive(id(1), 2, t.at(600)), Receipt::Adopted { older_was_live: true });
        assert!(t.table.take_touches_back());
        assert_eq!(t.table.deadline(key, &t.timing), Some(t.at(1_475)));
    }

    #[test]
    fn a_lost_connection_takes_everything() {
        let mut t = Table::new();
        let keys = [t.held_at(1, 0), t.new_at(2, 0), t.held_at(3, 0)];
        t.table.touch(keys[2], &t.timing, Duration::ZERO, t.at(1));
        t.table.touch_failed(id(3));
        let mut live = Vec::new();
        t.table.clear(|id| live.push(*id));
        assert_eq!(live, [id(1), id(2)]);
        assert_eq!(t.table.live(), 0);
        assert!(keys.iter().all(|key| t.table.standing(*key, &t.timing, t.start) == Standing::Gone));
    }
}
