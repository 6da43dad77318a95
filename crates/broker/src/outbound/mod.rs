//! What the broker asks of others: a TCP connection to a name, and a GET with a bound on everything.
//!
//! Auth servers and nsqlookupds are asked seldom, so each question has a connection of its own: nothing is kept that could go stale.

mod connect;
mod get;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::settings::Settings;
use crate::tls::{self, TlsError};

pub(crate) use connect::connect;
pub(crate) use get::GetError;

/// How questions are asked. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Outbound {
    /// To the end of the dial: nsqd's `--http-client-connect-timeout`.
    connect_timeout: Duration,
    /// To the end of the answer: nsqd's `--http-client-request-timeout`.
    request_timeout: Duration,
    /// `None` where nobody is ever asked: reading the system's roots takes its time.
    tls: Option<Arc<ClientConfig>>,
}

impl Outbound {
    /// Reads the roots that HTTPS is verified by, when somebody may be asked over it.
    pub(crate) fn new(settings: &Settings) -> Result<Self, TlsError> {
        let nobody = settings.auth_http_addresses.is_empty() && settings.lookupd_tcp_addresses.is_empty();
        let tls = match nobody {
            true => None,
            false => Some(tls::client_config(settings.tls.as_ref())?),
        };
        Ok(Self {
            connect_timeout: settings.http_client_connect_timeout,
            request_timeout: settings.http_client_request_timeout,
            tls,
        })
    }
}
