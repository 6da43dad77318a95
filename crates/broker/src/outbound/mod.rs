//! What the broker asks of others: a TCP connection to a name, and a GET with a bound on everything.
//!
//! Auth servers and nsqlookupds are asked seldom, so each question has a connection of its own: nothing is kept that could go stale.

mod connect;
mod get;
mod resolver;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::settings::Settings;
use crate::tls::{self, TlsError};

pub(crate) use get::GetError;
use resolver::Resolver;

/// Questions at once that clients have caused: each is a descriptor, and any client can send AUTH.
const CLIENTS_QUESTIONS_MAX: usize = 32;

/// Questions at once about the channels of new topics: one for each topic and nsqlookupd.
const CLUSTERS_QUESTIONS_MAX: usize = 32;

/// How questions are asked. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Outbound {
    /// To the end of the dial: nsqd's `--http-client-connect-timeout`.
    connect_timeout: Duration,
    /// To the end of the answer: nsqd's `--http-client-request-timeout`.
    request_timeout: Duration,
    /// `None` where nobody is ever asked: reading the system's roots takes its time.
    tls: Option<Arc<ClientConfig>>,
    resolver: Resolver,
    clients_questions: Rc<Semaphore>,
    clusters_questions: Rc<Semaphore>,
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
            resolver: Resolver::new(),
            clients_questions: Rc::new(Semaphore::new(CLIENTS_QUESTIONS_MAX)),
            clusters_questions: Rc::new(Semaphore::new(CLUSTERS_QUESTIONS_MAX)),
        })
    }

    /// A place to ask an nsqlookupd from. Those of clients are others, so that no client can hold up a topic.
    pub(crate) async fn place_for_cluster(&self) -> SemaphorePermit<'_> {
        self.clusters_questions.acquire().await.expect("the semaphore is never closed")
    }

    /// To the end of the answer.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }
}
