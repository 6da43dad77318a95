//! One answer at a time, to the byte: nothing behind it may be read, since the next layer begins there.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::frame::{FrameHead, FrameKind, HEADER_LEN, HEARTBEAT};
use wire::{Command, ServerError};

use super::error::{DialError, Malformed, Step};

/// Writes all of `bytes`, and through every buffer.
pub(super) async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &[u8],
    step: Step,
) -> Result<(), DialError> {
    let broken = |error| DialError::broken(step, error);
    stream.write_all(bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

/// The payload of the next response. Answers heartbeats that come before it.
pub(super) async fn read_reply<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    step: Step,
) -> Result<Vec<u8>, DialError> {
    loop {
        let mut head = [0; HEADER_LEN];
        read_exact(stream, &mut head, step).await?;
        let malformed = |what| DialError::Malformed { step, what };
        let head = FrameHead::decode(&head).map_err(|error| malformed(Malformed::Frame(error)))?;
        if head.kind == FrameKind::Message {
            return Err(malformed(Malformed::Message));
        }
        // Bounded: decode() believes 64 KiB of a response or error at most.
        let mut payload = vec![0; head.len];
        read_exact(stream, &mut payload, step).await?;
        match head.kind {
            FrameKind::Error => return Err(DialError::Refused { step, error: ServerError::parse(&payload) }),
            _ if payload == HEARTBEAT => {
                let mut nop = Vec::new();
                Command::Nop.write(&mut nop);
                send(stream, &nop, step).await?;
            }
            _ => return Ok(payload),
        }
    }
}

async fn read_exact<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut [u8],
    step: Step,
) -> Result<(), DialError> {
    match stream.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DialError::Closed { step }),
        Err(error) => Err(DialError::broken(step, error)),
    }
}
