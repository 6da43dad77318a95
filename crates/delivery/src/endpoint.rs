//! POSTs to one endpoint, from one lane. The door to this crate: whoever posts never sees a connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use crate::codec::HeadLimits;
use crate::connection::Connection;
use crate::counters::EndpointCounters;
use crate::dial::Dialer;
use crate::identity::Identity;
use crate::local::Local;
use crate::outcome::{Cause, Outcome};
use crate::pool::{Limits, Need, Pool, Turn, run};
use crate::post::{Ended, Fate, Job, Resend, is_worth_copying};
use crate::request_head::HeadTemplate;
use crate::resolver::Ttl;
use crate::settings::{EndpointSettings, SettingError};
use crate::shared::Shared;
use crate::tail::Tail;
use crate::target::Target;
use crate::tls::TlsSettingsError;

/// One endpoint in one lane. Cloning gives the same one; dropping the last clone closes it.
#[derive(Clone)]
pub struct Endpoint(Rc<Inner>);

struct Inner {
    identity: Identity,
    template: HeadTemplate,
    request_timeout: Duration,
    head_limits: HeadLimits,
    drain_bytes_max: u64,
    drain_timeout: Duration,
    idempotent: bool,
    pool: Rc<Pool>,
    local: Local,
    counters: Arc<EndpointCounters>,
}

/// Settings of an endpoint that cannot be used.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// Values out of range, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<SettingError>),
    /// TLS files or names.
    #[error(transparent)]
    Tls(#[from] TlsSettingsError),
}

/// One request. Its method and static fields are the endpoint's.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Path and query, where they are not those of the endpoint's URL.
    pub target: Option<&'a Target>,
    /// Fields of this request alone: whole lines, each with its CR LF, as
    /// [`FieldName::write_line`](crate::FieldName::write_line) writes them.
    pub head_lines: &'a [u8],
    /// The body, in pieces.
    pub body: &'a [Bytes],
    /// Bytes of all pieces together.
    pub body_len: u64,
    /// An id header is sent, by which the receiver can tell a duplicate: it may be sent a second time when a reused
    /// connection ends under it.
    pub idempotent: bool,
    /// Whether it is to be sent at all. Asked each time that it has waited for a connection, right before it would go
    /// out: a dial may take seconds, and its message may be someone else's by then.
    pub is_wanted: &'a dyn Fn() -> bool,
}

/// What became of a request, and what is left to do before its permit is free.
#[must_use]
pub struct Posted {
    /// What to do with the message; settle it before the tail is awaited.
    pub outcome: Outcome,
    /// The rest of the answer.
    pub tail: Tail,
    /// When the outcome was known, for a caller that would read the clock again at once.
    pub ended_at: Instant,
}

impl Endpoint {
    /// An endpoint without connections yet.
    ///
    /// # Errors
    /// [`EndpointError`] with every setting that cannot be used.
    ///
    /// # Panics
    /// Outside a `LocalSet` or `LocalRuntime`: its pool runs as a local task.
    pub fn new(
        settings: &EndpointSettings,
        shared: &Shared,
        local: &Local,
        counters: Arc<EndpointCounters>,
    ) -> Result<Endpoint, EndpointError> {
        let errors = settings.validate();
        if !errors.is_empty() {
            return Err(EndpointError::Settings(errors));
        }
        let identity = Identity::of(settings);
        let dialer = Dialer {
            tls: shared.tls(&identity)?,
            identity: identity.clone(),
            resolver: shared.resolver.clone(),
            ttl: Ttl { found: settings.lookup_ttl, failed: settings.lookup_failure_ttl },
            connect_timeout: settings.connect_timeout,
            counters: counters.clone(),
        };
        let pool = Pool::new(Limits::of(settings), local.clone(), counters.clone());
        spawn_local(run(pool.clone(), Rc::new(dialer), local.dial_places()));
        Ok(Endpoint(Rc::new(Inner {
            identity,
            template: HeadTemplate::new(&settings.url, settings.host.as_ref(), &settings.headers),
            request_timeout: settings.request_timeout,
            head_limits: settings.head_limits(),
            drain_bytes_max: settings.drain_bytes_max,
            drain_timeout: settings.drain_timeout,
            idempotent: settings.idempotent,
            pool,
            local: local.clone(),
            counters,
        })))
    }

    /// Sends one request, at most twice, and returns as soon as its outcome is known. Dropping the future closes the
    /// connection that it has.
    pub async fn post(&self, request: &Request<'_>) -> Posted {
        self.post_at(request, Instant::now()).await
    }

    /// [`post`](Endpoint::post) by a clock that was just read: reading it costs as much as a small system call on some
    /// virtual machines.
    pub async fn post_at(&self, request: &Request<'_>, now: Instant) -> Posted {
        let mut head = self.0.local.take_buffer();
        let body = self.0.render(request, &mut head);
        let job = Job {
            head: &head,
            body,
            deadline: now + self.0.request_timeout,
            limits: self.0.head_limits,
            drain_bytes_max: self.0.drain_bytes_max,
        };
        let posted = self.0.post(&job, now, request).await;
        self.0.local.give_buffer_back(head);
        posted
    }

