//! An NSQ client on tokio: consumer and producer.
//!
//! Everything here is single-threaded: `Rc`, local tasks, one thread per lane. Settings and counters may cross threads; connections may not.

mod after;
mod consumer;
mod dial;
mod in_process;
mod lookup;
mod producer;
mod reconnect;
mod settings;
mod stream;
mod tls;

pub use consumer::{
    Consumer, ConsumerCounters, ConsumerSettings, ConsumerSnapshot, Counter, Delivery, DeliveryState,
    DisconnectReason, Event, Lost, Settled, Source,
};
pub use dial::{DialError, Dialer, Dialled, Fault, Malformed, Negotiated, Step};
pub use in_process::InProcess;
pub use lookup::{Listing, ListingChange, Lookup, LookupError, LookupSettings, Node};
pub use producer::{
    Disconnect, NotSent, OutcomeUnknown, Producer, ProducerCounters, ProducerEvent, ProducerSettings,
    PublishError,
};
pub use settings::{
    ClientCertificate, Compression, ConnectionSettings, Secret, SettingError, TlsSettings, TlsVersion,
};
pub use stream::{ConnectError, Stream};
pub use tls::TlsFailure;
pub use wire::{ChannelName, MessageId, NameError, TopicName};
