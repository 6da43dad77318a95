//! What all endpoints of a process share.

use std::sync::Arc;

use resolve::ResolveFn;

use crate::identity::Identity;
use crate::resolver::Resolver;
use crate::tls::{Tls, TlsConfigs, TlsSettingsError};

/// Resolver and TLS configurations, so that names are looked up once and sessions resume across lanes. One per
/// process; cloning gives the same one.
#[derive(Clone)]
pub struct Shared {
    pub(crate) resolver: Arc<Resolver>,
    tls: Arc<TlsConfigs>,
}

impl Shared {
    /// With the system's resolver.
    pub fn new() -> Shared {
        Shared::with_resolver(resolve::system())
    }

    /// With another way to look names up, which may block for as long as it likes.
    pub fn with_resolver(resolve: Arc<ResolveFn>) -> Shared {
        Shared { resolver: Arc::new(Resolver::new(resolve)), tls: Arc::default() }
    }

    pub(crate) fn tls(&self, identity: &Identity) -> Result<Option<Tls>, TlsSettingsError> {
        identity.tls.as_ref().map(|settings| self.tls.get(settings, &identity.host)).transpose()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Shared::new()
    }
}
