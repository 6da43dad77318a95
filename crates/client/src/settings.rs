//! What shapes a connection to nsqd, and the check of it.
//!
//! Settings are plain values, free of files and sockets, so that they can be read, compared and sent to another thread. [`ConnectionSettings::validate`] finds every mistake that
//! can be seen without a server; what only nsqd knows (its own upper limits) comes back as a typed refusal of IDENTIFY.
//! Files named here are opened by [`Dialer::new`](crate::Dialer::new), so a missing certificate is reported at the start and not at the first dial.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::ServerName;

/// Everything that IDENTIFY negotiates, and what lies under and over it: TLS, compression, AUTH, time limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Name of this client in nsqd's statistics; by default the first label of the host name.
    pub client_id: String,
    /// Host name in nsqd's statistics; by default the one that the kernel gives.
    pub hostname: String,
    /// `posthaste/VERSION` by default.
    pub user_agent: String,
    /// How often nsqd sends a heartbeat (5 s). A peer that sends nothing for two of them is dead. nsqd refuses less than 1 s, and more than its `--max-heartbeat-interval` (60 s).
    pub heartbeat_interval: Duration,
    /// How long nsqd waits for an answer to a message; `None` leaves it to nsqd (60 s). At least 1 s.
    pub msg_timeout: Option<Duration>,
    /// Bytes of nsqd's output buffer, at least 64; -1 for none; `None` leaves it to nsqd (16 KiB).
    pub output_buffer_size: Option<i64>,
    /// Milliseconds until nsqd flushes that buffer (25, the least it takes by default); 0 leaves it to nsqd (250). -1 means never, and is taken only with a buffer of -1:
    /// with a buffer, messages would wait in it for the next heartbeat.
    pub output_buffer_timeout_ms: i64,
    /// Per cent of the channel's messages to receive, 1 to 99; 0 for all. nsqd throws the others away **for every consumer of the channel**.
    pub sample_rate: u8,
    /// Region of this client, for an nsqd that prefers consumers nearby.
    pub topology_region: Option<String>,
    /// Zone of this client, within the region.
    pub topology_zone: Option<String>,
    /// TLS, required when set: an nsqd that does not offer it is not used.
    pub tls: Option<TlsSettings>,
    /// Compression to ask for. An nsqd that does not offer it is used without.
    pub compression: Compression,
    /// Secret for AUTH, sent when nsqd requires one.
    pub auth_secret: Option<Secret>,
    /// Time for a whole dial: name lookup, TCP, IDENTIFY, TLS, compression, AUTH (5 s).
    pub connect_timeout: Duration,
    /// How long a write may stand without progress before the connection is given up (10 s).
    pub write_timeout: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let client_id = hostname.split('.').next().unwrap_or_default().to_owned();
        ConnectionSettings {
            client_id,
            hostname,
            user_agent: concat!("posthaste/", env!("CARGO_PKG_VERSION")).to_owned(),
            heartbeat_interval: Duration::from_secs(5),
            msg_timeout: None,
            output_buffer_size: None,
            output_buffer_timeout_ms: 25,
            sample_rate: 0,
            topology_region: None,
            topology_zone: None,
            tls: None,
            compression: Compression::None,
            auth_secret: None,
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// Compression inside TLS, if there is any. NSQ refuses both at once, so both cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// Snappy's framing format: cheap.
    Snappy,
    /// Raw deflate: smaller, several times the CPU.
    Deflate {
        /// 1 (fast) to 9 (small); nsqd lowers it to its `--max-deflate-level` (6).
        level: u8,
    },
}

/// Trust and identity for TLS, to nsqd or to nsqlookupd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// PEM files of the authorities to trust **instead of** the system's; empty for the system's.
    pub ca_files: Vec<PathBuf>,
    /// Certificate to show to a server that asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// Name that the server's certificate must carry, in place of the host dialled.
    pub server_name: Option<String>,
    /// Oldest version to accept.
    pub min_version: TlsVersion,
    /// Takes any certificate: whoever can reach the connection can then read and change it. Logged as a warning at the start.
    pub danger_skip_verification: bool,
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub certificate_file: PathBuf,
    /// The leaf's key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_file: PathBuf,
}

