//! A connection's entries in the books of its endpoint.

use bytes::Bytes;

use super::connection::Connection;
use super::counts::RequestRecord;
use crate::body::Verdict;

impl Connection {
    pub(super) fn fired(&self, name: &'static str) {
        self.shared.books.update(|books| *books.counts.fired.entry(name).or_default() += 1);
    }

    pub(super) fn note_bytes(&mut self) {
        let now = (self.transport.bytes_in, self.transport.bytes_out, self.transport.key_updates_received);
        let noted = std::mem::replace(&mut self.noted, now);
        self.shared.books.update(|books| {
            books.counts.bytes_in += now.0 - noted.0;
            books.counts.bytes_out += now.1 - noted.1;
            books.counts.key_updates_received += now.2 - noted.2;
        });
    }

    /// Enters the body once, when it is whole.
    pub(super) fn note_body(&mut self) {
        let Some(request) = &mut self.request else { return };
        let whole = request.reader.is_done();
        if request.whole.is_some() {
            return;
        }
        let kept_max = self.shared.bodies_kept;
        self.shared.books.update(|books| {
            if let Some(record) = books.request(request.head.serial) {
                record.note_body(&request.body, request.body_len, whole, kept_max);
            }
            if !whole {
                return;
            }
            books.counts.bodies += 1;
            let judged = request.body.len() as u64 == request.body_len;
            let verdict = judged.then(|| books.ledger.enter(&request.body));
            let serial = match verdict {
                Some(Verdict::Whole(serial)) => Some(serial),
                _ => None,
            };
            request.whole = Some(serial);
            if let (Some(serial), Some(200..=299)) = (serial, request.status) {
                books.ledger.answered_2xx(serial);
            }
        });
    }

    pub(super) fn note_status(&mut self, status: Option<u16>) {
        let (Some(request), Some(status)) = (&mut self.request, status) else { return };
        request.status = Some(status);
        self.shared.books.update(|books| {
            if let Some(record) = books.request(request.head.serial) {
                record.status = Some(status);
            }
            if let (Some(Some(serial)), 200..=299) = (request.whole, status) {
                books.ledger.answered_2xx(serial);
            }
        });
    }

    pub(super) fn retract_status(&mut self) {
        let Some(request) = &mut self.request else { return };
        let status = request.status.take();
        self.shared.books.update(|books| {
            if let Some(record) = books.request(request.head.serial) {
                record.status = None;
            }
            if let (Some(Some(serial)), Some(200..=299)) = (request.whole, status) {
                books.ledger.retract_2xx(serial);
            }
        });
    }
}

impl RequestRecord {
    fn note_body(&mut self, body: &[u8], len: u64, whole: bool, kept_max: usize) {
        self.body_len = len;
        self.whole = whole;
        if whole && len <= kept_max as u64 {
            self.body = Some(Bytes::copy_from_slice(body));
        }
    }
}
