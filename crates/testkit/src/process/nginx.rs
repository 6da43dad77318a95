//! The distribution's nginx, as the endpoint that nobody of us wrote.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::daemon::Daemon;
use crate::certs::{Authority, Leaf};
use crate::http;
use crate::ports::Reserved;

/// Settings of an nginx; the defaults are nginx's own.
#[derive(Clone, Debug, Default)]
pub struct NginxOptions {
    /// Serves HTTPS.
    pub tls: bool,
    /// `keepalive_requests`: nginx closes a connection after so many (its default is 1,000).
    pub keepalive_requests: Option<u64>,
    /// `keepalive_timeout`: `"1s"` (its default is 75 s).
    pub keepalive_timeout: Option<String>,
    /// What it does with a request: `return 200` unless set. Answers by `return` come before the body is read.
    pub location: Option<String>,
    /// More lines for the server block.
    pub server: String,
    /// Worker processes, 1 unless set.
    pub workers: Option<usize>,
    /// Logs every request: [`Nginx::access_log`]. The values are separated by spaces.
    pub log_format: Option<String>,
}

impl NginxOptions {
    /// HTTPS.
    pub fn tls() -> Self {
        Self { tls: true, ..Self::default() }
    }

    /// Hands requests on to this server, usually one of the kit's endpoints, which can judge the bodies.
    pub fn proxy_to(mut self, address: SocketAddr) -> Self {
        // nginx would speak HTTP/1.0 to it, with `Connection: close`.
        let version = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
        self.location = Some(format!("proxy_pass http://{address}; {version}"));
        self
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// To stop, kill, freeze and restart it.
    pub daemon: Daemon,
    address: SocketAddr,
    status: SocketAddr,
    tls: Option<(Authority, Leaf)>,
    files: TempDir,
    own: Arc<Own>,
    // Holds its ports while it is down.
    _ports: [Reserved; 2],
}

/// Totals since its last start, without the kit's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NginxCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Requests served.
    pub requests: u64,
    /// Connections open now.
    pub active: u64,
}

impl Nginx {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no nginx or it does not start.
    #[track_caller]
    pub fn start(options: NginxOptions) -> Self {
        let program = program();
        let ports = [Reserved::new(), Reserved::new()];
        let [address, status] = [0, 1].map(|port: usize| ports[port].address());
        let tls = options.tls.then(|| {
            let authority = Authority::new();
            let leaf = authority.server();
            (authority, leaf)
        });
        let files =
            tempfile::Builder::new().prefix("posthaste-nginx-").tempdir().expect("a temporary directory");
        let leaf = tls.as_ref().map(|(_, leaf)| leaf);
        let text = configuration(&options, address, status, leaf);
        std::fs::write(files.path().join("nginx.conf"), text).expect("the directory is ours");
        let prefix = files.path().to_owned();
        let own = Arc::new(Own::default());
        let (own_of_life, own_when_ready) = (own.clone(), own.clone());
        let command = move || {
            own_of_life.polls.store(0, Ordering::Relaxed);
            own_of_life.orphans.store(0, Ordering::Relaxed);
            let mut command = Command::new(&program);
            command.arg("-p").arg(&prefix).args(["-c", "nginx.conf", "-e", "stderr"]);
            command
        };
        let mut daemon = Daemon::new("nginx", command, move || own_when_ready.first_poll(status));
        daemon.start();
        Self { daemon, address, status, tls, files, own, _ports: ports }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// The certificate to trust, PEM.
    ///
    /// # Panics
    /// When it serves no TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.tls.as_ref().expect("an nginx with TLS").0.ca_file()
    }

    /// What it counted since its last start (stub_status, less what the kit asked).
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn counts(&self) -> NginxCounts {
        poll(self.status, &self.own).expect("nginx answers")
    }

    /// The lines written by [`NginxOptions::log_format`] so far.
    pub fn access_log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.files.path().join("access.log")).unwrap_or_default();
        log.lines().map(String::from).collect()
    }
}

/// nginx from the PATH, or where Debian has it.
#[track_caller]
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.push("/usr/sbin".into());
    let found = dirs.into_iter().map(|dir| dir.join("nginx")).find(|path| path.is_file());
    found.expect("no nginx: run cargo xtask setup")
}

/// The kit's own part in what stub_status counts.
#[derive(Debug, Default)]
struct Own {
    polls: AtomicU64,
    /// Connections of polls that came to nothing while it started: accepted later, with no request on them.
    orphans: AtomicU64,
}

impl Own {
    /// Asks until it answers; nobody else has been there then.
    fn first_poll(&self, status: SocketAddr) -> bool {
        let Some(counts) = poll(status, self) else { return false };
        self.orphans.store(counts.accepted - counts.requests.min(counts.accepted), Ordering::Relaxed);
        true
    }
}

/// Reads stub_status. It counts what asks for it, too, so that is taken off again.
fn poll(status: SocketAddr, own: &Own) -> Option<NginxCounts> {
    let (200, page) = http::request(status, "GET", "/", b"").ok()? else { return None };
    let polls = own.polls.fetch_add(1, Ordering::Relaxed) + 1;
    // Active connections: 1 / server accepts handled requests / 1 1 1 / Reading: 0 Writing: 1 Waiting: 0
    let page = String::from_utf8(page).ok()?;
    let numbers: Vec<u64> = page.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [active, accepted, _handled, requests, ..] = numbers[..] else { return None };
    Some(NginxCounts {
        accepted: accepted.saturating_sub(polls + own.orphans.load(Ordering::Relaxed)),
        requests: requests.saturating_sub(polls),
        active: active.saturating_sub(1),
    })
}

fn configuration(
    options: &NginxOptions,
    address: SocketAddr,
    status: SocketAddr,
    leaf: Option<&Leaf>,
) -> String {
    let mut lines = String::from("daemon off;\npid nginx.pid;\n");
    // Without it a master started by root makes workers that cannot read the certificates in our directory.
    if crate::is_root() {
        lines.push_str("user root;\n");
    }
    let workers = options.workers.unwrap_or(1);
    let mut http = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(http, "  {kind}_temp_path temp-{kind};").expect("a string takes all");
    }
    match &options.log_format {
        Some(format) => {
            http.push_str(&format!("  log_format kit '{format}';\n  access_log access.log kit;\n"))
        }
        None => http.push_str("  access_log off;\n"),
    }
    if let Some(requests) = options.keepalive_requests {
        http.push_str(&format!("  keepalive_requests {requests};\n"));
    }
    if let Some(timeout) = &options.keepalive_timeout {
        http.push_str(&format!("  keepalive_timeout {timeout};\n"));
    }
    let tls = leaf.map(|leaf| {
        let (certificate, key) = (leaf.certificate_file().display(), leaf.key_file().display());
        format!("    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n")
    });
    let location = options.location.as_deref().unwrap_or("return 200 ok;");
    format!(
        "{lines}worker_processes {workers};\nerror_log stderr warn;\nevents {{ worker_connections 8192; }}\nhttp {{\n{http}  \
         client_max_body_size 0;\n  server {{\n    listen {address}{ssl} backlog=4096;\n{tls}    {server}\n    location / {{ {location} }}\n  }}\n  \
         server {{\n    listen {status};\n    access_log off;\n    location / {{ stub_status; }}\n  }}\n}}\n",
        ssl = if leaf.is_some() { " ssl" } else { "" },
        tls = tls.unwrap_or_default(),
        server = options.server,
    )
}