    /// Closes idle connections now and the others once their answers are read; whoever waits for a connection, or
    /// posts from now on, is told [`Cause::Shutdown`]. A request that is sent again for a connection that ended goes on.
    pub fn close(&self) {
        self.0.pool.close();
    }

    /// Waits until no connection is open: after [`close`](Endpoint::close), when every request is done.
    pub async fn closed(&self) {
        self.0.pool.emptied().await;
    }

    /// What its connections have in common.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Its counters in this lane.
    pub fn counters(&self) -> &Arc<EndpointCounters> {
        &self.0.counters
    }
}

impl Inner {
    async fn post(&self, job: &Job<'_>, now: Instant, request: &Request<'_>) -> Posted {
        let connection = match self.pool.checkout(now) {
            Some(connection) => connection,
            None => match self.wait(Need::Any, job.deadline, request).await {
                Ok(connection) => connection,
                Err(cause) => return Posted::without_connection(cause, false),
            },
        };
        let (ended, connection) = connection.post(job, &self.local).await;
        let Some(resend) = self.allowed(ended.resend, request.idempotent) else {
            return self.finish(ended, connection, job.deadline);
        };
        match resend {
            Resend::Unsent => self.counters.unsent_resends.one(),
            Resend::Stale => self.counters.stale_resends.one(),
        }
        let first_taken = ended.outcome.bytes_taken;
        let mut posted = match self.wait(Need::Fresh, job.deadline, request).await {
            Err(cause) => Posted::without_connection(cause, first_taken),
            Ok(fresh) => {
                // Whatever becomes of this one, a resend is never resent.
                let (ended, connection) = fresh.post(job, &self.local).await;
                self.finish(ended, connection, job.deadline)
            }
        };
        posted.outcome.bytes_taken |= first_taken;
        posted
    }

    fn allowed(&self, resend: Option<Resend>, idempotent: bool) -> Option<Resend> {
        resend.filter(|kind| match kind {
            Resend::Unsent => true,
            Resend::Stale => self.idempotent && idempotent,
        })
    }

    async fn wait(
        &self,
        need: Need,
        deadline: Instant,
        request: &Request<'_>,
    ) -> Result<Box<Connection>, Cause> {
        let mut turn = Turn::Last;
        loop {
            let Ok(handed) = timeout_at(deadline, self.pool.wait(need, turn)).await else {
                return Err(self.pool.cause_of_wait());
            };
            let mut connection = handed?;
            let now = Instant::now();
            if !(request.is_wanted)() {
                self.pool.check_in(connection, now);
                return Err(Cause::Unwanted);
            }
            // This poll may come long after the hand-over, and nobody has watched the connection since.
            let Err(reason) = self.pool.before_use(&mut connection, now) else {
                return Ok(connection);
            };
            // There are only so many kept ones that can have ended. New ones could go on ending until the deadline.
            let is_new = !connection.has_answered;
            let cause = connection.cause_of_end(reason);
            connection.close(reason);
            if is_new {
                return Err(cause);
            }
            turn = Turn::First;
        }
    }

    fn finish(&self, ended: Ended, connection: Option<Box<Connection>>, deadline: Instant) -> Posted {
        let now = Instant::now();
        let tail = match (connection, ended.fate) {
            (Some(connection), Fate::Idle) => {
                self.pool.check_in(connection, now);
                Tail::done()
            }
            (Some(connection), Fate::Draining(rest)) => {
                let until = deadline.min(now + self.drain_timeout);
                Tail::of(connection, rest, until, self.pool.clone(), self.local.clone())
            }
            (Some(connection), Fate::Closed(reason)) => {
                connection.close(reason);
                Tail::done()
            }
            (None, _) => Tail::done(),
        };
        Posted { outcome: ended.outcome, tail, ended_at: now }
    }

    /// Renders the head, and copies a small body of many pieces behind it. What is left of the body.
    fn render<'a>(&self, request: &Request<'a>, head: &mut Vec<u8>) -> &'a [Bytes] {
        let Request { target, head_lines, body, body_len, idempotent: _, is_wanted: _ } = *request;
        // Not only in debug builds: with a wrong length the end of a body would be read as the next request.
        assert_eq!(
            body_len,
            body.iter().map(|piece| piece.len() as u64).sum(),
            "body_len is the pieces' sum"
        );
        self.template.write(head, target, head_lines, body_len);
        if !is_worth_copying(head.len(), body, body_len) {
            return body;
        }
        for piece in body {
            head.extend_from_slice(piece);
        }
        &[]
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl Posted {
    fn without_connection(cause: Cause, bytes_taken: bool) -> Posted {
        let outcome = Outcome::unanswered(cause, bytes_taken);
        Posted { outcome, tail: Tail::done(), ended_at: Instant::now() }
    }
}
