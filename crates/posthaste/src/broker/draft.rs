//! The broker's settings while flags and file are read: nsqd's options in the broker's types, and what is said besides.

use std::path::PathBuf;

use broker::settings::{ClientAuthPolicy, TlsMinVersion, TlsRequired};
use tracing::level_filters::LevelFilter;

use crate::log::LogFormat;

/// What has been read so far.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// What needs no second look.
    pub(super) settings: broker::Settings,
    /// `None`: the platform's.
    pub(super) data_path: Option<PathBuf>,
    pub(super) tls: TlsDraft,
    pub(super) log_level: LevelFilter,
    pub(super) log_format: Option<LogFormat>,
    pub(super) import_nsqd: bool,
}

/// TLS as nsqd's flags have it: each for itself, checked together at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsDraft {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_auth_policy: ClientAuthPolicy,
    pub(super) root_ca_file: Option<PathBuf>,
    pub(super) required: TlsRequired,
    pub(super) min_version: TlsMinVersion,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            settings: broker::Settings::default(),
            data_path: None,
            tls: TlsDraft::default(),
            log_level: LevelFilter::INFO,
            log_format: None,
            import_nsqd: false,
        }
    }
}
