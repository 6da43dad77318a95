//! From an address to a connection on which SUB or a publish may follow.
//!
//! The order is fixed by nsqd: TCP, magic, IDENTIFY in clear, TLS, compression, AUTH. Each step waits for nsqd's answer before the next begins, and reads not a byte behind it:
//! nsqd wraps its bare socket anew at each upgrade and throws away what it had read ahead, so whatever is pipelined behind IDENTIFY is lost.
//! One deadline covers it all, and heartbeats that come in between are answered.

mod error;
mod negotiation;
mod reply;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use wire::frame::OK;
use wire::{AuthResponse, Command, IdentifyResponse, MAGIC_V2, ServerError};

use crate::after::after;
use crate::in_process::InProcess;
use crate::settings::{Compression, ConnectionSettings, Secret, SettingError};
use crate::stream::{ConnectError, Resolver, Stream, Transport, connect, split_address};
use crate::tls::Tls;

pub use error::{DialError, Fault, Malformed, Step};
pub use negotiation::Negotiated;
use reply::{read_reply, send};

/// Dials nsqds with one set of settings.
///
/// Made once and cloned cheaply: it holds what must not be built per dial, the trust roots, and what one dial leaves for the next, session tickets.
#[derive(Debug, Clone)]
pub struct Dialer(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: ConnectionSettings,
    tls: Option<Tls>,
    resolver: Resolver,
}

/// A connection that is ready for SUB or a publish.
#[derive(Debug)]
pub struct Dialled {
    /// Nothing of what nsqd sent behind the last answer has been read.
    pub stream: Stream,
    /// The socket's other end; `None` for a pipe in memory.
    pub peer: Option<SocketAddr>,
    /// nsqd's answer to IDENTIFY, as it came.
    pub identify: IdentifyResponse,
    /// What is in force, with NSQ's defaults where nsqd did not say.
    pub negotiated: Negotiated,
    /// nsqd's answer to AUTH, where it required one.
    pub auth: Option<AuthResponse>,
}

