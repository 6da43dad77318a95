//! What nsqd itself does about each command, as far as a client can tell.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::NsqdCounts;
use super::protocol::Command;
use super::script::Act;
use super::session::Session;

impl Session {
    /// What nsqd does about a command.
    pub(super) fn usual(&self, command: &Command) -> Vec<Act> {
        match command {
            Command::Identify(request) => {
                self.note_heartbeat(request);
                let negotiates = request.get("feature_negotiation").and_then(Value::as_bool).unwrap_or(false);
                match negotiates {
                    true => vec![Act::Response(self.identify_answer(request).to_string().into())],
                    false => vec![Act::ok()],
                }
            }
            Command::Auth(_) => {
                vec![Act::Response(r#"{"identity":"kit","identity_url":"","permission_count":1}"#.into())]
            }
            Command::Sub { .. } | Command::Pub { .. } | Command::Mpub { .. } | Command::Dpub { .. } => {
                vec![Act::ok()]
            }
            Command::Rdy(count) => self.rdy(*count),
            Command::Fin(id) => self.finish(id),
            Command::Req { id, delay_ms } => self.requeue(id, *delay_ms),
            Command::Touch(id) => match self.holds(id) {
                true => Vec::new(),
                false => self.not_in_flight("TOUCH", id, |counts| &mut counts.touch_failed),
            },
            Command::Cls => self.cls(),
            Command::Nop => Vec::new(),
            Command::Unknown(line) => {
                vec![Act::Error(format!("E_INVALID invalid command {line:?}")), Act::Close]
            }
        }
    }

    fn rdy(&self, count: i64) -> Vec<Act> {
        let max = self.identify_answer(&Value::Null)["max_rdy_count"].as_i64().unwrap_or(2500);
        if !(0..=max).contains(&count) {
            return vec![Act::Error(format!("E_INVALID RDY count {count} out of range 0-{max}")), Act::Close];
        }
        self.shared.books.update(|books| {
            let book = books.connection(self.number);
            if !book.closing {
                book.rdy = count;
            }
        });
        Vec::new()
    }

    fn holds(&self, id: &str) -> bool {
        self.shared.books.update(|books| books.connection(self.number).in_flight.contains_key(id))
    }

    fn finish(&self, id: &str) -> Vec<Act> {
        let held = self.shared.books.update(|books| {
            let held = books.connection(self.number).in_flight.remove(id);
            books.counts.finished += u64::from(held.is_some());
            held
        });
        match held {
            Some(_) => Vec::new(),
            None => self.not_in_flight("FIN", id, |counts| &mut counts.fin_failed),
        }
    }

    fn requeue(&self, id: &str, delay_ms: i64) -> Vec<Act> {
        if delay_ms < 0 {
            return vec![Act::Error(format!("E_INVALID REQ invalid timeout {delay_ms}")), Act::Close];
        }
        let held = self.shared.books.update(|books| books.connection(self.number).in_flight.remove(id));
        let Some(held) = held else { return self.not_in_flight("REQ", id, |counts| &mut counts.req_failed) };
        self.shared.books.update(|books| books.counts.requeued += 1);
        let (shared, id) = (self.shared.clone(), id.to_owned());
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(delay_ms.unsigned_abs())).await;
            shared.books.update(|books| books.requeue(id, held));
            shared.queued.notify_waiters();
        });
        Vec::new()
    }

    fn not_in_flight(
        &self,
        command: &str,
        id: &str,
        count: impl FnOnce(&mut NsqdCounts) -> &mut u64,
    ) -> Vec<Act> {
        self.shared.books.update(|books| *count(&mut books.counts) += 1);
        vec![Act::Error(format!("E_{command}_FAILED {command} {id} failed ID not in flight"))]
    }

    fn cls(&self) -> Vec<Act> {
        let before = self.shared.books.update(|books| {
            let book = books.connection(self.number);
            book.rdy = 0;
            std::mem::replace(&mut book.closing, true)
        });
        match before {
            false => vec![Act::Response("CLOSE_WAIT".into())],
            true => vec![Act::Error("E_INVALID cannot CLS in current state".into()), Act::Close],
        }
    }
}
