//! What may come in which state of a connection.
//!
//! nsqd judges by the state as soon as a command's line is there, before it looks at the words behind the name or waits for a body. So does
//! this: of two mistakes the same one is named.

use wire::name;
use wire::{CommandName, ErrorCode};

use super::auth::Permission;
use super::refusal::Refusal;
use super::session::Session;
use crate::client::state;

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Read the command and execute it.
    Execute,
    /// Nothing, and the next one.
    Ignore,
    /// Look again when the auth server has answered.
    Wait,
}

impl Session {
    /// Judges a line by what the connection has been through.
    pub(super) fn judge(&mut self, line: &[u8]) -> Result<Judged, Refusal> {
        let mut words = line.split(|byte| *byte == b' ');
        let word = words.next().unwrap_or_default();
        let name = CommandName::from_word(word);
        if self.lacks_tls() && name != Some(CommandName::Identify) {
            let detail = format!("cannot {} in current state (TLS required)", String::from_utf8_lossy(word));
            return Err(Refusal::new(ErrorCode::Invalid, detail));
        }
        // An unknown command is for the parser to refuse.
        let Some(name) = name else { return Ok(Judged::Execute) };
        let state = self.client.state.get();
        let subscribed = state == state::SUBSCRIBED || state == state::CLOSING;
        match name {
            CommandName::Rdy if state == state::CLOSING => Ok(Judged::Ignore),
            CommandName::Fin | CommandName::Req | CommandName::Touch | CommandName::Rdy if !subscribed => {
                Err(Refusal::state(name))
            }
            CommandName::Cls if state != state::SUBSCRIBED => Err(Refusal::state(name)),
            CommandName::Identify | CommandName::Auth | CommandName::Sub if state != state::INIT => {
                Err(Refusal::state(name))
            }
            CommandName::Sub if self.terms.heartbeat.is_none() => {
                Err(Refusal::new(ErrorCode::Invalid, "cannot SUB with heartbeats disabled"))
            }
            CommandName::Mpub => self.judge_mpub(words.next()),
            CommandName::Dpub => self.judge_dpub(words.next(), words.next()),
            _ => Ok(Judged::Execute),
        }
    }

    /// The only publish whose permission nsqd looks at before its body.
    fn judge_mpub(&mut self, topic: Option<&[u8]>) -> Result<Judged, Refusal> {
        match topic.map(name::check) {
            Some(Ok(topic)) => Ok(match self.permission(CommandName::Mpub, topic, "")? {
                Permission::Granted => Judged::Execute,
                Permission::Expired => Judged::Wait,
            }),
            _ => Ok(Judged::Execute),
        }
    }

    /// A delay that is out of range is refused before its body comes. Whatever else is wrong with the line, the parser names.
    fn judge_dpub(&self, topic: Option<&[u8]>, delay: Option<&[u8]>) -> Result<Judged, Refusal> {
        let most = self.shared.settings.max_req_timeout.as_millis();
        let digits = delay.filter(|delay| delay.iter().all(u8::is_ascii_digit));
        if let (Some(Ok(_)), Some(digits)) = (topic.map(name::check), digits) {
            let delay_ms = digits.iter().fold(0_u64, |number, digit| {
                number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            });
            if u128::from(delay_ms) > most {
                let detail = format!("DPUB timeout {delay_ms} out of range 0-{most}");
                return Err(Refusal::new(ErrorCode::Invalid, detail));
            }
        }
        Ok(Judged::Execute)
    }

    fn lacks_tls(&self) -> bool {
        self.tls_required() && self.client.tls.borrow().is_none()
    }
}
