//! What each command does. All of it at once, but for what must be asked of an auth server.

use std::time::Duration;

use bytes::Bytes;
use wire::command::{Bodies, Parse, line, parse};
use wire::frame::{CLOSE_WAIT, OK, write_response};
use wire::name;
use wire::{
    AuthResponse, ChannelName, Command, CommandError, CommandName, ErrorCode, IdentifyRequest, MessageId,
    TopicName,
};

use super::auth::{Asker, Permission};
use super::gate::Judged;
use super::identify::{self, Agreed, Offer};
use super::refusal::Refusal;
use super::replies::publish_failed;
use super::session::{Asked, End, Session};
use crate::client::state;
use crate::http::go;
use crate::queue::{SettleError, SubscribeError};

/// What became of the bytes at the front.
enum Step {
    /// So many were a command, and it is done.
    Done(usize),
    /// A command that is not all here before there are so many.
    Need(usize),
    /// A command that must wait for an auth server.
    Wait,
}

/// What became of a command.
enum Executed {
    Done,
    Wait,
}

impl Session {
    /// Executes the commands in `bytes` until there is a reason not to. Says how many bytes are done with, and how many there must be
    /// in all before the rest is worth another look.
    pub(super) fn execute_all(&mut self, bytes: &[u8]) -> (usize, usize) {
        let mut at = 0;
        while at < bytes.len() && self.takes_commands() {
            match self.execute_one(&bytes[at..]) {
                Ok(Step::Done(used)) => at += used,
                Ok(Step::Need(need)) => {
                    self.heard(at);
                    return (at, need);
                }
                Ok(Step::Wait) => break,
                // Nothing says where the next command would begin.
                Err(end) => {
                    self.end(end);
                    break;
                }
            }
        }
        self.heard(at);
        (at, 0)
    }

    fn execute_one(&mut self, bytes: &[u8]) -> Result<Step, End> {
        let Ok(found) = line(bytes) else { return Err(End::LineTooLong) };
        let Some((line, line_used)) = found else { return Ok(Step::Need(bytes.len() + 1)) };
        let judged = self.judge(line).map_err(|refusal| self.refuse(&refusal))?;
        match judged {
            Judged::Ignore => return Ok(Step::Done(line_used)),
            Judged::Wait => return Ok(Step::Wait),
            Judged::Execute => {}
        }
        match parse(bytes, &self.limits) {
            Ok(Parse::Incomplete { need }) => Ok(Step::Need(need)),
            Ok(Parse::Complete { command, consumed }) => match self.execute(command) {
                Ok(Executed::Done) => Ok(Step::Done(consumed)),
                Ok(Executed::Wait) => Ok(Step::Wait),
                Err(refusal) if refusal.code.is_fatal() => Err(self.refuse(&refusal)),
                Err(refusal) => {
                    self.tell(|out| refusal.write(out));
                    Ok(Step::Done(consumed))
                }
            },
            Err(CommandError::RdyRange { count }) => Err(self.refuse(&self.rdy_out_of_range(count))),
            Err(error) => {
                self.create_topic_of_mpub(line);
                Err(self.refuse(&Refusal::from(&error)))
            }
        }
    }

    /// nsqd creates an MPUB's topic before it looks at its body. So does a body that is no good, or does not come; nobody is promised it.
    pub(super) fn create_topic_of_mpub(&self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ');
        let name = words.next().and_then(CommandName::from_word);
        if name == Some(CommandName::Mpub)
            && let Some(Ok(topic)) = words.next().map(name::check)
            && let Ok(topic) = TopicName::new(topic)
            && let Err(error) = self.shared.queue.create_topic(&topic)
        {
            tracing::debug!(%topic, %error, "the topic of an MPUB of no use is not created");
        }
    }

