//! Names that are looked up or are going to be, and who waits for each.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{Abandoned, Found};

/// A line this long is looked through for names that nobody waits for any more, and again whenever it has doubled since:
/// each name is then looked at a few times at most, however many come.
const SWEPT_FROM: usize = 64;

pub(crate) struct Line {
    abandoned: Abandoned,
    /// Every name in line or under way, with those who wait.
    waiting: HashMap<Arc<str>, Vec<oneshot::Sender<Found>>>,
    /// Those in line, in the order of asking; each is here once at most.
    queue: VecDeque<Arc<str>>,
    sweep_at: usize,
}

impl Line {
    pub(crate) fn new(abandoned: Abandoned) -> Line {
        Line { abandoned, waiting: HashMap::new(), queue: VecDeque::new(), sweep_at: SWEPT_FROM }
    }

    /// Where the answer for `name` will be, and whether the name was put in line for it.
    pub(crate) fn join(&mut self, name: &str) -> (oneshot::Receiver<Found>, bool) {
        let (sender, answer) = oneshot::channel();
        if let Some(waiting) = self.waiting.get_mut(name) {
            // A lookup that hangs must not gather those who gave up on it.
            waiting.retain(|sender| !sender.is_closed());
            waiting.push(sender);
            return (answer, false);
        }
        self.sweep();
        let name: Arc<str> = name.into();
        self.waiting.insert(name.clone(), vec![sender]);
        self.queue.push_back(name);
        (answer, true)
    }

    /// The next name to look up.
    pub(crate) fn next(&mut self) -> Option<Arc<str>> {
        while let Some(name) = self.queue.pop_front() {
            if self.is_wanted(&name) {
                return Some(name);
            }
            self.waiting.remove(&name);
        }
        None
    }

    /// Ends the lookup of `name`.
    pub(crate) fn tell(&mut self, name: &str, found: &Found) {
        for sender in self.waiting.remove(name).unwrap_or_default() {
            // Who no longer waits is no loss.
            drop(sender.send(found.clone()));
        }
    }

    /// Nobody will come to look a name up: everyone in line is told.
    pub(crate) fn give_up(&mut self, error: io::Error) {
        let none = Err(Arc::new(error));
        for name in std::mem::take(&mut self.queue) {
            self.tell(&name, &none);
        }
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.abandoned == Abandoned::Kept
            || self.waiting.get(name).is_some_and(|waiting| waiting.iter().any(|sender| !sender.is_closed()))
    }

    fn sweep(&mut self) {
        if self.abandoned == Abandoned::Kept || self.queue.len() < self.sweep_at {
            return;
        }
        let (wanted, abandoned) =
            std::mem::take(&mut self.queue).into_iter().partition(|name| self.is_wanted(name));
        self.queue = wanted;
        let abandoned: VecDeque<Arc<str>> = abandoned;
        for name in abandoned {
            self.waiting.remove(&name);
        }
        self.sweep_at = (2 * self.queue.len()).max(SWEPT_FROM);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