/// Versions of TLS that can be asked for; older ones are not supported at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Bytes that no log, error or debug output may show.
///
/// There is no `Display`, and `Debug` prints a constant, length hidden too.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes as they are; a line end that a file brought along is the caller's to cut.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into().into_boxed_slice())
    }

    /// The bytes, for the one place that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One setting that cannot be used: which, what it says, and why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {reason}")]
pub struct SettingError {
    /// The setting's path, such as `tls.ca_files`.
    pub field: &'static str,
    /// What it was set to; never a secret.
    pub value: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl SettingError {
    /// Names the setting, shows its value, says why it cannot be used.
    pub fn new(field: &'static str, value: impl fmt::Display, reason: impl Into<String>) -> SettingError {
        SettingError { field, value: value.to_string(), reason: reason.into() }
    }
}

impl ConnectionSettings {
    /// Every mistake that can be seen without opening a file or a socket.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        self.check_times(&mut errors);
        self.check_output_buffer(&mut errors);
        if self.sample_rate > 99 {
            errors.push(SettingError::new("sample_rate", self.sample_rate, "1 to 99 per cent, or 0 for all"));
        }
        if let Compression::Deflate { level } = self.compression
            && !(1..=9).contains(&level)
        {
            errors.push(SettingError::new("compression.level", level, "deflate has the levels 1 to 9"));
        }
        if self.auth_secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
            errors.push(SettingError::new("auth_secret", "\"\"", "an empty secret authorizes nobody"));
        }
        if let Some(tls) = &self.tls {
            errors.extend(tls.validate());
        }
        errors
    }

    fn check_times(&self, errors: &mut Vec<SettingError>) {
        let second = Duration::from_secs(1);
        if self.heartbeat_interval < second {
            let reason = "nsqd takes no heartbeat interval under 1 s";
            errors.push(SettingError::new("heartbeat_interval", millis(self.heartbeat_interval), reason));
        }
        if let Some(msg_timeout) = self.msg_timeout.filter(|timeout| *timeout < second) {
            let reason = "nsqd takes no message timeout under 1 s";
            errors.push(SettingError::new("msg_timeout", millis(msg_timeout), reason));
        }
        for (field, timeout) in
            [("connect_timeout", self.connect_timeout), ("write_timeout", self.write_timeout)]
        {
            if timeout.is_zero() {
                errors.push(SettingError::new(field, millis(timeout), "must be above 0"));
            }
        }
    }

    fn check_output_buffer(&self, errors: &mut Vec<SettingError>) {
        if let Some(size) = self.output_buffer_size.filter(|size| *size != -1 && *size < 64) {
            let reason = "64 bytes at least, or -1 for no buffer";
            errors.push(SettingError::new("output_buffer_size", size, reason));
        }
        let timeout_ms = self.output_buffer_timeout_ms;
        if timeout_ms < -1 {
            let reason = "milliseconds, 0 for nsqd's own, or -1 for never";
            errors.push(SettingError::new("output_buffer_timeout_ms", timeout_ms, reason));
        } else if timeout_ms == -1 && self.output_buffer_size != Some(-1) {
            let reason = "-1 leaves messages in nsqd's buffer until its next heartbeat; set output_buffer_size = -1 too";
            errors.push(SettingError::new("output_buffer_timeout_ms", timeout_ms, reason));
        }
    }
}

impl TlsSettings {
    /// Every mistake that can be seen without opening the files.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            errors.push(SettingError::new("tls.server_name", name, "neither a DNS name nor an IP address"));
        }
        if self.danger_skip_verification && !self.ca_files.is_empty() {
            let reason = "has no effect while danger_skip_verification is set; drop one of the two";
            errors.push(SettingError::new("tls.ca_files", format_args!("{:?}", self.ca_files), reason));
        }
        errors
    }
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