    fn execute(&mut self, command: Command<'_>) -> Result<Executed, Refusal> {
        match command {
            Command::Fin(id) => self.settle(CommandName::Fin, ErrorCode::FinFailed, id, |sub| sub.finish(id)),
            Command::Touch(id) => {
                self.settle(CommandName::Touch, ErrorCode::TouchFailed, id, |sub| sub.touch(id))
            }
            Command::Req { id, delay_ms } => {
                let delay = Duration::from_millis(delay_ms).min(self.shared.settings.max_req_timeout);
                self.settle(CommandName::Req, ErrorCode::ReqFailed, id, |sub| sub.requeue(id, delay))
            }
            Command::Rdy(count) => self.rdy(count),
            Command::Nop => Ok(Executed::Done),
            Command::Pub { topic, body } => {
                self.publish(CommandName::Pub, topic, &[Bytes::copy_from_slice(body)], Duration::ZERO)
            }
            Command::Mpub { topic, bodies } => {
                self.publish(CommandName::Mpub, topic, &owned(&bodies), Duration::ZERO)
            }
            // The gate has seen to it that the delay is in range.
            Command::Dpub { topic, delay_ms, body } => {
                let (body, delay) = ([Bytes::copy_from_slice(body)], Duration::from_millis(delay_ms));
                self.publish(CommandName::Dpub, topic, &body, delay)
            }
            Command::Sub { topic, channel } => self.sub(topic, channel),
            Command::Cls => self.cls(),
            Command::Identify { body } => self.identify(body),
            Command::Auth { secret } => self.auth(secret),
        }
    }

    fn settle(
        &mut self,
        command: CommandName,
        code: ErrorCode,
        id: MessageId,
        settle: impl FnOnce(&mut crate::queue::Subscription) -> Result<(), SettleError>,
    ) -> Result<Executed, Refusal> {
        // The gate lets it through only once subscribed; what has been given back with the subscription is in flight no more.
        let settled = self.subscription.as_mut().map_or(Err(SettleError::NotInFlight), settle);
        match settled {
            Ok(()) => Ok(Executed::Done),
            Err(error) => Err(Refusal::new(code, format!("{command} {id} failed {error}"))),
        }
    }

    fn rdy(&mut self, count: u32) -> Result<Executed, Refusal> {
        if count > self.shared.settings.max_rdy_count {
            return Err(self.rdy_out_of_range(count.into()));
        }
        self.client.ready_count.set(count);
        if let Some(subscription) = &mut self.subscription {
            subscription.set_ready(count);
        }
        Ok(Executed::Done)
    }

    fn rdy_out_of_range(&self, count: u64) -> Refusal {
        let most = self.shared.settings.max_rdy_count;
        Refusal::new(ErrorCode::Invalid, format!("RDY count {count} out of range 0-{most}"))
    }

    fn publish(
        &mut self,
        command: CommandName,
        topic: &str,
        bodies: &[Bytes],
        defer: Duration,
    ) -> Result<Executed, Refusal> {
        if self.permission(command, topic, "")? == Permission::Expired {
            return Ok(Executed::Wait);
        }
        let topic = self.topic_name(topic);
        let published = self.shared.queue.publish(&topic, bodies, defer);
        let commit = published.map_err(|reason| publish_failed(command, &reason))?;
        self.client.count_published(&topic, bodies.len() as u64);
        let bytes = bodies.iter().map(|body| body.len() as u64).sum();
        self.replies.publish(commit, command, bytes);
        Ok(Executed::Done)
    }

    /// The name as a value. Most clients publish to one topic, so the last one is kept.
    fn topic_name(&mut self, topic: &str) -> TopicName {
        match &self.last_topic {
            Some(last) if last.as_str() == topic => last.clone(),
            _ => {
                let name = TopicName::new(topic).expect("the parser gives valid names only");
                self.last_topic.insert(name).clone()
            }
        }
    }

    fn sub(&mut self, topic: &str, channel: &str) -> Result<Executed, Refusal> {
        if self.permission(CommandName::Sub, topic, channel)? == Permission::Expired {
            return Ok(Executed::Wait);
        }
        let topic = self.topic_name(topic);
        let channel = ChannelName::new(channel).expect("the parser gives valid names only");
        let subscribed = self.shared.queue.subscribe(&topic, &channel, self.client.clone());
        let subscription = subscribed.map_err(|error| match error {
            SubscribeError::TooManyConsumers { topic, channel, limit } => {
                let detail = format!("SUB failed consumers for {topic}:{channel} exceeds limit of {limit}");
                Refusal::new(ErrorCode::SubFailed, detail)
            }
            SubscribeError::Refused(reason) => {
                Refusal::new(ErrorCode::SubFailed, format!("SUB failed {reason}"))
            }
        })?;
        self.subscription = Some(subscription);
        self.client.state.set(state::SUBSCRIBED);
        self.tell(|out| write_response(out, OK));
        Ok(Executed::Done)
    }