impl Dialer {
    /// Checks the settings and opens the files that they name.
    ///
    /// # Errors
    /// Every mistake in them, at once.
    pub fn new(settings: &ConnectionSettings) -> Result<Dialer, Vec<SettingError>> {
        let mut errors = settings.validate();
        let tls = match settings.tls.as_ref().map(|tls| Tls::new(tls, &[])).transpose() {
            Ok(tls) => tls,
            Err(more) => {
                // Those that need no file are among the first ones already.
                errors.extend(more.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
                None
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Dialer(Rc::new(Inner { settings: settings.clone(), tls, resolver: Resolver::default() })))
    }

    /// What it dials with.
    pub fn settings(&self) -> &ConnectionSettings {
        &self.0.settings
    }

    /// One dial to `host:port`, from the name's lookup to AUTH, within `connect_timeout`.
    ///
    /// # Errors
    /// Which step failed, and how. Nothing is tried again, and no error shows the secret.
    pub async fn dial(&self, address: &str) -> Result<Dialled, DialError> {
        let deadline = after(self.0.settings.connect_timeout);
        let step = Cell::new(Step::Connect);
        let dial = async {
            let socket = connect(&self.0.resolver, address, deadline).await?;
            let peer = socket.peer_addr().map_err(|error| DialError::broken(Step::Connect, error))?;
            let dialled = self.0.negotiate(address, Transport::Tcp(socket), &step).await?;
            Ok(Dialled { peer: Some(peer), ..dialled })
        };
        self.in_time(deadline, &step, dial).await
    }

    /// As [`Dialer::dial`], to the queue of this process. A dialer with TLS in its settings is refused.
    ///
    /// # Errors
    /// Those of a dial.
    pub async fn open(&self, queue: &InProcess) -> Result<Dialled, DialError> {
        let deadline = after(self.0.settings.connect_timeout);
        let step = Cell::new(Step::Connect);
        let open = async {
            let pipe = queue.connect().map_err(|error| DialError::broken(Step::Connect, error))?;
            self.0.negotiate(queue.name(), Transport::Duplex(pipe), &step).await
        };
        self.in_time(deadline, &step, open).await
    }

    async fn in_time(
        &self,
        deadline: Instant,
        step: &Cell<Step>,
        dial: impl Future<Output = Result<Dialled, DialError>>,
    ) -> Result<Dialled, DialError> {
        let after = self.0.settings.connect_timeout;
        let dialled = timeout_at(deadline, dial).await;
        dialled.unwrap_or_else(|_| Err(DialError::Timeout { step: step.get(), after }))
    }
}

impl Inner {
    async fn negotiate(
        &self,
        address: &str,
        mut transport: Transport,
        step: &Cell<Step>,
    ) -> Result<Dialled, DialError> {
        step.set(Step::Identify);
        let identify = self.identify(&mut transport).await?;
        let negotiated = Negotiated::new(&self.settings, &identify);
        step.set(Step::Tls);
        let transport = self.upgrade_to_tls(address, transport, negotiated.tls).await?;
        let mut stream = Stream::new(transport, negotiated.compression);
        if negotiated.compression != Compression::None {
            step.set(Step::Compression);
            expect_ok(&mut stream, Step::Compression).await?;
        }
        step.set(Step::Auth);
        let auth = match (&self.settings.auth_secret, identify.auth_required.unwrap_or(false)) {
            (Some(secret), true) => Some(authenticate(&mut stream, secret).await?),
            (None, true) => return Err(DialError::AuthRequired),
            (_, false) => None,
        };
        Ok(Dialled { stream, peer: None, identify, negotiated, auth })
    }

    async fn identify(&self, transport: &mut Transport) -> Result<IdentifyResponse, DialError> {
        let body = negotiation::request(&self.settings).to_json();
        let mut out = MAGIC_V2.to_vec();
        Command::Identify { body: &body }.write(&mut out);
        send(transport, &out, Step::Identify).await?;
        let answer = read_reply(transport, Step::Identify).await?;
        IdentifyResponse::parse(&answer)
            .map_err(|error| DialError::Malformed { step: Step::Identify, what: Malformed::Json(error) })
    }

    /// A handshake where TLS is asked for and granted. Where it is asked for and not granted the dial ends: what follows, a secret perhaps, must not go in clear.
    async fn upgrade_to_tls(
        &self,
        address: &str,
        transport: Transport,
        granted: bool,
    ) -> Result<Transport, DialError> {
        let Some(tls) = &self.tls else {
            return Ok(transport);
        };
        let socket = match transport {
            Transport::Tcp(socket) if granted => socket,
            _ => return Err(DialError::TlsNotOffered),
        };
        let (host, _) =
            split_address(address).ok_or_else(|| ConnectError::Address { address: address.to_owned() })?;
        let shaken = tls.handshake(host, socket).await;
        let mut stream = shaken.map_err(|error| DialError::broken(Step::Tls, error))?;
        expect_ok(&mut stream, Step::Tls).await?;
        Ok(Transport::Tls(Box::new(stream)))
    }
}

/// Reads the `OK` by which nsqd ends an upgrade, through the layer that was put on.
async fn expect_ok<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, step: Step) -> Result<(), DialError> {
    match read_reply(stream, step).await?.as_slice() {
        OK => Ok(()),
        _ => Err(DialError::Malformed { step, what: Malformed::NotOk }),
    }
}

async fn authenticate(stream: &mut Stream, secret: &Secret) -> Result<AuthResponse, DialError> {
    let step = Step::Auth;
    let mut out = Vec::new();
    Command::Auth { secret: secret.expose() }.write(&mut out);
    send(stream, &out, step).await?;
    let answer = read_reply(stream, step).await.map_err(|error| match error {
        DialError::Refused { step, error } => DialError::Refused { step, error: without(secret, error) },
        other => other,
    })?;
    // What the parser complains of may quote the answer, and the answer may quote the secret.
    AuthResponse::parse(&answer).map_err(|_| DialError::Malformed { step, what: Malformed::AuthJson })
}

/// Drops a detail that quotes the secret.
fn without(secret: &Secret, mut error: ServerError) -> ServerError {
    if error.detail.contains(&*String::from_utf8_lossy(secret.expose())) {
        error.detail = "(nsqd's text quotes the secret)".to_owned();
    }
    error
}
