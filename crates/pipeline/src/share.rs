//! How what belongs to a route is divided over its lanes: as evenly as whole numbers allow, the sum exact.

/// The part of `total` that lane number `lane` of `lanes` gets; the first lanes take the remainder.
pub(crate) fn share(total: usize, lanes: usize, lane: usize) -> usize {
    total / lanes + usize::from(lane < total % lanes)
}

/// The messages held at once for `concurrency` permits when nothing else is asked for: twice the permits, so
/// that a permit that comes free has its next message at hand. With a quarter more than the permits a fast endpoint left one
/// permit in four without a message: a round through nsqd takes as long as a request.
pub(crate) fn default_max_in_flight(concurrency: usize) -> usize {
    2 * concurrency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for total in [1, 4, 64, 100, 1001] {
            for lanes in 1..=total.min(9) {
                let shares: Vec<_> = (0..lanes).map(|lane| share(total, lanes, lane)).collect();
                assert_eq!(shares.iter().sum::<usize>(), total);
                assert!(
                    shares.iter().max().expect("one lane at least") - shares.iter().min().expect("same") <= 1
                );
            }
        }
    }

    #[test]
    fn twice_the_permits() {
        assert_eq!([1, 3, 64, 100].map(default_max_in_flight), [2, 6, 128, 200]);
    }
}
