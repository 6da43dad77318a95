//! The files that a route names for TLS, opened once before anything starts, so that one that is missing or is no
//! certificate is told with all other mistakes.

use std::path::Path;
use std::sync::Arc;

use pipeline::RouteSettings;
use pipeline::client::{Dialer, Lookup, LookupSettings, SettingError, Source};
use pipeline::delivery::{Endpoint, EndpointError, Local, Roots, Shared, TlsSettingsError};
use tokio::runtime::{Builder, LocalOptions};

use crate::config::mistake::Mistakes;
use crate::config::place::Place;
use crate::config::raw::RawRoute;
use crate::config::resolve::queue;

/// Opens the files of a route whose settings are right so far.
pub(super) fn check(raw: &RawRoute, route: &RouteSettings, mistakes: &mut Mistakes) {
    for error in queue_errors(route) {
        queue::refuse(raw, &error, mistakes);
    }
    if let Some(EndpointError::Tls(error)) = endpoint_error(route) {
        refuse(raw, &error, mistakes);
    }
}

fn queue_errors(route: &RouteSettings) -> Vec<SettingError> {
    let consumer = &route.consumer;
    let mut errors = Dialer::new(&consumer.connection).err().unwrap_or_default();
    if let Source::Lookupds(addresses) = &consumer.source {
        let settings =
            LookupSettings { tls: consumer.lookup_tls.clone(), ..LookupSettings::new(addresses.clone()) };
        let more = Lookup::new(&settings).err().unwrap_or_default();
        // nsqd and nsqlookupd share their files, and would share their mistakes.
        errors.extend(more.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
    }
    errors
}

/// Makes an endpoint that never posts: the files are read where they will be, by the code that will use them.
fn endpoint_error(route: &RouteSettings) -> Option<EndpointError> {
    let tls = &route.endpoint.tls;
    if tls.roots == Roots::System && tls.client_certificate.is_none() && tls.server_name.is_none() {
        return None;
    }
    // A runtime that cannot be made here cannot be made for the workers either, which is told then.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).ok()?;
    runtime.block_on(async {
        Endpoint::new(&route.endpoint, &Shared::new(), &Local::new(1), Arc::default()).err()
    })
}

fn refuse(raw: &RawRoute, error: &TlsSettingsError, mistakes: &mut Mistakes) {
    let place = match error {
        TlsSettingsError::File { path, .. } | TlsSettingsError::Root { path, .. } => file_place(raw, path),
        TlsSettingsError::ClientCertificate(_) => raw.place_of("certificate_file"),
        TlsSettingsError::ServerName(_) => raw.place_of("server_name"),
        TlsSettingsError::NoRoots(_) => &raw.place,
    };
    mistakes.push(place, "", error.to_string(), "");
}

fn file_place<'a>(raw: &'a RawRoute, path: &Path) -> &'a Place {
    let keys = &raw.endpoint;
    let roots = keys.ca_files.iter().flat_map(|files| &files.value);
    let own = keys.certificate_file.iter().chain(&keys.key_file);
    roots.chain(own).find(|file| file.value == path).map_or(&raw.place, |file| &file.place)
}
