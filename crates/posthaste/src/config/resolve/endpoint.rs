//! The endpoint's keys, put together into delivery's settings.

use std::time::Duration;

use pipeline::delivery::{
    ClientCertificate, EndpointSettings, EndpointUrl, HostField, Roots, SocketSettings, StaticHeaders,
    TlsSettings, TlsVersion,
};

use crate::config::keys::EndpointKeys;
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::raw::RawRoute;
use crate::config::resolve::headers::{self, HeaderKeys};
use crate::config::resolve::{Pair, pair, set};

/// The settings of the endpoint at `url`; they are of use only if no mistake was found.
pub(super) fn resolve(
    raw: &RawRoute,
    url: EndpointUrl,
    mistakes: &mut Mistakes,
    warnings: &mut Vec<String>,
) -> EndpointSettings {
    // Taken apart whole: a key that is not used here, or by the functions below, does not compile.
    let EndpointKeys {
        host,
        headers: _,
        content_type: _,
        user_agent: _,
        request_timeout_ms,
        connect_timeout_ms,
        idle_timeout_ms,
        age_max_ms,
        requests_per_connection_max,
        warm,
        drain_bytes_max,
        drain_timeout_ms,
        head_bytes_max,
        head_fields_max,
        ca_files: _,
        certificate_file: _,
        key_file: _,
        server_name: _,
        tls_version_min: _,
        danger_skip_verification: _,
        dns_ttl_ms,
        dns_failure_ttl_ms,
        keepalive_time_ms: _,
        keepalive_interval_ms: _,
        keepalive_probes: _,
        tcp_user_timeout_ms: _,
        send_buffer_bytes: _,
        receive_buffer_bytes: _,
    } = raw.endpoint.clone();
    let request_timeout = set(&request_timeout_ms);
    let settings = EndpointSettings {
        headers: static_headers(raw, mistakes, warnings),
        host: host.and_then(|host| host_field(&host, mistakes)),
        concurrency: whole(set(&raw.route.concurrency)),
        warm: whole(set(&warm)),
        request_timeout,
        connect_timeout: not_longer(connect_timeout_ms, request_timeout),
        idle_timeout: set(&idle_timeout_ms),
        age_max: set(&age_max_ms),
        requests_per_connection_max: requests_per_connection_max.map(|most| most.value),
        drain_bytes_max: set(&drain_bytes_max),
        drain_timeout: set(&drain_timeout_ms),
        head_bytes_max: whole(set(&head_bytes_max)),
        head_fields_max: whole(set(&head_fields_max)),
        tls: tls(raw, mistakes),
        socket: socket(raw),
        lookup_ttl: set(&dns_ttl_ms),
        lookup_failure_ttl: set(&dns_failure_ttl_ms),
        idempotent: set(&raw.route.idempotency_key),
        url,
    };
    for error in settings.validate() {
        let field = if error.field == "user_timeout_ms" { "tcp_user_timeout_ms" } else { error.field };
        let place = raw.place_of(field);
        mistakes.push(place, place.shown(field, ""), error.reason, "");
    }
    settings
}

fn static_headers(raw: &RawRoute, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> StaticHeaders {
    let keys = &raw.endpoint;
    let keys = HeaderKeys {
        headers: keys.headers.clone().map(|headers| headers.value).unwrap_or_default(),
        content_type: keys.content_type.clone().expect("it is something by itself"),
        user_agent: keys.user_agent.clone(),
        idempotency_key: set(&raw.route.idempotency_key),
    };
    headers::resolve(keys, mistakes, warnings)
}

/// A number that a key's bounds keep within what the machine can count.
pub(super) fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whoever shortens the time of a request does not have to shorten the time of its dial, too.
fn not_longer(connect_timeout: Option<Placed<Duration>>, request_timeout: Duration) -> Duration {
    let connect_timeout = connect_timeout.expect("it is something by itself");
    match connect_timeout.place {
        Place::Default => connect_timeout.value.min(request_timeout),
        _ => connect_timeout.value,
    }
}

fn host_field(host: &Placed<String>, mistakes: &mut Mistakes) -> Option<HostField> {
    match HostField::new(&host.value) {
        Ok(host) => Some(host),
        Err(error) => {
            let what = host.place.shown("host", &format!("{:?}", host.value));
            mistakes.push(&host.place, what, error.to_string(), "");
            None
        }
    }
}

fn tls(raw: &RawRoute, mistakes: &mut Mistakes) -> TlsSettings {
    let keys = &raw.endpoint;
    let files = (keys.certificate_file.clone(), keys.key_file.clone());
    let ca_files = keys.ca_files.as_ref().map(|files| files.value.as_slice()).unwrap_or_default();
    TlsSettings {
        roots: match ca_files {
            [] => Roots::System,
            files => Roots::Files(files.iter().map(|file| file.value.clone()).collect()),
        },
        client_certificate: pair(files.0, files.1, ["certificate_file", "key_file"], mistakes)
            .map(|Pair { certificate, key }| ClientCertificate { certificate, key }),
        server_name: keys.server_name.as_ref().map(|name| name.value.clone()),
        min_version: match set(&keys.tls_version_min).as_str() {
            "1.3" => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        danger_skip_verification: set(&keys.danger_skip_verification),
    }
}

fn socket(raw: &RawRoute) -> SocketSettings {
    let keys = &raw.endpoint;
    SocketSettings {
        keepalive_time: set(&keys.keepalive_time_ms),
        keepalive_interval: set(&keys.keepalive_interval_ms),
        keepalive_probes: u32::try_from(set(&keys.keepalive_probes)).unwrap_or(u32::MAX),
        user_timeout: set(&keys.tcp_user_timeout_ms),
        send_buffer_bytes: keys.send_buffer_bytes.as_ref().map(|size| whole(size.value)),
        receive_buffer_bytes: keys.receive_buffer_bytes.as_ref().map(|size| whole(size.value)),
    }
}
