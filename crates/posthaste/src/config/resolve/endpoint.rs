//! The endpoint's keys, put together into delivery's settings.

use std::path::PathBuf;
use std::time::Duration;

use pipeline::delivery::{
    ClientCertificate, EndpointSettings, EndpointUrl, HostField, Roots, SocketSettings, TlsSettings,
    TlsVersion,
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
    // Taken apart whole: a key that is not used here does not compile.
    let EndpointKeys {
        host,
        headers,
        content_type,
        user_agent,
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
        ca_files,
        certificate_file,
        key_file,
        server_name,
        tls_version_min,
        danger_skip_verification,
        dns_ttl_ms,
        dns_failure_ttl_ms,
        keepalive_time_ms,
        keepalive_interval_ms,
        keepalive_probes,
        tcp_user_timeout_ms,
        send_buffer_bytes,
        receive_buffer_bytes,
    } = raw.endpoint.clone();
    let idempotency_key = set(&raw.route.idempotency_key);
    let header_keys = HeaderKeys {
        headers: headers.map(|headers| headers.value).unwrap_or_default(),
        content_type: content_type.expect("it is something by itself"),
        user_agent,
        idempotency_key,
    };
    let client_certificate = pair(certificate_file, key_file, ["certificate_file", "key_file"], mistakes)
        .map(|Pair { certificate, key }| ClientCertificate { certificate, key });
    let request_timeout = set(&request_timeout_ms);
    let settings = EndpointSettings {
        headers: headers::resolve(header_keys, mistakes, warnings),
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
        tls: TlsSettings {
            roots: ca_files.map_or(Roots::System, |files| roots(files.value)),
            client_certificate,
            server_name: server_name.map(|name| name.value),
            min_version: match set(&tls_version_min).as_str() {
                "1.3" => TlsVersion::V1_3,
                _ => TlsVersion::V1_2,
            },
            danger_skip_verification: set(&danger_skip_verification),
        },
        socket: SocketSettings {
            keepalive_time: set(&keepalive_time_ms),
            keepalive_interval: set(&keepalive_interval_ms),
            keepalive_probes: u32::try_from(set(&keepalive_probes)).unwrap_or(u32::MAX),
            user_timeout: set(&tcp_user_timeout_ms),
            send_buffer_bytes: send_buffer_bytes.map(|size| whole(size.value)),
            receive_buffer_bytes: receive_buffer_bytes.map(|size| whole(size.value)),
        },
        lookup_ttl: set(&dns_ttl_ms),
        lookup_failure_ttl: set(&dns_failure_ttl_ms),
        idempotent: idempotency_key,
        url,
    };
    for error in settings.validate() {
        let field = if error.field == "user_timeout_ms" { "tcp_user_timeout_ms" } else { error.field };
        let place = raw.place_of(field);
        mistakes.push(place, place.shown(field, ""), error.reason, "");
    }
    settings
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

fn roots(files: Vec<Placed<PathBuf>>) -> Roots {
    if files.is_empty() {
        Roots::System
    } else {
        Roots::Files(files.into_iter().map(|file| file.value).collect())
    }
}
