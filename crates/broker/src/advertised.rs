//! Where the broker says that it is: in `/info`, and to nsqlookupds.

use std::net::SocketAddr;

use crate::settings::Settings;

/// The addresses that are listened on. `None` where there is a Unix socket, or nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Listening {
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https: Option<SocketAddr>,
}

/// What others are told.
#[derive(Debug, Clone)]
pub(crate) struct Advertised {
    /// The machine's name.
    pub(crate) hostname: String,
    /// Where consumers find it: `--broadcast-address`, or the machine's name.
    pub(crate) broadcast_address: String,
    /// For consumers; 0 with a Unix socket and no `--broadcast-tcp-port`.
    pub(crate) broadcast_tcp_port: u16,
    /// For tools; likewise.
    pub(crate) broadcast_http_port: u16,
    pub(crate) listening: Listening,
}

impl Advertised {
    pub(crate) fn new(settings: &Settings, listening: Listening) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let port = |told: u16, address: Option<SocketAddr>| match told {
            0 => address.map_or(0, |address| address.port()),
            told => told,
        };
        Self {
            broadcast_address: settings.broadcast_address.clone().unwrap_or_else(|| hostname.clone()),
            broadcast_tcp_port: port(settings.broadcast_tcp_port, listening.tcp),
            broadcast_http_port: port(settings.broadcast_http_port, listening.http),
            hostname,
            listening,
        }
    }
}
