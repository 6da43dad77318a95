//! How many files and sockets the process may have open, against how many it may need.

use pipeline::PipelineSettings;
use pipeline::client::Source;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open besides connections: standard streams, epoll and its kin of each worker, resolver threads, files read
/// at the start.
pub(crate) const RESERVE: u64 = 64;

/// Files of an embedded queue: segments, checkpoints, its listeners; and what it asks of auth servers and nsqlookupds,
/// 32 questions each at once.
const QUEUE_RESERVE: u64 = 64 + 2 * 32;

/// Raises the soft limit to the hard one, which needs no privilege, and returns what is in force then; `None` is no
/// limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        // Refused where something forbids the call; the limit that was there still holds.
        Err(_) => current,
    }
}

/// Lowers how many connections an embedded queue takes to what the limit leaves beside all else that may be open, so that
/// no client can use up the files that deliveries need. A few are always left, whatever the limit.
pub(crate) fn bound_connections(connections_max: &mut usize, needed: u64, limit: Option<u64>) {
    const LEAST: u64 = 16;
    if let Some(limit) = limit {
        let left = limit.saturating_sub(needed + QUEUE_RESERVE).max(LEAST);
        *connections_max = (*connections_max).min(usize::try_from(left).unwrap_or(usize::MAX));
    }
}

/// How many the settings can need at once.
pub(crate) fn needed(settings: &PipelineSettings) -> u64 {
    let of_route = |route: &pipeline::RouteSettings| {
        let queue = match &route.consumer.source {
            Source::Nsqds(addresses) => addresses.len(),
            // How many nsqds there are is not known before they are asked for: one connection to each nsqlookupd, and
            // as many nsqds.
            Source::Lookupds(addresses) => 2 * addresses.len(),
            // Pipes in memory.
            Source::Memory(_) => 0,
        };
        (route.concurrency + queue * route.lanes) as u64
    };
    settings.routes.iter().map(of_route).sum::<u64>() + RESERVE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_connections_fit_the_limit() {
        let bounded = |limit| {
            let mut most = 10_000;
            bound_connections(&mut most, 100, limit);
            most
        };
        assert_eq!([None, Some(1_000_000), Some(1_024), Some(10)].map(bounded), [10_000, 10_000, 796, 16]);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_limit();
        assert_eq!(limit, getrlimit(Resource::Nofile).maximum);
    }
}
