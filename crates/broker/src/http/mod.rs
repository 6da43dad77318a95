//! nsqd's HTTP API: the paths, parameters, status codes and JSON of v1.3.0.
//!
//! | module | holds |
//! |---|---|
//! | [`route`] | which path is what |
//! | [`query`] | parameters, and their codes when they are wrong |
//! | [`publish`], [`admin`], [`config`], [`info`], [`stats`] | what each path does |
//! | [`body`] | reading bodies, bounded one by one and together |
//! | [`answer`], [`go`] | what is said, to the byte |
//!
//! One local task a connection. What is not served: `/debug/*`, Go's own insides, is 404.

mod admin;
mod answer;
mod body;
mod config;
pub(crate) mod go;
mod node;
mod publish;
mod query;
mod route;
mod stats;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::advertised::Advertised;
use crate::options::Options;
use crate::settings::TlsRequired;
use crate::shared::BrokerShared;
use answer::{Answer, Rejected, allow, bare, redirect, text_answer, tls_required, versioned};
use body::Bodies;
use route::{Route, Way};

/// How long a connection may be silent between two requests, or take for a head. Longer than clients keep idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest head: Go's default is 1 MiB, but nothing of nsqd's needs so much.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The API, for all its connections.
pub(crate) struct Api {
    broker: Rc<BrokerShared>,
    options: Rc<Options>,
    advertised: Rc<Advertised>,
    started: SystemTime,
    started_at: Instant,
    bodies: Bodies,
}

impl Api {
    pub(crate) fn new(broker: Rc<BrokerShared>, options: Rc<Options>, advertised: Rc<Advertised>) -> Self {
        let bodies = Bodies::new(broker.settings.max_body_size.max(broker.settings.max_msg_size));
        Self { broker, options, advertised, started: SystemTime::now(), started_at: Instant::now(), bodies }
    }

    /// Serves one connection to its end; `tls` says whether it came over TLS. Once `closing` resolves, the request under way is the last one.
    pub(crate) async fn serve<S>(self: Rc<Self>, stream: S, tls: bool, closing: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let service = service_fn(move |request| {
            let api = Rc::clone(&self);
            async move { Ok::<_, Infallible>(api.answer(request, tls).await) }
        });
        let connection = http1::Builder::new()
            .title_case_headers(true)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection broke off");
        }
    }

    async fn answer(&self, request: Request<Incoming>, tls: bool) -> Answer {
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
            let reason = "400 Bad Request: missing required Host header";
            return text_answer(StatusCode::BAD_REQUEST, reason.to_owned());
        }
        let required = self.broker.settings.tls.as_ref().is_some_and(|tls| tls.required == TlsRequired::Yes);
        if required && !tls {
            return tls_required(self.advertised.listening.https.map_or(0, |address| address.port()));
        }
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Answer::default();
        }
        match route::find(request.method(), request.uri().path()) {
            Way::To(route) => self.go(route, request).await,
            Way::Redirect(path) => {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                redirect(&format!("{path}{query}"), request.method() == Method::GET)
            }
            Way::OtherMethod(methods) if request.method() == Method::OPTIONS => {
                allow(Answer::default(), methods)
            }
            Way::OtherMethod(methods) => {
                let rejected = Rejected::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
                allow(versioned(Err(rejected)), methods)
            }
            Way::Nowhere => versioned(Err(Rejected::new(StatusCode::NOT_FOUND, "NOT_FOUND"))),
        }
    }

    async fn go(&self, route: Route, request: Request<Incoming>) -> Answer {
        versioned(match route {
            Route::Ping => return bare(self.ping()),
            Route::Info => Ok(self.node()),
            Route::Stats => self.stats(request.uri()),
            Route::Publish => self.publish(request).await,
            Route::PublishMany => self.publish_many(request).await,
            Route::Topic(change) => self.change_topic(change, request.uri()).await,
            Route::Channel(change) => self.change_channel(change, request.uri()).await,
            Route::Config(option) => self.config(&option, request).await,
        })
    }
}
