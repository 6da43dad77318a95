//! What the endpoint's handle and all its connections share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::answer::Answer;
use super::counts::{Books, RequestRecord};
use super::options::{Accept, AcceptScript};
use super::peers::Peers;
use super::request::RequestHead;
use super::script::Script;
use crate::board::{Board, lock};

pub(super) struct Shared {
    pub(super) books: Board<Books>,
    pub(super) peers: Arc<Peers>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) tickets_after: Option<Duration>,
    pub(super) bodies_kept: usize,
    pub(super) requests_kept: usize,
    pub(super) script: Mutex<Script>,
    pub(super) accept: Mutex<AcceptScript>,
    pub(super) random: AtomicU64,
}

impl Shared {
    pub(super) fn choose_accept(&self, number: u64) -> Accept {
        (lock(&self.accept).0)(number)
    }

    /// Gives the request its serial, enters it, and chooses its answer.
    pub(super) fn begin_request(&self, head: &mut RequestHead) -> Answer {
        self.books.update(|books| {
            head.serial = books.counts.requests;
            books.counts.requests += 1;
            books.counts.busy += 1;
            books.counts.busy_max = books.counts.busy_max.max(books.counts.busy);
            books.connections[head.connection as usize].requests += 1;
            if books.requests.len() == self.requests_kept {
                books.requests.pop_front();
                books.requests_dropped += 1;
            }
            if self.requests_kept > 0 {
                books.requests.push_back(RequestRecord {
                    head: head.clone(),
                    body: None,
                    body_len: 0,
                    whole: false,
                    status: None,
                    arrived: Instant::now(),
                    answered: None,
                });
            }
        });
        lock(&self.script).choose(head)
    }

    pub(super) fn end_request(&self, serial: u64) {
        self.books.update(|books| {
            books.counts.busy -= 1;
            books.counts.answers += 1;
            if let Some(record) = books.request(serial) {
                record.answered = Some(Instant::now());
            }
        });
    }

    /// A uniform random time between the two.
    pub(super) fn between(&self, min: Duration, max: Duration) -> Duration {
        // splitmix64 over a counter: no two runs of a test differ in it, which helps more than real chance would.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        min + max.saturating_sub(min).mul_f64(share)
    }
}
