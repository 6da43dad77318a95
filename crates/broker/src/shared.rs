//! What every connection of the broker shares, whatever it speaks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;

use crate::client::Client;
use crate::outbound::Outbound;
use crate::queue::Queue;
use crate::settings::Settings;
use crate::tls::{self, TlsError};

/// The broker as its connections see it. One thread, so `Rc` and cells.
pub(crate) struct BrokerShared {
    pub(crate) settings: Settings,
    pub(crate) queue: Queue,
    /// For TCP clients that upgrade, and for HTTPS; `None` where no certificate was set.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Requests to auth servers and nsqlookupds.
    pub(crate) outbound: Outbound,
    pub(crate) clients: Clients,
}

impl BrokerShared {
    /// Reads the certificates that the settings name.
    pub(crate) fn new(settings: Settings, queue: Queue) -> Result<Rc<Self>, TlsError> {
        let tls = settings.tls.as_ref().map(tls::server_config).transpose()?;
        let outbound = Outbound::new(&settings)?;
        Ok(Rc::new(Self { settings, queue, tls, outbound, clients: Clients::default() }))
    }

    /// Whether clients must authenticate.
    pub(crate) fn auth_required(&self) -> bool {
        !self.settings.auth_http_addresses.is_empty()
    }
}

/// Who is connected over TCP.
#[derive(Default)]
pub(crate) struct Clients {
    last_id: Cell<u64>,
    connected: RefCell<BTreeMap<u64, Rc<Client>>>,
}

impl Clients {
    /// A new client from `peer`, in the list for as long as the guard lives.
    pub(crate) fn enter(shared: &Rc<BrokerShared>, peer: String) -> Entered {
        let id = shared.clients.last_id.get() + 1;
        shared.clients.last_id.set(id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let connect_ts = i64::try_from(now).unwrap_or(i64::MAX);
        let client = Rc::new(Client::new(id, peer, connect_ts, shared.settings.msg_timeout));
        shared.clients.connected.borrow_mut().insert(id, Rc::clone(&client));
        Entered { client, shared: Rc::clone(shared) }
    }

    /// Those that have published, in the order they came: nsqd's producers.
    pub(crate) fn producers(&self) -> Vec<Rc<Client>> {
        let connected = self.connected.borrow();
        connected.values().filter(|client| !client.pub_counts.borrow().is_empty()).map(Rc::clone).collect()
    }
}

/// A client's place in the list.
pub(crate) struct Entered {
    pub(crate) client: Rc<Client>,
    shared: Rc<BrokerShared>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.clients.connected.borrow_mut().remove(&self.client.id);
    }
}
