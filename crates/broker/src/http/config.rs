//! `/config/OPTION`: nsqd's options by its names; two of them can be put.
//!
//! An option that means nothing here (`sync_every`, `queue_scan_*`, `statsd_*`, ...) is unknown: its default would be a lie.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::Api;
use super::answer::{Rejected, Said};
use crate::options::LogLevel;
use crate::settings::{ClientAuthPolicy, TlsMinVersion, TlsRequired, TlsSettings};

const INVALID_OPTION: Rejected = Rejected::bad_request("INVALID_OPTION");
const INVALID_VALUE: Rejected = Rejected::bad_request("INVALID_VALUE");

impl Api {
    /// `GET` or `PUT /config/OPTION`, which both answer the value.
    pub(super) async fn config(&self, option: &str, request: Request<Incoming>) -> Result<Said, Rejected> {
        if request.method() == Method::PUT {
            let limit = self.broker.settings.max_msg_size;
            let body = self.bodies.read(request.into_body(), limit).await?;
            if body.too_long || body.bytes.is_empty() {
                return Err(Rejected::too_large("INVALID_VALUE"));
            }
            self.put(option, &body.bytes)?;
        }
        self.option(option).ok_or(INVALID_OPTION)
    }

    fn put(&self, option: &str, value: &[u8]) -> Result<(), Rejected> {
        match option {
            "nsqlookupd_tcp_addresses" => {
                let addresses = serde_json::from_slice(value).map_err(|_| INVALID_VALUE)?;
                self.options.set_lookupd_tcp_addresses(addresses);
            }
            "log_level" => {
                let level = std::str::from_utf8(value).ok().and_then(LogLevel::parse);
                self.options.set_log_level(level.ok_or(INVALID_VALUE)?);
            }
            _ => return Err(INVALID_OPTION),
        }
        Ok(())
    }

    fn option(&self, name: &str) -> Option<Said> {
        let settings = &self.broker.settings;
        let told = &self.advertised;
        Some(match name {
            "nsqlookupd_tcp_addresses" => Said::json(&self.options.lookupd_tcp_addresses()),
            "log_level" => number(self.options.log_level() as u64),
            "id" => number(u64::from(settings.node_id)),
            "tcp_address" => text(&settings.tcp_address),
            "http_address" => text(&settings.http_address),
            "https_address" => text(&settings.https_address),
            "broadcast_address" => text(&told.broadcast_address),
            "broadcast_tcp_port" => number(u64::from(told.broadcast_tcp_port)),
            "broadcast_http_port" => number(u64::from(told.broadcast_http_port)),
            "auth_http_addresses" => Said::json(&settings.auth_http_addresses),
            "http_client_connect_timeout" => nanos(settings.http_client_connect_timeout),
            "http_client_request_timeout" => nanos(settings.http_client_request_timeout),
            "data_path" => text(&settings.data_path.display()),
            "mem_queue_size" => number(settings.mem_queue_size),
            "msg_timeout" => nanos(settings.msg_timeout),
            "max_msg_timeout" => nanos(settings.max_msg_timeout),
            "max_msg_size" => number(settings.max_msg_size),
            "max_body_size" => number(settings.max_body_size),
            "max_req_timeout" => nanos(settings.max_req_timeout),
            "max_heartbeat_interval" => nanos(settings.max_heartbeat_interval),
            "max_rdy_count" => number(u64::from(settings.max_rdy_count)),
            "max_output_buffer_size" => number(settings.max_output_buffer_size),
            "max_output_buffer_timeout" => nanos(settings.max_output_buffer_timeout),
            "min_output_buffer_timeout" => nanos(settings.min_output_buffer_timeout),
            "output_buffer_timeout" => nanos(settings.output_buffer_timeout),
            "max_channel_consumers" => number(u64::from(settings.max_channel_consumers)),
            "deflate" => Said::json(&settings.deflate),
            "max_deflate_level" => number(u64::from(settings.max_deflate_level)),
            "snappy" => Said::json(&settings.snappy),
            tls => return tls_option(tls, settings.tls.as_ref()),
        })
    }
}

fn tls_option(name: &str, tls: Option<&TlsSettings>) -> Option<Said> {
    let path = |path: Option<&std::path::PathBuf>| match path {
        Some(path) => text(&path.display()),
        None => text(&""),
    };
    Some(match name {
        "tls_cert" => path(tls.map(|tls| &tls.cert)),
        "tls_key" => path(tls.map(|tls| &tls.key)),
        "tls_client_auth_policy" => text(&match tls.map(|tls| tls.client_auth_policy) {
            None | Some(ClientAuthPolicy::Off) => "",
            Some(ClientAuthPolicy::Require) => "require",
            Some(ClientAuthPolicy::RequireVerify) => "require-verify",
        }),
        "tls_root_ca_file" => path(tls.and_then(|tls| tls.root_ca_file.as_ref())),
        "tls_required" => number(match tls.map(|tls| tls.required) {
            None | Some(TlsRequired::No) => 0,
            Some(TlsRequired::TcpHttps) => 1,
            Some(TlsRequired::Yes) => 2,
        }),
        // The protocol's own numbers.
        "tls_min_version" => number(match tls.map_or_else(TlsMinVersion::default, |tls| tls.min_version) {
            TlsMinVersion::Ssl30 => 0x300,
            TlsMinVersion::Tls10 => 0x301,
            TlsMinVersion::Tls11 => 0x302,
            TlsMinVersion::Tls12 => 0x303,
            TlsMinVersion::Tls13 => 0x304,
        }),
        _ => return None,
    })
}

fn text(value: &impl ToString) -> Said {
    Said::Text(value.to_string())
}

fn number(value: u64) -> Said {
    Said::json(&value)
}

fn nanos(duration: Duration) -> Said {
    Said::json(&duration.as_nanos())
}
