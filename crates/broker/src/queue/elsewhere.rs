//! One thread that waits for the disk, so that the broker's does not.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs, one after the other.
#[derive(Debug)]
pub(super) struct Elsewhere(Option<SyncSender<Job>>);

impl Elsewhere {
    /// A thread of this name. `inline`: none, jobs run where they are given, which a simulation can repeat.
    pub(super) fn new(name: &str, inline: bool) -> Self {
        if inline {
            return Self(None);
        }
        let (jobs, queue) = sync_channel::<Job>(1);
        let thread = thread::Builder::new().name(name.to_owned());
        let spawned = thread.spawn(move || queue.into_iter().for_each(|job| job()));
        // Without a thread everything is slower, and nothing is wrong.
        Self(spawned.ok().map(|_| jobs))
    }

    /// Whether jobs run on the caller's thread.
    pub(super) fn is_inline(&self) -> bool {
        self.0.is_none()
    }

    /// Runs a job and waits for its result without blocking.
    pub(super) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(jobs) = &self.0 else {
            // As with a thread, the others go on meanwhile.
            tokio::task::yield_now().await;
            return job();
        };
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits when the broker was dropped meanwhile.
            done.send(job()).ok();
        });
        jobs.send(job).expect("the thread ends with this sender");
        result.await.expect("a job sends its result, or has panicked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_runs_on_its_own_thread_or_on_none() {
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(Elsewhere::new("sync", false).run(name).await.as_deref(), Some("sync"));
        assert_eq!(Elsewhere::new("sync", true).run(name).await, name());
    }
}