    fn cls(&mut self) -> Result<Executed, Refusal> {
        if let Some(subscription) = &mut self.subscription {
            subscription.start_closing();
        }
        self.client.ready_count.set(0);
        self.client.state.set(state::CLOSING);
        self.tell(|out| write_response(out, CLOSE_WAIT));
        Ok(Executed::Done)
    }

    fn identify(&mut self, body: &[u8]) -> Result<Executed, Refusal> {
        let mut request = identify::read(body)?;
        if self.upgraded {
            // What is upgraded stays as it is: nsqd would begin a second handshake beside the first.
            request = IdentifyRequest { tls_v1: None, snappy: None, deflate: None, ..request };
        }
        let offer = Offer { tls: self.tls_config().is_some(), auth_required: self.shared.auth_required() };
        let agreed = identify::agree(&request, &self.terms, &self.shared.settings, offer)?;
        let Agreed { terms, answer, upgrades } = agreed;
        self.client.client_id.replace(request.client_id.unwrap_or_default());
        self.client.hostname.replace(request.hostname.unwrap_or_default());
        self.client.user_agent.replace(request.user_agent.unwrap_or_default());
        self.client.msg_timeout.set(terms.msg_timeout);
        self.client.sample_rate.set(terms.sample_rate);
        self.clock.set_heartbeat(terms.heartbeat);
        self.terms = terms;
        self.tell(|out| write_response(out, answer.as_deref().unwrap_or(OK)));
        self.upgrades = Some(upgrades).filter(|upgrades| *upgrades != super::stream::Upgrades::default());
        Ok(Executed::Done)
    }

    fn auth(&mut self, secret: &[u8]) -> Result<Executed, Refusal> {
        if self.auth.is_granted() {
            return Err(Refusal::new(ErrorCode::Invalid, "AUTH already set"));
        }
        if !self.shared.auth_required() {
            return Err(Refusal::new(ErrorCode::AuthDisabled, "AUTH disabled"));
        }
        self.auth.set_secret(secret);
        self.ask(Asked::Auth);
        Ok(Executed::Done)
    }

    fn ask(&mut self, asked: Asked) {
        let asker = Asker {
            remote_address: &self.client.remote_address,
            tls: self.client.tls.borrow().is_some(),
            common_name: &self.common_name,
        };
        self.auth.ask(&self.shared, &asker);
        self.asked = asked;
    }

    /// Whether authentication, where it is required, allows the command. Asks anew when nobody knows any more.
    pub(super) fn permission(
        &mut self,
        command: CommandName,
        topic: &str,
        channel: &str,
    ) -> Result<Permission, Refusal> {
        if !self.shared.auth_required() {
            return Ok(Permission::Granted);
        }
        let permission = self.auth.check(command, topic, channel)?;
        if permission == Permission::Expired {
            self.ask(Asked::Renewal);
        }
        Ok(permission)
    }

    /// The auth servers have answered.
    pub(super) fn asked(&mut self, granted: bool) -> Result<(), Refusal> {
        if !granted {
            return Err(Refusal::new(ErrorCode::AuthFailed, "AUTH failed"));
        }
        let Some(grant) = self.auth.grant() else { return Ok(()) };
        self.client.auth_identity.replace(grant.identity.clone());
        self.client.auth_identity_url.replace(grant.identity_url.clone());
        let permissions = grant.permissions();
        self.client.authed.set(permissions > 0);
        if self.asked == Asked::Renewal {
            return Ok(());
        }
        if permissions == 0 {
            return Err(Refusal::new(ErrorCode::Unauthorized, "AUTH no authorizations found"));
        }
        let answer = AuthResponse {
            identity: Some(grant.identity.clone()),
            identity_url: Some(grant.identity_url.clone()),
            permission_count: i64::try_from(permissions).ok(),
        };
        self.auth.set_authed();
        self.tell(|out| write_response(out, &go::json(&answer)));
        Ok(())
    }
}

/// The messages of an MPUB, which share one copy of its body.
fn owned(bodies: &Bodies<'_>) -> Vec<Bytes> {
    let all = Bytes::copy_from_slice(bodies.as_bytes());
    let mut at = 4;
    let slice = |body: &[u8]| {
        let begin = at + 4;
        at = begin + body.len();
        all.slice(begin..at)
    };
    bodies.iter().map(slice).collect()
}
