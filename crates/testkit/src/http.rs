//! A blocking HTTP client for the daemons' own APIs. HTTP/1.0, one connection per request: nothing to go stale, no chunks.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Status and body of the answer.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &[u8],
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let head =
        format!("{method} {target} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let status = answer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|text| text.parse().ok());
    match (end, status) {
        (Some(end), Some(status)) => Ok((status, answer.split_off(end + 4))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer")),
    }
}

/// As [`request`], and anything but a 200 is a panic: the test's set-up is broken.
#[track_caller]
pub(crate) fn expect_ok(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    match request(address, method, target, body) {
        Ok((200, answer)) => answer,
        Ok((status, answer)) => {
            panic!("{method} {target} at {address}: {status} {}", String::from_utf8_lossy(&answer))
        }
        Err(error) => panic!("{method} {target} at {address}: {error}"),
    }
}
