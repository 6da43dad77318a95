//! From what was given to what is run: the rules over more than one flag.
//!
//! **Where it listens.** nsqd listens on every address of the machine, and says nothing of it. Someone who starts a queue
//! without a word about addresses wants it here, so it listens on loopback. Whoever gives one of the flags that say where
//! this node is to be found (`--tcp-address`, `--http-address`, `--https-address`, `--broadcast-address`,
//! `--lookupd-tcp-address`), as every unit file of nsqd does, gets nsqd's addresses for the others.
//!
//! **A node that nobody can reach** must not register: consumers would dial it for ever. A loopback address together with
//! nsqlookupds and a broadcast address that is not loopback is refused.

use std::net::IpAddr;
use std::path::PathBuf;

use broker::settings::{Listen, TlsRequired, TlsSettings};

use super::draft::{Draft, TlsDraft};
use super::given::Given;
use crate::config::{Mistakes, Place};
use crate::log::LogSettings;
use crate::state_path;

/// What `posthaste broker` runs with.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) settings: broker::Settings,
    pub(crate) import_nsqd: bool,
    pub(crate) log: LogSettings,
    /// What is allowed but better known, for the log.
    pub(crate) warnings: Vec<String>,
}

/// The flags that say where this node is to be found.
const ADDRESSES: [&str; 5] =
    ["--tcp-address", "--http-address", "--https-address", "--broadcast-address", "--lookupd-tcp-address"];

const LOOPBACK: [&str; 3] = ["127.0.0.1:4150", "127.0.0.1:4151", "127.0.0.1:4152"];

/// Resolves flags and file; what comes back is of use only if no mistake was found.
pub(super) fn resolve(
    flags: &[Given],
    file: &[Given],
    mut warnings: Vec<String>,
    mistakes: &mut Mistakes,
) -> Planned {
    let of_file = file.iter().filter(|given| !flags.iter().any(|flag| flag.flag.name == given.flag.name));
    let given: Vec<&Given> = of_file.chain(flags).collect();
    let mut draft = Draft::default();
    if !given.iter().any(|given| ADDRESSES.contains(&given.flag.name)) {
        let [tcp, http, https] = LOOPBACK.map(|address| Listen::Tcp(address.to_owned()));
        let settings = &mut draft.settings;
        (settings.tcp_address, settings.http_address, settings.https_address) = (tcp, http, https);
    }
    given.iter().for_each(|given| given.apply(&mut draft, mistakes, &mut warnings));
    let place = |name: &str| {
        let found = given.iter().find(|given| given.flag.name == name);
        found.map_or(Place::CommandLine, |given| given.place.clone())
    };
    let Draft { mut settings, data_path, tls, log_level, log_format, import_nsqd } = draft;
    settings.data_path = data_path.or_else(state_path::default).unwrap_or_else(|| {
        let way_out = "give --data-path, or set HOME";
        mistakes.push(
            &Place::CommandLine,
            "--data-path",
            "is missing, and there is no home to keep it in",
            way_out,
        );
        PathBuf::new()
    });
    settings.hold_new_topics = !settings.lookupd_tcp_addresses.is_empty();
    settings.tls = resolve_tls(tls, place, mistakes);
    refuse_unreachable(&settings, place, mistakes);
    let log = LogSettings { level: log_level, format: log_format };
    Planned { settings, import_nsqd, log, warnings }
}

/// As nsqd checks it: both files or none, and none of the rest without them.
fn resolve_tls(tls: TlsDraft, place: impl Fn(&str) -> Place, mistakes: &mut Mistakes) -> Option<TlsSettings> {
    let TlsDraft { cert, key, client_auth_policy, root_ca_file, required, min_version } = tls;
    let required = required.under(client_auth_policy);
    match (cert, key) {
        (Some(cert), Some(key)) => {
            return Some(TlsSettings { cert, key, client_auth_policy, root_ca_file, required, min_version });
        }
        (None, None) if required == TlsRequired::No => {}
        (None, None) => {
            let way_out = "give --tls-cert and --tls-key";
            mistakes.push(
                &place("--tls-required"),
                "",
                "TLS cannot be required without a certificate",
                way_out,
            );
        }
        (Some(_), None) => {
            mistakes.push(&place("--tls-cert"), "", "is of no use without --tls-key", "give both, or none")
        }
        (None, Some(_)) => {
            mistakes.push(&place("--tls-key"), "", "is of no use without --tls-cert", "give both, or none")
        }
    }
    None
}

