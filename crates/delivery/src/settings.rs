//! What can be set about an endpoint, with the defaults and the limits of each.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::codec::{HEAD_FIELDS_CEILING, HeadLimits};
use crate::field::StaticHeaders;
use crate::target::{EndpointUrl, HostField};

/// Everything about one endpoint in one lane.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Where to POST to.
    pub url: EndpointUrl,
    /// The `Host` field, when it is not the URL's.
    pub host: Option<HostField>,
    /// Fields sent with every request, `Content-Type` and `User-Agent` among them.
    pub headers: StaticHeaders,
    /// Requests at once, and so connections at most, dialled ones included.
    pub concurrency: usize,
    /// Connections kept open even when there is nothing to send.
    pub warm: usize,
    /// Time for one request: waiting for a connection, lookup, connect, TLS, write, head.
    pub request_timeout: Duration,
    /// Time for lookup, connect and TLS of one dial. Dials belong to the pool: one that takes longer than its request may
    /// serve the next.
    pub connect_timeout: Duration,
    /// A connection idle for longer is closed. Servers in use close after 5 s to 75 s, so the default of 30 s is a
    /// compromise: what the server closes first is noticed at once and costs a dial, not a message.
    pub idle_timeout: Duration,
    /// A connection older than this (give or take a tenth, so that those dialled together do not end together) is
    /// closed at its next check-in: load balancers and address changes need that.
    pub age_max: Duration,
    /// Requests after which a connection is closed; unlimited by default.
    pub requests_per_connection_max: Option<u64>,
    /// Bytes of an answer's body read to save the connection; a longer answer costs it.
    pub drain_bytes_max: u64,
    /// Time for the same.
    pub drain_timeout: Duration,
    /// Bytes of all heads of one answer.
    pub head_bytes_max: usize,
    /// Fields of all heads of one answer.
    pub head_fields_max: usize,
    /// TLS, used when the URL's scheme is https.
    pub tls: TlsSettings,
    /// Options of the TCP socket.
    pub socket: SocketSettings,
    /// How long the addresses of a name are used before they are looked up again.
    pub lookup_ttl: Duration,
    /// How long a failed lookup stands before it is tried again.
    pub lookup_failure_ttl: Duration,
    /// Whether requests may be sent a second time when a reused connection ended under them: only where the receiver
    /// can tell a duplicate by an id header. Each [`Request`](crate::Request) has to say so too.
    pub idempotent: bool,
}

/// How the endpoint is trusted and what it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Who may have signed the endpoint's certificate.
    pub roots: Roots,
    /// Our own certificate, for endpoints that ask for one.
    pub client_certificate: Option<ClientCertificate>,
    /// The name asked for and verified, when it is not the URL's host.
    pub server_name: Option<String>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// Take any certificate. Whoever can reach the wire between can then read and answer every message.
    pub danger_skip_verification: bool,
}

/// Who may have signed the endpoint's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Those of the operating system (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), or Mozilla's when it has none.
    #[default]
    System,
    /// Those in these PEM files, and no others.
    Files(Vec<PathBuf>),
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The certificate and its intermediates, leaf first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Options of the TCP socket. `TCP_NODELAY` is always on: a request is one write, and waiting would only delay it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketSettings {
    /// Silence after which the kernel probes an idle connection.
    pub keepalive_time: Duration,
    /// Time between two probes.
    pub keepalive_interval: Duration,
    /// Probes without an answer after which the connection is dead.
    pub keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged before the connection is dead (`TCP_USER_TIMEOUT`): without it a
    /// request written into a dead connection waits for its whole deadline. Linux only. The kernel counts from the first
    /// retransmission and by coarse timers, so it takes 0.4 to 0.7 s longer than this: 9 s keep it within 10.
    pub user_timeout: Duration,
    /// `SO_SNDBUF` in bytes (Linux doubles it); by default the kernel grows the buffer by itself.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` in bytes (Linux doubles it); by default the kernel grows the buffer by itself.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for SocketSettings {
    fn default() -> Self {
        SocketSettings {
            keepalive_time: Duration::from_secs(15),
            keepalive_interval: Duration::from_secs(5),
            keepalive_probes: 3,
            user_timeout: Duration::from_secs(9),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
        }
    }
}

