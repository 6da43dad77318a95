//! When to dial, as pure arithmetic.

/// What there is and what is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    /// Requests waiting for a place.
    pub(super) waiting: usize,
    /// Of those, the ones that a connection in use before does not help.
    pub(super) waiting_for_fresh: usize,
    pub(super) open: usize,
    pub(super) dialling: usize,
    pub(super) concurrency: usize,
    /// Dials at once, also of those that have given their place among the worker's back.
    pub(super) dials_max: usize,
    /// Connections to be kept open in any case.
    pub(super) warm: usize,
}

impl Demand {
    /// Whether one more dial is wanted and allowed.
    pub(super) fn wants_dial(&self) -> bool {
        self.is_short() && self.has_room() && self.dialling < self.dials_max
    }

    /// Whether a dial is wanted for a resend, and only an idle connection stands in its way. Others that wait at the
    /// limit are served by the next check-in.
    pub(super) fn needs_room(&self) -> bool {
        self.waiting_for_fresh > 0 && self.dialling < self.waiting && !self.has_room()
    }

    fn is_short(&self) -> bool {
        self.dialling < self.waiting + self.warm.saturating_sub(self.open)
    }

    pub(super) fn has_room(&self) -> bool {
        self.open + self.dialling < self.concurrency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Demand = Demand {
        waiting: 0,
        waiting_for_fresh: 0,
        open: 0,
        dialling: 0,
        concurrency: 4,
        dials_max: 3,
        warm: 0,
    };

    #[test]
    fn nobody_waits_nobody_dials() {
        assert!(!NONE.wants_dial());
    }

    #[test]
    fn one_dial_per_waiter_and_no_more_than_the_concurrency() {
        assert!(Demand { waiting: 2, dialling: 1, ..NONE }.wants_dial());
        assert!(!Demand { waiting: 2, dialling: 2, ..NONE }.wants_dial());
        assert!(Demand { waiting: 9, dialling: 1, open: 2, ..NONE }.wants_dial());
        assert!(!Demand { waiting: 9, dialling: 2, open: 2, ..NONE }.wants_dial());
    }

    #[test]
    fn dials_at_once_are_limited() {
        let many = Demand { waiting: 9, concurrency: 9, ..NONE };
        assert!(Demand { dialling: 2, ..many }.wants_dial());
        assert!(!Demand { dialling: 3, ..many }.wants_dial());
    }

    #[test]
    fn warm_connections_are_dialled_beside_those_waited_for() {
        assert!(Demand { warm: 2, open: 1, ..NONE }.wants_dial());
        assert!(!Demand { warm: 2, open: 1, dialling: 1, ..NONE }.wants_dial());
        assert!(!Demand { warm: 2, open: 2, ..NONE }.wants_dial());
        assert!(Demand { warm: 2, open: 1, dialling: 1, waiting: 1, ..NONE }.wants_dial());
    }

    #[test]
    fn room_is_made_for_resends_alone() {
        let full = Demand { waiting: 1, open: 4, ..NONE };
        assert!(!full.needs_room());
        assert!(Demand { waiting_for_fresh: 1, ..full }.needs_room());
        assert!(
            !Demand { waiting_for_fresh: 1, open: 3, dialling: 1, ..full }.needs_room(),
            "one is under way"
        );
        assert!(!Demand { waiting_for_fresh: 1, open: 3, ..full }.needs_room(), "there is room");
    }
}