fn refuse_unreachable(settings: &broker::Settings, place: impl Fn(&str) -> Place, mistakes: &mut Mistakes) {
    let local = [("--tcp-address", &settings.tcp_address), ("--http-address", &settings.http_address)]
        .into_iter()
        .find(|(_, listen)| matches!(listen, Listen::Tcp(address) if is_loopback(host(address))));
    let Some((flag, listen)) = local else { return };
    let broadcast = settings.broadcast_address.as_deref().unwrap_or("the host's name");
    if settings.lookupd_tcp_addresses.is_empty() || is_loopback(broadcast) {
        return;
    }
    let reason =
        format!("is reached from this machine only, and nsqlookupd would tell everyone to dial {broadcast}");
    let way_out = format!(
        "listen on an address that others reach, {flag}=0.0.0.0:PORT, or give --broadcast-address=127.0.0.1"
    );
    mistakes.push(&place(flag), format!("{flag}={listen}"), reason, way_out);
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::broker::given::read_line;

    fn planned(line: &str) -> (Planned, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let line: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let given = read_line(&line, &mut mistakes);
        let planned = resolve(&given, &[], Vec::new(), &mut mistakes);
        let mistakes =
            mistakes.sorted().iter().map(|mistake| mistake.to_string().replace("\n    ", " | ")).collect();
        (planned, mistakes)
    }

    fn right(line: &str) -> Planned {
        let (planned, mistakes) = planned(line);
        assert!(mistakes.is_empty(), "{line}: {mistakes:?}");
        planned
    }

    fn addresses(line: &str) -> [String; 3] {
        let settings = right(line).settings;
        [&settings.tcp_address, &settings.http_address, &settings.https_address].map(ToString::to_string)
    }

    #[test]
    fn without_a_word_about_addresses_it_is_loopback_and_with_one_it_is_nsqds() {
        assert_eq!(addresses("--data-path /d"), LOOPBACK);
        let nsqds = ["0.0.0.0:4150", "0.0.0.0:4151", "0.0.0.0:4152"];
        assert_eq!(addresses("--broadcast-address=nsqd-1"), nsqds);
        assert_eq!(addresses("-lookupd-tcp-address a:4160"), nsqds);
        assert_eq!(addresses("-tcp-address=127.0.0.1:5150"), ["127.0.0.1:5150", nsqds[1], nsqds[2]]);
        assert_eq!(addresses("-http-address /tmp/h.sock")[1], "/tmp/h.sock");
        assert_eq!(addresses("-https-address= --http-address="), [nsqds[0], "", ""]);
    }

    #[test]
    fn a_node_that_nobody_can_reach_does_not_register() {
        let line = "--lookupd-tcp-address=10.0.0.5:4160 --tcp-address=127.0.0.1:4150";
        let (_, mistakes) = planned(line);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0]
                .starts_with("--tcp-address: --tcp-address=127.0.0.1:4150: is reached from this machine")
        );
        assert!(mistakes[0].contains("--broadcast-address=127.0.0.1"), "{mistakes:?}");
        right(&format!("{line} --broadcast-address=127.0.0.1"));
        right("--lookupd-tcp-address=10.0.0.5:4160");
        let (_, mistakes) =
            planned("--lookupd-tcp-address=a:1 --http-address=[::1]:4151 --broadcast-address=nsqd-1");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn a_new_topic_waits_for_nsqlookupds_channels_only_where_there_is_one() {
        assert!(right("--lookupd-tcp-address=a:4160").settings.hold_new_topics);
        assert!(!right("--data-path=/d").settings.hold_new_topics);
    }

    #[test]
    fn tls_needs_both_files_and_a_policy_requires_it() {
        let tls = right("--tls-cert=c --tls-key=k --tls-client-auth-policy=require").settings.tls;
        assert_eq!(tls.map(|tls| tls.required), Some(TlsRequired::Yes));
        // As nsqd: whom the system trusts may vouch for clients.
        let tls = right("--tls-cert=c --tls-key=k --tls-client-auth-policy=require-verify").settings.tls;
        assert_eq!(tls.map(|tls| tls.required), Some(TlsRequired::Yes));
        let tls = right("-tls-cert=c -tls-key=k -tls-required=tcp-https").settings.tls;
        assert_eq!(tls.map(|tls| tls.required), Some(TlsRequired::TcpHttps));
        for wrong in [
            "--tls-cert=c",
            "--tls-key=k",
            "--tls-required",
            "--tls-client-auth-policy=require",
            "--tls-client-auth-policy=require-verify --tls-root-ca-file=r",
        ] {
            assert_eq!(planned(wrong).1.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_and_what_has_no_use_is_a_warning() {
        let (planned, mistakes) = planned(
            "--msg-timeout=60 --max-deflate-level 12 --snappy=yes --nonsense stray --log-level=loud --sync-every=1 -verbose --mem-queue-size",
        );
        assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
        assert!(mistakes.iter().any(|text| {
            text.starts_with("--msg-timeout: \"60\": cannot be used | it takes a time with its unit")
        }));
        assert!(mistakes.iter().any(|text| text.starts_with("--mem-queue-size: has no value")));
        assert_eq!(planned.warnings.len(), 2, "{:?}", planned.warnings);
        assert!(planned.warnings[0].starts_with("--sync-every changes nothing: every acknowledgement"));
    }

    #[test]
    fn the_last_of_two_counts_and_lists_grow() {
        let settings =
            right("--max-rdy-count=1 -max-rdy-count 7 --auth-http-address=a:1 --auth-http-address b:2")
                .settings;
        assert_eq!(settings.max_rdy_count, 7);
        assert_eq!(settings.auth_http_addresses, ["a:1", "b:2"]);
    }
}
