//! Which share of `max_in_flight` each nsqd gets, as its RDY. Pure.
//!
//! RDY is a ceiling and not a credit: nsqd sends while what it has in flight here is below it. So the sum of
//! all stands at `max_in_flight` and is not written again for each message; only *shares* move, to the nsqds
//! that use them:
//! - each connection keeps at least 1 while there are enough, so that a message that appears anywhere is
//!   seen;
//! - one that has been at its ceiling lately wants twice as much, one below it what it used and a quarter;
//!   what is wanted is shared out fairly, what nobody wants evenly;
//! - with more connections than messages to hold, those in use and those that are not take turns.
//!
//! A share that grows takes only what is free: neither the sum of RDY nor what is really in flight may exceed
//! the total because a share moved. So what is taken back here is given there a moment later, when nothing can
//! come of it any more.

/// What one connection has and does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// The most that it may have: its `max_rdy_count`, or the bytes bound of its slow start.
    pub(super) max: u32,
    /// Its RDY as last written.
    pub(super) rdy: u32,
    /// Messages of it that are held now, or may be on their way under a share that was just taken back.
    pub(super) in_flight: u32,
    /// The most that were held at once lately.
    pub(super) peak: u32,
}

impl Use {
    fn at_ceiling(&self) -> bool {
        self.rdy > 0 && self.peak >= self.rdy
    }

    /// What it would use, as far as can be told.
    fn wants(&self) -> u32 {
        let wants =
            if self.at_ceiling() { self.peak.saturating_mul(2) } else { self.peak + self.peak / 4 + 1 };
        wants.clamp(1, self.max.max(1))
    }
}

/// What to write now, and whether to come back for the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// RDY of each connection, in the order given.
    pub(super) rdy: Vec<u32>,
    /// A share could not grow yet, because what it is to get is still in flight elsewhere.
    pub(super) waiting: bool,
}

/// The plan for `total` messages over these connections. `turn` counts up while there are more connections
/// than messages.
pub(super) fn plan(total: u32, uses: &[Use], turn: usize) -> Plan {
    let shares = shares(total, uses, turn);
    let kept: Vec<u32> = uses.iter().zip(&shares).map(|(usage, share)| usage.rdy.min(*share)).collect();
    // What is taken back by this very plan may be used until nsqd has read it.
    let occupied = |index: usize| uses[index].rdy.max(uses[index].in_flight);
    let mut room =
        total.saturating_sub((0..uses.len()).fold(0, |sum: u32, index| sum.saturating_add(occupied(index))));
    // The sum of RDY has its own room: what is on its way under a share taken back is not RDY any more.
    let mut unwritten = total.saturating_sub(kept.iter().fold(0, |sum: u32, rdy| sum.saturating_add(*rdy)));
    let mut growing: Vec<usize> = (0..uses.len()).filter(|index| shares[*index] > kept[*index]).collect();
    // The poorest first: from 0 to 1 is the step that matters most.
    growing.sort_by_key(|index| kept[*index]);
    let mut plan = Plan { rdy: kept.clone(), waiting: false };
    for index in growing {
        // Up to what it holds already a share grows for nothing.
        let held = occupied(index) - kept[index];
        let growth = (shares[index] - kept[index]).min(held.saturating_add(room)).min(unwritten);
        room -= growth.saturating_sub(held);
        unwritten -= growth;
        plan.rdy[index] += growth;
        plan.waiting |= plan.rdy[index] < shares[index];
    }
    plan
}

/// Whether a plan differs enough to be written: a share by a quarter, one that comes, goes or reaches its
/// most, or a sum that was off the total and need not be.
pub(super) fn worth_writing(total: u32, uses: &[Use], plan: &Plan) -> bool {
    let total = u64::from(total);
    let written: u64 = uses.iter().map(|usage| u64::from(usage.rdy)).sum();
    let planned: u64 = plan.rdy.iter().map(|rdy| u64::from(*rdy)).sum();
    let off = written > total || written < total && planned == total;
    off || uses.iter().zip(&plan.rdy).any(|(usage, rdy)| {
        let (old, new) = (usage.rdy, *rdy);
        old != new && (old == 0 || new == 0 || new == usage.max || old.abs_diff(new) >= old.div_ceil(4))
    })
}

fn shares(total: u32, uses: &[Use], turn: usize) -> Vec<u32> {
    let taking_part = turns(total, uses, turn);
    let limit = |of: &dyn Fn(&Use) -> u32| -> Vec<u32> {
        uses.iter()
            .zip(&taking_part)
            .map(|(usage, takes)| if *takes { of(usage).min(usage.max) } else { 0 })
            .collect()
    };
    let mut shares = vec![0; uses.len()];
    let mut left = total;
    for limits in [limit(&|_| 1), limit(&Use::wants), limit(&|usage| usage.max)] {
        left -= fill(left, &limits, &mut shares);
    }
    shares
}