/// A setting whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct SettingError {
    /// Name of the setting, as in the configuration.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl EndpointSettings {
    /// The defaults for `url`.
    pub fn new(url: EndpointUrl) -> EndpointSettings {
        let heads = HeadLimits::default();
        EndpointSettings {
            url,
            host: None,
            headers: StaticHeaders::new(),
            concurrency: 64,
            warm: 0,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            age_max: Duration::from_secs(600),
            requests_per_connection_max: None,
            drain_bytes_max: 64 * 1024,
            drain_timeout: Duration::from_secs(1),
            head_bytes_max: heads.bytes_max,
            head_fields_max: heads.fields_max,
            tls: TlsSettings::default(),
            socket: SocketSettings::default(),
            lookup_ttl: Duration::from_secs(30),
            lookup_failure_ttl: Duration::from_secs(1),
            idempotent: true,
        }
    }

    /// Every setting that cannot be used.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        let mut refuse_if = |wrong: bool, field: &'static str, reason: &dyn Fn() -> String| {
            if wrong {
                errors.push(SettingError { field, reason: reason() });
            }
        };
        refuse_if(self.concurrency == 0, "concurrency", &|| "must be at least 1".into());
        refuse_if(self.warm > self.concurrency, "warm", &|| {
            format!("{} is more than the concurrency of {}", self.warm, self.concurrency)
        });
        refuse_if(self.requests_per_connection_max == Some(0), "requests_per_connection_max", &|| {
            "must be at least 1; leave it out for no limit".into()
        });
        refuse_if(self.head_bytes_max == 0, "head_bytes_max", &|| "must be at least 1".into());
        refuse_if(!(1..=HEAD_FIELDS_CEILING).contains(&self.head_fields_max), "head_fields_max", &|| {
            format!("{} is not between 1 and {HEAD_FIELDS_CEILING}", self.head_fields_max)
        });
        for (field, duration) in self.durations() {
            refuse_if(!(Duration::from_millis(1)..=DURATION_MAX).contains(&duration), field, &|| {
                format!("{duration:?} is not between 1 ms and {} days", DURATION_MAX.as_secs() / 86_400)
            });
        }
        let SocketSettings { keepalive_time, keepalive_interval, keepalive_probes, .. } = self.socket;
        for (field, duration) in
            [("keepalive_time_ms", keepalive_time), ("keepalive_interval_ms", keepalive_interval)]
        {
            let seconds = duration.as_secs();
            refuse_if(!(1..=KEEPALIVE_SECONDS_MAX).contains(&seconds), field, &|| {
                format!("{duration:?} is not between 1 s and {KEEPALIVE_SECONDS_MAX} s")
            });
        }
        refuse_if(!(1..=KEEPALIVE_PROBES_MAX).contains(&keepalive_probes), "keepalive_probes", &|| {
            format!("{keepalive_probes} is not between 1 and {KEEPALIVE_PROBES_MAX}")
        });
        errors
    }

    fn durations(&self) -> [(&'static str, Duration); 6] {
        [
            ("request_timeout_ms", self.request_timeout),
            ("connect_timeout_ms", self.connect_timeout),
            ("idle_timeout_ms", self.idle_timeout),
            ("age_max_ms", self.age_max),
            ("drain_timeout_ms", self.drain_timeout),
            ("user_timeout_ms", self.socket.user_timeout),
        ]
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits { bytes_max: self.head_bytes_max, fields_max: self.head_fields_max }
    }
}

/// Far above any sense, and low enough that a point in time that far off can be computed.
const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The kernel counts keep-alive in whole seconds and refuses more than these (Linux: `MAX_TCP_KEEPIDLE` and others), which
/// would fail every dial.
const KEEPALIVE_SECONDS_MAX: u64 = 32_767;
const KEEPALIVE_PROBES_MAX: u32 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> EndpointSettings {
        EndpointSettings::new(EndpointUrl::parse("https://api.example.com/").unwrap())
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(settings().validate(), []);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut settings = settings();
        settings.concurrency = 0;
        settings.warm = 3;
        settings.requests_per_connection_max = Some(0);
        settings.head_bytes_max = 0;
        settings.head_fields_max = 1_000;
        settings.idle_timeout = Duration::ZERO;
        settings.age_max = Duration::MAX;
        settings.socket.keepalive_interval = Duration::from_millis(500);
        settings.socket.keepalive_probes = 0;
        let fields: Vec<_> = settings.validate().into_iter().map(|error| error.field).collect();
        assert_eq!(
            fields,
            [
                "concurrency",
                "warm",
                "requests_per_connection_max",
                "head_bytes_max",
                "head_fields_max",
                "idle_timeout_ms",
                "age_max_ms",
                "keepalive_interval_ms",
                "keepalive_probes"
            ]
        );
    }
}
