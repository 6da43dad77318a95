//! NSQ's TCP protocol V2, served to the byte as nsqd v1.3.0 does: one local task for each connection.
//!
//! | module | holds |
//! |---|---|
//! | `session` | a connection's state, and its turn: read, execute, answer, hand out, write |
//! | `execute` | what each command does |
//! | `gate` | what may come in which state, judged before a command's words, as nsqd does |
//! | `identify` | what is agreed with a client |
//! | `auth`, `grant`, `certificate` | AUTH, what auth servers answer, and what they are told |
//! | `intake`, `outbox`, `replies` | bytes in, bytes out, and answers in the order of their commands |
//! | `clock` | heartbeats, and when a client is given up |
//! | `stream` | clear, TLS, compression |
//! | `refusal`, `cut` | errors in nsqd's words |
//!
//! # What holds
//! - OK to a publish leaves only once its commit is granted. Commands behind it are executed meanwhile and answered behind it.
//! - A turn ends with one write of everything that it has to say. Nothing waits for more to come, so nobody waits for an output buffer.
//! - A client that does not read is not read either, beyond small bounds; one that takes nothing for a heartbeat is closed.
//! - When a connection ends, for whatever reason, what was in flight to it is ready for others at once.
//! - An error that ends the connection is read by the client: the socket is not reset behind it while bytes of the client's lie unread.

mod auth;
mod certificate;
mod clock;
mod cut;
mod execute;
mod gate;
mod grant;
mod identify;
mod intake;
mod outbox;
mod refusal;
mod replies;
mod session;
mod stream;

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use compress::Layer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wire::frame::{OK, write_response};
use wire::{ErrorCode, MAGIC_V2};

use crate::shared::BrokerShared;
use refusal::Refusal;
use session::{End, Session, Turn};
use stream::{Carrier, Compression, Stream, Upgrades, upgrade_compression, upgrade_tls};

/// How long a client may take for its handshake, and for what confirms its upgrades: nsqd's limit.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the socket of a client that was refused is read on, so that its unread bytes do not reset what it was told.
const LINGER: Duration = Duration::from_secs(1);

/// And how much of it.
const LINGER_BYTES_MAX: u64 = 16 << 20;

/// Serves one connection from `peer` to its end. Dropped, it ends at once, and nothing stays behind.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    peer: String,
    shared: Rc<BrokerShared>,
) {
    tracing::debug!(%peer, "client connected");
    let mut stream: Stream<S> = Layer::plain(Carrier::Clear(stream));
    let (end, stream) = match timeout(shared.settings.client_timeout, magic(&mut stream)).await {
        Ok(Ok(true)) => converse(stream, &peer, &shared).await,
        Ok(Ok(false)) => (End::Refused, Some(stream)),
        Ok(Err(error)) => (End::Broken(error), None),
        Err(_) => (End::Silent, Some(stream)),
    };
    tracing::debug!(%peer, %end, "client gone");
    if let Some(stream) = stream
        && let Ok(Err(error)) = timeout(LINGER, linger(stream, matches!(end, End::Refused))).await
    {
        tracing::trace!(%peer, %error, "the client was gone before its connection was closed");
    }
}

/// Reads the first four bytes. False when they are no protocol, and the client was told.
async fn magic<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<S>) -> io::Result<bool> {
    let mut magic = [0; MAGIC_V2.len()];
    stream.read_exact(&mut magic).await?;
    if magic == *MAGIC_V2 {
        return Ok(true);
    }
    let mut out = Vec::new();
    Refusal::new(ErrorCode::BadProtocol, "").write(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(false)
}

/// From the magic to the end, through every upgrade. The stream comes back where it can still be closed in order.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: Stream<S>,
    peer: &str,
    shared: &Rc<BrokerShared>,
) -> (End, Option<Stream<S>>) {
    let mut session = Session::new(shared, peer.to_owned());
    loop {
        match poll_fn(|cx| session.poll_turn(&mut stream, cx)).await {
            Turn::End(end @ (End::Broken(_) | End::Stalled)) => return (end, None),
            Turn::End(end) => return (end, Some(stream)),
            Turn::Upgrade(upgrades) => {
                match timeout(HANDSHAKE_TIMEOUT, upgrade(stream, &mut session, upgrades)).await {
                    Ok(Ok(upgraded)) => stream = upgraded,
                    Ok(Err(error)) => return (End::Broken(error), None),
                    Err(_) => return (End::Broken(io::ErrorKind::TimedOut.into()), None),
                }
            }
        }
    }
}

/// As agreed: first TLS, then compression, each confirmed by an OK that goes through it.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: Stream<S>,
    session: &mut Session,
    upgrades: Upgrades,
) -> io::Result<Stream<S>> {
    if let Some(config) = session.tls_config().filter(|_| upgrades.tls) {
        let (upgraded, handshake) = upgrade_tls(stream, &config).await?;
        stream = upgraded;
        session.upgraded_tls(handshake);
        confirm(&mut stream).await?;
    }
    if upgrades.compression != Compression::None {
        stream = upgrade_compression(stream, upgrades.compression);
        session.upgraded_compression(upgrades.compression);
        confirm(&mut stream).await?;
    }
    Ok(stream)
}

async fn confirm<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut Stream<S>) -> io::Result<()> {
    let mut out = Vec::new();
    write_response(&mut out, OK);
    stream.write_all(&out).await?;
    stream.flush().await
}

/// Says that there is no more, and reads what the client still sends where that matters.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: Stream<S>, unread: bool) -> io::Result<()> {
    stream.shutdown().await?;
    if unread {
        tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::duplex;
    use tokio::task::LocalSet;

    use super::*;
    use crate::queue::Queue;
    use crate::settings::Settings;

    const ASKED: &[u8] = br#"{"feature_negotiation":true,"snappy":true}"#;

    /// A client that asks for compression, through a pipe of so many bytes, and the connection's task.
    async fn asking(pipe_bytes: usize, shared: &Rc<BrokerShared>) -> (tokio::io::DuplexStream, impl Future) {
        let (mut client, server) = duplex(pipe_bytes);
        let served = tokio::task::spawn_local(serve(server, "client".to_owned(), Rc::clone(shared)));
        let mut said = [MAGIC_V2.as_slice(), b"IDENTIFY\n"].concat();
        said.extend((ASKED.len() as u32).to_be_bytes());
        said.extend(ASKED);
        client.write_all(&said).await.unwrap();
        (client, served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_what_confirms_its_upgrade_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_path: folder.path().to_owned(),
            sync_inline: true,
            disk_reserve_bytes: 0,
            ..Settings::default()
        };
        let inside = async {
            let (queue, _) = Queue::open(Arc::new(journal::Disk), &settings).unwrap();
            let shared = BrokerShared::new(settings, queue).unwrap();
            let (mut client, _served) = asking(4_096, &shared).await;
            let answer_bytes = 4 + client.read_u32().await.unwrap() as usize;
            // Room for the answer, and for nothing behind it.
            let (_client, served) = asking(answer_bytes, &shared).await;
            let begun = tokio::time::Instant::now();
            timeout(Duration::from_secs(60), served).await.expect("it is still served");
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        };
        LocalSet::new().run_until(inside).await;
    }
}
