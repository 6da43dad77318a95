//! What makes two connections interchangeable.
//!
//! A dial is given an [`Identity`] and nothing else of the settings, so whatever shapes a connection has to be in it;
//! and it is built by taking the settings apart field by field without `..`, so a new setting does not compile until
//! someone has decided on which side it belongs. It is compared by value, never by a hash.

use std::fmt;

use crate::settings::{EndpointSettings, SocketSettings, TlsSettings};
use crate::target::{Host, Scheme};

/// Every setting that shapes a connection. A connection is only ever used for requests of the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Name or address to connect to.
    pub host: Host,
    /// Port to connect to.
    pub port: u16,
    /// TLS with these settings, or plain TCP.
    pub tls: Option<TlsSettings>,
    /// Options of the socket.
    pub socket: SocketSettings,
}

impl Identity {
    /// The identity of connections for an endpoint with these settings.
    pub fn of(settings: &EndpointSettings) -> Identity {
        let EndpointSettings {
            url,
            tls,
            socket,
            // Parts of a request, not of its connection.
            host: _,
            headers: _,
            idempotent: _,
            // How many connections, for how long, and how they are used.
            concurrency: _,
            warm: _,
            request_timeout: _,
            connect_timeout: _,
            idle_timeout: _,
            age_max: _,
            requests_per_connection_max: _,
            drain_bytes_max: _,
            drain_timeout: _,
            head_bytes_max: _,
            head_fields_max: _,
            // How fresh an address has to be; the certificate is verified by name whatever the address.
            lookup_ttl: _,
            lookup_failure_ttl: _,
        } = settings;
        Identity {
            host: url.host().clone(),
            port: url.port(),
            tls: (url.scheme() == Scheme::Https).then(|| tls.clone()),
            socket: socket.clone(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { Scheme::Https } else { Scheme::Http };
        write!(f, "{}://{}:{}", scheme.as_str(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{ClientCertificate, Roots, TlsVersion};
    use crate::target::EndpointUrl;

    fn settings(url: &str) -> EndpointSettings {
        EndpointSettings::new(EndpointUrl::parse(url).unwrap())
    }

    #[test]
    fn whatever_shapes_a_connection_makes_another_identity() {
        let base = settings("https://api.example.com/a");
        let changes: [fn(&mut EndpointSettings); 14] = [
            |s| s.url = EndpointUrl::parse("https://api.example.org/a").unwrap(),
            |s| s.url = EndpointUrl::parse("https://api.example.com:8443/a").unwrap(),
            |s| s.url = EndpointUrl::parse("http://api.example.com:443/a").unwrap(),
            |s| s.tls.roots = Roots::Files(vec!["ca.pem".into()]),
            |s| {
                s.tls.client_certificate =
                    Some(ClientCertificate { certificate: "c.pem".into(), key: "k.pem".into() });
            },
            |s| s.tls.server_name = Some("other.example.com".into()),
            |s| s.tls.min_version = TlsVersion::V1_3,
            |s| s.tls.danger_skip_verification = true,
            |s| s.socket.keepalive_time = Duration::from_secs(1),
            |s| s.socket.keepalive_interval = Duration::from_secs(1),
            |s| s.socket.keepalive_probes = 9,
            |s| s.socket.user_timeout = Duration::from_secs(1),
            |s| s.socket.send_buffer_bytes = Some(4096),
            |s| s.socket.receive_buffer_bytes = Some(4096),
        ];
        let mut identities = vec![Identity::of(&base)];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            let identity = Identity::of(&changed);
            assert!(!identities.contains(&identity), "{identity:?} is there twice");
            identities.push(identity);
        }
    }

    #[test]
    fn parts_of_a_request_do_not() {
        let base = settings("https://api.example.com/a");
        let mut other = settings("https://api.example.com/b?c");
        other.headers.add("X-A", "b").unwrap();
        other.concurrency = 3;
        other.request_timeout = Duration::from_secs(3);
        other.idempotent = false;
        assert_eq!(Identity::of(&base), Identity::of(&other));
        assert_eq!(Identity::of(&base).to_string(), "https://api.example.com:443");
    }

    #[test]
    fn tls_settings_of_a_plain_endpoint_do_not_matter() {
        let base = settings("http://api.example.com/");
        let mut other = base.clone();
        other.tls.min_version = TlsVersion::V1_3;
        assert_eq!(Identity::of(&base), Identity::of(&other));
    }
}
