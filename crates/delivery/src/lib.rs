//! HTTP(S) POST over provably reused connections. Knows nothing of NSQ.
//!
//! ```text
//! endpoint      the door: settings in, requests in, outcomes out
//! pool          which request gets which connection, when another is dialled; idle: watching those without a request
//! post, tail    one request on one connection; the rest of its answer
//! connection    a plain struct that one future owns; transport, socket: TLS or plain over TCP that counts
//! dial          lookup (resolver), TCP, TLS (tls), for one identity
//! local, shared what the endpoints of a thread and of the process have in common
//! counters      what is counted at the socket; close_reason: why each connection ended
//! codec         HTTP/1.1 answers: head, framing, body end, fate of the connection. Bytes only.
//! request_head  the head of a request, rendered once per endpoint
//! target        the endpoint's URL
//! field         header fields: what may be sent
//! retry_after   how long an answer asks to wait
//! outcome       what became of a POST: verdict and typed cause
//! ```

mod close_reason;
pub mod codec;
mod connection;
pub mod counters;
mod dial;
mod endpoint;
pub mod field;
mod identity;
mod idle;
mod local;
pub mod outcome;
mod pool;
mod post;
pub mod request_head;
mod resolver;
pub mod retry_after;
pub mod settings;
mod shared;
mod socket;
mod tail;
pub mod target;
mod tls;
mod transport;

pub use close_reason::CloseReason;
pub use counters::{EndpointCounters, EndpointSnapshot};
pub use endpoint::{Endpoint, EndpointError, Posted, Request};
pub use field::{FieldError, FieldName, StaticHeaders};
pub use identity::Identity;
pub use local::{DIALS_MAX_DEFAULT, Local};
pub use outcome::{Cause, ConnectFailure, LookupFailure, Outcome, Phase, TlsFailure, Verdict};
pub use request_head::HeadTemplate;
pub use resolve::ResolveFn;
pub use settings::{
    ClientCertificate, EndpointSettings, Roots, SettingError, SocketSettings, TlsSettings, TlsVersion,
};
pub use shared::Shared;
pub use tail::Tail;
pub use target::{EndpointUrl, Host, HostField, Scheme, Target, UrlError};
pub use tls::TlsSettingsError;
