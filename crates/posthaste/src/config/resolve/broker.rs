//! The embedded queue's keys, put together into its settings.

use std::path::PathBuf;

use broker::settings::Listen;

use crate::config::keys::{BrokerKeys, Keys};
use crate::config::mistake::Mistakes;
use crate::config::place::Place;
use crate::config::resolve::set;
use crate::{import, state_path};

/// The settings of the queue; they are of use only if no mistake was found.
pub(super) fn resolve(raw: &BrokerKeys, mistakes: &mut Mistakes) -> broker::Settings {
    // Taken apart whole: a key that is not used here does not compile.
    let BrokerKeys {
        data_path,
        tcp_address,
        http_address,
        bytes_max,
        messages_max,
        topic_bytes_max,
        topic_messages_max,
        disk_reserve_bytes,
    } = raw;
    let data_path = data_path.as_ref().map(|path| path.value.clone()).or_else(state_path::default);
    let place = raw.place_of("data_path").unwrap_or(&Place::CommandLine);
    let data_path = data_path.unwrap_or_else(|| {
        let reason = "is missing, and there is no home to keep messages in";
        mistakes.push(place, "data_path", reason, "set it, or HOME");
        PathBuf::new()
    });
    refuse_nsqds(place, &data_path, "posthaste broker --import-nsqd takes them over", mistakes);
    broker::Settings {
        data_path,
        tcp_address: listen(&set(tcp_address)),
        http_address: listen(&set(http_address)),
        bytes_max: set(bytes_max),
        messages_max: set(messages_max),
        topic_bytes_max: set(topic_bytes_max),
        topic_messages_max: set(topic_messages_max),
        disk_reserve_bytes: set(disk_reserve_bytes),
        ..broker::Settings::default()
    }
}

/// A folder with nsqd's own files belongs to nsqd: beside them another queue would only confuse whoever looks.
pub(crate) fn refuse_nsqds(place: &Place, folder: &std::path::Path, way_out: &str, mistakes: &mut Mistakes) {
    let what = place.shown("data_path", &folder.display().to_string());
    match import::nsqd_files(folder) {
        Ok(files) if files.is_empty() => {}
        Ok(files) => {
            let reason = format!("holds files of nsqd: {}", import::shown(&files));
            mistakes.push(place, what, reason, format!("{way_out}; or choose another folder"));
        }
        Err(error) => mistakes.push(place, what, format!("cannot be looked into: {error}"), ""),
    }
}

fn listen(text: &str) -> Listen {
    match text.parse() {
        Ok(listen) => listen,
        Err(never) => match never {},
    }
}
