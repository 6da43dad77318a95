//! What hyper's HTTP/1 client sees: a real connection of it over an in-memory pipe, whose other end reads a request
//! and writes the bytes in question.
//!
//! Everything runs on one thread over memory, so "nothing happens any more" is a number of turns, not a time.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{Body, Seen};

/// Room for any answer of the tests, so that the peer never waits for the reader.
const PIPE_BYTES: usize = 4 * 1024 * 1024;

pub(crate) fn sees(bytes: &[u8], closes: bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    tokio::task::LocalSet::new().block_on(&runtime, exchange(bytes.to_vec(), closes))
}

async fn exchange(bytes: Vec<u8>, closes: bool) -> Seen {
    let (near, far) = duplex(PIPE_BYTES);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.expect("no I/O in it");
    let connection = tokio::task::spawn_local(connection);
    let turns = 32 + bytes.len() / 2; // a turn moves at least one chunk, of which the smallest has 6 bytes
    let peer = tokio::task::spawn_local(answer(far, bytes, closes));
    let request = Request::post("/").header("Host", "h").body(Full::new(Bytes::from_static(b"x")));
    let Some(answer) = settled(turns, sender.send_request(request.expect("a valid request"))).await else {
        return Seen::Waiting;
    };
    let Ok(answer) = answer else {
        return Seen::Refused;
    };
    let status = answer.status().as_u16();
    let body = match settled(turns, read_to_end(answer.into_body())).await {
        None => Body::Waiting,
        Some(Err(_)) => Body::Broken,
        Some(Ok(_)) if settled(turns, connection).await.is_some() => Body::Last,
        Some(Ok(_)) => Body::Reusable,
    };
    drop((sender, peer)); // until here both ends were alive
    Seen::Answer { status, body }
}

async fn read_to_end(body: Incoming) -> Result<(), ()> {
    #[expect(clippy::disallowed_methods, reason = "it is in Limited")]
    Limited::new(body, PIPE_BYTES).collect().await.map(drop).map_err(drop)
}

/// Reads the one request, answers, and closes or holds the pipe open.
async fn answer(mut pipe: DuplexStream, bytes: Vec<u8>, closes: bool) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nx") {
        let byte = pipe.read_u8().await.expect("hyper sends its request whole");
        request.push(byte);
    }
    // When hyper closes before it has all of them, that is what it makes of the answer.
    if pipe.write_all(&bytes).await.is_ok() && !closes {
        std::future::pending::<()>().await;
    }
}

/// The future's result, or `None` when it has none after that many turns of every task.
async fn settled<F: Future>(turns: usize, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = async { for _ in 0..turns { tokio::task::yield_now().await } } => None,
    }
}
