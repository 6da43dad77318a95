//! How an endpoint listens and what it shows in the handshake.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::script::Script;
use crate::certs::{Authority, Leaf};

/// Settings of an endpoint; start with [`EndpointOptions::new`].
#[derive(Debug)]
pub struct EndpointOptions {
    /// The answers.
    pub script: Script,
    /// TLS, or plain when there is none.
    pub tls: Option<TlsOptions>,
    /// The address to listen on, 127.0.0.1 unless changed.
    pub address: IpAddr,
    /// The port; 0 takes a free one. A reserved one keeps its number over restarts: [`crate::ports::Reserved`].
    pub port: u16,
    /// What is done with each accepted connection; [`Accept::Serve`] unless changed.
    pub accept: AcceptScript,
    /// SO_RCVBUF of accepted sockets in bytes: small ones make a peer's large body wait.
    pub receive_buffer_bytes: Option<usize>,
    /// Requests whose records are kept; older ones make room.
    pub requests_kept: usize,
    /// Bodies of up to this many bytes are kept with their records (and judged, whatever their length, up to 8 MiB).
    pub bodies_kept: usize,
}

impl EndpointOptions {
    /// A plain endpoint on a free port of 127.0.0.1.
    pub fn new(script: impl Into<Script>) -> Self {
        Self {
            script: script.into(),
            tls: None,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            accept: AcceptScript::from(Accept::Serve),
            receive_buffer_bytes: None,
            requests_kept: 10_000,
            bodies_kept: 0,
        }
    }

    /// With TLS.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// With a choice for each accepted connection, by its number from 0.
    pub fn accept(mut self, choose: impl FnMut(u64) -> Accept + Send + 'static) -> Self {
        self.accept = AcceptScript(Box::new(choose));
        self
    }
}

/// What is done with an accepted connection before any request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// TLS if the endpoint has it, then requests.
    Serve,
    /// RST at once.
    Reset,
    /// FIN at once.
    Close,
    /// Never reads, never writes.
    Freeze,
    /// Reads the first bytes (of a TLS handshake: the ClientHello), then neither reads nor writes.
    FreezeAfterFirstBytes,
    /// Reads the first bytes, then FIN.
    CloseAfterFirstBytes,
    /// Reads the first bytes, then RST.
    ResetAfterFirstBytes,
    /// Answers the first bytes with these, then FIN: text where TLS was expected, for one.
    Garbage(&'static [u8]),
}

impl Accept {
    /// The name under which it is counted in [`super::Counts::fired`]; [`Accept::Serve`] is not.
    pub fn name(&self) -> &'static str {
        match self {
            Accept::Serve => "accept_serve",
            Accept::Reset => "accept_reset",
            Accept::Close => "accept_close",
            Accept::Freeze => "accept_freeze",
            Accept::FreezeAfterFirstBytes => "accept_freeze_after_first_bytes",
            Accept::CloseAfterFirstBytes => "accept_close_after_first_bytes",
            Accept::ResetAfterFirstBytes => "accept_reset_after_first_bytes",
            Accept::Garbage(_) => "accept_garbage",
        }
    }
}

/// Chooses what happens to each accepted connection.
pub struct AcceptScript(pub(super) Box<dyn FnMut(u64) -> Accept + Send>);

impl From<Accept> for AcceptScript {
    fn from(accept: Accept) -> Self {
        Self(Box::new(move |_| accept.clone()))
    }
}

impl fmt::Debug for AcceptScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptScript")
    }
}

/// TLS of an endpoint; start with [`TlsOptions::new`].
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Signs the certificates and is what a client should trust.
    pub authority: Authority,
    /// The certificate shown.
    pub certificate: Leaf,
    /// Clients must show a certificate of this authority.
    pub client_authority: Option<Authority>,
    /// Protocol versions, both unless changed: [`rustls::version::TLS12`], [`rustls::version::TLS13`].
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Session tickets of the TLS 1.3 handshake (real ones: they resume).
    pub tickets: usize,
    /// Sends them this long after the handshake instead of with it, unless an answer goes out before.
    pub tickets_after: Option<Duration>,
    /// Whether sessions can be resumed at all.
    pub resumption: bool,
    /// Protocols offered by ALPN, none unless changed.
    pub alpn: Vec<Vec<u8>>,
}

impl TlsOptions {
    /// A certificate for this machine, both versions, two tickets with the handshake.
    pub fn new(authority: &Authority) -> Self {
        Self {
            authority: authority.clone(),
            certificate: authority.server(),
            client_authority: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            tickets: 2,
            tickets_after: None,
            resumption: true,
            alpn: Vec::new(),
        }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)
            .expect("the versions suit the provider");
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider.clone())
                    .build()
                    .expect("the authority has a root"),
            ),
        };
        let key = CertifiedKey::from_der(self.certificate.chain(), self.certificate.key(), &provider);
        let key = Arc::new(key.expect("the key is the certificate's"));
        let mut config = builder.with_cert_resolver(Arc::new(OneCertificate(key)));
        config.send_tls13_tickets = self.tickets;
        config.alpn_protocols = self.alpn.clone();
        // Large enough that a burst of redials finds its sessions.
        config.session_storage = match self.resumption {
            true => ServerSessionMemoryCache::new(4096),
            false => Arc::new(NoServerSessionStorage {}),
        };
        config.enable_secret_extraction = true;
        Arc::new(config)
    }
}

thread_local! {
    /// The host name of the ClientHello that was last looked at on this thread. The unbuffered server of rustls does not tell it,
    /// but asks for a certificate by it, in the middle of the call that reads the ClientHello.
    static ASKED_FOR: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// The host name of the ClientHello read just now (`Some(None)`: it named none).
pub(super) fn server_name_asked_for() -> Option<Option<String>> {
    ASKED_FOR.take()
}

#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED_FOR.set(Some(hello.server_name().map(String::from)));
        Some(self.0.clone())
    }
}