/// Raises the shares by `amount` in all, evenly, none above its limit. Returns what was given.
fn fill(amount: u32, limits: &[u32], shares: &mut [u32]) -> u32 {
    let missing = |index: usize, shares: &[u32]| limits[index].saturating_sub(shares[index]);
    let mut order: Vec<usize> = (0..shares.len()).filter(|index| missing(*index, shares) > 0).collect();
    order.sort_by_key(|index| missing(*index, shares));
    let (mut left, count) = (amount, order.len());
    for (done, index) in order.into_iter().enumerate() {
        let even = left / (count - done) as u32;
        // The last ones take what does not divide, one each.
        let odd = u32::from(!left.is_multiple_of((count - done) as u32));
        let given = missing(index, shares).min(even + odd).min(left);
        shares[index] += given;
        left -= given;
    }
    amount - left
}

/// Who takes part this turn: all, where there is a message for each. Else those in use share three quarters
/// of the places, and those that are not the rest, round and round.
fn turns(total: u32, uses: &[Use], turn: usize) -> Vec<bool> {
    let places = total as usize;
    if places >= uses.len() {
        return vec![true; uses.len()];
    }
    let (busy, idle): (Vec<usize>, Vec<usize>) = (0..uses.len()).partition(|index| uses[*index].peak > 0);
    let for_idle = match (places, busy.is_empty(), idle.is_empty()) {
        (_, true, _) => places,
        (_, _, true) => 0,
        (1, _, _) => turn % 2,
        _ => (places / 4).max(1).max(places.saturating_sub(busy.len())).min(idle.len()),
    };
    let mut taking_part = vec![false; uses.len()];
    for (group, places) in [(&busy, places - for_idle), (&idle, for_idle)] {
        for place in 0..places.min(group.len()) {
            taking_part[group[(turn * places + place) % group.len()]] = true;
        }
    }
    taking_part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(max: u32) -> Use {
        Use { max, rdy: 0, in_flight: 0, peak: 0 }
    }

    fn busy(rdy: u32, peak: u32) -> Use {
        Use { max: 2500, rdy, in_flight: peak, peak }
    }

    #[test]
    fn the_sum_stands_at_the_total() {
        assert_eq!(plan(80, &[fresh(2500)], 0).rdy, [80]);
        assert_eq!(plan(80, &[fresh(2500), fresh(2500)], 0).rdy, [40, 40]);
        let three = plan(10, &[fresh(2500), fresh(2500), fresh(2500)], 0).rdy;
        assert_eq!((three.iter().sum::<u32>(), three.iter().min()), (10, Some(&3)));
    }

    #[test]
    fn none_exceeds_its_most_and_the_others_get_the_rest() {
        assert_eq!(plan(5000, &[fresh(2500)], 0).rdy, [2500]);
        assert_eq!(plan(5000, &[fresh(2500), fresh(100)], 0).rdy, [2500, 100]);
        assert_eq!(plan(100, &[fresh(2500), fresh(10)], 0).rdy, [90, 10]);
    }

    #[test]
    fn the_one_in_use_gets_the_share_of_the_idle_one_when_nothing_can_come_of_it_any_more() {
        // nsqd may fill the idle one's share until it has read that it is taken back.
        let first = plan(80, &[busy(40, 40), busy(40, 0)], 0);
        assert_eq!(first, Plan { rdy: vec![40, 1], waiting: true });
        let then = plan(80, &[busy(40, 40), busy(1, 0)], 0);
        assert_eq!(then, Plan { rdy: vec![79, 1], waiting: false });
    }

    #[test]
    fn an_idle_one_that_wakes_grows_by_doubling_up_to_its_fair_share() {
        let mut uses = [busy(79, 60), busy(1, 1)];
        let mut seen = Vec::new();
        for _ in 0..12 {
            let rdy = plan(80, &uses, 0).rdy;
            seen.push(rdy[1]);
            // The first is always as full as it may be, the second too.
            uses = [busy(rdy[0], rdy[0]), busy(rdy[1], rdy[1])];
        }
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.last(), Some(&40), "{seen:?}");
    }

    #[test]
    fn a_trickle_beside_a_busy_one_takes_no_more_than_it_uses() {
        let rdy = plan(80, &[busy(77, 77), busy(3, 1)], 0).rdy;
        assert_eq!(rdy[1], 2);
        assert!(!worth_writing(80, &[busy(78, 78), busy(2, 1)], &plan(80, &[busy(78, 78), busy(2, 1)], 0)));
    }

    #[test]
    fn a_share_grows_only_into_what_is_free() {
        // The first still holds 79 when the second wakes: its RDY is lowered now, and the second waits for
        // what comes free.
        let uses = [busy(79, 79), Use { max: 2500, rdy: 1, in_flight: 1, peak: 1 }];
        let first = plan(80, &uses, 0);
        assert_eq!(first, Plan { rdy: vec![78, 1], waiting: true });
        let uses = [Use { max: 2500, rdy: 78, in_flight: 78, peak: 79 }, uses[1]];
        assert_eq!(plan(80, &uses, 0), Plan { rdy: vec![78, 2], waiting: false });
    }

    #[test]
    fn a_lowered_total_lowers_every_share() {
        assert_eq!(plan(0, &[busy(40, 40), busy(40, 3)], 0).rdy, [0, 0]);
        let uses = [busy(40, 40), busy(40, 40)];
        let plan = plan(32, &uses, 0);
        assert_eq!(plan.rdy, [16, 16]);
        assert!(worth_writing(32, &uses, &plan));
    }

    #[test]
    fn only_a_quarter_or_a_bound_is_worth_a_write() {
        let two = |a, b| [busy(a, a), busy(b, b)];
        let plan_of = |a, b| Plan { rdy: vec![a, b], waiting: false };
        assert!(!worth_writing(80, &two(40, 40), &plan_of(44, 36)));
        assert!(worth_writing(80, &two(40, 40), &plan_of(50, 30)));
        assert!(worth_writing(80, &two(79, 1), &plan_of(78, 2)));
        assert!(worth_writing(80, &two(80, 0), &plan_of(79, 1)));
        assert!(!worth_writing(80, &two(79, 1), &plan_of(79, 1)));
        assert!(worth_writing(70, &two(40, 40), &plan_of(39, 31)), "the sum is over the total");
        assert!(
            worth_writing(82, &two(40, 40), &plan_of(41, 41)),
            "the sum is under the total, and need not be"
        );
        assert!(!worth_writing(90, &two(40, 40), &plan_of(41, 41)), "it must be");
    }

    #[test]
    fn with_more_connections_than_messages_every_one_has_its_turn() {
        let mut uses = vec![fresh(2500); 19];
        uses.push(busy(1, 1));
        let mut turns_of = [0; 20];
        for turn in 0..19 {
            let shares = shares(4, &uses, turn);
            assert_eq!(shares.iter().sum::<u32>(), 4);
            shares.iter().zip(&mut turns_of).for_each(|(share, turns)| *turns += u32::from(*share > 0));
        }
        assert!(turns_of.iter().all(|turns| *turns >= 1), "{turns_of:?}");
        assert_eq!(turns_of[19], 19, "the one in use keeps its place");
    }

    #[test]
    fn one_message_and_two_nsqds_in_use_alternate() {
        let uses = [busy(1, 1), fresh(2500)];
        let first: Vec<u32> = (0..4).map(|turn| shares(1, &uses, turn)[0]).collect();
        assert_eq!(first, [1, 0, 1, 0]);
        let uses = [busy(1, 1), busy(1, 1)];
        assert_eq!((0..4).map(|turn| shares(1, &uses, turn)[0]).sum::<u32>(), 2);
    }

    /// Random walks: whatever happens, nothing is over its bound.
    #[test]
    fn bounds_hold_whatever_happens() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as u32 % below
        };
        for _ in 0..300 {
            let mut uses: Vec<Use> = (0..1 + random(8)).map(|_| fresh(1 + random(60))).collect();
            let total = 1 + random(100);
            for turn in 0..60 {
                let plan = plan(total, &uses, turn);
                assert!(plan.rdy.iter().sum::<u32>() <= total, "{uses:?} {plan:?}");
                let held: u32 =
                    uses.iter().zip(&plan.rdy).map(|(usage, rdy)| usage.in_flight.max(*rdy)).sum();
                assert!(held <= total, "{total} {uses:?} {plan:?}");
                for (usage, rdy) in uses.iter_mut().zip(&plan.rdy) {
                    assert!(*rdy <= usage.max);
                    usage.rdy = *rdy;
                    usage.in_flight = if random(3) == 0 {
                        random(usage.in_flight + 1)
                    } else {
                        usage.in_flight.max(random(usage.rdy + 1))
                    };
                    usage.peak = usage.in_flight.max(random(usage.peak + 1));
                }
            }
        }
    }
}
