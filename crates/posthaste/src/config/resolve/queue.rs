//! The NSQ keys, put together into the client's settings.

use std::path::PathBuf;

use pipeline::client::{
    ChannelName, ClientCertificate, Compression, ConnectionSettings, ConsumerSettings, LookupSettings,
    Secret, SettingError, Source, TlsSettings, TlsVersion, TopicName,
};

use crate::config::keys::{Keys, QueueKeys, RouteKeys};
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::raw::RawRoute;
use crate::config::resolve::endpoint::whole;
use crate::config::resolve::headers::{reveal, warn_of_clear};
use crate::config::resolve::{Pair, pair, set};

/// What the route says of its messages.
pub(super) struct Subscription {
    pub(super) topic: TopicName,
    pub(super) channel: ChannelName,
    pub(super) source: Source,
}

/// The settings of the consumer; they are of use only if no mistake was found.
pub(super) fn resolve(
    raw: &RawRoute,
    subscription: Subscription,
    mistakes: &mut Mistakes,
    warnings: &mut Vec<String>,
) -> ConsumerSettings {
    let connection = connection(raw, mistakes, warnings);
    // What is wrong with it was told with the connection.
    let tls = tls(raw, &mut Mistakes::default());
    if tls.danger_skip_verification {
        warnings.push(
            "nsq_danger_skip_verification is on: any certificate of nsqd and nsqlookupd is accepted"
                .to_owned(),
        );
    }
    let Subscription { topic, channel, source } = subscription;
    let queue = &raw.queue;
    let settings = ConsumerSettings {
        topic,
        channel,
        source,
        connection,
        // Each lane's share is the pipeline's to set; until then it is any number that is right.
        max_in_flight: 1,
        in_flight_bytes_max: set(&queue.in_flight_bytes_max),
        message_bytes_max: whole(set(&queue.message_bytes_max)),
        requeue_delay_max: set(&queue.requeue_delay_max_ms),
        lookup_interval: set(&queue.lookup_interval_ms),
        lookup_timeout: set(&queue.lookup_timeout_ms),
        // The name in a certificate belongs to one server.
        lookup_tls: TlsSettings { server_name: None, ..tls },
        reconnect_min: set(&queue.reconnect_min_ms),
        reconnect_max: set(&queue.reconnect_max_ms),
        read_buffer_bytes: whole(set(&queue.read_buffer_bytes)),
    };
    let mut errors = settings.validate();
    if let Source::Lookupds(addresses) = &settings.source
        && !addresses.is_empty()
    {
        errors.extend(LookupSettings::new(addresses.clone()).validate());
    }
    errors.iter().for_each(|error| refuse(raw, error, mistakes));
    settings
}

fn connection(raw: &RawRoute, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> ConnectionSettings {
    let by_itself = ConnectionSettings::default();
    // Taken apart whole: a key that is not used here, by `resolve`, or by the functions below, does not compile.
    let QueueKeys {
        in_flight_bytes_max: _,
        message_bytes_max: _,
        read_buffer_bytes: _,
        requeue_delay_max_ms: _,
        lookup_interval_ms: _,
        lookup_timeout_ms: _,
        reconnect_min_ms: _,
        reconnect_max_ms: _,
        nsq_connect_timeout_ms,
        nsq_write_timeout_ms,
        heartbeat_interval_ms,
        msg_timeout_ms,
        output_buffer_size,
        output_buffer_timeout_ms,
        sample_rate,
        compression: _,
        deflate_level: _,
        client_id,
        hostname,
        nsq_user_agent,
        topology_region,
        topology_zone,
        auth_secret: _,
        nsq_tls,
        nsq_ca_files: _,
        nsq_certificate_file: _,
        nsq_key_file: _,
        nsq_server_name: _,
        nsq_tls_version_min: _,
        nsq_danger_skip_verification: _,
    } = raw.queue.clone();
    let tls = tls(raw, mistakes);
    if !set(&nsq_tls) && raw.queue.nsq_server_name.is_some() {
        let place = raw.place_of("nsq_server_name");
        mistakes.push(
            place,
            place.shown("nsq_server_name", ""),
            "has no effect without TLS",
            "set `nsq_tls`, or leave it out",
        );
    }
    let text = |key: Option<Placed<String>>| key.map(|text| text.value);
    ConnectionSettings {
        client_id: text(client_id).unwrap_or(by_itself.client_id),
        hostname: text(hostname).unwrap_or(by_itself.hostname),
        user_agent: text(nsq_user_agent).unwrap_or(by_itself.user_agent),
        heartbeat_interval: set(&heartbeat_interval_ms),
        msg_timeout: msg_timeout_ms.map(|timeout| timeout.value),
        output_buffer_size: output_buffer_size.map(|size| size.value),
        output_buffer_timeout_ms: set(&output_buffer_timeout_ms),
        sample_rate: u8::try_from(set(&sample_rate)).unwrap_or(u8::MAX),
        topology_region: text(topology_region),
        topology_zone: text(topology_zone),
        tls: set(&nsq_tls).then_some(tls),
        compression: compression(raw),
        auth_secret: auth_secret(raw, mistakes, warnings),
        connect_timeout: set(&nsq_connect_timeout_ms),
        write_timeout: set(&nsq_write_timeout_ms),
    }
}

fn compression(raw: &RawRoute) -> Compression {
    match set(&raw.queue.compression).as_str() {
        "snappy" => Compression::Snappy,
        "deflate" => {
            Compression::Deflate { level: u8::try_from(set(&raw.queue.deflate_level)).unwrap_or(u8::MAX) }
        }
        _ => Compression::None,
    }
}

fn auth_secret(raw: &RawRoute, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Option<Secret> {
    let secret = raw.queue.auth_secret.as_ref()?;
    warn_of_clear(secret, "auth_secret", warnings);
    reveal(secret, "auth_secret", mistakes).map(Secret::new)
}

fn tls(raw: &RawRoute, mistakes: &mut Mistakes) -> TlsSettings {
    let queue = &raw.queue;
    let files = (queue.nsq_certificate_file.clone(), queue.nsq_key_file.clone());
    let names = ["nsq_certificate_file", "nsq_key_file"];
    let plain = |file: &Placed<PathBuf>| file.value.clone();
    TlsSettings {
        ca_files: queue.nsq_ca_files.iter().flat_map(|files| files.value.iter().map(plain)).collect(),
        client_certificate: pair(files.0, files.1, names, mistakes).map(|Pair { certificate, key }| {
            ClientCertificate { certificate_file: certificate, key_file: key }
        }),
        server_name: queue.nsq_server_name.as_ref().map(|name| name.value.clone()),
        min_version: match set(&queue.nsq_tls_version_min).as_str() {
            "1.3" => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        danger_skip_verification: set(&queue.nsq_danger_skip_verification),
    }
}

/// Turns what the client says of its setting into what the user has to know of the key.
pub(super) fn refuse(raw: &RawRoute, error: &SettingError, mistakes: &mut Mistakes) {
    let key = key_of(error.field);
    let place = address_place(raw, key, &error.value).unwrap_or_else(|| raw.place_of(key));
    mistakes.push(place, place.shown(key, &error.value), error.reason.clone(), "");
}

/// The key that a setting of the client is made from.
fn key_of(field: &'static str) -> &'static str {
    match field {
        "compression.level" => return "deflate_level",
        "lookup.addresses" => return "lookupd_http_addresses",
        "tls.min_version" => return "nsq_tls_version_min",
        _ => {}
    }
    let plain = field.strip_prefix("tls.").or(field.strip_prefix("lookup.")).unwrap_or(field);
    let plain = plain.strip_prefix("client_certificate.").unwrap_or(plain);
    let is_meant = |name: &str| {
        let name = name.strip_suffix("_ms").unwrap_or(name);
        let name = if field.starts_with("tls.") { name.strip_prefix("nsq_").unwrap_or("") } else { name };
        name == plain
            || name.strip_prefix("nsq_") == Some(plain)
            || name.strip_prefix("lookup_") == Some(plain)
    };
    let keys = QueueKeys::KEYS.iter().chain(RouteKeys::KEYS);
    keys.map(|key| key.name).find(|name| is_meant(name)).unwrap_or(field)
}

/// The place of one address of a list.
fn address_place<'a>(raw: &'a RawRoute, key: &str, value: &str) -> Option<&'a Place> {
    let addresses = match key {
        "nsqd_tcp_addresses" => &raw.route.nsqd_tcp_addresses,
        "lookupd_http_addresses" => &raw.route.lookupd_http_addresses,
        _ => return None,
    };
    let value = value.trim_matches('"');
    addresses.as_ref()?.value.iter().find(|address| address.value == value).map(|address| &address.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_names_is_found_among_the_keys() {
        let pairs = [
            ("heartbeat_interval", "heartbeat_interval_ms"),
            ("connect_timeout", "nsq_connect_timeout_ms"),
            ("write_timeout", "nsq_write_timeout_ms"),
            ("output_buffer_timeout_ms", "output_buffer_timeout_ms"),
            ("tls.ca_files", "nsq_ca_files"),
            ("tls.server_name", "nsq_server_name"),
            ("tls.client_certificate.key_file", "nsq_key_file"),
            ("lookup.timeout", "lookup_timeout_ms"),
            ("requeue_delay_max", "requeue_delay_max_ms"),
            ("auth_secret", "auth_secret"),
        ];
        for (field, key) in pairs {
            assert_eq!(key_of(field), key, "{field}");
        }
    }
}
